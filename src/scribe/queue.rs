//! Queue: what the scribe hands to the file thread, and what comes back.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::batch::Block;
use crate::lane::staging::Buffer;
use crate::monitor::{Condvar, Guard, Mutex};
use crate::store::segment::SegmentHeader;

/// What the scribe asks of the disk.
#[derive(Debug)]
pub(crate) enum Op {
    /// Make a segment and write its header; one whose blocks are aligned for it is written past the
    /// page cache.
    Begin { path: PathBuf, header: SegmentHeader },
    /// Write a block.
    Write { block: Block, offset: u64, events: u32 },
    /// End the segment with its index and cut what was reserved beyond it.
    Seal { index: Vec<u8>, offset: u64, sync: bool },
    /// Make everything so far durable.
    Sync,
    /// Look whether the owner file and the segment are still where they were made.
    Check,
    /// Nothing more will come.
    End,
}

/// The queue between scribe and file thread.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ops: VecDeque<Op>,
    free: Vec<Buffer>,
    /// The file thread waits here.
    waits: bool,
    /// It rests here: the disk has enough to do, and blocks that come can wait.
    rests: bool,
    /// Somebody waits for blocks: it does not rest.
    is_urgent: bool,
    /// It waits for the kernel rather than here.
    waits_elsewhere: Option<Waker>,
    /// The scribe has no buffer left to fill.
    is_short: bool,
    vanished: bool,
    refuses_direct: bool,
    ended: bool,
}

impl Queue {
    /// Hands an operation over.
    pub(crate) fn push(&self, op: Op) {
        let mut state = self.state.lock();
        let can_wait = state.rests && matches!(op, Op::Write { .. });
        state.ops.push_back(op);
        if !can_wait {
            self.wake(state);
        }
    }

    /// Says that somebody waits for what was handed over.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        state.is_urgent = true;
        if state.rests {
            self.wake(state);
        }
    }

    /// Hands an operation over unless others wait already.
    pub(crate) fn push_if_idle(&self, op: Op) {
        let mut state = self.state.lock();
        if state.ops.is_empty() {
            state.ops.push_back(op);
            self.wake(state);
        }
    }

    fn wake(&self, mut state: Guard<'_, State>) {
        let (waker, waits) = (state.waits_elsewhere.take(), state.waits || state.rests);
        drop(state);
        match waker {
            Some(waker) => waker.wake(),
            None if waits => self.changed.notify_all(),
            None => {}
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.push(Op::End);
    }

    /// Says that the scribe has no buffer to fill, so that those come back that are only kept in
    /// case that a sync fails.
    pub(crate) fn set_short(&self) {
        let mut state = self.state.lock();
        if !state.is_short {
            state.is_short = true;
            if !state.rests {
                self.wake(state);
            }
        }
    }

    /// Staging buffers whose blocks are written.
    pub(crate) fn take_free(&self) -> Vec<Buffer> {
        let mut state = self.state.lock();
        if !state.free.is_empty() {
            state.is_short = false;
        }
        std::mem::take(&mut state.free)
    }

    /// True once after the current segment's name went away.
    pub(crate) fn take_vanished(&self) -> bool {
        std::mem::take(&mut self.state.lock().vanished)
    }

    /// True when the log directory cannot be written past the page cache.
    pub(crate) fn refuses_direct(&self) -> bool {
        self.state.lock().refuses_direct
    }

    /// True when the thread has done everything or given up.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(super) fn set_vanished(&self) {
        self.state.lock().vanished = true;
    }

    pub(super) fn set_refuses_direct(&self) {
        self.state.lock().refuses_direct = true;
    }

    pub(super) fn set_ended(&self) {
        self.state.lock().ended = true;
    }

    pub(super) fn give_free(&self, buffers: impl IntoIterator<Item = Buffer>) {
        self.state.lock().free.extend(buffers);
    }

    /// True when no operation waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().ops.is_empty()
    }

    /// Lets the time pass, unless something other than a block waits or comes, or somebody waits
    /// for blocks.
    pub(super) fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let can_rest = |state: &mut State| {
            !std::mem::take(&mut state.is_urgent)
                && state.ops.iter().all(|op| matches!(op, Op::Write { .. }))
        };
        let mut state = self.state.lock();
        state.waits_elsewhere = None;
        state.rests = true;
        self.changed.wait_while_until(&mut state, can_rest, until);
        state.rests = false;
    }

    /// The next operation; one to sync when there is none, `keeps` says that the file thread keeps
    /// buffers, and the scribe is short of them.
    pub(super) fn pop(&self, keeps: bool) -> Op {
        let mut state = self.state.lock();
        state.waits_elsewhere = None;
        loop {
            if let Some(op) = state.ops.pop_front() {
                return op;
            }
            if keeps && state.is_short {
                return Op::Sync;
            }
            state.waits = true;
            self.changed.wait(&mut state);
            state.waits = false;
        }
    }

    /// The next operation; without one `waker` is called when there is one.
    pub(super) fn pop_or_wake(&self, waker: impl FnOnce() -> Waker) -> Option<Op> {
        let mut state = self.state.lock();
        let op = state.ops.pop_front();
        state.waits_elsewhere = op.is_none().then(waker);
        op
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_rest_ends_for_who_waits_and_for_what_is_no_block() {
        type Ends = fn(&Queue);
        let ends: [Ends; 3] = [Queue::hurry, |queue| queue.push(Op::Sync), Queue::end];
        for end in ends {
            let queue = Arc::new(Queue::default());
            let (rested, told) = channel();
            let of_thread = queue.clone();
            std::thread::spawn(move || {
                of_thread.rest(Duration::from_secs(3600));
                rested.send(()).unwrap();
            });
            queue.set_short();
            end(&queue);
            assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(()), "it rests on");
        }
    }

    #[test]
    fn who_hurried_before_a_rest_ends_that_one_and_no_other() {
        let queue = Queue::default();
        queue.hurry();
        queue.rest(Duration::from_secs(3600));
        assert!(!queue.state.lock().is_urgent);
        queue.rest(Duration::ZERO);
        assert!(!queue.state.lock().rests && queue.is_empty());
    }
}
