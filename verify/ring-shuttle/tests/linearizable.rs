//! The ring is a queue under random schedules (R02): each history is checked, see `src/history.rs`.
//!
//! ```text
//! cargo test --release --manifest-path verify/ring-shuttle/Cargo.toml
//! cargo test --release --manifest-path verify/ring-shuttle/Cargo.toml -- --ignored --nocapture
//! ```
//!
//! The second runs ten million schedules. `RING_SCHEDULES` sets another number, `RING_SEED` the
//! seed, which each run prints. Shuttle sees one order of all accesses, the same for all threads:
//! whether each Release has its Acquire is for the loom models to tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring_shuttle::history::{Call, End, History, What};
use ring_shuttle::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest};
use ring_shuttle::ring::{LockFreeRingBuffer, Stats};
use ring_shuttle::sync::set_mutant;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// What each mutant of the ring's source does, and under which policies that shows.
const MUTANTS: &[(&str, &[BackPressurePolicy])] = &[
    // A push that is refused by a ring that never was full.
    ("head_before_tail", &[DropNewest]),
    // Two pushes claim one slot.
    ("claim_by_store", ALL),
    // A close forgets a claim that was made beside it.
    ("close_by_store", ALL),
    // Two threads move the head at once.
    ("head_unlocked", ALL),
    // A producer that waits for room is not told of it.
    ("freed_silent", ALL),
    // A run is seen before its length is there.
    ("run_late", ALL),
    // What was seen of a run is forgotten in its middle.
    ("known_lost", ALL),
];

/// Those of rings that spill or of who sleeps: `tests/ring_mutants.rs` has them killed.
const OF_MODELS: &[&str] = &[
    "rejoin_early",
    "refill_once",
    "spill_unfenced",
    "partner_fence",
    "sleeper_fence",
    "close_silent",
    "grant_kept",
    "turn_unseen",
];

const ALL: &[BackPressurePolicy] = &[Block, DropOldest, DropNewest];

type Ring = LockFreeRingBuffer<u8>;

/// The calls of one thread, with the moments that all threads share.
struct Recorder {
    ring: Arc<Ring>,
    clock: Arc<AtomicU64>,
    calls: Vec<Call>,
}

impl Recorder {
    fn new(ring: &Arc<Ring>, clock: &Arc<AtomicU64>) -> Self {
        Self { ring: ring.clone(), clock: clock.clone(), calls: Vec::new() }
    }

    fn call(&mut self, call: impl FnOnce(&Ring) -> What) {
        let tick = || self.clock.fetch_add(1, Ordering::SeqCst);
        let began = tick();
        let what = call(&self.ring);
        self.calls.push(Call { began, ended: tick(), what });
    }

    fn push(&mut self, items: Vec<u8>, timeout: bool) {
        self.call(|ring| {
            let len = items.len();
            let (accepted, end) = if let [item] = items[..] {
                let pushed = match timeout {
                    true => ring.push_timeout(item, Duration::ZERO),
                    false => ring.push(item),
                };
                match pushed {
                    Ok(()) => (1, End::Done),
                    Err(error) if error.is_closed() => (0, End::Closed),
                    Err(_) => (0, End::Full),
                }
            } else {
                match ring.push_batch(items.clone()) {
                    Ok(accepted) => (accepted, End::Done),
                    Err(error) => {
                        assert_eq!(error.rest, items[error.pushed..], "the rest comes back");
                        let end = if error.is_closed() { End::Closed } else { End::Full };
                        (len - error.rest.len(), end)
                    }
                }
            };
            What::Push { items, accepted, end }
        });
    }

    /// Takes; true if something came.
    fn take(&mut self, max: usize, waits: bool) -> bool {
        self.call(|ring| {
            let items = match (waits, max) {
                (true, _) => ring.take_batch_timeout(max, Duration::MAX),
                (false, 1) => ring.take_one().into_iter().collect(),
                (false, _) => ring.take_batch(max),
            };
            What::Take { max, items, waits }
        });
        matches!(&self.calls[self.calls.len() - 1].what, What::Take { items, .. } if !items.is_empty())
    }

    fn close(&mut self) {
        self.call(|ring| {
            ring.close();
            What::Close
        });
    }
}

/// One schedule of a few threads that do something at random, and what came of it.
fn scenario(policies: &[BackPressurePolicy]) -> (History, Stats) {
    let mut random = thread_rng();
    let capacity = random.gen_range(1..=4);
    let policy = policies[random.gen_range(0..policies.len())].clone();
    let (blocks, evicts) = (policy == Block, policy == DropOldest);
    let ring = Arc::new(Ring::new(capacity, policy));
    let clock = Arc::new(AtomicU64::new(0));

    let mut threads = Vec::new();
    let mut number = 0;
    for _ in 0..random.gen_range(1..=4) {
        let mut recorder = Recorder::new(&ring, &clock);
        let pushes: Vec<(Vec<u8>, bool)> = (0..random.gen_range(1..=3))
            .map(|_| {
                let count = if random.gen_bool(0.3) { random.gen_range(2..=5) } else { 1 };
                let items = (number..number + count).collect();
                number += count;
                (items, random.gen_bool(0.1))
            })
            .collect();
        threads.push(shuttle::thread::spawn(move || {
            pushes.into_iter().for_each(|(items, timeout)| recorder.push(items, timeout));
            recorder.calls
        }));
    }
    // A thread that closes, one that takes too.
    let extra = random.gen_range(0..4);
    if extra < 2 {
        let mut recorder = Recorder::new(&ring, &clock);
        threads.push(shuttle::thread::spawn(move || {
            match extra {
                0 => recorder.close(),
                _ => _ = recorder.take(2, false),
            }
            recorder.calls
        }));
    }
    let mut recorder = Recorder::new(&ring, &clock);
    let takes: Vec<_> = (0..random.gen_range(0..=4))
        .map(|_| (random.gen_range(1..=capacity + 1), random.gen_bool(0.3)))
        .collect();
    let consumer = shuttle::thread::spawn(move || {
        for (max, waits) in takes {
            recorder.take(max, waits && blocks);
        }
        // Who blocks needs someone that takes until the end.
        while blocks && recorder.take(capacity, true) {}
        recorder.calls
    });
    let mut threads: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut last = Recorder::new(&ring, &clock);
    last.close();
    threads.push(consumer.join().unwrap());
    while last.take(capacity, false) {}
    threads.push(last.calls);
    (History { capacity, evicts, threads }, ring.stats())
}

/// The sums agree: what was pushed was delivered, evicted or returned.
fn check_sums(history: &History, stats: &Stats) {
    let (mut pushed, mut accepted, mut delivered) = (0, 0, 0);
    for call in history.threads.iter().flatten() {
        match &call.what {
            What::Push { items, accepted: stayed, .. } => {
                pushed += items.len() as u64;
                accepted += *stayed as u64;
            }
            What::Take { items, .. } => delivered += items.len() as u64,
            What::Close => {}
        }
    }
    assert_eq!((stats.pushed, stats.returned), (pushed, pushed - accepted), "{history}");
    assert_eq!((stats.delivered, stats.evicted), (delivered, accepted - delivered), "{history}");
    assert_eq!(stats.len, 0);
}

/// How many schedules were run, and how many steps the checker made.
#[derive(Clone, Copy, Default)]
struct Sums {
    schedules: u64,
    calls: u64,
    steps: u64,
    most_steps: usize,
}

fn run(scheduler: impl Scheduler + 'static, policies: &'static [BackPressurePolicy]) -> Sums {
    let sums = Arc::new(Mutex::new(Sums::default()));
    let mut config = Config::default();
    config.failure_persistence = FailurePersistence::Print;
    config.silence_warnings = true;
    // The checker runs on it too, and goes a few frames deeper with each step of a history.
    config.stack_size = 0x4_0000;
    let seen = sums.clone();
    Runner::new(scheduler, config).run(move || {
        let (history, stats) = scenario(policies);
        check_sums(&history, &stats);
        let (explained, steps) = history.is_explained();
        assert!(explained, "no queue explains this: {history}");
        let mut sums = seen.lock().unwrap();
        sums.schedules += 1;
        sums.calls += history.threads.iter().flatten().count() as u64;
        sums.steps += steps as u64;
        sums.most_steps = sums.most_steps.max(steps);
    });
    let sums = sums.lock().unwrap();
    *sums
}

fn from_env(name: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a number")),
        Err(_) => otherwise(),
    }
}

/// Half of the schedules at random, the others with few changes of priority (PCT).
fn check(schedules: u64) {
    let seed = from_env("RING_SEED", || u64::from(std::process::id()) ^ 0x5EED);
    let began = Instant::now();
    eprintln!("RING_SEED={seed} RING_SCHEDULES={schedules}");
    let each = (schedules / 10).max(1) as usize;
    // Shuttle runs on the thread that calls it: two at once.
    let pct = std::thread::spawn(move || {
        (1..=5)
            .map(|depth| run(PctScheduler::new_from_seed(seed, depth, each), ALL))
            .collect::<Vec<_>>()
    });
    let random = run(RandomScheduler::new_from_seed(seed, 5 * each), ALL);
    let pct = pct.join().unwrap();
    for (name, sums) in [("random", random)].into_iter().chain(pct.into_iter().map(|s| ("pct", s)))
    {
        let Sums { schedules, calls, steps, most_steps } = sums;
        eprintln!(
            "{name}: {schedules} schedules, {calls} calls, {steps} steps of the checker, at most {most_steps}"
        );
        assert!(schedules > 0 && calls >= 3 * schedules);
    }
    eprintln!("{:.1?}", began.elapsed());
}

#[test]
fn a_queue_explains_each_history() {
    check(from_env("RING_SCHEDULES", || 50_000));
}

#[test]
#[ignore = "R02 at full count; the command is at the file's head"]
fn a_queue_explains_ten_million_histories() {
    check(from_env("RING_SCHEDULES", || 10_000_000));
}

#[test]
fn each_mutant_is_found() {
    for (mutant, policies) in MUTANTS {
        let began = Instant::now();
        let found = std::thread::spawn(|| {
            set_mutant(Some(mutant));
            run(RandomScheduler::new_from_seed(7, 10_000), policies);
            // What needs a long way of others within one step is found by changes of priority.
            (2..=5).for_each(|depth| {
                _ = run(PctScheduler::new_from_seed(7, depth, 200_000), policies)
            });
        });
        assert!(found.join().is_err(), "{mutant}: not found");
        eprintln!("{mutant}: found in {:.1?}", began.elapsed());
    }
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    let ring = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/ring");
    let mut named: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(ring).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let names = text.split("mutant(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        named.extend(names.map(str::to_owned));
    }
    named.sort();
    named.dedup();
    let mut listed: Vec<_> = MUTANTS.iter().map(|(mutant, _)| *mutant).collect();
    listed.extend(OF_MODELS);
    listed.sort();
    assert_eq!(named, listed);
}
