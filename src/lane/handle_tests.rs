//! What a thread keeps for its loggers, and what becomes of it when things go wrong below a call.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::fill::Record;
use super::full::{OnFull, Step};
use super::hand_out::Lane;
#[cfg(feature = "tracing")]
use super::handle::write_layer;
use super::handle::{LOST_AT_ONCE, write_global, write_local};
use super::hot;
use super::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use super::living;
use super::place::{LanesChoice, Place};
use super::ring::Producer;
use crate::record::{Cause, HEAD_BYTES, Head, Level, RECORD_EVENT};

/// A record that calls a function: before it is looked for room for it, once its thread has got a
/// lane, or while it is written.
struct Odd<F> {
    len: usize,
    is_early: bool,
    calls: F,
}

/// One of a word, which calls a function while it is written.
fn odd<F: Fn()>(calls: F) -> Odd<F> {
    Odd { len: 8, is_early: false, calls }
}

/// One of a length, which calls a function before.
fn long<F: Fn()>(len: usize, calls: F) -> Odd<F> {
    Odd { len, is_early: true, calls }
}

impl<F: Fn()> Record for Odd<F> {
    fn payload_len(&self) -> usize {
        if self.is_early {
            (self.calls)();
        }
        self.len
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
        if !self.is_early {
            (self.calls)();
        }
        out.fill(7);
    }
    fn cut(&self, limit: usize) -> Vec<u8> {
        vec![7; limit]
    }
}

fn lanes() -> Arc<Lanes> {
    lanes_of(64 << 20)
}

fn lanes_of(bytes_max: u64) -> Arc<Lanes> {
    let (place, _) = Place::create(&LanesChoice::Private, 5, bytes_max, 0).unwrap();
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
        let panics = || write_global(serial, odd(|| panic!("on purpose")));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        write_global(serial, odd(|| ()));
    }
    assert!(catch_unwind(AssertUnwindSafe(|| write_local(&lanes, &odd(|| panic!())))).is_err());
    write_local(&lanes, &odd(|| ()));
    assert_eq!(bytes(&lanes), (3 * 24, 0), "none went to the common lane");
    assert!(lanes.losses().0.is_empty());
    living::remove(serial);
}

#[test]
fn t1_what_a_frame_below_writes_to_stays_though_its_logger_is_gone() {
    let (ended, other) = (lanes(), lanes());
    write_local(&ended, &odd(|| ()));
    // What a signal handler would do in the middle of the call.
    let nested = odd(|| {
        ended.set_scribe_gone();
        write_local(&other, &odd(|| ()));
    });
    write_local(&ended, &nested);
    assert_eq!((bytes(&ended), bytes(&other)), ((48, 0), (24, 0)));
    // The next that comes by on its own lets go of it.
    let third = lanes();
    write_local(&third, &odd(|| ()));
    let mut n_ended = 0;
    ended.registry.walk(|lane| n_ended += u32::from(lane.is_ended()));
    assert_eq!(n_ended, 1);
}

#[test]
fn a_logger_may_be_named_and_be_the_global_one_on_the_same_thread() {
    let lanes = lanes();
    living::add(lanes.clone());
    for _ in 0..3 {
        write_local(&lanes, &odd(|| ()));
        write_global(lanes.serial, odd(|| ()));
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
    write_layer(first.serial, odd(|| ()));
    write_layer(second.serial, odd(|| ()));
    for _ in 0..3 {
        write_layer(first.serial, odd(|| ()));
        write_layer(second.serial, odd(|| ()));
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
    write_local(&lanes, &odd(|| ()));
    // The file of the lane goes, the place stays: the thread gets another lane.
    assert!(lanes.stop(&own()));
    write_local(&lanes, &odd(|| ()));
    assert_eq!((bytes(&lanes), own().len()), ((48, 0), 3));
    // A thread inside a call is waited for, but not for ever.
    let inside = odd(|| {
        std::thread::scope(|scope| {
            let stop = scope.spawn(|| assert!(!lanes.stop(&own())));
            stop.join().unwrap();
        });
    });
    write_local(&lanes, &inside);
    assert_eq!(bytes(&lanes), (72, 0));
    // The place goes: calls are lost, and counted.
    assert!(lanes.close() && lanes.stop(&own()));
    write_local(&lanes, &odd(|| ()));
    assert_eq!(bytes(&lanes), (72, 0));
    assert_eq!(lanes.losses().0.get(Cause::Shutdown, Level::Info), 1);
}

#[test]
fn a_call_that_interrupts_the_cold_way_does_not_enter_it_again_and_again() {
    let lanes = lanes();
    // The first call is on the cold way while its values are written.
    let twice = || (0..2).for_each(|_| write_local(&lanes, &odd(|| ())));
    write_local(&lanes, &odd(twice));
    assert_eq!(bytes(&lanes), (24, 0));
    assert_eq!(lanes.losses().0.get(Cause::Reentrant, Level::Info), 2);
}

/// Room for the common lane and one other, both of the smallest size.
const TWO_LANES: u64 = 90_000;

#[test]
fn r7_a_call_whose_lane_is_stopped_on_the_way_goes_on_in_another() {
    // Another of its own, or where there is no room the common one.
    for (bytes_max, expected) in [(64 << 20, (24, 0)), (TWO_LANES, (0, 32))] {
        let lanes = lanes_of(bytes_max);
        let (done, came_back) = channel();
        let of_thread = lanes.clone();
        std::thread::spawn(move || {
            let was_stopped = Cell::new(false);
            // As the scribe does when it finds that the lane's file was removed.
            let stop = || {
                if !was_stopped.replace(true) {
                    of_thread.registry.walk(|lane| {
                        if lane.id != 0 {
                            lane.stop()
                        }
                    });
                }
            };
            write_local(&of_thread, &long(8, stop));
            done.send(bytes(&of_thread)).unwrap();
        });
        let wrote = came_back.recv_timeout(Duration::from_secs(60)).expect("it comes back");
        assert_eq!(wrote, expected);
        assert!(lanes.losses().0.is_empty());
    }
}

#[test]
fn a_record_is_counted_as_cut_once_and_when_it_is_written() {
    for (bytes_max, own) in [(64 << 20, true), (TWO_LANES, false)] {
        let lanes = lanes_of(bytes_max);
        write_local(&lanes, &long(1 << 20, || ()));
        let (in_own, in_common) = bytes(&lanes);
        assert_eq!((in_own > 0, in_common > 0), (own, !own));
        assert_eq!(lanes.losses().1, 1);
        // Nobody takes it: sooner or later there is no room, and what is lost is not cut.
        (0..40).for_each(|_| write_local(&lanes, &long(1 << 20, || ())));
        let lost = lanes.losses().0.get(Cause::Full, Level::Info);
        assert!(lost > 0);
        assert_eq!(lanes.losses().1, 41 - lost);
    }
}

/// The lanes that threads have for themselves.
fn own(lanes: &Lanes) -> Vec<Arc<Lane>> {
    let mut own = Vec::new();
    lanes.registry.walk(|lane| own.extend((lane.id != 0).then(|| lane.clone())));
    own
}

#[test]
fn e1_who_stops_a_lane_late_does_not_stop_the_next_one_of_its_thread() {
    let lanes = lanes();
    let ((go, gone), (done, came_back)) = (channel(), channel());
    let of_thread = lanes.clone();
    std::thread::spawn(move || {
        write_local(&of_thread, &odd(|| ()));
        done.send(()).unwrap();
        gone.recv().unwrap();
        write_local(&of_thread, &odd(|| ()));
        done.send(()).unwrap();
    });
    let back = || came_back.recv_timeout(Duration::from_secs(60)).expect("it comes back");
    back();
    let lane = own(&lanes).remove(0);
    lane.stop();
    let late = |producer: &Producer| {
        go.send(()).unwrap();
        // In between the thread takes another lane, as far as it gets.
        std::thread::sleep(Duration::from_millis(100));
        producer.stop();
    };
    lane.seat.with(late).expect("its producer sits there");
    back();
    assert_eq!(bytes(&lanes), (48, 0));
}

#[test]
fn t1_a_lane_stays_while_a_loss_is_counted_in_it() {
    let lanes = lanes();
    while lanes.losses().0.is_empty() {
        write_local(&lanes, &odd(|| ()));
    }
    // The next is the last one that is lost before another look.
    (1..LOST_AT_ONCE).for_each(|_| write_local(&lanes, &odd(|| ())));
    lanes.prepare_spares(1);
    // What a signal handler does that finds a larger lane.
    let nested = |_: &_| write_local(&lanes, &odd(|| ()));
    assert!(hot::named().lose_at_once(lanes.serial, 24, Level::Info as u8, nested));
    assert!(own(&lanes).iter().all(|lane| !lane.is_ended()));
    assert_eq!(bytes(&lanes).1, 32, "in the common lane");
    write_local(&lanes, &odd(|| ()));
    assert!(own(&lanes).iter().any(|lane| lane.is_ended()), "behind it all is as before");
}
