//! What the ring does when it is full, when it is closed, and who may take.

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{scope, sleep, spawn, yield_now};
use std::time::{Duration, Instant};

use ttlog::ring::BackPressurePolicy::{Block, DropNewest, DropOldest, SpillToDisk};
use ttlog::ring::{LockFreeRingBuffer, PushError, RingBuffer, TakeError};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn every_capacity_is_exact_for_every_policy() {
    for capacity in 1..=33 {
        let ring = LockFreeRingBuffer::new(capacity, DropNewest);
        for n in 0..capacity {
            ring.push(n).unwrap();
        }
        assert_eq!((ring.len(), ring.capacity()), (capacity, capacity));
        assert!(matches!(ring.push(99), Err(PushError::BufferFull(99))));
        assert_eq!(ring.drain(), (0..capacity).collect::<Vec<_>>());

        let mut ring = RingBuffer::new(capacity);
        (0..100).for_each(|n| ring.push(n));
        assert_eq!(ring.len(), capacity);
        assert_eq!(ring.take_snapshot(), (100 - capacity..100).collect::<Vec<_>>());
    }
}

#[test]
fn what_cannot_be_made_says_the_way_out() {
    type Ring = LockFreeRingBuffer<u8>;
    let spill = || SpillToDisk(PathBuf::from("spill"));
    let zero = Ring::try_new(0, Block).unwrap_err().to_string();
    assert!(zero.contains("capacity 1"), "{zero}");
    let no_files = Ring::try_new(8, spill()).unwrap_err().to_string();
    assert!(no_files.contains("with_spill") && no_files.contains("DropNewest"), "{no_files}");
    for (make, way_out) in [
        (catch_unwind(|| drop(Ring::new(0, Block))), "capacity 1"),
        (catch_unwind(move || drop(Ring::new(8, spill()))), "with_spill"),
        (catch_unwind(|| drop(RingBuffer::<u8>::new(0))), "capacity 1"),
    ] {
        let message = make.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains(way_out), "{message}");
    }
}

#[test]
fn drop_newest_gives_the_item_back() {
    let ring = LockFreeRingBuffer::new(2, DropNewest);
    let results: Vec<_> = (0..5).map(|n| ring.push(n).map_err(PushError::into_inner)).collect();
    assert_eq!(results, [Ok(()), Ok(()), Err(2), Err(3), Err(4)]);
    let stats = ring.stats();
    assert_eq!((stats.pushed, stats.returned, stats.len, stats.delivered), (5, 3, 2, 0));
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let ring = LockFreeRingBuffer::new(3, DropOldest);
    (0..10).for_each(|n| ring.push(n.to_string()).unwrap());
    assert_eq!(ring.take_batch(9), ["7", "8", "9"]);
    let stats = ring.stats();
    assert_eq!((stats.pushed, stats.evicted, stats.delivered), (10, 7, 3));
}

#[test]
fn a_batch_larger_than_the_ring_goes_by_the_policy() {
    let items = || (0..10).map(|n| n.to_string()).collect::<Vec<_>>();
    let ring = LockFreeRingBuffer::new(4, DropNewest);
    let error = ring.push_batch(items()).unwrap_err();
    assert_eq!((error.pushed, error.rest.len(), error.is_closed()), (4, 6, false));
    assert_eq!(error.rest[0], "4");

    let ring = LockFreeRingBuffer::new(4, DropOldest);
    assert_eq!(ring.push_batch(items()).unwrap(), 10);
    assert_eq!(ring.drain(), ["6", "7", "8", "9"]);
    assert_eq!(ring.stats().evicted, 6);

    let ring = LockFreeRingBuffer::new(4, Block);
    let taken = scope(|scope| {
        let pushed = scope.spawn(|| ring.push_batch(items()).unwrap());
        let mut taken = Vec::new();
        while taken.len() < 10 {
            taken.extend(ring.take_batch_timeout(3, LONG));
        }
        assert_eq!(pushed.join().unwrap(), 10);
        taken
    });
    assert_eq!(taken, items());

    ring.close();
    let error = ring.push_batch(items()).unwrap_err();
    assert_eq!((error.pushed, error.rest.len(), error.is_closed()), (0, 10, true));
    assert_eq!(ring.push_batch(vec![]).unwrap(), 0);
}

#[test]
fn the_rest_of_a_batch_comes_back_in_the_vector_it_came_in() {
    let ring = LockFreeRingBuffer::new(2, DropNewest);
    let items: Vec<u64> = (0..100).collect();
    let buffer = items.as_ptr();
    let rest = ring.push_batch(items).unwrap_err().rest;
    assert_eq!((rest.as_ptr(), rest.len()), (buffer, 98));
}

#[test]
fn block_waits_for_room_and_then_goes_on() {
    let ring = LockFreeRingBuffer::new(1, Block);
    ring.push(0).unwrap();
    scope(|scope| {
        let waiting = scope.spawn(|| ring.push(1));
        while ring.stats().parked == 0 {
            yield_now();
        }
        sleep(Duration::from_millis(5));
        assert!(!waiting.is_finished());
        assert_eq!(ring.take_batch(9), [0]);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(ring.take_batch(9), [1]);
    assert!(ring.stats().blocked >= Duration::from_millis(5));
}

#[test]
fn a_timeout_gives_the_item_back_and_leaves_nothing_behind() {
    for policy in [Block, DropNewest] {
        let ring = LockFreeRingBuffer::new(1, policy);
        ring.push(0).unwrap();
        let began = Instant::now();
        let error = ring.push_timeout(1, Duration::from_millis(20)).unwrap_err();
        assert!(error.is_full() && began.elapsed() >= Duration::from_millis(20));
        assert_eq!(ring.drain(), [0]);
        ring.push(2).unwrap();
        assert_eq!(ring.drain(), [2]);
    }
    let ring = LockFreeRingBuffer::new(1, DropOldest);
    ring.push(0).unwrap();
    ring.push_timeout(1, LONG).unwrap();
    assert_eq!(ring.drain(), [1]);
}

#[test]
fn a_timeout_that_no_clock_tells_is_waited_for() {
    for policy in [Block, DropNewest] {
        let ring = LockFreeRingBuffer::new(1, policy);
        ring.push(0).unwrap();
        scope(|scope| {
            let waiting = scope.spawn(|| ring.push_timeout(1, Duration::MAX));
            while ring.stats().parked == 0 {
                assert!(!waiting.is_finished(), "it did not wait");
                yield_now();
            }
            assert_eq!(ring.drain(), [0]);
            waiting.join().unwrap().unwrap();
            assert_eq!(ring.take_batch_timeout(9, Duration::MAX), [1]);
        });
    }
}

#[test]
fn a_closed_ring_delivers_what_it_has_and_accepts_nothing() {
    for policy in [Block, DropOldest, DropNewest] {
        let ring = LockFreeRingBuffer::new(2, policy);
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        ring.close();
        ring.close();
        assert!(ring.is_closed());
        assert!(matches!(ring.push(2), Err(PushError::Closed(2))));
        assert!(ring.push_timeout(3, LONG).unwrap_err().is_closed());
        assert_eq!(ring.take_batch(1), [0]);
        assert_eq!(ring.take_batch_timeout(2, LONG), [1]);
        assert!(ring.take_batch_timeout(2, LONG).is_empty(), "nothing will ever come");
        let stats = ring.stats();
        assert_eq!((stats.pushed, stats.delivered, stats.returned), (4, 2, 2));
    }
}

#[test]
fn a_close_frees_all_who_wait() {
    let ring = Arc::new(LockFreeRingBuffer::new(1, Block));
    ring.push(0).unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|n| {
            let ring = ring.clone();
            spawn(move || ring.push(n))
        })
        .collect();
    while ring.stats().parked < 64 {
        yield_now();
    }
    ring.close();
    for thread in waiting {
        assert!(thread.join().unwrap().unwrap_err().is_closed());
    }
    assert_eq!(ring.drain(), [0]);
}

#[test]
fn there_is_one_consumer_and_its_role_is_handed_back() {
    let ring = LockFreeRingBuffer::new_shared(4, Block);
    ring.push(1).unwrap();
    let consumer = ring.clone_consumer().unwrap();
    assert_eq!(ring.clone_consumer().unwrap_err(), TakeError::Taken);
    assert!(ring.take_batch(4).is_empty() && ring.drain().is_empty());
    assert_eq!(ring.take_one(), None);
    assert_eq!(consumer.take_batch(4), [1]);
    drop(consumer);
    ring.push(2).unwrap();
    assert!(!ring.is_closed());
    assert_eq!(ring.take_batch(4), [2]);
    assert!(ring.clone_consumer().is_ok());
}

#[test]
fn held_takes_keep_others_away_and_wake_those_who_wait() {
    let ring = LockFreeRingBuffer::new_shared(1, Block);
    let consumer = ring.clone_consumer().unwrap();
    let producer = ring.clone_producer();
    let thread = spawn(move || (0..100).for_each(|n| producer.push(n).unwrap()));
    let mut takes = consumer.hold().unwrap();
    assert!(consumer.hold().is_none() && consumer.take_batch(1).is_empty());
    let mut next = 0;
    while next < 100 {
        match takes.take_one() {
            Some(item) => {
                assert_eq!(item, next);
                next += 1;
            }
            None => yield_now(),
        }
    }
    drop(takes);
    assert!(consumer.hold().is_some());
    thread.join().unwrap();
}

#[test]
fn a_ring_closes_when_nobody_is_left_to_push() {
    let ring = LockFreeRingBuffer::new_shared(4, Block);
    let (producer, consumer) = (ring.clone_producer(), ring.clone_consumer().unwrap());
    let second = producer.clone();
    drop(ring);
    producer.push(1).unwrap();
    drop(producer);
    second.push(2).unwrap();
    assert!(!consumer.is_closed());
    let waiting = spawn(move || {
        assert_eq!(consumer.take_batch_timeout(4, LONG), [1, 2]);
        assert!(consumer.take_batch_timeout(4, LONG).is_empty());
        consumer.is_closed()
    });
    drop(second);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_ring_closes_when_nobody_is_left_to_take() {
    let ring = LockFreeRingBuffer::new_shared(4, Block);
    let (producer, consumer) = (ring.clone_producer(), ring.clone_consumer().unwrap());
    drop(consumer);
    producer.push(1).unwrap();
    drop(ring);
    assert!(producer.push(2).unwrap_err().is_closed() && producer.is_closed());
}

#[test]
fn a_take_asks_for_no_more_memory_than_it_needs() {
    let ring = LockFreeRingBuffer::new(4, DropNewest);
    ring.push_batch(vec![1, 2, 3]).unwrap();
    let items = ring.take_batch(usize::MAX);
    assert_eq!(items, [1, 2, 3]);
    assert!(items.capacity() <= 8);
    assert!(ring.take_batch(0).is_empty());
}

#[test]
fn a_drain_ends_while_producers_go_on() {
    let ring = LockFreeRingBuffer::new(64, DropNewest);
    let stop = std::sync::atomic::AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = ring.push(1);
            }
        });
        for _ in 0..1000 {
            assert!(ring.drain().len() <= 64);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn latencies_are_told_once_they_are_asked_for() {
    let ring = LockFreeRingBuffer::new(64, DropNewest);
    ring.push(0).unwrap();
    assert!(ring.stats().push_latency.is_none() && ring.stats().drain_latency.is_none());
    ring.measure_latency();
    (0..10).for_each(|n| ring.push(n).unwrap());
    assert_eq!(ring.drain().len(), 11);
    let stats = ring.stats();
    let (push, drain) = (stats.push_latency.unwrap(), stats.drain_latency.unwrap());
    assert_eq!((push.count, drain.count), (10, 1));
    assert!(push.p50 <= push.p99 && push.p99 <= push.p999 && push.p999 <= push.max);
    ring.push_timeout(0, LONG).unwrap();
    ring.push_batch(vec![1, 2, 3]).unwrap();
    assert_eq!(ring.push_from(&mut vec![4]), 1);
    assert_eq!((ring.take_one(), ring.take_batch_timeout(9, LONG).len()), (Some(0), 4));
    let stats = ring.stats();
    let (push, drain) = (stats.push_latency.unwrap(), stats.drain_latency.unwrap());
    assert_eq!((push.count, drain.count), (13, 3));
}
