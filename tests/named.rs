//! Loggers that calls name: a statement remembers what one of them wants, and a thread has one
//! producer at hand; whatever changes, each logger gets what it wants, in the spans it came in.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;
use std::time::{Duration, Instant};

use ttlog::view::{Item, Query, Source};
use ttlog::{Builder, Handle, Level, info_span};

const LONG: Duration = Duration::from_secs(60);

/// Statements that all loggers of a test share, and no other test's: they remember the youngest.
macro_rules! statements {
    () => {
        |logger: &Handle, n: u64| {
            ttlog::info!(logger: logger, "info {}", n);
            ttlog::debug!(logger: logger, target: "db", "debug {}", n);
        }
    };
}

/// Message and span of each event.
fn events(dir: &Path) -> Vec<(String, String)> {
    let items = Source::open(dir).unwrap().query(&Query::new());
    let records = items.filter_map(|item| match item.unwrap() {
        Item::Record(record) => Some(record),
        Item::Lost(lost) => panic!("{lost:?}"),
        _ => None,
    });
    let span = |record: &ttlog::view::Record| {
        record.spans().last().map(|span| span.name.clone()).unwrap_or_default()
    };
    records.map(|record| (record.message().into_owned(), span(&record))).collect()
}

fn messages(dir: &Path) -> Vec<String> {
    events(dir).into_iter().map(|(message, _)| message).collect()
}

fn logger(dir: &Path, filter: &str) -> Handle {
    Builder::new(dir).filter(filter).build().unwrap()
}

fn end(loggers: &[Handle]) {
    for logger in loggers {
        logger.shutdown(LONG).unwrap();
    }
}

#[test]
fn loggers_that_share_statements_get_what_each_wants_now() {
    let statements = statements!();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let filters = ["info", "debug", "off"];
    let loggers: Vec<_> =
        dirs.iter().zip(filters).map(|(dir, it)| logger(dir.path(), it)).collect();
    let all = |n| loggers.iter().for_each(|logger| statements(logger, n));
    // Each is remembered by turns, and in the end the youngest, whose filter changes first.
    (0..3).for_each(all);
    loggers[2].set_filter("trace", None).unwrap();
    all(3);
    loggers[2].set_filter("off", Some(LONG)).unwrap();
    all(4);
    loggers[2].set_filter("off", Some(Duration::from_millis(1))).unwrap();
    let began = Instant::now();
    while loggers[2].filter_left().is_some() {
        assert!(began.elapsed() < LONG, "it falls back");
        std::thread::sleep(Duration::from_millis(1));
    }
    all(5);
    loggers[0].set_filter("db=debug", None).unwrap();
    all(6);
    end(&loggers);
    all(7);
    assert!(
        loggers.iter().all(|logger| logger.stats().lost() == 0),
        "behind the end it is a no-op"
    );
    let both = |n: u64| [format!("info {n}"), format!("debug {n}")];
    let infos = (0..6).map(|n| format!("info {n}"));
    let first: Vec<_> = infos.chain(["debug 6".to_owned()]).collect();
    assert_eq!(messages(dirs[0].path()), first);
    assert_eq!(messages(dirs[1].path()), (0..7).map(both).collect::<Vec<_>>().concat());
    assert_eq!(messages(dirs[2].path()), [3, 5, 6].map(both).concat());
}

#[test]
fn a_limit_a_recorder_and_a_span_that_grants_are_asked_each_time() {
    let statements = statements!();
    let dir = tempfile::tempdir().unwrap();
    let (limited, recorded) = (dir.path().join("limited"), dir.path().join("recorded"));
    let logger = Builder::new(&limited)
        .filter("info,[grants]=debug")
        .limit("often", 2, Duration::from_secs(3_600))
        .build()
        .unwrap();
    let keeper = Builder::new(&recorded)
        .filter("info")
        .flight_recorder(Level::DEBUG, 1 << 20)
        .build()
        .unwrap();
    for n in 0..3_u64 {
        ttlog::info!(logger: &logger, target: "often", "often {}", n);
        statements(&logger, n);
        let span = info_span!(logger: &logger, "grants").entered();
        statements(&logger, n + 10);
        drop(span);
        statements(&keeper, n);
    }
    keeper.snapshot(dir.path().join("snapshot.ttlog")).unwrap();
    end(&[logger, keeper]);
    let seen = messages(&limited);
    let starting = |with: &str| seen.iter().filter(|it| it.starts_with(with)).count();
    assert_eq!((starting("often"), starting("info"), starting("debug")), (2, 6, 3), "{seen:?}");
    assert_eq!(messages(&recorded), ["info 0", "info 1", "info 2"]);
    let kept = messages(&dir.path().join("snapshot.ttlog"));
    assert_eq!(kept.iter().filter(|it| it.starts_with("debug")).count(), 3, "{kept:?}");
}

#[test]
fn events_of_several_named_loggers_are_in_the_spans_of_their_own() {
    let statements = statements!();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let loggers = [0, 1].map(|n| logger(dirs[n].path(), "info"));
    // The first has the producer at hand; spans come before its first event, and behind it.
    let outer = info_span!(logger: &loggers[0], "outer").entered();
    let both = |n| loggers.iter().for_each(|logger| statements(logger, n));
    both(0);
    let other = info_span!(logger: &loggers[1], "other").entered();
    both(1);
    let inner = info_span!(logger: &loggers[0], "inner").entered();
    both(2);
    drop(outer);
    both(3);
    drop((inner, other));
    both(4);
    end(&loggers);
    let spans = |n: usize| events(dirs[n].path()).into_iter().map(|(_, span)| span);
    assert_eq!(spans(0).collect::<Vec<_>>(), ["outer", "outer", "inner", "inner", ""]);
    assert_eq!(spans(1).collect::<Vec<_>>(), ["", "other", "other", "other", ""]);
}

#[test]
fn a_thread_outlives_its_named_loggers() {
    let statements = statements!();
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20_u64 {
        let of_this = dir.path().join(n.to_string());
        let (first, second) = (logger(&of_this, "info"), logger(&of_this, "info"));
        for n in 0..10 {
            statements(&first, n);
            statements(&second, n);
        }
        first.shutdown(LONG).unwrap();
        statements(&first, 10);
        statements(&second, 10);
        second.shutdown(LONG).unwrap();
        assert_eq!(messages(&of_this).len(), 21);
    }
}
