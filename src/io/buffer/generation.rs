//! Generation: counts what happened to a buffer, and says whether it is in use.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts transitions; never goes back, so that equal numbers mean that nothing happened between.
///
/// ```
/// use ttlog::io::GenerationCounter;
///
/// let counter = GenerationCounter::new();
/// assert_eq!((counter.increment(), counter.get()), (1, 1));
/// ```
#[derive(Debug)]
pub struct GenerationCounter {
    counter: AtomicU64,
}

impl GenerationCounter {
    /// Starts at 0.
    #[must_use]
    pub fn new() -> Self {
        Self { counter: AtomicU64::new(0) }
    }

    /// Returns the number of transitions so far; another thread may add one at any time.
    #[inline]
    pub fn get(&self) -> u64 {
        // ord: Acquire, pairs with the AcqRel of a transition.
        self.counter.load(Ordering::Acquire)
    }

    /// Adds one and returns the new number, which no other call returns.
    pub fn increment(&self) -> u64 {
        // ord: AcqRel, so that what was done before a transition is seen by who sees its number.
        self.counter.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// An odd number says *in use*.
    #[inline]
    pub(super) fn is_odd(&self) -> bool {
        self.get() % 2 == 1
    }

    /// Goes to the next number when the parity is this one; of two threads one succeeds.
    pub(super) fn advance_from(&self, odd: bool) -> bool {
        // ord: Relaxed, a first guess that the exchange checks.
        let mut seen = self.counter.load(Ordering::Relaxed);
        loop {
            if (seen % 2 == 1) != odd {
                return false;
            }
            // ord: AcqRel, as in `increment`: a use sees what the last use wrote. Relaxed on
            // failure, since only the number is looked at.
            match self.counter.compare_exchange_weak(
                seen,
                seen + 1,
                crate::sync::weaken!("generation_release", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// The same as `is_odd` for who owns the counter alone.
    #[cfg(not(loom))]
    #[inline]
    pub(super) fn is_odd_owned(&mut self) -> bool {
        *self.counter.get_mut() % 2 == 1
    }

    /// Goes on for who owns the counter alone, without an exchange.
    #[cfg(not(loom))]
    #[inline]
    pub(super) fn advance_owned(&mut self) {
        *self.counter.get_mut() += 1;
    }

    /// Takes the last of those back, which nobody can have seen who does not own the counter.
    #[cfg(all(not(loom), target_os = "linux"))]
    #[inline]
    pub(super) fn take_back_owned(&mut self) {
        *self.counter.get_mut() -= 1;
    }
}

impl Default for GenerationCounter {
    fn default() -> Self {
        Self::new()
    }
}
