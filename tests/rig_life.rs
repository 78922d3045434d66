//! Life of a process (R35 to R37): children that start anew, panics and signals whose events are on
//! file without the lanes, and events of `Drop`.
//!
//! Where lanes are private and the scribe writes late, what is read was brought to the file by what
//! is tested. CI forks 24 times; a thousand: `cargo test --release --test rig_life -- --ignored`.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use rig::read::read_back;
use rig::{Outcome, ReadBack, Rig, Running, by_thread, compare};
use ttlog::view::{Item, Query, Source, Value};

fn life(args: &str) -> (Rig, u64, Outcome, ReadBack) {
    let mut rig = Rig::new();
    let (run, outcome) = rig.run(&format!("do=life {args}"));
    assert_ne!(outcome.status.signal(), Some(9), "a deadlock: {outcome:?}");
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0], "{args}: {outcome:?}");
    println!("{args}: {} {} events read", outcome.stdout.trim(), read.events.len());
    (rig, run, outcome, read)
}

fn forks(n: u64, more: &str) -> (u64, ReadBack) {
    let (rig, run, outcome, read) = life(&format!("how=reinit forks={n}{more}"));
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!((outcome.number("stuck"), outcome.number("wrong")), (0, 0), "{outcome:?}");
    assert!(outcome.stdout.contains("ended=true"), "{outcome:?}");
    let found = by_thread(&read);
    // The parent's events are there once, and nothing of a child's in its lanes.
    let tally = compare(&found, run, &rig.counts(run));
    println!("{tally:?}, told: {:?}", read.lost);
    // Each child's are there: those that it flushed, and the last, which it did not.
    for nth in 0..n {
        let of = |t| found.get(&(100 + nth, t)).cloned().unwrap_or_default();
        assert_eq!(of(0), (0..=50).collect::<Vec<_>>(), "child {nth}");
        assert_eq!(of(1), (0..50).collect::<Vec<_>>(), "child {nth}");
    }
    assert_eq!(read.others.len() as u64, n, "one by the logger that is named, none of before");
    assert!(read.others.iter().all(|line| line.contains("\"named\"")), "{:?}", read.others);
    (tally.missing, read)
}

#[test]
fn r37_children_that_start_anew_log_into_lanes_and_segments_of_their_own() {
    let (missing, read) = forks(24, " on_full=block");
    assert_eq!((missing, read.lost_total()), (0, 0), "whatever else the machine does");
}

#[test]
fn r37_children_that_start_anew_have_what_their_policy_loses_told() {
    // The default's scribe may get no processor for the second that it waits.
    let (missing, read) = forks(24, "");
    assert_eq!(missing, read.lost_total(), "{:?}", read.lost);
}

#[test]
#[ignore = "minutes: a thousand forks"]
fn r37_a_thousand_children_start_anew() {
    let (missing, read) = forks(1000, "");
    assert_eq!(missing, read.lost_total(), "{:?}", read.lost);
}

/// Message, place and backtrace of the panics that were logged.
fn panics(dir: &std::path::Path) -> Vec<(String, String, bool)> {
    let query = Query::new().target("panic");
    let items = Source::open(dir).expect("logs").query(&query);
    let mut all = Vec::new();
    for item in items {
        if let Item::Record(record) = item.expect("readable") {
            let text = |name: &str| record.field(name).map_or(String::new(), |v| v.to_string());
            assert!(text("panic.file").ends_with("life.rs"), "{record:?}");
            assert!(record.field("panic.line").is_some_and(|line| line != Value::from(0)));
            let traced = text("backtrace").contains("life");
            all.push((record.message().into_owned(), text("panic.thread"), traced));
        }
    }
    all
}

#[test]
fn r35_panics_are_logged_with_place_and_backtrace_and_the_hook_of_before_is_called() {
    let (rig, _, outcome, read) = life("how=panic dies=0");
    assert!(outcome.status.success(), "{outcome:?}");
    let logged = panics(&rig.dir());
    let messages: Vec<_> =
        logged.iter().map(|(message, thread, _)| (&**message, &**thread)).collect();
    assert_eq!(
        messages,
        [
            ("panicked: on purpose", "first"),
            ("panicked: Box<dyn Any>", "any"),
            ("panicked: outside", "nested"),
            ("panicked: inside of a panic", "nested"),
            ("panicked: the last", "last"),
        ]
    );
    assert!(logged.iter().all(|(.., traced)| *traced), "{logged:?}");
    assert_eq!(outcome.stdout.matches("before: ").count(), 6, "{outcome:?}");
    assert_eq!(read.others.len(), 6);
}

#[test]
fn r35_a_panic_is_on_file_before_the_process_dies_of_it() {
    let (rig, _, outcome, read) = life("how=panic dies=1");
    assert_eq!(outcome.status.signal(), Some(6), "{outcome:?}");
    assert_eq!(panics(&rig.dir()).last().map(|it| &*it.0), Some("panicked: the last"));
    assert_eq!(read.others.len(), 6, "with what was logged before all");
}

/// Sends a signal to a child that waits for it; its code or the signal that it died of.
fn signalled(args: &str, signal: rustix::process::Signal) -> (Option<i32>, Option<i32>, ReadBack) {
    let mut rig = Rig::new();
    let number = signal.as_raw();
    let (child, run) = rig.command(&format!("do=life how=signal signal={number} {args}"));
    // A shell has what it runs in the background ignore SIGINT, these tests and their children too.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM").arg(child.get_program()).args(child.get_args());
    command.env_remove("RUST_LOG").env_remove("TTLOG_LANES").env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::new(command, run);
    let mut told = running.line();
    if told.starts_with("child=") {
        assert_eq!(told, format!("child={number}"), "a child that did not start anew");
        told = running.line();
    }
    assert_eq!(told, "ready");
    rustix::process::kill_process(rustix::process::Pid::from_child(&running.child), signal)
        .expect("it lives");
    let status = running.child.wait().expect("it ends");
    let read = read_back(&rig.dir());
    println!("{args} {signal:?}: {status:?}, {} events", read.events.len());
    (status.code(), status.signal(), read)
}

#[test]
fn r35_sigterm_and_sigint_flush_and_then_end_the_process_as_they_always_do() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (code, died, read) = signalled("", signal);
        assert_eq!((code, died), (None, Some(signal.as_raw())));
        assert_eq!((read.events.len(), read.others.len()), (1000, 1), "{:?}", read.wrong);
    }
}

#[test]
fn r35_handlers_before_and_later_are_called_and_decide() {
    for args in ["before=handler linger=30000", "later=handler"] {
        let (code, died, read) = signalled(args, rustix::process::Signal::TERM);
        assert_eq!((code, died), (Some(5), None), "{args}");
        // The one that came later takes the signal for itself: nothing is flushed for it.
        let flushed = if args.starts_with("before") { 1000 } else { 0 };
        assert_eq!(read.events.len(), flushed, "{args}");
    }
}

#[test]
fn r35_a_signal_that_is_ignored_stays_so() {
    let (code, died, _) = signalled("before=ignored patience=1", rustix::process::Signal::TERM);
    assert_eq!((code, died), (Some(4), None));
}

#[test]
fn r35_a_signal_ends_a_process_whose_logger_has_ended_and_a_child_that_has_none() {
    let (code, died, _) = signalled("ended=1", rustix::process::Signal::TERM);
    assert_eq!((code, died), (None, Some(15)));
    let (code, died, read) = signalled("fork=1", rustix::process::Signal::TERM);
    assert_eq!((code, died, read.events.len()), (None, Some(15), 1000));
}

#[test]
fn r36_events_of_drop_are_kept() {
    let (rig, run, outcome, read) = life("how=drop events=100");
    assert!(outcome.status.success() && outcome.number("lost") == 0, "{outcome:?}");
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!((tally.missing, tally.read), (0, 300), "{tally:?}");
    assert_eq!(read.others.len(), 100);
}

#[test]
fn an_end_leaves_segments_alone() {
    for how in ["return", "exit", "shutdown"] {
        let mut rig = Rig::new();
        let (_, outcome) = rig.run(&format!("do=end how={how} threads=1 events=10"));
        assert!(outcome.status.success(), "{outcome:?}");
        let names = std::fs::read_dir(rig.dir()).expect("the directory").flatten();
        let names: Vec<_> = names.map(|entry| entry.file_name().into_string()).collect();
        let is_segment =
            |name: &Result<String, _>| name.as_ref().is_ok_and(|n| n.ends_with(".ttlog"));
        assert!(names.len() == 1 && names.iter().all(is_segment), "{how}: {names:?}");
    }
}
