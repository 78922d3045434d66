//! R08, R12, R13: the power goes, the disk has no room behind its promises, or hangs.
//!
//! CI cuts the power a hundred times; ten thousand times: `RIG_CUTS=10000 cargo test --release --test
//! rig_power r08 -- --nocapture`.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::path::Path;
use std::time::{Duration, Instant};

use rig::mounts::{Loop, fill, in_namespace, mount, run, tmpfs};
use rig::read::{ReadBack, read_back};
use rig::{Random, Rig, Running, by_thread, not_run, number};

/// Where the lanes of a program lie.
fn lanes_of(ready: &str) -> String {
    ready.split('"').nth(1).expect("lanes in shared memory").to_owned()
}

/// Every thread's events from 0 on without a gap; how many the shortest has.
fn whole_prefix(read: &ReadBack, threads: u64) -> u64 {
    let found = by_thread(read);
    let numbers = found.values().map(|numbers| {
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "a hole, or twice");
        numbers.len() as u64
    });
    let (n, least) = numbers.fold((0, u64::MAX), |(n, least), len| (n + 1, least.min(len)));
    if n < threads { 0 } else { least }
}

/// Logs and syncs, `n_max` events at a time, cuts the power in the midst of it, and looks what is
/// left.
fn cut(rig: &mut Rig, disk: &Loop, random: &mut Random, args: &str, n_max: u64) -> (u64, u64) {
    let mut running = rig.start(&format!("do=asked threads=2 rotate=262144 {args}"));
    let lanes = lanes_of(&running.line());
    let mut synced = 0;
    for _ in 0..random.range(1, 4) {
        let n = random.range(1, n_max);
        running.ask(&format!("log {n}"));
        assert_eq!(running.ask("sync 20000"), "synced=true");
        synced += n;
    }
    // On its way when it happens.
    running.ask(&format!("log {}", random.range(1, n_max)));
    std::thread::sleep(Duration::from_micros(random.range(0, 3000)));
    assert!(disk.cut_power(), "the file system goes down");
    running.kill();
    // Memory goes with the power.
    std::fs::remove_dir_all(&lanes).expect("its lanes");
    assert!(disk.unmount() && disk.mount(""), "it comes back");
    let read = read_back(&rig.dir());
    let left = whole_prefix(&read, 2);
    assert!(left >= synced, "{args}: {left} of {synced} that were synced; {:?}", read.wrong);
    for entry in std::fs::read_dir(rig.dir()).expect("the directory").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::remove_file(entry.path()).expect("it");
        }
    }
    (synced, left)
}

/// Cuts the power of a disk of its own so many times; events synced and left, `None` without a disk.
fn cuts(n_cuts: u64, args: &str) -> Option<(u64, u64)> {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let dir = rig.dir();
    // The disk's own memory is that of the machine, which has power.
    let memory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let disk = Loop::ext4(&memory.path().join("image"), 64 << 20, &dir)?;
    let (mut synced, mut left) = (0, 0);
    for nth in 0..n_cuts {
        // As a rule a few blocks; now and then enough for segments to roll.
        let n_max = if nth % 8 == 0 { 4000 } else { 200 };
        let found = cut(&mut rig, &disk, &mut random, args, n_max);
        (synced, left) = (synced + 2 * found.0, left + 2 * found.1);
    }
    Some((synced, left))
}

#[test]
fn r08_what_was_synced_survives_a_power_cut() {
    const WAYS: [&str; 4] = ["", "direct=1", "direct=1 io=portable", "durability=block"];
    let wanted = std::env::var("RIG_CUTS").ok().and_then(|text| text.parse().ok());
    let each = wanted.unwrap_or(100_u64).div_ceil(WAYS.len() as u64);
    in_namespace(|| {
        let began = Instant::now();
        // At once: most of a cut is waiting for the dead and for mounts.
        let found = std::thread::scope(|scope| {
            let ways = WAYS.map(|args| scope.spawn(move || cuts(each, args)));
            ways.map(|way| way.join().expect("every cut was survived"))
        });
        let Some(found) = found.into_iter().collect::<Option<Vec<_>>>() else {
            return not_run("needs mkfs.ext4 and four loop devices");
        };
        let (n, took) = (each * WAYS.len() as u64, began.elapsed());
        let (synced, left) = found.into_iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        println!("{n} power cuts in {took:.1?}: {synced} events synced, {left} left, 0 missing");
    });
}

/// Buffered writes all succeed; only the sync finds that there is no room behind the disk.
#[test]
fn r12_a_sync_that_fails_is_told_and_what_it_was_about_is_written_again() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let (dir, thin) = (rig.dir(), rig.path("thin"));
        std::fs::create_dir(&thin).expect("a directory");
        let _memory = tmpfs(&thin, "24m");
        let Some(disk) = Loop::ext4(&thin.join("image"), 256 << 20, &dir) else {
            return not_run("needs mkfs.ext4 and a loop device");
        };
        let mut running = rig.start("do=asked threads=2");
        let lanes = lanes_of(&running.line());
        running.ask("log 1000");
        assert_eq!(running.ask("sync 20000"), "synced=true");
        fill(&thin);
        let mut n = 1000;
        let mut refused = None;
        for _ in 0..60 {
            running.ask("log 20000");
            n += 20_000;
            if running.ask("sync 1500") == "synced=false" {
                refused = Some(running.ask("stats"));
                break;
            }
        }
        let refused = refused.expect("a disk of 24 MiB does not take that much");
        println!("refused: {refused}");
        assert!(number(&refused, "errors") > 0, "{refused}");
        std::fs::remove_file(thin.join("ballast")).expect("it");
        assert!(mount(None, &thin, libc::MS_REMOUNT, "size=512m"), "more room");
        let began = Instant::now();
        let mut answers = 0;
        while running.ask("sync 5000") != "synced=true" {
            answers += 1;
            assert!(began.elapsed() < Duration::from_secs(60), "{}", running.ask("stats"));
        }
        println!("synced again after {:.1?} and {answers} more refusals", began.elapsed());
        println!("{}", running.ask("stats"));
        let lost = number(&running.ask("stats"), "lost");
        assert!(disk.cut_power(), "the file system goes down");
        running.kill();
        std::fs::remove_dir_all(&lanes).expect("its lanes");
        assert!(disk.unmount() && disk.mount(""), "it comes back");
        let left = read_back(&dir).events.len() as u64;
        println!("{left} of {} are on the disk, {lost} were lost and told", 2 * n);
        assert_eq!(left + lost, 2 * n, "a sync that succeeded was true");
    });
}

fn resumes(running: &mut Running, what: &str) {
    let began = Instant::now();
    assert_eq!(running.ask("flush 20000"), "flushed=true", "{what}");
    println!("{what}: written again {:.1?} after it was back", began.elapsed());
}

/// A disk that hangs, three times, while events come.
#[test]
fn r13_a_disk_that_comes_back_is_written_to_again() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let Some(_disk) = Loop::ext4(&rig.path("image"), 64 << 20, &dir) else {
            return not_run("needs mkfs.ext4 and a loop device");
        };
        let at = dir.to_str().expect("UTF-8").to_owned();
        let mut running = rig.start("do=asked threads=2 rotate=65536");
        running.line();
        let mut n = 0;
        for round in 0..3 {
            running.ask("log 500");
            running.ask("flush 20000");
            assert!(run("fsfreeze", &["-f", &at]), "it hangs");
            let slowest = number(&running.ask("log 500"), "slowest_ms");
            assert!(slowest < 2_500, "{slowest} ms");
            std::thread::sleep(Duration::from_millis(300));
            assert!(run("fsfreeze", &["-u", &at]), "it is back");
            resumes(&mut running, &format!("hung, round {round}"));
            n += 1000;
        }
        let end = running.ask("quit");
        let _ = running.child.wait();
        let read = read_back(Path::new(&dir));
        assert_eq!(read.wrong, [""; 0]);
        assert_eq!(read.events.len() as u64 + number(&end, "lost"), 2 * n, "{end}");
    });
}
