//! Intake: the scribe's end of one lane.
#![expect(unsafe_code, reason = "reads a lane as its one consumer; invariant R2 of lane::ring")]

use std::sync::Arc;

use super::batch::Batch;
use super::tap::Tap;
use crate::lane::catalog::CatalogView;
use crate::lane::hand_out::Lane;
use crate::lane::park;
use crate::record::compact::Encoder;
use crate::record::{Cause, HEAD_BYTES, Head, Level, Losses, RunHead};

/// Bytes of a lane that are encoded before its head moves: its producer waits no longer than that.
const STRIDE_BYTES: usize = 64 << 10;

/// What one look at a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Everything that was there.
    All,
    /// The block is full; there is more.
    BlockFull,
}

/// The scribe's end of one lane.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) lane: Arc<Lane>,
    head: u64,
    n_taken: u64,
    slot: usize,
    losses_version: u64,
    told: Losses,
    /// Losses told since `take_lost`.
    lost: u64,
    /// Takes copies for the console.
    tap: Option<Arc<Tap>>,
}

impl Intake {
    pub(crate) fn new(lane: Arc<Lane>) -> Self {
        let head = lane.memory().head();
        Self {
            lane,
            head,
            n_taken: 0,
            slot: 0,
            losses_version: 0,
            told: Losses::NONE,
            lost: 0,
            tap: None,
        }
    }

    /// The same, with copies for a console.
    pub(crate) fn tapped(self, tap: Option<Arc<Tap>>) -> Self {
        Self { tap, ..self }
    }

    /// Position behind the last record taken.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// True when nothing is left that is committed now, and no loss is untold.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.lane.memory().tail() && self.losses_version == self.lane.losses_version()
    }

    /// True when there is nothing to take, and the lane cannot be taken back either.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_empty() && !self.lane.is_ended()
    }

    /// True when the lane holds so much that its producer has called, or will not before it is full.
    pub(crate) fn is_past_mark(&self) -> bool {
        let memory = self.lane.memory();
        memory.tail() - self.head > memory.data_len() as u64 / 4
    }

    /// How many losses were told since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Encodes what is committed up to `until` into the batch and gives the bytes back to the
    /// producer, stride by stride. Losses that were not told yet are told with the first run.
    pub(crate) fn take(
        &mut self,
        until: u64,
        batch: &mut Batch,
        encoder: &mut Encoder,
        catalog: &CatalogView,
        codec: u8,
    ) -> Taken {
        let capacity = self.lane.memory().data_len() as u64;
        let mut version = self.lane.losses_version();
        while self.head < until || version != self.losses_version {
            // SAFETY: (R2) this is the one consumer, `until` is a tail it has read.
            let committed = unsafe { self.lane.memory().committed(self.head, until) };
            let at_end = (self.head + committed.len() as u64).is_multiple_of(capacity);
            if !committed.is_empty() && committed.len() < HEAD_BYTES && at_end {
                self.give_back(committed.len() as u64, 0);
                continue;
            }
            let stride = &committed[..committed.len().min(stride_end(committed))];
            let losses = self.lane.losses();
            let lost = losses.since(&self.told).total();
            let head = self.run_head(losses);
            let encoded = match batch.add(encoder, catalog, head, stride, lost, codec) {
                Ok(encoded) if encoded.written == 0 => return Taken::BlockFull,
                Ok(encoded) => encoded,
                Err(_) => {
                    // Only a stray write of the program itself can do that to a lane. Where the
                    // next record begins is not known, but behind the buffer's end one does.
                    self.lane.count_loss(Cause::Damaged, Level::Error, 1);
                    self.give_back(committed.len() as u64, 0);
                    version = self.lane.losses_version();
                    continue;
                }
            };
            if let Some(tap) = &self.tap {
                let (run, lost) = ((self.lane.tid, &*self.lane.thread), losses.since(&self.told));
                tap.add(run, lost, &stride[..encoded.consumed], encoded.count);
            }
            self.told = losses;
            self.lost += lost;
            self.losses_version = version;
            let was = self.head;
            self.give_back(encoded.consumed as u64, u64::from(encoded.count));
            self.wake_early(until, was);
            version = self.lane.losses_version();
        }
        Taken::All
    }

    fn give_back(&mut self, bytes: u64, records: u64) {
        self.head += bytes;
        self.n_taken += records;
        self.slot ^= 1;
        self.lane.memory().publish_head(self.head, self.n_taken, self.slot);
    }

    /// Wakes the producer, if it waits, as soon as half of the lane is free: it goes on beside the
    /// rest of the turn, and not for a few records only.
    fn wake_early(&mut self, until: u64, was: u64) {
        let half = self.lane.memory().data_len() as u64 / 2;
        if until - self.head <= half && until - was > half {
            park::fence_heads();
            self.lane.wake_producer();
        }
    }

    fn run_head(&self, losses: Losses) -> RunHead {
        RunHead {
            lane: self.lane.id,
            generation: self.lane.generation,
            position: self.head,
            end: self.head,
            first_record: self.n_taken,
            count: 0,
            tid: self.lane.tid,
            thread: self.lane.thread.clone(),
            losses,
        }
    }
}

/// How much to encode at once: a stride, or one record when the first is longer.
fn stride_end(committed: &[u8]) -> usize {
    let first = Head::read(committed).map_or(0, |head| head.len());
    STRIDE_BYTES.max(first)
}
