//! Once: every byte of a lane is shown one time, and what is missing is known by its number.
//!
//! # Invariants
//!
//! - **I1** (S2) A byte position of (logger, lane, generation) is accepted at most once, whatever
//!   mix of segments, spill files, staging and lanes offers it.
//! - **I2** Memory is bounded: past [`LANES_MAX`] lanes the one that was quiet for longest is
//!   forgotten, past [`RANGES_MAX`] ranges of a lane the gap between its lowest two. Both are far
//!   behind what blocks still to be opened can hold.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::record::{Anchor, Losses, RunHead};

use super::item::Logger;

const LANES_MAX: usize = 1 << 16;
const RANGES_MAX: usize = 256;

/// A logger's id, a lane's number and generation.
pub(super) type LaneId = (u64, u32, u32);

/// Disjoint ranges in ascending order, none touching the next.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// True when any of `start..end` is in.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 <= start);
        start < end && self.0.get(at).is_some_and(|range| range.0 < end)
    }

    /// True when `start..end` is not empty and all of it is in.
    fn has_all(&self, start: u64, end: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 <= start);
        start < end && self.0.get(at).is_some_and(|range| range.0 <= start && range.1 >= end)
    }

    /// Adds `start..end` and joins it with what it touches.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let from = self.0.partition_point(|range| range.1 < start);
        let to = self.0.partition_point(|range| range.0 <= end);
        if from == to {
            self.0.insert(from, (start, end));
        } else {
            let joined = (start.min(self.0[from].0), end.max(self.0[to - 1].1));
            self.0.splice(from..to, [joined]);
        }
        if self.0.len() > RANGES_MAX {
            self.0[1].0 = self.0[0].0;
            self.0.remove(0);
        }
    }

    /// How many of `start..end` are in.
    fn count(&self, start: u64, end: u64) -> u64 {
        let inside = |range: &(u64, u64)| range.1.min(end).saturating_sub(range.0.max(start));
        self.0.iter().map(inside).sum()
    }

    /// The lowest position, the highest that can be when there is none.
    pub(super) fn start(&self) -> u64 {
        self.0.first().map_or(u64::MAX, |range| range.0)
    }

    /// Behind the highest position, 0 when there is none.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.1)
    }
}

/// What was read of one lane so far.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The byte positions that were accepted.
    pub(super) bytes: Ranges,
    numbers: Ranges,
    /// Behind the highest number that was told to be skipped.
    skipped_to: u64,
    losses: Option<Box<Losses>>,
    /// Losses that were passed over, as told by earlier runs, which may still come.
    passed_over: Option<Box<PassedOver>>,
    /// In reverse: what the newest run tells.
    newest: Option<Box<Losses>>,
    /// What the sorting key of the lane's next record must not be below (above in reverse).
    pub(super) key: Option<u64>,
    seen: bool,
    told_first: bool,
    /// Losses that stand behind records of the lane which were not read yet.
    aside: Option<Box<Aside>>,
    used: u64,
}

/// What a run says beyond what its block counted.
#[derive(Debug)]
struct PassedOver {
    losses: Losses,
    /// Where that run stands, and how much of it earlier ones have told since.
    position: u64,
    n_told: u64,
}

/// A run of losses alone that waits for the lane's earlier records, with where it was found.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) head: RunHead,
    pub(super) logger: Arc<Logger>,
    pub(super) file: PathBuf,
    pub(super) segment: Option<u64>,
    pub(super) anchors: Vec<Anchor>,
}

/// What one run tells about its lane beyond its records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Events lost since the lane's previous run.
    pub(super) lost: Option<Box<Losses>>,
    /// In reverse: events lost before the lane's first run.
    pub(super) first: Option<Box<Losses>>,
    /// Numbers of records that were skipped; a run still to come may have them.
    pub(super) skipped: Option<Skipped>,
}

/// Numbers of records that no run had so far. Those that were evicted have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) from: u64,
    pub(super) to: u64,
    /// True when nothing of the lane was read before: its beginning may have been removed.
    pub(super) is_start: bool,
}

impl Lane {
    /// Takes note of a run in reading order, oldest first, and tells what it shows to be lost.
    ///
    /// `counted` is what the block says was lost in it, and is not told yet: no more is news when the
    /// run before is not at hand.
    pub(super) fn follow(&mut self, head: &RunHead, counted: u64) -> Told {
        let mut told = Told::default();
        let before = self.losses.as_deref().copied().unwrap_or(Losses::NONE);
        let fresh = head.losses.since(&before);
        if !fresh.is_empty() {
            let from_start = head.first_record == 0;
            let news = if self.seen || from_start { fresh } else { fresh.at_most(counted) };
            told.lost = (!news.is_empty()).then(|| Box::new(news));
            let losses = fresh.since(&news);
            if !losses.is_empty() {
                let passed = PassedOver { losses, position: head.position, n_told: 0 };
                self.passed_over = Some(Box::new(passed));
            }
            let mut known = before;
            known.add_all(&fresh);
            self.losses = Some(Box::new(known));
        } else if let Some(passed) = &mut self.passed_over
            && head.position < passed.position
        {
            // From a spill file, whose turn came by its time.
            let max = head.losses.total().saturating_sub(passed.n_told).min(counted);
            let news = passed.losses.at_most(max);
            passed.n_told += news.total();
            passed.losses = passed.losses.since(&news);
            told.lost = (!news.is_empty()).then(|| Box::new(news));
        }
        let expected = self.numbers.end().max(self.skipped_to);
        // Where losses stand is known by what is behind them, so that they may come before records.
        let is_start = expected == 0;
        let is_known = head.count > 0 || !is_start || head.losses.is_empty();
        if head.first_record > expected && is_known {
            told.skipped = Some(Skipped { from: expected, to: head.first_record, is_start });
            self.skipped_to = head.first_record;
        }
        self.take(head);
        told
    }

    /// True for a run without records whose lane's earlier records were not all read: they may lie in
    /// a spill file, whose turn comes by their time, or be gone for good. The lane's next run tells
    /// its losses too, and if there is none, the end does.
    pub(super) fn is_early(&self, head: &RunHead) -> bool {
        let is_behind = match self.seen {
            true => head.position > self.bytes.end(),
            false => head.first_record > 0 && head.losses.is_empty(),
        };
        head.count == 0 && is_behind
    }

    /// Lets losses wait; of several the last, which says what those before it say.
    pub(super) fn set_aside(&mut self, aside: Aside) {
        // At one place, say of a lane and in staging of what was taken from it, the one that says more.
        let told = |head: &RunHead| (head.position, head.losses.total());
        let is_later = |held: &Aside| told(&aside.head) >= told(&held.head);
        if self.aside.as_deref().is_none_or(is_later) {
            self.aside = Some(Box::new(aside));
        }
    }

    /// Takes note of a run in reading order, newest first: what it shows to be lost stands behind
    /// it, between it and the run that was read before.
    pub(super) fn precede(&mut self, head: &RunHead) -> Told {
        let mut told = Told::default();
        if self.seen && head.count == 0 && head.position >= self.bytes.end() {
            // It stands behind all that was read: what came before it was written later.
            let newest = self.newest.get_or_insert_default();
            let fresh = head.losses.since(newest);
            newest.add_all(&fresh);
            told.lost = (!fresh.is_empty()).then(|| Box::new(fresh));
            return told;
        }
        if !self.seen && !head.losses.is_empty() {
            self.newest = Some(Box::new(head.losses));
        }
        // What the lane's first record's run says is told at once, as of the lane's start: the runs
        // before it, of losses alone, have nothing to add.
        if !self.told_first {
            let fresh = self.losses.as_deref().map(|later| later.since(&head.losses));
            // A run that was read before, and comes again, changes nothing.
            if fresh.as_ref().is_none_or(|fresh| !fresh.is_empty()) {
                told.lost = fresh.map(Box::new);
                self.losses = Some(Box::new(head.losses));
            }
            if head.first_record == 0 {
                self.told_first = true;
                told.first = (!head.losses.is_empty()).then(|| Box::new(head.losses));
            }
        }
        self.take(head);
        told
    }

    fn take(&mut self, head: &RunHead) {
        let end = head.first_record.saturating_add(u64::from(head.count));
        self.numbers.add(head.first_record, end);
        self.seen = true;
    }
}

/// What was read of all lanes so far.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    clock: u64,
    /// True when lanes were forgotten, which then look as if they had no beginning.
    has_forgotten: bool,
    /// True when reading begins at a time, and earlier blocks are passed over.
    begins_later: bool,
}

impl Lanes {
    /// Nothing yet; `later` says that earlier blocks will be passed over.
    pub(super) fn beginning(later: bool) -> Self {
        Self { begins_later: later, ..Self::default() }
    }

    /// How much can be news of losses that no block counts, in a lane that nothing was read of: a
    /// block that was passed over may have told them.
    pub(super) fn news_max(&self) -> u64 {
        if self.begins_later { 0 } else { u64::MAX }
    }

    /// What was read of this lane.
    pub(super) fn lane(&mut self, id: LaneId) -> &mut Lane {
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&id) {
            self.forget();
        }
        self.clock += 1;
        let lane = self.lanes.entry(id).or_default();
        lane.used = self.clock;
        lane
    }

    /// True when a stretch of a lane, which is not empty, was read already.
    pub(super) fn has_all(&self, id: LaneId, start: u64, end: u64) -> bool {
        self.lanes.get(&id).is_some_and(|lane| lane.bytes.has_all(start, end))
    }

    /// The losses that wait.
    pub(super) fn take_aside(&mut self) -> Vec<Aside> {
        let lanes = self.lanes.values_mut();
        lanes.filter_map(|lane| lane.aside.take()).map(|aside| *aside).collect()
    }

    /// How many records are still missing of those that were skipped.
    pub(super) fn missing(&self, id: LaneId, skipped: &Skipped) -> u64 {
        let Some(lane) = self.lanes.get(&id) else { return 0 };
        if skipped.is_start && self.has_forgotten {
            return 0;
        }
        let had = lane.numbers.count(skipped.from, skipped.to);
        (skipped.to - skipped.from).saturating_sub(had)
    }

    /// Drops the quarter of the lanes that were quiet for longest.
    fn forget(&mut self) {
        let mut used: Vec<u64> = self.lanes.values().map(|lane| lane.used).collect();
        let quarter = used.len() / 4;
        let (_, limit, _) = used.select_nth_unstable(quarter);
        let limit = *limit;
        self.has_forgotten = true;
        // So many lanes with losses that wait are no log's; they are as good as any.
        let waiting = self.lanes.values().filter(|lane| lane.aside.is_some()).count();
        let keeps = waiting < LANES_MAX / 2;
        self.lanes.retain(|_, lane| lane.used > limit || keeps && lane.aside.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, Level};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_positions(
            adds in proptest::collection::vec((0u64..200, 0u64..30), 0..40),
            asks in proptest::collection::vec((0u64..240, 0u64..30), 20),
        ) {
            let mut ranges = Ranges::default();
            let mut naive = [false; 300];
            for (start, len) in adds {
                ranges.add(start, start + len);
                naive[start as usize..(start + len) as usize].fill(true);
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
            for (start, len) in asks {
                let expected = naive[start as usize..(start + len) as usize].iter().any(|in_| *in_);
                prop_assert_eq!(ranges.overlaps(start, start + len), expected);
            }
        }
    }

    fn run(first_record: u64, count: u32, full: u64) -> RunHead {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::Info, full);
        let position = first_record * 16;
        let end = position + u64::from(count) * 16;
        RunHead { first_record, count, losses, position, end, ..RunHead::default() }
    }

    #[test]
    fn losses_are_shown_as_differences() {
        let mut lane = Lane::default();
        assert_eq!(lane.follow(&run(0, 2, 3), 0).lost.unwrap().total(), 3);
        assert_eq!(lane.follow(&run(2, 2, 3), 0), Told::default());
        assert_eq!(lane.follow(&run(4, 0, 7), 0).lost.unwrap().total(), 4);
        // The same run again, as an adopter may have written it.
        assert_eq!(lane.follow(&run(4, 0, 7), 0), Told::default());
        // First seen in the middle: the count is old news beyond what the block counted.
        assert_eq!(Lane::default().follow(&run(9, 1, 7), 0).lost, None);
        assert_eq!(Lane::default().follow(&run(9, 1, 7), 2).lost.unwrap().total(), 2);
        assert_eq!(Lane::default().follow(&run(9, 1, 7), 9).lost.unwrap().total(), 7);
    }

    #[test]
    fn what_an_earlier_run_told_is_shown_when_it_comes_late() {
        let mut lane = Lane::default();
        // The scribe's block comes before that of a spill file, by the time of other lanes.
        let mut all = run(9, 1, 31);
        all.losses.add(Cause::Evicted, Level::Debug, 7);
        let evicted = |first_record, n| {
            let mut head = run(first_record, 2, 0);
            head.losses.add(Cause::Evicted, Level::Debug, n);
            head
        };
        let (first, second) = (evicted(0, 3), evicted(2, 7));
        let mut shown = *lane.follow(&all, 31).lost.unwrap();
        assert_eq!(shown.total(), 31);
        shown.add_all(&lane.follow(&first, 3).lost.unwrap());
        assert_eq!(lane.follow(&first, 3).lost, None, "the same again");
        assert_eq!(lane.follow(&second, 0).lost, None, "its block was passed over");
        shown.add_all(&lane.follow(&second, 9).lost.unwrap());
        assert_eq!(shown, all.losses);
        assert_eq!(lane.follow(&all, 31).lost, None);
    }

    #[test]
    fn losses_in_reverse_stand_between_the_same_runs() {
        let mut lane = Lane::default();
        assert_eq!(lane.precede(&run(4, 1, 7)), Told::default());
        assert_eq!(lane.precede(&run(2, 2, 3)).lost.unwrap().total(), 4);
        assert_eq!(lane.precede(&run(2, 2, 3)), Told::default());
        let first = lane.precede(&run(0, 2, 3));
        assert_eq!((first.lost, first.first.unwrap().total()), (None, 3));
        assert_eq!(lane.precede(&run(0, 2, 3)), Told::default());
    }

    #[test]
    fn losses_before_a_lane_s_first_records_are_told_once_in_both_directions() {
        let mut runs = [run(0, 0, 2), run(0, 3, 5), run(3, 1, 6)];
        // Positions of a hand-out begin anywhere.
        runs.iter_mut().for_each(|run| run.position += 4096);
        let (mut forward, mut reverse) = (Lane::default(), Lane::default());
        let total = |told: Option<Box<Losses>>| told.map_or(0, |losses| losses.total());
        let follow = |run| total(forward.follow(run, 0).lost);
        assert_eq!(runs.iter().map(follow).collect::<Vec<_>>(), [2, 3, 1]);
        let precede = |run| {
            let told = reverse.precede(run);
            total(told.lost) + total(told.first)
        };
        assert_eq!(runs.iter().rev().map(precede).collect::<Vec<_>>(), [0, 6, 0]);
    }

    #[test]
    fn skipped_numbers_are_missing_until_a_run_has_them() {
        let mut lane = Lane::default();
        lane.follow(&run(0, 2, 0), 0);
        let skipped = lane.follow(&run(5, 1, 0), 0).skipped.unwrap();
        assert_eq!((skipped.from, skipped.to), (2, 5));
        assert_eq!(lane.follow(&run(3, 1, 0), 0).skipped, None);
        let mut lanes = Lanes::default();
        *lanes.lane((1, 0, 0)) = lane;
        assert_eq!(lanes.missing((1, 0, 0), &skipped), 2, "number 3 came late");
    }

    #[test]
    fn the_beginning_and_the_end_of_a_lane_can_be_missed() {
        let mut lane = Lane::default();
        let start = Skipped { from: 0, to: 5, is_start: true };
        assert_eq!(lane.follow(&run(5, 2, 0), 0).skipped, Some(start));
        // A run without records, at the head of the thread's next lane, and then once more.
        let end = Skipped { from: 7, to: 9, is_start: false };
        assert_eq!(lane.follow(&run(9, 0, 0), 0).skipped, Some(end));
        assert_eq!(lane.follow(&run(9, 0, 0), 0).skipped, None, "told once");
        let mut lanes = Lanes::default();
        *lanes.lane((1, 0, 0)) = lane;
        assert_eq!((lanes.missing((1, 0, 0), &start), lanes.missing((1, 0, 0), &end)), (5, 2));
        lanes.has_forgotten = true;
        assert_eq!(lanes.missing((1, 0, 0), &start), 0, "it may have been forgotten");
    }

    fn aside(head: RunHead) -> Aside {
        let (logger, file) = (Arc::default(), PathBuf::new());
        Aside { head, logger, file, segment: None, anchors: Vec::new() }
    }

    #[test]
    fn of_losses_that_wait_those_that_say_most_are_told() {
        let mut heads = [run(4, 0, 7), run(4, 0, 9), run(3, 0, 5)];
        for _ in 0..heads.len() {
            let mut lane = Lane::default();
            heads.iter().for_each(|head| lane.set_aside(aside(head.clone())));
            assert_eq!(lane.aside.unwrap().head, run(4, 0, 9));
            heads.rotate_left(1);
        }
    }

    #[test]
    fn lanes_that_were_quiet_for_longest_are_forgotten() {
        let mut lanes = Lanes::default();
        for lane in 0..LANES_MAX as u32 + 10 {
            lanes.lane((1, lane, 0)).bytes.add(0, 8);
        }
        assert!(lanes.lanes.len() <= LANES_MAX);
        for lane in 0..2 * LANES_MAX as u32 {
            lanes.lane((2, lane, 0)).set_aside(aside(run(1, 0, 0)));
        }
        assert!(lanes.lanes.len() <= LANES_MAX, "also of those with losses that wait");
        let mut lanes = Lanes::default();
        for lane in 0..LANES_MAX as u32 + 10 {
            lanes.lane((1, lane, 0)).bytes.add(0, 8);
        }
        assert!(lanes.lane((1, LANES_MAX as u32, 0)).bytes.overlaps(0, 8));
        assert!(!lanes.lane((1, 0, 0)).bytes.overlaps(0, 8));
    }
}
