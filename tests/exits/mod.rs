//! Exits: the matrix R35, its axes, what one cell does, and how its events are accounted for.

pub(crate) mod table;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::rig::read::{ReadBack, read_back};
use super::rig::{Rig, by_thread, compare, number};

/// How a process is seen to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Code(i32),
    Signal(i32),
}

/// One way to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// As the table says it.
    pub(crate) name: &'static str,
    /// As the child program knows it.
    how: &'static str,
    /// What is sent to it.
    signal: Option<Signal>,
    pub(crate) seen: Seen,
}

const fn end(name: &'static str, how: &'static str, seen: Seen) -> End {
    End { name, how, signal: None, seen }
}

const fn sent(name: &'static str, signal: Signal) -> End {
    End { name, how: "from-outside", signal: Some(signal), seen: Seen::Signal(signal.as_raw()) }
}

const ABORTED: Seen = Seen::Signal(libc_signal::ABRT);
const KILLED: Seen = Seen::Signal(libc_signal::KILL);

/// Numbers of signals that a `const` of rustix has no way to give.
mod libc_signal {
    pub(super) const ABRT: i32 = 6;
    pub(super) const KILL: i32 = 9;
    pub(super) const SEGV: i32 = 11;
}

/// The ends, in the order of the table.
pub(crate) const ENDS: [End; 15] = [
    end("return from `main`", "return", Seen::Code(0)),
    end("`process::exit`", "exit", Seen::Code(0)),
    end("panic that unwinds `main`", "panic-main", Seen::Code(101)),
    end("panic in `Drop`", "panic-in-drop", Seen::Code(101)),
    end("panic, then abort", "panic-abort", ABORTED),
    end("panic while a panic unwinds", "panic-twice", ABORTED),
    end("`process::abort`", "abort", ABORTED),
    end("stack overflow", "stack", ABORTED),
    end("SIGSEGV", "segv", Seen::Signal(libc_signal::SEGV)),
    sent("SIGTERM", Signal::TERM),
    sent("SIGINT", Signal::INT),
    sent("SIGHUP", Signal::HUP),
    sent("SIGKILL", Signal::KILL),
    end("out-of-memory killer", "oom", KILLED),
    end("`exec`", "exec", Seen::Code(0)),
];

/// What the program did with the handle that `init` gave it.
pub(crate) const GUARDS: [&str; 4] = ["kept", "dropped", "leaked", "static"];

/// A policy, as the table and as the child program call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    arg: &'static str,
}

pub(crate) const POLICIES: [Policy; 4] = [
    Policy { name: "Block", arg: "block" },
    Policy { name: "DropOldest", arg: "drop-oldest" },
    Policy { name: "DropNewest", arg: "drop-newest" },
    Policy { name: "SpillToDisk", arg: "spill" },
];

/// A way of writing: through the page cache or past it, by io_uring or by threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    args: &'static str,
    is_uring: bool,
}

pub(crate) const MODES: [Mode; 4] = [
    Mode { name: "buffered, portable", args: "direct=0 io=portable", is_uring: false },
    Mode { name: "buffered, io_uring", args: "direct=0 io=uring", is_uring: true },
    Mode { name: "direct, portable", args: "direct=1 io=portable", is_uring: false },
    Mode { name: "direct, io_uring", args: "direct=1 io=uring", is_uring: true },
];

/// One cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) end: &'static End,
    pub(crate) guard: &'static str,
    pub(crate) policy: Policy,
    pub(crate) mode: Mode,
    /// Another program starts in the directory afterwards, takes up what is left, and all is read
    /// again.
    pub(crate) adopts: bool,
}

/// What a cell came to.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) plan: Plan,
    /// Why it could not be run here.
    pub(crate) not_run: Option<&'static str>,
    /// Lost and spilled when the end was about to come, as the program's own counters had it.
    pub(crate) lost_before: u64,
    pub(crate) spilled: u64,
    pub(crate) sums: Sums,
}

/// Calls and events of all threads of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Calls that returned.
    pub(crate) returned: u64,
    /// Calls that had begun and not returned: their events may be there or not.
    pub(crate) under_way: u64,
    /// Events shown.
    pub(crate) shown: u64,
    /// Events told as lost.
    pub(crate) lost: u64,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.returned += other.returned;
        self.under_way += other.under_way;
        self.shown += other.shown;
        self.lost += other.lost;
    }
}

impl Sums {
    /// Events of returned calls that are neither shown nor told as lost.
    pub(crate) fn neither(&self) -> u64 {
        self.returned.saturating_sub(self.shown + self.lost)
    }

    /// Events that are shown and told as lost as well, or were never logged.
    pub(crate) fn both(&self) -> u64 {
        (self.shown + self.lost).saturating_sub(self.returned + self.under_way)
    }
}

/// Threads of the program; more than there are processors.
const THREADS: u64 = 4;
/// Calls that have returned before the end comes.
const EVENTS: u64 = 6_000;

/// Starts a program, lets it end, and accounts for every event of it.
pub(crate) fn run(plan: &Plan) -> Done {
    let mut done =
        Done { plan: *plan, not_run: None, lost_before: 0, spilled: 0, sums: Sums::default() };
    if plan.mode.is_uring && ttlog::io::probe().uring.is_err() {
        done.not_run = Some("needs io_uring");
        return done;
    }
    let group = (plan.end.how == "oom").then(MemoryGroup::new);
    if matches!(group, Some(None)) {
        done.not_run = Some("needs a memory control group, and the right to make one");
        return done;
    }
    let group = group.flatten();
    let mut rig = Rig::new();
    let run = start_and_end(plan, group.as_ref(), &mut rig, &mut done);
    let counts = rig.counts(run);
    done.sums = account(plan, run, &read_back(&rig.dir()), &counts);
    if plan.adopts {
        let (_, outcome) = rig.run("do=log threads=1 events=1 adopt=1");
        assert!(outcome.status.success(), "{plan:?}: {outcome:?}");
        let again = account(plan, run, &read_back(&rig.dir()), &counts);
        assert_eq!(again, done.sums, "{plan:?}: taken up by the next start");
    }
    done
}

/// Returns the run's number when the program has ended as it should.
fn start_and_end(plan: &Plan, group: Option<&MemoryGroup>, rig: &mut Rig, done: &mut Done) -> u64 {
    let Plan { end, guard, policy, mode, .. } = plan;
    let (how, on_full, mode) = (end.how, policy.arg, mode.args);
    let group = group.map_or(String::new(), |group| format!("cgroup={}", group.members()));
    let (mut command, run) = rig.command(&format!(
        "do=end how={how} guard={guard} on_full={on_full} {mode} threads={THREADS} \
         events={EVENTS} busy=1 tell=policy burst=3000 pause=1000 lane=32768 rotate=65536 pack=1 {group}"
    ));
    let stderr = rig.path("stderr");
    command.stdin(Stdio::null());
    command.stderr(std::fs::File::create(&stderr).expect("a file"));
    let mut child = command.spawn().expect("the child starts");
    let pid = rustix::process::Pid::from_child(&child);
    // What hangs is killed, and found out by how it ended.
    let (over, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let is_late = watch.recv_timeout(Duration::from_secs(120)).is_err();
        if is_late {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        is_late
    });
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("the pipe");
    if let Some(signal) = end.signal {
        let _ = rustix::process::kill_process(pid, signal);
    }
    let status = child.wait().expect("it ends");
    let _ = over.send(());
    let said = || std::fs::read_to_string(&stderr).unwrap_or_default();
    assert!(!watchdog.join().expect("the watchdog"), "{plan:?} hangs; it said {}", said());
    assert!(line.starts_with("ready "), "{plan:?}: {line:?} {}", said());
    assert_eq!(seen(status), Some(end.seen), "{plan:?} said {}", said());
    done.lost_before = number(&line, "lost");
    done.spilled = number(&line, "spilled");
    run
}

fn seen(status: ExitStatus) -> Option<Seen> {
    status.code().map(Seen::Code).or(status.signal().map(Seen::Signal))
}

/// The law of a cell: of each thread, the events shown and the losses told are together the calls,
/// and a loss stands where numbers are missing: never before they do.
fn account(plan: &Plan, run: u64, read: &ReadBack, counts: &[(u64, u64)]) -> Sums {
    assert_eq!(read.wrong, [""; 0], "{plan:?}");
    // Once and in order, and none that was never logged.
    compare(&by_thread(read), run, counts);
    let of_run = |t: u64| read.events.iter().filter(move |it| (it.run, it.t) == (run, t));
    let mut tids = BTreeMap::new();
    let mut sums = Sums::default();
    for (t, &(begun, returned)) in counts.iter().enumerate().filter(|(_, it)| it.0 > 0) {
        sums.returned += returned;
        sums.under_way += begun - returned;
        sums.shown += of_run(t as u64).count() as u64;
        match of_run(t as u64).next() {
            Some(event) => drop(tids.insert(event.tid, t as u64)),
            None => assert_eq!(returned, 0, "{plan:?}: nothing of thread {t}"),
        }
    }
    sums.lost = read.told.iter().map(|told| told.count).sum();
    assert_eq!((sums.neither(), sums.both()), (0, 0), "{plan:?}: {sums:?}");
    // What came behind the end of the logger is counted for the process, not for a thread.
    let of_nobody = read.told.iter().filter(|told| told.tid == 0);
    let unplaced = of_nobody.map(|told| told.count).sum();
    for told in read.told.iter().filter(|told| told.tid != 0) {
        assert!(tids.contains_key(&told.tid), "{plan:?}: a loss of no thread: {told:?}");
    }
    for (tid, t) in tids {
        place(plan, read, run, (tid, t), counts[t as usize], unplaced);
    }
    sums
}

/// Walks a thread's events and losses in the order in which they are shown; up to `unplaced` of the
/// losses name no thread.
fn place(
    plan: &Plan,
    read: &ReadBack,
    run: u64,
    (tid, t): (u64, u64),
    (begun, returned): (u64, u64),
    unplaced: u64,
) {
    let (mut told, mut missing, mut next) = (0, 0, 0);
    let mut losses = read.told.iter().filter(|told| told.tid == tid).peekable();
    for (at, event) in read.events.iter().enumerate() {
        if (event.run, event.t) != (run, t) {
            continue;
        }
        while let Some(loss) = losses.next_if(|loss| loss.at <= at) {
            told += loss.count;
        }
        missing += event.n - next;
        assert!(told <= missing, "{plan:?}: thread {t}: {told} of {missing} before {}", event.n);
        next = event.n + 1;
    }
    told += losses.map(|loss| loss.count).sum::<u64>();
    let least = missing + returned.saturating_sub(next);
    let most = missing + begun.saturating_sub(next);
    let is_law = told <= most && told + unplaced >= least;
    assert!(is_law, "{plan:?}: thread {t}: {told} + {unplaced} of {least} to {most}");
}

/// A control group with little memory, which goes with this value.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// `None` where there is no such group to be had.
    fn new() -> Option<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ttlog-rig-{}-{next}", std::process::id());
        let (root, limit) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let group = Self(Path::new(root).join(name));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(limit), (128_u64 << 20).to_string()).ok()?;
        Path::new(&group.members()).exists().then_some(group)
    }

    fn members(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
