//! Async: a push and a take that pend instead of waiting, on any executor.
//!
//! A pending future lies in the same list as a parked thread, and costs nothing until it is woken.
//! Both are safe to drop at any time: an item is in the future or in the ring, never between.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::{Core, Taker};
use super::policy::{BackPressurePolicy, PushError};
use super::position::Refusal;
use super::wait::{Place, Sleeper};

/// The future of [`push_async`](super::LockFreeRingBuffer::push_async).
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let waker = std::task::Waker::noop();
/// #     loop {
/// #         let mut context = std::task::Context::from_waker(waker);
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
/// #             return output;
/// #         }
/// #     }
/// # }
/// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
/// let future = ring.push_async(1);
/// assert!(ring.is_empty(), "nothing happens before it is polled");
/// block_on(future).unwrap();
/// assert_eq!(ring.len(), 1);
/// ```
#[must_use = "nothing is pushed until the future is polled"]
pub struct PushFuture<'a, T> {
    core: &'a Core<T>,
    /// Here until it is pushed or given back.
    item: Option<T>,
    place: Option<Place<'a>>,
    began: Option<Instant>,
}

// The item is moved in and out and never pinned.
impl<T> Unpin for PushFuture<'_, T> {}

impl<'a, T> PushFuture<'a, T> {
    pub(super) fn new(core: &'a Core<T>, item: T) -> Self {
        Self { core, item: Some(item), place: None, began: None }
    }

    /// Tries to push; the item stays in the future if the ring is full.
    fn attempt(&mut self) -> Poll<Result<(), PushError<T>>> {
        let item = self.item.take().expect("a future is not polled after it was ready");
        let slots = &self.core.slots;
        let claim = if self.place.is_some() { slots.claim_in_turn(1) } else { slots.claim(1) };
        match claim {
            Ok(claim) => {
                claim.fill(item);
                self.core.committed();
                self.leave();
                Poll::Ready(Ok(()))
            }
            Err(Refusal::Full) => {
                self.item = Some(item);
                Poll::Pending
            }
            Err(refusal) => {
                self.core.add_returned(1);
                self.leave();
                Poll::Ready(Err(PushError::new(refusal, item)))
            }
        }
    }

    fn leave(&mut self) {
        self.place = None;
        if let Some(began) = self.began {
            self.core.add_blocked(began.elapsed());
        }
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PushError<T>>> {
        let at = &self.core.slots.at;
        let granted = self.place.as_ref().is_some_and(|place| {
            let granted = place.is_granted(Some(context.waker()));
            granted || at.is_closed()
        });
        if granted && let ready @ Poll::Ready(_) = self.attempt() {
            return ready;
        }
        let sleeper = || Sleeper::Task(context.waker().clone());
        match &self.place {
            None => {
                self.began = Some(Instant::now());
                self.place = Some(self.core.pushers.join(at, sleeper()));
                self.core.fences.announce();
            }
            Some(place) if granted => place.wait_again(sleeper()),
            Some(_) if self.core.fences.is_reliable() => return Poll::Pending,
            Some(_) => {}
        }
        if !self.core.fences.is_reliable() {
            context.waker().wake_by_ref();
        }
        // Room may have come before we were seen: this wakes whoever is first, us too.
        self.core.pushers.grant(at);
        if at.is_closed() { self.attempt() } else { Poll::Pending }
    }
}

impl<T> Future for PushFuture<'_, T> {
    type Output = Result<(), PushError<T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.place.is_none() {
            if let ready @ Poll::Ready(_) = this.attempt() {
                return ready;
            }
            if this.core.policy != BackPressurePolicy::Block {
                let item = this.item.take().expect("put back by the attempt");
                return Poll::Ready(this.core.push(item));
            }
        }
        this.wait(context)
    }
}

impl<T> fmt::Debug for PushFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushFuture").field("waits", &self.place.is_some()).finish_non_exhaustive()
    }
}

/// The future of [`take_batch_async`](super::LockFreeRingBuffer::take_batch_async).
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let waker = std::task::Waker::noop();
/// #     loop {
/// #         let mut context = std::task::Context::from_waker(waker);
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
/// #             return output;
/// #         }
/// #     }
/// # }
/// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
/// ring.push(1).unwrap();
/// let future = ring.take_batch_async(8);
/// assert_eq!(block_on(future), [1]);
/// ```
#[must_use = "nothing is taken until the future is polled"]
pub struct TakeFuture<'a, T> {
    core: &'a Core<T>,
    taker: Taker,
    max: usize,
    ticket: Option<u64>,
}

impl<'a, T> TakeFuture<'a, T> {
    pub(super) fn new(core: &'a Core<T>, taker: Taker, max: usize) -> Self {
        Self { core, taker, max, ticket: None }
    }
}

impl<T> Future for TakeFuture<'_, T> {
    type Output = Vec<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<T>> {
        let this = self.get_mut();
        let mut out = Vec::new();
        let sleeper = || Sleeper::Task(context.waker().clone());
        let (taker, max) = (this.taker, this.max);
        if this.core.take_or_enlist(taker, &mut out, max, &mut this.ticket, sleeper) {
            return Poll::Ready(out);
        }
        if !this.core.fences.is_reliable() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T> Drop for TakeFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.core.takers.strike(&self.core.slots.at, ticket);
        }
    }
}

impl<T> fmt::Debug for TakeFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeFuture").field("max", &self.max).finish_non_exhaustive()
    }
}
