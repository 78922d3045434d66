//! Head: the line that the consumer of the moment writes, and the lock of the right to write it.
//!
//! Invariants are numbered in the parent's docs. A producer reads this line about once a lap.

use super::lead::Lead;
use super::weaken;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::mutant;

#[derive(Debug)]
pub(super) struct HeadLine {
    /// The oldest position that is not yet taken.
    head: AtomicU64,
    /// Held by whoever moves the head (I4).
    busy: AtomicBool,
    turn_wanted: AtomicBool,
    pusher_sleeps: AtomicBool,
    /// Every position before it has been seen committed (I2), if it is beyond the head.
    known: AtomicU64,
    takes: AtomicU64,
    lead: Lead,
    evicted: AtomicU64,
}

/// What the holder of the lock goes on from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) head: u64,
    pub(super) known: u64,
}

impl HeadLine {
    pub(super) fn new(start: u64) -> Self {
        Self {
            head: AtomicU64::new(start),
            busy: AtomicBool::new(false),
            turn_wanted: AtomicBool::new(false),
            pusher_sleeps: AtomicBool::new(false),
            known: AtomicU64::new(start),
            takes: AtomicU64::new(0),
            lead: Lead::new(),
            evicted: AtomicU64::new(0),
        }
    }

    /// The oldest position that is not yet taken.
    #[inline(always)]
    pub(super) fn get(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `publish` (I3).
        self.head.load(weaken!("head_load", Ordering::Acquire))
    }

    /// Locks the head, if nobody moves it now, and says where it is (I4).
    #[inline]
    pub(super) fn lock(&self) -> Option<Held> {
        // ord: Acquire, pairs with the Release in `unlock`: we go on from that one's head.
        // Relaxed on failure, since nothing is touched then.
        let order = weaken!("busy_lock", Ordering::Acquire);
        // ord: as chosen above.
        let locked = self.busy.compare_exchange(false, true, order, Ordering::Relaxed).is_ok();
        if !locked && !mutant("head_unlocked") {
            return None;
        }
        // ord: Relaxed, only the holder of `busy` writes it (I4).
        let head = self.head.load(Ordering::Relaxed);
        // ord: Relaxed, as above.
        let known = self.known.load(Ordering::Relaxed);
        Some(Held { head, known })
    }

    /// Publishes how far the holder of the lock has emptied the slots.
    #[inline(always)]
    pub(super) fn publish(&self, head: u64) {
        // ord: Release, pairs with the Acquire in `get`: whoever sees this head may write the
        // slots before it, which we have read (I3).
        self.head.store(head, weaken!("head_store", Ordering::Release));
    }

    /// Lets go of the head, and leaves word how far stamps were seen.
    #[inline]
    pub(super) fn unlock(&self, known: u64) {
        if !mutant("known_lost") {
            // ord: Relaxed, only the holder of `busy` touches it (I4).
            self.known.store(known, Ordering::Relaxed);
        }
        // ord: Release, pairs with the Acquire in `lock` (I4).
        self.busy.store(false, weaken!("busy_unlock", Ordering::Release));
    }

    /// How far the consumer stays behind producers.
    #[inline(always)]
    pub(super) fn lead(&self) -> &Lead {
        &self.lead
    }

    /// How many turns took at least one item.
    pub(super) fn takes(&self) -> u64 {
        // ord: counter.
        self.takes.load(Ordering::Relaxed)
    }

    /// Counts a turn that took something; for the holder of the lock.
    #[inline]
    pub(super) fn add_take(&self) {
        // ord: counter, written by the holder of `busy` alone (I4).
        self.takes.store(self.takes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How many items were dropped to make room; whoever reads the head behind it reads one that
    /// covers them all.
    pub(super) fn evicted(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `add_evicted`.
        self.evicted.load(Ordering::Acquire)
    }

    /// Counts items that were dropped to make room; for the holder of the lock.
    pub(super) fn add_evicted(&self, count: usize) {
        // ord: Relaxed, only the holder of `busy` writes it (I4).
        let before = self.evicted.load(Ordering::Relaxed);
        // ord: Release, pairs with the Acquire in `evicted`.
        self.evicted.store(before + count as u64, Ordering::Release);
    }

    /// True while a taker sleeps that found the head locked.
    #[inline(always)]
    pub(super) fn turn_wanted(&self) -> &AtomicBool {
        &self.turn_wanted
    }

    /// True while a producer sleeps or is about to. It lies where the consumer looks anyway.
    #[inline(always)]
    pub(super) fn pusher_sleeps(&self) -> &AtomicBool {
        &self.pusher_sleeps
    }
}
