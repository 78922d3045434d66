//! A whole logger over a simulated disk (RIG-SIM): what fails, and what is left when the power goes.
//!
//! The number of images: `TTLOG_IMAGES=1000000 cargo test --release --lib r09 -- --nocapture`.
#![expect(unused_imports, reason = "of the macros, which are made for other crates")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Builder, Direct, Durability};
use crate::handle::Handle;
use crate::io::sim_disk::{Fault, SimDisk, random};
use crate::logger::tests::SIMULATED;
use crate::store::rotate::Rotate;
use crate::view::{Item, Query, Source, Value};

const WAIT: Duration = Duration::from_secs(60);

fn start(dir: &Path, disk: &SimDisk, durability: Durability, direct: Direct) -> Handle {
    SIMULATED.set(Some(disk.clone()));
    let builder = Builder::new(dir).app("sim", "1").rotate(Rotate::size(64 << 10));
    let builder = builder.write_within(Duration::from_millis(2)).crash_safe(false);
    builder.durability(durability).direct(direct).build().expect("a logger")
}

/// Text that no dictionary shortens: some thousand bytes, so that few events fill a segment.
fn text(n: u64) -> &'static str {
    static TEXTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let make = |n: u64| {
        let mut seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let len = 1000 + random(&mut seed, 1000);
        (0..len).map(|_| char::from(b'a' + random(&mut seed, 26) as u8)).collect()
    };
    &TEXTS.get_or_init(|| (0..200).map(make).collect())[n as usize]
}

/// Logs events from `from` on.
fn log(handle: &Handle, from: u64, n: u64) {
    for n in from..from + n {
        crate::info!(logger: handle, n, text = text(n), "sim");
    }
}

/// What a reader finds in these files: numbers in order, what was told as lost, and damages.
fn read(files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) -> (Vec<u64>, u64, Vec<String>) {
    for (path, bytes) in files {
        let path = dir.join(path.file_name().expect("a name"));
        std::fs::write(&path, bytes).expect("a file");
        // A reader waits a little for the writer of a file that is fresh.
        let file = std::fs::File::options().write(true).open(path).expect("it");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("an old file");
    }
    let (mut numbers, mut lost, mut damages) = (Vec::new(), 0, Vec::new());
    if !files.is_empty() {
        let source = Source::open(dir).expect("a directory");
        for item in source.query(&Query::new()) {
            match item {
                Ok(Item::Record(record)) => {
                    let Some(Value::U64(n)) = record.field("n") else { panic!("{record:?}") };
                    assert_eq!(record.field("text"), Some(Value::from(text(n))), "not invented");
                    numbers.push(n);
                }
                Ok(Item::Span(_)) => {}
                Ok(Item::Lost(told)) => lost += told.losses().total(),
                Ok(Item::Damage(damage)) => damages.push(damage.to_string()),
                Err(error) => damages.push(error.to_string()),
            }
        }
    }
    for path in files.keys() {
        std::fs::remove_file(dir.join(path.file_name().expect("a name"))).expect("it");
    }
    (numbers, lost, damages)
}

/// Sorted, without doubles, and what is missing below the last is told.
fn check_stream(numbers: &[u64], damages: &[String], what: &dyn Fn() -> String) {
    let is_once = numbers.windows(2).all(|two| two[0] < two[1]);
    assert!(is_once, "{}: order, or twice: {numbers:?}", what());
    let has_hole = numbers.last().is_some_and(|last| *last + 1 != numbers.len() as u64);
    assert!(!has_hole || !damages.is_empty(), "{}: an untold hole in {numbers:?}", what());
}

fn images() -> u64 {
    let wanted = std::env::var("TTLOG_IMAGES").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 1_000 } else { 50_000 })
}

#[test]
fn r09_after_a_power_cut_at_any_moment_all_that_was_synced_is_there_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut n_images, mut n_holes, mut longest) = (0, 0, 0);
    let mut seed = 0x5eed;
    let shapes = [Direct::Never, Direct::Always].into_iter().flat_map(|direct| {
        [None, Some(Fault { nth: 1, times: 1, errno: libc::EIO, syncs: true })].map(|f| (direct, f))
    });
    for (direct, fault) in shapes {
        let (logs, disk) = (dir.path().join("logs"), SimDisk::new(7, fault));
        let handle = start(&logs, &disk, Durability::Interval(Duration::from_millis(20)), direct);
        let mut n = 0;
        for step in 0..12 {
            let events = 4 + step % 4 * 3;
            log(&handle, n, events);
            n += events;
            handle.sync(WAIT).expect("a sync");
            disk.mark(n);
        }
        log(&handle, n, 10);
        handle.shutdown(WAIT).expect("an end");
        assert_eq!(disk.counts().2, u64::from(fault.is_some()), "the fault came");
        let (entries, ..) = disk.counts();
        let each = images() / 4 / entries as u64 + 1;
        let image_dir = dir.path().join("image");
        std::fs::create_dir_all(&image_dir).expect("a directory");
        for cut in 0..=entries {
            for nth in 0..each {
                let image = disk.image(cut, if nth == 0 { 0 } else { random(&mut seed, u64::MAX) });
                let (files, synced) = image;
                let (numbers, lost, damages) = read(&files, &image_dir);
                let what = || format!("{direct:?}, {fault:?}, cut at {cut}, image {nth}");
                check_stream(&numbers, &damages, &what);
                assert_eq!(lost, 0, "{}", what());
                assert!(numbers.iter().all(|number| *number < n + 10), "{}: invented", what());
                let there = numbers.iter().take_while(|number| **number < synced).count() as u64;
                assert_eq!(there, synced, "{}: synced and not there; {damages:?}", what());
                n_images += 1;
                n_holes += u64::from(!damages.is_empty());
                longest = longest.max(numbers.len());
            }
        }
    }
    println!("{n_images} images, {n_holes} with damage that was told, up to {longest} events each");
}

#[test]
fn r10_whatever_operation_fails_nothing_is_lost_and_no_sync_lies() {
    const ERRNOS: [i32; 6] =
        [libc::EIO, libc::ENOSPC, 0, libc::EDQUOT, libc::EROFS, libc::EFBIG];
    let dir = tempfile::tempdir().expect("a directory");
    let (mut n_runs, mut n_failed) = (0, 0);
    for direct in [Direct::Never, Direct::Always] {
        for errno in ERRNOS {
            for nth in 0.. {
                if cfg!(debug_assertions) && !(nth + errno as u64).is_multiple_of(3) {
                    continue;
                }
                let times = 1 + nth % 3;
                let fault = Fault { nth, times, errno, syncs: false };
                let disk = SimDisk::new(nth + 1, Some(fault));
                let logs = dir.path().join("logs");
                let handle = start(&logs, &disk, Durability::Interval(WAIT), direct);
                let mut synced = 0;
                for step in 0..3 {
                    log(&handle, step * 40, 40);
                    if handle.sync(WAIT).is_ok() {
                        synced = (step + 1) * 40;
                        disk.mark(synced);
                    }
                }
                handle.shutdown(WAIT).expect("an end");
                let what = format!("{direct:?}, operation {nth} and {times} more: error {errno}");
                assert_eq!((synced, handle.stats().lost()), (120, 0), "{what}");
                let (entries, n_ops, failed) = disk.counts();
                let (files, _) = disk.image(entries, 0);
                let image_dir = dir.path().join("image");
                std::fs::create_dir_all(&image_dir).expect("a directory");
                let (numbers, _, damages) = read(&files, &image_dir);
                assert_eq!((numbers.len(), damages.len()), (120, 0), "{what}: {damages:?}");
                check_stream(&numbers, &damages, &|| what.clone());
                (n_runs, n_failed) = (n_runs + 1, n_failed + failed);
                if nth >= n_ops {
                    break;
                }
            }
        }
    }
    println!("{n_runs} runs, {n_failed} operations failed");
}

#[test]
fn s6_blocks_whose_sync_failed_are_written_again_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    for (direct, times) in [(Direct::Never, 1), (Direct::Always, 1), (Direct::Never, 4)] {
        let fault = Fault { nth: 2, times, errno: libc::EIO, syncs: true };
        let disk = SimDisk::new(3, Some(fault));
        let logs = dir.path().join("logs");
        let handle = start(&logs, &disk, Durability::Interval(WAIT), direct);
        for step in 0..4 {
            log(&handle, step * 30, 30);
            handle.sync(WAIT).expect("a sync that is true");
            // What was synced stands on the disk, though one sync failed on the way.
            let (files, _) = disk.image(disk.counts().0, 0);
            let image_dir = dir.path().join("image");
            std::fs::create_dir_all(&image_dir).expect("a directory");
            let (numbers, _, damages) = read(&files, &image_dir);
            assert_eq!((numbers.len() as u64, damages.len()), ((step + 1) * 30, 0), "{damages:?}");
        }
        assert_eq!(disk.counts().2, times);
        let health = handle.health();
        assert_eq!((health.failing, health.suspect), (None, None), "it has healed");
        assert!(handle.stats().disk_errors >= times);
        handle.shutdown(WAIT).expect("an end");
    }
}

#[test]
fn under_never_a_sync_that_failed_is_not_believed_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let fault = Fault { nth: 0, times: 1, errno: libc::EIO, syncs: true };
    let disk = SimDisk::new(3, Some(fault));
    let handle = start(&dir.path().join("logs"), &disk, Durability::Never, Direct::Never);
    log(&handle, 0, 10);
    assert!(handle.sync(WAIT).is_err());
    assert!(handle.sync(WAIT).is_err(), "the pages of the first are gone for good");
    assert!(handle.health().suspect.is_some());
    assert!(handle.flush(WAIT).is_ok());
    handle.shutdown(WAIT).expect("an end");
}
