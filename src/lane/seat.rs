//! Seat: where the thread that ends a logger reaches the producer of a lane.
//!
//! A log call that began before its logger ended may come to its lane at any time later: what its
//! arguments do in between is the program's affair. Before a lane's file goes, its producer is
//! stopped: what was committed by then is taken, and what comes later goes the cold way, where it
//! is counted.
#![expect(unsafe_code, reason = "keeps the address of a thread's producer; proof in E1 below")]
//!
//! # Invariants
//!
//! - **E1** A producer sits here from the moment when it is attached to the lane until its thread
//!   has detached it, which takes the lock; so whoever has the lock may look at it.

use super::ring::Producer;
use crate::sync::Mutex;

/// The address of a producer, on its way to another thread.
#[derive(Debug)]
struct Address(*const Producer);

// SAFETY: (E1) it is followed under the lock alone, and only to what a producer lets others touch.
unsafe impl Send for Address {}

/// A lane's seat for its producer.
#[derive(Debug)]
pub(super) struct Seat(Mutex<Option<Address>>);

impl Seat {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Seats a producer.
    ///
    /// # Safety
    ///
    /// The producer stays where it is until [`Seat::leave`] has returned (E1).
    pub(super) unsafe fn take(&self, producer: &Producer) {
        *self.0.lock() = Some(Address(producer));
    }

    /// Its thread detaches the producer.
    pub(super) fn leave(&self) {
        *self.0.lock() = None;
    }

    /// Lets `look` see the producer, if one sits here.
    pub(super) fn with<R>(&self, look: impl FnOnce(&Producer) -> R) -> Option<R> {
        let seat = self.0.lock();
        // SAFETY: (E1) under the lock.
        seat.as_ref().map(|address| look(unsafe { &*address.0 }))
    }
}
