//! Starved: no room on the disk, a disk that hangs, no shared memory, too little of it.
//!
//! Each rig mounts what it needs in a mount namespace of its own thread; without root it says that
//! it did not run.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::path::Path;
use std::time::Duration;

use rig::mounts::{Loop, fill, in_namespace, mount, run, tmpfs};
use rig::read::read_back;
use rig::{Rig, Running, Tally, by_thread, compare, not_run, number};

fn check(rig: &Rig, run: u64) -> (Tally, u64) {
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    (compare(&by_thread(&read), run, &rig.counts(run)), read.lost_total())
}

#[test]
fn a_disk_without_room_at_the_start_is_one_clear_line() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let _mounted = tmpfs(&dir, "64k");
        fill(&dir);
        let (_, outcome) = rig.run("do=log events=10");
        println!("{}", outcome.stderr.trim());
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
        assert!(outcome.stderr.contains(&dir.display().to_string()), "{outcome:?}");
        let left = std::fs::read_dir(&dir).expect("it").count();
        assert_eq!(left, 1, "nothing but the ballast");
    });
}

#[test]
fn a_disk_that_fills_up_costs_a_second_and_what_it_costs_is_told() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let _mounted = tmpfs(&dir, "1m");
        let mut running = rig.start("do=asked threads=2");
        println!("{}", running.line());
        for round in 0..3 {
            // More than disk, staging and lanes hold: there is a stall, then loss without waiting.
            let slowest = number(&running.ask("log 400000"), "slowest_ms");
            let stats = running.ask("stats");
            println!("full, round {round}: slowest thread held up for {slowest} ms; {stats}");
            assert!(slowest < 2_500, "held up for {slowest} ms");
            assert!(stats.contains("No space left"), "{stats}");
        }
        let lost = number(&running.ask("stats"), "lost");
        assert!(lost > 0, "a megabyte does not hold two million events");
        assert!(mount(None, &dir, libc::MS_REMOUNT, "size=256m"), "more room");
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        println!("room again: {}", running.ask("stats"));
        println!("{}", running.ask("log 1000"));
        let end = running.ask("quit");
        let _ = running.child.wait();
        println!("{end}");
        let lost_at_end = number(&end, "lost");
        let (tally, told) = check(&rig, running.run);
        println!("{tally:?}, lost by stats() {lost_at_end}, told in the log {told}");
        assert_eq!(tally.missing, lost_at_end, "calls = written + lost");
        assert_eq!(told, lost_at_end);
        let last: Vec<_> =
            by_thread(&read_back(&dir)).into_values().map(|n| n[n.len() - 1]).collect();
        assert_eq!(last, [1_200_999; 2], "writing resumed by itself");
    });
}

#[test]
fn r14_the_oldest_segments_make_room_and_what_others_take_is_given_back() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let _mounted = tmpfs(&dir, "24m");
        let mut running = rig.start("do=asked threads=2 rotate=1048576 keep=free=8MiB");
        println!("{}", running.line());
        // Many times what there is room for.
        for _ in 0..24 {
            running.ask("log 40000");
            assert_eq!(running.ask("flush 20000"), "flushed=true");
        }
        let segments = || {
            let files = std::fs::read_dir(&dir).expect("it").map(|entry| entry.expect("it").path());
            files.filter(|path| path.extension().is_some_and(|x| x == "ttlog")).count()
        };
        let free = || {
            let stat = rustix::fs::statvfs(&dir).expect("it");
            stat.f_bavail * stat.f_frsize
        };
        let began = std::time::Instant::now();
        while free() < 8 << 20 {
            assert!(began.elapsed() < Duration::from_secs(60), "{} bytes free", free());
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = segments();
        println!("{before} segments, {} bytes free; {}", free(), running.ask("stats"));
        fill(&dir);
        running.ask("log 40000");
        assert_eq!(running.ask("flush 60000"), "flushed=true", "older segments make room");
        println!("{} segments; {}", segments(), running.ask("stats"));
        println!("{}", running.ask("quit"));
        let _ = running.child.wait();
        let read = read_back(&dir);
        assert_eq!(read.wrong, [""; 0]);
        let kept = by_thread(&read);
        assert_eq!(kept.len(), 2);
        for numbers in kept.into_values() {
            let first = numbers[0];
            assert!(first > 0 && numbers.iter().copied().eq(first..1_000_000), "from {first}");
        }
    });
}

/// Statements with long names, so that few fill what is reserved for definitions.
mod long {
    use ttlog::info;

    const NAME: &str = match std::str::from_utf8(&[b'x'; 50_000]) {
        Ok(name) => name,
        Err(_) => "",
    };

    pub(super) fn log(handle: &ttlog::Handle) -> u64 {
        info!(logger: handle, target: NAME, n = 1_u64, "one");
        info!(logger: handle, target: NAME, n = 2_u64, "two");
        info!(logger: handle, target: NAME, n = 3_u64, "three");
        3
    }
}

#[test]
fn s11_an_event_whose_definition_finds_no_room_is_counted_and_every_other_can_be_decoded() {
    in_namespace(|| {
        let (dir, lanes) = (tempfile::tempdir().expect("it"), tempfile::tempdir().expect("it"));
        let _mounted = tmpfs(lanes.path(), "16m");
        let builder = ttlog::Builder::new(dir.path()).lanes_in(lanes.path()).filter("info");
        let handle = builder.build().expect("a logger");
        ttlog::info!(logger: &handle, "so that there is a lane");
        fill(lanes.path());
        let calls = 1 + long::log(&handle) + long::log(&handle);
        let lost = handle.stats().lost_by(ttlog::record::Cause::Full, ttlog::Level::INFO);
        println!("{lost} of {calls} events lost beside a full /dev/shm");
        assert!(lost == 2 || lost == 4, "one or two definitions of three found no room: {lost}");
        let place = handle.health().lanes.expect("they are shared");
        let defined = std::fs::read(place.join("callsites")).expect("the table");
        let has = |name: &[u8]| defined.windows(name.len()).any(|at| at == name);
        assert!(has(b"one") && !has(b"three"), "what was refused is not there, nor half of it");
        std::fs::remove_file(lanes.path().join("ballast")).expect("it");
        let calls = calls + long::log(&handle);
        handle.flush(Duration::from_secs(60)).expect("a flush");
        let stats = handle.stats();
        assert_eq!((stats.written, stats.lost()), (calls - lost, lost), "{stats:?}");
        let read = read_back(dir.path());
        assert_eq!(read.wrong, [""; 0]);
        assert_eq!((read.others.len() as u64, read.lost_total()), (calls - lost, lost));
        handle.shutdown(Duration::from_secs(60)).expect("the end");
    });
}

#[test]
fn killed_while_the_disk_is_full_nothing_that_was_accepted_is_gone() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let _mounted = tmpfs(&dir, "1m");
        let mut running = rig.start("do=asked threads=2");
        running.line();
        running.ask("log 300000");
        let lost = number(&running.ask("stats"), "lost");
        running.kill();
        let (tally, told) = check(&rig, running.run);
        println!("killed on a full disk: {tally:?}, lost {lost}, told {told}");
        assert_eq!((tally.missing, told), (lost, lost));
        // Taken up when there is room.
        assert!(mount(None, &dir, libc::MS_REMOUNT, "size=256m"), "more room");
        let (_, outcome) = rig.run("do=log events=1 adopt=1");
        assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
        let (tally, told) = check(&rig, running.run);
        assert_eq!((tally.missing, told), (lost, lost), "{tally:?}");
    });
}

#[test]
fn a_disk_that_hangs_holds_callers_up_for_a_second_at_most() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let Some(_mounted) = Loop::ext4(&rig.path("image"), 64 << 20, &dir) else {
            return not_run("needs mkfs.ext4 and a loop device");
        };
        let at = dir.display().to_string();
        let mut running = rig.start("do=asked threads=2");
        running.line();
        running.ask("log 1000");
        running.ask("flush 10000");
        if !run("fsfreeze", &["-f", &at]) {
            return not_run("needs fsfreeze");
        }
        let slowest = running.ask("log 400000");
        let stats = running.ask("stats");
        std::thread::sleep(Duration::from_secs(1));
        assert!(run("fsfreeze", &["-u", &at]), "the disk answers again");
        println!("hung: {slowest}; {stats}");
        assert!(number(&slowest, "slowest_ms") < 2_500, "{slowest}");
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        let end = running.ask("quit");
        let _ = running.child.wait();
        let (tally, told) = check(&rig, running.run);
        println!("{end}: {tally:?}, told {told}");
        assert_eq!((tally.missing, told), (number(&end, "lost"), number(&end, "lost")));
    });
}

/// For how long disks are frozen below; `RIG_FREEZE_MS=30000` for longer.
fn freeze_ms() -> u64 {
    let wanted = std::env::var("RIG_FREEZE_MS").ok();
    wanted.map_or(2_000, |ms| ms.parse().expect("milliseconds"))
}

/// What threads saw while disks hung.
struct Hung {
    /// How long the slowest thread was held up in the first go, and in any other.
    first_ms: u64,
    later_ms: u64,
    stats: String,
}

/// Logs far more than lanes and staging hold, in several goes, for as long as disks are to hang: a
/// spiller ends between two.
fn log_while_hung(running: &mut Running) -> Hung {
    let began = std::time::Instant::now();
    let goes = (freeze_ms() / 500).max(4);
    let (mut first_ms, mut later_ms, mut longest) = (None, 0, 0.0_f64);
    for go in 1..=goes {
        let told = running.ask(&format!("log {}", 600_000 / goes));
        let held_up = number(&told, "slowest_ms");
        if first_ms.is_some() {
            later_ms = later_ms.max(held_up);
        }
        first_ms.get_or_insert(held_up);
        let ms = told.split_once("longest_call_ms=").and_then(|(_, ms)| ms.parse().ok());
        longest = longest.max(ms.expect("a number"));
        let due = Duration::from_millis(freeze_ms() * go / goes);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let (first_ms, stats) = (first_ms.expect("one at least"), running.ask("stats"));
    println!(
        "hung for {:.1?}: held up for {first_ms} ms in the first go, {later_ms} ms at most in others; \
         the longest call of all took {longest:.1} ms; {stats}",
        began.elapsed()
    );
    Hung { first_ms, later_ms, stats }
}

#[test]
fn a_disk_that_hangs_costs_nothing_while_the_spill_disk_answers() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let (dir, spill) = (rig.dir(), rig.path("spill"));
        let Some(disk) = Loop::ext4(&rig.path("image"), 256 << 20, &dir) else {
            return not_run("needs mkfs.ext4 and a loop device");
        };
        // A call whose wait runs out loses its event.
        let (mut command, number_of_run) = rig.command("do=asked threads=2 spill_wait=5000");
        command.env("TTLOG_ON_FULL", format!("spill:{}", spill.display()));
        let mut running = Running::new(command, number_of_run);
        running.line();
        running.ask("log 1000");
        running.ask("flush 10000");
        let Some(frozen) = disk.freeze() else { return not_run("needs fsfreeze") };
        let hung = log_while_hung(&mut running);
        assert_eq!(number(&hung.stats, "lost"), 0, "{}", hung.stats);
        assert!(number(&hung.stats, "spilled") > 0, "{}", hung.stats);
        drop(frozen);
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        let end = running.ask("quit");
        let _ = running.child.wait();
        let (tally, told) = check(&rig, number_of_run);
        println!("{end}: {tally:?}, told {told}");
        assert_eq!((tally.missing, told, number(&end, "lost")), (0, 0, 0));
        let goes = (freeze_ms() / 500).max(4);
        assert_eq!(tally.returned, 2 * (1_000 + 600_000 / goes * goes));
        let left = std::fs::read_dir(&spill).expect("it").count();
        assert_eq!(left, 0, "all of it is part of the log");
    });
}

#[test]
fn when_both_disks_hang_one_call_waits_and_the_rest_is_lost_and_told() {
    in_namespace(|| {
        const SPILL_WAIT_MS: u64 = 1_000;
        let mut rig = Rig::new();
        let (dir, spill) = (rig.dir(), rig.path("spill"));
        std::fs::create_dir(&spill).expect("a directory");
        let disks = [("image", &dir), ("spill-image", &spill)]
            .map(|(image, at)| Loop::ext4(&rig.path(image), 256 << 20, at));
        let [Some(log_disk), Some(spill_disk)] = disks else {
            return not_run("needs mkfs.ext4 and two loop devices");
        };
        let args = format!("do=asked threads=2 spill_wait={SPILL_WAIT_MS}");
        let (mut command, number_of_run) = rig.command(&args);
        command.env("TTLOG_ON_FULL", format!("spill:{}", spill.display()));
        let mut running = Running::new(command, number_of_run);
        running.line();
        running.ask("log 1000");
        running.ask("flush 10000");
        let (Some(frozen), Some(frozen_too)) = (log_disk.freeze(), spill_disk.freeze()) else {
            return not_run("needs fsfreeze");
        };
        let hung = log_while_hung(&mut running);
        let lost = number(&hung.stats, "lost");
        assert!(lost > 0, "lanes and staging do not hold that: {}", hung.stats);
        // Each thread waits once, in whichever go its lane is full, and never again.
        let held_up = hung.first_ms.max(hung.later_ms);
        assert!(held_up < 2 * SPILL_WAIT_MS, "held up for {held_up} ms");
        drop((frozen, frozen_too));
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        let again = running.ask("log 1000");
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        let end = running.ask("quit");
        let _ = running.child.wait();
        let (tally, told) = check(&rig, number_of_run);
        println!("{again}; {end}: {tally:?}, told {told}");
        assert_eq!(number(&end, "lost"), lost, "nothing is lost any more");
        assert_eq!((tally.missing, told), (lost, lost));
        let last =
            by_thread(&read_back(&dir)).into_values().map(|numbers| numbers[numbers.len() - 1]);
        let goes = (freeze_ms() / 500).max(4);
        assert!(last.eq([1_999 + 600_000 / goes * goes; 2]), "the last ones are there");
        assert_eq!(
            std::fs::read_dir(&spill)
                .expect("it")
                .flatten()
                .filter(|entry| entry.file_name() != "lost+found")
                .count(),
            0
        );
    });
}

/// Runs a program in a namespace whose /dev/shm is as `prepare` makes it.
fn with_shm(what: &str, prepare: impl FnOnce(&Rig) + Send, lines: usize) {
    in_namespace(|| {
        let mut rig = Rig::new();
        prepare(&rig);
        let (run, outcome) = rig.run("do=log threads=4 events=20000 burst=1000");
        println!("/dev/shm {what}: {} | {}", outcome.stderr.trim(), outcome.stdout.trim());
        assert!(outcome.status.success(), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), lines, "{outcome:?}");
        if lines > 0 {
            assert!(outcome.stderr.contains("/dev/shm"), "the path: {outcome:?}");
        }
        let (tally, told) = check(&rig, run);
        assert_eq!((tally.missing, told), (0, 0), "{tally:?}");
        assert_eq!(tally.read, 80_000);
    });
}

const SHM: &str = "/dev/shm";

#[test]
fn shared_memory_that_is_missing() {
    with_shm(
        "missing",
        |rig| {
            // Another /dev with the two devices that a program needs.
            let dev = rig.path("dev");
            std::fs::create_dir(&dev).expect("a directory");
            assert!(mount(None, &dev, 0, "size=64k"));
            for name in ["null", "urandom"] {
                std::fs::write(dev.join(name), "").expect("a file");
                let device = Path::new("/dev").join(name);
                assert!(mount(Some(&device), &dev.join(name), libc::MS_BIND, ""));
            }
            assert!(mount(Some(&dev), Path::new("/dev"), libc::MS_BIND | libc::MS_REC, ""));
        },
        1,
    );
}

#[test]
fn shared_memory_that_is_tiny() {
    for size in ["64k", "1m"] {
        with_shm(size, |_| assert!(mount(None, Path::new(SHM), 0, &format!("size={size}"))), 1);
    }
}

#[test]
fn shared_memory_that_is_small() {
    with_shm("of 4 MiB", |_| assert!(mount(None, Path::new(SHM), 0, "size=4m")), 0);
}

#[test]
fn shared_memory_that_is_full() {
    with_shm(
        "full",
        |_| {
            assert!(mount(None, Path::new(SHM), 0, "size=16m"));
            fill(Path::new(SHM));
        },
        1,
    );
}

#[test]
fn shared_memory_that_is_read_only() {
    with_shm("read-only", |_| assert!(mount(None, Path::new(SHM), libc::MS_RDONLY, "")), 1);
}

#[test]
fn shared_memory_that_fills_up_while_the_program_runs() {
    in_namespace(|| {
        let mut rig = Rig::new();
        assert!(mount(None, Path::new(SHM), 0, "size=16m"));
        let mut running = rig.start("do=asked threads=8");
        println!("{}", running.line());
        fill(Path::new(SHM));
        // New threads, new callsites' definitions, lanes that want to grow: none finds room.
        println!("{}", running.ask("log 20000"));
        running.kill();
        let (tally, told) = check(&rig, running.run);
        println!("/dev/shm full while running, killed: {tally:?}, told {told}");
        assert_eq!(tally.missing, told);
        assert_eq!(told, 0, "threads share the common lane, and wait for it");
    });
}
