//! Progress: what is asked of the scribe, what is written and durable so far, and who waits for it.

use std::collections::{HashMap, HashSet};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::monitor::{Condvar, Guard, Mutex};
use crate::ring::{BackPressurePolicy, LockFreeRingBuffer};

/// Requests that fit before those who ask wait for the scribe, which takes all in each turn.
pub(super) const ASKED_MAX: usize = 64;

/// What a caller asks of the scribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Everything accepted by now in a file.
    Flush,
    /// The same, and on the disk for good.
    Sync,
    /// A new segment.
    Rotate,
    /// The end: the calls have stopped.
    Shutdown,
    /// The process ends while other threads may go on; the thread that asks is this one.
    Exit(u32),
}

/// The number of something that was asked for.
pub(crate) type Ticket = u64;

/// How far the answer to a ticket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    /// Blocks up to this number have to be written.
    blocks: u64,
    /// They have to be durable too.
    durable: bool,
}

#[derive(Debug, Default)]
struct State {
    n_tickets: Ticket,
    goals: HashMap<Ticket, Goal>,
    /// Tickets whose callers went away before they had a goal.
    abandoned: HashSet<Ticket>,
    wakers: HashMap<Ticket, Waker>,
    /// Threads in `changed`: to notify it is a system call, also when there is none.
    n_waiting: usize,
    written: Mark,
    durable: Mark,
    /// Events in spill files, and those of them that are durable.
    spilled: u64,
    spilled_durable: u64,
    /// A sync of a spill file failed: what it holds may be missing after a power cut (S6).
    is_spill_suspect: bool,
    ended: bool,
    failing: Option<String>,
    suspect: Option<String>,
    io_reason: Option<String>,
    n_errors: u64,
    bytes_written: u64,
    segments: u64,
}

/// Blocks and events up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Blocks, in the order in which they were handed to the disk.
    pub(crate) blocks: u64,
    /// Events in them.
    pub(crate) events: u64,
}

/// Shared by handles, scribe and file thread. Its lock is never held across I/O.
#[derive(Debug)]
pub(crate) struct Progress {
    asked: LockFreeRingBuffer<(Ticket, Ask)>,
    state: Mutex<State>,
    changed: Condvar,
    /// What upkeep waits for: blocks, which come often, do not wake it.
    rolled: Condvar,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            asked: LockFreeRingBuffer::new(ASKED_MAX, BackPressurePolicy::Block),
            state: Mutex::default(),
            changed: Condvar::default(),
            rolled: Condvar::default(),
        }
    }
}

/// Why a wait ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The time ran out.
    Timeout,
    /// The scribe is gone.
    Ended,
    /// A sync failed, so that nothing can be promised any more.
    Suspect,
}

impl Progress {
    /// Notes what is asked for; the caller wakes the scribe.
    pub(crate) fn ask(&self, ask: Ask) -> Ticket {
        let mut state = self.state.lock();
        state.n_tickets += 1;
        let ticket = state.n_tickets;
        drop(state);
        // What is refused comes at the scribe's end, which ends the wait for this ticket too.
        let _ = self.asked.push((ticket, ask));
        ticket
    }

    /// True when something was asked for that the scribe has not taken.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes what was asked for.
    pub(crate) fn take_asked(&self) -> Vec<(Ticket, Ask)> {
        self.asked.drain()
    }

    /// Nothing more is taken: who asks from now on does not wait for room.
    pub(crate) fn refuse_asks(&self) {
        self.asked.close();
    }

    /// Answers all that was asked for before the end with the last block.
    pub(crate) fn set_last_goals(
        &self,
        pending: impl Iterator<Item = (Ticket, Ask)>,
        blocks: u64,
        durable: bool,
    ) {
        for (ticket, ask) in pending.chain(self.take_asked()) {
            // Nobody syncs any more where nothing is durable: the end of the scribe answers.
            if durable || ask != Ask::Sync {
                self.set_goal(ticket, blocks, durable);
            }
        }
    }

    /// True once for a ticket whose caller went away before it had a goal.
    pub(crate) fn take_abandoned(&self, ticket: Ticket) -> bool {
        self.state.lock().abandoned.remove(&ticket)
    }

    /// What is kept for callers, and what there is left of those that went away.
    #[cfg(test)]
    pub(crate) fn n_kept(&self) -> usize {
        let state = self.state.lock();
        state.goals.len() + state.abandoned.len() + state.wakers.len()
    }

    /// Nobody waits for the answer to this ticket any more.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let mut state = self.state.lock();
        state.abandon(ticket);
        let waker = state.wakers.remove(&ticket);
        // Not under the lock: what it leads to is the program's affair.
        drop(state);
        drop(waker);
    }

    /// Says which blocks answer a ticket.
    pub(crate) fn set_goal(&self, ticket: Ticket, blocks: u64, durable: bool) {
        let mut state = self.state.lock();
        if !state.abandoned.remove(&ticket) {
            state.goals.insert(ticket, Goal { blocks, durable });
        }
        self.tell(state);
    }

    /// Waits until a ticket is answered; returns the number of events written (or durable).
    pub(crate) fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Mark, Unanswered> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = state.answer(ticket) {
                return answer;
            }
            if self.wait_change(&mut state, deadline) {
                return state.answer(ticket).unwrap_or_else(|| {
                    state.abandon(ticket);
                    Err(Unanswered::Timeout)
                });
            }
        }
    }

    /// Waits until the scribe is gone; false when the time ran out.
    pub(crate) fn wait_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while !state.ended && !self.wait_change(&mut state, Some(deadline)) {}
        state.ended
    }

    /// Waits until something changes; true when the time has come.
    fn wait_change(&self, state: &mut Guard<'_, State>, deadline: Option<Instant>) -> bool {
        state.n_waiting += 1;
        let out = match deadline {
            Some(deadline) => self.changed.wait_until(state, deadline),
            None => {
                self.changed.wait(state);
                false
            }
        };
        state.n_waiting -= 1;
        out
    }

    /// True while somebody waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        let state = self.state.lock();
        state.n_waiting > 0 || !state.goals.is_empty() || !state.wakers.is_empty()
    }

    /// The answer to a ticket, if it is there; else `waker` is called when something changes.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> Option<Result<Mark, Unanswered>> {
        let waker = waker.clone();
        let mut state = self.state.lock();
        let answer = state.answer(ticket);
        let replaced = match answer {
            None => state.wakers.insert(ticket, waker),
            Some(_) => state.wakers.remove(&ticket),
        };
        // As in `abandon`.
        drop(state);
        drop(replaced);
        answer
    }

    /// The file thread has written one more block.
    pub(crate) fn add_written(&self, events: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.written.blocks += 1;
        state.written.events += events;
        state.bytes_written += bytes;
        self.tell(state);
    }

    /// The spiller has written one more block.
    pub(crate) fn add_spilled(&self, events: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.spilled += events;
        state.bytes_written += bytes;
        self.tell(state);
    }

    /// Everything in spill files is durable.
    pub(crate) fn set_spilled_durable(&self) {
        let mut state = self.state.lock();
        if state.is_spill_suspect {
            // A later sync of the same file succeeds, and says nothing about what failed.
            return;
        }
        state.spilled_durable = state.spilled;
        self.tell(state);
    }

    /// Events in spill files, and those of them that are durable.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.spilled, state.spilled_durable)
    }

    /// Everything written up to here is durable.
    pub(crate) fn set_durable(&self, mark: Mark) {
        let mut state = self.state.lock();
        state.durable = mark;
        self.tell(state);
    }

    /// What is written.
    pub(crate) fn written(&self) -> Mark {
        self.state.lock().written
    }

    /// What is durable.
    pub(crate) fn durable(&self) -> Mark {
        self.state.lock().durable
    }

    /// Bytes written and segments begun.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.bytes_written, state.segments)
    }

    /// Why floods are not written as well as they might.
    pub(crate) fn set_io_reason(&self, reason: Option<String>) {
        self.state.lock().io_reason = reason;
    }

    /// What [`set_io_reason`](Self::set_io_reason) said last.
    pub(crate) fn io_reason(&self) -> Option<String> {
        self.state.lock().io_reason.clone()
    }

    /// Waits until another number of segments than this was begun, the disk begins or ceases to
    /// refuse, or the time runs out; returns their number, `None` when the scribe is gone.
    pub(crate) fn wait_segment(&self, known: u64, timeout: Duration) -> Option<u64> {
        let mut state = self.state.lock();
        let was_failing = state.failing.is_some();
        let is_same = |state: &mut State| {
            !state.ended && state.segments == known && state.failing.is_some() == was_failing
        };
        self.rolled.wait_while_until(&mut state, is_same, Instant::now() + timeout);
        (!state.ended).then_some(state.segments)
    }

    /// A segment was begun.
    pub(crate) fn add_segment(&self) {
        self.state.lock().segments += 1;
        self.rolled.notify_all();
    }

    /// Says what the disk refuses at the moment; true when it did not a moment ago.
    pub(crate) fn set_failing(&self, failing: Option<String>) -> bool {
        let mut state = self.state.lock();
        let is_new = failing.is_some() != state.failing.is_some();
        if failing.is_some() {
            state.n_errors += 1;
        }
        state.failing = failing;
        if is_new {
            self.rolled.notify_all();
        }
        is_new
    }

    /// Says that a sync failed: from now on nothing is called durable.
    pub(crate) fn set_suspect(&self, why: String) {
        let mut state = self.state.lock();
        state.n_errors += 1;
        state.suspect = Some(why);
        self.tell(state);
    }

    /// The same of a sync of a spill file, also for what the log's own disk has.
    pub(crate) fn set_spill_suspect(&self, why: String) {
        self.state.lock().is_spill_suspect = true;
        self.set_suspect(why);
    }

    /// Why nothing is called durable any more.
    pub(crate) fn suspect(&self) -> Option<String> {
        self.state.lock().suspect.clone()
    }

    /// What the disk refuses at the moment, and how often it has refused something.
    pub(crate) fn failing(&self) -> (Option<String>, u64) {
        let state = self.state.lock();
        (state.failing.clone(), state.n_errors)
    }

    /// The scribe is gone: nothing will be answered any more.
    pub(crate) fn end(&self) {
        self.refuse_asks();
        let mut state = self.state.lock();
        state.ended = true;
        self.rolled.notify_all();
        self.tell(state);
    }

    fn tell(&self, mut state: Guard<'_, State>) {
        if state.n_waiting > 0 {
            self.changed.notify_all();
        }
        if state.wakers.is_empty() {
            return;
        }
        let wakers = std::mem::take(&mut state.wakers);
        // What they do is the program's affair, and may be to ask here.
        drop(state);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl State {
    fn abandon(&mut self, ticket: Ticket) {
        if self.goals.remove(&ticket).is_none() && !self.ended {
            self.abandoned.insert(ticket);
        }
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Result<Mark, Unanswered>> {
        if let Some(goal) = self.goals.get(&ticket) {
            let mark = if goal.durable { self.durable } else { self.written };
            let is_suspect = goal.durable && self.is_spill_suspect;
            if mark.blocks >= goal.blocks && !is_suspect {
                let spilled = if goal.durable { self.spilled_durable } else { self.spilled };
                self.goals.remove(&ticket);
                return Some(Ok(Mark { events: mark.events + spilled, ..mark }));
            }
            if goal.durable && self.suspect.is_some() {
                self.goals.remove(&ticket);
                return Some(Err(Unanswered::Suspect));
            }
        }
        self.ended.then_some(Err(Unanswered::Ended))
    }
}
