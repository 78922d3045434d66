//! Back-pressure of a whole logger: whatever the policy, every event is in the log once and in its
//! thread's order, or counted by level and cause, in `stats()` and where it is missing (R03, R05).
//!
//! `POLICY_CASES=1000 cargo test --release --test policies` draws more cases, `POLICY_EVENTS` logs
//! more events in the saturated ones.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use ttlog::view::{Item, Query, Source, Value};
use ttlog::{BackPressurePolicy, Builder, Cause, Fallback, Handle, Level};

use rig::read::read_back;
use rig::{Random, Rig, by_thread};

const LONG: Duration = Duration::from_secs(60);
const LEVELS: [Level; 5] = Level::ALL;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a log holds: numbers by thread in the order shown, and losses by cause and level.
#[derive(Debug, Default)]
struct Found {
    events: BTreeMap<u64, Vec<(Level, u64)>>,
    lost: BTreeMap<(Cause, Level), u64>,
    /// The system's id of each thread.
    tids: BTreeMap<u64, u32>,
    /// Losses by the system's id of the thread.
    lost_by_thread: BTreeMap<u32, u64>,
    /// When each thread's events and losses were, in the order shown.
    times: BTreeMap<u32, Vec<i64>>,
}

fn read(dir: &Path) -> Found {
    let mut found = Found::default();
    for item in Source::open(dir).unwrap().query(&Query::new()) {
        match item.unwrap() {
            Item::Record(record) => {
                let number = |name| match record.field(name) {
                    Some(Value::U64(number)) => number,
                    other => panic!("{name}: {other:?}"),
                };
                let event = (record.level(), number("n"));
                let tid = record.thread().0;
                found.tids.insert(number("t"), tid);
                found.times.entry(tid).or_default().push(record.time_ns());
                found.events.entry(number("t")).or_default().push(event);
            }
            Item::Lost(lost) => {
                let tid = lost.thread().0;
                found.times.entry(tid).or_default().push(lost.time_ns());
                *found.lost_by_thread.entry(tid).or_default() += lost.losses().total();
                for (cause, level, count) in lost.losses().iter() {
                    *found.lost.entry((cause, level)).or_default() += count;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    found
}

/// The level of an event: most are DEBUG.
fn level_of(n: u64) -> Level {
    match n % 50 {
        7 => Level::ERROR,
        17 | 27 => Level::WARN,
        37 => Level::INFO,
        47 => Level::TRACE,
        _ => Level::DEBUG,
    }
}

fn log(logger: &Handle, t: u64, n: u64, text: &str) {
    match level_of(n) {
        Level::Error => ttlog::error!(logger: logger, t, n, text, "one"),
        Level::Warn => ttlog::warn!(logger: logger, t, n, text, "one"),
        Level::Info => ttlog::info!(logger: logger, t, n, text, "one"),
        Level::Debug => ttlog::debug!(logger: logger, t, n, text, "one"),
        Level::Trace => ttlog::trace!(logger: logger, t, n, text, "one"),
    }
}

/// The law: pushed = written + Σ lost, for each level, by the counters and by the log.
fn check_law(logger: &Handle, dir: &Path, threads: u64, events: u64) -> Found {
    logger.shutdown(LONG).unwrap();
    let (found, stats) = (read(dir), logger.stats());
    for level in LEVELS {
        let pushed = threads * (0..events).filter(|n| level_of(*n) == level).count() as u64;
        let shown = found.events.values().flatten().filter(|(l, _)| *l == level).count() as u64;
        let lost: u64 = Cause::ALL.iter().map(|cause| stats.lost_by(*cause, level)).sum();
        assert_eq!(pushed, shown + lost, "{level:?}: {stats:?}");
        for cause in Cause::ALL {
            let told = found.lost.get(&(cause, level)).copied().unwrap_or(0);
            assert_eq!(told, stats.lost_by(cause, level), "{cause:?} {level:?}: {stats:?}");
        }
    }
    assert_eq!(stats.written + stats.lost(), threads * events);
    for (t, numbers) in &found.events {
        assert!(numbers.windows(2).all(|pair| pair[0].1 < pair[1].1), "order of thread {t}");
    }
    found
}

fn policies() -> impl Strategy<Value = BackPressurePolicy> {
    use BackPressurePolicy::{Block, DropNewest, DropOldest, SpillToDisk};
    // The directory is put in when there is one.
    let spill = SpillToDisk(PathBuf::new());
    prop_oneof![Just(Block), Just(DropOldest), Just(DropNewest), Just(spill)]
}

#[derive(Debug, Clone)]
struct Case {
    policy: Option<BackPressurePolicy>,
    kept: Option<(Level, BackPressurePolicy)>,
    timeout: Option<(u64, Fallback)>,
    lane_bytes: usize,
    lanes_bytes_max: usize,
    threads: u64,
    events: u64,
    text_len: usize,
    /// Events between two pauses.
    burst: u64,
    flushes: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let kept = (prop_oneof![Just(Level::INFO), Just(Level::WARN), Just(Level::ERROR)], policies());
    let spill = Fallback::SpillToDisk(PathBuf::new());
    let fallback = prop_oneof![Just(Fallback::DropNewest), Just(Fallback::DropOldest), Just(spill)];
    let sizes = (0_usize..3, prop_oneof![Just(2_usize << 20), Just(64 << 20)]);
    let amounts = (1_u64..4, 1_u64..6_000, 0_usize..300, 1_u64..4_000);
    (
        proptest::option::of(policies()),
        proptest::option::of(kept),
        proptest::option::of((0_u64..5, fallback)),
        sizes,
        amounts,
        any::<bool>(),
    )
        .prop_map(|(policy, kept, timeout, (size, lanes_bytes_max), amounts, flushes)| {
            let (threads, events, text_len, burst) = amounts;
            let lane_bytes = [32 << 10, 256 << 10, 1 << 20][size];
            let lanes = (lane_bytes, lanes_bytes_max);
            let (lane_bytes, lanes_bytes_max) = lanes;
            Case {
                policy,
                kept,
                timeout,
                lane_bytes,
                lanes_bytes_max,
                threads,
                events,
                text_len,
                burst,
                flushes,
            }
        })
}

fn run(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(dir.path())
        .filter("trace")
        .lane_bytes(case.lane_bytes)
        .lanes_bytes_max(case.lanes_bytes_max);
    let placed = |policy: &BackPressurePolicy| match policy {
        BackPressurePolicy::SpillToDisk(_) => {
            BackPressurePolicy::SpillToDisk(dir.path().to_owned())
        }
        other => other.clone(),
    };
    if let Some(policy) = &case.policy {
        builder = builder.back_pressure(placed(policy));
    }
    if let Some((level, policy)) = &case.kept {
        builder = builder.back_pressure_at(*level, placed(policy));
    }
    if let Some((ms, fallback)) = &case.timeout {
        let fallback = match fallback {
            Fallback::SpillToDisk(_) => Fallback::SpillToDisk(dir.path().to_owned()),
            other => other.clone(),
        };
        builder = builder.block_timeout(Duration::from_millis(*ms), fallback);
    }
    let logger = builder.build().unwrap();
    let text = "x".repeat(case.text_len);
    std::thread::scope(|scope| {
        for t in 0..case.threads {
            let (logger, text, case) = (&logger, &text, &case);
            scope.spawn(move || {
                for n in 0..case.events {
                    log(logger, t, n, text);
                    if n % case.burst == case.burst - 1 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        if case.flushes {
            for _ in 0..10 {
                logger.flush(LONG).unwrap();
                assert!(logger.stats().written <= case.threads * case.events);
            }
        }
    });
    let found = check_law(&logger, dir.path(), case.threads, case.events);
    if let Some((level, _)) = case.kept {
        let is_kept = |(cause, at): &(Cause, Level)| *cause == Cause::Evicted && *at >= level;
        let evicts_its_like = case.kept == Some((level, BackPressurePolicy::DropOldest))
            || case.timeout.as_ref().is_some_and(|(_, fallback)| *fallback == Fallback::DropOldest);
        assert!(evicts_its_like || !found.lost.keys().any(is_kept), "{:?}", found.lost);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: number("POLICY_CASES", 24) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_policy_keeps_the_law(case in cases()) {
        run(&case);
    }
}

/// Far more than the scribe can take from lanes of 32 KiB.
fn saturate(policy: BackPressurePolicy, kept: bool) -> Found {
    let (threads, events) = (2, number("POLICY_EVENTS", 200_000));
    let dir = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(dir.path()).filter("trace").lane_bytes(32 << 10);
    builder = builder.back_pressure(policy.clone());
    if kept {
        builder = builder.back_pressure_at(Level::WARN, BackPressurePolicy::Block);
    }
    let logger = builder.build().unwrap();
    std::thread::scope(|scope| {
        for t in 0..threads {
            let logger = &logger;
            scope.spawn(move || (0..events).for_each(|n| log(logger, t, n, "some text")));
        }
    });
    let found = check_law(&logger, dir.path(), threads, events);
    for (t, numbers) in &found.events {
        let tid = found.tids[t];
        let lost = found.lost_by_thread.get(&tid).copied().unwrap_or(0);
        assert_eq!(numbers.len() as u64 + lost, events, "{policy:?}: of thread {t}");
        // A loss may be dated by another block's anchors than the event before it.
        let in_order = |pair: &[i64]| pair[0] <= pair[1] + 1_000_000;
        assert!(found.times[&tid].windows(2).all(in_order), "losses stand between their events");
    }
    println!(
        "{policy:?}, WARN kept: {kept}: {} of {} lost",
        logger.stats().lost(),
        threads * events
    );
    found
}

#[test]
fn saturated_and_dropping_the_newest_every_loss_is_counted_and_told() {
    let found = saturate(BackPressurePolicy::DropNewest, false);
    assert!(found.lost.keys().all(|(cause, _)| *cause == Cause::Full), "{:?}", found.lost);
    assert!(!found.lost.is_empty(), "lanes of 32 KiB do not hold that");
}

#[test]
fn saturated_and_dropping_the_oldest_the_last_events_are_there() {
    let found = saturate(BackPressurePolicy::DropOldest, false);
    assert!(found.lost.keys().any(|(cause, _)| *cause == Cause::Evicted), "{:?}", found.lost);
}

/// What found no room is told behind the records that filled the lane, not before them.
#[test]
fn a_loss_stands_where_it_happened() {
    let mut n_checked = 0;
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let logger = Builder::new(dir.path())
            .filter("trace")
            .lane_bytes(32 << 10)
            .back_pressure(BackPressurePolicy::DropNewest)
            .build()
            .unwrap();
        // One burst: the lane fills once, as a rule, and the rest is lost.
        (0..2000).for_each(|n| log(&logger, 0, n, "some text"));
        logger.flush(LONG).unwrap();
        log(&logger, 0, 2000, "some text");
        logger.flush(LONG).unwrap();
        let before_loss = || {
            let items = Source::open(dir.path()).unwrap().query(&Query::new());
            let is_record = |item: &Item| matches!(item, Item::Record(_));
            items.map(Result::unwrap).take_while(is_record).count() as u64
        };
        // Its lane still says what was lost, and says no time.
        let while_it_lives = before_loss();
        let found = check_law(&logger, dir.path(), 1, 2001);
        let numbers = &found.events[&0];
        let holes: Vec<u64> = numbers
            .windows(2)
            .filter(|pair| pair[1].1 > pair[0].1 + 1)
            .map(|pair| pair[0].1)
            .collect();
        if let [hole] = holes[..] {
            n_checked += 1;
            assert_eq!((while_it_lives, before_loss()), (hole + 1, hole + 1), "events before it");
        }
    }
    println!("{n_checked} of 20 bursts left one hole");
    assert!(n_checked > 0);
}

#[test]
fn stderr_tells_when_a_loss_begins_and_when_it_is_over() {
    let mut rig = Rig::new();
    let (mut command, _) = rig.command("do=log threads=2 events=300000 lane=32768");
    command.env("TTLOG_ON_FULL", "drop-newest");
    let outcome = rig::outcome(command);
    assert!(outcome.number("lost") > 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{outcome:?}");
    assert!(lines[0].contains("events are being lost"), "{lines:?}");
    assert!(lines[1].contains(&format!("{} were", outcome.number("lost"))), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("`ttlog gaps ")), "{lines:?}");
    let (mut command, _) = rig.command("do=log events=1");
    command.env("TTLOG_ON_FULL", "louder");
    let outcome = rig::outcome(command);
    assert!(outcome.stderr.contains("TTLOG_ON_FULL=louder: use block"), "{outcome:?}");
}

#[test]
fn saturated_with_warnings_kept_debug_is_lost_and_no_warning() {
    for policy in [BackPressurePolicy::DropOldest, BackPressurePolicy::DropNewest] {
        let found = saturate(policy, true);
        assert!(found.lost.keys().all(|(_, level)| *level < Level::WARN), "{:?}", found.lost);
        assert!(found.lost.keys().any(|(_, level)| *level == Level::DEBUG), "{:?}", found.lost);
    }
}

#[test]
fn saturated_and_blocking_nothing_is_lost() {
    assert!(saturate(BackPressurePolicy::Block, false).lost.is_empty());
}

/// Killed at any moment: what was accepted is there or told as lost, in order, whatever the policy.
#[test]
fn killed_under_any_policy_the_law_holds_but_for_the_calls_under_way() {
    let mut random = Random::new();
    let rounds = number("POLICY_KILLS", 6);
    let (mut read_all, mut lost_all) = (0, 0);
    for round in 0..rounds {
        let policy = ["drop-oldest", "drop-newest", "spill", "block"][(round % 4) as usize];
        let mut rig = Rig::new();
        let threads = random.range(1, 4);
        let args = format!("do=log threads={threads} events=100000000 lane=32768");
        let (mut command, run) = rig.command(&args);
        command.env("TTLOG_ON_FULL", policy);
        let mut running = rig::Running::new(command, run);
        let at_least = random.range(1, 60_000);
        let returned =
            || rig.counts(run).iter().map(|(_, returned)| *returned).sum::<u64>() >= at_least;
        rig::wait_until("events", returned);
        running.kill();
        let read = read_back(&rig.dir());
        assert_eq!(read.wrong, [""; 0], "{policy}");
        assert_eq!(read.others, [""; 0], "{policy}");
        let counts = rig.counts(run);
        let (begun, returned) =
            counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let (shown, lost) = (read.events.len() as u64, read.lost_total());
        let law = returned..=begun;
        if !law.contains(&(shown + lost)) {
            let names: Vec<_> = std::fs::read_dir(rig.dir()).unwrap().flatten().collect();
            let again = read_back(&rig.dir());
            panic!(
                "{policy}: {shown} + {lost} in {law:?}; {names:?}; again {} + {}",
                again.events.len(),
                again.lost_total(),
            );
        }
        rig::compare(&by_thread(&read), run, &counts);
        (read_all, lost_all) = (read_all + shown, lost_all + lost);
    }
    println!("{rounds} kills: {read_all} events read, {lost_all} told as lost");
    assert!(lost_all > 0);
}
