//! What threads meet that share a lane.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::full::{OnFull, Step};
use super::full_tests::{hand_outs, lanes, lost, numbers, take, write};
use super::lanes::{FIRST_BYTES, Lanes};
use crate::record::{Cause, Head, Level};

#[test]
fn who_waits_for_the_lock_of_the_common_lane_loses_nothing_because_the_lane_moves() {
    let on_full = OnFull { steps: vec![Step::Wait(None)], kept: None };
    let lanes = lanes(on_full, 8 * FIRST_BYTES, 600 << 10);
    while lanes.hand_out(1, String::new(), None).is_ok() {}
    (0..1000).for_each(|number| write(&lanes, Level::Info, number));
    let (common, held) = (hand_outs(&lanes).remove(0), std::sync::Barrier::new(2));
    let empty_slowly = |_: &_| {
        held.wait();
        for _ in 0..1000 {
            let mut taking = common.outlet.try_take().unwrap();
            let record = Head::read(taking.committed(common.memory().tail())).unwrap();
            taking.give_back(record.len() as u64, 1);
            std::thread::sleep(Duration::from_micros(20));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lanes.common.with(empty_slowly).unwrap());
        held.wait();
        write(&lanes, Level::Info, 1000);
    });
    assert_eq!((lanes.losses().0.total(), numbers(&take(&common))), (0, vec![1000]));
}

/// Runs `work` while another thread stays inside the common lane.
fn while_another_is_inside(lanes: &Arc<Lanes>, work: impl FnOnce()) {
    let entered = Barrier::new(2);
    let (leave, left) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // Goes with this closure, however it ends.
        let _leave = leave;
        let entered = &entered;
        scope.spawn(move || {
            let stay = |_: &_| {
                entered.wait();
                let _ = left.recv();
            };
            lanes.common.with(stay).expect("nobody is inside");
        });
        entered.wait();
        work();
    });
}

#[test]
fn who_finds_another_thread_inside_the_common_lane_evicts_nothing_while_there_is_room() {
    let on_full = OnFull { steps: vec![Step::Evict], kept: None };
    let lanes = lanes(on_full, 8 * FIRST_BYTES, 600 << 10);
    while lanes.hand_out(1, String::new(), None).is_ok() {}
    (0..10).for_each(|number| write(&lanes, Level::Info, number));
    let common = hand_outs(&lanes).remove(0);
    // It does not wait for a thread that stays inside: this one is lost, and counted.
    while_another_is_inside(&lanes, || write(&lanes, Level::Info, 10));
    write(&lanes, Level::Info, 11);
    assert_eq!((lanes.losses().0.total(), lost(&lanes, Cause::Full)), (1, 1));
    let expected: Vec<_> = (0..10).chain([11]).collect();
    assert_eq!(numbers(&take(&common)), expected);
}

#[test]
fn who_finds_another_thread_inside_the_common_lane_asks_for_no_spiller_and_waits_for_none() {
    let steps = vec![Step::Spill(Duration::from_millis(5))];
    let lanes = lanes(OnFull { steps, kept: None }, 8 * FIRST_BYTES, 600 << 10);
    while lanes.hand_out(1, String::new(), None).is_ok() {}
    let common = hand_outs(&lanes).remove(0);
    while_another_is_inside(&lanes, || write(&lanes, Level::Info, 1));
    assert_eq!(lost(&lanes, Cause::Full), 1, "it waits no longer than it was told to");
    assert!(!lanes.overflow.is_wanted() && !common.overflows(), "there was room");
    // Nor does a spill disk that refuses matter to who only has to wait for another thread.
    let steps = vec![Step::Spill(Duration::from_secs(60))];
    let lanes = self::lanes(OnFull { steps, kept: None }, 8 * FIRST_BYTES, 600 << 10);
    while lanes.hand_out(1, String::new(), None).is_ok() {}
    lanes.overflow.set_refused(true);
    std::thread::scope(|scope| {
        while_another_is_inside(&lanes, || {
            scope.spawn(|| write(&lanes, Level::Info, 2));
            std::thread::sleep(Duration::from_millis(300));
        });
    });
    assert_eq!(lanes.losses().0.total(), 0);
    assert_eq!(numbers(&take(&hand_outs(&lanes)[0])), [2]);
}

#[test]
fn who_looks_how_far_the_scribe_has_come_may_be_beside_an_eviction() {
    let kept = Some((Level::Error, vec![Step::Wait(Some(Duration::ZERO))]));
    let lanes = lanes(OnFull { steps: vec![Step::Evict], kept }, FIRST_BYTES, 100 << 10);
    while lanes.hand_out(1, String::new(), None).is_ok() {}
    let common = lanes.common.lane();
    std::thread::scope(|scope| {
        let evicts = scope.spawn(|| (0..100_000).for_each(|it| write(&lanes, Level::Info, it)));
        // What a thread does whose event is kept and waits, in a lane of which all was evicted.
        while !evicts.is_finished() {
            std::hint::black_box(common.outlet.progress());
        }
    });
    assert!(lost(&lanes, Cause::Evicted) > 0);
}
