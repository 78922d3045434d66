//! Policy: what a push does when the ring is full, and the errors that give items back.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::core::Core;
use super::position::Refusal;
use super::slot::Claim;
use super::wait::{Place, Sleeper};
use crate::sync::{MODELLED, thread};

/// How often a producer looks again before it parks.
const SPINS: usize = if MODELLED { 0 } else { 64 };
/// How long it sleeps between looks where the kernel refuses to announce it.
const NAP: std::time::Duration = std::time::Duration::from_millis(1);
/// How often a producer tries to make room before its item comes back.
const EVICT_ROUNDS: usize = if MODELLED { 2 } else { 64 };
/// The most items that are evicted at once when several producers want room.
const STRETCH_MAX: usize = 32;
/// The most items with a destructor that are evicted at once: they are dropped later, and wait on
/// the stack until then.
const STASH: usize = 8;
/// Larger ones are evicted one by one.
const STASH_ITEM_BYTES_MAX: usize = 64;

/// Says what happens to a new item when there is no room for it.
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
    /// oldest item at this moment and does not finish soon, the new one comes back.
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
    pub fn into_inner(self) -> T {
        match self {
            Self::BufferFull(item) | Self::Closed(item) | Self::Spill { item, .. } => item,
        }
    }

    /// Says whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::BufferFull(_))
    }

    /// Says whether the ring is closed.
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
    /// Claims up to `want` slots as the policy says, when there was no room at first. What comes
    /// with the claim is to be dropped after the slots are filled.
    #[cold]
    pub(super) fn claim_by_policy(
        &self,
        want: usize,
        deadline: Option<Instant>,
    ) -> Result<(Claim<'_, T>, Debt<'_, T>), Refusal> {
        match self.policy {
            BackPressurePolicy::DropOldest => self.claim_evicting(want),
            BackPressurePolicy::Block => self.claim_waiting(want, deadline),
            _ if deadline.is_some() => self.claim_waiting(want, deadline),
            _ => Err(Refusal::Full),
        }
    }

    fn claim_waiting(
        &self,
        want: usize,
        deadline: Option<Instant>,
    ) -> Result<(Claim<'_, T>, Debt<'_, T>), Refusal> {
        for _ in 0..SPINS {
            match self.slots.claim(want) {
                Err(Refusal::Full) => thread::spin_loop(),
                other => return other.map(|claim| (claim, Debt::None)),
            }
        }
        let began = Instant::now();
        let outcome = self.claim_parked(want, deadline);
        self.add_blocked(began.elapsed());
        outcome
    }

    fn claim_parked(
        &self,
        want: usize,
        deadline: Option<Instant>,
    ) -> Result<(Claim<'_, T>, Debt<'_, T>), Refusal> {
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
                    other => return other.map(|claim| (claim, Debt::Place(place))),
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

    fn claim_evicting(&self, want: usize) -> Result<(Claim<'_, T>, Debt<'_, T>), Refusal> {
        let mut stretch = 1;
        for _ in 0..EVICT_ROUNDS {
            let debt = self.make_room(want.max(stretch));
            match self.slots.claim(want) {
                Ok(claim) => return Ok((claim, debt)),
                Err(Refusal::Closed) => return Err(Refusal::Closed),
                Err(Refusal::Full) => {}
            }
            // Others want room too, and each exchange of the head between processors costs more
            // than an item: make room for them as well.
            stretch = (self.slots.at.capacity() / 8).clamp(1, STRETCH_MAX);
        }
        Err(Refusal::Full)
    }

    /// Evicts up to `count` of the oldest items, unless there is room by now, or another thread
    /// moves the head and does not finish soon.
    fn make_room(&self, count: usize) -> Debt<'_, T> {
        let Some(mut turn) = self.turn_soon() else { return Debt::None };
        let mut debt = Debt::None;
        if self.slots.at.free() == 0 {
            let ready = turn.ready(count);
            let evicted = if !std::mem::needs_drop::<T>() {
                turn.skip(ready);
                ready
            } else if size_of::<T>() <= STASH_ITEM_BYTES_MAX && ready > 1 {
                let count = ready.min(STASH);
                debt = Debt::Items(std::array::from_fn(|n| {
                    if n < count { turn.take_one() } else { None }
                }));
                count
            } else {
                debt = turn.take_one().map_or(Debt::None, Debt::Item);
                ready.min(1)
            };
            self.slots.at.add_evicted(evicted);
        }
        drop(turn);
        self.turn_ended();
        debt
    }
}

/// What a producer owes once its slots are filled: code of a user must not run before (I1).
pub(super) enum Debt<'a, T> {
    None,
    /// To leave the queue, which may wake others.
    Place(#[expect(dead_code, reason = "dropping it is what is owed")] Place<'a>),
    /// To drop what was evicted.
    Item(T),
    /// As above.
    Items([Option<T>; STASH]),
}
