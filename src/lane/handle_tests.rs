//! What a thread keeps for its loggers, and what becomes of it when things go wrong below a call.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::fill::Record;
use super::full::{OnFull, Step};
#[cfg(feature = "tracing")]
use super::handle::write_layer;
use super::handle::{write_global, write_local};
use super::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use super::living;
use super::place::{LanesChoice, Place};
use crate::record::{Cause, HEAD_BYTES, Head, Level, RECORD_EVENT};

/// A record of one word, which calls a function while it is written.
struct Odd<F>(F);

impl<F: Fn()> Record for Odd<F> {
    fn payload_len(&self) -> usize {
        8
    }
    fn level(&self) -> Level {
        Level::Info
    }
    fn fast_ticks() -> Option<u64> {
        Some(1)
    }
    fn ticks(&self) -> u64 {
        1
    }
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(1, words, RECORD_EVENT, flags, ticks)
    }
    fn payload(&self, out: &mut [u8]) {
        self.0();
        out.fill(7);
    }
    fn cut(&self, _: usize) -> Vec<u8> {
        vec![7; 8]
    }
}

fn lanes() -> Arc<Lanes> {
    let (place, _) = Place::create(&LanesChoice::Private, 5, 64 << 20, 0).unwrap();
    let setup = LanesSetup {
        serial: living::next_serial(),
        logger: 5,
        place,
        lane_bytes: 4 * FIRST_BYTES,
        on_full: OnFull {
            steps: vec![Step::WaitForProgress(Duration::from_millis(10))],
            kept: None,
        },
    };
    Arc::new(Lanes::new(setup).unwrap().0)
}

/// Bytes of records in lanes that threads have for themselves, and in the common one.
fn bytes(lanes: &Lanes) -> (u64, u64) {
    let (mut own, mut common) = (0, 0);
    lanes.registry.walk(|lane| {
        let len = lane.memory().tail() - lane.memory().head();
        *(if lane.id == 0 { &mut common } else { &mut own }) += len;
    });
    (own, common)
}

#[test]
fn a_value_that_panics_while_it_is_written_costs_its_own_event_alone() {
    let lanes = lanes();
    living::add(lanes.clone());
    let serial = lanes.serial;
    // The first call goes the cold way, the second the hot one: both unwind.
    for _ in 0..2 {
        let panics = || write_global(serial, Odd(|| panic!("on purpose")));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        write_global(serial, Odd(|| ()));
    }
    assert!(catch_unwind(AssertUnwindSafe(|| write_local(&lanes, &Odd(|| panic!())))).is_err());
    write_local(&lanes, &Odd(|| ()));
    assert_eq!(bytes(&lanes), (3 * 24, 0), "none went to the common lane");
    assert!(lanes.losses().0.is_empty());
    living::remove(serial);
}

#[test]
fn t1_what_a_frame_below_writes_to_stays_though_its_logger_is_gone() {
    let (ended, other) = (lanes(), lanes());
    write_local(&ended, &Odd(|| ()));
    // What a signal handler would do in the middle of the call.
    let nested = Odd(|| {
        ended.set_scribe_gone();
        write_local(&other, &Odd(|| ()));
    });
    write_local(&ended, &nested);
    assert_eq!((bytes(&ended), bytes(&other)), ((48, 0), (24, 0)));
    // The next that comes by on its own lets go of it.
    let third = lanes();
    write_local(&third, &Odd(|| ()));
    let mut n_ended = 0;
    ended.registry.walk(|lane| n_ended += u32::from(lane.is_ended()));
    assert_eq!(n_ended, 1);
}

#[test]
fn a_logger_may_be_named_and_be_the_global_one_on_the_same_thread() {
    let lanes = lanes();
    living::add(lanes.clone());
    for _ in 0..3 {
        write_local(&lanes, &Odd(|| ()));
        write_global(lanes.serial, Odd(|| ()));
    }
    assert_eq!(bytes(&lanes), (6 * 24, 0));
    living::remove(lanes.serial);
}

/// The claim goes from one logger to the next, and a call may be late for the first.
#[cfg(feature = "tracing")]
#[test]
fn a_late_call_does_not_write_into_the_lane_of_the_next_logger() {
    let (first, second) = (lanes(), lanes());
    living::add(first.clone());
    living::add(second.clone());
    write_layer(first.serial, Odd(|| ()));
    write_layer(second.serial, Odd(|| ()));
    for _ in 0..3 {
        write_layer(first.serial, Odd(|| ()));
        write_layer(second.serial, Odd(|| ()));
    }
    // The thread's producer is the second's; what comes late lies in the first's common lane.
    let (own, common) = bytes(&first);
    assert_eq!((own, common, bytes(&second)), (24, 3 * 32, (4 * 24, 0)));
    living::remove(first.serial);
    living::remove(second.serial);
}

#[test]
fn r7_what_was_not_committed_when_a_lane_was_stopped_never_will() {
    let lanes = lanes();
    let own = || {
        let mut own = Vec::new();
        lanes.registry.walk(|lane| own.push(lane.clone()));
        own
    };
    write_local(&lanes, &Odd(|| ()));
    // The file of the lane goes, the place stays: the thread gets another lane.
    assert!(lanes.stop(&own()));
    write_local(&lanes, &Odd(|| ()));
    assert_eq!((bytes(&lanes), own().len()), ((48, 0), 3));
    // A thread inside a call is waited for, but not for ever.
    let inside = Odd(|| {
        std::thread::scope(|scope| {
            let stop = scope.spawn(|| assert!(!lanes.stop(&own())));
            stop.join().unwrap();
        });
    });
    write_local(&lanes, &inside);
    assert_eq!(bytes(&lanes), (72, 0));
    // The place goes: calls are lost, and counted.
    assert!(lanes.close() && lanes.stop(&own()));
    write_local(&lanes, &Odd(|| ()));
    assert_eq!(bytes(&lanes), (72, 0));
    assert_eq!(lanes.losses().0.get(Cause::Shutdown, Level::Info), 1);
}

#[test]
fn a_call_that_interrupts_the_cold_way_does_not_enter_it_again_and_again() {
    let lanes = lanes();
    // The first call is on the cold way while its values are written.
    let twice = || (0..2).for_each(|_| write_local(&lanes, &Odd(|| ())));
    write_local(&lanes, &Odd(twice));
    assert_eq!(bytes(&lanes), (24, 0));
    assert_eq!(lanes.losses().0.get(Cause::Reentrant, Level::Info), 2);
}
