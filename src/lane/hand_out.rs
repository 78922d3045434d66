//! Hand-out: one lane in the hands of one thread, until the scribe has emptied it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::levels;
use super::memory::{HEADER_BYTES, Memory};
use super::outlet::Outlet;
use super::park::{End, Park};
use super::ring::{EVICTED_WORDS, LANE_MAGIC, LANE_VERSION, LOSS_WORDS, word};
use super::seat::Seat;
use crate::record::{CAUSES, Cause, Head, LEVELS, Level, Losses};

/// What came of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evicting {
    /// There is room.
    Done,
    /// Another thread is the consumer at this moment.
    Busy,
    /// A record is in the way that is kept.
    Kept,
}

/// One hand-out of a lane to one thread.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) memory: Arc<Memory>,
    /// The lane's number within its logger: which file.
    pub(crate) id: u32,
    /// The place's round when its memory was made: another means that it has no name any more.
    pub(crate) round: u64,
    /// Number of the hand-out within its logger.
    pub(crate) generation: u32,
    /// The thread's id; 0 for the common lane.
    pub(crate) tid: u32,
    /// The thread's name, empty when it has none.
    pub(crate) thread: String,
    /// The producer will never write again.
    ended: End,
    /// Where its records are taken, or evicted.
    pub(crate) outlet: Outlet,
    /// The lane that the same thread had before, which has to be emptied first.
    before: Mutex<Option<Arc<Lane>>>,
    park: Park,
    /// How far the lane was taken when a wait ran out, for the scribe and for the spiller, by
    /// ordinary records and by kept ones: until it goes on, nobody waits.
    pub(super) gave_up_at: [AtomicU64; 4],
    /// Its producer found it full and asks for the spiller.
    overflows: AtomicBool,
    /// Where its producer can be stopped.
    pub(super) seat: Seat,
    /// Its producer is to write no more, since the lane's file goes.
    stopped: AtomicBool,
}

impl Lane {
    /// The bytes.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Says that the producer, which is detached by now, will never write again.
    pub(crate) fn end(&self) {
        self.seat.leave();
        self.ended.set();
    }

    /// Stops the producer, from any thread; its later calls find out on the cold way. What it
    /// commits is final behind a barrier and when it `is_writing` no more.
    pub(crate) fn stop(&self) {
        // ord: Release, pairs with the Acquire in `is_stopped`.
        self.stopped.store(true, Ordering::Release);
        self.seat.with(super::ring::Producer::stop);
    }

    /// True when the lane's file goes, or is gone: what is written to it would be lost.
    pub(crate) fn is_stopped(&self) -> bool {
        // ord: Acquire, pairs with the Release in `stop`.
        self.stopped.load(Ordering::Acquire)
    }

    /// True while a write that began before `stop` may be under way.
    pub(super) fn is_writing(&self) -> bool {
        self.seat.with(super::ring::Producer::is_writing).unwrap_or(false)
    }

    /// True when the producer will never write again; its tail is final then.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_set()
    }

    /// The hand-out that the thread had before this one, until it is empty: its records come first.
    /// Only the scribe calls it, or who looks after a recorder's lanes.
    pub(crate) fn older_with_records(&self) -> Option<u32> {
        let mut before = self.before.lock();
        let is_empty = before.as_ref().is_none_or(|before| {
            before.outlet.is_closed() || before.is_ended() && before.memory.head() == before.memory.tail()
        });
        if is_empty {
            *before = None;
        }
        before.as_ref().map(|before| before.generation)
    }

    /// The hand-out that the thread had before this one, as long as nobody asked whether it is empty.
    pub(crate) fn before(&self) -> Option<Arc<Self>> {
        self.before.lock().clone()
    }

    /// Evicts records of this thread, oldest hand-out first, until this lane's head has come to
    /// `target`; one at or above `kept` stops it. The producer calls it, which alone hands out lanes
    /// to its thread, so that the older ones stay what they are.
    pub(super) fn evict(&self, target: u64, kept: Option<Level>) -> Evicting {
        // Taken by the scribe for moments, to see whether the older lane is empty.
        let Some(before) = self.before.try_lock().map(|before| before.clone()) else {
            return Evicting::Busy;
        };
        if let Some(before) = before.filter(|before| !before.outlet.is_closed()) {
            match before.evict(u64::MAX, kept) {
                Evicting::Done => {}
                // Meanwhile the scribe has taken what was left, also what is kept.
                _ if before.outlet.is_closed() => {}
                other => return other,
            }
        }
        let Some(mut taking) = self.outlet.try_take() else { return Evicting::Busy };
        let class = |head: &Head| {
            let level = levels::of(head.callsite);
            let is_kept = kept.is_some_and(|kept| level >= kept);
            (!is_kept).then_some(level as usize)
        };
        if taking.evict(target, class) > 0 {
            // ord: Release, pairs with the Acquire in `losses_version`: the counts are there. Under
            // the lock, so that the scribe's next look tells them.
            self.memory.word(word::LOSSES_VERSION).fetch_add(1, Ordering::Release);
        }
        let is_done = taking.head() >= target.min(self.memory.tail());
        if is_done { Evicting::Done } else { Evicting::Kept }
    }

    /// Waits until the consumer has taken something, or for `timeout`. `head` is what the producer
    /// saw last.
    pub(crate) fn wait_for_room(&self, head: u64, timeout: Duration) {
        self.park.wait(timeout, || self.memory.head() == head);
    }

    /// Wakes the producer if it waits. The scribe calls it behind `park::fence_heads`.
    pub(crate) fn wake_producer(&self) {
        self.park.wake();
    }

    /// Asks for the spiller.
    pub(super) fn set_overflows(&self) {
        // ord: Relaxed, published by `Overflow::want`.
        self.overflows.store(true, Ordering::Relaxed);
    }

    /// True while the producer asks for the spiller.
    pub(crate) fn overflows(&self) -> bool {
        // ord: Relaxed, a check.
        self.overflows.load(Ordering::Relaxed)
    }

    /// True once after the producer asked for the spiller.
    pub(crate) fn take_overflows(&self) -> bool {
        // ord: Relaxed, a check; seen behind `Overflow::want`, or a millisecond later.
        self.overflows.load(Ordering::Relaxed) && self.overflows.swap(false, Ordering::Relaxed)
    }

    /// Counts events that this lane did not accept, or whose bytes its consumer cannot read.
    pub(crate) fn count_loss(&self, cause: Cause, level: Level, count: u64) {
        count_loss(&self.memory, cause, level, count);
    }

    /// Counts a record that was cut.
    pub(crate) fn count_truncated(&self) {
        // ord: Relaxed, a counter.
        self.memory.word(word::TRUNCATED).fetch_add(1, Ordering::Relaxed);
    }

    /// Number of records that were cut.
    pub(crate) fn truncated(&self) -> u64 {
        // ord: Relaxed, a counter.
        self.memory.word(word::TRUNCATED).load(Ordering::Relaxed)
    }

    /// Changes whenever a loss was counted.
    pub(crate) fn losses_version(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `count_loss`.
        self.memory.word(word::LOSSES_VERSION).load(Ordering::Acquire)
    }

    /// How far the lane was committed at its last loss.
    pub(crate) fn lost_at(&self) -> u64 {
        // ord: Relaxed, behind the version.
        self.memory.word(word::LOST_AT).load(Ordering::Relaxed)
    }

    /// Cumulative losses since the hand-out.
    pub(crate) fn losses(&self) -> Losses {
        let mut losses = Losses::NONE;
        for at in 0..LOSS_WORDS {
            // ord: Relaxed, counters.
            let count = self.memory.word(word::LOSSES + at).load(Ordering::Relaxed);
            let level = Level::ALL[at % LEVELS];
            losses.set(Cause::ALL[at / LEVELS], level, count);
        }
        for (level, count) in Level::ALL.into_iter().zip(self.outlet.evicted()) {
            losses.set(Cause::Evicted, level, count);
        }
        losses
    }

    pub(super) fn write_identity(&self, logger: u64) {
        let memory = &*self.memory;
        // ord: Release, a reader that copies the header sees no identity while it changes (S5).
        memory.word(word::GENERATION).store(0, Ordering::Release);
        let mut name = [0; 64];
        let len = crate::record::thread_name_bytes(&self.thread).len();
        name[..len].copy_from_slice(&self.thread.as_bytes()[..len]);
        let lane = u64::from(self.id) | u64::from(std::process::id()) << 32;
        let words = [
            (word::MAGIC, LANE_MAGIC),
            (word::VERSION, LANE_VERSION | (HEADER_BYTES as u64) << 32),
            (word::LOGGER, logger),
            (word::LANE, lane),
            (word::CAPACITY, memory.data_len() as u64),
            (word::TID, u64::from(self.tid)),
            (word::NAME_LEN, len as u64),
        ];
        let zeros = (word::LOSSES..word::END).map(|at| (at, 0));
        let slot = |at: usize| (at..at + 2 + EVICTED_WORDS).map(|at| (at, 0));
        let slots = word::SLOTS.into_iter().flat_map(slot);
        for (at, value) in words.into_iter().chain(zeros).chain(slots) {
            // ord: Relaxed, published by the Release of the generation.
            memory.word(at).store(value, Ordering::Relaxed);
        }
        for (at, bytes) in name.as_chunks::<8>().0.iter().enumerate() {
            // ord: Relaxed, as above.
            memory.word(word::NAME + at).store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Makes the identity valid; head and tail are set by now.
    pub(crate) fn publish(&self) {
        self.outlet.begin();
        let generation = u64::from(self.generation);
        // ord: Release, after the identity and the positions.
        self.memory.word(word::GENERATION).store(generation, Ordering::Release);
    }
}

impl Lane {
    pub(super) fn new(
        memory: Arc<Memory>,
        (id, round): (u32, u64),
        generation: u32,
        tid: u32,
        thread: String,
        before: Option<Arc<Self>>,
    ) -> Self {
        Self {
            outlet: Outlet::new(memory.clone()),
            memory,
            id,
            round,
            generation,
            tid,
            thread,
            ended: End::new(),
            gave_up_at: [const { AtomicU64::new(u64::MAX) }; 4],
            before: Mutex::new(before),
            park: Park::new(),
            overflows: AtomicBool::new(false),
            seat: Seat::new(),
            stopped: AtomicBool::new(false),
        }
    }
}

/// Counts events that a lane did not accept, where its readers find it.
pub(super) fn count_loss(memory: &Memory, cause: Cause, level: Level, count: u64) {
    let at = word::LOSSES + cause as usize * LEVELS + level as usize;
    // ord: Relaxed, published by the version; where several threads count, any of theirs. Before the
    // count, so that a process that is killed in between has counted nothing at an older place.
    memory.word(word::LOST_AT).store(memory.tail(), Ordering::Relaxed);
    // ord: Relaxed, a counter with several writers.
    memory.word(at).fetch_add(count, Ordering::Relaxed);
    // ord: Release, pairs with the Acquire in `losses_version`: the count is there.
    memory.word(word::LOSSES_VERSION).fetch_add(1, Ordering::Release);
}

const _: () = assert!(CAUSES * LEVELS == LOSS_WORDS);
