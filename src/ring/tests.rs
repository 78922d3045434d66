//! Tests of the ring from within: stopped producers and consumers, positions that wrap, fairness.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{scope, spawn, yield_now};
use std::time::{Duration, Instant};

use super::async_::PushFuture;
use super::core::{Core, Taker};
use super::wait::PATIENCE_TAKES;
use super::{BackPressurePolicy, LockFreeRingBuffer, PushError};

use BackPressurePolicy::{Block, DropNewest, DropOldest};

const MOMENT: Duration = Duration::from_millis(5);

fn ring(capacity: usize, policy: BackPressurePolicy) -> Core<u64> {
    Core::new(capacity, policy, 0).expect("a small ring can be made")
}

fn take(ring: &Core<u64>, max: usize) -> Vec<u64> {
    ring.take_batch(Taker::Ring, max)
}

/// Item 5 of issue 4, and the bug that a stalled producer stalls everybody.
#[test]
fn a_producer_stopped_before_its_stamp_stalls_nobody_until_the_ring_is_full() {
    for policy in [Block, DropOldest, DropNewest] {
        let ring = ring(4, policy.clone());
        ring.push(0).unwrap();
        let stopped = ring.slots.claim(1).unwrap();
        ring.push(2).unwrap();
        ring.push(3).unwrap();
        assert_eq!(take(&ring, 9), [0], "{policy:?}: takes end before it");
        ring.push(4).unwrap();
        let deadline = Instant::now() + MOMENT;
        let full = ring.push_until(5, Some(deadline)).unwrap_err();
        assert!(full.is_full() && full.into_inner() == 5, "{policy:?}: cannot evict past it");
        stopped.fill(1);
        assert_eq!(take(&ring, 9), [1, 2, 3, 4], "{policy:?}: nothing was passed over");
        let stats = ring.stats();
        assert_eq!((stats.pushed, stats.delivered, stats.returned), (6, 5, 1));
    }
}

#[test]
fn a_consumer_stopped_while_it_takes_stalls_nobody_until_the_ring_is_full() {
    for policy in [Block, DropOldest, DropNewest] {
        let ring = ring(2, policy);
        let stopped = ring.slots.turn().unwrap();
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        let full = ring.push_until(2, Some(Instant::now() + MOMENT)).unwrap_err();
        assert!(full.is_full());
        assert!(take(&ring, 2).is_empty(), "another taker does not wait for it");
        drop(stopped);
        assert_eq!(take(&ring, 2), [0, 1]);
    }
}

#[test]
fn positions_pass_the_end_of_their_word() {
    for capacity in 1..10 {
        for before in 0..20 {
            let start = (u64::MAX / 2).wrapping_sub(before);
            let ring = Core::new(capacity, DropOldest, start).unwrap();
            let mut model = VecDeque::new();
            for n in 0..60 {
                ring.push(n).unwrap();
                if model.len() == capacity {
                    model.pop_front();
                }
                model.push_back(n);
                assert_eq!(ring.slots.at.len(), model.len());
                if n % 7 == 0 {
                    let count = (n as usize % 5).min(model.len());
                    let expected: Vec<_> = model.drain(..count).collect();
                    assert_eq!(take(&ring, count), expected);
                }
            }
            let stats = ring.stats();
            assert_eq!(stats.delivered + stats.evicted + stats.len as u64, 60);
        }
    }
}

#[test]
fn many_producers_pass_the_end_of_the_position_in_order() {
    const EACH: u64 = 20_000;
    let ring = Core::new(2, Block, u64::MAX / 2 - EACH).unwrap();
    scope(|scope| {
        for producer in 0..4 {
            let ring = &ring;
            scope.spawn(move || (0..EACH).for_each(|n| ring.push(producer * EACH + n).unwrap()));
        }
        let mut next = [0; 4];
        let mut count = 0;
        while count < 4 * EACH {
            for item in ring.take_batch_timeout(Taker::Ring, 2, Duration::from_secs(60)) {
                let place = &mut next[(item / EACH) as usize];
                assert_eq!(item % EACH, *place, "each producer's items come in its order");
                *place += 1;
                count += 1;
            }
        }
    });
}

/// The bound that `Stats::longest_wait_takes` states.
#[test]
fn no_producer_waits_longer_than_the_stated_number_of_takes() {
    // More producers than the patience lasts, so that all in the queue lose it.
    for (producers, capacity) in [(8, 2), (100, 1)] {
        wait_for_turns(producers, capacity);
    }
}

fn wait_for_turns(producers: u64, capacity: u64) {
    let ring = Arc::new(ring(capacity as usize, Block));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..producers)
        .map(|n| {
            let (ring, stop) = (ring.clone(), stop.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ring.push(n).expect("nobody closes it");
                }
            })
        })
        .collect();
    let mut counts = vec![0; producers as usize];
    while ring.stats().takes < 20_000 {
        match ring.take_one(Taker::Ring) {
            Some(item) => counts[item as usize] += 1,
            None => yield_now(),
        }
    }
    stop.store(true, Ordering::Relaxed);
    while threads.iter().any(|thread| !thread.is_finished()) {
        ring.take_one(Taker::Ring);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    let longest = ring.stats().longest_wait_takes;
    assert!(longest <= PATIENCE_TAKES + 2 * (capacity + producers), "{longest}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn newcomers_give_way_to_one_that_has_waited_long() {
    let ring = ring(1, Block);
    ring.push(0).unwrap();
    ring.slots.at.hold(true);
    assert_eq!(take(&ring, 1), [0]);
    let late = ring.push_until(1, Some(Instant::now() + MOMENT));
    assert!(late.is_ok(), "nobody waits, so its own turn comes");
    ring.slots.at.hold(true);
    assert_eq!(take(&ring, 1), [1]);
    assert!(ring.slots.claim(1).is_err(), "no room by the copy, which is not renewed");
    ring.slots.at.hold(false);
    assert!(ring.slots.claim(1).is_ok());
}

#[test]
fn threads_without_a_barrier_from_the_kernel_are_woken_too() {
    let mut ring = ring(1, Block);
    ring.fences = super::wait::Fences::symmetric();
    scope(|scope| {
        scope.spawn(|| (0..1000).for_each(|n| ring.push(n).unwrap()));
        let mut next = 0;
        while next < 1000 {
            for item in ring.take_batch_timeout(Taker::Ring, 1, Duration::from_secs(60)) {
                assert_eq!(item, next);
                next += 1;
            }
        }
    });
}

/// The taker has not seen that somebody sleeps: nothing but the sleeper's own look helps then.
#[test]
fn a_task_without_a_barrier_from_the_kernel_looks_by_itself() {
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut ring = ring(1, Block);
    ring.fences = super::wait::Fences::refused();
    ring.push(0).unwrap();
    let bell = Arc::new(Bell(AtomicUsize::new(0)));
    let waker = Waker::from(bell.clone());
    let mut future = PushFuture::new(&ring, 1);
    let mut poll = || Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    ring.slots.at.consumer.pusher_sleeps().store(false, Ordering::Relaxed);
    assert_eq!(take(&ring, 1), [0]);
    let is_done = (0..3).any(|looks| {
        assert!(bell.0.load(Ordering::Relaxed) > looks, "it asks to be polled again");
        poll().is_ready()
    });
    assert!(is_done);
    assert_eq!(take(&ring, 1), [1]);
}

#[test]
fn a_ring_without_memory_is_an_error() {
    for capacity in [usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 58, 1 << 46] {
        assert!(LockFreeRingBuffer::<u64>::try_new(capacity, Block).is_err());
        assert!(LockFreeRingBuffer::<()>::try_new(capacity, Block).is_err());
    }
}

#[test]
fn a_push_that_finds_the_ring_closed_while_it_waits_gets_its_item_back() {
    let ring = Arc::new(ring(1, Block));
    ring.push(0).unwrap();
    let waiting = {
        let ring = ring.clone();
        spawn(move || ring.push(1))
    };
    while ring.stats().parked == 0 {
        yield_now();
    }
    ring.close();
    assert!(matches!(waiting.join().unwrap(), Err(PushError::Closed(1))));
    assert_eq!(take(&ring, 2), [0]);
}

#[test]
fn a_push_into_a_closed_ring_keeps_nobody_from_taking() {
    let ring = ring(2, DropOldest);
    ring.push(0).unwrap();
    ring.close();
    // Who ends a turn of the head lowers this flag.
    ring.slots.at.consumer.turn_wanted().store(true, Ordering::Relaxed);
    assert!(matches!(ring.push(1), Err(PushError::Closed(1))));
    assert!(ring.slots.at.consumer.turn_wanted().load(Ordering::Relaxed));
    assert_eq!(take(&ring, 2), [0]);
}

/// Batches and takes of many lengths, so that each begins and ends somewhere else in the array.
fn in_order_through<const N: usize>(capacity: usize) {
    let ring = LockFreeRingBuffer::<[u32; N]>::new(capacity, DropNewest);
    let (mut pushed, mut taken) = (0_u32, 0_u32);
    let mut out = Vec::new();
    for n in (1..).map(|n| n * 37 % (capacity + 3)).take(100) {
        let mut items: Vec<_> = (pushed..pushed + n as u32).map(|item| [item; N]).collect();
        pushed += ring.push_from(&mut items) as u32;
        ring.take_into(&mut out, n * 2 / 3 + 1);
        for item in out.drain(..) {
            assert_eq!(item, [taken; N]);
            taken += 1;
        }
    }
    assert_eq!(ring.len(), (pushed - taken) as usize);
}

#[test]
fn batches_of_any_size_come_out_in_order() {
    in_order_through::<0>(1000);
    in_order_through::<1>(5000);
    in_order_through::<3>(1000);
    in_order_through::<64>(100);
    in_order_through::<300>(70);
}

#[test]
fn a_ring_on_huge_pages_is_like_any_other() {
    in_order_through::<64>(20_000);
}
