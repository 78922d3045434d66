//! Common: the one lane that threads share when they have none of their own.
//!
//! Behind a short try-lock, with the thread's id before each record's values and the tick read
//! under the lock. It serves threads beyond the memory bound, calls from a thread's destructors,
//! and signal handlers that interrupt a log call.
#![expect(unsafe_code, reason = "a producer behind a lock of its own; proof in C1 below")]
//!
//! # Invariants
//!
//! - **C1** The producer is used only under the latch.

use std::sync::Arc;

use super::hand_out::Lane;
use super::latch::Latch;
use super::ring::Producer;

/// The common lane and its lock.
#[derive(Debug)]
pub(crate) struct Common {
    latch: Latch,
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
        Self { latch: Latch::new(), producer, lane }
    }

    /// The lane.
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Runs `work` under the lock; `None` when the lock is not to be had, for example because this
    /// very thread holds it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Producer) -> R) -> Option<R> {
        self.latch.with(|| work(&self.producer))
    }
}
