//! Core: what a ring and its handles share, and the way of an item in and out.

use std::fmt;
use std::time::{Duration, Instant};

use super::policy::{BackPressurePolicy, Debt, PushError};
use super::position::Refusal;
use super::slot::{Slots, Turn};
use super::stats::{Histogram, Latencies, Stats};
use super::wait::{Fences, PATIENCE_TAKES, Pushers, Takers, wake_each};
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::plain::OnceLock;
use crate::sync::{MODELLED, deadline, mutant, thread};

/// How often a taker looks again when another thread moves the head: that takes it a moment.
const TURN_SPINS: usize = if MODELLED { 0 } else { 32 };

/// What a ring and its handles share.
pub(super) struct Core<T> {
    pub(super) slots: Slots<T>,
    pub(super) fences: Fences,
    pub(super) latencies: OnceLock<Box<Latencies>>,
    pub(super) policy: BackPressurePolicy,
    pub(super) takers: Takers,
    pub(super) pushers: Pushers,
    /// Where a ring goes on that spills.
    pub(super) overflow: Option<Box<dyn Overflow<T>>>,
    /// True while a [`super::ConsumerHandle`] lives.
    consumer_taken: AtomicBool,
    /// How many can push, the ring itself and its producer handles; the ring closes with the last.
    pushing: AtomicUsize,
    /// How many can take, the ring itself and its consumer handle; it closes with the last.
    taking: AtomicUsize,
    returned: AtomicU64,
    blocked_ns: AtomicU64,
}

/// Where items go for which there is no room, and from where they come back.
pub(super) trait Overflow<T>: Send + Sync {
    /// Pushes an item that found no room.
    fn push(&self, core: &Core<T>, item: T) -> Result<(), PushError<T>>;

    /// Takes items from the front on, and says how many: none if there is room by now.
    fn put(&self, core: &Core<T>, items: &[T]) -> Result<usize, PushError<()>>;

    /// Moves items into slots, as far as there is room, and notes what was taken.
    fn refill(&self, core: &Core<T>);

    /// Items that are there alone.
    fn len(&self) -> usize;

    fn counts(&self) -> OverflowCounts;
}

/// What went through an overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OverflowCounts {
    /// Items that came into slots from there.
    pub(super) moved: u64,
    pub(super) spilled: u64,
    pub(super) damaged: u64,
    pub(super) taken_up: u64,
    pub(super) len: u64,
}

/// On whose behalf items are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taker {
    /// The ring's own methods, which stand back while a handle lives.
    Ring,
    Handle,
}

/// The head is not to be had: another thread moves it, or a handle keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl<T> Core<T> {
    pub(super) fn new(
        capacity: usize,
        policy: BackPressurePolicy,
        start: u64,
    ) -> Result<Self, Error> {
        if capacity == 0 {
            return Err(Error::config("a ring needs room for one item at least; use capacity 1"));
        }
        if matches!(policy, BackPressurePolicy::SpillToDisk(_)) {
            return Err(Error::config(
                "a ring that spills to disk comes with spill files and is made by `with_spill` \
                 (feature `serde`); use Block, DropOldest or DropNewest here",
            ));
        }
        let patience_takes = matches!(policy, BackPressurePolicy::Block).then_some(PATIENCE_TAKES);
        let slots = Slots::new(capacity, start).ok_or_else(|| {
            Error::config(format!("there is no memory for a ring of {capacity} items; use fewer"))
        })?;
        Ok(Self {
            slots,
            fences: Fences::new(),
            latencies: OnceLock::new(),
            policy,
            takers: Takers::new(),
            pushers: Pushers::new(patience_takes),
            overflow: None,
            consumer_taken: AtomicBool::new(false),
            pushing: AtomicUsize::new(1),
            taking: AtomicUsize::new(1),
            returned: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
        })
    }

    #[inline(always)]
    pub(super) fn push(&self, item: T) -> Result<(), PushError<T>> {
        if self.latencies.get().is_some() {
            return self.push_timed(item);
        }
        self.push_until(item, None)
    }

    #[cold]
    fn push_timed(&self, item: T) -> Result<(), PushError<T>> {
        let began = self.began();
        let outcome = self.push_until(item, None);
        self.ended(began, |latencies| &latencies.push);
        outcome
    }

    pub(super) fn push_timeout(&self, item: T, timeout: Duration) -> Result<(), PushError<T>> {
        let began = self.began();
        let outcome = self.push_until(item, Some(deadline(timeout)));
        self.ended(began, |latencies| &latencies.push);
        outcome
    }

    /// When a call began, if that is to be told.
    #[inline]
    pub(super) fn began(&self) -> Option<Instant> {
        self.latencies.get().map(|_| Instant::now())
    }

    /// Counts how long a call lasted.
    #[inline]
    pub(super) fn ended(&self, began: Option<Instant>, of: impl Fn(&Latencies) -> &Histogram) {
        if let (Some(began), Some(latencies)) = (began, self.latencies.get()) {
            of(latencies).record(began.elapsed());
        }
    }

    #[inline(always)]
    pub(super) fn push_until(
        &self,
        item: T,
        deadline: Option<Instant>,
    ) -> Result<(), PushError<T>> {
        match self.slots.claim(1) {
            Ok(claim) => {
                claim.fill(item);
                self.committed();
                Ok(())
            }
            Err(refusal) => self.push_refused(item, refusal, deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_refused(
        &self,
        item: T,
        refusal: Refusal,
        deadline: Option<Instant>,
    ) -> Result<(), PushError<T>> {
        if let Some(overflow) = self.overflow.as_ref().filter(|_| refusal == Refusal::Full) {
            return overflow.push(self, item);
        }
        let item = match refusal {
            Refusal::Full => match self.push_evicting_one(item) {
                Ok(()) => return Ok(()),
                Err(item) => item,
            },
            // Who is refused for good does not lock the head: one who takes would find nothing.
            Refusal::Closed => item,
        };
        let mut debt = Debt::none();
        let claimed = match refusal {
            Refusal::Full => self.claim_by_policy(1, deadline, &mut debt),
            Refusal::Closed => Err(Refusal::Closed),
        };
        match claimed {
            Ok(claim) => {
                claim.fill(item);
                self.committed();
                Ok(())
            }
            Err(refusal) => {
                self.add_returned(1);
                Err(PushError::new(refusal, item))
            }
        }
    }

    /// Follows every commit: wakes a sleeping consumer.
    #[inline(always)]
    pub(super) fn committed(&self) {
        if self.fences.someone_sleeps(self.slots.at.taker_sleeps()) {
            self.takers.wake_all(&self.slots.at);
        }
    }

    /// Follows every published head: wakes producers that wait for room, or what lies in files.
    #[inline]
    pub(super) fn freed(&self) {
        if mutant("freed_silent") {
            return;
        }
        if self.fences.someone_sleeps(self.slots.at.consumer.pusher_sleeps()) {
            self.room_came();
        }
    }

    #[cold]
    fn room_came(&self) {
        match &self.overflow {
            Some(overflow) => overflow.refill(self),
            None => self.pushers.grant(&self.slots.at),
        }
    }

    /// Follows every turn: wakes producers that wait for room, and takers that wait for a turn.
    #[inline]
    pub(super) fn turn_ended(&self) {
        let at = &self.slots.at;
        self.freed();
        // ord: Relaxed, ordered by the fence that was run just now.
        if at.consumer.turn_wanted().load(Ordering::Relaxed) && !mutant("turn_unseen") {
            self.takers.wake_all(at);
        }
    }

    pub(super) fn turn_soon(&self) -> Option<Turn<'_, T>> {
        for _ in 0..TURN_SPINS {
            let turn = self.slots.turn();
            if turn.is_some() {
                return turn;
            }
            thread::spin_loop();
        }
        self.slots.turn()
    }

    #[inline]
    pub(super) fn turn(&self, taker: Taker) -> Result<Turn<'_, T>, Busy> {
        if taker == Taker::Ring && self.is_consumer_taken() {
            return Err(Busy);
        }
        match self.slots.turn() {
            Some(turn) => Ok(turn),
            None => self.turn_soon().ok_or(Busy),
        }
    }

    #[inline]
    pub(super) fn take_into(
        &self,
        taker: Taker,
        out: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, Busy> {
        let count = self.take_once(taker, out, max)?;
        if count == 0 && self.came_from_files() {
            return self.take_once(taker, out, max);
        }
        Ok(count)
    }

    /// True if a take that found nothing may have moved items into slots.
    #[cold]
    fn came_from_files(&self) -> bool {
        self.overflow.is_some() && self.slots.at.len() > 0
    }

    #[inline]
    fn take_once(&self, taker: Taker, out: &mut Vec<T>, max: usize) -> Result<usize, Busy> {
        let began = self.began();
        // Before the head is locked, so that whoever evicts meanwhile is not held up.
        let rested = self.slots.rest();
        let mut turn = self.turn(taker)?;
        let count = turn.take_into(out, max, rested);
        if count > 0 {
            self.slots.at.consumer.add_take();
        }
        drop(turn);
        self.turn_ended();
        self.ended(began, |latencies| &latencies.drain);
        Ok(count)
    }

    pub(super) fn take_one(&self, taker: Taker) -> Option<T> {
        let item = self.take_one_once(taker);
        if item.is_none() && self.came_from_files() {
            return self.take_one_once(taker);
        }
        item
    }

    fn take_one_once(&self, taker: Taker) -> Option<T> {
        let began = self.began();
        let mut turn = self.turn(taker).ok()?;
        let item = turn.take_one();
        if item.is_some() {
            self.slots.at.consumer.add_take();
        }
        drop(turn);
        self.turn_ended();
        self.ended(began, |latencies| &latencies.drain);
        item
    }

    /// Takes all that is there by now.
    pub(super) fn drain(&self, taker: Taker) -> Vec<T> {
        let spilled = self.overflow.as_ref().map_or(0, |overflow| overflow.len());
        let mut items = self.take_batch(taker, self.slots.at.capacity());
        let mut left = spilled;
        while left > 0
            && let Ok(count @ 1..) = self.take_into(taker, &mut items, left)
        {
            left -= count;
        }
        items
    }

    /// Items in slots and in files. Files first: what moves meanwhile is counted in the slots too.
    pub(super) fn len(&self) -> usize {
        let spilled = self.overflow.as_ref().map_or(0, |overflow| overflow.len());
        spilled + self.slots.at.len()
    }

    pub(super) fn close(&self) {
        self.slots.at.close();
        if mutant("close_silent") {
            return;
        }
        let takers = self.takers.leave(&self.slots.at);
        wake_each(takers.into_iter().chain(self.pushers.grant_all(&self.slots.at)));
    }

    fn is_consumer_taken(&self) -> bool {
        // ord: Relaxed, a courtesy: what keeps takers apart is the lock of the head (I4).
        self.consumer_taken.load(Ordering::Relaxed)
    }

    /// True if this call made the caller the ring's consumer.
    pub(super) fn take_role(&self) -> bool {
        // ord: Relaxed, as above.
        let taken = self.consumer_taken.swap(true, Ordering::Relaxed);
        if !taken {
            // ord: Relaxed, counted up by someone who is counted already.
            self.taking.fetch_add(1, Ordering::Relaxed);
        }
        !taken
    }

    pub(super) fn hand_role_back(&self) {
        // ord: Relaxed, as in `is_consumer_taken`; the list's lock makes it known to the woken.
        self.consumer_taken.store(false, Ordering::Relaxed);
        self.taker_left();
        self.takers.wake_all(&self.slots.at);
    }

    pub(super) fn taker_left(&self) {
        // ord: AcqRel, so that the last one closes after all that the others did.
        if self.taking.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    pub(super) fn pusher_came(&self) {
        // ord: Relaxed, counted up by someone who is counted already.
        self.pushing.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn pusher_left(&self) {
        // ord: AcqRel, as in `taker_left`.
        if self.pushing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    pub(super) fn add_returned(&self, count: usize) {
        // ord: counter.
        self.returned.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn add_blocked(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // ord: counter.
        self.blocked_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        // ord: counters, all of them.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let returned = read(&self.returned);
        let files = self.overflow.as_ref().map(|overflow| overflow.counts()).unwrap_or_default();
        let counts = self.slots.at.counts();
        let latencies = self.latencies.get();
        Stats {
            capacity: self.slots.at.capacity(),
            len: (counts.accepted - counts.taken + files.len) as usize,
            pushed: counts.accepted - files.moved + files.spilled + returned,
            delivered: counts.taken - counts.evicted,
            evicted: counts.evicted,
            returned,
            spilled: files.spilled,
            taken_up: files.taken_up,
            damaged: files.damaged,
            takes: self.slots.at.consumer.takes(),
            parked: read(&self.pushers.parked),
            blocked: Duration::from_nanos(read(&self.blocked_ns)),
            longest_wait_takes: read(&self.pushers.longest_wait_takes),
            push_latency: latencies.map(|latencies| latencies.push.quantiles()),
            drain_latency: latencies.map(|latencies| latencies.drain.quantiles()),
        }
    }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFreeRingBuffer")
            .field("len", &self.len())
            .field("capacity", &self.slots.at.capacity())
            .field("policy", &self.policy)
            .field("closed", &self.slots.at.is_closed())
            .finish_non_exhaustive()
    }
}
