//! Random policies, quotas, stalls and ends of a process that logs, against what any of them may do:
//! whatever happens, every call that returned is shown once and in its thread's order, or told as
//! lost; and nothing is lost that the policy keeps.
//!
//! `PROPTEST_CASES=1000 cargo test --release --test policy_ends -- --nocapture` draws more cases,
//! `RIG_SEED` draws the same again. Disk stalls need root, to freeze a file system; without it
//! processes are stopped alone.
#![cfg(feature = "cli")]
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use rig::mounts::{Loop, in_namespace};
use rig::read::{ReadBack, command, read_back};
use rig::{Random, Rig, Running, Tally, by_thread, compare, number, wait_until};
use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Default,
    Block,
    DropOldest,
    DropNewest,
    /// Beside the log.
    Spill,
    /// On another disk, which does not stall.
    SpillFar,
}

#[derive(Debug, Clone, Copy)]
enum Stall {
    /// All threads of the process.
    Process,
    /// Every call on the file system of the log.
    Disk,
}

#[derive(Debug, Clone)]
struct Case {
    policy: Policy,
    /// Milliseconds that `Block` waits before the fallback, if not for ever.
    timeout: Option<(u64, &'static str)>,
    spill_wait: u64,
    quota: u64,
    lane: u64,
    lanes: u64,
    threads: u64,
    events: u64,
    burst: u64,
    /// Each after so many milliseconds, for so many.
    stalls: Vec<(Stall, u64, u64)>,
    /// Killed so many milliseconds behind the last stall; without, the logger ends orderly.
    kill: Option<u64>,
}

fn cases() -> impl Strategy<Value = Case> {
    use Policy::{Block, Default, DropNewest, DropOldest, Spill, SpillFar};
    let policy = prop_oneof![
        Just(Default),
        Just(Block),
        Just(DropOldest),
        Just(DropNewest),
        Just(Spill),
        Just(SpillFar),
    ];
    let fallback = prop_oneof![Just("drop-newest"), Just("drop-oldest"), Just("spill")];
    let timeout = proptest::option::of((0_u64..20, fallback));
    // A few blocks, and more than ever comes.
    let quota = prop_oneof![1_u64 << 20..3 << 20, Just(1 << 30)];
    let sizes = (prop_oneof![Just(32_u64 << 10), Just(256 << 10)], 1_u64 << 20..8 << 20);
    let amounts = (1_u64..5, 200_u64..8_000, 0_u64..2_000);
    let kind = prop_oneof![Just(Stall::Process), Just(Stall::Disk)];
    let stalls = proptest::collection::vec((kind, 0_u64..40, 1_u64..120), 0..4);
    let end = proptest::option::of(0_u64..60);
    let spill = (0_u64..100, quota);
    (policy, timeout, spill, sizes, amounts, stalls, end).prop_map(
        |(policy, timeout, (spill_wait, quota), (lane, lanes), amounts, stalls, kill)| {
            let (threads, events, burst) = amounts;
            let timeout = timeout.filter(|_| policy == Block);
            Case {
                policy,
                timeout,
                spill_wait,
                quota,
                lane,
                lanes,
                threads,
                events,
                burst,
                stalls,
                kill,
            }
        },
    )
}

impl Case {
    /// The command that logs so, into `dir`.
    fn command(&self, rig: &mut Rig, dir: &Path, far: &Path) -> (Command, u64) {
        let Self { spill_wait, quota, lane, lanes, threads, events, burst, .. } = self;
        let mut args = format!(
            "do=log logdir={} threads={threads} events={events} burst={burst} lane={lane} \
             lanes_max={lanes} quota={quota} spill_wait={spill_wait}",
            dir.display()
        );
        if let Some((ms, fallback)) = self.timeout {
            args += &format!(" timeout={ms} fallback={fallback}");
        }
        let (mut command, run) = rig.command(&args);
        let policy = match self.policy {
            Policy::Default => None,
            Policy::Block => Some("block".to_owned()),
            Policy::DropOldest => Some("drop-oldest".to_owned()),
            Policy::DropNewest => Some("drop-newest".to_owned()),
            Policy::Spill => Some("spill".to_owned()),
            Policy::SpillFar => Some(format!("spill:{}", far.display())),
        };
        command.env_remove("TTLOG_ON_FULL");
        if let Some(policy) = policy {
            command.env("TTLOG_ON_FULL", policy);
        }
        (command, run)
    }

    /// The causes of loss that this policy knows.
    fn may_lose(&self) -> &'static [&'static str] {
        match (self.policy, self.timeout) {
            (Policy::Block, None) => &[],
            // Who may evict and finds nothing to evict loses what it has.
            (Policy::DropOldest, _) | (Policy::Block, Some((_, "drop-oldest"))) => {
                &["evicted", "full"]
            }
            _ => &["full"],
        }
    }
}

/// Stops what is to be stopped, for so long.
fn stall(kind: Stall, pid: Pid, disk: Option<&Loop>, ms: u64) {
    let long = Duration::from_millis(ms);
    match (kind, disk) {
        (Stall::Disk, Some(disk)) => {
            let _frozen = disk.freeze().expect("it was frozen before");
            std::thread::sleep(long);
        }
        _ => {
            // It may have ended already; who is not waited for keeps its id.
            let _ = kill_process(pid, Signal::STOP);
            std::thread::sleep(long);
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

/// What is read, compared with what was logged: once, in order, none invented, and all of it shown
/// or told.
fn look(rig: &Rig, dir: &Path, run: u64, case: &Case) -> (Tally, ReadBack) {
    let read = read_back(dir);
    assert_eq!((&read.wrong[..], &read.others[..]), (&[][..], &[][..]));
    let counts = rig.counts(run);
    let tally = compare(&by_thread(&read), run, &counts);
    let begun: u64 = counts.iter().map(|(begun, _)| begun).sum();
    let known = tally.read + read.lost_total();
    let between = tally.returned..=begun;
    assert!(between.contains(&known), "{known} of {between:?}: {tally:?}, {:?}", read.lost);
    for cause in read.lost.keys() {
        assert!(case.may_lose().contains(&cause.as_str()), "{:?}", read.lost);
    }
    (tally, read)
}

/// Runs a case; returns what came of it.
fn run(case: &Case, disk: Option<(&Loop, &Path)>, sums: &mut BTreeMap<&'static str, u64>) {
    let mut rig = Rig::new();
    let far = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").expect("a directory");
    let dir = disk.map_or_else(|| rig.dir(), |(_, at)| at.join("log"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (command, number_of_run) = case.command(&mut rig, &dir, far.path());
    let mut running = Running::new(command, number_of_run);
    let pid = Pid::from_child(&running.child);
    // A logger of which nothing is there yet is the matter of other rigs.
    let has_logged = || rig.counts(number_of_run).iter().any(|(_, returned)| *returned > 0);
    wait_until("a first event", has_logged);
    for &(kind, after, long) in &case.stalls {
        std::thread::sleep(Duration::from_millis(after));
        stall(kind, pid, disk.map(|(disk, _)| disk), long);
    }
    let outcome = match case.kill {
        Some(after) => {
            std::thread::sleep(Duration::from_millis(after));
            running.kill();
            None
        }
        None => Some(running.line()),
    };
    let _ = running.child.wait();
    let (tally, read) = look(&rig, &dir, number_of_run, case);
    if let Some(told) = &outcome {
        assert!(told.ends_with("flushed=true"), "{told:?}");
        assert_eq!(tally.returned, case.threads * case.events);
        assert_eq!(read.lost_total(), number(told, "lost"), "stats() and the log agree");
        assert_eq!(tally.missing, read.lost_total(), "pushed = written + lost");
    }
    // What a killed one left is taken up; nothing changes by it.
    recover(&dir);
    let (again, taken_up) = look(&rig, &dir, number_of_run, case);
    assert_eq!((again, &taken_up.lost), (tally, &read.lost), "taken up");
    let left = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("a directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".ttlog")).collect::<Vec<_>>()
    };
    assert_eq!((left(&dir), left(far.path())), (vec![], vec![]));
    std::fs::remove_dir_all(&dir).expect("it");
    *sums.entry("killed").or_default() += u64::from(case.kill.is_some());
    *sums.entry("returned").or_default() += tally.returned;
    *sums.entry("shown").or_default() += tally.read;
    *sums.entry("lost").or_default() += read.lost_total();
}

fn recover(dir: &Path) {
    let output = Command::new(command()).arg("recover").arg(dir).output().expect("ttlog");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn any_policy_keeps_the_law_whatever_stalls_and_however_it_ends() {
    if rustix::process::getuid().is_root() {
        in_namespace(|| {
            let memory = tempfile::tempdir_in("/dev/shm").expect("a directory");
            let (image, at) = (memory.path().join("image"), memory.path().join("disk"));
            std::fs::create_dir(&at).expect("a directory");
            let disk = Loop::ext4(&image, 256 << 20, &at).filter(|disk| disk.freeze().is_some());
            draw(disk.as_ref().map(|disk| (disk, &*at)));
        });
    } else {
        draw(None);
    }
}

fn draw(disk: Option<(&Loop, &Path)>) {
    if disk.is_none() {
        rig::not_run("disk stalls: they need root, mkfs.ext4, a loop device and fsfreeze");
    }
    let mut random = Random::new();
    let seed: [u8; 32] = std::array::from_fn(|_| random.range(0, 256) as u8);
    let config = ProptestConfig {
        failure_persistence: None,
        // What depends on time fails otherwise when it is drawn again.
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let cases_wanted = std::env::var_os("PROPTEST_CASES").map_or(24, |_| config.cases);
    let config = ProptestConfig { cases: cases_wanted, ..config };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let sums = std::cell::RefCell::new(BTreeMap::new());
    let result = runner.run(&cases(), |case| {
        run(&case, disk, &mut sums.borrow_mut());
        Ok(())
    });
    if let Err(TestError::Fail(why, case)) = &result {
        panic!("{case:?}: {why}");
    }
    assert!(result.is_ok(), "{result:?}");
    println!("{cases_wanted} cases: {:?}", sums.borrow());
}
