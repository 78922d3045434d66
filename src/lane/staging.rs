//! Staging: the buffers in which blocks are filled and from which they are written (rule S3).
//!
//! They lie in the same place as the lanes, so that a run that left its lane is never in private
//! memory alone. The consumer encodes a run straight into the buffer, commits the new length, then
//! moves the lane's head; whoever looks from outside decodes the committed runs.
#![expect(unsafe_code, reason = "fills a shared mapping that one consumer owns; proof in B1-B3")]
//!
//! # Layout
//!
//! ```text
//! word 0 magic   1 version   2 logger id   3 number   4 epoch   5 committed bytes of runs
//!      6 number of the segment that holds the block, 0 before   7 device of that spill file
//! byte 4096: the block: 64 bytes for its header, then runs, definitions, anchors
//! ```
//!
//! # Invariants
//!
//! - **B1** One consumer owns a buffer; it alone writes its bytes and words.
//! - **B2** `committed` is stored with Release after the bytes of the run, and before the lane's
//!   head moves: a run is in its lane, or committed, at every moment.
//! - **B3** Before the first byte of a buffer is reused `committed` is 0, then its epoch is raised; a
//!   buffer is reused only when its block is Written. In this order, since a reader looks at the
//!   epoch before `committed`: one that finds the new epoch finds the new length.
//! - **B4** Word 6 is set when the block is Written and before its segment is sealed, and is 0 again
//!   before a run of the next block is committed: who finds runs beside a number finds those that
//!   this segment held, even if it was removed since.

#[cfg(not(loom))]
use std::io;

use super::memory::Memory;
use crate::sync::{Arc, Ordering, mutant, weaken};

/// Bytes for a block's header at the start of a buffer.
pub(crate) const BLOCK_HEADER_BYTES: usize = 64;
/// Runs are added to a block up to this length.
pub(crate) const RUNS_BYTES: usize = 256 << 10;
/// Room behind the runs for definitions and anchors.
const TAIL_BYTES: usize = 64 << 10;
/// Bytes of a buffer behind its header page.
pub(crate) const BUFFER_BYTES: usize = BLOCK_HEADER_BYTES + RUNS_BYTES + TAIL_BYTES;
/// What lanes and staging of a logger take at least: two buffers, and lanes for four threads.
#[cfg(not(loom))]
pub(crate) const LANES_BYTES_MIN: usize = 2 * BUFFER_BYTES + 4 * super::lanes::FIRST_BYTES;
/// Buffers that a logger has at most: 15 MiB.
pub(crate) const BUFFERS_MAX: usize = 48;
/// The spiller's: one block is filled while nothing else is.
pub(crate) const SPILL_BUFFERS: usize = 2;
/// The spiller's are numbered from here, behind the scribe's.
pub(crate) const SPILL_FIRST: u64 = 1_000_000;
/// First word of every staging buffer: "TTLGSTAG".
pub(crate) const STAGING_MAGIC: u64 = u64::from_le_bytes(*b"TTLGSTAG");
/// Version of the layout.
pub(crate) const STAGING_VERSION: u64 = 1;

/// Indices of the words in a buffer's header.
pub(crate) mod word {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const LOGGER: usize = 2;
    pub(crate) const NUMBER: usize = 3;
    pub(crate) const EPOCH: usize = 4;
    pub(crate) const COMMITTED: usize = 5;
    pub(crate) const HELD_BY: usize = 6;
    pub(crate) const DEVICE: usize = 7;
}

/// One buffer, owned by the consumer that fills it.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Arc<Memory>,
    committed: usize,
    /// The place's round when it was made.
    round: u64,
}

/// A filled buffer on its way to the disk. The consumer does not touch the buffer until it comes
/// back.
#[derive(Debug)]
pub(crate) struct Sealed {
    buffer: Buffer,
    len: usize,
}

impl Buffer {
    /// Takes over fresh memory as buffer `number` of a logger.
    pub(crate) fn new(memory: Memory, round: u64, logger: u64, number: u64) -> Self {
        let words = [
            (word::MAGIC, STAGING_MAGIC),
            (word::VERSION, STAGING_VERSION),
            (word::LOGGER, logger),
            (word::NUMBER, number),
        ];
        for (at, value) in words {
            // ord: Relaxed, published by the first commit.
            memory.word(at).store(value, Ordering::Relaxed);
        }
        Self { memory: Arc::new(memory), committed: 0, round }
    }

    /// A model's buffer.
    #[cfg(all(test, loom))]
    pub(crate) fn of(memory: Arc<Memory>) -> Self {
        Self { memory, committed: 0, round: 0 }
    }

    /// A part of a model's buffer, so that loom looks at that part alone.
    #[cfg(all(test, loom))]
    pub(crate) fn range(&mut self, at: usize, len: usize) -> &mut [u8] {
        // SAFETY: (B1) this is the owner, and the borrow is unique.
        unsafe { self.memory.owned(at, len) }
    }

    /// Bytes of runs so far.
    pub(crate) fn committed(&self) -> usize {
        self.committed
    }

    /// The whole block, header area included.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: (B1) this is the owner, and the borrow is unique.
        unsafe { self.memory.owned(0, self.memory.data_len()) }
    }

    /// The area for runs, definitions and anchors.
    pub(crate) fn payload(&mut self) -> &mut [u8] {
        &mut self.bytes()[BLOCK_HEADER_BYTES..]
    }

    /// Makes `written` more bytes of runs visible from outside (B2).
    pub(crate) fn commit(&mut self, written: usize) {
        self.committed += written;
        debug_assert!(self.committed <= RUNS_BYTES + TAIL_BYTES, "B2: beyond the buffer");
        // ord: Release, pairs with the reader that copies the header before the bytes (B2).
        self.memory
            .word(word::COMMITTED)
            .store(self.committed as u64, weaken!("commit_store", Ordering::Release));
    }

    /// Empties the buffer for a new block (B3).
    pub(crate) fn reset(&mut self) {
        self.committed = 0;
        if !mutant("reset_order") {
            self.empty();
        }
        if !mutant("epoch_kept") {
            let epoch = self.memory.word(word::EPOCH);
            // ord: Relaxed, this is the only writer (B1).
            let next = epoch.load(Ordering::Relaxed) + 1;
            // ord: Release, behind `committed`.
            epoch.store(next, weaken!("epoch_store", Ordering::Release));
        }
        if mutant("reset_order") {
            self.empty();
        }
        if !mutant("reset_fence") {
            // ord: SeqCst, keeps the new block's bytes behind the two stores for every observer.
            crate::sync::fence(Ordering::SeqCst);
        }
    }

    fn empty(&self) {
        // ord: Release, as in `commit`.
        self.memory.word(word::COMMITTED).store(0, Ordering::Release);
        // ord: Relaxed, behind it for who dies here, and before the fence of `reset` (B4).
        self.memory.word(word::HELD_BY).store(0, Ordering::Relaxed);
    }

    /// Ends the block at `len` bytes, its header included.
    pub(crate) fn seal(self, len: usize) -> Sealed {
        Sealed { buffer: self, len }
    }
}

impl Sealed {
    /// The block as it is to be written.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: (B1, B3) nobody writes to the buffer until it comes back.
        unsafe { self.buffer.memory.published(0, self.len) }
    }

    /// The same, for who has the block.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: (B1, B3) nobody else writes to the buffer until it comes back, and the borrow is
        // unique.
        unsafe { self.buffer.memory.owned(0, self.len) }
    }

    /// The memory in which the block lies.
    #[cfg(not(loom))]
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.buffer.memory
    }

    /// Says that the block is Written, into which segment, and if that is a spill file on which
    /// device (B4).
    #[cfg(not(loom))]
    pub(crate) fn set_held_by(&self, segment: u64, device: u64) {
        // ord: Relaxed, published by the next store.
        self.buffer.memory.word(word::DEVICE).store(device, Ordering::Relaxed);
        // ord: Release, pairs with the reader that copies the header behind a dead logger's lock.
        self.buffer.memory.word(word::HELD_BY).store(segment, Ordering::Release);
    }

    /// Gives the buffer back once its block is Written.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

/// The free buffers of one consumer, and more on demand.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Staging {
    /// The last is taken first, so that those which are hardly needed stand at the front.
    free: Vec<Buffer>,
    /// The fewest that were free at once since the last `trim`.
    n_unused: usize,
    /// Buffers that there are, and numbers that were given.
    n_made: u64,
    n_numbered: u64,
    n_max: u64,
}

#[cfg(not(loom))]
impl Staging {
    /// A set of at most `n_max` buffers; the first is made at once.
    pub(crate) fn new(lanes: &super::lanes::Lanes, n_max: usize) -> io::Result<Self> {
        Self::numbered(lanes, n_max.min(BUFFERS_MAX), 0)
    }

    /// The same, with buffers numbered from here on: those of another consumer.
    pub(crate) fn numbered(
        lanes: &super::lanes::Lanes,
        n_max: usize,
        n_numbered: u64,
    ) -> io::Result<Self> {
        let n_max = n_max.max(2) as u64;
        let mut staging = Self { free: Vec::new(), n_unused: 0, n_made: 0, n_numbered, n_max };
        let first = staging.make(lanes)?;
        staging.free.push(first);
        Ok(staging)
    }

    /// An empty buffer; `None` when all are on their way to the disk and no more may be made.
    pub(crate) fn take(&mut self, lanes: &super::lanes::Lanes) -> Option<Buffer> {
        let round = lanes.place.round();
        let mut buffer = loop {
            let next = self.free.pop();
            self.n_unused = self.n_unused.min(self.free.len());
            match next {
                Some(buffer) if buffer.round == round => break buffer,
                // Its file went with the place that was there before.
                Some(_) => {
                    lanes.place.release(BUFFER_BYTES);
                    self.n_made -= 1;
                }
                None => break self.make(lanes).ok()?,
            }
        };
        buffer.reset();
        Some(buffer)
    }

    /// Buffers that there are.
    pub(crate) fn n_made(&self) -> usize {
        self.n_made as usize
    }

    /// Takes a buffer back whose block is Written.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.free.push(buffer);
    }

    /// Gives a buffer back to the system that nobody needed since the last call, if there is one:
    /// what a burst took goes little by little, and soon comes again with the next one.
    pub(crate) fn trim(&mut self, lanes: &super::lanes::Lanes) {
        // One stays, as it may not come again where memory is short.
        if self.n_unused > 0 && self.n_made > 1 {
            let buffer = self.free.remove(0);
            if buffer.round == lanes.place.round() {
                // ord: Relaxed, this is the only writer (B1).
                let number = buffer.memory.word(word::NUMBER).load(Ordering::Relaxed);
                lanes.place.forget(&file_name(number), BUFFER_BYTES);
            } else {
                lanes.place.release(BUFFER_BYTES);
            }
            self.n_made -= 1;
        }
        self.n_unused = self.free.len();
    }

    fn make(&mut self, lanes: &super::lanes::Lanes) -> io::Result<Buffer> {
        if self.n_made == self.n_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let round = lanes.place.round();
        let number = self.n_numbered;
        let memory = lanes.place.memory(&file_name(number), BUFFER_BYTES, 4)?;
        (self.n_made, self.n_numbered) = (self.n_made + 1, number + 1);
        Ok(Buffer::new(memory, round, lanes.logger, number))
    }
}

/// Name of a buffer's file within its place.
#[cfg(not(loom))]
fn file_name(number: u64) -> String {
    format!("staging-{number}")
}
