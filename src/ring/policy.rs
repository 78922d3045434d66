//! Policy: what a push does when the ring is full, and the errors that give items back.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::batch::End;
use super::core::Core;
use super::position::{Refusal, rest};
use super::slot::{Claim, Turn};
use super::wait::{Place, Sleeper};
use crate::sync::{MODELLED, thread};

/// How often a producer looks again before it parks.
const SPINS: usize = if MODELLED { 0 } else { 64 };
/// How long it sleeps between looks where the kernel refuses to announce it.
const NAP: std::time::Duration = std::time::Duration::from_millis(1);
/// How often a producer tries to make room before its item comes back.
const EVICT_ROUNDS: usize = if MODELLED { 2 } else { 64 };
/// The most items that are evicted at once when several producers want room. One with a destructor
/// goes alone: it is dropped later, and waits on the stack until then.
const STRETCH_MAX: usize = 32;
/// And no more than this part of the ring.
const STRETCH_PART: usize = if MODELLED { 1 } else { 8 };

/// Says what happens to a new item when there is no room for it.
///
/// A ring and a logger take the same; [`Builder::back_pressure`](crate::Builder::back_pressure) says
/// what each means for events.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new(2, BackPressurePolicy::DropOldest);
/// for n in 0..5 {
///     ring.push(n).unwrap();
/// }
/// assert_eq!(ring.drain(), [3, 4]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackPressurePolicy {
    /// The producer spins briefly, then sleeps until there is room.
    Block,
    /// The oldest items make room; the producer never waits. If another thread is moving the
    /// oldest item at this moment and does not finish soon, the new one comes back. A producer that
    /// is alone evicts one item a push; where several want room at once, one of them makes it for
    /// others too, 32 items or an eighth of the ring at most.
    DropOldest,
    /// The new item comes back.
    DropNewest,
    /// What does not fit goes to files in this directory.
    SpillToDisk(PathBuf),
}

/// Tells why an item was not pushed, and gives it back.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer, PushError};
///
/// let ring = LockFreeRingBuffer::new(1, BackPressurePolicy::DropNewest);
/// ring.push("kept").unwrap();
/// assert!(matches!(ring.push("too much"), Err(PushError::BufferFull("too much"))));
/// ring.close();
/// assert_eq!(ring.push("too late").unwrap_err().into_inner(), "too late");
/// ```
#[non_exhaustive]
pub enum PushError<T> {
    /// There was no room, and the policy makes none.
    BufferFull(T),
    /// The ring is closed.
    Closed(T),
    /// The item could not be written to a spill file.
    Spill {
        /// The item.
        item: T,
        /// What the file system said.
        source: io::Error,
    },
}

impl<T> PushError<T> {
    /// Gives the item back.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.close();
    /// assert_eq!(ring.push(7).unwrap_err().into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::BufferFull(item) | Self::Closed(item) | Self::Spill { item, .. } => item,
        }
    }

    /// Says whether there was no room.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.push_batch(vec![1, 2, 3, 4]).unwrap();
    /// assert!(ring.push(5).unwrap_err().is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, Self::BufferFull(_))
    }

    /// Says whether the ring is closed.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.close();
    /// assert!(ring.push(1).unwrap_err().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    pub(super) fn new(refusal: Refusal, item: T) -> Self {
        match refusal {
            Refusal::Full => Self::BufferFull(item),
            Refusal::Closed => Self::Closed(item),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::BufferFull(_) => "the ring is full",
            Self::Closed(_) => "the ring is closed",
            Self::Spill { .. } => "the item could not be spilled to disk",
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferFull(_) => f.write_str("BufferFull(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Spill { source, .. } => {
                f.debug_struct("Spill").field("source", source).finish_non_exhaustive()
            }
        }
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl<T> std::error::Error for PushError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spill { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Tells why the role of the consumer was not handed over.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer, TakeError};
///
/// let ring = LockFreeRingBuffer::<u8>::new_shared(4, BackPressurePolicy::DropNewest);
/// let consumer = ring.clone_consumer().unwrap();
/// assert_eq!(ring.clone_consumer().unwrap_err(), TakeError::Taken);
/// drop(consumer);
/// assert!(ring.clone_consumer().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakeError {
    /// Another handle has it; drop that one first.
    Taken,
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another handle is the ring's consumer; drop that one first")
    }
}

impl std::error::Error for TakeError {}

impl<T> Core<T> {
    /// Claims up to `want` slots as the policy says, when there was no room at first. What is put
    /// into `debt` is to be dropped after the slots are filled.
    pub(super) fn claim_by_policy<'a>(
        &'a self,
        want: usize,
        deadline: Option<Instant>,
        debt: &mut Debt<'a, T>,
    ) -> Result<Claim<'a, T>, Refusal> {
        match self.policy {
            BackPressurePolicy::DropOldest => self.claim_evicting(want, debt),
            BackPressurePolicy::Block => self.claim_waiting(want, deadline, debt),
            _ if deadline.is_some() => self.claim_waiting(want, deadline, debt),
            _ => Err(Refusal::Full),
        }
    }

    fn claim_waiting<'a>(
        &'a self,
        want: usize,
        deadline: Option<Instant>,
        debt: &mut Debt<'a, T>,
    ) -> Result<Claim<'a, T>, Refusal> {
        for _ in 0..SPINS {
            match self.slots.claim(want) {
                Err(Refusal::Full) => thread::spin_loop(),
                other => return other,
            }
        }
        let began = Instant::now();
        let outcome = self.claim_parked(want, deadline, debt);
        self.add_blocked(began.elapsed());
        outcome
    }

    fn claim_parked<'a>(
        &'a self,
        want: usize,
        deadline: Option<Instant>,
        debt: &mut Debt<'a, T>,
    ) -> Result<Claim<'a, T>, Refusal> {
        let at = &self.slots.at;
        let place = self.pushers.join(at, Sleeper::this_thread());
        let announced = self.fences.announce();
        self.pushers.grant(at);
        loop {
            if place.is_granted(None) || at.is_closed() {
                match self.slots.claim_in_turn(want) {
                    Err(Refusal::Full) => {
                        place.wait_again(Sleeper::this_thread());
                        self.pushers.grant(at);
                        continue;
                    }
                    other => {
                        debt.place = Some(place);
                        return other;
                    }
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match left {
                Some(left) if left.is_zero() => return Err(Refusal::Full),
                Some(left) if announced => thread::park_timeout(left),
                Some(left) => thread::park_timeout(left.min(NAP)),
                None if announced => thread::park(),
                None => thread::park_timeout(NAP),
            }
            if !announced {
                self.pushers.grant(at);
            }
        }
    }

    /// The short way of a push that evicts one item without a destructor: the same steps as
    /// [`claim_evicting`](Self::claim_evicting) if the head is free, and nothing to be owed.
    #[inline(always)]
    pub(super) fn push_evicting_one(&self, item: T) -> Result<(), T> {
        if !matches!(self.policy, BackPressurePolicy::DropOldest) || std::mem::needs_drop::<T>() {
            return Err(item);
        }
        let Some(mut turn) = self.slots.turn() else { return Err(item) };
        if turn.is_full() && turn.ready(1) == 1 {
            turn.skip(1);
            self.slots.at.consumer.add_evicted(1);
        }
        let claimed = turn.claim(1);
        drop(turn);
        let outcome = match claimed {
            Ok(claim) => {
                claim.fill(item);
                self.committed();
                Ok(())
            }
            Err(_) => Err(item),
        };
        self.turn_ended();
        outcome
    }

    /// Makes room and claims it under one lock of the head, so that nobody else has it first.
    fn claim_evicting<'a>(
        &'a self,
        want: usize,
        debt: &mut Debt<'a, T>,
    ) -> Result<Claim<'a, T>, Refusal> {
        let mut stretch = 1;
        for _ in 0..EVICT_ROUNDS {
            let claimed = match self.slots.turn() {
                Some(turn) => self.evict_and_claim(turn, want, want.max(stretch), debt),
                None => {
                    // Whoever has the head is quicker alone, and may make room for us too.
                    rest();
                    self.slots.claim(want)
                }
            };
            match claimed {
                Err(Refusal::Full) => debt.pay(),
                other => return other,
            }
            // Others want room too, and each exchange of the head between processors costs more
            // than an item: make room for them as well.
            stretch = (self.slots.at.capacity() / STRETCH_PART).clamp(1, STRETCH_MAX);
        }
        Err(Refusal::Full)
    }

    /// Evicts up to `most` of the oldest items, unless there is room by now, and claims.
    #[inline(always)]
    fn evict_and_claim<'a>(
        &'a self,
        mut turn: Turn<'a, T>,
        want: usize,
        most: usize,
        debt: &mut Debt<'a, T>,
    ) -> Result<Claim<'a, T>, Refusal> {
        if turn.is_full() {
            let ready = turn.ready(most);
            let count = if !std::mem::needs_drop::<T>() {
                turn.skip(ready);
                ready
            } else {
                debt.evicted = turn.take_one();
                ready.min(1)
            };
            self.slots.at.consumer.add_evicted(count);
            if count > want {
                turn.share_head();
            }
        }
        debt.end = Some(End(self));
        turn.claim(want)
    }
}

/// What a producer owes once its slots are filled, by dropping it: code of a user must not run
/// before (I1).
pub(super) struct Debt<'a, T> {
    /// To tell that the head is free.
    end: Option<End<'a, T>>,
    /// To leave the queue, which may wake others.
    place: Option<Place<'a>>,
    /// To drop what made room.
    evicted: Option<T>,
}

impl<T> Debt<'_, T> {
    #[inline(always)]
    pub(super) fn none() -> Self {
        Self { end: None, place: None, evicted: None }
    }

    /// Pays it before a claim.
    fn pay(&mut self) {
        *self = Self::none();
    }
}
