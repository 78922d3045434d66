//! Models: every invariant of the ring, under every interleaving that loom finds.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib ring::models
//! ```
//!
//! Each model names its invariants and the mutants (`LANE_MUTANT=…`) that it kills;
//! `tests/ring_mutants.rs` runs them all. `LOOM_MAX_PREEMPTIONS` widens the search.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as StdAtomicUsize, Ordering as StdOrdering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::thread::{spawn, yield_now};

#[path = "models_runs.rs"]
mod runs;

use super::async_::{PushFuture, TakeFuture};
use super::core::{Core, Taker};
use super::position::Refusal;
use super::{BackPressurePolicy, PushError, Spill};
use crate::sync::{Arc, Parker, Unparker};

use BackPressurePolicy::{Block, DropNewest, DropOldest};

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

fn ring(capacity: usize, policy: BackPressurePolicy) -> Arc<Core<usize>> {
    Arc::new(Core::new(capacity, policy, 0).unwrap())
}

/// A ring of which nobody sleeps: without the fences that would order more than is promised.
fn awake(capacity: usize, policy: BackPressurePolicy, start: u64) -> Arc<Core<usize>> {
    let mut core = Core::new(capacity, policy, start).unwrap();
    core.fences = super::wait::Fences::none();
    Arc::new(core)
}

fn take(ring: &Core<usize>, max: usize) -> Vec<usize> {
    ring.take_batch(Taker::Ring, max)
}

/// Takes until `count` items have come.
fn take_exactly(ring: &Core<usize>, count: usize) -> Vec<usize> {
    let mut items = Vec::new();
    while items.len() < count {
        let taken = ring.take_into(Taker::Ring, &mut items, count);
        if taken.unwrap_or(0) == 0 {
            yield_now();
        }
    }
    items
}

struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

/// An executor of one future, as small as can be. Not by loom's `park`, which forgets a wake that
/// came before a lock was waited for.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let parker = Parker::new();
    let waker = Waker::from(StdArc::new(Unpark(parker.unparker().clone())));
    loop {
        let polled = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(output) = polled {
            return output;
        }
        parker.park_timeout(Duration::MAX);
    }
}

/// Wakes nobody and counts how often it was asked to.
#[derive(Default)]
struct Bell(StdAtomicUsize);

impl Wake for Bell {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, StdOrdering::SeqCst);
    }
}

/// I1, I2: two producers and a consumer at once. Kills `stamp_store`, `stamp_load`.
#[test]
fn what_two_producers_push_comes_out_once_and_whole() {
    check(|| {
        let ring = awake(2, DropNewest, 0);
        let threads = [1, 2].map(|n| {
            let ring = ring.clone();
            spawn(move || ring.push(n).unwrap())
        });
        let mut items = take_exactly(&ring, 2);
        items.sort();
        assert_eq!(items, [1, 2]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(take(&ring, 2).is_empty());
    });
}

/// I3: slots are used again, over a wrap of the position. Kills `head_store`, `head_load`.
#[test]
fn a_slot_is_filled_again_only_after_it_was_emptied() {
    check(|| {
        let ring = awake(2, DropNewest, u64::MAX / 2);
        let producer = ring.clone();
        let thread = spawn(move || {
            for n in 0..3 {
                while producer.push(n).is_err() {
                    yield_now();
                }
            }
        });
        assert_eq!(take_exactly(&ring, 3), [0, 1, 2]);
        thread.join().unwrap();
    });
}

/// I3: a producer acts on what another one learned. Kills `copy_store`, `copy_load`.
#[test]
fn the_copy_of_the_head_hands_on_what_the_consumer_read() {
    check(|| {
        let ring = awake(2, DropNewest, 0);
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        let threads = [2, 3].map(|n| {
            let ring = ring.clone();
            spawn(move || usize::from(ring.push(n).is_ok()))
        });
        let taken = take(&ring, 2).len();
        let pushed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(taken + take(&ring, 2).len(), 2 + pushed);
    });
}

/// I3: who has locked the head renews the copy for others. Kills `copy_shared`.
#[test]
fn the_copy_that_an_evictor_shares_hands_on_what_was_read() {
    check(|| {
        let ring = awake(2, DropNewest, 0);
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || usize::from(producer.push(2).is_ok()));
        let mut turn = ring.slots.turn().unwrap();
        assert_eq!(turn.take_one(), Some(0));
        turn.share_head();
        drop(turn);
        let pushed = thread.join().unwrap();
        assert_eq!(take(&ring, 2).len(), 1 + pushed);
    });
}

/// A ring that never held two items is not full. Kills `tail_store`, `tail_load`.
#[test]
fn no_push_meets_a_full_ring_that_never_was() {
    check(|| {
        let ring = awake(2, DropNewest, 0);
        ring.push(0).unwrap();
        let other = ring.clone();
        let thread = spawn(move || {
            if !take(&other, 1).is_empty() {
                other.push(1).unwrap();
            }
        });
        ring.push(2).unwrap();
        thread.join().unwrap();
    });
}

/// I4: an evicting producer and a consumer move the same head. Kills `busy_lock`, `busy_unlock`.
#[test]
fn eviction_and_take_share_the_head() {
    check(|| {
        let ring = awake(2, DropOldest, 0);
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(2).is_ok());
        let mut items = take(&ring, 1);
        let accepted = thread.join().unwrap();
        items.extend(take(&ring, 2));
        let stats = ring.stats();
        assert_eq!(stats.delivered, items.len() as u64);
        assert_eq!(stats.delivered + stats.evicted + stats.returned, 3);
        assert_eq!(items.last() == Some(&2), accepted, "the newest stays");
        assert!(items.is_sorted());
    });
}

/// I4: two producers evict at once, and each item is accounted for.
#[test]
fn two_evictions_at_once_keep_the_count() {
    check(|| {
        let ring = awake(1, DropOldest, 0);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(1).is_ok());
        let accepted = 1 + usize::from(ring.push(2).is_ok());
        let accepted = accepted + usize::from(thread.join().unwrap());
        let left = take(&ring, 1).len();
        let stats = ring.stats();
        assert_eq!((stats.delivered, stats.evicted as usize), (left as u64, accepted - left));
        assert_eq!(stats.delivered + stats.evicted + stats.returned, 3);
    });
}

/// I7: a producer parks on a full ring while the consumer takes. Kills `partner_fence`,
/// `sleeper_fence`.
#[test]
fn a_parked_producer_is_woken_by_a_take() {
    check(|| {
        let ring = ring(1, Block);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(1).unwrap());
        assert_eq!(take(&ring, 1), [0]);
        thread.join().unwrap();
        assert_eq!(take(&ring, 1), [1]);
    });
}

/// I7: two parked producers, woken one after the other.
#[test]
fn parked_producers_are_all_woken() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(|| {
        let ring = ring(1, Block);
        ring.push(0).unwrap();
        let threads = [1, 2].map(|n| {
            let ring = ring.clone();
            spawn(move || ring.push(n).unwrap())
        });
        assert_eq!(take_exactly(&ring, 3).len(), 3);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// I5: each push comes before the close, and is delivered, or after it, and comes back.
#[test]
fn a_push_meets_a_close_and_is_accepted_or_returned() {
    check(|| {
        let ring = ring(2, Block);
        let producer = ring.clone();
        let thread = spawn(move || producer.push(7));
        ring.close();
        let early = take(&ring, 1).len();
        let outcome = thread.join().unwrap();
        let delivered = early + take(&ring, 1).len();
        assert_eq!(delivered == 1, outcome.is_ok());
        assert!(outcome.is_ok() || matches!(outcome, Err(PushError::Closed(7))));
        assert!(ring.slots.at.is_drained());
    });
}

/// I5, I7: a close wakes a parked producer and a pending taker. Kills `close_silent`.
#[test]
fn a_close_wakes_those_who_wait() {
    check(|| {
        let ring = ring(1, Block);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(1).unwrap_err().is_closed());
        ring.close();
        assert!(thread.join().unwrap());
        assert_eq!(block_on(TakeFuture::new(&ring, Taker::Ring, 2)), [0]);
        assert!(block_on(TakeFuture::new(&ring, Taker::Ring, 2)).is_empty());
    });
}

/// I1, I2: batches of two producers stay together.
#[test]
fn batches_stay_together_and_are_taken_in_parts() {
    check(|| {
        let ring = awake(4, DropNewest, 0);
        let producer = ring.clone();
        let thread = spawn(move || producer.push_batch(vec![10, 11]).unwrap());
        ring.push_batch(vec![20, 21]).unwrap();
        let mut items = take(&ring, 3);
        thread.join().unwrap();
        items.extend(take_exactly(&ring, 4 - items.len()));
        assert!(items == [10, 11, 20, 21] || items == [20, 21, 10, 11], "{items:?}");
    });
}

/// I7: a task pends on an empty ring while a producer pushes. Kills `partner_fence`,
/// `sleeper_fence`.
#[test]
fn a_pending_take_is_woken_by_a_push() {
    check(|| {
        let ring = ring(2, DropNewest);
        let producer = ring.clone();
        let thread = spawn(move || producer.push(5).unwrap());
        assert_eq!(block_on(TakeFuture::new(&ring, Taker::Ring, 2)), [5]);
        thread.join().unwrap();
    });
}

/// I7: a task pends on a full ring while the consumer takes.
#[test]
fn a_pending_push_is_woken_by_a_take() {
    check(|| {
        let ring = ring(1, Block);
        ring.push(0).unwrap();
        let consumer = ring.clone();
        let thread = spawn(move || take_exactly(&consumer, 1));
        block_on(PushFuture::new(&ring, 1)).unwrap();
        assert_eq!(thread.join().unwrap(), [0]);
        assert_eq!(take(&ring, 1), [1]);
    });
}

/// I7: a task that was granted its place and goes away hands the wake on. Kills `grant_kept`.
#[test]
fn a_push_that_is_cancelled_leaves_its_place_to_the_next() {
    check(|| {
        let ring = ring(1, Block);
        ring.push(0).unwrap();
        let bell = Waker::from(StdArc::new(Bell::default()));
        let mut first = Box::pin(PushFuture::new(&ring, 1));
        assert!(first.as_mut().poll(&mut Context::from_waker(&bell)).is_pending());
        let producer = ring.clone();
        let thread = spawn(move || producer.push(2).unwrap());
        assert_eq!(take(&ring, 1), [0]);
        drop(first);
        thread.join().unwrap();
        assert_eq!(take(&ring, 1), [2]);
    });
}

/// I4, I7: a taker finds the head locked and no push follows. Kills `turn_unseen`.
#[test]
fn a_taker_that_found_the_head_locked_is_woken_when_it_is_free() {
    check(|| {
        let ring = ring(2, DropNewest);
        ring.push(1).unwrap();
        ring.push(2).unwrap();
        let other = ring.clone();
        let thread = spawn(move || take(&other, 1).len());
        let mine = block_on(TakeFuture::new(&ring, Taker::Ring, 1)).len();
        let theirs = thread.join().unwrap();
        assert_eq!(mine + theirs + take(&ring, 2).len(), 2);
        assert_eq!(mine, 1);
    });
}

/// I1, I4: what is left is dropped with the ring, once, on whatever thread is last.
#[test]
fn what_is_left_is_dropped_with_the_ring() {
    struct Counts(StdArc<StdAtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, StdOrdering::SeqCst);
        }
    }
    check(|| {
        let drops = StdArc::new(StdAtomicUsize::new(0));
        let ring = Arc::new(Core::new(2, DropOldest, 0).unwrap());
        let thread = {
            let (ring, drops) = (ring.clone(), drops.clone());
            spawn(move || drop(ring.push(Counts(drops))))
        };
        drop(ring.push(Counts(drops.clone())));
        drop(ring.take_one(Taker::Ring));
        drop(ring);
        thread.join().unwrap();
        assert_eq!(drops.load(StdOrdering::SeqCst), 2);
    });
}

/// I2: a producer that stops before its stamp holds up takes behind it, and nobody else.
#[test]
fn a_stopped_producer_stalls_nobody_until_the_ring_is_full() {
    check(|| {
        let ring = ring(2, DropNewest);
        let stopped = ring.slots.claim(1).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(2).unwrap());
        assert!(take(&ring, 2).is_empty());
        thread.join().unwrap();
        assert_eq!(ring.slots.claim(1).unwrap_err(), Refusal::Full);
        assert!(take(&ring, 2).is_empty());
        stopped.fill(1);
        assert_eq!(take(&ring, 2), [1, 2]);
    });
}

/// A ring that spills; see `items_loom` for what stands for files.
fn spilling(capacity: usize) -> Arc<Core<usize>> {
    let encode = |n: &usize, out: &mut Vec<u8>| {
        out.extend(n.to_le_bytes());
        Ok(())
    };
    let decode =
        |bytes: &[u8]| bytes.try_into().map(usize::from_le_bytes).map_err(std::io::Error::other);
    Arc::new(Spill::with_codec(std::env::temp_dir(), encode, decode).core(capacity).unwrap())
}

/// Of two threads that sleep and wake beside files, of which a wider search takes minutes.
fn check_asleep(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(model);
}

/// I8: items go into files while others come out. Kills `rejoin_early`.
#[test]
fn what_is_spilled_comes_back_in_order_and_once() {
    check(|| {
        let ring = spilling(1);
        ring.push(0).unwrap();
        ring.push(1).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || (2..4).for_each(|n| producer.push(n).unwrap()));
        let mut items = take(&ring, 1);
        items.extend(take(&ring, 1));
        thread.join().unwrap();
        items.extend(ring.drain(Taker::Ring));
        assert_eq!(items, [0, 1, 2, 3]);
        let stats = ring.stats();
        assert_eq!((stats.pushed, stats.delivered, stats.len), (4, 4, 0));
    });
}

/// I8: two producers meet a full ring, and each finds its own items in order.
#[test]
fn two_producers_spill_at_once() {
    check(|| {
        let ring = spilling(1);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || producer.push(10).unwrap());
        ring.push(20).unwrap();
        let mut items = take(&ring, 1);
        ring.push(21).unwrap();
        thread.join().unwrap();
        items.extend(ring.drain(Taker::Ring));
        items.retain(|item| *item != 10);
        assert_eq!(items, [0, 20, 21]);
        assert_eq!(ring.stats().delivered, 4);
    });
}

/// I7, I10: the ring runs empty while an item goes into a file. Kills `spill_unfenced`,
/// `refill_once`.
#[test]
fn a_taker_sleeps_over_nothing_that_is_in_files() {
    check_asleep(|| {
        let ring = spilling(1);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || (1..3).for_each(|n| producer.push(n).unwrap()));
        for n in 0..3 {
            assert_eq!(block_on(TakeFuture::new(&ring, Taker::Ring, 1)), [n]);
        }
        thread.join().unwrap();
        assert_eq!(ring.len(), 0);
    });
}

/// I5, I8: what is in files is delivered though the ring is closed, and then the end is told.
#[test]
fn a_close_beside_a_spill_loses_nothing_and_ends() {
    check_asleep(|| {
        let ring = spilling(1);
        ring.push(0).unwrap();
        let producer = ring.clone();
        let thread = spawn(move || {
            let accepted = producer.push(1).is_ok();
            producer.close();
            accepted
        });
        let mut items = Vec::new();
        loop {
            let taken = block_on(TakeFuture::new(&ring, Taker::Ring, 1));
            if taken.is_empty() {
                break;
            }
            items.extend(taken);
        }
        assert!(thread.join().unwrap());
        assert_eq!(items, [0, 1]);
    });
}
