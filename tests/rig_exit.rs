//! R35: however a process ends, every event whose call returned is read back, once and in order.
//!
//! The full counts: `cargo test --release --features cli --test rig_exit -- --ignored --nocapture`.
//! docs/EXITS.md is made by it: see `r35_the_whole_matrix`.
#![expect(clippy::print_stdout, reason = "counts are the report of a long run")]

mod exits;
mod rig;

use exits::{Done, ENDS as EXITS, GUARDS, MODES, POLICIES, Plan, table};
use rig::read::read_back;
use rig::{Random, Rig, Tally, by_thread, compare};

/// Ends that the program brings about itself, and whether the logger may still write at the end.
const ENDS: [&str; 12] = [
    "return",
    "shutdown",
    "exit",
    "exit-thread",
    "panic-main",
    "panic-joined",
    "panic-detached",
    "panic-abort",
    "abort",
    "sigterm",
    "segv",
    "sigkill",
];

struct Cell {
    how: &'static str,
    events: u64,
    busy: bool,
    tally: Tally,
    lost_told: u64,
}

fn cell(how: &'static str, events: u64, busy: bool, random: &mut Random) -> Cell {
    let mut rig = Rig::new();
    let busy = u64::from(busy);
    let args =
        format!("do=end how={how} threads=4 events={events} busy={busy} burst=2000 pause=300");
    let run = if how == "sigkill" {
        let events = if busy == 1 { 0 } else { events };
        let args = format!("do=end how={how} threads=4 events={events} burst=2000 pause=300");
        let mut running = rig.start(&args);
        std::thread::sleep(std::time::Duration::from_millis(random.range(5, 300)));
        running.kill();
        running.run
    } else {
        let (run, outcome) = rig.run(&args);
        // A watchdog kills what hangs; then it is SIGKILL that ended it.
        use std::os::unix::process::ExitStatusExt as _;
        assert_ne!(outcome.status.signal(), Some(9), "{how} hangs: {outcome:?}");
        run
    };
    let is_empty = std::fs::read_dir(rig.dir()).expect("the directory").next().is_none();
    if how == "sigkill" && is_empty {
        // Killed before its logger had begun, as a loaded machine may have it.
        assert!(rig.counts(run).iter().all(|&(_, returned)| returned == 0), "{how}");
        let tally = Tally::default();
        return Cell { how, events, busy: busy == 1, tally, lost_told: 0 };
    }
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0], "{how}");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    Cell { how, events, busy: busy == 1, tally, lost_told: read.lost_total() }
}

fn matrix(sizes: &[u64], rounds: u64) {
    let mut random = Random::new();
    println!("| end | events | threads go on | calls returned | read back | missing | lost told |");
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: |");
    let mut bad = Vec::new();
    for how in ENDS {
        for &events in sizes {
            for busy in [false, true] {
                // Behind a shutdown calls are no-ops: there is nothing to compare.
                if busy && how == "shutdown" {
                    continue;
                }
                for _ in 0..rounds {
                    let cell = cell(how, events, busy, &mut random);
                    println!(
                        "| {} | {} | {} | {} | {} | {} | {} |",
                        cell.how,
                        cell.events,
                        if cell.busy { "yes" } else { "no" },
                        cell.tally.returned,
                        cell.tally.read,
                        cell.tally.missing,
                        cell.lost_told
                    );
                    // A lane that fills while nobody takes from it any more loses, and says so.
                    if cell.tally.missing > cell.lost_told || (cell.lost_told > 0 && !cell.busy) {
                        bad.push((cell.how, cell.events, cell.busy, cell.tally, cell.lost_told));
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn r35_every_returned_call_is_read_back_however_the_process_ends() {
    matrix(&[1_000, 200_000], 1);
}

#[test]
#[ignore = "minutes: the matrix twenty times"]
fn r35_twenty_times() {
    matrix(&[1_000, 200_000], 20);
}

/// Runs cells of the matrix, a few at a time, and returns what they came to.
fn run_all(plans: &[Plan]) -> Vec<Done> {
    let (next, done) = (std::sync::atomic::AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(plan) =
                    plans.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let one = exits::run(plan);
                    done.lock().expect("no worker panicked").push(one);
                }
            });
        }
    });
    done.into_inner().expect("the workers have ended")
}

/// Every policy has had something to do: a matrix whose lanes never overflowed says nothing.
fn check_that_policies_acted(done: &[Done]) {
    for policy in POLICIES {
        let of_it = done.iter().filter(|done| done.plan.policy == policy);
        let sum = of_it.fold((0, 0), |sum, it| (sum.0 + it.lost_before, sum.1 + it.spilled));
        println!("{}: before the ends {} lost, {} spilled", policy.name, sum.0, sum.1);
        match policy.name {
            "DropOldest" | "DropNewest" => assert!(sum.0 > 0, "no lane overflowed"),
            "SpillToDisk" => assert!(sum.1 > 0, "nothing was spilled"),
            _ => assert_eq!(sum.0, 0, "Block loses nothing while the process lives"),
        }
    }
}

/// Each end with each guard, each policy and each way of writing, and over all ends every pair of
/// these: a sixteenth of the matrix.
#[test]
fn r35_every_exit_with_every_guard_policy_and_way_of_writing() {
    let mut plans = Vec::new();
    for (nth, end) in EXITS.iter().enumerate() {
        for (guard, name) in GUARDS.into_iter().enumerate() {
            let (policy, mode) = ((guard + nth) % 4, (guard + nth / 4 + 2 * (nth % 2)) % 4);
            let (policy, mode) = (POLICIES[policy], MODES[mode]);
            plans.push(Plan { end, guard: name, policy, mode, adopts: guard == nth % 4 });
        }
    }
    let done = run_all(&plans);
    print!("{}", table::rows(&done));
    check_that_policies_acted(&done);
}

/// All of it, `EXIT_ROUNDS` times; writes docs/EXITS.md when `EXIT_TABLE=write` is set:
/// `EXIT_TABLE=write cargo test --release --features cli --test rig_exit r35_the_whole -- --ignored`.
#[test]
#[ignore = "minutes: 960 programs, each started, ended and read"]
fn r35_the_whole_matrix() {
    let rounds = std::env::var("EXIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut plans = Vec::new();
    for _ in 0..rounds {
        for end in &EXITS {
            for policy in POLICIES {
                for mode in MODES {
                    for guard in GUARDS {
                        plans.push(Plan { end, guard, policy, mode, adopts: guard == "kept" });
                    }
                }
            }
        }
    }
    let done = run_all(&plans);
    check_that_policies_acted(&done);
    println!("{}", table::rows(&done));
    if std::env::var("EXIT_TABLE").is_ok_and(|text| text == "write") {
        table::write(&done);
    }
}

/// The table in docs/EXITS.md has a row for each end and policy, and each row adds up.
#[test]
fn r35_the_committed_table_is_one_of_this_matrix() {
    table::check_committed();
}
