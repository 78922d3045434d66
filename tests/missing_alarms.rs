//! No hole is told where nothing is missing: whatever the policy, whatever retention removed, however
//! a logger ended, and whoever took up what it left; read while it lives, followed, dead and mended.
//!
//! `MISSING_ROUNDS=500 cargo test --release --test missing_alarms -- --nocapture` draws more cases,
//! `MISSING_SEED` draws one again.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use ttlog::store::segment::SegmentReader;
use ttlog::view::{Item, Items, Query, Source};
use ttlog::{BackPressurePolicy, Builder, Compression, Fallback, Keep, Level, Rotate};

const LONG: Duration = Duration::from_secs(60);
/// A child does its part where this names a directory.
const CHILD_DIR: &str = "TTLOG_TEST_MISSING_DIR";
/// What it does.
const CHILD_SEED: &str = "TTLOG_TEST_MISSING_SEED";
const ROUNDS: u64 = 8;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Text that no dictionary shortens.
    fn text(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

/// How a logger is set up by this seed.
fn logger(random: &mut Random, dir: &Path) -> Builder {
    let far = dir.with_extension("spill");
    let policies = [
        None,
        Some(BackPressurePolicy::Block),
        Some(BackPressurePolicy::DropOldest),
        Some(BackPressurePolicy::DropNewest),
        Some(BackPressurePolicy::SpillToDisk(dir.to_owned())),
        Some(BackPressurePolicy::SpillToDisk(far)),
    ];
    let mut builder = Builder::new(dir)
        .app("missing", "1")
        .filter("info")
        .rotate(Rotate::size(random.of(&[64 << 10, 256 << 10, 1 << 20])))
        .lane_bytes(random.of(&[32 << 10, 256 << 10, 1 << 20]))
        .write_within(Duration::from_millis(random.of(&[2, 20, 100])))
        .spill_wait(Duration::from_millis(5))
        .keep(match random.below(4) {
            0 => Keep::everything(),
            1 => Keep::count(2 + random.below(5)),
            _ => Keep::total(random.of(&[1 << 20, 2 << 20])),
        })
        .compress(random.of(&[Compression::None, Compression::Compact, Compression::Zstd(1)]));
    if let Some(policy) = policies[random.below(6) as usize].clone() {
        let is_block = policy == BackPressurePolicy::Block;
        builder = builder.back_pressure(policy);
        if is_block && random.one_in(2) {
            builder = builder.block_timeout(Duration::from_millis(2), Fallback::DropOldest);
        }
    }
    if random.one_in(3) {
        builder = builder.flight_recorder(Level::TRACE, 1 << 20);
    }
    builder
}

/// Logs for a moment, by threads that come and go, and dies or ends.
#[test]
fn child_that_logs() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let seed = std::env::var(CHILD_SEED).expect("a seed").parse().expect("a number");
    let mut random = Random(seed);
    let handle = logger(&mut random, &dir).build().expect("a logger");
    let is_killed = random.one_in(2);
    let (n_threads, calm) = (1 + random.below(4), random.one_in(3));
    let lasts = Duration::from_millis(50 + random.below(250));
    let (stop, number) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..n_threads {
            let (handle, stop, number) = (&handle, &stop, &number);
            let mut random = Random(seed ^ thread << 32);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // A lane of its own, which is exchanged when a text does not fit.
                    let (n_events, mut own) = (random.below(400), Random(random.below(u64::MAX)));
                    let some = std::thread::Builder::new().spawn_scoped(scope, move || {
                        for _ in 0..n_events {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                            let len = match own.below(100) {
                                0 => 1 + own.below(60_000),
                                1..10 => 3_000,
                                _ => own.below(300),
                            };
                            let n = number.fetch_add(1, Ordering::Relaxed);
                            let text = own.text(len as usize);
                            ttlog::info!(logger: handle, n, text, "sample");
                            ttlog::trace!(logger: handle, n, "recorded");
                            if calm && own.one_in(8) {
                                std::thread::sleep(Duration::from_micros(200));
                            }
                        }
                    });
                    some.expect("a thread").join().expect("no panic");
                }
            });
        }
        std::thread::sleep(lasts / 2);
        // Without a recorder it is an error, which is all the same here.
        let _ = handle.snapshot(dir.join("what-was.ttdump"));
        std::thread::sleep(lasts / 2);
        if is_killed {
            kill_process(getpid(), Signal::KILL).expect("a process");
        }
        stop.store(true, Ordering::Relaxed);
    });
    handle.shutdown(LONG).expect("an end");
    std::process::exit(0);
}

/// What is said to be damaged, and how many events are shown.
fn read(items: impl Iterator<Item = <Items as Iterator>::Item>) -> (Vec<String>, u64) {
    let (mut told, mut n_shown) = (Vec::new(), 0);
    for item in items {
        match item {
            Ok(Item::Record(_)) => n_shown += 1,
            Ok(Item::Damage(damage)) => told.push(damage.to_string()),
            Ok(_) => {}
            Err(error) => told.push(error.to_string()),
        }
    }
    (told, n_shown)
}

fn read_all(dir: &Path) -> (Vec<String>, u64) {
    read(Source::open(dir).expect("a directory of logs").query(&Query::new()))
}

/// What lies in a directory, shortly.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_sealed = SegmentReader::open(entry.path()).map(|reader| reader.is_sealed());
            format!("{name} {}", is_sealed.map_or("", |is| if is { "sealed" } else { "open" }))
        })
        .collect();
    names.sort();
    names
}

fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_nanos() as i64
}

/// Reads in every way what a child leaves of this seed; what was told, with when, and what it did.
fn round(seed: u64) -> (Vec<String>, u64) {
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("log");
    std::fs::create_dir(&dir).expect("a directory");
    let mut wrong = Vec::new();
    let note = |wrong: &mut Vec<String>, when: &str, told: Vec<String>| {
        if !told.is_empty() {
            let there = [names(&dir), names(&dir.with_extension("spill"))];
            wrong.push(format!("seed {seed}, {when}, where there are {there:?}: {told:#?}"));
        }
    };
    // A second one goes on in the same directory, and takes up what the first one left.
    for seed in [seed, seed ^ 0xff00] {
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        child.args(["--exact", "child_that_logs", "--test-threads", "1"]);
        child.env(CHILD_DIR, &dir).env(CHILD_SEED, seed.to_string());
        let said = base.path().join("said");
        child.stdout(std::fs::File::create(&said).expect("a file")).stderr(Stdio::null());
        let mut child = child.spawn().expect("it");
        let mut follower: Option<Items> = None;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            assert!(began.elapsed() < LONG, "seed {seed}: it does not end");
            if Source::is_log_dir(&dir) {
                note(&mut wrong, "alive", read_all(&dir).0);
                let source = Source::open(&dir).expect("a directory of logs");
                let items = follower.get_or_insert_with(|| source.follow(&Query::new(), i64::MIN));
                items.refresh(now_ns() - 200_000_000);
                note(&mut wrong, "followed", read(items.by_ref()).0);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = || std::fs::read_to_string(&said).unwrap_or_default();
        assert!(status.success() || status.signal() == Some(9), "seed {seed}: {status} {}", said());
        if let Some(items) = &mut follower {
            items.refresh(i64::MAX);
            note(&mut wrong, "followed to its end", read(items.by_ref()).0);
        }
        note(&mut wrong, "dead", read_all(&dir).0);
    }
    let report = ttlog::__private::take_up(&dir).expect("a directory");
    assert_eq!((report.failures.len(), report.held), (0, 0), "{report:?}");
    let (told, n_shown) = read_all(&dir);
    note(&mut wrong, "taken up", told);
    (wrong, n_shown)
}

#[test]
fn no_hole_is_told_of_what_is_there_or_was_removed_in_its_turn() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let first: u64 = number("MISSING_SEED").unwrap_or(1);
    let (mut wrong, mut n_shown) = (Vec::new(), 0);
    let n_rounds = number("MISSING_ROUNDS").unwrap_or(ROUNDS);
    for seed in first..first + n_rounds {
        let (told, shown) = round(seed);
        wrong.extend(told);
        n_shown += shown;
    }
    println!("{n_rounds} rounds, {n_shown} events shown in the end");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(n_shown > 0);
}
