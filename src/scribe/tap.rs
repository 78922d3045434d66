//! Tap: copies of what the scribe takes from lanes, for the console.
//!
//! The scribe copies each run that it has encoded, and marks when it has looked at all lanes: what
//! lies before a mark is shown in the order of its time. Its lock is held for as long as a copy
//! takes, never across a write; what is more than the bound is counted and left out, so that a
//! terminal that blocks costs the scribe nothing.

use std::time::{Duration, Instant};

use crate::monitor::{Condvar, Mutex};
use crate::record::{Head, Losses, RECORD_EVENT};

/// What may wait for the console.
const BYTES_MAX: usize = 4 << 20;
/// What a run takes beside its bytes, of which one that only tells losses has none.
const RUN_BYTES: usize = size_of::<Run>() + 64;

/// A run of one thread's records, as they lay in its lane.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) tid: u32,
    pub(crate) thread: String,
    /// What was lost before it.
    pub(crate) lost: Losses,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    fn size(&self) -> usize {
        RUN_BYTES + self.bytes.len()
    }
}

/// The records of a run: the head of each, and the bytes from it on.
pub(super) fn records_of(mut rest: &[u8]) -> impl Iterator<Item = (Head, &[u8])> {
    std::iter::from_fn(move || {
        let head = Head::read(rest)?;
        let bytes = rest;
        rest = &rest[head.len()..];
        Some((head, bytes))
    })
}

/// The events among them.
pub(super) fn events_of(bytes: &[u8]) -> impl Iterator<Item = (Head, &[u8])> {
    records_of(bytes).filter(|(head, _)| head.kind == RECORD_EVENT)
}

/// What is to be shown together.
#[derive(Debug, Default)]
pub(crate) struct Poured {
    pub(crate) runs: Vec<Run>,
    /// Events that found no room.
    pub(crate) skipped: u64,
    /// Events that were lost, which found none to be told.
    pub(crate) untold: u64,
}

impl Poured {
    fn is_short(&self) -> bool {
        self.skipped + self.untold > 0
    }
}

#[derive(Debug, Default)]
struct State {
    poured: Poured,
    bytes: usize,
    /// Runs before the last mark.
    marked: usize,
    ended: bool,
    done: bool,
}

/// Between a scribe and its console.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    state: Mutex<State>,
    changed: Condvar,
}

impl Tap {
    /// Copies a run, if there is room for it; counts its events and what it tells, if there is none.
    pub(super) fn add(&self, (tid, thread): (u32, &str), lost: Losses, bytes: &[u8]) {
        let mut state = self.state.lock();
        if state.bytes + RUN_BYTES + bytes.len() > BYTES_MAX {
            state.poured.skipped += events_of(bytes).count() as u64;
            state.poured.untold += lost.total();
            return;
        }
        let run = Run { tid, thread: thread.to_owned(), lost, bytes: bytes.to_vec() };
        state.bytes += run.size();
        state.poured.runs.push(run);
    }

    /// All lanes were looked at: what came by now is in no lane behind what comes.
    pub(super) fn mark(&self) {
        let mut state = self.state.lock();
        let n = state.poured.runs.len();
        if n > state.marked || state.poured.is_short() {
            state.marked = n;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits for something to show; `None` when nothing will come any more.
    pub(super) fn next(&self) -> Option<Poured> {
        let mut state = self.state.lock();
        loop {
            if state.ended {
                state.marked = state.poured.runs.len();
            }
            if state.marked > 0 || state.poured.is_short() {
                let n = std::mem::take(&mut state.marked);
                let runs: Vec<Run> = state.poured.runs.drain(..n).collect();
                state.bytes = state.poured.runs.iter().map(Run::size).sum();
                let rest = std::mem::take(&mut state.poured.runs);
                let poured = Poured { runs: rest, ..Poured::default() };
                let short = std::mem::replace(&mut state.poured, poured);
                return Some(Poured { runs, ..short });
            }
            if state.ended {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// The console has shown everything.
    pub(super) fn set_done(&self) {
        self.state.lock().done = true;
        self.changed.notify_all();
    }

    /// Nothing more comes; waits until everything is shown, up to the time.
    pub(crate) fn end(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        state.ended = true;
        self.changed.notify_all();
        while !state.done && !self.changed.wait_until(&mut state, until) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, HEAD_BYTES, Level, RECORD_SPAN_OPEN};

    /// A run of one event, and of so many bytes.
    fn add(tap: &Tap, bytes: usize) {
        let mut run = vec![0; bytes];
        let words = u16::try_from((bytes - HEAD_BYTES) / 8).unwrap();
        run[..HEAD_BYTES].copy_from_slice(&Head::encode(1, words, RECORD_EVENT, 0, 7));
        tap.add((1, "t"), Losses::NONE, &run);
    }

    #[test]
    fn what_is_marked_is_poured_and_what_finds_no_room_is_counted() {
        let tap = Tap::default();
        add(&tap, 16);
        tap.mark();
        tap.add((1, "t"), Losses::NONE, &vec![0; BYTES_MAX - 16 - 2 * RUN_BYTES]);
        add(&tap, 16);
        let span = Head::encode(1, 0, RECORD_SPAN_OPEN, 0, 7);
        tap.add((1, "t"), Losses::NONE, &span);
        let first = tap.next().unwrap();
        assert_eq!((first.runs.len(), first.runs[0].bytes.len(), first.skipped), (1, 16, 1));
        add(&tap, 16);
        tap.mark();
        let second = tap.next().unwrap();
        assert_eq!((second.runs.len(), second.skipped), (2, 0), "there was room again");
        add(&tap, 16);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(tap.next().unwrap().runs.len(), 1, "the end marks what is left");
                assert!(tap.next().is_none());
                tap.set_done();
            });
            tap.end(Duration::from_secs(60));
        });
    }

    #[test]
    fn losses_that_a_blocked_terminal_keeps_from_being_shown_take_no_more_and_more_memory() {
        let tap = Tap::default();
        let mut lost = Losses::NONE;
        lost.add(Cause::Full, Level::Info, 2);
        let n = 2 * BYTES_MAX / RUN_BYTES;
        (0..n).for_each(|_| tap.add((1, "t"), lost, &[]));
        tap.mark();
        let poured = tap.next().unwrap();
        assert!(poured.runs.len() <= BYTES_MAX / RUN_BYTES);
        assert_eq!(2 * poured.runs.len() as u64 + poured.untold, 2 * n as u64);
    }
}
