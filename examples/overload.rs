//! Overload: what a call costs while nothing can be written, what the spiller does meanwhile, and what
//! a disk that stalls makes of it.
//!
//! ```text
//! truncate -s 4G /dev/shm/image && mkfs.ext4 -q /dev/shm/image && mount -o loop /dev/shm/image /mnt
//! cargo run --release --example overload -- /mnt /dev/shm/spill
//! cargo run --release --example overload -- /mnt /dev/shm/spill spill stalls
//! ```
//!
//! Behind the directories stand the parts to measure (`policies`, `spill`, `stalls`, `overload`), all
//! without any. What is said of several rounds is their median, with the least and the most.
//!
//! The first directory is the root of a file system that this program may freeze (as root, by
//! `fsfreeze`), the second lies on another one. While the log's disk is frozen and staging is full the
//! scribe takes nothing, as if it were stopped. Percentiles have the reading of the clock in them.
#![expect(clippy::print_stdout, reason = "a program that measures")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ttlog::{BackPressurePolicy, Builder, Fallback, Handle};

const LONG: Duration = Duration::from_secs(120);
/// Calls that one time is taken over.
const CALLS: u64 = 1_000_000;
const ROUNDS: usize = 5;
const MIB: u64 = 1 << 20;

/// Where everything lies.
struct Dirs {
    /// Root of a file system of its own.
    disk: PathBuf,
    spill: PathBuf,
}

/// The log's disk, frozen for as long as this lives.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn new(disk: &'a Path) -> Self {
        let is_frozen = Command::new("fsfreeze").arg("-f").arg(disk).status();
        assert!(
            is_frozen.is_ok_and(|status| status.success()),
            "fsfreeze -f needs root and a mount"
        );
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(self.0).status();
    }
}

fn main() {
    let mut args = std::env::args_os().skip(1);
    let (Some(disk), Some(spill)) = (args.next(), args.next()) else {
        println!(
            "usage: overload DISK SPILL [PART…]: the root of a file system to freeze, a directory, and \
             parts of policies, spill, stalls, overload"
        );
        return;
    };
    let dirs = Dirs { disk: disk.into(), spill: spill.into() };
    let parts: Vec<_> = args.collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if is_wanted("policies") {
        nothing_written(&dirs);
    }
    if is_wanted("spill") {
        spill_rates(&dirs);
    }
    if is_wanted("stalls") {
        stalls(&dirs);
    }
    if is_wanted("overload") {
        overload(&dirs);
    }
}

/// The median of several rounds, with the least and the most.
fn median(mut rounds: Vec<f64>) -> String {
    rounds.sort_by(f64::total_cmp);
    let [least, median, most] = [0, rounds.len() / 2, rounds.len() - 1].map(|at| rounds[at]);
    format!("{median:.2} ({least:.2} to {most:.2})")
}

/// What a call costs under each policy when nothing is written, beside one with room.
fn nothing_written(dirs: &Dirs) {
    let calm = unsaturated(dirs);
    println!("a call, unsaturated: {calm:.1} ns");
    for threads in [1, 4] {
        for (name, policy) in policies(dirs) {
            let ns = stopped(dirs, policy, threads);
            println!("{name}, nothing written, {threads} threads: {ns:.1} ns, {:.2} x", ns / calm);
        }
    }
}

fn policies(dirs: &Dirs) -> [(&'static str, Builder); 4] {
    let with = |policy| builder(dirs).back_pressure(policy);
    let block = with(BackPressurePolicy::Block);
    [
        ("DropNewest", with(BackPressurePolicy::DropNewest)),
        ("DropOldest", with(BackPressurePolicy::DropOldest)),
        (
            "Block 50 ms, DropNewest",
            block.block_timeout(Duration::from_millis(50), Fallback::DropNewest),
        ),
        (
            "SpillToDisk",
            with(BackPressurePolicy::SpillToDisk(dirs.spill.clone())).spill_quota(4 << 30),
        ),
    ]
}

fn builder(dirs: &Dirs) -> Builder {
    let log = dirs.disk.join("log");
    for dir in [&log, &dirs.spill] {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).expect("a directory");
    }
    Builder::new(log).app("overload", "1").filter("info").lanes_bytes_max(16 << 20)
}

fn end(logger: &Handle) {
    logger.shutdown(LONG).expect("the logger writes what it has and ends");
}

/// Nanoseconds a call, the slowest thread's, of so many calls in each, from when `is_ready` on.
fn each_ns(logger: &Handle, threads: u64, calls: u64, is_ready: impl Fn() -> bool + Sync) -> f64 {
    let log = || {
        while !is_ready() {
            (0..10_000_u64).for_each(|n| ttlog::info!(logger: logger, "x={}", n));
        }
        let began = Instant::now();
        (0..calls).for_each(|n| ttlog::info!(logger: logger, "x={}", n));
        began.elapsed().as_nanos() as f64 / calls as f64
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(log)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).fold(0.0, f64::max)
    })
}

fn unsaturated(dirs: &Dirs) -> f64 {
    let logger = builder(dirs).build().expect("a logger");
    let mut took = Duration::ZERO;
    for round in 0..600 {
        std::thread::sleep(Duration::from_millis(1));
        let began = Instant::now();
        (0..1_000_u64).for_each(|n| ttlog::info!(logger: &logger, "x={}", n));
        // The first rounds make lanes.
        took += if round < 100 { Duration::ZERO } else { began.elapsed() };
    }
    end(&logger);
    took.as_nanos() as f64 / 500_000.0
}

/// A call when lanes and staging are full and nothing is written.
fn stopped(dirs: &Dirs, builder: Builder, threads: u64) -> f64 {
    let logger = builder.build().expect("a logger");
    ttlog::info!(logger: &logger, "x={}", 0_u64);
    logger.flush(LONG).expect("a flush");
    let frozen = Frozen::new(&dirs.disk);
    let is_full = || logger.stats().lost() + logger.stats().spilled > 0;
    let ns = each_ns(&logger, threads, CALLS, is_full);
    drop(frozen);
    end(&logger);
    ns
}

fn spilled_bytes(dirs: &Dirs) -> u64 {
    let entries = std::fs::read_dir(&dirs.spill).expect("a directory").flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// How fast one thread's long events get into spill files until there is a gibibyte, and out again.
fn spill_rates(dirs: &Dirs) {
    let rounds: Vec<_> = (0..ROUNDS).map(|_| spill_rate(dirs)).collect();
    let [into, out] = [0, 1].map(|at| median(rounds.iter().map(|round| round[at]).collect()));
    println!("spilled {into} GB/s until 1 GiB, none lost; drained to the log's disk in {out} s");
}

/// GB a second into spill files, and seconds until they are drained.
fn spill_rate(dirs: &Dirs) -> [f64; 2] {
    let [.., (_, builder)] = policies(dirs);
    let logger = builder.spill_wait(Duration::from_secs(60)).build().expect("a logger");
    let text = "x".repeat(1_000);
    ttlog::info!(logger: &logger, text = &text[..], "long");
    logger.flush(LONG).expect("a flush");
    let frozen = Frozen::new(&dirs.disk);
    // Lanes and staging first.
    (0..32 * 1024).for_each(|_| ttlog::info!(logger: &logger, text = &text[..], "long"));
    let (began, before) = (Instant::now(), spilled_bytes(dirs));
    while spilled_bytes(dirs) < 1024 * MIB {
        (0..4_096).for_each(|_| ttlog::info!(logger: &logger, text = &text[..], "long"));
    }
    let (took, bytes) = (began.elapsed().as_secs_f64(), spilled_bytes(dirs));
    assert_eq!(logger.stats().lost(), 0, "none is lost below the quota");
    drop(frozen);
    let began = Instant::now();
    while spilled_bytes(dirs) > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let drained = began.elapsed().as_secs_f64();
    end(&logger);
    [(bytes - before) as f64 / took / 1e9, drained]
}

/// p50, p99 and p99.9 in nanoseconds; the clock's reading is in them.
fn percentiles(mut all: Vec<u32>) -> [u32; 3] {
    all.sort_unstable();
    [500, 990, 999].map(|permille| all[(all.len() - 1) * permille / 1000])
}

/// Calls in bursts for so long, `a_second` of them a second as far as they come through.
fn paced(call: impl Fn(u64), long: Duration, a_second: f64) -> Vec<u32> {
    let (began, mut all) = (Instant::now(), Vec::with_capacity(32 << 20));
    while began.elapsed() < long {
        let due = began.elapsed().as_secs_f64() * a_second;
        while (all.len() as f64) < due {
            let called = Instant::now();
            call(all.len() as u64);
            all.push(called.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    all
}

/// Runs `work` while the disk is frozen for so long of each time, again and again.
fn while_it_stalls<R: Send>(
    dirs: &Dirs,
    [frozen, free]: [Duration; 2],
    work: impl FnOnce() -> R + Send,
) -> R {
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            let guard = Frozen::new(&dirs.disk);
            std::thread::sleep(frozen);
            drop(guard);
            std::thread::sleep(free);
        }
        work.join().expect("a thread")
    })
}

/// Two million calls a second while the disk answers, or stalls for 200 ms each second.
fn stalling(dirs: &Dirs, builder: Builder, stalls: bool) -> [u32; 3] {
    let logger = builder.build().expect("a logger");
    let call = |n| ttlog::info!(logger: &logger, "x={}", n);
    let calls = || paced(call, Duration::from_secs(5), 2e6);
    let all = match stalls {
        true => while_it_stalls(dirs, [200, 800].map(Duration::from_millis), calls),
        false => calls(),
    };
    end(&logger);
    percentiles(all)
}

/// What a call of the drop policies takes while the disk stalls, beside one while it does not.
fn stalls(dirs: &Dirs) {
    for at in 0..2 {
        let mut rounds: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for stalls in [false, true] {
                let (_, policy) = &policies(dirs)[at];
                let [.., p999] = stalling(dirs, policy.clone(), stalls);
                rounds[usize::from(stalls)].push(f64::from(p999));
            }
        }
        let [calm, stalled] = rounds.map(median);
        println!("{}: p99.9 {calm} ns, while the disk stalls {stalled} ns", policies(dirs)[at].0);
    }
}

/// The default policy under twice what gets onto a disk that stalls most of the time. Events are long
/// and no two of a block alike, so that two threads can ask for as much.
fn overload(dirs: &Dirs) {
    let slow = [190, 10].map(Duration::from_millis);
    let texts: Vec<String> = (0..4_096_u64)
        .map(|n| {
            (0..60).map(|word| format!("{:016x} ", (n * 60 + word + 1) * 0x9e37_79b9)).collect()
        })
        .collect();
    let text = |n: u64| &texts[(n % 4_096) as usize][..];
    let blocking =
        builder(dirs).back_pressure(BackPressurePolicy::Block).build().expect("a logger");
    let (began, calls) = (Instant::now(), 400_000);
    while_it_stalls(dirs, slow, || {
        (0..calls).for_each(|n| ttlog::info!(logger: &blocking, text = text(n), "long"));
        blocking.flush(LONG).expect("a flush");
    });
    let sustained = calls as f64 / began.elapsed().as_secs_f64();
    end(&blocking);
    let logger = builder(dirs).spill_quota(4 << 30).build().expect("a logger");
    let (long, asked) = (Duration::from_secs(10), 2.0 * sustained);
    let call = |n| ttlog::info!(logger: &logger, text = text(n), "long");
    let all: Vec<u32> = while_it_stalls(dirs, slow, || {
        std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| paced(call, long, asked / 2.0)));
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        })
    });
    let got = all.len() as f64 / long.as_secs_f64() / sustained;
    let [p50, p99, p999] = percentiles(all);
    let stats = logger.stats();
    println!(
        "default policy, 2 x {sustained:.0} events of 1,020 bytes a second asked for, {got:.2} x came \
         through: p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns; {} spilled, {} lost",
        stats.spilled,
        stats.lost()
    );
    end(&logger);
}
