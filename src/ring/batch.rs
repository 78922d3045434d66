//! Batch: many items with one claim, and many takes with one right.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::core::{Busy, Core, Taker};
use super::policy::{Debt, PushError};
use super::position::Refusal;
use super::queue::LockFreeRingBuffer;
use super::slot::{Parcel, Turn};
use super::wait::Sleeper;
use crate::sync::atomic::Ordering;
use crate::sync::{deadline, thread};

/// How long a taker sleeps between looks where the kernel refuses to announce it.
const NAP: Duration = Duration::from_millis(1);

/// Tells how many items of a batch were pushed, and gives back the others in their order.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new(2, BackPressurePolicy::DropNewest);
/// let error = ring.push_batch(vec![1, 2, 3, 4]).unwrap_err();
/// assert_eq!((error.pushed, error.rest), (2, vec![3, 4]));
/// ```
#[non_exhaustive]
pub struct BatchPushError<T> {
    /// How many of the first items were pushed.
    pub pushed: usize,
    /// The items that were not.
    pub rest: Vec<T>,
    closed: bool,
    source: Option<io::Error>,
}

impl<T> BatchPushError<T> {
    /// Says whether the ring is closed; else it was full, or could not spill and says why by
    /// [`source`](std::error::Error::source).
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.close();
    /// assert!(ring.push_batch(vec![1]).unwrap_err().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

impl<T> fmt::Debug for BatchPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchPushError")
            .field("pushed", &self.pushed)
            .field("rest", &self.rest.len())
            .field("closed", &self.closed)
            .finish()
    }
}

impl<T> fmt::Display for BatchPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match (&self.source, self.closed) {
            (Some(_), _) => "could not spill to disk",
            (None, true) => "is closed",
            (None, false) => "is full",
        };
        write!(f, "the ring {why}; {} of the batch were pushed", self.pushed)
    }
}

impl<T> std::error::Error for BatchPushError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl<T> Core<T> {
    pub(super) fn push_batch(&self, mut items: Vec<T>) -> Result<usize, BatchPushError<T>> {
        match self.push_all(&mut items) {
            (pushed, Ok(())) => Ok(pushed),
            (pushed, Err(refused)) => {
                let closed = refused.is_closed();
                let source = match refused {
                    PushError::Spill { source, .. } => Some(source),
                    PushError::BufferFull(()) | PushError::Closed(()) => None,
                };
                Err(BatchPushError { pushed, rest: items, closed, source })
            }
        }
    }

    /// Pushes from the front of `items`, where those stay that are refused.
    pub(super) fn push_all(&self, items: &mut Vec<T>) -> (usize, Result<(), PushError<()>>) {
        let began = self.began();
        let len = items.len();
        let mut outcome = self.push_parcel(Parcel::new(items));
        if let Some(overflow) = &self.overflow {
            while matches!(outcome, Err(PushError::BufferFull(()))) {
                outcome = match overflow.put(self, items) {
                    Ok(0) => self.push_parcel(Parcel::new(items)),
                    Ok(count) => {
                        items.drain(..count);
                        if items.is_empty() { Ok(()) } else { Err(PushError::BufferFull(())) }
                    }
                    Err(refused) => Err(refused),
                };
            }
        }
        self.add_returned(items.len());
        self.ended(began, |latencies| &latencies.push);
        (len - items.len(), outcome)
    }

    fn push_parcel(&self, mut parcel: Parcel<'_, T>) -> Result<(), PushError<()>> {
        while parcel.len() > 0 {
            let want = parcel.len();
            let mut debt = Debt::none();
            let claimed = match self.slots.claim(want) {
                Err(Refusal::Full) if self.overflow.is_none() => {
                    self.claim_by_policy(want, None, &mut debt)
                }
                other => other,
            };
            let claim = claimed.map_err(|refusal| PushError::new(refusal, ()))?;
            claim.fill_from(&mut parcel);
            self.committed();
        }
        Ok(())
    }

    pub(super) fn take_batch(&self, taker: Taker, max: usize) -> Vec<T> {
        let mut out = Vec::new();
        match self.take_into(taker, &mut out, max) {
            Ok(_) | Err(Busy) => out,
        }
    }

    pub(super) fn take_batch_timeout(&self, taker: Taker, max: usize, timeout: Duration) -> Vec<T> {
        let mut out = Vec::new();
        let deadline = deadline(timeout);
        let mut ticket = None;
        loop {
            if self.take_or_enlist(taker, &mut out, max, &mut ticket, Sleeper::this_thread) {
                break;
            }
            match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left if self.fences.is_reliable() => thread::park_timeout(left),
                left => thread::park_timeout(left.min(NAP)),
            }
        }
        if let Some(ticket) = ticket {
            self.takers.strike(&self.slots.at, ticket);
        }
        out
    }

    /// Takes what is there, or puts a sleeper on the list of takers. True if the taker is done:
    /// it has items, or wants none, or none will ever come.
    pub(super) fn take_or_enlist(
        &self,
        taker: Taker,
        out: &mut Vec<T>,
        max: usize,
        ticket: &mut Option<u64>,
        sleeper: impl Fn() -> Sleeper,
    ) -> bool {
        let at = &self.slots.at;
        let mut look = || match self.take_into(taker, out, max) {
            Ok(1..) => Some(true),
            Ok(_) | Err(Busy) if max == 0 || at.is_drained() => Some(true),
            Ok(_) => Some(false),
            Err(Busy) => None,
        };
        if look() == Some(true) {
            return true;
        }
        self.takers.enlist(at, ticket, sleeper());
        self.fences.announce();
        match look() {
            Some(done) => done,
            None => {
                // Nobody need push before the head is free again: whoever frees it shall tell.
                // ord: Relaxed, made known by `announce`; lowered under the list's lock.
                at.consumer.turn_wanted().store(true, Ordering::Relaxed);
                self.fences.announce();
                look() == Some(true)
            }
        }
    }
}

impl<T> LockFreeRingBuffer<T> {
    /// Pushes the items in their order, next to one another with one claim if there is room for
    /// all; what finds none goes by the policy. Returns how many were pushed, that is all.
    ///
    /// Under [`DropOldest`](super::BackPressurePolicy::DropOldest) a batch larger than the ring
    /// evicts its own first items.
    ///
    /// # Errors
    ///
    /// Gives back the items that were not pushed.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// assert_eq!(ring.push_batch(vec![1, 2, 3]).unwrap(), 3);
    /// assert_eq!(ring.drain(), [1, 2, 3]);
    /// ```
    pub fn push_batch(&self, items: Vec<T>) -> Result<usize, BatchPushError<T>> {
        self.core.push_batch(items)
    }

    /// Pushes as [`push_batch`](Self::push_batch) does, from a vector that the caller keeps, and
    /// says how many. Those that were not pushed stay in `items`; whether the ring was full or
    /// closed then, [`is_closed`](Self::is_closed) tells.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(2, BackPressurePolicy::DropNewest);
    /// let mut items = vec![1, 2, 3];
    /// assert_eq!(ring.push_from(&mut items), 2);
    /// assert_eq!(items, [3]);
    /// ```
    pub fn push_from(&self, items: &mut Vec<T>) -> usize {
        self.core.push_all(items).0
    }
}

/// The head of a ring, held for many takes; dropping it lets others take.
///
/// Made by [`ConsumerHandle::hold`](super::ConsumerHandle::hold).
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
/// let consumer = ring.clone_consumer().unwrap();
/// ring.push_batch(vec![1, 2]).unwrap();
/// let mut takes = consumer.hold().unwrap();
/// assert_eq!(takes.take_one(), Some(1));
/// assert!(consumer.take_batch(8).is_empty(), "the head is held");
/// ```
#[derive(Debug)]
pub struct Takes<'a, T> {
    // Dropped first: others are told after the head is free.
    turn: Turn<'a, T>,
    end: End<'a, T>,
}

/// Tells others, when it is dropped, that the head is free.
#[derive(Debug)]
pub(super) struct End<'a, T>(pub(super) &'a Core<T>);

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.turn_ended();
    }
}

impl<'a, T> Takes<'a, T> {
    pub(super) fn new(core: &'a Core<T>) -> Result<Self, Busy> {
        core.turn(Taker::Handle).map(|turn| Self { turn, end: End(core) })
    }

    /// Takes up to `max` items behind those in `out`, and says how many.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push_batch(vec![1, 2, 3]).unwrap();
    /// let mut out = Vec::with_capacity(8);
    /// assert_eq!(consumer.hold().unwrap().take_into(&mut out, 2), 2);
    /// assert_eq!(out, [1, 2]);
    /// ```
    #[inline]
    pub fn take_into(&mut self, out: &mut Vec<T>, max: usize) -> usize {
        let rested = self.end.0.slots.rest();
        let count = self.turn.take_into(out, max, rested);
        if count > 0 {
            self.took();
        }
        count
    }

    /// Takes the oldest item.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// let mut takes = consumer.hold().unwrap();
    /// assert_eq!((takes.take_one(), takes.take_one()), (Some(1), None));
    /// ```
    #[inline]
    pub fn take_one(&mut self) -> Option<T> {
        let item = self.turn.take_one()?;
        self.took();
        Some(item)
    }

    #[inline]
    fn took(&self) {
        let core = self.end.0;
        core.slots.at.consumer.add_take();
        core.freed();
    }
}
