//! The flight recorder: what the filter leaves out is kept, and comes to a file with a dump alone.
//!
//! `RECORDER_SNAPSHOTS` takes more of them under load (R26).
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use recorded::{Shown, child, dumps, read, start, wait_until};
use tracing_subscriber::prelude::*;
use ttlog::store::segment::{FLAG_SPILL, SegmentReader};
use ttlog::{BackPressurePolicy, Builder, Handle, Level};

const LONG: Duration = Duration::from_secs(60);
/// As long as one that is not there could take to come.
const A_WHILE: Duration = Duration::from_millis(400);

fn logger(dir: &Path, bytes: usize) -> Handle {
    builder(dir, bytes).build().unwrap()
}

fn builder(dir: &Path, bytes: usize) -> Builder {
    Builder::new(dir).app("rec", "1").filter("info").flight_recorder(Level::TRACE, bytes)
}

/// The files of a recorder's lanes, with their lengths.
fn recorder_files(logger: &Handle) -> Vec<(PathBuf, u64)> {
    let place = logger.health().lanes.expect("in shared memory");
    let entries = std::fs::read_dir(place).expect("a place").flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("recorder-"));
    ours.map(|entry| (entry.path(), entry.metadata().expect("a file").len())).collect()
}

/// Numbers of a thread's events at a level, in the order shown.
fn numbers(shown: &[Shown], level: Level, thread: u64) -> Vec<u64> {
    let mine = shown.iter().filter(|it| it.level == level && it.t == Some(thread));
    mine.map(|it| it.n.unwrap()).collect()
}

#[test]
fn trace_is_in_the_dump_alone_in_order_with_the_log_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 1 << 20);
    std::thread::scope(|scope| {
        for t in 0..2_u64 {
            let logger = &logger;
            scope.spawn(move || {
                for n in 0..100_u64 {
                    ttlog::trace!(logger: logger, t, n, "kept");
                    ttlog::info!(logger: logger, t, n, "logged");
                }
            });
        }
    });
    logger.flush(LONG).unwrap();
    let file = dir.path().join("what.ttdump");
    assert_eq!(logger.snapshot(&file).unwrap().events, 400);
    let dumped = read(&file);
    for t in 0..2 {
        let mine: Vec<_> = dumped.iter().filter(|it| it.t == Some(t)).collect();
        let expected = (0..100).flat_map(|n| [(Level::TRACE, n), (Level::INFO, n)]);
        assert!(mine.iter().map(|it| (it.level, it.n.unwrap())).eq(expected), "{mine:?}");
    }
    // Of two files that hold an event, one shows it.
    assert_eq!(recorded::read_all(&[&file, dir.path()]).len(), 400);
    let only_info = |dir: &Path| {
        let shown = read(dir);
        assert_eq!(shown.len(), 200);
        assert!(shown.iter().all(|it| it.level == Level::INFO));
    };
    only_info(dir.path());
    let stats = logger.stats();
    assert_eq!((stats.written, stats.lost()), (200, 0));
    let place = logger.health().lanes.unwrap();
    logger.shutdown(LONG).unwrap();
    only_info(dir.path());
    assert!(!place.exists(), "nothing is left to take up");
    assert!(logger.snapshot(&file).unwrap_err().is_ended());
}

#[test]
fn the_newest_are_kept_and_the_oldest_make_room() {
    for bytes in [128 << 10, 4 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let logger = logger(dir.path(), bytes);
        let last = 200_000_u64;
        for n in 0..=last {
            ttlog::trace!(logger: &logger, t = 0_u64, n, "kept");
        }
        ttlog::info!(logger: &logger, t = 0_u64, n = 0_u64, "logged");
        let file = dir.path().join("what.ttdump");
        logger.snapshot(&file).unwrap();
        let kept = numbers(&read(&file), Level::TRACE, 0);
        assert!(kept.windows(2).all(|two| two[1] == two[0] + 1), "none is missing between");
        assert_eq!(kept.last(), Some(&last));
        let room = bytes as u64 / 4 / 100;
        assert!((room..last).contains(&(kept.len() as u64)), "{} in {bytes}", kept.len());
        let taken: u64 = recorder_files(&logger).iter().map(|(_, len)| len).sum();
        assert!(taken > 0 && taken <= bytes as u64, "{taken} of {bytes}");
        logger.flush(LONG).unwrap();
        // What made room is no loss.
        assert_eq!((logger.stats().written, logger.stats().lost()), (1, 0));
        assert_eq!(read(dir.path()).len(), 1);
        logger.shutdown(LONG).unwrap();
    }
}

#[test]
fn many_threads_share_what_there_is_and_those_that_ended_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 256 << 10);
    let everybody = std::sync::Barrier::new(24);
    std::thread::scope(|scope| {
        for t in 0..24_u64 {
            let (logger, everybody) = (&logger, &everybody);
            scope.spawn(move || {
                for n in 0..500_u64 {
                    ttlog::debug!(logger: logger, t, n, "kept");
                }
                everybody.wait();
                ttlog::info!(logger: logger, t, n = 0_u64, "logged");
            });
        }
    });
    let file = dir.path().join("what.ttdump");
    logger.snapshot(&file).unwrap();
    let shown = read(&file);
    let mut with_some = 0;
    for t in 0..24 {
        let kept = numbers(&shown, Level::DEBUG, t);
        assert!(kept.is_sorted() && kept.iter().all(|n| *n < 500), "{kept:?}");
        with_some += usize::from(!kept.is_empty());
    }
    assert!(with_some >= 4, "lanes of their own were for more than {with_some}");
    let taken: u64 = recorder_files(&logger).iter().map(|(_, len)| len).sum();
    assert!(taken <= 256 << 10, "{taken}");
    // What they left makes room, so that others come to keep what they do.
    for t in 100..140_u64 {
        let kept = wait_until(|| {
            let one = std::thread::spawn({
                let logger = logger.clone();
                move || ttlog::debug!(logger: &logger, t, n = 1_u64, "kept")
            });
            one.join().unwrap();
            logger.snapshot(&file).unwrap();
            !numbers(&read(&file), Level::DEBUG, t).is_empty()
        });
        assert!(kept, "{t}");
    }
    logger.shutdown(LONG).unwrap();
}

#[test]
fn a_filter_that_is_set_moves_events_from_the_recorder_to_the_log_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 1 << 20);
    let log = |n: u64| ttlog::debug!(logger: &logger, t = 0_u64, n, "an event");
    log(0);
    logger.set_filter("debug", None).unwrap();
    log(1);
    logger.set_filter("off", None).unwrap();
    log(2);
    logger.flush(LONG).unwrap();
    let file = dir.path().join("what.ttdump");
    logger.snapshot(&file).unwrap();
    assert_eq!(numbers(&read(dir.path()), Level::DEBUG, 0), [1]);
    assert_eq!(numbers(&read(&file), Level::DEBUG, 0), [0, 1, 2]);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn what_is_redacted_is_so_in_the_dump_and_a_rate_limit_is_not_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let logger = builder(dir.path(), 1 << 20).redact(["password"]).limit("recorder", 1, LONG);
    let logger = logger.build().unwrap();
    for n in 0..10_u64 {
        ttlog::trace!(logger: &logger, t = 0_u64, n, password = "hunter2", "kept");
    }
    let file = dir.path().join("what.ttdump");
    logger.snapshot(&file).unwrap();
    assert_eq!(numbers(&read(&file), Level::TRACE, 0), (0..10).collect::<Vec<_>>());
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    assert!(bytes.windows(10).any(|window| window == b"[redacted]"));
    logger.shutdown(LONG).unwrap();
}

#[test]
fn the_level_of_the_recorder_is_its_least() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).filter("warn").flight_recorder(Level::DEBUG, 1 << 20);
    let logger = logger.build().unwrap();
    ttlog::trace!(logger: &logger, t = 0_u64, n = 0_u64, "neither");
    ttlog::debug!(logger: &logger, t = 0_u64, n = 1_u64, "kept");
    ttlog::info!(logger: &logger, t = 0_u64, n = 2_u64, "kept");
    ttlog::warn!(logger: &logger, t = 0_u64, n = 3_u64, "logged");
    let file = dir.path().join("what.ttdump");
    assert_eq!(logger.snapshot(&file).unwrap().events, 3);
    let shown: Vec<_> = read(&file).iter().map(|it| it.n.unwrap()).collect();
    assert_eq!(shown, [1, 2, 3]);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn events_of_tracing_are_kept_with_the_span_that_they_are_in() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // A thread has one lane that needs no look: the second logger's calls go another way.
    let layers = dirs.each_ref().map(|dir| {
        let layer = ttlog::layer(dir.path()).filter("info").flight_recorder(Level::TRACE, 1 << 20);
        layer.build().unwrap()
    });
    let [(first, one), (second, two)] = layers;
    let subscriber = tracing_subscriber::registry().with(first).with(second);
    tracing::subscriber::with_default(subscriber, || {
        let _span = tracing::info_span!("request", id = 7).entered();
        for n in 0..10_u64 {
            tracing::trace!(t = 0_u64, n, "kept");
        }
        tracing::info!(t = 0_u64, n = 10_u64, "logged");
    });
    for (dir, logger) in dirs.iter().zip([one, two]) {
        logger.flush(LONG).unwrap();
        let file = dir.path().join("what.ttdump");
        assert_eq!(logger.snapshot(&file).unwrap().events, 11);
        let shown = read(&file);
        assert_eq!(numbers(&shown, Level::TRACE, 0), (0..10).collect::<Vec<_>>());
        assert!(shown.iter().all(|it| it.spans == ["request"]), "{shown:?}");
        assert_eq!(numbers(&read(dir.path()), Level::TRACE, 0), [0; 0]);
        assert_eq!(numbers(&read(dir.path()), Level::INFO, 0), [10]);
        logger.shutdown(LONG).unwrap();
    }
}

#[test]
fn events_in_spans_of_ttlog_are_kept_with_them_and_spans_that_nobody_wants_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 1 << 20);
    let outer = ttlog::info_span!(logger: &logger, "request", id = 7);
    outer.in_scope(|| {
        let unwanted = ttlog::trace_span!(logger: &logger, "detail");
        assert!(unwanted.is_disabled(), "the recorder keeps events alone");
        let _entered = unwanted.entered();
        (0..10_u64).for_each(|n| ttlog::trace!(logger: &logger, t = 0_u64, n, "kept"));
        ttlog::info!(logger: &logger, t = 0_u64, n = 10_u64, "logged");
    });
    drop(outer);
    logger.flush(LONG).unwrap();
    let file = dir.path().join("what.ttdump");
    assert_eq!(logger.snapshot(&file).unwrap().events, 11);
    let shown = read(&file);
    assert_eq!(numbers(&shown, Level::TRACE, 0), (0..10).collect::<Vec<_>>());
    assert!(shown.iter().all(|it| it.spans == ["request"]), "{shown:?}");
    logger.shutdown(LONG).unwrap();
}

/// What follows in the log on spans that were opened.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Stays,
    Rolls,
    /// The newest file is one that the spiller wrote.
    Spills,
}

/// Floods until the newest file of the log is one that the spiller wrote.
fn spill(logger: &Handle, dir: &Path) {
    let text = "x".repeat(3000);
    let log = || (0..2000).for_each(|_| ttlog::info!(logger: logger, text, "flood"));
    let newest_is_spilled = || {
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let readers = files.filter_map(|path| SegmentReader::open(&path).ok());
        let newest = readers.max_by_key(|reader| reader.header().number).expect("a segment");
        newest.header().flags & FLAG_SPILL != 0
    };
    let spilled = || {
        std::thread::scope(|scope| [(); 2].map(|()| scope.spawn(log)).map(drop));
        logger.flush(LONG).unwrap();
        newest_is_spilled()
    };
    assert!(wait_until(spilled), "the spiller writes no file that is the newest");
}

/// In earlier blocks and segments than anything else that stands in the dump, and closed in between.
#[test]
fn spans_that_were_opened_long_before_are_named_in_a_dump() {
    for then in [Then::Stays, Then::Rolls, Then::Spills] {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = builder(dir.path(), 1 << 20);
        if then == Then::Spills {
            let policy = BackPressurePolicy::SpillToDisk(dir.path().to_owned());
            builder = builder.lane_bytes(32 << 10).back_pressure(policy);
        }
        let logger = builder.build().unwrap();
        let later = || {
            logger.flush(LONG).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        };
        let _outer = ttlog::info_span!(logger: &logger, "outer").entered();
        let inner = ttlog::info_span!(logger: &logger, "inner").entered();
        let closed = ttlog::info_span!(logger: &logger, "closed").entered();
        later();
        drop(closed);
        match then {
            Then::Stays => {}
            Then::Rolls => logger.rotate().unwrap(),
            Then::Spills => spill(&logger, dir.path()),
        }
        later();
        (0..10_u64).for_each(|n| ttlog::trace!(logger: &logger, t = 0_u64, n, "kept"));
        let files = ["one", "two"].map(|name| dir.path().join(name).with_extension("ttdump"));
        let snapshot = |file, n| {
            let events = logger.snapshot(file).unwrap().events;
            // Beside them may stand what the scribe still keeps of the flood.
            assert!(events == n || then == Then::Spills && events > n, "{then:?}: {events}");
        };
        snapshot(&files[0], 10);
        drop(inner);
        ttlog::trace!(logger: &logger, t = 0_u64, n = 10_u64, "kept");
        snapshot(&files[1], 11);
        logger.shutdown(LONG).unwrap();
        for (file, n) in files.iter().zip([10, 11]) {
            let mut shown = read(file);
            shown.retain(|it| it.level == Level::TRACE);
            assert_eq!(numbers(&shown, Level::TRACE, 0), (0..n).collect::<Vec<_>>());
            let spans =
                |it: &Shown| if it.n == Some(10) { vec!["outer"] } else { vec!["outer", "inner"] };
            assert!(shown.iter().all(|it| it.spans == spans(it)), "{then:?}: {shown:?}");
        }
    }
}

#[test]
fn what_is_pushed_is_written_or_lost_with_a_recorder_as_without() {
    for bytes in [None, Some(128 << 10)] {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(dir.path())
            .filter("info")
            .lane_bytes(32 << 10)
            .back_pressure(BackPressurePolicy::DropNewest);
        if let Some(bytes) = bytes {
            builder = builder.flight_recorder(Level::TRACE, bytes);
        }
        let logger = builder.build().unwrap();
        let file = dir.path().join("what.ttdump");
        std::thread::scope(|scope| {
            for t in 0..2_u64 {
                let logger = &logger;
                scope.spawn(move || {
                    for n in 0..50_000_u64 {
                        ttlog::trace!(logger: logger, t, n, "kept");
                        ttlog::info!(logger: logger, t, n, "logged");
                    }
                });
            }
            // Dumped again and again meanwhile: nothing of the log waits for that.
            (0..5).for_each(|_| assert_eq!(logger.snapshot(&file).is_ok(), bytes.is_some()));
        });
        logger.flush(LONG).unwrap();
        let stats = logger.stats();
        assert_eq!(stats.written + stats.lost(), 100_000);
        assert_eq!(read(dir.path()).len() as u64, stats.written);
        assert_eq!(recorded::lost(dir.path()), stats.lost());
        logger.shutdown(LONG).unwrap();
    }
}

/// Ends what runs beside a test, however that ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn r26_snapshots_under_load_are_whole_and_hold_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 1 << 20);
    let n_snapshots = std::env::var("RECORDER_SNAPSHOTS").map_or(10, |n| n.parse().unwrap());
    let file = dir.path().join("what.ttdump");
    let returned = [const { AtomicU64::new(0) }; 2];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (t, returned) in returned.iter().enumerate() {
            let (logger, is_over) = (&logger, &is_over);
            scope.spawn(move || {
                for n in 1_u64.. {
                    ttlog::trace!(logger: logger, t = t as u64, n, "kept");
                    if n % 1000 == 0 {
                        ttlog::info!(logger: logger, t = t as u64, n, "logged");
                    }
                    returned.store(n, Ordering::Release);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        // Also when an assertion fails.
        let _over = Over(&is_over);
        for _ in 0..n_snapshots {
            let before = returned.each_ref().map(|n| n.load(Ordering::Acquire));
            logger.snapshot(&file).unwrap();
            let shown = read(&file);
            for (t, before) in before.into_iter().enumerate() {
                for level in [Level::TRACE, Level::INFO] {
                    let kept = numbers(&shown, level, t as u64);
                    assert!(kept.windows(2).all(|two| two[0] < two[1]), "in order, each once");
                    let newest = if level == Level::TRACE { before } else { before / 1000 * 1000 };
                    assert!(kept.last().is_none_or(|last| *last >= newest), "{level} of {t}");
                    assert!(!kept.is_empty() || newest == 0, "{level} of {t}");
                }
            }
        }
    });
    logger.shutdown(LONG).unwrap();
    println!("{n_snapshots} snapshots");
}

#[test]
fn a_place_that_is_removed_is_made_again_for_the_recorder_too() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), 1 << 20);
    ttlog::trace!(logger: &logger, t = 0_u64, n = 0_u64, "kept");
    std::fs::remove_dir_all(logger.health().lanes.unwrap()).unwrap();
    let file = dir.path().join("what.ttdump");
    let mut n = 0_u64;
    assert!(wait_until(|| {
        n += 1;
        ttlog::trace!(logger: &logger, t = 0_u64, n, "kept");
        logger.snapshot(&file).is_ok() && numbers(&read(&file), Level::TRACE, 0).contains(&n)
    }));
    logger.shutdown(LONG).unwrap();
}

#[test]
fn an_event_that_asks_for_a_dump_gets_one_for_a_burst() {
    let dir = tempfile::tempdir().unwrap();
    let logger = builder(dir.path(), 1 << 20).dump_on(Level::ERROR).build().unwrap();
    ttlog::trace!(logger: &logger, t = 0_u64, n = 0_u64, "kept");
    ttlog::warn!(logger: &logger, t = 0_u64, n = 0_u64, "asks for nothing");
    logger.flush(LONG).unwrap();
    std::thread::sleep(A_WHILE);
    assert_eq!(dumps(dir.path()), [""; 0].map(PathBuf::from));
    let began = Instant::now();
    let burst = || {
        for n in 0..1000_u64 {
            ttlog::error!(logger: &logger, t = 0_u64, n, "asks");
        }
        logger.flush(LONG).unwrap();
    };
    burst();
    assert!(wait_until(|| !dumps(dir.path()).is_empty()));
    burst();
    std::thread::sleep(A_WHILE);
    // On a machine that stood still the second may be a burst of its own.
    let bursts = if began.elapsed() < Duration::from_secs(9) { 1 } else { 2 };
    assert!(dumps(dir.path()).len() <= bursts);
    let shown = read(&dumps(dir.path())[0]);
    assert_eq!(numbers(&shown, Level::TRACE, 0), [0]);
    assert!(!numbers(&shown, Level::ERROR, 0).is_empty());
    logger.shutdown(LONG).unwrap();
}

#[test]
fn the_last_event_before_the_end_gets_its_dump() {
    let dir = tempfile::tempdir().unwrap();
    let logger = builder(dir.path(), 1 << 20).dump_on(Level::ERROR).build().unwrap();
    ttlog::trace!(logger: &logger, t = 0_u64, n = 1_u64, "kept");
    ttlog::error!(logger: &logger, t = 0_u64, n = 2_u64, "asks");
    logger.shutdown(LONG).unwrap();
    let [dump] = &dumps(dir.path())[..] else { panic!("{:?}", dumps(dir.path())) };
    let shown: Vec<_> = read(dump).iter().map(|it| it.n.unwrap()).collect();
    assert_eq!(shown, [1, 2]);
}

#[test]
fn of_many_dumps_beside_the_log_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..12 {
        let name = ttlog::store::name::dump("rec", n * 1_000_000_000, 1, 0);
        std::fs::write(dir.path().join(name), "old").unwrap();
    }
    let other = dir.path().join(ttlog::store::name::dump("other", 0, 1, 0));
    let leftover = format!(".{}.4194305", ttlog::store::name::dump("rec", 5, 1, 0));
    for path in [&other, &dir.path().join(&leftover)] {
        std::fs::write(path, "old").unwrap();
    }
    let logger = builder(dir.path(), 1 << 20).dump_on(Level::ERROR).build().unwrap();
    ttlog::error!(logger: &logger, t = 0_u64, n = 2_u64, "asks");
    logger.shutdown(LONG).unwrap();
    let left = dumps(dir.path());
    assert_eq!(left.len(), 11, "ten, and another program's: {left:?}");
    assert!(other.exists() && !dir.path().join(leftover).exists());
    assert_eq!(left.iter().filter(|path| std::fs::read(path).unwrap() != b"old").count(), 1);
}

#[test]
fn a_panic_is_in_the_dump_that_it_makes_with_what_led_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = start(dir.path(), "panic").wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let [dump] = &dumps(dir.path())[..] else { panic!("{:?}", dumps(dir.path())) };
    let shown = read(dump);
    assert_eq!(numbers(&shown, Level::TRACE, 0), [0, 1, 2]);
    let [panic] = &shown.iter().filter(|it| it.level == Level::ERROR).collect::<Vec<_>>()[..]
    else {
        panic!("{shown:?}")
    };
    assert_eq!(panic.message, "panicked: on purpose");
    // The bridge's records and those of the macros without a logger are kept as well.
    assert!(shown.iter().any(|it| it.message == "of log"), "{shown:?}");
    let logged = read(dir.path());
    assert!(logged.iter().all(|it| it.level == Level::ERROR || it.message == "logged"));
}

#[test]
fn killed_before_its_name_a_snapshot_leaves_what_was_there() {
    for (point, is_new) in [("dump.written", false), ("dump.rename", false), ("dump.renamed", true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("what.ttdump");
        // Twice: the second one dies.
        let mut command = recorded::command(dir.path(), "snapshots");
        command.env("TTLOG_CRASH_AT", format!("{point}:2"));
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it died: {output:?}");
        let shown = read(&file);
        let kept = numbers(&shown, Level::TRACE, 0);
        assert_eq!(kept, if is_new { vec![0, 1] } else { vec![0] }, "{point}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |builder: Builder| builder.build().unwrap_err().to_string();
    for bytes in [0, 1000] {
        let error = refused(builder(dir.path(), bytes));
        assert!(error.contains(&format!("{bytes} bytes")) && error.contains("128 KiB"), "{error}");
    }
    let error = refused(builder(dir.path(), 1 << 50));
    assert!(error.contains("1125899906842624 bytes") && error.contains("use less"), "{error}");
    let error = refused(builder(dir.path(), 1 << 20).crash_safe(false));
    assert!(error.contains("shared memory"), "{error}");
    let error = refused(Builder::new(dir.path()).dump_on(Level::ERROR));
    assert!(error.contains("flight_recorder"), "{error}");
    // Nothing of a start that was refused is left.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let without = Builder::new(dir.path()).build().unwrap();
    let error = without.snapshot(dir.path().join("x")).unwrap_err().to_string();
    assert!(error.contains("no flight recorder"), "{error}");
    without.shutdown(LONG).unwrap();
    let logger = logger(dir.path(), 1 << 20);
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let missing = dir.path().join("none/what.ttdump");
    for (path, way_out) in [
        (dir.path(), "name a file in this directory"),
        (&fifo, "choose another name"),
        (&missing, "choose a directory that is there"),
        (Path::new("/proc/what.ttdump"), "choose a directory that is there"),
        (Path::new("/"), "name a file"),
    ] {
        let error = logger.snapshot(path).unwrap_err();
        assert_eq!(error.path(), Some(path));
        assert!(error.to_string().contains(way_out), "{error}");
    }
    assert!(fifo.exists());
    logger.shutdown(LONG).unwrap();
}

/// Runs in a process of its own, which the tests above start.
#[test]
fn a_child() {
    child();
}
