//! Outlet: the consumer's end of a lane, in the hands of one thread at a time.
//!
//! As a rule that is the scribe. A producer whose policy is to evict takes the end for a moment when
//! its lane is full, and gives its own oldest records up.
#![expect(unsafe_code, reason = "lends a lane's bytes to its consumer; proof in O1 below")]
//!
//! # Invariants
//!
//! - **O1** Head and slots are written under the lock alone, and who has it is the lane's one
//!   consumer (R2): a record is taken or evicted, never both.
//! - **O2** Head, records taken and records evicted are published together (S4): who finds the head
//!   unchanged knows what became of every record before it. A record that was evicted has no number.
//! - **O3** Nobody waits for the lock: the scribe comes back with its next turn, a producer loses its
//!   new record.
//! - **O4** Nobody gets the lock of an outlet that was closed: the memory may be in other hands. Only
//!   an empty lane that has ended is closed. The scribe knows it to be empty when it closes it, since
//!   nobody writes behind the end; who looks after a recorder's lanes finds out here.
//! - **O5** Who evicts moves the head before it says that something was lost, both under the lock: a
//!   lane that looks empty may have losses to tell until its lock was had.

use super::memory::Memory;
use super::ring::{EVICTED_WORDS, Evicted};
use crate::record::{HEAD_BYTES, Head, Losses, RECORD_PAD};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, mutant};

/// The consumer's end of one hand-out.
#[derive(Debug)]
pub(crate) struct Outlet {
    memory: Arc<Memory>,
    state: Mutex<State>,
    /// Written under the lock; read by anybody.
    evicted: [AtomicU64; EVICTED_WORDS],
    /// Bytes that were evicted, pads included.
    evicted_bytes: AtomicU64,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    head: u64,
    n_taken: u64,
    slot: usize,
    /// Losses that runs have told; as a rule there are none, and lanes are many.
    told: Option<Box<Losses>>,
}

/// The lane's consumer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    outlet: &'a Outlet,
    state: MutexGuard<'a, State>,
}

impl Outlet {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            state: Mutex::new(State::default()),
            evicted: std::array::from_fn(|_| AtomicU64::new(0)),
            evicted_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Begins where the lane does, before anybody can take.
    pub(crate) fn begin(&self) {
        self.state.lock().head = self.memory.head();
    }

    /// Makes the caller the consumer; `None` when another thread is, or the outlet is closed.
    pub(crate) fn try_take(&self) -> Option<Taking<'_>> {
        let early = if mutant("head_before_lock") { self.memory.head() } else { 0 };
        let mut state = self.state.try_lock()?;
        if mutant("head_before_lock") {
            state.head = early;
        }
        (!self.is_closed() || mutant("close_open")).then_some(Taking { outlet: self, state })
    }

    /// Closes the outlet of a lane that has ended, if nothing is left in it, and `is_told`, which is
    /// asked under the lock, says so of what was lost (O5); false as well when another thread is its
    /// consumer.
    pub(crate) fn close(&self, is_told: impl FnOnce() -> bool) -> bool {
        let Some(state) = self.state.try_lock() else { return false };
        let is_empty = state.head == self.memory.tail() || mutant("close_full");
        let is_over = is_empty && (is_told() || mutant("close_untold"));
        if is_over {
            // ord: Relaxed, the lock orders it.
            self.closed.store(true, Ordering::Relaxed);
        }
        is_over
    }

    /// True when the lane was emptied for good.
    pub(crate) fn is_closed(&self) -> bool {
        // ord: Relaxed, under the lock, or by the thread that closes it.
        self.closed.load(Ordering::Relaxed)
    }

    /// How far a lane that was emptied has come: the position behind its last record, the number of
    /// records that were taken, and the losses that runs have told.
    #[cfg(not(loom))]
    pub(crate) fn reached(&self) -> (u64, u64, Losses) {
        let state = self.state.lock();
        (state.head, state.n_taken, state.told.as_deref().copied().unwrap_or(Losses::NONE))
    }

    /// How many records were evicted so far, by what they were told apart by.
    pub(crate) fn evicted(&self) -> Evicted {
        // ord: Relaxed, counters.
        std::array::from_fn(|at| self.evicted[at].load(Ordering::Relaxed))
    }

    /// A number that changes when the scribe has taken something, and not when a producer has
    /// evicted something. Only for a lane whose producer is the caller, or with a wrong answer for a
    /// moment.
    #[cfg(not(loom))]
    pub(crate) fn progress(&self) -> u64 {
        // ord: Relaxed, a producer's own counter; of the common lane another's, which may be ahead.
        self.memory.head().wrapping_sub(self.evicted_bytes.load(Ordering::Relaxed))
    }
}

impl Taking<'_> {
    /// Position of the oldest record that is left.
    pub(crate) fn head(&self) -> u64 {
        self.state.head
    }

    /// Losses that runs have told so far.
    pub(crate) fn told(&self) -> Losses {
        self.state.told.as_deref().copied().unwrap_or(Losses::NONE)
    }

    /// Notes what a run tells anew, also for who reads the lane when its process is dead: what was
    /// lost beyond that stands behind the records that are left.
    pub(crate) fn set_told(&mut self, losses: Losses) {
        **self.state.told.get_or_insert_default() = losses;
        #[cfg(not(loom))]
        for (cause, level, count) in losses.iter() {
            let at = super::ring::word::TOLD + cause as usize * crate::record::LEVELS;
            // ord: Relaxed, before the head that `give_back` publishes.
            self.outlet.memory.word(at + level as usize).store(count, Ordering::Relaxed);
        }
    }

    /// Records taken since the hand-out.
    pub(crate) fn n_taken(&self) -> u64 {
        self.state.n_taken
    }

    /// The committed bytes from the head up to `until`, a tail that was read before, or to the
    /// buffer's end.
    pub(crate) fn committed(&self, until: u64) -> &[u8] {
        // SAFETY: (O1) this is the one consumer, and it cannot move the head while it has the bytes.
        unsafe { self.outlet.memory.committed(self.state.head, until.max(self.state.head)) }
    }

    /// Gives bytes back to the producer that held this many records, which are elsewhere by now.
    pub(crate) fn give_back(&mut self, bytes: u64, records: u64) {
        self.state.head += bytes;
        self.state.n_taken += records;
        self.publish();
    }

    /// Evicts whole records, oldest first, until the head has come to `target`. `class` tells by
    /// what a record is counted, and stops the eviction by `None`. Returns how many went.
    pub(crate) fn evict(
        &mut self,
        target: u64,
        mut class: impl FnMut(&Head) -> Option<usize>,
    ) -> u64 {
        let tail = self.outlet.memory.tail();
        let target = target.min(tail);
        let before = self.state.head;
        let (mut counts, mut goes_on) = (self.outlet.evicted(), true);
        while goes_on && self.state.head < target {
            let bytes = self.committed(tail);
            let mut at = 0;
            while at < bytes.len() && self.state.head + (at as u64) < target {
                let rest = &bytes[at..];
                let Some(record) = Head::read(rest) else {
                    // A pad without room for a head, at the buffer's end.
                    goes_on = rest.len() < HEAD_BYTES;
                    at += if goes_on { rest.len() } else { 0 };
                    break;
                };
                if record.kind != RECORD_PAD {
                    let Some(class) = class(&record) else {
                        goes_on = false;
                        break;
                    };
                    counts[class % EVICTED_WORDS] += 1;
                }
                at += record.len();
            }
            self.state.head += at as u64;
        }
        if self.state.head == before {
            return 0;
        }
        let count = counts.iter().sum::<u64>() - self.outlet.evicted().iter().sum::<u64>();
        if mutant("evicted_late") {
            self.publish();
        }
        for (word, count) in self.outlet.evicted.iter().zip(counts) {
            // ord: Relaxed, a counter with one writer at a time (O1).
            word.store(count, Ordering::Relaxed);
        }
        // ord: Relaxed, as above.
        let bytes = self.outlet.evicted_bytes.load(Ordering::Relaxed);
        // ord: Relaxed, as above.
        self.outlet.evicted_bytes.store(bytes + self.state.head - before, Ordering::Relaxed);
        self.publish();
        count
    }

    fn publish(&mut self) {
        self.state.slot ^= 1;
        let State { head, n_taken, slot, .. } = *self.state;
        self.outlet.memory.publish_head(head, n_taken, &self.outlet.evicted(), slot);
    }
}
