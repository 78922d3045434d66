//! Park: what a lane's producer and its consumer tell each other beside the bytes: who waits for
//! room, and that no more will come.
//!
//! # Invariants
//!
//! - **P1** A producer says that it waits, fences, then looks at the head again; the consumer moves
//!   the head, fences, then looks who waits. One of the two sees the other, so that no producer
//!   sleeps beside a lane with room.
//! - **P2** The tail that is read behind `is_ended` is the lane's last.

use std::time::Duration;

use crate::sync::{AtomicBool, Mutex, Ordering, Parker, Unparker, fence, mutant, weaken};

/// Where a producer waits for room.
#[derive(Debug)]
pub(crate) struct Park {
    waiting: AtomicBool,
    waiter: Mutex<Option<Unparker>>,
}

impl Park {
    pub(crate) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), waiter: Mutex::new(None) }
    }

    /// Waits until it is woken, or for `timeout`; not at all when `is_full` says no.
    pub(crate) fn wait(&self, timeout: Duration, is_full: impl FnOnce() -> bool) {
        let parker = Parker::new();
        *self.waiter.lock() = Some(parker.unparker().clone());
        // ord: Relaxed, ordered by the fence.
        self.waiting.store(true, Ordering::Relaxed);
        if !mutant("park_fence") {
            // ord: SeqCst, pairs with the fence in `fence_heads` (P1).
            fence(Ordering::SeqCst);
        }
        if mutant("park_blind") || is_full() {
            parker.park_timeout(timeout);
        }
        // ord: Relaxed, a late waker unparks a parker that nobody sleeps on.
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Wakes the producer if it waits. The consumer calls it behind [`fence_heads`].
    pub(crate) fn wake(&self) {
        // ord: Relaxed, ordered by the fence before.
        if self.waiting.load(Ordering::Relaxed)
            && let Some(waiter) = self.waiter.lock().take()
        {
            waiter.unpark();
        }
    }
}

/// The consumer's fence between its heads and its look at who waits: once a turn, so that it costs
/// no lane anything.
pub(crate) fn fence_heads() {
    if !mutant("heads_fence") {
        // ord: SeqCst, pairs with the fence in `Park::wait` (P1).
        fence(Ordering::SeqCst);
    }
}

/// A flag that a producer raises when it will never write again.
#[derive(Debug)]
pub(crate) struct End(AtomicBool);

impl End {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn set(&self) {
        // ord: Release, pairs with the Acquire below: the last tail is seen (P2).
        self.0.store(true, weaken!("end_store", Ordering::Release));
    }

    pub(crate) fn is_set(&self) -> bool {
        // ord: Acquire, pairs with the Release above.
        self.0.load(weaken!("end_load", Ordering::Acquire))
    }
}
