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

use parking_lot::RwLock;

use super::fill::{Record, fill_cut, len_of};
use super::full::{Attempts, NAP};
use super::hand_out::Lane;
use super::thread;
use super::lanes::Lanes;
use super::latch::Latch;
use super::ring::{Producer, Room};
use crate::record::{Cause, FLAG_THREAD, HEAD_BYTES, Level};

/// How often a call that does not wait tries to get into a lane that others fill.
const TRIES: u32 = 64;

/// The common lane and its lock.
#[derive(Debug)]
pub(crate) struct Common {
    latch: Latch,
    producer: Producer,
    lane: RwLock<Arc<Lane>>,
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
        Self { latch: Latch::new(), producer, lane: RwLock::new(lane) }
    }

    /// The lane.
    pub(crate) fn lane(&self) -> Arc<Lane> {
        // Recursive: a signal handler may interrupt its own thread here while another waits.
        self.lane.read_recursive().clone()
    }

    /// Counts an event that no lane could take.
    pub(crate) fn count_loss(&self, cause: Cause, level: Level) {
        // Under the lock: the lane that is counted on has not been taken back.
        self.lane.read_recursive().count_loss(cause, level, 1);
    }

    /// Puts another lane in the place of the one that is there, which ends; false when the lock is
    /// not to be had.
    pub(crate) fn replace(&self, lane: Arc<Lane>, serial: u32, record_bytes_max: u64) -> bool {
        let replaced = self.with(|producer| {
            // SAFETY: (C1) under the lock; the lane is kept here as long as its producer has it.
            unsafe { producer.attach(lane.memory(), serial, record_bytes_max) };
            lane.publish();
            std::mem::replace(&mut *self.lane.write(), lane).end();
        });
        replaced.is_some()
    }

    /// Runs `work` under the lock; `None` when the lock is not to be had, for example because this
    /// very thread holds it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Producer) -> R) -> Option<R> {
        self.latch.with(|| work(&self.producer))
    }
}

/// Writes into the lane that threads share; the event is lost when its lock is not to be had, or
/// when it stays full.
pub(crate) fn write_common(lanes: &Arc<Lanes>, level: Level, record: &dyn Record) {
    let thread = thread::id();
    let mut lane = lanes.common.lane();
    let limit = lanes.record_bytes_max(&lane) - HEAD_BYTES - 8;
    let payload = record.payload_len();
    let cut = (payload > limit).then(|| record.cut(limit));
    let payload = cut.as_ref().map_or(payload, Vec::len);
    let len = 8 + len_of(payload);
    if len > lanes.record_bytes_max(&lane) {
        return lanes.common.count_loss(Cause::Full, level);
    }
    let mut attempts = Attempts::new(level);
    let mut tries = 0;
    let cause = loop {
        if lanes.is_closed() {
            break Cause::Shutdown;
        }
        lane = lanes.common.lane();
        let head = lane.memory().head();
        let wrote = lanes.common.with(|producer| {
            if lanes.is_closed() {
                return Room::Full;
            }
            let room = producer.refill(len);
            if room != Room::Full {
                producer.write(lanes.serial, len, |out: &mut [u8]| match &cut {
                    Some(cut) => fill_cut(record, cut, out, Some(thread)),
                    None => fill_shared(record, out, payload, thread),
                });
            }
            room
        });
        match wrote {
            Some(Room::Open { marked }) => {
                cut.iter().for_each(|_| lane.count_truncated());
                if marked {
                    lanes.ready.set(0);
                }
                return;
            }
            // The holder is another thread, which writes one record: this thread's own frames below
            // a signal handler were found out before. The lane need not be full.
            None if tries < TRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            None if attempts.wait_to_enter(lanes) => {}
            None => break Cause::Full,
            // Others may take the room that this call makes, again and again.
            Some(Room::Full) => {
                tries += 1;
                let has_room = attempts.make_room(lanes, &lane, head, len);
                if !has_room || tries > TRIES && !attempts.may_wait(lanes) {
                    break Cause::Full;
                }
                if tries > TRIES {
                    std::thread::sleep(NAP);
                }
            }
        }
    };
    lanes.common.count_loss(cause, level);
}

fn fill_shared(record: &dyn Record, out: &mut [u8], payload: usize, thread: u32) {
    let words = ((out.len() - HEAD_BYTES) / 8) as u16;
    let (head, values) = out.split_at_mut(HEAD_BYTES);
    head.copy_from_slice(&record.head(record.ticks(), words, FLAG_THREAD));
    values.fill(0);
    values[..4].copy_from_slice(&thread.to_le_bytes());
    record.payload(&mut values[8..8 + payload]);
}
