//! Common: the one lane that threads share when they have none of their own.
//!
//! Behind a short try-lock, with the thread's id before each record's values and the tick read
//! under the lock. It serves threads beyond the memory bound, calls from a thread's destructors,
//! and signal handlers that interrupt a log call.
#![expect(unsafe_code, reason = "a producer behind a lock of its own; proof in C1 below")]
//!
//! # Invariants
//!
//! - **C1** The producer is used only by the thread that took `locked` from false to true, until
//!   that thread stores false.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lanes::Lane;
use super::ring::Producer;

/// How often the lock is tried before the caller gives up: a short time, since whoever holds it
/// writes one record.
const TRIES: u32 = 1000;

/// The common lane and its lock.
#[derive(Debug)]
pub(crate) struct Common {
    locked: AtomicBool,
    producer: Producer,
    lane: Arc<Lane>,
}

// SAFETY: (C1) the lane is shared memory, the producer is behind the lock.
unsafe impl Send for Common {}
// SAFETY: as above.
unsafe impl Sync for Common {}

impl Common {
    pub(crate) fn new(lane: Arc<Lane>, serial: u32, record_bytes_max: u64) -> Self {
        let producer = Producer::new();
        // SAFETY: `lane` keeps the memory alive as long as the producer; nobody else writes to it.
        unsafe { producer.attach(lane.memory(), serial, record_bytes_max) };
        Self { locked: AtomicBool::new(false), producer, lane }
    }

    /// The lane.
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Runs `work` under the lock; `None` when the lock is not to be had, for example because this
    /// very thread holds it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Producer) -> R) -> Option<R> {
        let mut tries = 0;
        // ord: Acquire, pairs with the Release below: the producer's cells are seen.
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            tries += 1;
            if tries == TRIES {
                return None;
            }
            if tries.is_multiple_of(64) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        let result = work(&self.producer);
        // ord: Release, pairs with the Acquire above.
        self.locked.store(false, Ordering::Release);
        Some(result)
    }
}
