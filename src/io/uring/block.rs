//! Block: runs a future on this thread, which sleeps in the kernel meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake};

use super::doorbell::Doorbell;
use super::ring::Ring;

/// Wakes a thread in `block_on`.
#[derive(Debug)]
pub(super) struct Blocker {
    is_woken: AtomicBool,
    is_parked: AtomicBool,
    doorbell: Arc<Doorbell>,
}

impl Blocker {
    pub(super) fn new(doorbell: &Arc<Doorbell>) -> Arc<Self> {
        let doorbell = Arc::clone(doorbell);
        Arc::new(Self { is_woken: false.into(), is_parked: false.into(), doorbell })
    }
}

impl Wake for Blocker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ord: Release, so that what happened before the wake is seen by who is woken.
        self.is_woken.store(true, Ordering::Release);
        // ord: SeqCst, with the fence in `block_on`: the sleeper sees the flag above, or this
        // thread sees that it sleeps. Acquire and Release allow both to miss.
        fence(Ordering::SeqCst);
        // ord: Relaxed, ordered by the fence.
        if self.is_parked.load(Ordering::Relaxed) {
            self.doorbell.wake_by_ref();
        }
    }
}

impl Ring {
    /// Runs a future to its end on this thread, which sleeps in the kernel until a completion, or a
    /// wake from elsewhere, comes. The future need not be the ring's.
    ///
    /// Inside of it the ring has no other watcher: what blocks this thread there until an operation
    /// of the ring ends must do so by this function too.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _blocking = Blocking::enter(self);
        let mut future = std::pin::pin!(future);
        let mut context = Context::from_waker(&self.blocker_waker);
        loop {
            // ord: Relaxed, the poll below looks anew, and a wake during it sets the flag again.
            self.blocker.is_woken.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.reap();
            // ord: Relaxed, published by the fence.
            self.blocker.is_parked.store(true, Ordering::Relaxed);
            // ord: SeqCst, as in `wake_by_ref`.
            fence(Ordering::SeqCst);
            // ord: Acquire, pairs with the Release of a wake.
            if !self.blocker.is_woken.load(Ordering::Acquire) {
                self.wait_in_kernel(None);
            }
            // ord: Relaxed, a ring too many does no harm.
            self.blocker.is_parked.store(false, Ordering::Relaxed);
            self.reap();
        }
    }
}

struct Blocking<'a>(&'a Ring);

impl<'a> Blocking<'a> {
    fn enter(ring: &'a Ring) -> Self {
        ring.n_blocking.set(ring.n_blocking.get() + 1);
        Self(ring)
    }
}

impl Drop for Blocking<'_> {
    fn drop(&mut self) {
        self.0.n_blocking.set(self.0.n_blocking.get() - 1);
        // A wake for the future around this one may have gone here.
        // ord: Relaxed, for this thread alone.
        self.0.blocker.is_woken.store(true, Ordering::Relaxed);
    }
}
