//! Tap: copies of what the scribe takes from lanes, for the console.
//!
//! The scribe copies each run that it has encoded, and marks when it has looked at all lanes: what
//! lies before a mark is shown in the order of its time. Its lock is held for as long as a copy
//! takes, never across a write; what is more than the bound is counted and left out, so that a
//! terminal that blocks costs the scribe nothing.

use std::time::{Duration, Instant};

use crate::monitor::{Condvar, Mutex};
use crate::record::Losses;

/// What may wait for the console.
const BYTES_MAX: usize = 4 << 20;

/// A run of one thread's records, as they lay in its lane.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) tid: u32,
    pub(crate) thread: String,
    /// What was lost before it.
    pub(crate) lost: Losses,
    pub(crate) bytes: Vec<u8>,
}

/// What is to be shown together.
#[derive(Debug, Default)]
pub(crate) struct Poured {
    pub(crate) runs: Vec<Run>,
    /// Events that found no room.
    pub(crate) skipped: u64,
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
    /// Copies a run, if there is room for it; `count` is how many events it has.
    pub(super) fn add(&self, run: (u32, &str), lost: Losses, bytes: &[u8], count: u32) {
        let mut state = self.state.lock();
        if state.bytes + bytes.len() > BYTES_MAX {
            state.poured.skipped += u64::from(count);
            return;
        }
        state.bytes += bytes.len();
        let (tid, thread) = (run.0, run.1.to_owned());
        state.poured.runs.push(Run { tid, thread, lost, bytes: bytes.to_vec() });
    }

    /// All lanes were looked at: what came by now is in no lane behind what comes.
    pub(super) fn mark(&self) {
        let mut state = self.state.lock();
        let n = state.poured.runs.len();
        if n > state.marked || state.poured.skipped > 0 {
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
            if state.marked > 0 || state.poured.skipped > 0 {
                let n = std::mem::take(&mut state.marked);
                let runs: Vec<Run> = state.poured.runs.drain(..n).collect();
                state.bytes = state.poured.runs.iter().map(|run| run.bytes.len()).sum();
                let skipped = std::mem::take(&mut state.poured.skipped);
                return Some(Poured { runs, skipped });
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

    fn add(tap: &Tap, bytes: usize) {
        tap.add((1, "t"), Losses::NONE, &vec![0; bytes], 3);
    }

    #[test]
    fn what_is_marked_is_poured_and_what_finds_no_room_is_counted() {
        let tap = Tap::default();
        add(&tap, 10);
        tap.mark();
        add(&tap, BYTES_MAX - 10);
        add(&tap, 1);
        let first = tap.next().unwrap();
        assert_eq!((first.runs.len(), first.runs[0].bytes.len(), first.skipped), (1, 10, 3));
        add(&tap, 10);
        tap.mark();
        let second = tap.next().unwrap();
        assert_eq!((second.runs.len(), second.skipped), (2, 0), "there was room again");
        add(&tap, 5);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(tap.next().unwrap().runs.len(), 1, "the end marks what is left");
                assert!(tap.next().is_none());
                tap.set_done();
            });
            tap.end(Duration::from_secs(60));
        });
    }
}
