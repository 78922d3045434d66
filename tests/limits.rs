//! Rate limits: how many events of a statement pass, and how the log tells of the others.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;
use std::time::{Duration, Instant};

use ttlog::view::{Item, Query, Source, Value};
use ttlog::{Builder, info, warn};

const LONG: Duration = Duration::from_secs(60);
/// A window that does not end while the test runs, but for once in an hour.
const WINDOW: Duration = Duration::from_secs(3600);

/// Message and `suppressed` of each event.
fn told(dir: &Path) -> Vec<(String, Option<u64>)> {
    let items = Source::open(dir).unwrap().query(&Query::new());
    items
        .map(|item| match item.unwrap() {
            Item::Record(record) => {
                let suppressed = record.field("suppressed").map(|value| match value {
                    Value::U64(n) => n,
                    other => panic!("{other:?}"),
                });
                (record.message().into_owned(), suppressed)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

fn sum(told: &[(String, Option<u64>)]) -> (usize, u64) {
    let suppressed = told.iter().filter_map(|(_, n)| *n).sum();
    (told.iter().filter(|(_, n)| n.is_none()).count(), suppressed)
}

/// The global logger, so one test.
#[test]
fn each_statement_of_a_limited_target_logs_so_many_and_tells_how_many_more_there_were() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path())
        .filter("info")
        .limit("limits", 1_000_000, WINDOW)
        .limit("limits::noisy", 3, WINDOW)
        .limit("quick", 2, Duration::from_millis(20))
        .init()
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..250u64 {
                    info!(target: "limits::noisy", n, "one statement");
                    warn!(target: "limits::noisy::deep", n, "another");
                    ttlog::debug!(target: "limits::noisy", n, "off, and so not counted");
                    info!(n, "one that is limited by more than there are");
                    info!(target: "free", n, "one that is not limited");
                }
            });
        }
    });
    let stats = logger.stats();
    // The hour may change once, which lets three more of each pass.
    assert!((2 * 994..=2 * 997).contains(&stats.suppressed), "{stats:?}");
    assert_eq!(stats.lost(), 0);
    // A window that is over is told without another event of the statement.
    for n in 0..100 {
        info!(target: "quick", n, "quick");
    }
    let began = Instant::now();
    loop {
        logger.flush(LONG).unwrap();
        let told = told(dir.path());
        let quick = told.iter().filter(|(message, _)| message == "quick").count() as u64;
        let (_, suppressed) = sum(&told);
        if quick + suppressed == 100 {
            break;
        }
        assert!(began.elapsed() < LONG, "{quick} and {suppressed}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let suppressed = logger.stats().suppressed;
    logger.shutdown(LONG).unwrap();
    let told = told(dir.path());
    assert_eq!(sum(&told).1, suppressed, "all is told at the end");
    assert_eq!(sum(&told).0 as u64 + suppressed, 4100);
    let of = |text: &str| told.iter().filter(|(message, _)| message == text).count() as u64;
    assert_eq!((of("one that is not limited"), of("off, and so not counted")), (1000, 0));
    assert_eq!(of("one that is limited by more than there are"), 1000);
    assert!((3..=6).contains(&of("one statement")) && (3..=6).contains(&of("another")));
    let text = "events of this statement were left out by its rate limit";
    assert!(of(text) >= 3, "{}", of(text));

    // Behind the end of the logger the statement is free again.
    let logger = Builder::new(dir.path()).filter("info").init().unwrap();
    for n in 0..10 {
        info!(target: "limits::noisy", n, "free again");
    }
    assert_eq!(logger.stats().suppressed, 0);
    assert_eq!(logger.flush(LONG).unwrap().events, 10);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn a_logger_that_is_named_is_limited_by_its_own_rule() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let limited = Builder::new(dirs[0].path()).limit("named", 5, WINDOW).build().unwrap();
    let free = Builder::new(dirs[1].path()).build().unwrap();
    for n in 0..100 {
        for logger in [&limited, &free] {
            info!(logger: logger, target: "named", n, "event");
        }
    }
    let suppressed = limited.stats().suppressed;
    assert!((90..=95).contains(&suppressed), "{suppressed}");
    assert_eq!(free.stats().suppressed, 0);
    limited.shutdown(LONG).unwrap();
    free.shutdown(LONG).unwrap();
    assert_eq!(sum(&told(dirs[0].path())), (100 - suppressed as usize, suppressed));
    assert_eq!(sum(&told(dirs[1].path())), (100, 0));
}

#[test]
fn a_limit_that_lets_nothing_pass_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for (n, per) in [(0, WINDOW), (1, Duration::ZERO)] {
        let error = Builder::new(dir.path()).limit("a", n, per).build().unwrap_err();
        assert!(error.to_string().contains("a=off"), "{error}");
    }
}
