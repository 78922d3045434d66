//! Latch: a lock that is tried for a short time, for work as short as one record.
//!
//! # Invariants
//!
//! - **C1** Who took the latch from false to true is alone until it stores false.

use crate::sync::{AtomicBool, Ordering, spin_loop, weaken, yield_now};

/// How often the lock is tried before the caller gives up.
#[cfg(not(loom))]
const TRIES: u32 = 1000;
#[cfg(loom)]
const TRIES: u32 = 2;

/// The lock.
#[derive(Debug)]
pub(crate) struct Latch(AtomicBool);

impl Latch {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `work` under the lock; `None` when the lock is not to be had, for example because this
    /// very thread holds it.
    pub(crate) fn with<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let mut tries = 0;
        // ord: Acquire, pairs with the Release below: what its holder did is seen (C1).
        let order = weaken!("latch_load", Ordering::Acquire);
        // ord: Relaxed when it fails, since the loop tries again.
        while self.0.compare_exchange_weak(false, true, order, Ordering::Relaxed).is_err() {
            tries += 1;
            if tries == TRIES {
                return None;
            }
            if tries.is_multiple_of(64) {
                yield_now();
            }
            spin_loop();
        }
        let open = Open(self);
        let result = work();
        drop(open);
        Some(result)
    }
}

/// Opens the latch again, even when the work panicked.
struct Open<'a>(&'a Latch);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // ord: Release, pairs with the Acquire above.
        self.0.0.store(false, weaken!("latch_store", Ordering::Release));
    }
}
