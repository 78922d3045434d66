//! What each policy keeps, loses and counts when nobody, or a slow consumer, empties a lane.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::fill::Record;
use super::full::{OnFull, Step};
use super::hand_out::Lane;
use super::handle::{write_global, write_local};
use super::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use super::levels;
use super::living;
use super::place::{LanesChoice, Place};
use crate::record::{Cause, FLAG_THREAD, HEAD_BYTES, Head, Level, RECORD_EVENT, RECORD_PAD};

/// Callsites of the tests: one for each level, far from any that a macro makes.
const SITES: u32 = 1 << 20;

/// A record that holds its number.
struct Numbered {
    level: Level,
    number: u64,
    len: usize,
}

impl Record for Numbered {
    fn payload_len(&self) -> usize {
        self.len
    }
    fn level(&self) -> Level {
        self.level
    }
    fn fast_ticks() -> Option<u64> {
        Some(1)
    }
    fn ticks(&self) -> u64 {
        self.number
    }
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(SITES + self.level as u32, words, RECORD_EVENT, flags, ticks)
    }
    fn payload(&self, out: &mut [u8]) {
        out.fill(self.number as u8);
    }
    fn cut(&self, limit: usize) -> Vec<u8> {
        vec![0; limit]
    }
}

pub(super) fn lanes(on_full: OnFull, lane_bytes: usize, bytes_max: u64) -> Arc<Lanes> {
    Level::ALL.iter().for_each(|level| levels::note(SITES + *level as u32, *level));
    let (place, _) = Place::create(&LanesChoice::Private, 5, bytes_max, 0).unwrap();
    let serial = living::next_serial();
    let setup = LanesSetup { serial, logger: 5, place, lane_bytes, on_full };
    Arc::new(Lanes::new(setup).unwrap().0)
}

pub(super) fn write(lanes: &Arc<Lanes>, level: Level, number: u64) {
    write_local(lanes, &Numbered { level, number, len: 24 });
}

/// Every hand-out, oldest first.
pub(super) fn hand_outs(lanes: &Lanes) -> Vec<Arc<Lane>> {
    let mut all = Vec::new();
    lanes.registry.walk(|lane| all.push(lane.clone()));
    all.sort_by_key(|lane| lane.generation);
    all
}

/// Takes what a lane holds, as the scribe would; numbers and levels.
pub(super) fn take(lane: &Lane) -> Vec<(Level, u64)> {
    let mut found = Vec::new();
    let mut taking = lane.outlet.try_take().unwrap();
    let tail = lane.memory().tail();
    while taking.head() < tail {
        let bytes = taking.committed(tail).to_vec();
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            let Some(head) = Head::read(&bytes[at..]) else { break };
            if head.kind != RECORD_PAD {
                let shared = if head.flags & FLAG_THREAD == 0 { 0 } else { 8 };
                let body = &bytes[at + HEAD_BYTES + shared..at + head.len()];
                assert!(body.iter().all(|byte| *byte == head.ticks as u8), "torn");
                found.push((Level::from_u8((head.callsite - SITES) as u8).unwrap(), head.ticks));
                count += 1;
            }
            at += head.len();
        }
        taking.give_back(bytes.len() as u64, count);
    }
    found
}

fn take_all(lanes: &Lanes) -> Vec<(Level, u64)> {
    hand_outs(lanes).iter().flat_map(|lane| take(lane)).collect()
}

pub(super) fn numbers(found: &[(Level, u64)]) -> Vec<u64> {
    found.iter().map(|(_, number)| *number).collect()
}

pub(super) fn lost(lanes: &Lanes, cause: Cause) -> u64 {
    Level::ALL.iter().map(|level| lanes.losses().0.get(cause, *level)).sum()
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_what_went() {
    for lane_bytes in [FIRST_BYTES, 8 * FIRST_BYTES, 32 * FIRST_BYTES] {
        let lanes = lanes(OnFull { steps: vec![Step::Evict], kept: None }, lane_bytes, 64 << 20);
        lanes.prepare_spares(1);
        let n = 4 * lane_bytes as u64 / 40;
        (0..n).for_each(|number| write(&lanes, Level::Info, number));
        let found = numbers(&take_all(&lanes));
        let evicted = lost(&lanes, Cause::Evicted);
        assert_eq!(found, (evicted..n).collect::<Vec<_>>(), "the newest, without a hole");
        assert_eq!(lanes.losses().0.get(Cause::Evicted, Level::Info), evicted);
        assert_eq!(lost(&lanes, Cause::Full), 0);
        // What a producer evicts at once is a small part of what the lane holds.
        assert!(found.len() * 40 > lane_bytes * 15 / 16, "{} of {lane_bytes}", found.len() * 40);
    }
}

#[test]
fn older_lanes_of_the_thread_are_evicted_first() {
    let lanes = lanes(OnFull { steps: vec![Step::Evict], kept: None }, 32 * FIRST_BYTES, 64 << 20);
    lanes.prepare_spares(1);
    let mut n = 0;
    while lost(&lanes, Cause::Evicted) == 0 {
        write(&lanes, Level::Info, n);
        n += 1;
    }
    let hand_outs = hand_outs(&lanes);
    assert_eq!(hand_outs.len(), 4, "the common one, and three of the thread's");
    let left: Vec<usize> = hand_outs.iter().map(|lane| take(lane).len()).collect();
    assert_eq!(left[..3], [0, 0, 0], "{left:?}");
    assert_eq!(left[3] as u64 + lost(&lanes, Cause::Evicted), n);
}

#[test]
fn what_is_kept_is_never_evicted_for_something_below() {
    let kept = Some((Level::Warn, vec![Step::Wait(Some(Duration::ZERO))]));
    let lanes = lanes(OnFull { steps: vec![Step::Evict], kept }, FIRST_BYTES, 64 << 20);
    let level = |number: u64| if number.is_multiple_of(64) { Level::Warn } else { Level::Debug };
    (0..4000).for_each(|number| write(&lanes, level(number), number));
    let found = take_all(&lanes);
    let counted = lanes.losses().0;
    for level in [Level::Warn, Level::Debug] {
        let left = found.iter().filter(|(l, _)| *l == level).count() as u64;
        let lost: u64 = Cause::ALL.iter().map(|cause| counted.get(*cause, level)).sum();
        let pushed = if level == Level::Warn { 63 } else { 4000 - 63 };
        assert_eq!(left + lost, pushed, "{level:?}");
    }
    assert_eq!(counted.get(Cause::Evicted, Level::Warn), 0);
    assert_eq!(found[0], (Level::Warn, 0), "it stands in the way");
    assert!(counted.get(Cause::Full, Level::Debug) > 0);
    // The consumer has taken it: there is room for both again.
    (4000..4010).for_each(|number| write(&lanes, level(number), number));
    assert_eq!(numbers(&take_all(&lanes)), (4000..4010).collect::<Vec<_>>());
}

#[test]
fn what_is_kept_and_evicts_may_evict_its_like() {
    let kept = Some((Level::Warn, vec![Step::Evict]));
    let lanes = lanes(OnFull { steps: Vec::new(), kept }, FIRST_BYTES, 64 << 20);
    (0..4000).for_each(|number| write(&lanes, Level::Warn, number));
    let found = numbers(&take_all(&lanes));
    let evicted = lost(&lanes, Cause::Evicted);
    assert_eq!(found, (evicted..4000).collect::<Vec<_>>());
}

#[test]
fn drop_newest_keeps_the_oldest_and_comes_back_at_once() {
    let lanes = lanes(OnFull::default(), FIRST_BYTES, 64 << 20);
    (0..4000).for_each(|number| write(&lanes, Level::Info, number));
    let found = numbers(&take_all(&lanes));
    let full = lost(&lanes, Cause::Full);
    assert_eq!(found, (0..4000 - full).collect::<Vec<_>>());
}

#[test]
fn a_wait_that_ran_out_is_repeated_only_when_there_was_progress() {
    let limit = Duration::from_millis(20);
    let waits = OnFull { steps: vec![Step::Wait(Some(limit))], kept: None };
    let lanes = lanes(waits, FIRST_BYTES, 64 << 20);
    let waits = |from: u64| {
        let (mut n_waits, began) = (0, Instant::now());
        for number in from..from + 2000 {
            let before = Instant::now();
            write(&lanes, Level::Info, number);
            n_waits += u32::from(before.elapsed() >= limit);
        }
        (n_waits, began.elapsed())
    };
    let (_, took) = waits(0);
    assert!(took >= limit, "the first call waits");
    let again = lanes.losses().0.total();
    // Each of them would take as long as the first.
    let (_, took) = waits(2000);
    assert_eq!(lanes.losses().0.total() - again, 2000);
    assert!(took < limit * 2000 / 10, "none waits: {took:?}");
    assert!(!take_all(&lanes).is_empty());
    let (_, took) = waits(4000);
    assert!(took >= limit, "it goes on, so that waiting makes sense again: {took:?}");
}

#[test]
fn behind_a_wait_comes_the_fallback_and_evicting_is_no_progress() {
    let limit = Duration::from_millis(200);
    let steps = vec![Step::Wait(Some(limit)), Step::Evict];
    let lanes = lanes(OnFull { steps, kept: None }, FIRST_BYTES, 64 << 20);
    let began = Instant::now();
    (0..20_000).for_each(|number| write(&lanes, Level::Info, number));
    let n_evictions = 20_000 * 40 / (FIRST_BYTES as u32 / 32);
    assert!(began.elapsed() >= limit, "the first call waits");
    assert!(began.elapsed() < limit * n_evictions / 10, "{:?}", began.elapsed());
    let evicted = lost(&lanes, Cause::Evicted);
    assert_eq!(numbers(&take_all(&lanes)), (evicted..20_000).collect::<Vec<_>>());
}

#[test]
fn where_the_scribe_stands_still_the_spiller_is_asked_and_then_no_longer_waited_for_the_scribe() {
    // Neither of the two would end by itself within this test.
    let (hesitation, patience) = (Duration::from_millis(1), Duration::from_secs(3600));
    let steps = vec![Step::WaitForProgress(hesitation), Step::SpillForProgress(patience)];
    let lanes = lanes(OnFull { steps, kept: None }, FIRST_BYTES, 64 << 20);
    let writer = std::thread::spawn({
        let lanes = lanes.clone();
        move || (0..8000).for_each(|number| write(&lanes, Level::Info, number))
    });
    while !lanes.overflow.take_wanted() {
        std::thread::yield_now();
    }
    assert!(hand_outs(&lanes).iter().any(|lane| lane.take_overflows()), "it says which lane");
    let _sleeps = lanes.overflow.attend();
    let mut found = Vec::new();
    while found.len() < 4000 {
        found.extend(take_all(&lanes));
        std::thread::yield_now();
    }
    // Refused, calls hesitate once more and then lose at once, though they would have patience.
    lanes.overflow.set_refused(true);
    writer.join().unwrap();
    found.extend(take_all(&lanes));
    assert_eq!(found.len() as u64 + lost(&lanes, Cause::Full), 8000);
    assert!(lanes.overflow.is_wanted());
}

#[test]
fn while_the_spiller_is_at_work_nobody_waits_for_the_scribe() {
    let hour = Duration::from_secs(3600);
    let steps = vec![Step::WaitForProgress(hour), Step::Spill(Duration::from_millis(1))];
    let lanes = lanes(OnFull { steps, kept: None }, FIRST_BYTES, 64 << 20);
    let _sleeps = lanes.overflow.attend();
    assert!(lanes.overflow.is_served());
    (0..4000).for_each(|number| write(&lanes, Level::Info, number));
    assert!(lost(&lanes, Cause::Full) > 0, "it came back without an hour's wait");
    lanes.overflow.leave();
    assert!(!lanes.overflow.is_served());
}

#[test]
fn nobody_waits_once_the_scribe_is_gone() {
    let lanes = lanes(OnFull { steps: vec![Step::Wait(None)], kept: None }, FIRST_BYTES, 64 << 20);
    let writer = std::thread::spawn({
        let lanes = lanes.clone();
        move || (0..4000).for_each(|number| write(&lanes, Level::Info, number))
    });
    // It waits, for as long as it takes: what is taken lets it go on.
    let mut found = Vec::new();
    while found.len() < 2000 {
        found.extend(take_all(&lanes));
        std::thread::yield_now();
    }
    lanes.set_scribe_gone();
    writer.join().unwrap();
    found.extend(take_all(&lanes));
    let full = lost(&lanes, Cause::Full);
    assert_eq!(found.len() as u64 + full, 4000);
    assert_eq!(numbers(&found), (0..4000 - full).collect::<Vec<_>>());
}

#[test]
fn threads_without_a_lane_of_their_own_follow_the_same_policies() {
    for steps in [vec![Step::Evict], Vec::new(), vec![Step::Wait(Some(Duration::from_millis(1)))]] {
        // Room for the common lane alone.
        let lanes = lanes(OnFull { steps: steps.clone(), kept: None }, 8 * FIRST_BYTES, 600 << 10);
        while lanes.hand_out(1, String::new(), None).is_ok() {}
        std::thread::scope(|scope| {
            for thread in 0..2_u64 {
                let lanes = &lanes;
                let log = move |number| write(lanes, Level::Info, thread << 32 | number);
                scope.spawn(move || (0..10_000).for_each(log));
            }
        });
        assert!(lanes.has_laneless());
        let found = take_all(&lanes);
        let losses = lanes.losses().0;
        assert_eq!(found.len() as u64 + losses.total(), 20_000, "{steps:?}");
        assert!(losses.total() > 0);
        for thread in 0..2_u64 {
            let own: Vec<u64> =
                numbers(&found).into_iter().filter(|number| number >> 32 == thread).collect();
            assert!(own.is_sorted(), "order of a thread");
        }
    }
}

#[test]
fn beside_a_consumer_each_record_is_taken_or_counted_once() {
    for round in 0..8 {
        let kept = (round % 2 == 1).then(|| (Level::Warn, vec![Step::Wait(None)]));
        let lanes = lanes(OnFull { steps: vec![Step::Evict], kept }, FIRST_BYTES, 64 << 20);
        let level = |number: u64| if number % 100 == 7 { Level::Warn } else { Level::Info };
        let mut found = Vec::new();
        std::thread::scope(|scope| {
            let lanes = &lanes;
            let writer = scope.spawn(move || (0..50_000).for_each(|n| write(lanes, level(n), n)));
            while !writer.is_finished() {
                let lane = hand_outs(lanes).pop().unwrap();
                if let Some(taking) = lane.outlet.try_take() {
                    drop(taking);
                    found.extend(take_some(&lane));
                    super::park::fence_heads();
                    lane.wake_producer();
                }
                std::thread::yield_now();
            }
        });
        found.extend(take_all(&lanes));
        let losses = lanes.losses().0;
        assert_eq!(found.len() as u64 + losses.total(), 50_000);
        assert!(numbers(&found).windows(2).all(|pair| pair[0] < pair[1]), "in order, once");
        if round % 2 == 1 {
            assert_eq!(losses.get(Cause::Evicted, Level::Warn), 0);
            assert_eq!(found.iter().filter(|(level, _)| *level == Level::Warn).count(), 500);
        }
    }
}

/// Takes what is there, unless the producer has the lane's end just now.
fn take_some(lane: &Lane) -> Vec<(Level, u64)> {
    let Some(mut taking) = lane.outlet.try_take() else { return Vec::new() };
    let tail = lane.memory().tail();
    let bytes = taking.committed(tail).to_vec();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(head) = Head::read(&bytes[at..]) {
        if head.kind != RECORD_PAD {
            found.push((Level::from_u8((head.callsite - SITES) as u8).unwrap(), head.ticks));
        }
        at += head.len();
        if at == bytes.len() {
            break;
        }
    }
    taking.give_back(bytes.len() as u64, found.len() as u64);
    found
}

/// `cargo test --release --lib what_a_call_costs -- --ignored --nocapture`
#[test]
#[ignore = "measures; see the line above"]
fn what_a_call_costs_while_nobody_empties_the_lane() {
    const CALLS: u64 = 1 << 17;
    let policies = [
        ("unsaturated", vec![Step::Evict]),
        ("drop newest", Vec::new()),
        ("drop oldest", vec![Step::Evict]),
        ("wait that ran out", vec![Step::Wait(Some(Duration::ZERO))]),
    ];
    for (name, steps) in policies {
        let lane_bytes = if name == "unsaturated" { 16 << 20 } else { 1 << 20 };
        let lanes = lanes(OnFull { steps, kept: None }, lane_bytes, 256 << 20);
        living::add(lanes.clone());
        let call = |_| {
            write_global(lanes.serial, Numbered { level: Level::Info, number: 1, len: 24 });
        };
        lanes.prepare_spares(1);
        // The lane becomes as large as it may; then it is emptied, or full.
        (0..2 * CALLS).for_each(call);
        if name == "unsaturated" {
            take_all(&lanes);
        }
        let mut best = f64::MAX;
        for _ in 0..9 {
            let began = Instant::now();
            (0..CALLS).for_each(call);
            best = best.min(began.elapsed().as_nanos() as f64 / CALLS as f64);
            if name == "unsaturated" {
                take_all(&lanes);
            }
        }
        eprintln!("{name}: {best:.1} ns a call");
        living::remove(lanes.serial);
    }
}

/// What happens to the lanes of a thread: it logs, or a consumer that may stall takes from them.
#[derive(Debug, Clone)]
enum Op {
    Write(Level, usize, u32),
    TakeOldest,
    TakeAll,
    MakeSpares,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let write = (0_usize..5, 0_usize..250, 1_u32..200)
        .prop_map(|(level, len, count)| Op::Write(Level::ALL[level], 8 * len, count));
    let op = prop_oneof![
        8 => write, 1 => Just(Op::TakeOldest), 1 => Just(Op::TakeAll), 1 => Just(Op::MakeSpares),
    ];
    proptest::collection::vec(op, 1..60)
}

fn on_full() -> impl Strategy<Value = OnFull> {
    let steps = || {
        prop_oneof![
            Just(Vec::new()),
            Just(vec![Step::Evict]),
            Just(vec![Step::Wait(Some(Duration::ZERO))]),
            Just(vec![Step::Wait(Some(Duration::ZERO)), Step::Evict]),
            Just(vec![Step::WaitForProgress(Duration::ZERO)]),
            Just(vec![
                Step::WaitForProgress(Duration::ZERO),
                Step::SpillForProgress(Duration::ZERO),
            ]),
        ]
    };
    let kept = proptest::option::of((0_usize..5, steps()));
    (steps(), kept).prop_map(|(steps, kept)| {
        let kept = kept.map(|(level, steps)| (Level::ALL[level], steps));
        OnFull { steps, kept }
    })
}

proptest! {
    /// pushed = taken + Σ lost by level, order, and which losses each policy may have.
    #[test]
    fn whatever_stalls_the_law_holds(on_full in on_full(), ops in ops(), size in 0_u32..6) {
        let lanes = lanes(on_full.clone(), FIRST_BYTES << size, 64 << 20);
        let (mut pushed, mut found, mut number) = ([0; 5], Vec::new(), 0);
        for op in ops {
            match op {
                Op::Write(level, len, count) => {
                    for _ in 0..count {
                        write_local(&lanes, &Numbered { level, number, len });
                        number += 1;
                    }
                    pushed[level as usize] += u64::from(count);
                }
                Op::TakeOldest => {
                    let with_records = |lane: &&Arc<Lane>| lane.older_with_records().is_none()
                        && lane.memory().head() < lane.memory().tail();
                    let oldest = hand_outs(&lanes);
                    found.extend(oldest.iter().find(with_records).map(|l| take(l)).unwrap_or_default());
                }
                Op::TakeAll => found.extend(take_all(&lanes)),
                Op::MakeSpares => lanes.prepare_spares(1),
            }
        }
        found.extend(take_all(&lanes));
        prop_assert!(numbers(&found).windows(2).all(|pair| pair[0] < pair[1]), "order");
        let losses = lanes.losses().0;
        for level in Level::ALL {
            let taken = found.iter().filter(|(l, _)| *l == level).count() as u64;
            let lost: u64 = Cause::ALL.iter().map(|cause| losses.get(*cause, level)).sum();
            prop_assert_eq!(taken + lost, pushed[level as usize], "{:?}", level);
            let is_kept = on_full.kept.as_ref().is_some_and(|(from, _)| level >= *from);
            let evicts = |steps: &[Step]| steps.contains(&Step::Evict);
            let may_go = match &on_full.kept {
                Some((_, steps)) if is_kept => evicts(steps),
                kept => evicts(&on_full.steps) || kept.iter().any(|(_, steps)| evicts(steps)),
            };
            prop_assert!(may_go || losses.get(Cause::Evicted, level) == 0, "{:?}", level);
        }
    }
}
