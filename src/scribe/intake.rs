//! Intake: the scribe's end of one lane.

use std::sync::Arc;

use super::batch::Batch;
use super::tap::Tap;
use crate::lane::catalog::CatalogView;
use crate::lane::hand_out::Lane;
use crate::lane::lines::Lines;
use crate::lane::outlet::Taking;
use crate::lane::park;
use crate::record::compact::Encoder;
use crate::record::{Cause, HEAD_BYTES, Head, Level, Losses, RunHead};

/// Bytes of a lane that are encoded before its head moves: its producer waits no longer than that.
const STRIDE_BYTES: usize = 64 << 10;

/// Lines of records that are longer on average are not given up: memory takes them more slowly than
/// the producer's processor.
const LONG_BYTES: usize = 192;

/// Rounds of looking whether a producer is done.
const SPINS: u32 = 300;

/// How often the end of a lane is told at the head of the next one: once more when the block was
/// full behind it, and not for ever, since a record may need a block for itself.
const ENDS_MAX: u32 = 2;

/// What one look at a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Everything that was there.
    All,
    /// The block is full; there is more.
    BlockFull,
    /// Another thread is the lane's consumer at this moment.
    Busy,
}

/// Losses as of the last look, and the position behind which they came.
#[derive(Debug, Default)]
struct Noted {
    version: u64,
    /// As a rule there are none, and lanes are many.
    losses: Option<Box<Losses>>,
    at: u64,
}

impl Noted {
    fn losses(&self) -> &Losses {
        self.losses.as_deref().unwrap_or(&Losses::NONE)
    }
}

/// The scribe's end of one lane.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) lane: Arc<Lane>,
    noted: Noted,
    losses_version: u64,
    /// Losses told since `take_lost`.
    lost: u64,
    /// Takes copies for the console.
    tap: Option<Arc<Tap>>,
    /// The hand-out that the thread had before, while its end is still to be told.
    before: Option<Arc<Lane>>,
    /// How often that may be done.
    n_ends_left: u32,
    lines: Lines,
    /// The last records were too long for their lines to be given up.
    pub(super) is_long: bool,
}

impl Intake {
    pub(crate) fn new(lane: Arc<Lane>) -> Self {
        let before = lane.before();
        Self {
            lane,
            noted: Noted::default(),
            losses_version: 0,
            lost: 0,
            tap: None,
            before,
            n_ends_left: ENDS_MAX,
            lines: Lines::default(),
            is_long: false,
        }
    }

    /// The same, with copies for a console.
    pub(crate) fn tapped(self, tap: Option<Arc<Tap>>) -> Self {
        Self { tap, ..self }
    }

    /// Position behind the last record that was taken, or evicted.
    pub(crate) fn head(&self) -> u64 {
        self.lane.memory().head()
    }

    /// True when nothing is left that is committed now, and no loss is untold.
    pub(crate) fn is_empty(&self) -> bool {
        self.head() == self.lane.memory().tail()
            && self.losses_version == self.lane.losses_version()
    }

    /// The same for sure: while no other thread is the lane's consumer (O5 of outlet).
    pub(crate) fn is_emptied(&self) -> bool {
        self.lane.outlet.try_take().is_some_and(|_taking| self.is_empty())
    }

    /// Closes a lane that has ended, if it is empty for sure.
    pub(crate) fn close(&self) -> bool {
        self.lane.outlet.close(|| self.is_empty())
    }

    /// True when there is nothing to take, and the lane cannot be taken back either.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_empty() && !self.lane.is_ended()
    }

    /// True when the lane holds so much that its producer has called, or will not before it is full.
    pub(crate) fn is_past_mark(&self) -> bool {
        self.holds_part(4)
    }

    /// True when the lane holds more than one `part`th of what it can.
    pub(crate) fn holds_part(&self, part: u64) -> bool {
        let memory = self.lane.memory();
        memory.tail().saturating_sub(self.head()) > memory.data_len() as u64 / part
    }

    /// Notes what was lost so far and where, then how far the lane is committed.
    pub(crate) fn look(&mut self) -> u64 {
        let (lane, version) = (&self.lane, self.lane.losses_version());
        if version != self.noted.version {
            let losses = Some(Box::new(lane.losses()));
            self.noted = Noted { version, losses, at: lane.lost_at() };
        }
        lane.memory().tail()
    }

    /// A run without records at the end of the hand-out that the thread had before this one, which
    /// has been emptied: in the block where this one begins, so that a power cut which takes blocks
    /// of both leaves numbers to miss them by.
    pub(crate) fn end_before(&mut self) -> Option<RunHead> {
        let lane = self.before.as_ref()?;
        let head = run_head(lane, lane.outlet.reached());
        self.n_ends_left -= 1;
        if self.n_ends_left == 0 {
            self.before = None;
        }
        Some(head)
    }

    /// How many losses were told since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Encodes what is committed up to `until`, the answer of a look, into the batch and gives the
    /// bytes back to the producer, stride by stride.
    ///
    /// Losses are told where they happened: what was evicted was older than what is left, so it
    /// stands before the first run; what found no room came when the lane was full, so it stands, in
    /// a run of its own, behind the records that were there.
    pub(crate) fn take(
        &mut self,
        until: u64,
        batch: &mut Batch,
        encoder: &mut Encoder,
        catalog: &CatalogView,
        codec: u8,
    ) -> Taken {
        let capacity = self.lane.memory().data_len() as u64;
        // Beside a producer that goes on; behind a burst nobody waits for lines.
        let is_flood = until.saturating_sub(self.head()) > capacity / 4;
        let mut has_looked = !is_flood || self.is_long;
        while self.head() < until || self.has_news() {
            // For one stride: a producer that wants to evict something gets in between.
            let Some(mut taking) = try_take(&self.lane) else { return Taken::Busy };
            let was = taking.head();
            let end = match self.noted.at.min(until) {
                _ if !self.has_news() => until,
                // Losses alone.
                at if at <= was => was,
                at => at,
            };
            let committed = taking.committed(end);
            let at_end = (was + committed.len() as u64).is_multiple_of(capacity);
            if !committed.is_empty() && committed.len() < HEAD_BYTES && at_end {
                let pad = committed.len() as u64;
                taking.give_back(pad, 0);
                continue;
            }
            if !has_looked {
                self.lines.look(committed);
                has_looked = true;
            }
            let stride = &committed[..committed.len().min(stride_end(committed))];
            let told = taking.told();
            let before = if stride.is_empty() { self.noted.losses() } else { &told };
            let losses = before.with(Cause::Evicted, &self.lane.losses());
            let lost = losses.since(&told).total();
            let head = run_head(&self.lane, (taking.head(), taking.n_taken(), losses));
            let encoded = match batch.add(encoder, catalog, head, stride, lost, codec) {
                Ok(encoded) if encoded.written == 0 => return Taken::BlockFull,
                Ok(encoded) => encoded,
                Err(_) => {
                    // Only a stray write of the program itself can do that to a lane. Where the
                    // next record begins is not known, but behind the buffer's end one does.
                    let unread = committed.len() as u64;
                    self.lane.count_loss(Cause::Damaged, Level::Error, 1);
                    taking.give_back(unread, 0);
                    drop(taking);
                    self.look();
                    continue;
                }
            };
            if let Some(tap) = &self.tap {
                let (run, lost) = ((self.lane.tid, &*self.lane.thread), losses.since(&told));
                tap.add(run, lost, &stride[..encoded.consumed]);
            }
            self.lost += lost;
            if stride.is_empty() {
                self.losses_version = self.noted.version;
            }
            if encoded.count > 0 {
                self.is_long = encoded.consumed >= LONG_BYTES * encoded.count as usize;
            }
            if is_flood && !self.is_long {
                self.lines.give_up(&stride[..encoded.consumed]);
            }
            if lost > 0 {
                taking.set_told(losses);
            }
            taking.give_back(encoded.consumed as u64, u64::from(encoded.count));
            drop(taking);
            if encoded.consumed > 0 {
                self.before = None;
            }
            self.wake_early(until, was);
        }
        Taken::All
    }

    /// True while a loss that was noted was not told.
    fn has_news(&self) -> bool {
        self.noted.version != self.losses_version
    }

    /// Wakes the producer, if it waits, as soon as half of the lane is free: it goes on beside the
    /// rest of the turn, and not for a few records only.
    fn wake_early(&mut self, until: u64, was: u64) {
        let half = self.lane.memory().data_len() as u64 / 2;
        if until.saturating_sub(self.head()) <= half && until.saturating_sub(was) > half {
            park::fence_heads();
            self.lane.wake_producer();
        }
    }
}

/// Makes the caller a lane's consumer; a producer that is it is done in a moment, as a rule.
pub(super) fn try_take(lane: &Lane) -> Option<Taking<'_>> {
    for _ in 0..SPINS {
        if let Some(taking) = lane.outlet.try_take() {
            return Some(taking);
        }
        std::hint::spin_loop();
    }
    None
}

/// The head of a run of what is taken from a lane that has come so far, with what it tells as lost.
pub(super) fn run_head(lane: &Lane, (head, n_taken, losses): (u64, u64, Losses)) -> RunHead {
    RunHead {
        lane: lane.id,
        generation: lane.generation,
        position: head,
        end: head,
        first_record: n_taken,
        count: 0,
        tid: lane.tid,
        thread: lane.thread.clone(),
        losses,
    }
}

/// How much to encode at once: a stride, or one record when the first is longer.
pub(super) fn stride_end(committed: &[u8]) -> usize {
    let first = Head::read(committed).map_or(0, |head| head.len());
    STRIDE_BYTES.max(first)
}
