//! Recorder: the lanes of events that the filter leaves out, and the way there.
//!
//! A flight recorder is a second set of lanes in the same place, under [`OnFull`]'s eviction, which
//! nobody takes from: a full lane gives its own oldest records up (the model of that is
//! `models_shared::o1_a_record_is_taken_or_evicted_once`). A statement that the filter leaves out and the recorder wants
//! names the recorder where others name their logger, so that the word by which it decides stays one
//! load and a branch, and an ordinary event meets nothing new: a call with a recorder's number is
//! refused by the thread's own producer, and goes on here.
//!
//! # Sharing
//!
//! A thread begins with a lane of 32 KiB. One that fills it gets 256 KiB, then a quarter of all
//! bytes, while three quarters of them are not in use; when they are, it keeps what it has. Threads
//! that find no room share one lane. Lanes of threads that ended stay readable, and are given up,
//! the oldest first, while those that lanes take are more than half of the bytes.
//!
//! # Failure
//!
//! What is not recorded is no loss of the log, and is counted nowhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::capture;
use super::entered;
use super::fill::{InSpan, Record, Tells, Whole, len_of};
use super::full::{OnFull, Step};
use super::handle;
use super::hand_out::Lane;
use super::kept;
use super::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use super::living::Living;
use super::places;
use super::process;
use super::ring::Producer;
use super::thread;
use crate::monitor::Mutex;
use crate::record::Level;

/// Set in the number of a recorder, which is otherwise its logger's: the bit below the mark of
/// producers.
pub(super) const RECORDER_SERIALS: u32 = 1 << 30;
/// The largest lane that readers from outside take.
const LANE_BYTES_MAX: usize = 64 << 20;

thread_local! {
    /// This thread's producer for one recorder: as a rule there is no other.
    static RECORDER: Producer = const { Producer::new() };
}

/// What a logger's recorder keeps.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Events from here on are kept.
    pub(crate) level: Level,
    pub(crate) lanes: Arc<Lanes>,
    bytes: u64,
    /// The place's round as of the last look.
    round: AtomicU64,
    /// False once it has ended: who looks after the lanes has the lock.
    is_open: Mutex<bool>,
}

impl Recorder {
    /// The recorder of a logger, with `bytes` for all its lanes.
    pub(crate) fn new(level: Level, bytes: usize, logger: &Lanes) -> io::Result<Self> {
        let place = logger.place.for_recorder(bytes as u64)?;
        let quarter = (bytes / 4 + 1).next_power_of_two() / 2;
        let round = place.round();
        let (lanes, _) = Lanes::new(LanesSetup {
            serial: logger.serial | RECORDER_SERIALS,
            logger: logger.logger,
            place,
            lane_bytes: quarter.clamp(FIRST_BYTES, LANE_BYTES_MAX),
            on_full: OnFull { steps: vec![Step::Evict], kept: None },
        })?;
        lanes.prepare_spares(1);
        let (lanes, is_open) = (Arc::new(lanes), Mutex::new(true));
        Ok(Self { level, lanes, bytes: bytes as u64, round: AtomicU64::new(round), is_open })
    }

    /// The number by which calls name it.
    pub(crate) fn serial(&self) -> u32 {
        self.lanes.serial
    }

    /// Looks after the lanes, from one thread: takes those back that are empty, gives up what too
    /// many threads left, and keeps spares ready.
    pub(crate) fn tend(&self) {
        let is_open = self.is_open.lock();
        if !*is_open {
            return;
        }
        let lanes = &self.lanes;
        self.follow_place();
        let (mut ended, mut bytes) = (Vec::new(), 0);
        lanes.registry.walk(|lane| {
            // Lets go of what was before, once that is empty.
            let _ = lane.older_with_records();
            bytes += lane.memory().data_len() as u64;
            if lane.is_ended() {
                ended.push(lane.clone());
            }
        });
        ended.sort_by_key(|lane: &Arc<Lane>| lane.generation);
        let is_gone = |lane: &Arc<Lane>| {
            if bytes > self.bytes / 2
                && let Some(mut taking) = lane.outlet.try_take()
            {
                taking.evict(u64::MAX, |_| Some(0));
            }
            let is_gone = lane.outlet.close(|| true);
            bytes -= if is_gone { lane.memory().data_len() as u64 } else { 0 };
            is_gone
        };
        let gone: Vec<_> = ended.into_iter().filter(is_gone).collect();
        lanes.take_back(&gone);
        lanes.prepare_spares(1);
    }

    /// Leaves memory behind that has no name any more, when the place was made again.
    fn follow_place(&self) {
        let lanes = &self.lanes;
        let round = lanes.place.round();
        // ord: Relaxed, under the lock.
        if round == self.round.load(Ordering::Relaxed) || !lanes.renew() {
            return;
        }
        // ord: Relaxed, as above.
        self.round.store(round, Ordering::Relaxed);
        lanes.registry.walk(|lane| {
            if lane.round < round {
                lane.stop();
            }
        });
    }

    /// Ends it and removes what it kept. Threads that are on their way find it closed.
    pub(crate) fn end(&self) {
        let mut is_open = self.is_open.lock();
        if !std::mem::replace(&mut *is_open, false) {
            return;
        }
        self.lanes.close();
        self.lanes.set_scribe_gone();
        if let Some(path) = self.lanes.place.path() {
            places::remove_recorder(path);
        }
    }
}

/// True for the number of a recorder.
#[inline(always)]
pub(super) fn is_recorder(serial: u32) -> bool {
    serial & RECORDER_SERIALS != 0 && serial != capture::SERIAL
}

/// Writes a record into this thread's lane of a recorder, which the call names by its number.
pub(crate) fn write_now<R: Record>(serial: u32, record: R) {
    let ticks = R::fast_ticks().unwrap_or_else(|| record.ticks());
    write(serial, ticks, record);
}

/// The same for a call that has read the clock.
#[inline]
pub(super) fn write<R: Record>(serial: u32, ticks: u64, record: R) {
    if record.tells() == Tells::Event
        && let span @ 1.. = entered::current(serial & !RECORDER_SERIALS)
    {
        return write_told(serial, ticks, InSpan(&record, span));
    }
    write_told(serial, ticks, record);
}

#[inline]
fn write_told<R: Record>(serial: u32, ticks: u64, record: R) {
    let payload = record.payload_len();
    let len = len_of(payload);
    RECORDER.with(|producer| {
        if !producer.write(serial, len, Whole { record: &record, ticks, payload }) {
            slowly(producer, serial, &record);
        }
    });
}

#[cold]
#[inline(never)]
fn slowly(producer: &Producer, serial: u32, record: &dyn Record) {
    if thread::is_internal() || process::is_forked() {
        return;
    }
    // A signal handler that interrupted the cold way records nothing.
    let Some(_cold) = thread::Cold::enter() else { return };
    let Living::Found(lanes) = kept::lanes_of(serial) else { return };
    let level = record.level();
    kept::register(&lanes);
    if producer.owner() == 0 || producer.owner() == serial {
        handle::write_slowly(producer, false, &lanes, level, record);
    } else if let Some(named) = kept::named_producer(&lanes) {
        // Another logger has a recorder too: its calls are here more often, or came first.
        handle::write_slowly(&named, true, &lanes, level, record);
    }
}

/// Calls `job` with this thread's producer for a recorder.
pub(super) fn with_producer(job: impl FnOnce(&Producer)) {
    RECORDER.with(job);
}
