//! Queue: what the scribe hands to the file thread, and what comes back.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::task::Waker;

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
        state.ops.push_back(op);
        self.wake(state);
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
        let (waker, waits) = (state.waits_elsewhere.take(), state.waits);
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
            self.wake(state);
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
