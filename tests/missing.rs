//! What is missing is told by its numbers, wherever blocks are gone: at the end of a lane, at the
//! beginning of the larger one that its thread went on in, or between.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ttlog::view::{Item, Query, Source, Value};
use ttlog::{Builder, Handle, Rotate};

const EVENTS: u64 = 300;

/// Two events that a lane of the size before does not take: their thread gets a larger one.
const LARGE: [(u64, usize); 2] = [(61, 40_000), (143, 300_000)];

/// Text that no dictionary shortens.
fn text(n: u64) -> String {
    let len = LARGE.iter().find(|(large, _)| *large == n).map_or(3000, |(_, len)| *len);
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        char::from(b'a' + ((state >> 40) % 26) as u8)
    };
    (0..len).map(|_| next()).collect()
}

/// Segments of one thread that had three lanes, one larger than the other.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let builder = Builder::new(dir).app("missing", "1").rotate(Rotate::size(64 << 10));
    let handle = builder.write_within(Duration::from_millis(2)).build().expect("a logger");
    log(&handle, 0..EVENTS);
    handle.shutdown(Duration::from_secs(30)).expect("an end");
    files(dir)
}

fn log(handle: &Handle, numbers: Range<u64>) {
    for n in numbers {
        let text = text(n);
        ttlog::info!(logger: handle, n, text, "sample");
        if n % 8 == 7 {
            handle.flush(Duration::from_secs(30)).expect("a disk");
        }
    }
}

/// The segments of a directory in the order of their numbers.
fn files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("it").path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "ttlog");
    let mut files: Vec<_> = files.filter(is_segment).collect();
    files.sort_by_key(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        name.rsplit('-').next().expect("a number").parse::<u64>().expect("a number")
    });
    files
}

/// The numbers that are shown, and how many events are told to be missing.
fn read(dir: &Path) -> (BTreeSet<u64>, u64) {
    let (mut shown, mut told) = (BTreeSet::new(), 0);
    for item in Source::open(dir).expect("a directory").query(&Query::new()) {
        match item.expect("whole files") {
            Item::Record(record) => {
                let Some(Value::U64(n)) = record.field("n") else { panic!("{record:?}") };
                assert!(shown.insert(n), "{n} twice");
            }
            Item::Damage(damage) => {
                assert!(damage.is_gap, "{damage}");
                told += damage.records.expect("a number");
            }
            other => panic!("{other:?}"),
        }
    }
    (shown, told)
}

#[test]
fn whatever_stretch_of_segments_is_gone_the_hole_is_told() {
    let (dir, part) = (tempfile::tempdir().expect("it"), tempfile::tempdir().expect("it"));
    let segments = segments(dir.path());
    assert_eq!(read(dir.path()), ((0..EVENTS).collect(), 0), "all is there");
    let (mut n_cuts, mut n_exact) = (0, 0);
    for from in 0..segments.len() {
        for to in from + 1..segments.len() {
            let kept = || segments[..from].iter().chain(&segments[to..]);
            let copies: Vec<PathBuf> =
                kept().map(|path| part.path().join(path.file_name().expect("a name"))).collect();
            for (path, copy) in kept().zip(&copies) {
                std::fs::hard_link(path, copy).expect("a link");
            }
            let (shown, told) = read(part.path());
            copies.iter().for_each(|copy| std::fs::remove_file(copy).expect("it"));
            let what = format!("without {from}..{to} of {}: {shown:?}", segments.len());
            let missing = shown.last().map_or(0, |last| last + 1) - shown.len() as u64;
            if from == 0 {
                // What goes from the front was removed by retention.
                assert_eq!(told, 0, "{what}");
                continue;
            }
            assert_eq!(missing == 0, told == 0, "{what}: {told} told");
            assert!(told <= missing, "{what}: {told} told of {missing}");
            (n_cuts, n_exact) = (n_cuts + 1, n_exact + u64::from(told == missing));
        }
    }
    println!("{n_cuts} cuts, {n_exact} with the number of all that is missing");
    assert!(n_cuts >= 50 && n_exact > 0);
}

/// Somebody removes the segment that is being written, which is made again.
#[test]
fn what_somebody_removed_while_it_was_written_is_not_told_as_missing() {
    // In the middle of the first segment, and of a later one.
    for removed_from in [16, 120] {
        let dir = tempfile::tempdir().expect("it");
        let builder = Builder::new(dir.path()).app("missing", "1").rotate(Rotate::size(64 << 10));
        let handle = builder.build().expect("a logger");
        log(&handle, 0..removed_from);
        let (mut at, mut is_again) = (removed_from, false);
        while at < EVENTS && !is_again {
            let last = files(dir.path()).pop().expect("a segment");
            std::fs::remove_file(&last).expect("it");
            log(&handle, at..at + 8);
            // One that was sealed by then is not.
            (at, is_again) = (at + 8, last.exists());
        }
        log(&handle, at..EVENTS);
        handle.shutdown(Duration::from_secs(30)).expect("an end");
        assert!(is_again, "it was being written");
        let (shown, told) = read(dir.path());
        let n_removed = EVENTS - shown.len() as u64;
        assert!(shown.contains(&(EVENTS - 1)) && n_removed > 0, "{shown:?}");
        assert_eq!(told, 0, "of {n_removed} that were removed");
    }
}
