//! Lanes: all lanes of one logger: handing out, exchange, spares, and what is lost without one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;
use parking_lot::Mutex;

use super::alarm::Alarm;
use super::common::Common;
use super::full::OnFull;
use super::hand_out::Lane;
use super::living;
use super::memory::Memory;
use super::overflow::Overflow;
use super::place::Place;
use super::ready::Ready;
use super::registry::Registry;
use crate::record::{Cause, Level, Losses, RECORD_BYTES_MAX};
use crate::sync::barrier;

/// Size of a thread's first lane.
pub(crate) const FIRST_BYTES: usize = 32 << 10;
/// Size of the lane that a burst gets.
pub(crate) const BURST_BYTES: usize = 256 << 10;
/// First generation of a recorder's lanes: no ordinary lane comes so far, so that number and
/// generation name a hand-out of either kind (S1).
const RECORDER_GENERATION: u32 = 1 << 31;
/// How long the end of a logger waits for a thread that stands inside a log call.
const STRAGGLER_WAIT: Duration = Duration::from_secs(1);
/// Spares of one size that are kept.
const SPARES_MAX: usize = 16;

#[derive(Debug)]
struct Spare {
    id: u32,
    /// The place's round when it was made.
    round: u64,
    memory: Arc<Memory>,
}

/// All lanes of one logger.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The logger's number within the process, never 0.
    pub(crate) serial: u32,
    /// The logger's random id.
    pub(crate) logger: u64,
    /// Where the lanes lie.
    pub(crate) place: Place,
    /// Every lane that was handed out and not yet taken back.
    pub(crate) registry: Registry<Arc<Lane>>,
    /// How producers reach the scribe.
    pub(crate) ready: Ready,
    /// The lane of threads that have none of their own.
    pub(crate) common: Common,
    /// Size of the largest lane.
    lane_bytes: usize,
    record_bytes_max: usize,
    /// What a call does when its lane is full.
    pub(super) on_full: OnFull,
    /// How producers ask for the spiller.
    pub(crate) overflow: Overflow,
    /// Raised by events that ask for a dump.
    pub(crate) alarm: Alarm,
    spares: [Mutex<VecDeque<Spare>>; 3],
    next_id: AtomicU32,
    next_generation: AtomicU32,
    n_joined: AtomicU64,
    scribe_gone: AtomicBool,
    /// A living thread had no room for a lane of its own.
    laneless: AtomicBool,
    /// The thread that ends the process; 0 while nobody does.
    exiting: AtomicU32,
    /// The process that they are of, counted in forks.
    generation: u32,
    closed: AtomicBool,
    /// Losses of lanes that were taken back, and of threads without one.
    past: Mutex<Past>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Past {
    losses: Losses,
    truncated: u64,
}

/// What a logger needs to begin.
#[derive(Debug)]
pub(crate) struct LanesSetup {
    pub(crate) serial: u32,
    pub(crate) logger: u64,
    pub(crate) place: Place,
    pub(crate) lane_bytes: usize,
    pub(crate) on_full: OnFull,
}

impl Lanes {
    /// The lanes of a new logger, none handed out but the common one, and its scribe's parker.
    pub(crate) fn new(setup: LanesSetup) -> io::Result<(Self, Parker)> {
        let LanesSetup { serial, logger, place, lane_bytes, on_full } = setup;
        let record_bytes_max = (lane_bytes / 2).min(RECORD_BYTES_MAX);
        let size = BURST_BYTES.min(lane_bytes);
        let round = place.round();
        let memory = place
            .memory(&place.lane_file(0), size, 2)
            .or_else(|_| place.memory(&place.lane_file(0), FIRST_BYTES.min(lane_bytes), 4))?;
        let record_common = record_bytes_max.min(memory.data_len() / 2);
        let generation = if place.is_recorder() { RECORDER_GENERATION } else { 1 };
        let lane = Lane::new(Arc::new(memory), (0, round), generation, 0, String::new(), None);
        lane.write_identity(logger);
        let lane = Arc::new(lane);
        let common = Common::new(lane.clone(), serial, record_common as u64);
        lane.publish();
        let (ready, parker) = Ready::new();
        let registry = Registry::new();
        registry.join(lane);
        let lanes = Self {
            serial,
            logger,
            place,
            registry,
            ready,
            common,
            lane_bytes,
            record_bytes_max,
            on_full,
            overflow: Overflow::default(),
            alarm: Alarm::default(),
            spares: Default::default(),
            next_id: AtomicU32::new(1),
            next_generation: AtomicU32::new(generation + 1),
            n_joined: AtomicU64::new(1),
            scribe_gone: AtomicBool::new(false),
            laneless: AtomicBool::new(false),
            exiting: AtomicU32::new(0),
            generation: super::process::generation(),
            closed: AtomicBool::new(false),
            past: Mutex::default(),
        };
        Ok((lanes, parker))
    }

    /// True in a process that was forked from the one that made them: they are not its to write to.
    #[inline]
    pub(crate) fn is_parents(&self) -> bool {
        self.generation != super::process::generation()
    }

    /// The three sizes of lanes, smallest first.
    fn sizes(&self) -> [usize; 3] {
        [FIRST_BYTES.min(self.lane_bytes), BURST_BYTES.min(self.lane_bytes), self.lane_bytes]
    }

    /// The longest record that a lane of `lane_bytes` takes.
    pub(crate) fn record_bytes_max(&self, lane: &Lane) -> usize {
        self.record_bytes_max.min(lane.memory.data_len() / 2)
    }

    /// The longest record that any lane of this logger takes.
    pub(crate) fn record_bytes_limit(&self) -> usize {
        self.record_bytes_max
    }

    /// How much of the bound growth may use, as a fraction of 4.
    fn growth(&self) -> u64 {
        // Of a recorder's bytes most are for the threads that are busy.
        if self.place.is_recorder() { 3 } else { 2 }
    }

    /// A lane for a thread's first event, or for the first behind `before`, whose file went; an
    /// error when there is no room for it. The caller attaches its producer, then lets it `join`.
    pub(crate) fn hand_out(
        &self,
        tid: u32,
        thread: String,
        before: Option<Arc<Lane>>,
    ) -> io::Result<Arc<Lane>> {
        // Not in the match itself, which would hold the lock while it makes one.
        let spare = self.spares[0].lock().pop_front();
        let spare = match spare {
            Some(spare) => spare,
            None => self.make(self.sizes()[0], 4)?,
        };
        Ok(self.lane(spare, tid, thread, before))
    }

    /// Leaves memory behind that has no name any more, since the place was made again: spares go,
    /// the common lane is replaced. Only the scribe calls it; it stops the other lanes when it
    /// meets them. True when all is done.
    pub(crate) fn renew(&self) -> bool {
        let round = self.place.round();
        for spares in &self.spares {
            spares.lock().retain(|spare| {
                let stays = spare.round == round;
                if !stays {
                    self.place.release(spare.memory.data_len());
                }
                stays
            });
        }
        let old = self.common.lane();
        if old.round == round {
            return true;
        }
        let name = self.place.lane_file(0);
        let Ok(memory) = self.place.memory(&name, old.memory.data_len(), 4) else {
            return false;
        };
        let record_bytes_max = self.record_bytes_max.min(memory.data_len() / 2) as u64;
        let spare = Spare { id: 0, round, memory: Arc::new(memory) };
        let new = self.lane(spare, 0, String::new(), Some(old.clone()));
        if !self.common.replace(new.clone(), self.serial, record_bytes_max) {
            self.place.forget(&name, new.memory.data_len());
            return false;
        }
        old.stop();
        self.join(new);
        true
    }

    /// A larger lane instead of this one, if one is ready that takes a record of `len` bytes, or
    /// may be made when `make` says so: this one never will. The caller attaches its producer, ends
    /// the old lane, then lets the new one `join`.
    pub(crate) fn exchange(&self, old: &Arc<Lane>, len: usize, make: bool) -> Option<Arc<Lane>> {
        let sizes = self.sizes();
        let larger = (1..3).filter(|&class| sizes[class] > old.memory.data_len());
        let mut fitting = larger.filter(|&class| sizes[class] / 2 >= len);
        let ready = fitting.clone().find_map(|class| self.spares[class].try_lock()?.pop_front());
        let spare = match ready {
            Some(spare) => spare,
            None if make => self.make(sizes[fitting.next()?], self.growth()).ok()?,
            None => return None,
        };
        Some(self.lane(spare, old.tid, old.thread.clone(), Some(old.clone())))
    }

    /// True for a lane that is not exchanged for a larger one.
    pub(crate) fn is_largest(&self, lane: &Lane) -> bool {
        lane.memory.data_len() >= self.lane_bytes
    }

    /// True when the scribe looks at lanes that are on the list without being woken.
    pub(crate) fn is_scribe_awake(&self) -> bool {
        !self.ready.is_sleeping()
    }

    /// Lets the scribe see a lane.
    pub(crate) fn join(&self, lane: Arc<Lane>) {
        lane.publish();
        self.registry.join(lane);
        // ord: Release, pairs with the Acquire in `n_joined`: the walk that follows sees it.
        self.n_joined.fetch_add(1, Ordering::Release);
        // ord: SeqCst, pairs with the fence in `close`: the walk there sees this lane, or its thread
        // sees that the place is going.
        fence(Ordering::SeqCst);
    }

    /// Number of joins so far: the scribe's cue to walk the registry.
    pub(crate) fn n_joined(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `join`.
        self.n_joined.load(Ordering::Acquire)
    }

    /// Keeps one spare of each larger size that lanes may still be exchanged for; the scribe calls
    /// it off the log call, since a fresh lane costs half a millisecond.
    pub(crate) fn prepare_spares(&self, wanted: usize) {
        let sizes = self.sizes();
        for class in 1..3 {
            if sizes[class] == sizes[class - 1] {
                continue;
            }
            while self.spares[class].lock().len() < wanted {
                let Ok(spare) = self.make(sizes[class], self.growth()) else { return };
                self.spares[class].lock().push_back(spare);
            }
        }
    }

    /// Takes back lanes that have ended, were emptied and closed.
    pub(crate) fn take_back(&self, emptied: &[Arc<Lane>]) {
        if emptied.is_empty() {
            return;
        }
        // Under the lock of the sums, so that nobody adds up a lane twice, or not at all.
        let mut past = self.past.lock();
        self.registry.leave(|lane| emptied.iter().any(|gone| Arc::ptr_eq(gone, lane)));
        for lane in emptied {
            past.losses.add_all(&lane.losses());
            past.truncated += lane.truncated();
        }
        drop(past);
        for lane in emptied {
            let len = lane.memory.data_len();
            if lane.is_stopped() {
                self.place.release(len);
                continue;
            }
            let class = self.sizes().iter().position(|&size| size == len).unwrap_or(0);
            let mut spares = self.spares[class].lock();
            let most = match class {
                0 => SPARES_MAX,
                _ if self.place.is_recorder() => 1,
                _ => 2,
            };
            if spares.len() < most {
                let (id, round) = (lane.id, lane.round);
                spares.push_back(Spare { id, round, memory: lane.memory.clone() });
            } else {
                self.place.forget(&self.place.lane_file(lane.id), len);
            }
        }
    }

    /// Says that a living thread uses the common lane for want of room.
    pub(crate) fn set_laneless(&self) {
        // ord: Relaxed, a check at the end of the process.
        self.laneless.store(true, Ordering::Relaxed);
    }

    /// True when a thread ever had to use the common lane for want of room.
    pub(crate) fn has_laneless(&self) -> bool {
        // ord: Relaxed, a check.
        self.laneless.load(Ordering::Relaxed)
    }

    /// Counts an event that no lane could take.
    pub(crate) fn count_loss(&self, cause: Cause, level: Level) {
        self.common.count_loss(cause, level);
    }

    /// Counts on the common lane what signal handlers could not count on any, so that it is told.
    pub(crate) fn count_interrupted(&self) {
        for level in Level::ALL {
            let n = living::take_interrupted(self.serial, level);
            if n > 0 {
                self.common.lane().count_loss(Cause::Reentrant, level, n);
            }
        }
    }

    /// Everything that was lost, and how many records were cut.
    pub(crate) fn losses(&self) -> (Losses, u64) {
        let past = self.past.lock();
        let (mut losses, mut truncated) = (past.losses, past.truncated);
        self.registry.walk(|lane| {
            losses.add_all(&lane.losses());
            truncated += lane.truncated();
        });
        drop(past);
        (losses, truncated)
    }

    /// Says that the place is about to go: what comes now is lost, and counted. A lane whose thread
    /// did not see it yet has joined, and is seen by the walk that follows. False when a thread is
    /// inside the common lane and does not come out.
    pub(crate) fn close(&self) -> bool {
        // ord: SeqCst, pairs with the loads in `is_closed`, by the fences around both.
        self.closed.store(true, Ordering::SeqCst);
        // ord: SeqCst, pairs with the fence in `join`.
        fence(Ordering::SeqCst);
        // Nobody comes out of the latch afterwards who has not seen it.
        let began = Instant::now();
        while self.common.with(|_| ()).is_none() {
            if began.elapsed() > STRAGGLER_WAIT {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        true
    }

    /// Stops the producers of lanes whose files are to go: what they have not committed when this
    /// returns true they never will. False when a thread stands inside a log call for too long.
    pub(crate) fn stop(&self, lanes: &[Arc<Lane>]) -> bool {
        for lane in lanes {
            lane.stop();
        }
        if !(barrier::is_ready() && barrier::run()) {
            // No processor holds a store back for nearly as long.
            std::thread::sleep(Duration::from_millis(5));
        }
        let began = Instant::now();
        for lane in lanes {
            while lane.is_writing() {
                if began.elapsed() > STRAGGLER_WAIT {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        true
    }

    /// Takes `close` back: something was found, and the place stays.
    pub(crate) fn reopen(&self) {
        // ord: Relaxed, a hint from here on.
        self.closed.store(false, Ordering::Relaxed);
    }

    /// True when what is written now would go with the place.
    pub(crate) fn is_closed(&self) -> bool {
        // ord: Acquire, pairs with `close`; ordered behind a join by the fence there.
        self.closed.load(Ordering::Acquire)
    }

    /// Says that nobody takes from these lanes any more: whoever waits, or would, loses at once.
    pub(crate) fn set_scribe_gone(&self) {
        // ord: Relaxed, a check in loops that look again.
        self.scribe_gone.store(true, Ordering::Relaxed);
        self.registry.walk(|lane| lane.wake_producer());
    }

    /// True when nobody takes from these lanes any more.
    pub(crate) fn is_scribe_gone(&self) -> bool {
        // ord: Relaxed, a check.
        self.scribe_gone.load(Ordering::Relaxed)
    }

    /// Says that the process ends, by this thread: the others log until the last moment.
    pub(crate) fn set_exiting(&self, tid: u32) {
        // ord: Relaxed, stored before `scribe_gone` by the same thread, and only a hint.
        self.exiting.store(tid, Ordering::Relaxed);
    }

    /// True when waiting for room is in vain: nobody takes from the lanes, and the process goes on.
    ///
    /// While it ends, threads that still log rather wait for its last moment than lose events; the
    /// thread that ends it must not wait.
    pub(crate) fn waits_in_vain(&self) -> bool {
        // ord: Relaxed, a check in loops that look again.
        let exiting = || self.exiting.load(Ordering::Relaxed);
        self.is_scribe_gone() && (exiting() == 0 || exiting() == super::thread::id())
    }

    /// Removes the files of a lane for good.
    pub(crate) fn remove(&self, lane: &Lane) {
        self.place.forget(&self.place.lane_file(lane.id), lane.memory.data_len());
    }

    fn make(&self, len: usize, share: u64) -> io::Result<Spare> {
        // ord: Relaxed, a counter.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Before the memory: at worst it is taken for older than it is.
        let round = self.place.round();
        let memory = Arc::new(self.place.memory(&self.place.lane_file(id), len, share)?);
        Ok(Spare { id, round, memory })
    }

    fn lane(&self, spare: Spare, tid: u32, thread: String, old: Option<Arc<Lane>>) -> Arc<Lane> {
        // ord: Relaxed, a counter.
        let generation = self.next_generation.fetch_add(1, Ordering::Relaxed);
        let file = (spare.id, spare.round);
        // Made where it stays: a copy on the stack would be a page more of each thread's.
        let lane = Arc::new(Lane::new(spare.memory, file, generation, tid, thread, old));
        lane.write_identity(self.logger);
        lane
    }
}
