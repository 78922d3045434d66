//! History: what several threads did to a ring, and whether a queue explains it.
//!
//! # The queue
//!
//! A bounded queue of items, each of them *claimed* or *there*. Every call is a few steps, each at
//! one moment between its call and its return:
//!
//! - a push of one item or many: as often as needed, *claim* some next places, as many as are free
//!   at most and none once the queue is closed; then each item is *there*, in order. It is refused
//!   as closed only at a moment when the queue is, and as full only when it is.
//! - a push that evicts takes the oldest items off a full queue, all of them there, and no more
//!   than it wants room for, unless another call is made meanwhile. It is refused as full only
//!   beside another call.
//! - a take *sees* the oldest items as far as they are there and wanted, no more and no fewer, and
//!   *frees* their room, at a later moment. Nobody else takes or evicts between these two. It may
//!   see nothing beside a call that takes or evicts, for as long as that has not returned. One that
//!   waits returns nothing only when the queue is closed and empty.
//! - a close is one step.
//!
//! With one step for each call this is linearizability. That a push has two is what the ring's
//! docs say: a take ends before an item that is claimed and not there. That a take has two is what
//! a batch costs: its room is free when it returns, and not when it looks.
//!
//! The search is Wing and Gong's: any call that has begun, and before whose beginning no unfinished
//! one returned, may make the next step; one that has made all of them is seen by others until it
//! returns. States that led nowhere are remembered.

use std::collections::HashSet;

/// The most threads, items in the queue, and items in a history.
pub const THREADS_MAX: usize = 8;
/// See [`THREADS_MAX`].
pub const CAPACITY_MAX: usize = 8;
/// See [`THREADS_MAX`].
pub const ITEMS_MAX: usize = 128;

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All items were accepted.
    Done,
    /// The others came back: no room.
    Full,
    /// The others came back: closed.
    Closed,
}

/// What a call was, and what it returned. An item's number names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// These items were pushed; the first `accepted` of them stayed.
    Push { items: Vec<u8>, accepted: usize, end: End },
    /// Up to `max` items were asked for, and these came.
    Take { max: usize, items: Vec<u8>, waits: bool },
    /// The queue was closed.
    Close,
}

/// A call with the moments at which it began and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// No two moments are the same.
    pub began: u64,
    /// Later than `began`.
    pub ended: u64,
    /// What it was.
    pub what: What,
}

/// What was done to a queue, by thread. The last call takes all that is left.
#[derive(Clone, Debug)]
pub struct History {
    /// How many items fit.
    pub capacity: usize,
    /// Whether a push evicts.
    pub evicts: bool,
    /// The calls of each thread, one after the other.
    pub threads: Vec<Vec<Call>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    queue: [u8; CAPACITY_MAX],
    /// Which items of the queue are there, a bit each.
    there: u8,
    len: u8,
    closed: bool,
    /// The thread whose take has seen items and not freed them.
    taking: Option<u8>,
    progress: [Progress; THREADS_MAX],
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Progress {
    call: u8,
    claimed: u8,
    there: u8,
    /// All steps are made; others see that it has not returned.
    done: bool,
}

impl State {
    fn pop(&mut self, count: usize) {
        self.queue.copy_within(count.., 0);
        self.queue[CAPACITY_MAX - count..].fill(0);
        self.there >>= count;
        self.len -= count as u8;
    }

    /// How many of the oldest items are there without a gap.
    fn ready(&self) -> usize {
        (self.there.trailing_ones() as usize).min(self.len.into())
    }

    fn oldest(&self, count: usize) -> &[u8] {
        &self.queue[..count]
    }
}

impl History {
    /// True if another thread's call and this one overlap.
    fn has_company(&self, thread: usize, call: &Call) -> bool {
        let others = self.threads.iter().enumerate().filter(|(other, _)| *other != thread);
        let mut calls = others.flat_map(|(_, calls)| calls);
        calls.any(|other| other.began < call.ended && call.began < other.ended)
    }

    /// Says whether the queue explains this history, and in how many steps that was found out.
    ///
    /// # Panics
    ///
    /// If the history has more threads or items than the constants of this module say.
    #[must_use]
    pub fn is_explained(&self) -> (bool, usize) {
        assert!(self.threads.len() <= THREADS_MAX && self.capacity <= CAPACITY_MAX);
        let calls = || self.threads.iter().flatten();
        let mut evicted = [false; ITEMS_MAX];
        for call in calls() {
            if let What::Push { items, accepted, .. } = &call.what {
                items[..*accepted].iter().for_each(|item| evicted[usize::from(*item)] = true);
            }
        }
        for call in calls() {
            if let What::Take { items, .. } = &call.what {
                for item in items {
                    // Never accepted, or taken before.
                    if !std::mem::replace(&mut evicted[usize::from(*item)], false) {
                        return (false, 0);
                    }
                }
            }
        }
        if !self.evicts && evicted.contains(&true) {
            return (false, 0);
        }
        let mut search = Search { history: self, evicted, dead: HashSet::new(), steps: 0 };
        let start = State {
            queue: [0; CAPACITY_MAX],
            there: 0,
            len: 0,
            closed: false,
            taking: None,
            progress: [Progress::default(); THREADS_MAX],
        };
        (search.run(start), search.steps)
    }
}

struct Search<'a> {
    history: &'a History,
    /// Accepted and never taken.
    evicted: [bool; ITEMS_MAX],
    dead: HashSet<State>,
    steps: usize,
}

impl Search<'_> {
    fn current(&self, state: &State, thread: usize) -> Option<&Call> {
        self.history.threads[thread].get(usize::from(state.progress[thread].call))
    }

    fn run(&mut self, state: State) -> bool {
        self.steps += 1;
        let n_threads = self.history.threads.len();
        // Whoever returns first goes first: the likeliest order.
        let mut open = [(u64::MAX, 0_usize); THREADS_MAX];
        let mut n_open = 0;
        for thread in 0..n_threads {
            if let Some(call) = self.current(&state, thread) {
                open[n_open] = (call.ended, thread);
                n_open += 1;
            }
        }
        if n_open == 0 {
            return true;
        }
        if self.dead.contains(&state) {
            return false;
        }
        let open = &mut open[..n_open];
        open.sort_unstable();
        // Only the return of the first one lets others begin.
        let Progress { call, done, .. } = state.progress[open[0].1];
        if done {
            let mut next = state;
            next.progress[open[0].1] = Progress { call: call + 1, ..Progress::default() };
            if self.run(next) {
                return true;
            }
        }
        for at in 0..n_open {
            let (_, thread) = open[at];
            if state.progress[thread].done {
                continue;
            }
            let history = self.history;
            let call = &history.threads[thread][usize::from(state.progress[thread].call)];
            if call.began > open[0].0 {
                continue;
            }
            // Another call that may move the head, or any at all, is under way at this moment.
            let beside = open.iter().filter(|(_, other)| *other != thread).any(|(_, other)| {
                let other = self.current(&state, *other).expect("it is open");
                other.began < open[0].0
            });
            if self.step(state, thread, call, beside) {
                return true;
            }
        }
        self.dead.insert(state);
        false
    }

    fn finish(&mut self, mut state: State, thread: usize) -> bool {
        state.progress[thread].done = true;
        self.run(state)
    }

    fn step(&mut self, state: State, thread: usize, call: &Call, beside: bool) -> bool {
        match &call.what {
            What::Close => self.finish(State { closed: true, ..state }, thread),
            What::Take { max, items, waits } => {
                self.step_take(state, thread, (*max, items, *waits), beside)
            }
            What::Push { items, accepted, end } => {
                self.step_push(state, thread, call, (items, *accepted, *end), beside)
            }
        }
    }

    fn step_take(
        &mut self,
        mut state: State,
        thread: usize,
        (max, items, waits): (usize, &[u8], bool),
        beside: bool,
    ) -> bool {
        if state.taking == Some(thread as u8) {
            state.pop(items.len());
            state.taking = None;
            return self.finish(state, thread);
        }
        let sees = state.ready().min(max);
        if items.is_empty() {
            let explained = match waits {
                true => max == 0 || (state.closed && state.len == 0),
                false => sees == 0 || beside,
            };
            // It has looked, and keeps others from the head until it returns.
            return explained && self.finish(state, thread);
        }
        if state.taking.is_some() || sees != items.len() || state.oldest(sees) != items {
            return false;
        }
        self.run(State { taking: Some(thread as u8), ..state })
    }

    fn step_push(
        &mut self,
        mut state: State,
        thread: usize,
        call: &Call,
        (items, accepted, end): (&[u8], usize, End),
        beside: bool,
    ) -> bool {
        let (capacity, len) = (self.history.capacity, usize::from(state.len));
        let Progress { claimed, there, .. } = state.progress[thread];
        if there < claimed {
            let place =
                state.queue[..len].iter().position(|item| *item == items[usize::from(there)]);
            state.there |= 1 << place.expect("nobody takes what is not there");
            state.progress[thread].there += 1;
            return self.run(state);
        }
        let claimed = usize::from(claimed);
        if claimed == accepted {
            let explained = match end {
                End::Done => accepted == items.len(),
                End::Closed => state.closed,
                End::Full => len == capacity && (!self.history.evicts || beside),
            };
            if explained && self.finish(state, thread) {
                return true;
            }
        }
        if claimed < accepted && !state.closed {
            for count in (1..=(capacity - len).min(accepted - claimed)).rev() {
                let mut next = state;
                next.queue[len..len + count].copy_from_slice(&items[claimed..claimed + count]);
                next.len += count as u8;
                next.progress[thread].claimed += count as u8;
                if self.run(next) {
                    return true;
                }
            }
        }
        if self.history.evicts && len == capacity && state.taking.is_none() {
            let wanted = items.len() - claimed;
            let crowded = self.history.has_company(thread, call);
            let most = state.ready().min(if crowded { capacity } else { wanted });
            let lost = |item: &&u8| self.evicted[usize::from(**item)];
            let most = state.oldest(most).iter().take_while(lost).count();
            for count in 1..=most {
                let mut next = state;
                next.pop(count);
                if self.run(next) {
                    return true;
                }
            }
        }
        false
    }
}

/// A line for each call, in the order in which they began.
impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut calls: Vec<_> = self
            .threads
            .iter()
            .enumerate()
            .flat_map(|(n, calls)| calls.iter().map(move |call| (n, call)))
            .collect();
        calls.sort_by_key(|(_, call)| call.began);
        writeln!(f, "capacity {}, evicts: {}", self.capacity, self.evicts)?;
        for (thread, Call { began, ended, what }) in calls {
            writeln!(f, "{began:3}..{ended:<3} thread {thread}: {what:?}")?;
        }
        Ok(())
    }
}
