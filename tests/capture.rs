//! Capture: what a test sees of what its code logs, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ttlog::test::{Captured, capture, carry};
use ttlog::view::Value;
use ttlog::{Builder, Level, Redacted, debug, enabled, error, info, trace, warn};

const LONG: Duration = Duration::from_secs(60);

fn messages(logs: &Captured) -> Vec<String> {
    logs.into_iter().map(|record| record.message().into_owned()).collect()
}

fn handler(id: u64) {
    trace!("entered");
    debug!(target: "app::db", rows = 3, "queried in {} ms", 1.5);
    warn!(user.id = id, secret = Redacted("x"), "denied {id}");
}

#[test]
fn every_event_of_the_thread_is_there_with_all_that_it_says() {
    let before = std::time::SystemTime::now();
    let logs = capture(|| handler(42));
    assert_eq!((logs.len(), logs.is_empty()), (3, false));
    assert!(logs.any(|r| r.level() == Level::WARN && r.field("user.id") == Some(42.into())));
    assert!(!logs.any(|r| r.level() == Level::ERROR));
    assert_eq!(messages(&logs), ["entered", "queried in 1.5 ms", "denied 42"]);
    let [entered, queried, denied] = logs.records() else { panic!("three") };
    assert_eq!((entered.target(), queried.target()), ("capture", "app::db"));
    assert_eq!(entered.file(), Some("tests/capture.rs"));
    assert!(entered.line().is_some() && entered.module() == "capture");
    assert_eq!(queried.fields().collect::<Vec<_>>(), [("rows", Value::from(3))]);
    assert_eq!(denied.field("secret"), Some("[redacted]".into()));
    assert_eq!(denied.pid(), std::process::id());
    assert_eq!(Some(denied.thread().1), std::thread::current().name());
    let ns = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64
    };
    // A step of the clock aside, and the microsecond that anchors are off.
    let (from, to) = (ns(before) - 1_000_000_000, ns(std::time::SystemTime::now()) + 1_000_000_000);
    assert!((from..to).contains(&denied.time_ns()) && entered.time_ns() <= denied.time_ns());
}

#[test]
fn a_test_that_fails_shows_what_was_said() {
    let logs = capture(|| {
        ttlog::info_span!("request", id = 7).in_scope(|| warn!(ok = false, user = "ada", "denied"));
    });
    let shown = format!("{:?}", logs.records()[0]);
    let behind_the_time = shown.split_once(", ").expect("a time").1;
    let expected = "level: Warn, target: \"capture\", message: \"denied\", \
        fields: {\"ok\": Bool(false), \"user\": Str(\"ada\")}, spans: \"request{id=7}\", .. }";
    assert_eq!(behind_the_time, expected);
}

#[test]
fn nothing_is_captured_outside_and_the_innermost_takes_it() {
    info!("before");
    let mut inner = Captured::default();
    let outer = capture(|| {
        info!("outer");
        assert!(enabled!(Level::TRACE));
        inner = capture(|| info!("inner"));
        info!("outer again");
    });
    info!("behind");
    assert_eq!(messages(&outer), ["outer", "outer again"]);
    assert_eq!(messages(&inner), ["inner"]);
    assert!(capture(|| ()).is_empty());
}

#[test]
fn tests_that_run_beside_one_another_do_not_mix() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            scope.spawn(move || {
                RUNNING.fetch_add(1, Ordering::SeqCst);
                for round in 0..50u64 {
                    info!("outside of any capture");
                    let logs = capture(|| {
                        for n in 0..20u64 {
                            info!(thread, round, n, "event");
                        }
                    });
                    let own = |r: &ttlog::view::Record| {
                        r.field("thread") == Some(thread.into())
                            && r.field("round") == Some(round.into())
                    };
                    assert!(logs.len() == 20 && logs.into_iter().all(own), "{thread} {round}");
                    let n = logs.records().iter().map(|r| r.field("n").unwrap());
                    assert!(n.eq((0..20u64).map(Value::from)));
                }
            });
        }
    });
    assert_eq!(RUNNING.load(Ordering::SeqCst), 8);
}

#[test]
fn threads_are_captured_that_carry_it_and_no_others() {
    let logs = capture(|| {
        std::thread::scope(|scope| {
            scope.spawn(carry(|| info!("carried")));
            scope.spawn(|| info!("not carried"));
            scope.spawn(carry(|| {
                // A thread of a thread.
                std::thread::spawn(carry(|| error!("carried twice"))).join().unwrap();
            }));
        });
    });
    let mut found = messages(&logs);
    found.sort();
    assert_eq!(found, ["carried", "carried twice"]);
    // Where nobody captures, and behind the end.
    carry(|| info!("nobody"))();
    let (go, told) = std::sync::mpsc::channel::<()>();
    let mut late = None;
    let logs = capture(|| {
        late = Some(std::thread::spawn(carry(move || {
            told.recv().unwrap();
            info!("behind the end");
        })));
    });
    go.send(()).unwrap();
    late.unwrap().join().unwrap();
    assert!(logs.is_empty());
}

#[test]
fn a_panic_ends_the_capture() {
    let panicked = std::panic::catch_unwind(|| {
        capture(|| {
            info!("before the panic");
            panic!("on purpose");
        })
    });
    assert!(panicked.is_err());
    let logs = capture(|| info!("after"));
    assert_eq!(messages(&logs), ["after"]);
}

/// The only test here with a global logger.
#[test]
fn a_global_logger_gets_what_is_not_captured() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).filter("off,beside=info").init().unwrap();
    let before = logger.flush(LONG).unwrap().events;
    let statement = |n: u64| {
        info!(target: "beside", n, "one statement");
        debug!(target: "beside", n, "below the filter");
    };
    statement(1);
    let logs = capture(|| {
        statement(2);
        // Another thread logs by the same statement.
        std::thread::scope(|scope| drop(scope.spawn(|| statement(3))));
        info!(logger: &logger, target: "beside", "named");
    });
    statement(4);
    let found: Vec<_> = logs.into_iter().map(|r| (r.field("n").unwrap(), r.level())).collect();
    assert_eq!(found, [(2.into(), Level::INFO), (2.into(), Level::DEBUG)]);
    // Of tests beside this one nothing has its target.
    assert_eq!(logger.flush(LONG).unwrap().events - before, 4, "1, 3, the named one, 4");
    assert_eq!(logger.stats().lost(), 0);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn long_values_are_cut_as_in_a_lane() {
    let text = "x".repeat(300_000);
    let logs = capture(|| info!(text, n = 7, "long"));
    let record = &logs.records()[0];
    assert!(record.truncated());
    let len = record.field("text").unwrap().as_str().unwrap().len();
    assert!((100_000..131_072).contains(&len), "{len}");
    assert_eq!((record.field("n"), &*record.message()), (Some(7.into()), "long"));
}
