//! A whole logger over a simulated disk (RIG-SIM): what fails, and what is left when the power goes.
//!
//! The number of images: `TTLOG_IMAGES=1000000 cargo test --release --lib r09 -- --nocapture`. A debug
//! build, which is slow, looks at a part of the images and positions.
#![expect(unused_imports, reason = "of the macros, which are made for other crates")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Builder, Direct, Durability};
use crate::handle::Handle;
use crate::io::sim_disk::{Fault, SimDisk, random};
use crate::logger::tests::SIMULATED;
use crate::ring::BackPressurePolicy;
use crate::store::rotate::Rotate;
use crate::view::{Item, Query, Source, Value};

const WAIT: Duration = Duration::from_secs(60);

fn start(dir: &Path, disk: &SimDisk, durability: Durability, direct: Direct) -> Handle {
    start_with(dir, disk, direct, |builder| {
        builder.durability(durability).rotate(Rotate::size(64 << 10))
    })
}

fn start_with(
    dir: &Path,
    disk: &SimDisk,
    direct: Direct,
    set: impl FnOnce(Builder) -> Builder,
) -> Handle {
    SIMULATED.set(Some(disk.clone()));
    let builder = Builder::new(dir).app("sim", "1").direct(direct).crash_safe(false);
    // Not spilled, however busy the machine is: the simulated disk knows no renaming.
    let builder = builder.back_pressure(BackPressurePolicy::Block);
    set(builder.write_within(Duration::from_millis(2))).build().expect("a logger")
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

/// Text of five to ten thousand bytes: an event with it fills more than a page of its block.
fn long(n: u64) -> String {
    (0..5).map(|nth| text((n * 5 + nth) % 200)).collect()
}

/// Logs events from `from` on.
fn log(handle: &Handle, from: u64, n: u64) {
    for n in from..from + n {
        crate::info!(logger: handle, n, text = text(n % 200), "sim");
    }
}

/// What a reader finds in these files: numbers in order, what was told as lost, and damages.
fn read(files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) -> (Vec<u64>, u64, Vec<String>) {
    for (path, bytes) in files {
        let path = dir.join(path.file_name().expect("a name"));
        // Without what was only reserved.
        let data = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        std::fs::write(&path, &bytes[..data]).expect("a file");
        let file = std::fs::File::options().write(true).open(path).expect("it");
        file.set_len(bytes.len() as u64).expect("a file");
        // A reader waits a little for the writer of a file that is fresh.
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("an old file");
    }
    let (mut numbers, mut lost, mut damages) = (Vec::new(), 0, Vec::new());
    if !files.is_empty() {
        let source = Source::open(dir).expect("a directory");
        for item in source.query(&Query::new()) {
            match item {
                Ok(Item::Record(record)) => {
                    let Some(Value::U64(n)) = record.field("n") else { panic!("{record:?}") };
                    let Some(Value::Str(found)) = record.field("text") else {
                        panic!("{record:?}")
                    };
                    assert!(*found == *text(n % 200) || *found == *long(n), "invented: {found}");
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

/// The same of what a reader sees in a directory whose logger lives.
fn read_living(disk: &SimDisk, logs: &Path, dir: &Path) -> (Vec<u64>, u64, Vec<String>) {
    let owners = || std::fs::read_dir(logs).expect("a directory").flatten().map(|e| e.path());
    for owner in owners().filter(|path| path.extension().is_some_and(|e| e == "owner")) {
        // The same file, and so the same lock.
        let named = dir.join(owner.file_name().expect("a name"));
        if !named.exists() {
            std::fs::hard_link(owner, named).expect("a second name");
        }
    }
    read(&disk.seen(), dir)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WAIT, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
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
    const ERRNOS: [i32; 6] = [libc::EIO, libc::ENOSPC, 0, libc::EDQUOT, libc::EROFS, libc::EFBIG];
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

/// A thread logs all the time, so that blocks are written while syncs go on. Whatever sync fails,
/// what was logged before a sync that succeeded is there after a power cut at any moment.
#[test]
fn s6_a_sync_beside_writes_is_about_what_had_landed_when_it_began() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let dir = tempfile::tempdir().expect("a directory");
    let image_dir = dir.path().join("image");
    std::fs::create_dir_all(&image_dir).expect("a directory");
    let (mut n_beside, mut n_failed, mut n_images, mut seed) = (0, 0, 0, 0xbe51de);
    let intervals = [Durability::Interval(Duration::from_millis(1)), Durability::EveryBlock];
    let faults = [None, Some(1), Some(2), Some(3), Some(5), Some(9)];
    let each = images() / 2 / (intervals.len() * faults.len()) as u64 + 1;
    for (durability, nth) in intervals.iter().flat_map(|d| faults.map(|nth| (*d, nth))) {
        let fault = nth.map(|nth| Fault { nth, times: 1, errno: libc::EIO, syncs: true });
        let disk = SimDisk::new(11 + nth.unwrap_or_default(), fault);
        let handle = start_with(&dir.path().join("logs"), &disk, Direct::Always, |builder| {
            builder.durability(durability).rotate(Rotate::size(512 << 10))
        });
        let (logged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // ord: Acquire and Release in this test: a number is read after its event was logged.
                while !is_over.load(Ordering::Acquire) && logged.load(Ordering::Acquire) < 1000 {
                    log(&handle, logged.load(Ordering::Acquire), 1);
                    logged.fetch_add(1, Ordering::Release);
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            for _ in 0..12 {
                // ord: Acquire, as above.
                let before = logged.load(Ordering::Acquire);
                handle.sync(WAIT).expect("a sync");
                disk.mark(before);
            }
            // ord: Release, as above.
            is_over.store(true, Ordering::Release);
        });
        handle.shutdown(WAIT).expect("an end");
        let (entries, _, failed) = disk.counts();
        (n_beside, n_failed) = (n_beside + disk.n_beside(), n_failed + failed);
        for nth in 0..each {
            let cut = random(&mut seed, entries as u64 + 1) as usize;
            let rest = if nth % 2 == 0 { 0 } else { random(&mut seed, u64::MAX) };
            let (files, synced) = disk.image(cut, rest);
            let (numbers, lost, damages) = read(&files, &image_dir);
            let what = || format!("{durability:?}, {fault:?}, cut at {cut}");
            check_stream(&numbers, &damages, &what);
            let there = numbers.iter().take_while(|number| **number < synced).count() as u64;
            assert_eq!((there, lost), (synced, 0), "{}: {damages:?}", what());
            n_images += 1;
        }
    }
    println!("{n_images} images, {n_beside} syncs beside writes, {n_failed} syncs failed");
    assert!(n_beside > 0, "blocks were written while syncs went on");
    assert!(n_failed > 0, "syncs failed");
}

/// Positions of a block at which the disk is full in turn: those of a page, both ends included.
const POSITIONS: u64 = 4097;
/// So many of them are looked at below one logger.
const POSITIONS_EACH: u64 = 64;
/// So many loggers wait beside each other.
const AT_ONCE: usize = 32;

/// Fills the disk at one position after the other of blocks of one logger's; how often it was full.
fn fill_up_at(positions: impl Iterator<Item = u64>, dir: &Path, direct: Direct) -> u64 {
    const ERRNOS: [i32; 3] = [libc::ENOSPC, libc::EDQUOT, libc::EFBIG];
    let (logs, seen) = (dir.join("logs"), dir.join("seen"));
    std::fs::create_dir_all(&seen).expect("a directory");
    let disk = SimDisk::new(5, None);
    let handle = start_with(&logs, &disk, direct, |builder| {
        builder.durability(Durability::Interval(WAIT)).rotate(Rotate::size(1 << 20))
    });
    // So that there is a segment.
    log(&handle, 0, 1);
    handle.flush(WAIT).expect("a disk");
    let mut n = 1;
    for position in positions {
        let errno = ERRNOS[position as usize % 3];
        let what = || format!("{direct:?}, full after {position} bytes, error {errno}");
        let (_, _, failed) = disk.counts();
        disk.set_room(Some((position, errno)));
        let text = long(n);
        crate::info!(logger: &handle, n, text, "sim");
        wait_until("the disk is full", || disk.counts().2 > failed);
        let is_told = || handle.health().failing.is_some_and(|text| text.contains("os error"));
        wait_until("health() tells it", is_told);
        let (numbers, lost, damages) = read_living(&disk, &logs, &seen);
        assert_eq!((numbers.len() as u64, lost), (n, 0), "{}", what());
        assert_eq!(damages, [""; 0], "{}: nothing torn is seen", what());
        disk.set_room(None);
        n += 1;
        handle.flush(WAIT).expect("there is room again");
        let (numbers, lost, damages) = read_living(&disk, &logs, &seen);
        assert_eq!((numbers.len() as u64, lost), (n, 0), "{}, and room again", what());
        check_stream(&numbers, &damages, &what);
        assert_eq!(damages, [""; 0], "{}, and room again", what());
    }
    handle.sync(WAIT).expect("a sync");
    assert_eq!((handle.stats().lost(), handle.health().failing), (0, None));
    // On the disk for good, too.
    let image = dir.join("image");
    std::fs::create_dir_all(&image).expect("a directory");
    let (numbers, _, damages) = read(&disk.image(disk.counts().0, 0).0, &image);
    assert_eq!((numbers.len() as u64, damages.len()), (n, 0), "{damages:?}");
    handle.shutdown(WAIT).expect("an end");
    disk.counts().2
}

/// R14 at every position. What waits is the file thread, for its next try: many loggers at a time.
#[test]
fn r14_a_disk_that_is_full_at_any_byte_of_a_page_of_a_block_is_written_to_again() {
    let step = if cfg!(debug_assertions) { 17 } else { 1 };
    let starts: Vec<_> = [Direct::Never, Direct::Always]
        .into_iter()
        .flat_map(|direct| {
            (0..POSITIONS).step_by(POSITIONS_EACH as usize).map(move |from| (direct, from))
        })
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let (n_positions, n_refused) = std::thread::scope(|scope| {
        let work = || {
            let (mut n_positions, mut n_refused) = (0, 0);
            // ord: Relaxed, a counter.
            while let Some(&(direct, from)) =
                starts.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
            {
                let dir = tempfile::tempdir().expect("a directory");
                let positions = from..(from + POSITIONS_EACH).min(POSITIONS);
                let chosen = positions.filter(|position| position.is_multiple_of(step));
                n_positions += chosen.clone().count();
                n_refused += fill_up_at(chosen, dir.path(), direct);
            }
            (n_positions, n_refused)
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let done = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        done.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    println!("{n_positions} positions, {n_refused} refusals");
    assert!(n_positions as u64 >= 2 * POSITIONS / step && n_refused >= n_positions as u64);
}

/// While there is no room callers go on until lanes and staging are full; then they lose, and that
/// is told, once each, when there is room again.
#[test]
fn r14_what_a_full_disk_costs_is_bounded_and_told() {
    const LANES_BYTES: usize = 8 << 20;
    for direct in [Direct::Never, Direct::Always] {
        for position in (0..POSITIONS).step_by(1024) {
            let dir = tempfile::tempdir().expect("a directory");
            let disk = SimDisk::new(9, None);
            let handle = start_with(&dir.path().join("logs"), &disk, direct, |builder| {
                let builder = builder.durability(Durability::Interval(WAIT));
                let builder = builder.lanes_bytes_max(LANES_BYTES).lane_bytes(64 << 10);
                builder.back_pressure(BackPressurePolicy::DropNewest)
            });
            log(&handle, 0, 1);
            handle.flush(WAIT).expect("a disk");
            disk.set_room(Some((position, libc::ENOSPC)));
            let (mut n, mut bytes) = (1, 0);
            let began = std::time::Instant::now();
            while handle.stats().lost() < 10 {
                assert!(began.elapsed() < WAIT, "{n} events found room somewhere");
                for _ in 0..20 {
                    crate::info!(logger: &handle, n, text = text(n % 200), "sim");
                    n += 1;
                }
                bytes = bytes.max(handle.stats().lanes_bytes);
            }
            assert!(bytes <= LANES_BYTES as u64, "{bytes} bytes of lanes and staging");
            disk.set_room(None);
            handle.sync(WAIT).expect("there is room again");
            let lost = handle.stats().lost();
            let image_dir = dir.path().join("image");
            std::fs::create_dir_all(&image_dir).expect("a directory");
            let (files, _) = disk.image(disk.counts().0, 0);
            let (numbers, told, damages) = read(&files, &image_dir);
            let what = || format!("{direct:?}, full after {position} bytes");
            assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{}: twice", what());
            assert_eq!((numbers.len() as u64 + lost, told), (n, lost), "{}", what());
            assert_eq!(damages, [""; 0], "{}", what());
            handle.shutdown(WAIT).expect("an end");
        }
    }
}

#[test]
fn an_interval_that_no_clock_reaches_is_never() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimDisk::new(1, None);
    let handle = start(dir.path(), &disk, Durability::Interval(Duration::MAX), Direct::Never);
    for from in [0, 3] {
        log(&handle, from, 3);
        handle.flush(WAIT).expect("the scribe goes on");
    }
    assert_eq!(handle.sync(WAIT).expect("when it is asked for").events, 6);
    handle.shutdown(WAIT).expect("an end");
}

#[test]
fn who_asks_again_and_again_while_the_disk_refuses_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimDisk::new(1, None);
    disk.set_room(Some((0, libc::ENOSPC)));
    let handle = start_with(dir.path(), &disk, Direct::Never, |builder| {
        let builder = builder.back_pressure(BackPressurePolicy::DropNewest);
        builder.lanes_bytes_max(2 << 20).lane_bytes(1)
    });
    // Until staging and lane are full, so that nothing that is asked for comes to its turn.
    let (mut n_logged, mut before, mut accepted) = (0, 1, 0);
    while before != accepted {
        for _ in 0..20 {
            log(&handle, 0, 100);
            std::thread::sleep(Duration::from_millis(10));
        }
        n_logged += 2000;
        (before, accepted) = (accepted, n_logged - handle.stats().lost());
    }
    let progress = &handle.0.as_ref().expect("it logs").progress;
    for _ in 0..200 {
        handle.flush(Duration::ZERO).expect_err("nothing is written");
        let mut flush = std::pin::pin!(handle.flush_async());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::future::Future::poll(flush.as_mut(), &mut context).is_pending());
    }
    let began = std::time::Instant::now();
    while progress.n_kept() > 10 {
        assert!(began.elapsed() < WAIT, "{} are kept", progress.n_kept());
        handle.flush(Duration::from_millis(10)).expect_err("nothing is written");
    }
    disk.set_room(None);
    handle.shutdown(WAIT).expect("an end");
}
