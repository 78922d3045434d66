//! The filter of a running logger: changed at once in every statement, and back by itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::time::{Duration, Instant};

use ttlog::view::{Item, Query, Record, Source};
use ttlog::{Builder, Handle, Level, debug, enabled, info, trace, warn};

const LONG: Duration = Duration::from_secs(60);

fn records(dir: &std::path::Path) -> Vec<Record> {
    let items = Source::open(dir).unwrap().query(&Query::new());
    items
        .map(|item| match item.unwrap() {
            Item::Record(record) => record,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn messages(dir: &std::path::Path) -> Vec<String> {
    records(dir).iter().map(|record| record.message().into_owned()).collect()
}

/// One statement of each level, and one with a field, whose callsites live on.
fn statements(n: u64) {
    trace!(n, "trace {n}");
    debug!(target: "app::db", n, "debug {n}");
    info!(n, user = "ada", "info {n}");
    warn!(target: "other", n, "warn {n}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The global logger, so one test.
#[test]
fn a_change_is_there_at_once_and_falls_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).filter("warn").init().unwrap();
    statements(1);
    logger.set_filter("off,app=debug", None).unwrap();
    statements(2);
    assert!(enabled!(target: "app", Level::DEBUG) && !enabled!(target: "x", Level::ERROR));
    assert_eq!(logger.filter_left(), None);
    // For a while; what comes in between for good is what it falls back to.
    logger.set_filter("trace", Some(LONG)).unwrap();
    statements(3);
    assert!(logger.filter_left().unwrap() > LONG / 2);
    logger.set_filter("off,[{user}]=info", None).unwrap();
    assert_eq!(logger.filter_left(), None);
    statements(4);
    logger.set_filter("debug", Some(Duration::from_millis(20))).unwrap();
    // Statements that nobody has met follow as well.
    wait_until("the filter to fall back", || logger.filter_left().is_none());
    assert_eq!(logger.filter().to_string(), "off,[{user}]=info");
    statements(5);
    // What cannot be read or applied changes nothing.
    for bad in ["app=loud", "[span=debug", "[{user=}]"] {
        let error = logger.set_filter(bad, None).unwrap_err().to_string();
        assert!(error.contains(bad), "{error}");
    }
    assert_eq!(logger.filter().to_string(), "off,[{user}]=info");
    // A second override takes the place of the first, and the first's end is not the second's.
    logger.set_filter("debug", Some(Duration::from_millis(10))).unwrap();
    logger.set_filter("trace", Some(LONG)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    statements(6);
    logger.shutdown(LONG).unwrap();
    assert!(logger.set_filter("info", None).unwrap_err().is_ended());
    statements(7);
    assert_eq!(
        messages(dir.path()),
        [
            "warn 1", "debug 2", "trace 3", "debug 3", "info 3", "warn 3", "info 4", "info 5",
            "trace 6", "debug 6", "info 6", "warn 6"
        ]
    );

    // Another start has a filter of its own.
    let logger = Builder::new(dir.path()).filter("warn").init().unwrap();
    statements(8);
    logger.shutdown(LONG).unwrap();
    assert_eq!(messages(dir.path()).last().unwrap(), "warn 8");
}

fn local(logger: &Handle, n: u64) {
    trace!(logger: logger, n, "trace {n}");
    info!(logger: logger, n, "info {n}");
}

#[test]
fn a_logger_that_is_named_follows_its_own_filter() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = dirs.each_ref().map(|dir| Builder::new(dir.path()).filter("off").build().unwrap());
    local(&a, 1);
    b.set_filter("info", None).unwrap();
    let began = Instant::now();
    a.set_filter("trace", Some(Duration::from_millis(20))).unwrap();
    local(&a, 2);
    let in_time = began.elapsed() < Duration::from_millis(10);
    local(&b, 2);
    wait_until("the filter to fall back", || a.filter_left().is_none());
    local(&a, 3);
    local(&b, 3);
    a.shutdown(LONG).unwrap();
    b.shutdown(LONG).unwrap();
    assert!(!in_time || messages(dirs[0].path()) == ["trace 2", "info 2"]);
    assert_eq!(messages(dirs[1].path()), ["info 2", "info 3"]);
}

#[test]
fn changes_from_many_threads_leave_one_of_them_and_every_statement_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).filter("info").build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let logger = &logger;
            scope.spawn(move || {
                for n in 0..200 {
                    let ttl = (n % 3 == 0).then_some(Duration::from_micros(500));
                    let filter = if thread % 2 == 0 { "off" } else { "trace" };
                    logger.set_filter(filter, ttl).unwrap();
                    local(logger, n);
                }
            });
        }
    });
    logger.set_filter("off", None).unwrap();
    let before = logger.flush(LONG).unwrap().events;
    local(&logger, 1000);
    logger.set_filter("trace", None).unwrap();
    local(&logger, 1001);
    assert_eq!(logger.flush(LONG).unwrap().events, before + 2);
    logger.shutdown(LONG).unwrap();
    assert_eq!(messages(dir.path()).last().unwrap(), "info 1001");
}
