//! What threads meet that share a lane.

use std::time::Duration;

use super::full::{OnFull, Step};
use super::full_tests::{hand_outs, lanes, numbers, take, write};
use super::lanes::FIRST_BYTES;
use crate::record::{Head, Level};

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
