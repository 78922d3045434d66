//! R36 and R37: odd callers and forks. No deadlock, no corruption, and the sums add up.
//!
//! CI forks 200 times; ten thousand forks and a million signals:
//! `cargo test --release --test rig_odd -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use rig::read::read_back;
use rig::{Outcome, ReadBack, Rig, by_thread, compare, wait_until};

/// Runs an odd caller; what it told, and what was read back.
fn odd(args: &str) -> (Rig, u64, Outcome, ReadBack) {
    let mut rig = Rig::new();
    // The odd callers log as run 1, which is the first run of a rig.
    let (run, outcome) = rig.run(&format!("do=odd {args}"));
    use std::os::unix::process::ExitStatusExt as _;
    assert_ne!(outcome.status.signal(), Some(9), "a deadlock: {outcome:?}");
    assert!(outcome.status.success(), "{outcome:?}");
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0], "{args}");
    println!(
        "{args}: {} {} events read, told {:?}",
        outcome.stdout.trim(),
        read.events.len(),
        read.lost
    );
    (rig, run, outcome, read)
}

#[test]
fn r36_a_debug_that_logs_and_one_that_panics_lose_nothing() {
    let (rig, run, outcome, read) = odd("how=debug events=2000");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!(tally.missing, 0, "{tally:?}");
    assert_eq!(read.others.len(), 2000, "the outer events, and none of those that panicked");
    assert_eq!(outcome.number("lost"), 0);
}

#[test]
fn r36_a_panic_hook_may_log() {
    let (rig, run, outcome, read) = odd("how=hook events=500");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!((tally.missing, tally.read), (0, 1000), "{tally:?}");
    assert_eq!(outcome.number("lost"), 0);
}

#[test]
fn r36_thread_local_destructors_may_log() {
    let (rig, run, outcome, read) = odd("how=tls events=20");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!((tally.missing, tally.read), (0, 80), "{tally:?}");
    assert_eq!(outcome.number("lost"), 0);
}

#[test]
fn r36_a_handler_of_exit_may_log_when_it_runs_before_the_logger_s() {
    let (rig, run, _, read) = odd("how=atexit when=after");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!((tally.missing, tally.read), (0, 2000), "{tally:?}");
}

#[test]
fn r36_a_handler_of_exit_that_runs_behind_the_logger_s_ends_all_the_same() {
    let (rig, run, _, read) = odd("how=atexit when=before");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    // What is logged when the logger has ended has nobody left who could tell.
    assert!(tally.read >= 1000 && tally.missing <= 1000, "{tally:?}");
}

#[test]
fn r36_what_is_logged_behind_the_logger_s_end_is_kept_where_another_thread_lives() {
    let (rig, run, _, read) = odd("how=atexit when=before busy=1");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!((tally.missing, tally.read), (0, 2001), "{tally:?}");
}

#[test]
fn r36_an_allocator_may_log() {
    let (rig, run, outcome, read) = odd("how=allocator events=1000");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    println!("{tally:?}, {} events of the allocator", read.others.len());
    let lost = outcome.number("lost");
    // Each call was accepted or counted as lost, and what was accepted was read.
    let read_total = tally.read + read.others.len() as u64;
    assert_eq!(read_total, outcome.number("written"));
    assert!(tally.missing <= lost);
    let calls = outcome.number("allocations") + tally.returned;
    assert!(read_total + lost <= calls, "{read_total} + {lost} of {calls}");
}

fn signals(args: &str, wanted: u64) {
    let (rig, run, outcome, read) = odd(&format!("how=signal events={wanted} {args}"));
    assert!(outcome.number("signals") >= wanted, "{outcome:?}");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    let lost = outcome.number("lost");
    println!("{tally:?}, lost {lost} of which reentrant {}", outcome.number("reentrant"));
    assert_eq!(lost, outcome.number("reentrant"));
    assert_eq!(tally.missing, lost, "accepted + lost = calls");
    assert_eq!(read.lost_total(), lost, "and told");
}

#[test]
fn r36_a_hundred_thousand_signals_whose_handler_logs() {
    signals("", 100_000);
}

#[test]
#[ignore = "a minute: a million signals, with a victim that allocates too"]
fn r36_a_million_signals() {
    signals("", 1_000_000);
    signals("allocates=1", 100_000);
}

fn forks(n: u64) {
    let (rig, run, outcome, read) = odd(&format!("how=fork forks={n}"));
    assert_eq!((outcome.number("stuck"), outcome.number("wrong")), (0, 0), "{outcome:?}");
    let counts = rig.counts(run);
    let mut found = by_thread(&read);
    assert!(!found.keys().any(|(run, _)| *run == 9), "a child wrote into its parent's lanes");
    found.retain(|(of, _), _| *of == run);
    let tally = compare(&found, run, &counts);
    println!("{n} forks: {tally:?}");
    assert_eq!(tally.missing, 0);
    assert_eq!(read.events.len() as u64, tally.read);
    assert_eq!(read.others, [""; 0]);
    assert_eq!(outcome.number("lost"), 0);
}

#[test]
fn r37_children_log_panic_exit_and_exec_and_the_parent_s_events_are_there_once() {
    forks(200);
}

#[test]
#[ignore = "minutes: ten thousand forks"]
fn r37_ten_thousand_forks() {
    forks(10_000);
}

#[test]
fn r37_a_child_holds_none_of_its_parent_s_locks() {
    let mut rig = Rig::new();
    let mut running = rig.start("do=odd how=fork forks=0 hold=1");
    let told = running.line();
    let child: i32 = told.strip_prefix("held by ").expect("a pid").parse().expect("a pid");
    std::thread::sleep(std::time::Duration::from_millis(100));
    running.kill();
    // The kernel names the process that took the lock; what counts is whether anybody holds it.
    // Other loggers' files may have been open for a moment in the thread that looks for orphans.
    let names = std::fs::read_dir(rig.dir()).expect("the directory").flatten();
    let ids: Vec<String> = names
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".owner")?.to_owned()))
        .collect();
    assert!(!ids.is_empty(), "the killed parent left its owner file");
    let fds = std::fs::read_dir(format!("/proc/{child}/fd")).expect("the child lives").flatten();
    let held: Vec<_> = fds
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| path.contains("owner") && ids.iter().any(|id| path.contains(id)))
        .collect();
    assert!(held.is_empty(), "descriptors of locks in the child: {held:?}");
    let (_, outcome) = rig.run("do=log events=1 adopt=1");
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
    wait_until("the next start to take it up", || {
        let names = std::fs::read_dir(rig.dir()).expect("the directory").flatten();
        !names.into_iter().any(|e| e.path().extension().is_some_and(|x| x == "owner"))
    });
    let read = read_back(&rig.dir());
    let tally = compare(&by_thread(&read), running.run, &rig.counts(running.run));
    println!("parent killed, child {child} alive: {tally:?}");
    assert_eq!(tally.missing, 0);
    let pid = rustix::process::Pid::from_raw(child).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
}
