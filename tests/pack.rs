//! Packing by running loggers: nothing lost, doubled or changed, whatever a kill interrupts, and how
//! small it gets.
#![cfg(feature = "zstd")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]
#![expect(clippy::print_stdout, reason = "sizes are the report of a test")]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Lane, Writer};
use ttlog::record::{Cause, Level, Losses};
use ttlog::store::name;
use ttlog::store::segment::{FLAG_PACKED, SegmentReader};
use ttlog::view::{Item, Query, Source};
use ttlog::{Builder, Compression, Handle, Keep, info};

const LONG: Duration = Duration::from_secs(60);
/// A child does its part where this names a directory.
const CHILD_DIR: &str = "TTLOG_TEST_PACK_DIR";

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let is_segment = |name: &str| name::parse(name).is_some();
    let found = entries.filter(|entry| is_segment(entry.file_name().to_str().unwrap()));
    found.map(|entry| entry.path()).collect()
}

fn is_packed(path: &Path) -> bool {
    SegmentReader::open(path).unwrap().header().flags & FLAG_PACKED != 0
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn logger(dir: &Path, app: &str, compression: Compression) -> Handle {
    let builder = Builder::new(dir).app(app, "1").keep(Keep::everything());
    builder.compress(compression).build().unwrap()
}

/// Has the segments of an app in a directory packed by a logger that logs nothing.
fn pack(dir: &Path, app: &str) {
    let logger = logger(dir, app, Compression::Zstd(3));
    eventually("all are packed", || segments(dir).iter().all(|path| is_packed(path)));
    logger.shutdown(LONG).unwrap();
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name::parse(name.to_str().unwrap()).is_none()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Everything that a directory shows, a line each; times to the microsecond.
fn shown(dir: &Path) -> Vec<String> {
    let items = Source::open(dir).unwrap().query(&Query::new());
    items.map(|item| line(item.unwrap())).collect()
}

fn line(item: Item) -> String {
    match item {
        Item::Record(record) => {
            let fields: Vec<String> = record.fields().map(|f| format!("{f:?}")).collect();
            let message = record.message().into_owned();
            format!("{} {:?} {message} {fields:?}", record.target(), record.level())
        }
        Item::Lost(lost) => format!("lost {:?} by {:?}", lost.losses(), lost.thread()),
        other => format!("{other:?}"),
    }
}

fn log_all_kinds(logger: &Handle, n: u64) {
    let (text, error) = (format!("text {}", n % 7), std::io::Error::other("why"));
    match n % 5 {
        0 => info!(logger: logger, n, "number"),
        1 => info!(logger: logger, n, text, ok = n > 20_000, "text"),
        2 => info!(logger: logger, n, half = n as f64 / 2.0, wide = u128::from(n) << 70, "wide"),
        3 => {
            info!(logger: logger, n, bytes = &[1_u8, 2, 3][..], took = Duration::from_nanos(n), "d")
        }
        _ => info!(logger: logger, n, error = &error as &dyn std::error::Error, "failed {}", n),
    }
}

#[test]
fn packed_segments_show_what_they_showed() {
    let dir = tempfile::tempdir().unwrap();
    let raw = logger(dir.path(), "orders", Compression::None);
    let compact = logger(dir.path(), "orders", Compression::Compact);
    for n in 0..40_000 {
        log_all_kinds(if n % 3 == 0 { &raw } else { &compact }, n);
        if n % 9_000 == 0 {
            raw.flush(LONG).unwrap();
            compact.rotate().unwrap();
        }
    }
    raw.shutdown(LONG).unwrap();
    compact.shutdown(LONG).unwrap();
    let (before, bytes) = (shown(dir.path()), size(dir.path()));
    assert_eq!(before.len(), 40_000);
    let n_segments = segments(dir.path()).len();
    pack(dir.path(), "orders");
    assert_eq!(segments(dir.path()).len(), n_segments);
    assert!(shown(dir.path()) == before);
    assert!(size(dir.path()) < bytes / 2, "{} of {bytes} bytes", size(dir.path()));
}

fn size(dir: &Path) -> u64 {
    segments(dir).iter().map(|path| path.metadata().unwrap().len()).sum()
}

#[test]
fn losses_are_told_as_before_and_by_the_same_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(1);
    let losing = |n: u64| {
        let mut losses = Losses::NONE;
        (0..n).for_each(|_| losses.add(Cause::Full, Level::Info, 5));
        losses
    };
    let mut lane = Lane::new(0, "main");
    (0..300).for_each(|n| lane.number(n * 1_000, n));
    let first = lane.clone().losing(losing(1));
    let second = lane.clone().losing(losing(3));
    writer.write(dir.path(), &[vec![first.run(0, 50)], vec![first.run(50, 100)]]);
    writer.write(dir.path(), &[vec![first.run(100, 150)], vec![second.run(150, 300)]]);
    let before = shown(dir.path());
    let alone = |dir: &Path| {
        let mut paths = segments(dir);
        paths.sort();
        let items = Source::open(&paths[1]).unwrap().query(&Query::new());
        items.map(|item| line(item.unwrap())).collect::<Vec<_>>()
    };
    let second_before = alone(dir.path());
    pack(dir.path(), "sample");
    assert_eq!(shown(dir.path()), before);
    assert_eq!(alone(dir.path()), second_before);
}

fn lane_of_one() -> Lane {
    let mut lane = Lane::new(1, "other");
    lane.number(5, 5);
    lane
}

#[test]
fn a_damaged_segment_and_one_that_is_written_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    (0..100).for_each(|n| lane.number(n * 1_000, n));
    let other = lane_of_one();
    let mut writer = Writer::new(1);
    let damaged = writer.write(dir.path(), &[vec![lane.run(0, 50)]]);
    lane.request(100_000, "done", 7);
    let whole = writer.write(dir.path(), &[vec![lane.run(50, lane.len())], vec![other.all()]]);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[1100] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let logger = logger(dir.path(), "sample", Compression::Zstd(1));
    info!(logger: &logger, n = 1_u64, "x");
    logger.flush(LONG).unwrap();
    eventually("the whole one is packed", || is_packed(&whole));
    assert_eq!(segments(dir.path()).iter().filter(|path| is_packed(path)).count(), 1);
    logger.shutdown(LONG).unwrap();
    assert!(std::fs::read(&damaged).unwrap() == bytes);
}

#[test]
fn who_reads_while_segments_are_packed_sees_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(1);
    let mut lane = Lane::new(0, "main");
    // More files than a reader keeps open.
    (0..100 * 30).for_each(|n| lane.number(n * 1_000, n));
    for segment in 0..100 {
        let at = segment * 30;
        writer.write(dir.path(), &[vec![lane.run(at, at + 10)], vec![lane.run(at + 10, at + 30)]]);
    }
    let source = Source::open(dir.path()).unwrap();
    let mut items = source.query(&Query::new());
    let mut messages = Vec::new();
    for (n, item) in items.by_ref().enumerate() {
        match item.unwrap() {
            Item::Record(record) => messages.push(record.message().into_owned()),
            other => panic!("{other:?}"),
        }
        if n == 100 {
            pack(dir.path(), "sample");
        }
    }
    let expected: Vec<_> = (0..3000).map(|n| format!("n={n}")).collect();
    assert!(messages == expected, "{} of {}", messages.len(), expected.len());
}

/// A part of the next test, in a process of its own.
#[test]
fn child_that_packs() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let logger = logger(dir.as_ref(), "orders", Compression::Zstd(1));
    eventually("all are packed", || segments(dir.as_ref()).iter().all(|path| is_packed(path)));
    logger.shutdown(LONG).unwrap();
}

#[test]
fn s12_a_kill_at_any_point_of_packing_loses_and_doubles_nothing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/pack.rs");
    let text = std::fs::read_to_string(file).unwrap();
    let after = text.split("crash_point!(\"").skip(1);
    let points: Vec<_> = after.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(points.len() >= 6, "{points:?}");
    for point in points {
        for nth in 1..=2 {
            let dir = tempfile::tempdir().unwrap();
            let logger = logger(dir.path(), "orders", Compression::None);
            for n in 0..600 {
                log_all_kinds(&logger, n);
                if n % 250 == 249 {
                    logger.rotate().unwrap();
                }
            }
            logger.shutdown(LONG).unwrap();
            let before = shown(dir.path());
            assert_eq!(before.len(), 600);
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_that_packs", "--test-threads", "1"])
                .env(CHILD_DIR, dir.path())
                .env("TTLOG_CRASH_AT", format!("{point}:{nth}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(9), "{point}:{nth}");
            assert!(shown(dir.path()) == before, "{point}:{nth}");
            // The next start takes it up, clears what was left, and packs.
            let next = logger_after(dir.path());
            next.shutdown(LONG).unwrap();
            pack(dir.path(), "orders");
            assert!(shown(dir.path()) == before, "{point}:{nth}");
        }
    }
}

/// A logger that has taken up the dead one before it.
fn logger_after(dir: &Path) -> Handle {
    let next = logger(dir, "orders", Compression::None);
    let owners = || {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|x| x == "owner")).count()
    };
    eventually("the dead one is taken up", || owners() == 1);
    next
}

/// Bytes an event of one segment, packed; the events come at this distance.
fn bytes_an_event(log: impl Fn(&Handle, u64), events: u64, n_flushed: u64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), "orders", Compression::Compact);
    for n in 0..events {
        log(&logger, n);
        if n % n_flushed == n_flushed - 1 {
            logger.flush(LONG).unwrap();
        }
    }
    logger.shutdown(LONG).unwrap();
    let before = size(dir.path());
    pack(dir.path(), "orders");
    assert_eq!(count_shown(dir.path()), events);
    let each = |bytes: u64| bytes as f64 / events as f64;
    println!("{:.2} bytes an event, {:.2} before", each(size(dir.path())), each(before));
    each(size(dir.path()))
}

/// Bytes an event of one number, packed. Times are those of a thread that logs flat out, is held up
/// for a moment now and then, and pauses after 2,000: on a busy machine they would be others.
fn bytes_a_number() -> f64 {
    const EVENTS: u64 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "worker");
    let mut ticks = 0;
    for n in 0..EVENTS {
        let held_up = if random(n).is_multiple_of(64) { 50 + random(n * 3) % 500 } else { 0 };
        let pause = if n % 2_000 == 1_999 { 3_000_000 } else { 0 };
        ticks += 40 + random(n * 5) % 16 + held_up + pause;
        lane.number(ticks, random(n * 7) % (1 << 16));
    }
    let bursts = (0..EVENTS as usize).step_by(2_000);
    let blocks: Vec<_> = bursts.map(|from| vec![lane.run(from, from + 2_000)]).collect();
    Writer::new(7).write(dir.path(), &blocks);
    pack(dir.path(), "sample");
    assert_eq!(count_shown(dir.path()), EVENTS);
    let each = size(dir.path()) as f64 / EVENTS as f64;
    println!("{each:.2} bytes an event");
    each
}

fn count_shown(dir: &Path) -> u64 {
    Source::open(dir).unwrap().query(&Query::new()).count() as u64
}

/// SplitMix64: no two numbers have anything in common.
fn random(n: u64) -> u64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn structured(logger: &Handle, n: u64) {
    // Fifty paths, the first the most frequent; a latency with all its bits.
    let rank = 50_f64.powf((random(n * 3) >> 11) as f64 / (1_u64 << 53) as f64) as u64;
    let path = format!("/api/v1/orders/{rank}");
    let latency = (random(n * 5 + 1) >> 11) as f64 / (1_u64 << 50) as f64;
    let (user_id, ok) = (random(n * 7 + 2) % 10_000, random(n * 11 + 3) >> 60 != 0);
    info!(logger: logger, user_id, path, latency, ok, "request done");
}

#[test]
fn packed_events_take_few_bytes() {
    let flat_out = bytes_a_number();
    assert!(flat_out <= 4.0, "one_u64: {flat_out}");
    let flat_out = bytes_an_event(structured, 200_000, 2_000);
    assert!(flat_out <= 14.0, "structured: {flat_out}");
    // Each event in a block of its own, as at one event a second.
    let quiet = bytes_an_event(structured, 5_000, 1);
    assert!(quiet <= 25.0, "structured, one at a time: {quiet}");
}
