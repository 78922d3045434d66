//! Position: the tail of a ring, who may move it, and what producers know of the head.
//!
//! A position counts up by [`STEP`] and never wraps in the life of a machine; its lowest bits are
//! free to say *closed* and *diverted* in the tail and *committed* in a stamp. Invariants are
//! numbered in the parent's docs.

use crossbeam_utils::CachePadded;

use super::head::HeadLine;
use super::weaken;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::spin_loop;
use crate::sync::{MODELLED, mutant};

/// From one position to the next.
pub(super) const STEP: u64 = 4;
/// Set in the tail, once and for good.
const CLOSED: u64 = 1;
/// Set in the tail while items lie in files (I8): only [`Positions::claim_diverted`] moves it then.
const DIVERTED: u64 = 2;
/// What is no part of a position.
const FLAGS: u64 = STEP - 1;
/// How many pauses a thread rests when another was quicker.
const REST_PAUSES: usize = if MODELLED { 0 } else { 64 };

/// Lets another go first: two that want a line in turn each wait for it every time, and one that
/// keeps it for a while does many steps in the time of an exchange.
#[cold]
pub(super) fn rest() {
    (0..REST_PAUSES).for_each(|_| spin_loop());
}

/// Why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

/// The line that producers share; the consumer writes it only when it goes to sleep.
#[derive(Debug)]
struct ProducerLine {
    /// The next position to claim, [`CLOSED`] and [`DIVERTED`].
    tail: AtomicU64,
    /// A copy of the head, never newer than the head itself (I3).
    head_seen: AtomicU64,
    /// See [`Positions::taker_sleeps`].
    taker_sleeps: AtomicBool,
}

/// The positions of one ring.
#[derive(Debug)]
pub(super) struct Positions {
    producers: CachePadded<ProducerLine>,
    pub(super) consumer: CachePadded<HeadLine>,
    /// The capacity, in units of [`STEP`].
    span: u64,
    start: u64,
    /// True while the copy of the head is not to be renewed: sleeping producers have waited long.
    held: AtomicBool,
}

/// Positions since the ring was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) taken: u64,
    pub(super) evicted: u64,
}

impl Positions {
    /// Begins at the position number `start`, of which the highest bit is lost.
    pub(super) fn new(capacity: usize, start: u64) -> Self {
        let start = start.wrapping_mul(STEP);
        Self {
            producers: CachePadded::new(ProducerLine {
                tail: AtomicU64::new(start),
                head_seen: AtomicU64::new(start),
                taker_sleeps: AtomicBool::new(false),
            }),
            consumer: CachePadded::new(HeadLine::new(start)),
            span: capacity as u64 * STEP,
            start,
            held: AtomicBool::new(false),
        }
    }

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        (self.span / STEP) as usize
    }

    /// Claims up to `want` positions in a row, at least one: the first, and how many.
    #[inline(always)]
    pub(super) fn claim(&self, want: usize) -> Result<(u64, usize), Refusal> {
        // ord: Relaxed, the CAS in `advance` decides, and no value is read through the tail.
        let mut tail = self.producers.tail.load(Ordering::Relaxed);
        loop {
            // ord: Acquire, pairs with the Release in `renew`: a slot is free for us only if the
            // consumer's reads of it, which another producer learned of, happened before (I3).
            let order = weaken!("copy_load", Ordering::Acquire);
            let seen = self.producers.head_seen.load(order);
            let mut used = tail.wrapping_sub(seen);
            // No multiple of a step is a flag, a huge difference a tail older than the copy.
            if used >= self.span || used & FLAGS != 0 {
                (tail, used) = self.renew()?;
            }
            match self.advance(tail, used, want) {
                Ok(claimed) => return Ok(claimed),
                Err(_) => {
                    rest();
                    // ord: Relaxed, as above; the copy is read again behind it.
                    tail = self.producers.tail.load(Ordering::Relaxed);
                }
            }
        }
    }

    /// Where the tail is, for hints alone.
    #[inline]
    pub(super) fn tail_hint(&self) -> u64 {
        // ord: Relaxed, no slot is touched for it.
        self.producers.tail.load(Ordering::Relaxed)
    }

    /// How many positions from this one on are free for all that producers know, for hints alone.
    #[inline]
    pub(super) fn known_free(&self, position: u64) -> usize {
        // ord: Relaxed, no slot is touched for it.
        let seen = self.producers.head_seen.load(Ordering::Relaxed);
        (self.span.saturating_sub(position.wrapping_sub(seen)) / STEP) as usize
    }

    /// Claims for a producer whose turn it is by order of waiting: it looks at the head itself and
    /// leaves the copy as it is, so that those who are held back stay so.
    pub(super) fn claim_in_turn(&self, want: usize) -> Result<(u64, usize), Refusal> {
        loop {
            let (tail, _, used) = self.look();
            self.refuse(used)?;
            if let Ok(claimed) = self.advance(tail, used, want) {
                return Ok(claimed);
            }
        }
    }

    /// Claims for the holder of the lock, who knows the head. To want nothing is to ask.
    #[inline(always)]
    pub(super) fn claim_locked(&self, head: u64, want: usize) -> Result<(u64, usize), Refusal> {
        loop {
            // ord: Relaxed, the CAS in `advance` decides. It is no older than the head, since every
            // position before that was committed after it was claimed (I2, I4).
            let tail = self.producers.tail.load(Ordering::Relaxed);
            let used = tail.wrapping_sub(head);
            self.refuse(used)?;
            if want == 0 {
                return Ok((tail, 0));
            }
            if let Ok(claimed) = self.advance(tail, used, want) {
                return Ok(claimed);
            }
        }
    }

    /// Moves the tail on from `tail` if nobody else did; `used` positions lie before it.
    #[inline(always)]
    fn advance(&self, tail: u64, used: u64, want: usize) -> Result<(u64, usize), u64> {
        let count = (want as u64).min((self.span - used) / STEP);
        debug_assert!(count > 0 && used & FLAGS == 0, "I3, I8");
        let next = tail.wrapping_add(count * STEP);
        // ord: Release, pairs with the Acquire in `look`: who sees this tail sees the head that made
        // room for it, and takes no ring for full that never was. It guards no value: slots were
        // handed over through the head (I3), and are published by their stamps (I2).
        let order = weaken!("tail_store", Ordering::Release);
        let tail_at = &self.producers.tail;
        if mutant("claim_by_store") {
            // ord: a mutant: it forgets what others claimed since.
            tail_at.store(next, order);
            return Ok((tail, count as usize));
        }
        // ord: as chosen above; Relaxed on failure, the caller looks again.
        let cas = tail_at.compare_exchange_weak(tail, next, order, Ordering::Relaxed);
        cas.map(|_| (tail, count as usize))
    }

    #[inline(always)]
    fn refuse(&self, used: u64) -> Result<(), Refusal> {
        if used & CLOSED != 0 {
            return Err(Refusal::Closed);
        }
        if used >= self.span || used & DIVERTED != 0 { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Tail, then head, then the way between them as it was when the head was read, or less.
    #[inline]
    fn look(&self) -> (u64, u64, u64) {
        loop {
            // ord: a mutant, a look at the head before the tail.
            let early = mutant("head_before_tail").then(|| self.consumer.get());
            // ord: Acquire, pairs with the Release in `advance`. It must be read before the head: a
            // younger tail would show a full ring that never was.
            let tail = self.producers.tail.load(weaken!("tail_load", Ordering::Acquire));
            let head = early.unwrap_or_else(|| self.consumer.get());
            let used = tail.wrapping_sub(head);
            // Else the head is beyond the tail that was read before it.
            if used <= self.span | FLAGS {
                return (tail, head, used);
            }
        }
    }

    /// Learns the real head, leaves it to the other producers, and says tail and distance.
    #[cold]
    #[inline(never)]
    fn renew(&self) -> Result<(u64, u64), Refusal> {
        loop {
            // ord: Acquire, as in `claim`: the head that is read next is no older than this copy.
            let seen = self.producers.head_seen.load(Ordering::Acquire);
            let (tail, head, used) = self.look();
            self.refuse(used)?;
            if head == seen {
                return Ok((tail, used));
            }
            // ord: Relaxed, late by one renewal at most, which the bound of waiting includes.
            if self.held.load(Ordering::Relaxed) {
                return Err(Refusal::Full);
            }
            // ord: Release, so that a producer that Acquires this copy in `claim` knows of the
            // consumer's reads before that head too (I3). A CAS, so that the copy never goes back
            // and one renewal at most slips past a hold.
            let order = weaken!("copy_store", Ordering::Release);
            // ord: as chosen above; Relaxed on failure, another has renewed it.
            let renewed =
                self.producers.head_seen.compare_exchange(seen, head, order, Ordering::Relaxed);
            if renewed.is_ok() {
                return Ok((tail, used));
            }
        }
    }

    /// Holds back, or lets go, producers that come without having waited.
    pub(super) fn hold(&self, held: bool) {
        // ord: Relaxed, a hint whose delay is bounded; see `renew`.
        self.held.store(held, Ordering::Relaxed);
    }

    /// Lets nobody claim from now on; what is claimed stays accepted. True if it was open.
    pub(super) fn close(&self) -> bool {
        if mutant("close_by_store") {
            // ord: a mutant: it forgets what was claimed since.
            let tail = self.producers.tail.load(Ordering::Relaxed);
            // ord: as above.
            self.producers.tail.store(tail | CLOSED, Ordering::Relaxed);
            return tail & CLOSED == 0;
        }
        // ord: Relaxed, one word orders it against every claim (I5).
        self.producers.tail.fetch_or(CLOSED, Ordering::Relaxed) & CLOSED == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        // ord: Relaxed, a query.
        self.producers.tail.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// True once nothing can come any more and nothing is left (I5).
    pub(super) fn is_drained(&self) -> bool {
        self.look().2 == CLOSED
    }

    /// How many positions are claimed and not yet taken.
    pub(super) fn len(&self) -> usize {
        (self.look().2 / STEP) as usize
    }

    /// How many claims would find room.
    pub(super) fn free(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Positions claimed and taken since the ring was made, and how many of these were evicted.
    pub(super) fn counts(&self) -> Counts {
        let evicted = self.consumer.evicted();
        let (tail, head, _) = self.look();
        Counts {
            accepted: tail.wrapping_sub(self.start) / STEP,
            taken: head.wrapping_sub(self.start) / STEP,
            evicted,
        }
    }

    /// Renews the copy of the head; for the holder of the lock. It never goes back by that: nobody
    /// else knows a newer head, and a renewal that began before fails by its CAS.
    #[inline(always)]
    pub(super) fn share_head(&self, head: u64) {
        // ord: Release, as in `renew` (I3).
        self.producers.head_seen.store(head, weaken!("copy_shared", Ordering::Release));
    }

    /// True while a consumer sleeps or is about to. It lies where producers look anyway.
    #[inline(always)]
    pub(super) fn taker_sleeps(&self) -> &AtomicBool {
        &self.producers.taker_sleeps
    }
}

#[cfg(any(feature = "serde", test))]
impl Positions {
    /// Lets ordinary claims find a full ring until [`rejoin`](Self::rejoin), if it is full now or
    /// they do already (I8); `Ok(false)` if there is room.
    pub(super) fn divert(&self) -> Result<bool, Refusal> {
        loop {
            let (tail, _, used) = self.look();
            if used & CLOSED != 0 {
                return Err(Refusal::Closed);
            }
            if used & DIVERTED != 0 {
                return Ok(true);
            }
            if used < self.span {
                return Ok(false);
            }
            // ord: Relaxed, one word orders it against every claim (I8), as it does a close (I5).
            let order = Ordering::Relaxed;
            // ord: as above; on failure we look again.
            let cas = self.producers.tail.compare_exchange(tail, tail | DIVERTED, order, order);
            if cas.is_ok() {
                return Ok(true);
            }
        }
    }

    /// The same for a ring that nobody else knows yet, whatever room it has.
    pub(super) fn divert_first(&self) {
        // ord: Relaxed, nobody else knows it.
        self.producers.tail.fetch_or(DIVERTED, Ordering::Relaxed);
    }

    /// Lets ordinary claims find room again.
    pub(super) fn rejoin(&self) {
        // ord: Release, as in `advance`: the claims for what was in files come before the next.
        self.producers.tail.fetch_and(!DIVERTED, Ordering::Release);
    }

    /// Claims `count` positions for what comes out of files, of which the caller has seen that they
    /// are free; nobody else claims meanwhile (I8).
    pub(super) fn claim_diverted(&self, count: usize) -> u64 {
        let (_, _, used) = self.look();
        debug_assert!(used & DIVERTED != 0, "I8");
        assert!(
            used / STEP + count as u64 <= self.capacity() as u64,
            "I3: only takers move the head"
        );
        // ord: Release, as in `advance`. An addition, since a close may set its bit meanwhile.
        self.producers.tail.fetch_add(count as u64 * STEP, Ordering::Release) & !FLAGS
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::mem::{align_of, offset_of};

    #[test]
    fn producers_and_consumer_do_not_share_a_line_nor_its_neighbour() {
        let apart = offset_of!(Positions, consumer).abs_diff(offset_of!(Positions, producers));
        assert!(apart >= 64 && apart % align_of::<CachePadded<u8>>() == 0);
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert!(apart >= 128);
        }
    }
}
