//! Scribe: the one consumer thread of a logger: lanes → blocks → file thread.
//!
//! ```text
//!  lanes ──► intake ──► batch (in staging) ──► writer (file thread) ──► segment
//!              ▲                                   │
//!            ready, timer                          └──► progress ──► flush(), sync(), stats()
//! ```
//!
//! Each turn it encodes what lanes have committed straight into the current block, seals the block
//! when it is full or due, and hands it to the file thread. It never sorts, never formats and never
//! waits for the disk while a staging buffer is free. A lane is looked at when its producer has
//! passed its mark and called, or is about to, and once a timer turn: a turn costs time for the
//! lanes that log, not for those that exist, and a burst is seldom disturbed by a reader.

mod answer;
mod batch;
mod calls;
pub(crate) mod console;
mod end;
mod flight;
mod intake;
#[cfg(test)]
mod intake_tests;
mod kept;
mod loss_notice;
mod moved;
mod nap;
pub(crate) mod progress;
#[cfg(test)]
mod progress_tests;
mod queue;
mod rest;
mod segments;
pub(crate) mod spill;
mod sync;
pub(crate) mod tap;
mod spans;
mod writer;
#[cfg(test)]
mod writer_tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;

use self::answer::Pending;
use self::batch::Batch;
use self::calls::Watch;
pub(crate) use self::end::End;
use self::intake::{Intake, Taken};
use self::loss_notice::LossNotice;
use self::progress::{Ask, Progress, Ticket};
use self::spill::Spill;
pub(crate) use self::segments::SegmentPlan;
use self::segments::Segments;
use self::queue::Op;
pub(crate) use self::queue::Queue;
pub(crate) use self::writer::{WriterSetup, run as run_writer};
use self::tap::Tap;
use crate::config::Durability;
use crate::lane::catalog::{Catalog, CatalogView};
use crate::lane::hand_out::Lane;
use crate::lane::lanes::Lanes;
use crate::lane::park;
use crate::lane::staging::Staging;
use crate::monitor::Mutex;
use crate::record::{Anchor, OpenSpans};
use crate::record::compact::Encoder;

/// Naps before the scribe sleeps, so that lanes which fill again soon do not pay for waking it.
const QUIET_TURNS: u32 = 20;
/// How often owner file and segment are looked for, and an idle logger does a whole turn.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What a scribe needs from its logger.
#[derive(Debug)]
pub(crate) struct ScribeSetup {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) parker: Parker,
    pub(crate) staging: Staging,
    pub(crate) plan: SegmentPlan,
    pub(crate) durability: Durability,
    pub(crate) write_within: Duration,
    /// [`crate::record::CODEC_COMPACT`] or raw.
    pub(crate) codec: u8,
    /// Reads the three clocks.
    pub(crate) now: fn() -> Anchor,
    /// Takes copies for the console, if there is one.
    pub(crate) tap: Option<Arc<Tap>>,
    pub(crate) spill: Option<Arc<Spill>>,
    /// The spans that are open, as far as the scribe and the spiller have seen.
    pub(crate) spans: Arc<Mutex<OpenSpans>>,
}

/// The consumer thread's state.
#[derive(Debug)]
pub(crate) struct Scribe {
    setup: ScribeSetup,
    catalog: CatalogView,
    encoder: Encoder,
    batch: Option<Batch>,
    intakes: Vec<Intake>,
    /// Indices of the intakes to look at: their producers have called, or are watched.
    called: Vec<usize>,
    /// A lane was past its mark again when it had been drained: there is no time for a nap.
    is_behind: bool,
    /// Staging ran out in the last turn.
    is_short: bool,
    /// Turns in a row in which nobody called.
    quiet_turns: u32,
    /// A producer has called while the scribe slept.
    was_called: bool,
    watch: Watch,
    /// The bit with which its producer calls, and the index, of each intake, in order.
    by_bit: Vec<(usize, usize)>,
    loss_notice: LossNotice,
    n_joined: u64,
    /// The place's round that lanes and staging were brought to.
    round: u64,
    segments: Segments,
    /// The segment in which open spans were told last, and how often they were told.
    retold: (u64, u32),
    pending: Vec<Pending>,
    /// Blocks handed to the file thread.
    n_blocks: u64,
    next_timer: Instant,
    /// When a turn looks at all there is again, though nothing seems to have happened.
    next_whole: Instant,
    next_sync: Instant,
    next_check: Instant,
    unsynced_blocks: bool,
}

/// Says that the scribe is gone, even when it panicked: nobody waits for it then.
struct Gone {
    lanes: Arc<Lanes>,
    progress: Arc<Progress>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.lanes.set_scribe_gone();
        self.progress.end();
    }
}

impl Scribe {
    pub(crate) fn new(setup: ScribeSetup) -> Self {
        let now = Instant::now();
        Self {
            catalog: CatalogView::new(setup.catalog.clone()),
            encoder: Encoder::new(),
            batch: None,
            intakes: Vec::new(),
            called: Vec::new(),
            is_behind: false,
            is_short: false,
            quiet_turns: 0,
            was_called: false,
            watch: Watch::new(setup.write_within / 2, now),
            by_bit: Vec::new(),
            loss_notice: LossNotice::default(),
            n_joined: 0,
            round: 0,
            segments: Segments::new(setup.plan.clone(), setup.lanes.logger),
            retold: (0, 0),
            pending: Vec::new(),
            n_blocks: 0,
            next_timer: now,
            next_whole: now,
            next_sync: now,
            next_check: now + CHECK_EVERY,
            unsynced_blocks: false,
            setup,
        }
    }

    /// Runs until the end was asked for.
    pub(crate) fn run(mut self) -> End {
        // Naps are short: without this the kernel makes 150 µs of 50.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
        let _gone = Gone { lanes: self.setup.lanes.clone(), progress: self.setup.progress.clone() };
        self.setup.lanes.prepare_spares(1);
        loop {
            if let Some(ask) = self.turn() {
                if let Ask::Exit(tid) = ask.1 {
                    self.setup.lanes.set_exiting(tid);
                }
                return self.finish(ask);
            }
            let is_idle = self.called.is_empty() && self.pending.is_empty();
            if self.is_behind {
                continue;
            }
            if is_idle && self.quiet_turns >= QUIET_TURNS {
                self.sleep();
            } else {
                std::thread::sleep(self.nap());
            }
        }
    }

    /// One turn; the request for the end once everything before it is handed over.
    fn turn(&mut self) -> Option<(Ticket, Ask)> {
        for buffer in self.setup.queue.take_free() {
            self.setup.staging.give_back(buffer);
        }
        if self.setup.queue.take_vanished() {
            self.segments.lose();
        }
        let now = Instant::now();
        let asked = self.setup.progress.take_asked();
        let timer = now >= self.next_timer || !asked.is_empty();
        let mut wall_ns = i64::MIN;
        if timer {
            self.next_timer = now + self.setup.write_within / 2;
            if asked.is_empty() && now < self.next_whole && self.is_quiet() {
                self.quiet_turns += 1;
                self.watch.looked_at_all(now);
                self.sync_when_due(now);
                return None;
            }
            self.next_whole = now + CHECK_EVERY;
            let now = (self.setup.now)();
            wall_ns = now.wall_ns;
            self.setup.lanes.place.add_anchor(now);
            self.follow_place();
            self.meet_new_lanes();
            self.forget_abandoned();
        }
        self.hear_asked(asked);
        self.hear_ready(now, timer);
        if let Some(spill) = &self.setup.spill {
            spill.look();
        }
        let drained = self.drain(timer || !self.pending.is_empty());
        if let Some(tap) = self.setup.tap.as_ref().filter(|_| timer && drained) {
            tap.mark();
        }
        if timer {
            // Before lanes go with what they have not told yet.
            self.tell_losses();
            self.take_back_ended();
            self.setup.lanes.prepare_spares(1);
        }
        if timer || !self.pending.is_empty() && drained {
            self.seal();
        }
        // Also while nobody logs; what is of before the boundary was sealed above.
        self.segments.look_at_clock(wall_ns);
        if let Some(end) = self.segments.roll_if_due(self.setup.durability) {
            self.setup.queue.push(end);
        }
        self.sync_when_due(now);
        self.answer()
    }

    /// True when nothing happened since the last turn that this one could do something about: most
    /// turns of a process that does not log, which cost a load for each lane then.
    fn is_quiet(&self) -> bool {
        let lanes = &self.setup.lanes;
        self.pending.is_empty()
            && self.called.is_empty()
            && self.batch.as_ref().is_none_or(Batch::is_empty)
            && lanes.n_joined() == self.n_joined
            && lanes.place.round() == self.round
            && !lanes.ready.is_set()
            && !lanes.overflow.is_wanted()
            && self.intakes.iter().all(Intake::is_quiet)
    }

    /// Leaves memory behind that has no name any more, when the place was made again: threads get
    /// new lanes with their next calls, and what lies in the old ones is taken from there.
    fn follow_place(&mut self) {
        let round = self.setup.lanes.place.round();
        if round == self.round || !self.setup.lanes.renew() {
            return;
        }
        self.round = round;
        self.n_joined = 0;
        self.meet_new_lanes();
        let unnamed = self.intakes.iter().filter(|intake| intake.lane.round < round);
        unnamed.for_each(|intake| intake.lane.stop());
        self.seal();
        if let Some(batch) = self.batch.take() {
            self.setup.staging.give_back(batch.into_buffer());
        }
    }

    fn meet_new_lanes(&mut self) {
        let n_joined = self.setup.lanes.n_joined();
        if n_joined == self.n_joined {
            return;
        }
        self.n_joined = n_joined;
        let mut new = Vec::new();
        let known: std::collections::HashSet<u32> =
            self.intakes.iter().map(|intake| intake.lane.generation).collect();
        self.setup.lanes.registry.walk(|lane| {
            if !known.contains(&lane.generation) {
                new.push(lane.clone());
            }
        });
        // Oldest first, so that a thread's lanes stand in the order of their use.
        new.sort_by_key(|lane: &Arc<Lane>| lane.generation);
        // One whose memory was made before the place was made again.
        new.iter().filter(|lane| lane.round < self.round).for_each(|lane| lane.stop());
        let tap = &self.setup.tap;
        self.intakes.extend(new.into_iter().map(|lane| Intake::new(lane).tapped(tap.clone())));
        self.index_intakes();
    }

    /// Drains the lanes that called or are watched, or all; false when staging ran out, or a producer
    /// was in the way for a moment.
    fn drain(&mut self, all: bool) -> bool {
        let called = std::mem::take(&mut self.called);
        if all {
            self.setup.lanes.count_interrupted();
        }
        self.is_short = false;
        let indices = if all { (0..self.intakes.len()).collect() } else { called };
        let mut complete = true;
        for &index in &indices {
            let is_drained = self.drain_one(index);
            complete &= is_drained;
            if !is_drained {
                self.called.push(index);
            }
        }
        // A producer that is about to park sees the new head, or this thread sees it waiting.
        park::fence_heads();
        self.is_behind = false;
        for &index in &indices {
            let intake = &self.intakes[index];
            intake.lane.wake_producer();
            self.is_behind |= complete && intake.is_past_mark();
        }
        complete
    }

    /// Drains one lane, after those that its thread had before.
    fn drain_one(&mut self, index: usize) -> bool {
        if let Some(older) = self.intakes[index].lane.older_with_records() {
            let older = self.intakes.iter().position(|intake| intake.lane.generation == older);
            if let Some(older) = older
                && !self.drain_one(older)
            {
                return false;
            }
            if self.intakes[index].lane.older_with_records().is_some() {
                return true;
            }
        }
        // What comes after this tail waits for the next turn, so that a flood starves nobody.
        let until = self.intakes[index].look();
        loop {
            if self.intakes[index].is_empty() {
                return true;
            }
            if !self.has_batch() {
                return false;
            }
            if self.retold.0 != self.segments.n_begun_next() {
                self.retell();
            }
            let Some(batch) = &mut self.batch else { return false };
            let (encoder, catalog) = (&mut self.encoder, &self.catalog);
            let intake = &mut self.intakes[index];
            if let Some(end) = intake.end_before() {
                // Without records there is nothing that could be malformed.
                let _ = batch.add(encoder, catalog, end, &[], 0, self.setup.codec);
            }
            let taken = intake.take(until, batch, encoder, catalog, self.setup.codec);
            self.encoder.take_spans(|records| self.setup.spans.lock().note(records));
            match taken {
                Taken::BlockFull => self.seal(),
                Taken::All => return true,
                Taken::Busy => return false,
            }
        }
    }

    /// Makes sure that there is a block to fill; false when all staging is on its way to the disk.
    fn has_batch(&mut self) -> bool {
        if self.batch.is_none() {
            let buffer = self.setup.staging.take(&self.setup.lanes);
            if buffer.is_none() {
                self.setup.queue.set_short();
                self.segments.set_slow();
            }
            self.batch = buffer.map(|buffer| Batch::new(buffer, &mut self.encoder));
            if self.segments.has_boundary() {
                self.segments.look_at_clock((self.setup.now)().wall_ns);
            }
        }
        self.is_short = self.batch.is_none();
        !self.is_short
    }

    /// Ends the current block, if there is anything in it, and hands it to the file thread.
    fn seal(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        if batch.is_empty() {
            self.batch = Some(batch);
            return;
        }
        let now = (self.setup.now)();
        let (first, last) = batch.ticks(&now);
        let mut anchors = self.setup.lanes.place.anchors_around(first, last);
        if anchors.last().is_none_or(|anchor| anchor.ticks < last || anchors.len() < 2) {
            anchors.push(now);
        }
        let queue = &self.setup.queue;
        if let Some(end) = self.segments.roll_if_due(self.setup.durability) {
            queue.push(end);
        }
        if let Some(begin) = self.segments.begin_if_needed(now.wall_ns, !queue.refuses_direct()) {
            queue.push(begin);
        }
        let ready = {
            let (salt, offset, seq) = self.segments.next_block();
            batch.seal(&self.encoder, salt, offset, seq, &anchors, self.segments.align())
        };
        self.setup.lanes.alarm.look(ready.entry.levels);
        self.segments.add(ready.entry, ready.len);
        queue.push(Op::Write {
            block: ready.block,
            offset: ready.entry.offset,
            events: ready.events,
        });
        self.n_blocks += 1;
        self.unsynced_blocks = true;
        if self.setup.durability == Durability::EveryBlock {
            self.sync_now();
        }
    }

    fn sync_now(&mut self) {
        self.setup.queue.push(Op::Sync);
        self.unsynced_blocks = false;
    }

    fn sync_when_due(&mut self, now: Instant) {
        if let Durability::Interval(interval) = self.setup.durability
            && self.unsynced_blocks
            && now >= self.next_sync
        {
            self.next_sync = now + interval;
            self.sync_now();
        }
        if now >= self.next_check {
            self.next_check = now + CHECK_EVERY;
            self.setup.queue.push_if_idle(Op::Check);
            self.setup.staging.trim(&self.setup.lanes);
        }
    }

    /// Gives lanes back whose threads ended and that are empty.
    fn take_back_ended(&mut self) {
        let is_done = |intake: &Intake| intake.lane.is_ended() && intake.is_empty();
        if !self.intakes.iter().any(is_done) {
            return;
        }
        let is_done = |intake: &Intake| is_done(intake) && intake.close();
        let intakes = std::mem::take(&mut self.intakes).into_iter();
        let (done, kept): (Vec<_>, _) = intakes.partition(is_done);
        self.intakes = kept;
        // Their numbers change; all lanes were looked at in this turn.
        self.called.clear();
        self.index_intakes();
        let lanes: Vec<_> = done.into_iter().map(|intake| intake.lane).collect();
        self.setup.lanes.take_back(&lanes);
    }
}
