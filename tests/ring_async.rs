//! Futures of the ring on tokio and on an executor of ten lines; cancelled at every step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park, spawn};
use std::time::Duration;

use ttlog::ring::BackPressurePolicy::{Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn bell() -> Arc<Unpark> {
    Arc::new(Unpark(current(), AtomicUsize::new(0)))
}

/// Runs a future on this thread, and says how often it polled.
fn block_on<F: Future>(future: F) -> (F::Output, usize) {
    let waker = Waker::from(bell());
    let mut future = pin!(future);
    for polls in 1.. {
        if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (out, polls);
        }
        park();
    }
    unreachable!("the numbers do not end")
}

#[test]
fn a_pending_future_is_polled_once_more_when_it_is_woken() {
    let ring = Arc::new(LockFreeRingBuffer::new(1, Block));
    let other = ring.clone();
    let thread = spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        other.push(1).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        other.take_batch(1)
    });
    let (items, polls) = block_on(ring.take_batch_async(9));
    assert_eq!(items, [1]);
    assert!(polls <= 3, "{polls}: a pending future costs nothing");
    ring.push(2).unwrap();
    let (pushed, polls) = block_on(ring.push_async(3));
    assert!(pushed.is_ok() && polls <= 3, "{polls}");
    assert_eq!((thread.join().unwrap(), ring.drain()), (vec![2], vec![3]));
}

#[test]
fn a_dropped_push_leaves_nothing_behind() {
    let ring = LockFreeRingBuffer::new(1, Block);
    drop(ring.push_async("never polled"));
    ring.push("first").unwrap();
    let bells: Vec<_> = (0..3).map(|_| bell()).collect();
    let mut futures: Vec<_> = ["a", "b", "c"].map(|item| Box::pin(ring.push_async(item))).into();
    for (future, bell) in futures.iter_mut().zip(&bells) {
        let waker = Waker::from(bell.clone());
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let rung = || bells.iter().map(|bell| bell.1.load(Ordering::SeqCst)).collect::<Vec<_>>();
    drop(futures.remove(1));
    assert_eq!(ring.drain(), ["first"]);
    assert_eq!(rung(), [1, 0, 0], "there is room for one, and it is the first one's turn");
    drop(futures.remove(0));
    assert_eq!(rung(), [1, 0, 1], "who goes away hands the wake on, past those who have gone");
    let (pushed, _) = block_on(futures.remove(0));
    pushed.unwrap();
    assert_eq!((ring.drain(), ring.stats().pushed), (vec!["c"], 2));
}

#[test]
fn a_dropped_take_loses_no_item() {
    let ring = LockFreeRingBuffer::new(4, Block);
    let bell = bell();
    let waker = Waker::from(bell.clone());
    let mut take = Box::pin(ring.take_batch_async(4));
    assert!(take.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    ring.push(1).unwrap();
    assert_eq!(bell.1.load(Ordering::SeqCst), 1);
    drop(take);
    ring.push(2).unwrap();
    assert_eq!(bell.1.load(Ordering::SeqCst), 1, "nobody sleeps, nobody is woken");
    assert_eq!(block_on(ring.take_batch_async(4)).0, [1, 2]);
}

#[test]
fn futures_go_by_the_policy_and_end_with_the_ring() {
    let newest = LockFreeRingBuffer::new(1, DropNewest);
    block_on(newest.push_async(1)).0.unwrap();
    assert!(block_on(newest.push_async(2)).0.unwrap_err().is_full());
    let oldest = LockFreeRingBuffer::new(1, DropOldest);
    block_on(oldest.push_async(1)).0.unwrap();
    block_on(oldest.push_async(2)).0.unwrap();
    oldest.close();
    assert_eq!(block_on(oldest.push_async(3)).0.unwrap_err().into_inner(), 3);
    assert_eq!(block_on(oldest.take_batch_async(9)).0, [2]);
    assert!(block_on(oldest.take_batch_async(9)).0.is_empty());
    assert!(block_on(newest.take_batch_async(0)).0.is_empty());
}

#[test]
fn tokio_tasks_push_and_take() {
    const TASKS: u64 = 16;
    const EACH: u64 = 500;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let ring = LockFreeRingBuffer::new_shared(3, Block);
    let consumer = ring.clone_consumer().unwrap();
    for task in 0..TASKS {
        let producer = ring.clone_producer();
        runtime.spawn(async move {
            for n in 0..EACH {
                producer.push_async(task * EACH + n).await.unwrap();
            }
        });
    }
    drop(ring);
    let items = runtime.block_on(runtime.spawn(async move {
        let mut items = Vec::new();
        loop {
            let batch = consumer.take_batch_async(8).await;
            if batch.is_empty() {
                return items;
            }
            items.extend(batch);
        }
    }));
    let items = items.unwrap();
    assert_eq!(items.len() as u64, TASKS * EACH);
    let mut next = [0; TASKS as usize];
    for item in items {
        let place = &mut next[(item / EACH) as usize];
        assert_eq!(item % EACH, *place);
        *place += 1;
    }
}

/// Panics when it is woken.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// Polls two futures until they pend, the first with a waker that panics; tells how often the
/// other's was rung by a call, which panics in the end.
fn rung_behind_a_panic<A: Future + Unpin, B: Future + Unpin>(
    (mut first, mut second): (A, B),
    call: impl FnOnce(),
) -> usize {
    let (broken, bell) = (Waker::from(Arc::new(Broken)), bell());
    assert!(pin!(&mut first).poll(&mut Context::from_waker(&broken)).is_pending());
    let waker = Waker::from(bell.clone());
    assert!(pin!(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "it is told");
    bell.1.load(Ordering::SeqCst)
}

#[test]
fn a_waker_that_panics_costs_no_other_its_wake() {
    let ring = LockFreeRingBuffer::new(2, Block);
    let takes = || (ring.take_batch_async(1), ring.take_batch_async(1));
    let rung = rung_behind_a_panic(takes(), || ring.push(1).unwrap());
    assert_eq!((rung, ring.len()), (1, 1));
    ring.push(2).unwrap();
    let pushes = (ring.push_async(3), ring.push_async(4));
    let rung = rung_behind_a_panic(pushes, || drop(ring.drain()));
    assert_eq!((rung, ring.len()), (1, 0));
    ring.push_batch(vec![5, 6]).unwrap();
    let rung = rung_behind_a_panic((ring.push_async(7), ring.push_async(8)), || ring.close());
    assert_eq!((rung, ring.drain()), (1, vec![5, 6]));
}

#[test]
fn a_close_wakes_producers_behind_a_takers_panic() {
    let ring = Arc::new(LockFreeRingBuffer::new(1, Block));
    let handle = ring.clone_consumer().unwrap();
    ring.push(1).unwrap();
    // The ring's own take waits for the handle to go, the push for room.
    let futures = (ring.take_batch_async(1), ring.push_async(2));
    assert_eq!(rung_behind_a_panic(futures, || ring.close()), 1);
    drop(handle);
}

#[test]
fn a_take_of_nothing_waits_for_nobody() {
    let ring = Arc::new(LockFreeRingBuffer::<u8>::new(1, Block));
    let handle = ring.clone_consumer().unwrap();
    assert!(block_on(ring.take_batch_async(0)).0.is_empty());
    assert!(ring.take_batch_timeout(0, Duration::MAX).is_empty());
    drop(handle);
}
