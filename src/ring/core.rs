//! Core: what a ring and its handles share, and the way of an item in and out.

use std::fmt;
use std::time::{Duration, Instant};

use super::policy::{BackPressurePolicy, Debt, PushError};
use super::position::Refusal;
use super::slot::{Slots, Turn};
use super::stats::{Latencies, Stats};
use super::wait::{Fences, PATIENCE_TAKES, Pushers, Takers};
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::plain::OnceLock;
use crate::sync::{MODELLED, mutant, thread};

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
    /// True while a [`super::ConsumerHandle`] lives.
    consumer_taken: AtomicBool,
    /// How many can push, the ring itself and its producer handles; the ring closes with the last.
    pushing: AtomicUsize,
    /// How many can take, the ring itself and its consumer handle; it closes with the last.
    taking: AtomicUsize,
    returned: AtomicU64,
    blocked_ns: AtomicU64,
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
                "a ring that spills to disk comes with spill files and is made by `with_spill`; \
                 use Block, DropOldest or DropNewest here",
            ));
        }
        let patience_takes = matches!(policy, BackPressurePolicy::Block).then_some(PATIENCE_TAKES);
        let slots = Slots::new(capacity, start).ok_or_else(|| {
            Error::config(format!("a ring of {capacity} items cannot be addressed; use fewer"))
        })?;
        Ok(Self {
            slots,
            fences: Fences::new(),
            latencies: OnceLock::new(),
            policy,
            takers: Takers::new(),
            pushers: Pushers::new(patience_takes),
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
        let began = Instant::now();
        let outcome = self.push_until(item, None);
        if let Some(latencies) = self.latencies.get() {
            latencies.push.record(began.elapsed());
        }
        outcome
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

    /// Follows every published head: wakes producers that wait for room.
    #[inline]
    pub(super) fn freed(&self) {
        if mutant("freed_silent") {
            return;
        }
        if self.fences.someone_sleeps(self.slots.at.pusher_sleeps()) {
            self.pushers.grant(&self.slots.at);
        }
    }

    /// Follows every turn: wakes producers that wait for room, and takers that wait for a turn.
    #[inline]
    pub(super) fn turn_ended(&self) {
        let at = &self.slots.at;
        self.freed();
        // ord: Relaxed, ordered by the fence that was run just now.
        if at.turn_wanted().load(Ordering::Relaxed) && !cfg!(ring_mutant = "turn_unseen") {
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
        let began = self.latencies.get().map(|_| Instant::now());
        let mut turn = self.turn(taker)?;
        let count = turn.take_into(out, max);
        if count > 0 {
            self.slots.at.add_take();
        }
        drop(turn);
        self.turn_ended();
        if let (Some(began), Some(latencies)) = (began, self.latencies.get()) {
            latencies.drain.record(began.elapsed());
        }
        Ok(count)
    }

    pub(super) fn take_one(&self, taker: Taker) -> Option<T> {
        let mut turn = self.turn(taker).ok()?;
        let item = turn.take_one();
        if item.is_some() {
            self.slots.at.add_take();
        }
        drop(turn);
        self.turn_ended();
        item
    }

    pub(super) fn close(&self) {
        self.slots.at.close();
        if cfg!(ring_mutant = "close_silent") {
            return;
        }
        self.takers.wake_all(&self.slots.at);
        self.pushers.wake_all(&self.slots.at);
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
        self.takers.wake_all(&self.slots.at);
        self.taker_left();
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
        let counts = self.slots.at.counts();
        let latencies = self.latencies.get();
        Stats {
            capacity: self.slots.at.capacity(),
            len: (counts.accepted - counts.taken) as usize,
            pushed: counts.accepted + returned,
            delivered: counts.taken - counts.evicted,
            evicted: counts.evicted,
            returned,
            spilled: 0,
            takes: self.slots.at.takes(),
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
            .field("len", &self.slots.at.len())
            .field("capacity", &self.slots.at.capacity())
            .field("policy", &self.policy)
            .field("closed", &self.slots.at.is_closed())
            .finish_non_exhaustive()
    }
}
