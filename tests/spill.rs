//! Spill: nothing is lost below the quota, in order, whatever happens in between (R05, R06, R25).
//!
//! `SPILL_EVENTS` logs more events, `SPILL_KILLS` kills more often.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::path::Path;
use std::time::Duration;

use ttlog::view::{Item, Query, Source, Value};
use ttlog::{BackPressurePolicy, Builder, Durability, Fallback, Handle};

use rig::read::read_back;
use rig::{Random, Rig, by_thread, compare};

const LONG: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn files(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(suffix)).collect()
}

/// The numbers of each thread, in the order shown, and how many were told as lost.
fn read(dir: &Path, threads: usize) -> (Vec<Vec<u64>>, u64) {
    read_by(dir, threads, &Query::new())
}

fn read_by(dir: &Path, threads: usize, query: &Query) -> (Vec<Vec<u64>>, u64) {
    let (mut found, mut lost) = (vec![Vec::new(); threads], 0);
    for item in Source::open(dir).unwrap().query(query) {
        match item.unwrap() {
            Item::Record(record) => {
                let number = |name| match record.field(name) {
                    Some(Value::U64(number)) => number,
                    other => panic!("{name}: {other:?}"),
                };
                found[number("t") as usize].push(number("n"));
            }
            Item::Lost(told) => lost += told.losses().total(),
            other => panic!("{other:?}"),
        }
    }
    (found, lost)
}

fn spilling(dir: &Path, spill: &Path) -> Builder {
    Builder::new(dir)
        .lane_bytes(32 << 10)
        .back_pressure(BackPressurePolicy::SpillToDisk(spill.to_owned()))
        .spill_wait(Duration::from_secs(20))
}

fn log(logger: &Handle, threads: u64, events: u64) {
    std::thread::scope(|scope| {
        for t in 0..threads {
            scope.spawn(move || {
                (0..events)
                    .for_each(|n| ttlog::info!(logger: logger, t, n, "an event of some length"));
            });
        }
    });
}

#[test]
fn lanes_that_overflow_lose_nothing_and_order_holds() {
    let events = number("SPILL_EVENTS", 200_000);
    // Beside the log, and on another file system.
    for far in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let shm = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").unwrap();
        let spill = if far { shm.path().join("spill") } else { dir.path().to_owned() };
        let logger = spilling(dir.path(), &spill).build().unwrap();
        log(&logger, 2, events);
        logger.flush(LONG).unwrap();
        let stats = logger.stats();
        assert_eq!((stats.written, stats.lost()), (2 * events, 0), "{stats:?}");
        assert!(stats.spilled > 0, "{stats:?}");
        // Read while the logger lives, wherever its spill lies.
        let all: Vec<u64> = (0..events).collect();
        let (found, lost) = read(dir.path(), 2);
        for numbers in &found {
            let wrong = numbers.iter().zip(&all).position(|(a, b)| a != b);
            assert_eq!((numbers.len(), wrong), (all.len(), None), "while it lives");
        }
        assert_eq!(lost, 0);
        let flushed = logger.shutdown(LONG).unwrap();
        assert_eq!(flushed.events, 2 * events);
        let (found, lost) = read(dir.path(), 2);
        assert!(found.iter().all(|numbers| *numbers == all) && lost == 0);
        let (mut backwards, _) = read_by(dir.path(), 2, &Query::new().reverse());
        backwards.iter_mut().for_each(|numbers| numbers.reverse());
        assert_eq!(backwards, found, "newest first");
        assert_eq!(files(&spill, ".ttspill"), [""; 0], "drained");
        println!("{} of {} by way of spill files", stats.spilled, 2 * events);
    }
}

/// R06: the spiller comes and goes, `SPILL_FLAPS` times; events are in order over lane, spill file
/// and segment all the same.
#[test]
fn r06_order_is_unbroken_while_spilling_begins_and_ends_again_and_again() {
    let (flaps, mut random) = (number("SPILL_FLAPS", 25), Random::new());
    let dir = tempfile::tempdir().unwrap();
    let logger = spilling(dir.path(), dir.path()).build().unwrap();
    let mut next = [0_u64; 2];
    let (mut n_flaps, mut n_calm) = (0, 0);
    while n_flaps < flaps {
        let before = logger.stats().spilled;
        // A burst that may or may not fit a lane, for each thread by itself.
        let bursts = [(); 2].map(|()| random.range(1, 4_000));
        std::thread::scope(|scope| {
            for (t, (next, burst)) in next.iter_mut().zip(bursts).enumerate() {
                let logger = &logger;
                scope.spawn(move || {
                    for n in *next..*next + burst {
                        ttlog::info!(logger: logger, t = t as u64, n, "an event of some length");
                    }
                    *next += burst;
                });
            }
        });
        if random.range(0, 4) == 0 {
            continue; // the next burst comes while the spiller is at work
        }
        logger.flush(LONG).unwrap();
        let has_spilled = logger.stats().spilled > before;
        n_flaps += u64::from(has_spilled);
        n_calm += u64::from(!has_spilled);
    }
    let (stats, total) = (logger.stats(), next.iter().sum::<u64>());
    logger.shutdown(LONG).unwrap();
    let (found, lost) = read(dir.path(), 2);
    for (numbers, next) in found.iter().zip(next) {
        let wrong = numbers.iter().copied().zip(0..).position(|(a, b)| a != b);
        assert_eq!((numbers.len() as u64, wrong), (next, None));
    }
    assert_eq!((lost, stats.lost()), (0, 0));
    println!("{n_flaps} times on and off, {n_calm} without: {} of {total} spilled", stats.spilled);
}

#[test]
fn sync_covers_what_was_spilled() {
    let dir = tempfile::tempdir().unwrap();
    let logger = spilling(dir.path(), dir.path()).durability(Durability::Never).build().unwrap();
    for round in 1..=5 {
        log(&logger, 1, 50_000);
        let synced = logger.sync(LONG).unwrap();
        let stats = logger.stats();
        assert!(synced.events >= round * 50_000, "{stats:?}");
        assert!(stats.durable >= round * 50_000, "{stats:?}");
    }
    assert!(logger.stats().spilled > 0);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn beyond_the_quota_events_are_lost_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let shm = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").unwrap();
    let spill = shm.path().to_owned();
    let logger = spilling(dir.path(), &spill)
        .spill_quota(1 << 20)
        .spill_wait(Duration::from_millis(1))
        .build()
        .unwrap();
    let most = std::thread::scope(|scope| {
        let writer = scope.spawn(|| log(&logger, 2, 300_000));
        let mut most = 0;
        while !writer.is_finished() {
            let sizes = files(&spill, ".ttspill").into_iter();
            let sizes = sizes.map(|name| spill.join(name).metadata().map_or(0, |meta| meta.len()));
            most = most.max(sizes.sum::<u64>());
        }
        most
    });
    logger.shutdown(LONG).unwrap();
    let stats = logger.stats();
    let (found, lost) = read(dir.path(), 2);
    let shown: u64 = found.iter().map(|numbers| numbers.len() as u64).sum();
    println!("at most {most} bytes of spill; {stats:?}");
    assert!(most <= 1 << 20, "{most} bytes");
    assert_eq!((shown + lost, lost), (600_000, stats.lost()));
    assert!(found.iter().all(|numbers| numbers.is_sorted()));
}

#[test]
fn block_falls_back_to_spilling() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path())
        .lane_bytes(32 << 10)
        .back_pressure(BackPressurePolicy::Block)
        .block_timeout(Duration::ZERO, Fallback::SpillToDisk(dir.path().join("spill")))
        .spill_wait(Duration::from_secs(20))
        .build()
        .unwrap();
    log(&logger, 2, 100_000);
    logger.shutdown(LONG).unwrap();
    let stats = logger.stats();
    assert!(stats.spilled > 0 && stats.lost() == 0, "{stats:?}");
    let (found, _) = read(dir.path(), 2);
    assert!(found.iter().all(|numbers| *numbers == (0..100_000).collect::<Vec<_>>()));
}

/// Killed while it spills, beside the log or elsewhere: read as it lies, then taken up by the next
/// start, everything is there once and in order.
#[test]
fn r25_what_a_killed_process_spilled_is_read_and_taken_up() {
    let mut random = Random::new();
    for round in 0..number("SPILL_KILLS", 4) {
        let mut rig = Rig::new();
        let shm = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").unwrap();
        let spill = if round % 2 == 0 { rig.dir() } else { shm.path().join("spill") };
        let (mut command, run) =
            rig.command("do=log threads=2 events=100000000 lane=32768 spill_wait=20000");
        command.env("TTLOG_ON_FULL", format!("spill:{}", spill.display()));
        let mut running = rig::Running::new(command, run);
        let at_least = random.range(20_000, 100_000);
        rig::wait_until("events", || {
            rig.counts(run).iter().map(|(_, returned)| *returned).sum::<u64>() >= at_least
        });
        running.kill();
        check(&rig, run, &spill);
    }
}

/// Reads what a killed run left, then lets the next start take it up, and reads again.
fn check(rig: &Rig, run: u64, spill: &Path) {
    let look = |rig: &Rig, when: &str| {
        let read = read_back(&rig.dir());
        assert_eq!(read.wrong, [""; 0], "{when}");
        let tally = compare(&by_thread(&read), run, &rig.counts(run));
        assert_eq!((tally.missing, read.lost_total()), (0, 0), "{when}: {tally:?}");
        tally
    };
    let dead = look(rig, "dead");
    let n_spills = if spill.exists() { files(spill, ".ttspill").len() } else { 0 };
    let dir = rig.dir();
    let logger = Builder::new(&dir).build().unwrap();
    rig::wait_until("the adopter", || files(&dir, ".owner").len() == 1);
    logger.shutdown(LONG).unwrap();
    assert_eq!(look(rig, "taken up"), dead, "the same as before");
    if spill.exists() {
        assert_eq!(files(spill, ".ttspill"), [""; 0], "taken up");
    }
    println!("{dead:?}, {n_spills} spill files were left");
}

/// Killed at each named point of a spill file's life.
#[test]
fn r25_killed_at_each_crash_point_nothing_is_gone_or_doubled() {
    if !cfg!(debug_assertions) {
        return println!("not run: crash points are in builds with debug assertions alone");
    }
    const POINTS: [&str; 11] = [
        "spill.create",
        "spill.created",
        "spill.append",
        "spill.append:3",
        "spill.appended",
        "spill.seal",
        "spill.sealed",
        "spill.rename",
        "spill.renamed",
        "spill.copied",
        "spill.unlink",
    ];
    for point in POINTS {
        let is_far = ["spill.copied", "spill.unlink"].contains(&point);
        let mut rig = Rig::new();
        let shm = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").unwrap();
        let spill = if is_far { shm.path().join("spill") } else { rig.dir() };
        let args = "do=log threads=2 events=40000 lane=32768 spill_wait=20000";
        let (mut command, run) = rig.command(args);
        command.env("TTLOG_ON_FULL", format!("spill:{}", spill.display()));
        command.env("TTLOG_CRASH_AT", point);
        let outcome = rig::outcome(command);
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(outcome.status.signal(), Some(9), "{point} was never passed: {outcome:?}");
        print!("{point}: ");
        check(&rig, run, &spill);
    }
}
