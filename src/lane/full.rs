//! Full: what a call does when its lane has no room and no larger one is to be had.
//!
//! # Failure
//!
//! Whatever the policy, a call comes back when the scribe is gone; and a wait that ran out is not
//! repeated until the scribe has taken something: until then calls take their next step at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hand_out::{Evicting, Lane};
use super::lanes::Lanes;
use crate::record::Level;

/// Rounds of looking at the head before a thread parks, or gives up on the consumer's lock.
const SPINS: u32 = 300;
/// How long a thread sleeps between looks at the common lane.
pub(super) const NAP: Duration = Duration::from_micros(100);
/// How long a thread is parked before it tells the scribe again.
const PARK: Duration = Duration::from_millis(50);
/// At least this part of a lane is evicted at once: a call pays for a few of those behind it, not
/// each for itself.
const EVICTED_PART: u64 = 32;

/// One thing that a call does for room; when it is in vain, the next comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Waits for so long, or for as long as it takes.
    Wait(Option<Duration>),
    /// Waits while the scribe goes on, and for so long when it does not; not at all while the
    /// spiller is at work.
    WaitForProgress(Duration),
    /// Evicts the oldest records.
    Evict,
    /// Asks the spiller to empty the lane, and waits for it for so long.
    Spill(Duration),
    /// The same, for so long without anything being taken.
    SpillForProgress(Duration),
}

/// What a call waits for, and how long.
#[derive(Debug, Clone, Copy)]
enum For {
    Scribe(Option<Duration>),
    Progress(Duration),
    Spiller(Duration),
    SpillerProgress(Duration),
}

/// What calls do, step by step; behind the last one the event is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OnFull {
    /// For every record, or those below the level.
    pub(crate) steps: Vec<Step>,
    /// For records at and above a level, which are never evicted for one below it.
    pub(crate) kept: Option<(Level, Vec<Step>)>,
}

impl OnFull {
    fn is_kept(&self, level: Level) -> bool {
        self.kept.as_ref().is_some_and(|(from, _)| level >= *from)
    }

    fn steps(&self, level: Level) -> &[Step] {
        match &self.kept {
            Some((from, steps)) if level >= *from => steps,
            _ => &self.steps,
        }
    }
}

/// One call's attempts to find room.
#[derive(Debug)]
pub(super) struct Attempts {
    level: Level,
    /// Since when it waits, and how far the scribe had come then; the same for the spiller.
    since: [Option<(Instant, u64)>; 2],
    /// Since when it waits for a thread that is inside the common lane.
    outside_since: Option<Instant>,
    /// The same call would fare better, though the head has not moved.
    may_differ: bool,
}

impl Attempts {
    pub(super) fn new(level: Level) -> Self {
        Self { level, since: [None; 2], outside_since: None, may_differ: false }
    }

    /// True when the call may wait, however often others take the room that it found.
    pub(super) fn may_wait(&self, lanes: &Lanes) -> bool {
        lanes.on_full.steps(self.level).iter().any(|step| *step != Step::Evict)
    }

    /// Waits a moment for a thread that is inside the common lane; false when the call has done so
    /// for as long as it may wait for room.
    pub(super) fn wait_to_enter(&mut self, lanes: &Lanes) -> bool {
        let limits = lanes.on_full.steps(self.level).iter().map(|step| match *step {
            Step::Evict => Some(Duration::ZERO),
            Step::Wait(limit) => limit,
            Step::WaitForProgress(limit) | Step::Spill(limit) | Step::SpillForProgress(limit) => {
                Some(limit)
            }
        });
        let limit = limits.reduce(|sum, limit| sum?.checked_add(limit?)).unwrap_or(Some(Duration::ZERO));
        let waited = self.outside_since.get_or_insert_with(Instant::now).elapsed();
        if lanes.waits_in_vain() || limit.is_some_and(|limit| waited >= limit) {
            return false;
        }
        std::thread::sleep(NAP);
        true
    }

    /// The levels, a bit each, whose records are lost at once like this one, while the head stays
    /// where it is.
    pub(super) fn levels_lost_at_once(&self, lanes: &Lanes) -> u8 {
        if self.may_differ {
            return 0;
        }
        let is_kept = |level: Level| lanes.on_full.is_kept(level);
        let alike = |level: &Level| is_kept(*level) == is_kept(self.level);
        Level::ALL.into_iter().filter(alike).fold(0, |levels, level| levels | 1 << level as u8)
    }

    /// Makes room for `len` bytes in a lane that was full when its head was at `head`, or waits for
    /// it; false when the event is to be lost.
    pub(super) fn make_room(&mut self, lanes: &Lanes, lane: &Lane, head: u64, len: usize) -> bool {
        let steps = lanes.on_full.steps(self.level);
        steps.iter().any(|step| match *step {
            Step::Evict => self.evict(lanes, lane, head, len),
            Step::Wait(limit) => self.wait(lanes, lane, head, For::Scribe(limit)),
            Step::Spill(limit) => self.spill(lanes, lane, head, For::Spiller(limit)),
            Step::SpillForProgress(limit) => {
                self.spill(lanes, lane, head, For::SpillerProgress(limit))
            }
            Step::WaitForProgress(limit) => {
                !lanes.overflow.is_served() && self.wait(lanes, lane, head, For::Progress(limit))
            }
        })
    }

    fn evict(&mut self, lanes: &Lanes, lane: &Lane, head: u64, len: usize) -> bool {
        let (len, capacity) = (len as u64, lane.memory().data_len() as u64);
        let kept = lanes.on_full.kept.as_ref().map(|(from, _)| *from);
        let kept = kept.filter(|_| !lanes.on_full.is_kept(self.level));
        for _ in 0..SPINS {
            if lane.memory().head() != head {
                return true;
            }
            let tail = lane.memory().tail();
            let end = (tail | (capacity - 1)) + 1;
            // Behind the pad, when the record does not fit before the buffer's end.
            let start = if tail + len > end { end } else { tail };
            let target = (start + len).saturating_sub(capacity);
            if target <= head {
                // Another thread has made room in the common lane.
                return true;
            }
            match lane.evict(target.max(head + capacity / EVICTED_PART), kept) {
                Evicting::Done => return true,
                // What is kept may lie behind what was evicted.
                Evicting::Kept => return lane.memory().head() >= target,
                Evicting::Busy => std::hint::spin_loop(),
            }
        }
        self.may_differ = true;
        false
    }

    fn spill(&mut self, lanes: &Lanes, lane: &Lane, head: u64, what: For) -> bool {
        lane.set_overflows();
        lanes.overflow.want();
        if lanes.overflow.is_refused() {
            // It may be taken back though the head stays where it is.
            self.may_differ = true;
            return lane.memory().head() != head;
        }
        self.wait(lanes, lane, head, what)
    }

    fn wait(&mut self, lanes: &Lanes, lane: &Lane, head: u64, what: For) -> bool {
        let (limit, resets, whom) = match what {
            For::Scribe(limit) => (limit, false, 0),
            For::Progress(limit) => (Some(limit), true, 0),
            For::Spiller(limit) => (Some(limit), false, 1),
            For::SpillerProgress(limit) => (Some(limit), true, 1),
        };
        let kept = usize::from(lanes.on_full.is_kept(self.level));
        let gave_up_at = &lane.gave_up_at[2 * kept + whom];
        let progress = lane.outlet.progress();
        // ord: Relaxed, a hint among producers.
        let is_vain = limit.is_some() && gave_up_at.load(Ordering::Relaxed) == progress;
        if is_vain || lanes.waits_in_vain() {
            return false;
        }
        lanes.ready.set(lane.id as usize);
        for _ in 0..SPINS {
            if lane.memory().head() != head {
                return true;
            }
            std::hint::spin_loop();
        }
        let (since, before) = *self.since[whom].get_or_insert_with(|| (Instant::now(), progress));
        let since = if resets && before != progress {
            let now = Instant::now();
            self.since[whom] = Some((now, progress));
            now
        } else {
            since
        };
        while lane.memory().head() == head {
            let left = limit.map_or(PARK, |limit| limit.saturating_sub(since.elapsed()));
            if lanes.waits_in_vain() || left.is_zero() {
                // ord: Relaxed, as above.
                gave_up_at.store(lane.outlet.progress(), Ordering::Relaxed);
                return false;
            }
            if lane.id == 0 {
                // Several threads may wait for the common lane.
                std::thread::sleep(left.min(NAP));
                return true;
            }
            lane.wait_for_room(head, left.min(PARK));
            lanes.ready.set(lane.id as usize);
        }
        true
    }
}
