//! Together: features that are tested alone elsewhere, where they meet.
#![cfg(all(feature = "tracing", feature = "cli"))]
#![expect(clippy::unwrap_used, reason = "tests")]

mod shown;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shown::{LONG, records};
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::prelude::*;
use ttlog::store::segment::{Entry, FLAG_PACKED, SegmentHeader, SegmentReader};
use ttlog::view::{Item, Query, Record, Source, Value};
use ttlog::{BackPressurePolicy, Compression, Rotate};

/// The segments of a directory.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "ttlog")).collect()
}

/// `outer{t=1}:inner{n=2}` for an event.
fn around(record: &Record) -> String {
    let span = |span: &ttlog::view::Span| {
        let fields = span.fields().map(|(name, value)| format!("{name}={value}"));
        format!("{}{{{}}}", span.name, fields.collect::<Vec<_>>().join(" "))
    };
    record.spans().iter().map(span).collect::<Vec<_>>().join(":")
}

fn number(record: &Record, name: &str) -> u64 {
    match record.field(name) {
        Some(Value::U64(number)) => number,
        other => panic!("{name}: {other:?}"),
    }
}

/// Records of any kind in a segment.
fn n_records(path: &Path) -> u64 {
    let mut reader = SegmentReader::open(path).unwrap();
    let mut n = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry {
            Entry::Block(block) => n += u64::from(block.header.records),
            other => panic!("{other:?}"),
        }
    }
    n
}

/// Events of each thread.
const EVENTS: u64 = 30_000;
/// What the last event says.
const LAST: &str = "behind it all";

fn log(dispatch: &Dispatch, t: u64) {
    tracing::dispatcher::with_default(dispatch, || {
        let _outer = info_span!("outer", t).entered();
        for n in 0..EVENTS {
            let _inner = info_span!("inner", n).entered();
            info!(t, n, "an event of some length");
        }
    });
}

/// Logs from two threads whose lanes overflow, and one event in a segment of its own.
fn log_all(dir: &Path) {
    let (layer, handle) = ttlog::layer(dir)
        .app("together", "1")
        .lane_bytes(32 << 10)
        .back_pressure(BackPressurePolicy::SpillToDisk(dir.join("spill")))
        .spill_wait(LONG)
        .rotate(Rotate::size(256 << 10))
        .compress(Compression::Zstd(1))
        .build()
        .unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    std::thread::scope(|scope| {
        for t in 0..2 {
            let dispatch = &dispatch;
            scope.spawn(move || log(dispatch, t));
        }
    });
    tracing::dispatcher::with_default(&dispatch, || {
        let _last = info_span!("last", id = 7).entered();
        handle.flush(LONG).unwrap();
        handle.rotate().unwrap();
        info!("{LAST}");
        handle.flush(LONG).unwrap();
    });
    let stats = handle.stats();
    assert!(stats.spilled > 0 && stats.lost() == 0, "{stats:?}");
    let flushed = handle.shutdown(LONG).unwrap();
    assert_eq!(flushed.events, 2 * EVENTS + 1, "records of spans are no events");
}

/// Each event is there once, in the order of its thread, in the spans that it was logged in.
fn check(dir: &Path) {
    let (mut next, mut n_last) = ([0; 2], 0);
    for record in records(dir) {
        if record.message() == LAST {
            assert_eq!(around(&record), "last{id=7}");
            n_last += 1;
            continue;
        }
        let (t, n) = (number(&record, "t"), number(&record, "n"));
        assert_eq!(around(&record), format!("outer{{t={t}}}:inner{{n={n}}}"));
        assert_eq!(n, next[t as usize]);
        next[t as usize] += 1;
    }
    assert_eq!((next, n_last), ([EVENTS; 2], 1));
}

/// The events in one segment that say what the last one does, with their spans.
fn last_in(segment: &Path) -> Vec<String> {
    let items = Source::open(segment).unwrap().query(&Query::new());
    let records = items.filter_map(|item| match item.unwrap() {
        Item::Record(record) => Some(record),
        _ => None,
    });
    records.filter(|record| record.message() == LAST).map(|record| around(&record)).collect()
}

#[test]
fn spans_are_told_whole_and_once_where_lanes_spill_and_segments_are_packed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    log_all(dir);
    check(dir);

    // The last segment alone tells the span that was open, and none of those that were closed,
    // wherever their records went.
    let mut last = segments(dir);
    last.retain(|segment| !last_in(segment).is_empty());
    assert_eq!(last.len(), 1);
    assert_eq!(last_in(&last[0]), ["last{id=7}"]);
    assert!(n_records(&last[0]) < 10, "{} records", n_records(&last[0]));

    // The next start packs what is left: nothing changes but the size.
    pack_all(dir);
    check(dir);
}

/// Makes a program's next start, and waits until everything is packed.
fn pack_all(dir: &Path) {
    let next = ttlog::Builder::new(dir).app("together", "1").compress(Compression::Zstd(1));
    let next = next.build().unwrap();
    let began = Instant::now();
    while !segments(dir).iter().all(|path| header(path).flags & FLAG_PACKED != 0) {
        assert!(began.elapsed() < LONG, "segments stay as they are");
        std::thread::sleep(Duration::from_millis(10));
    }
    next.shutdown(LONG).unwrap();
}

fn header(path: &Path) -> SegmentHeader {
    SegmentReader::open(path).unwrap().header().clone()
}

#[test]
fn segments_written_past_the_page_cache_are_copied_and_packed_as_others_are() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (layer, handle) = ttlog::layer(dir.path())
        .app("together", "1")
        .direct(ttlog::__private::Direct::Always)
        .rotate(Rotate::size(256 << 10))
        .compress(Compression::None)
        .build()
        .unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    log(&dispatch, 0);
    handle.shutdown(LONG).unwrap();
    let shown = |dir: &Path| {
        let records = records(dir);
        let line = |record: &Record| format!("{} {}", around(record), number(record, "n"));
        records.iter().map(line).collect::<Vec<_>>()
    };
    let before = shown(dir.path());
    assert_eq!(before.len() as u64, EVENTS);
    assert!(segments(dir.path()).len() > 3);
    let align = |path: &PathBuf| header(path).align();
    // Where the file system cannot, that is found out by the first.
    assert!(segments(dir.path()).iter().any(|path| align(path) == 4096));

    let status = Command::new(env!("CARGO_BIN_EXE_ttlog"))
        .arg("archive")
        .args([dir.path(), copy.path()])
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(shown(copy.path()) == before, "the copy is what was copied");

    pack_all(dir.path());
    assert!(segments(dir.path()).iter().all(|path| align(path) == 64));
    assert!(shown(dir.path()) == before, "packing changes nothing but the size");
}
