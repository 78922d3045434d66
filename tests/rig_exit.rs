//! R35: however a process ends, every event whose call returned is read back, once and in order.
//!
//! The full counts: `cargo test --release --test rig_exit -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "counts are the report of a long run")]

mod rig;

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
