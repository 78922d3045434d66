//! Ring: the bytes of a lane between its one producer and its one consumer.
#![expect(unsafe_code, reason = "writes and lends bytes of a shared mapping; proof in R1-R6 below")]
//!
//! # Layout
//!
//! ```text
//! byte  0  magic, version, logger id, lane | pid, capacity, generation, thread id, thread name
//!     128  tail: position behind the last committed record      written by the producer alone
//!     256  head: position of the oldest record not yet taken    written by the consumer alone
//!     512  consumer slot 0: head, records taken, evicted by     valid is the slot whose head is
//!     768  consumer slot 1  level                               the head at 256 (rule S4)
//!    1024  losses by cause and level, their version, cut records, the tail at the last loss
//!    4096  data: position p lies at p % capacity
//! ```
//!
//! # Invariants
//!
//! - **R1** `head <= tail <= head + capacity`; positions count bytes, are multiples of 8, and never
//!   wrap or restart while a hand-out lasts.
//! - **R2** Bytes in `[tail, head + capacity)` belong to the producer, bytes in `[head, tail)` to
//!   the consumer.
//! - **R3** A record does not wrap around the end of the buffer: a pad fills the rest of it. What is
//!   left there with fewer than 16 bytes is a pad too.
//! - **R4** While a producer writes a record or a pad its gate is shut, so that a signal handler on
//!   the same thread finds no room and goes the cold way, which sees that it is nested.
//! - **R5** The gate is never beyond `head + capacity`, the buffer's end, nor `tail +
//!   record_bytes_max` as of the last cold call; a gate read before a nested call changed it is too
//!   low, never too high, since a new lane's positions go on behind the old gate.
//! - **R6** A producer is used by one thread alone, but for its serial number and its gate: another
//!   thread may stop it (R7).
//! - **R7** Who stops a producer takes its serial number away, fences for both, then waits until the
//!   gate is not that of a write under way. The producer shuts its gate before it looks at the
//!   serial number, so that one of the two sees the other: behind that nothing is committed.
//! - **R8** A mark in its serial number turns a producer's plain writes away. It is set and taken off
//!   in one step with the look at the number: a producer that was stopped meanwhile stays so.
//!
//! # Ordering
//!
//! `tail` is stored with Release after the record's bytes and loaded with Acquire before they are
//! read; `head` is stored with Release after the bytes were encoded and loaded with Acquire before
//! they are overwritten. A consumer slot is rewritten behind the head that made the other one valid,
//! so that who finds the head unchanged afterwards has read a valid slot. Everything else is the
//! producer's or the consumer's own.

use std::cell::Cell;

use super::memory::Memory;
pub(crate) use super::word;
use crate::record::{HEAD_BYTES, Head, RECORD_PAD};
use crate::sync::{AtomicU32, AtomicU64, Ordering, barrier, compiler_fence, lines, mutant, weaken};

/// Words that hold losses by cause and level.
pub(crate) const LOSS_WORDS: usize = crate::record::CAUSES * crate::record::LEVELS;
/// Words of a slot that count evicted records, by level; a model tells no levels apart.
pub(crate) const EVICTED_WORDS: usize =
    if crate::sync::MODELLED { 1 } else { crate::record::LEVELS };
/// Evicted records by level.
pub(crate) type Evicted = [u64; EVICTED_WORDS];
/// First word of every lane: "TTLGLANE".
pub(crate) const LANE_MAGIC: u64 = u64::from_le_bytes(*b"TTLGLANE");
/// Version of the lane's layout.
pub(crate) const LANE_VERSION: u64 = 1;

/// Set in a producer's serial number while `write` is to be called with its `key` alone (R8); no
/// logger's number has it.
pub(crate) const MARK: u32 = 1 << 31;

/// A gate that lets nothing pass, yet is not that of a write under way (R4).
const CLOSED: u64 = 1;

/// What the cold way found out about a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The gate is open again; `marked` when a quarter of the lane waits for the consumer.
    Open {
        /// The consumer should be told.
        marked: bool,
    },
    /// There is no room for a record of this length before the consumer takes something.
    Full,
}

/// The producer's half of a ring: plain cells, so that it can live in a thread-local without a
/// destructor.
#[derive(Debug)]
pub(crate) struct Producer {
    gate: AtomicU64,
    tail: Cell<u64>,
    mask: Cell<u64>,
    data: Cell<*mut u8>,
    tail_word: Cell<*const AtomicU64>,
    memory: Cell<*const Memory>,
    record_bytes_max: Cell<u64>,
    /// Serial number of the logger that the lane belongs to; 0 for none, and when it is stopped.
    serial: AtomicU32,
    /// The same, whether it is stopped or not.
    owner: Cell<u32>,
    full: Cell<Full>,
}

/// When calls lose their records at once: nothing that they could do for room has changed.
#[derive(Debug, Clone, Copy)]
struct Full {
    /// While the head is here,
    head: u64,
    /// for records of this length and longer,
    len: usize,
    /// of these levels, one bit each,
    levels: u8,
    /// and so many of them.
    left: u32,
}

impl Full {
    const NOT: Self = Self { head: 0, len: 0, levels: 0, left: 0 };
}

/// Makes a function constant where no model looks on: the model checker's atomics cannot be.
macro_rules! const_but_for_models {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visibility const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}

/// Opens a gate again when a write is over, however it ends.
struct Reopen<'a> {
    gate: &'a AtomicU64,
    to: u64,
}

impl Drop for Reopen<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst); // ord: orders this thread with its signal handlers
        // ord: Release, pairs with the Acquire in `is_writing`: the tail is there (R7).
        self.gate.store(self.to, weaken!("gate_store", Ordering::Release));
    }
}

/// Fills the bytes of a record. A trait, so that what a log call writes can be inlined for certain,
/// which a closure cannot ask for.
pub(crate) trait Fill {
    /// Writes a record's bytes; `out` is as long as it.
    fn fill(self, out: &mut [u8]);
}

impl<F: FnOnce(&mut [u8])> Fill for F {
    #[inline(always)]
    fn fill(self, out: &mut [u8]) {
        self(out);
    }
}

/// How far before it writes a producer asks for lines: more than are under way at once (RFC.md).
const AHEAD_BYTES: usize = 1280;

impl Producer {
    const_but_for_models! {
        /// A producer without a lane: every write takes the cold way.
        pub(crate) fn new() -> Self {
            Self {
                gate: AtomicU64::new(CLOSED),
                tail: Cell::new(0),
                mask: Cell::new(0),
                data: Cell::new(std::ptr::null_mut()),
                tail_word: Cell::new(std::ptr::null()),
                memory: Cell::new(std::ptr::null()),
                record_bytes_max: Cell::new(0),
                serial: AtomicU32::new(0),
                owner: Cell::new(0),
                full: Cell::new(Full::NOT),
            }
        }
    }

    /// Notes that the next `left` records of these levels, a bit each, and of this length are lost
    /// at once while the head is at `head`.
    #[cfg(not(loom))]
    pub(crate) fn set_full(&self, head: u64, len: usize, levels: u8, left: u32) {
        self.full.set(Full { head, len, levels, left });
    }

    /// Calls `lose` with the lane if a record of this length and level is lost at once (see
    /// `set_full`); else returns false. As in `write`, who interrupts it leaves the lane where it is.
    #[cfg(not(loom))]
    pub(crate) fn lose_at_once(
        &self,
        serial: u32,
        len: usize,
        level: u8,
        lose: impl FnOnce(&Memory),
    ) -> bool {
        let gate = self.gate();
        self.set_gate(0); // (R4, R7)
        barrier::light();
        let _reopen = Reopen { gate: &self.gate, to: gate };
        let full = self.full.get();
        // ord: Relaxed, ordered behind the gate by the barrier (R7).
        let is_mine = gate != 0 && serial == self.serial.load(Ordering::Relaxed) & !MARK;
        if !is_mine || full.levels >> level & 1 == 0 || len < full.len || full.left == 0 {
            return false;
        }
        self.full.set(Full { left: full.left - 1, ..full });
        // SAFETY: (attach) the mapping is alive while the producer has it.
        let memory = unsafe { &*self.memory.get() };
        let is_full = memory.head() == full.head;
        if is_full {
            lose(memory);
        }
        is_full
    }

    /// Serial number of the logger whose lane this is, stopped or not; 0 without a lane.
    #[cfg(not(loom))]
    pub(crate) fn owner(&self) -> u32 {
        self.owner.get()
    }

    #[inline(always)]
    fn gate(&self) -> u64 {
        // ord: Relaxed, this thread alone stores it.
        self.gate.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_gate(&self, gate: u64) {
        // ord: Relaxed, who stops a producer waits for `Reopen` alone.
        self.gate.store(gate, Ordering::Relaxed);
    }

    /// Takes the lane away, from any thread: writes that begin behind the caller's barrier for all
    /// processors take the cold way (R7).
    pub(crate) fn stop(&self) {
        // ord: Relaxed, ordered by the barrier that follows; a swap, so that of this and the step of
        // `set_marked` one comes behind the other (R8).
        self.serial.swap(0, Ordering::Relaxed);
    }

    /// True while a write may be under way that began before `stop`, for any thread (R7).
    pub(crate) fn is_writing(&self) -> bool {
        // ord: Acquire, pairs with the Release in `Reopen`.
        self.gate.load(weaken!("gate_load", Ordering::Acquire)) == 0 && !mutant("stop_blind")
    }

    /// Marks the producer, or takes the mark off; only its own thread does (R8).
    pub(crate) fn set_marked(&self, marked: bool) {
        let change = |serial: u32| {
            let changed = if marked { serial | MARK } else { serial & !MARK };
            (changed != serial).then_some(changed)
        };
        if mutant("mark_blind") {
            // ord: Relaxed, a mutant.
            let serial = self.serial.load(Ordering::Relaxed);
            // ord: Relaxed, a mutant.
            return change(serial)
                .into_iter()
                .for_each(|it| self.serial.store(it, Ordering::Relaxed));
        }
        // ord: Relaxed, as the load in `write`: what matters is that a stop is not undone.
        let _ = self.serial.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// What `write` is to be called with to reach this logger's lane, marked or not.
    #[inline(always)]
    pub(crate) fn key(&self, serial: u32) -> u32 {
        // ord: Relaxed, this thread alone marks; `write` finds out whether it was stopped.
        serial | (self.serial.load(Ordering::Relaxed) & MARK)
    }

    /// Takes over a lane whose head and tail are equal, and returns where its positions begin.
    ///
    /// # Safety
    ///
    /// The caller keeps `memory` alive until `detach`, and no other producer writes to it (R6).
    pub(crate) unsafe fn attach(&self, memory: &Memory, serial: u32, record_bytes_max: u64) -> u64 {
        // Behind every gate that this thread has seen (R5).
        let start = self.tail.get().max(self.gate()).next_multiple_of(8);
        let start = start + self.record_bytes_max.get().next_multiple_of(8);
        let start = if mutant("start_low") { self.tail.get() } else { start };
        for at in [word::HEAD, word::SLOTS[0], word::TAIL] {
            // ord: Relaxed, the lane is published to the consumer by joining the registry.
            memory.word(at).store(start, Ordering::Relaxed);
        }
        self.set_gate(CLOSED);
        self.tail.set(start);
        self.mask.set(memory.data_len() as u64 - 1);
        self.data.set(memory.data());
        self.tail_word.set(memory.word(word::TAIL));
        self.memory.set(memory);
        self.record_bytes_max.set(record_bytes_max);
        // ord: Relaxed, its thread's own until the lane has joined.
        self.serial.store(serial, Ordering::Relaxed);
        self.owner.set(serial);
        self.full.set(Full::NOT);
        start
    }

    /// Goes on at a position that a model knows, with nothing written yet.
    #[cfg(loom)]
    pub(crate) fn move_to(&self, tail: u64) {
        self.tail.set(tail);
    }

    /// Lets go of the lane; the next write takes the cold way.
    pub(crate) fn detach(&self) {
        self.stop();
        self.owner.set(0);
        self.full.set(Full::NOT);
        self.set_gate(CLOSED.max(self.tail.get()));
        self.memory.set(std::ptr::null());
    }

    /// Writes one record of `len` bytes, head included, if the gate is open that far and the lane
    /// is that of the logger `serial`. `record` gets exactly its bytes.
    ///
    /// Returns false when the cold way has to be taken; nothing is written then.
    #[inline(always)]
    pub(crate) fn write(&self, serial: u32, len: usize, record: impl Fill) -> bool {
        let gate = self.gate();
        if !mutant("gate_open") {
            self.set_gate(0); // (R4, R7)
        }
        // Orders this thread with its signal handlers, and with who stops it.
        barrier::light();
        let _reopen = Reopen { gate: &self.gate, to: gate };
        let tail = self.tail.get();
        // ord: Relaxed, ordered behind the gate by the barrier (R7).
        if tail + len as u64 > gate || serial != self.serial.load(Ordering::Relaxed) {
            return false;
        }
        debug_assert!(len.is_multiple_of(8) && len >= HEAD_BYTES);
        // SAFETY: (R2, R5) the gate says that these bytes are the producer's and do not wrap.
        let bytes = unsafe { self.bytes(tail, len) };
        lines::ask_ahead::<AHEAD_BYTES>(self.data.get(), (tail & self.mask.get()) as usize, len);
        record.fill(bytes);
        self.commit(tail + len as u64);
        true
    }

    /// # Safety
    ///
    /// The bytes are the producer's (R2) and do not wrap (R3).
    #[expect(clippy::mut_from_ref, reason = "the bytes are shared memory, not the producer's own")]
    #[inline(always)]
    unsafe fn bytes(&self, position: u64, len: usize) -> &mut [u8] {
        let at = (position & self.mask.get()) as usize;
        #[cfg(loom)]
        {
            // SAFETY: as in the other arm.
            let memory = unsafe { &*self.memory.get() };
            // SAFETY: as in the other arm.
            return unsafe { memory.owned(at, len) };
        }
        #[cfg(not(loom))]
        {
            // SAFETY: within the mapping, by the mask and R3.
            let first = unsafe { self.data.get().add(at) };
            // SAFETY: (R2) by the caller.
            unsafe { std::slice::from_raw_parts_mut(first, len) }
        }
    }

    #[inline(always)]
    fn commit(&self, tail: u64) {
        self.tail.set(tail);
        // SAFETY: (attach) the mapping is alive while the producer has it.
        let word = unsafe { &*self.tail_word.get() };
        // ord: Release, so that the Acquire in `Memory::tail` sees the record before the tail.
        word.store(tail, weaken!("tail_store", Ordering::Release));
    }

    /// True when this thread is inside `write`: the caller is a signal handler (R4).
    pub(crate) fn is_busy(&self) -> bool {
        self.gate() == 0
    }

    /// Opens the gate for a record of `len` bytes, with a pad at the buffer's end if need be.
    ///
    /// Only for a producer with a lane, on the cold way; `len` is at most `record_bytes_max`.
    pub(crate) fn refill(&self, len: usize) -> Room {
        // SAFETY: (attach) the mapping is alive while the producer has it.
        let memory = unsafe { &*self.memory.get() };
        let capacity = memory.data_len() as u64;
        let len = len as u64;
        debug_assert!(len <= self.record_bytes_max.get() && len <= capacity / 2);
        if !mutant("refill_open") {
            self.set_gate(CLOSED); // (R4)
        }
        // ord: Acquire, pairs with the Release in `Memory::publish_head`: the bytes are free.
        let head = memory.word(word::HEAD).load(weaken!("head_load", Ordering::Acquire));
        let full_at = head + capacity;
        let mut tail = self.tail.get();
        let mut end = (tail | (capacity - 1)) + 1;
        if tail + len > end {
            if end > full_at && !mutant("pad_unfree") {
                return Room::Full;
            }
            self.pad(tail, end);
            tail = end;
            end += capacity;
        }
        if tail + len > full_at {
            return Room::Full;
        }
        let mark_at = head + capacity / 4;
        let marked = tail + len > mark_at;
        let open_to = full_at.min(end).min(tail + self.record_bytes_max.get());
        let gate = if marked { open_to } else { open_to.min(mark_at) };
        debug_assert!(tail + len <= gate);
        self.set_gate(gate);
        Room::Open { marked }
    }

    fn pad(&self, tail: u64, end: u64) {
        if mutant("pad_late") {
            self.commit(end);
        }
        let len = (end - tail) as usize;
        // SAFETY: (R2) the caller found `[tail, end)` free, and it ends with the buffer.
        let bytes = unsafe { self.bytes(tail, len) };
        let words = (len.saturating_sub(HEAD_BYTES) / 8) as u16;
        let word = Head::word(0, words, RECORD_PAD, 0).to_le_bytes();
        bytes[..8].copy_from_slice(&word);
        self.commit(end);
    }
}

impl Memory {
    /// Position behind the last committed record.
    pub(crate) fn tail(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `Producer::commit`: the bytes are there.
        self.word(word::TAIL).load(weaken!("tail_load", Ordering::Acquire))
    }

    /// Position of the oldest record that was not taken.
    pub(crate) fn head(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `publish_head`, for observers.
        self.word(word::HEAD).load(Ordering::Acquire)
    }

    /// Lends the committed bytes from `head` up to `tail` or the buffer's end.
    ///
    /// # Safety
    ///
    /// The caller is the consumer; `head` is its own, `tail` came from [`Memory::tail`] (R2).
    pub(crate) unsafe fn committed(&self, head: u64, tail: u64) -> &[u8] {
        let capacity = self.data_len() as u64;
        assert!(head <= tail && tail - head <= capacity, "R1 broken");
        let end = ((head | (capacity - 1)) + 1).min(tail);
        let at = (head & (capacity - 1)) as usize;
        // SAFETY: (R2) committed, and the producer waits for the head to pass.
        unsafe { self.published(at, (end - head) as usize) }
    }

    /// Gives the bytes before `head` back to the producer. `n_taken` counts the records taken
    /// since the hand-out, `evicted` those that went otherwise; `slot` alternates.
    pub(crate) fn publish_head(&self, head: u64, n_taken: u64, evicted: &Evicted, slot: usize) {
        let slot = word::SLOTS[slot & 1];
        // ord: Release, behind the head that made the other slot the valid one: who sees this count
        // sees that head too when it looks again (S4).
        self.word(slot + 1).store(n_taken, weaken!("slot_store", Ordering::Release));
        for (at, count) in evicted.iter().enumerate() {
            // ord: Release, as above.
            self.word(slot + 2 + at).store(*count, Ordering::Release);
        }
        if mutant("slot_late") {
            // ord: Release, a mutant.
            self.word(word::HEAD).store(head, Ordering::Release);
        }
        // ord: Release, as above.
        self.word(slot).store(head, weaken!("slot_store", Ordering::Release));
        // ord: Release, pairs with the Acquire in `Producer::refill` and `Memory::head`.
        self.word(word::HEAD).store(head, weaken!("head_store", Ordering::Release));
    }
}
