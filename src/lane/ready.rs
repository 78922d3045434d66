//! Ready: how a producer tells the scribe that its lane fills, and how the scribe sleeps.
//!
//! # Layout
//!
//! ```text
//! summary  one bit for each word below that may hold a bit
//! bits     64 words of 64 bits; the lane with slot s sets bit s % 4096
//! sleeping the scribe is asleep, or about to be
//! ```
//!
//! # Invariants
//!
//! - **W1** A bit is set before the summary's bit, which is set before `sleeping` is read; the
//!   scribe sets `sleeping` before it looks at the summary a last time. With a full fence on both
//!   sides one of the two sees the other, so that no wake-up is lost.
//! - **W2** Who takes `sleeping` from true to false is the one that wakes, so that a sleeping scribe
//!   costs one system call, not one for each producer.

use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU64, Ordering, Parker, Unparker, fence, mutant, weaken};

#[cfg(not(loom))]
const WORDS: usize = 64;
#[cfg(loom)]
const WORDS: usize = 1;

/// The set of lanes that want to be looked at, and the scribe's bed.
#[derive(Debug)]
pub(crate) struct Ready {
    summary: AtomicU64,
    bits: [AtomicU64; WORDS],
    sleeping: AtomicBool,
    unparker: Unparker,
}

impl Ready {
    /// An empty set, and the parker on which its scribe sleeps.
    pub(crate) fn new() -> (Self, Parker) {
        let parker = Parker::new();
        let ready = Self {
            summary: AtomicU64::new(0),
            bits: std::array::from_fn(|_| AtomicU64::new(0)),
            sleeping: AtomicBool::new(false),
            unparker: parker.unparker().clone(),
        };
        (ready, parker)
    }

    /// Number of distinct slots; greater ones share a bit.
    pub(crate) const SLOTS: usize = WORDS * 64;

    /// Puts a lane on the list and wakes the scribe if it sleeps.
    pub(crate) fn set(&self, slot: usize) {
        let slot = slot % Self::SLOTS;
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        if mutant("summary_first") {
            // ord: Release, a mutant.
            self.summary.fetch_or(1 << word, Ordering::Release);
            // ord: Release, a mutant.
            self.bits[word].fetch_or(bit, Ordering::Release);
            return self.wake();
        }
        // ord: Release, pairs with the Acquire in `take`: what the lane holds is seen.
        if self.bits[word].fetch_or(bit, weaken!("bit_store", Ordering::Release)) & bit == 0 {
            // ord: Release, as above.
            self.summary.fetch_or(1 << word, Ordering::Release);
        }
        self.wake();
    }

    /// Wakes the scribe if it sleeps; what it is to see was written before.
    pub(crate) fn wake(&self) {
        // ord: SeqCst, pairs with the fence in `sleep` (W1); anything weaker lets the load below
        // pass the store above.
        if !mutant("wake_fence") {
            fence(Ordering::SeqCst);
        }
        // ord: Relaxed, ordered by the fence.
        if self.sleeping.load(Ordering::Relaxed) {
            // ord: Relaxed, only to elect one (W2).
            let elected =
                self.sleeping.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed);
            if elected.is_ok() || mutant("wake_all") {
                self.unparker.unpark();
            }
        }
    }

    /// True while the scribe sleeps; it may wake, or fall asleep, at any moment.
    #[cfg(not(loom))]
    pub(crate) fn is_sleeping(&self) -> bool {
        // ord: Relaxed, a check.
        self.sleeping.load(Ordering::Relaxed)
    }

    /// True when a lane is on the list.
    #[cfg(not(loom))]
    pub(crate) fn is_set(&self) -> bool {
        // ord: Relaxed, a check; `take` follows.
        self.summary.load(Ordering::Relaxed) != 0
    }

    /// Takes every slot from the list.
    pub(crate) fn take(&self, mut visit: impl FnMut(usize)) {
        // ord: Relaxed, a check before the costly swap.
        if self.summary.load(Ordering::Relaxed) == 0 {
            return;
        }
        // ord: Acquire, pairs with the Release in `set`.
        let mut summary = self.summary.swap(0, Ordering::Acquire);
        while summary != 0 {
            let word = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            // ord: Acquire, pairs with the Release in `set`.
            let mut bits = self.bits[word].swap(0, weaken!("bit_load", Ordering::Acquire));
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// Sleeps until woken or for `timeout`; not at all when a lane is on the list or `more` says
    /// that there is other work.
    pub(crate) fn sleep(&self, parker: &Parker, timeout: Duration, more: impl FnOnce() -> bool) {
        // ord: Relaxed, ordered by the fence.
        self.sleeping.store(true, Ordering::Relaxed);
        // ord: SeqCst, pairs with the fence in `wake` (W1).
        if !mutant("sleep_fence") {
            fence(Ordering::SeqCst);
        }
        let blind = mutant("sleep_blind");
        // ord: Relaxed, ordered by the fence.
        if blind || self.summary.load(Ordering::Relaxed) == 0 && !more() {
            parker.park_timeout(timeout);
        }
        // ord: Relaxed, a late waker only leaves a token that ends the next sleep at once.
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_slot_that_was_set_is_taken_once() {
        let (ready, _parker) = Ready::new();
        for slot in [0, 63, 64, 4095, 4096 + 7] {
            ready.set(slot);
            ready.set(slot);
        }
        let mut seen = Vec::new();
        ready.take(|slot| seen.push(slot));
        assert_eq!(seen, [0, 7, 63, 64, 4095]);
        ready.take(|slot| panic!("{slot} again"));
    }

    #[test]
    fn a_set_before_or_during_sleep_ends_it() {
        let (ready, parker) = Ready::new();
        ready.set(1);
        ready.sleep(&parker, Duration::from_secs(3600), || false);
        ready.take(|_| ());
        std::thread::scope(|scope| {
            scope.spawn(|| ready.set(2));
            loop {
                let mut seen = false;
                ready.take(|_| seen = true);
                if seen {
                    break;
                }
                ready.sleep(&parker, Duration::from_secs(3600), || false);
            }
        });
    }
}
