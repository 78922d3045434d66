//! Handle: how a thread reaches its lane: one thread-local on the hot way, everything else cold.
#![expect(unsafe_code, reason = "attaches producers to lanes that the thread keeps; T1 to T3")]
//!
//! # Invariants
//!
//! - **T1** A producer is attached to a lane only while this thread's `Kept` holds the lane's `Arc`;
//!   it is detached, and has left the lane's seat, before the `Arc` is dropped. One that is busy is
//!   a frame below this one: its attachment stays, whatever became of its logger.
//! - **T2** `Kept` has a destructor, the hot thread-local has none: a call after the destructor ran
//!   finds no lane and uses the common one.
//! - **T3** Who uses a local producer holds its `Rc`, made while what is kept was borrowed: nobody
//!   frees it below the user.
//!
//! # Failure
//!
//! Whatever stands between an event and its lane, the call returns: the event is counted as lost in
//! the lane, else in the common lane, in the process's counter when there is no logger to ask.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::capture;
use super::common::write_common;
use super::entered;
use super::hand_out::{Lane, count_loss};
use super::lanes::Lanes;
use super::living::{self, Living};
use super::process;
use super::recorder;
use super::fill::{InSpan, Record, Tells, fill, fill_cut};
use super::full::Attempts;
use super::ring::{Producer, Room};
use super::thread;
use crate::record::{Cause, HEAD_BYTES, Level};

/// What a thread keeps for one logger and one way to it.
#[derive(Debug)]
struct Attachment {
    lanes: Arc<Lanes>,
    /// `None`: there was no room, this thread uses the common lane.
    lane: Option<Arc<Lane>>,
    /// The producer for calls that name their logger.
    local: Option<Rc<Producer>>,
}

/// Everything of a thread that has to be given back when it ends.
#[derive(Debug)]
struct Kept(RefCell<Vec<Attachment>>);

thread_local! {
    /// The producer for the global logger. No destructor, so that reaching it costs one load.
    static GLOBAL: Producer = const { Producer::new() };
    /// The same for the one logger that has [claimed](living::claim_layer) it for calls by a layer.
    static LAYER: Producer = const { Producer::new() };
    static KEPT: Kept = const { Kept(RefCell::new(Vec::new())) };
}

impl Drop for Kept {
    fn drop(&mut self) {
        for attachment in self.0.get_mut().drain(..) {
            attachment.end();
        }
    }
}

impl Attachment {
    /// True for the attachment of this logger's calls: those to the global logger, or those that
    /// name it. A thread that does both has a lane for each.
    fn is_for(&self, serial: u32, local: bool) -> bool {
        self.lanes.serial == serial && self.local.is_some() == local
    }

    /// Lets go of the lane, for which the producer is detached first.
    fn end(self) {
        let serial = self.lanes.serial;
        match &self.local {
            Some(producer) => producer.detach(),
            None => for_hot(|producer| {
                if producer.owner() == serial {
                    producer.detach();
                }
            }),
        }
        if let Some(lane) = self.lane {
            lane.end();
        }
    }

    /// True while a frame of this thread writes into this lane.
    fn is_busy(&self) -> bool {
        match &self.local {
            Some(producer) => producer.is_busy(),
            None => {
                let mut is_busy = false;
                for_hot(|hot| is_busy |= hot.owner() == self.lanes.serial && hot.is_busy());
                is_busy
            }
        }
    }
}

/// Turns this thread off in a forked child: every call takes the cold way, which sees the fork.
pub(crate) fn turn_off_this_thread() {
    for_hot(Producer::detach);
}

/// Calls `job` with each of this thread's producers that need no look at what is kept.
fn for_hot(mut job: impl FnMut(&Producer)) {
    GLOBAL.with(&mut job);
    LAYER.with(&mut job);
    recorder::with_producer(job);
}

/// This thread's producer for the global logger.
#[inline(always)]
fn global_producer<'a>() -> &'a Producer {
    // A closure that did more would not be inlined into the call.
    let producer = GLOBAL.with(std::ptr::from_ref::<Producer>);
    // SAFETY: (T2) without a destructor it lives as long as its thread, and `&Producer` is not Send.
    unsafe { &*producer }
}

/// Writes a record into this thread's lane of the global logger, whose serial number the callsite
/// knows. The record comes by value, so that it exists in memory on the cold way alone.
#[inline(always)]
pub(crate) fn write_global<R: Record>(serial: u32, record: R) {
    let Some(ticks) = R::fast_ticks() else { return write_with_slow_clock(serial, record) };
    let payload = record.payload_len();
    let len = HEAD_BYTES + payload.next_multiple_of(8);
    let producer = global_producer();
    if !producer.write(serial, len, |out| fill(&record, ticks, out, payload)) {
        refused(producer, serial, ticks, record);
    }
}

/// This thread's producer for the logger that has claimed this way.
#[cfg(feature = "tracing")]
#[inline(always)]
fn layer_producer<'a>() -> &'a Producer {
    let producer = LAYER.with(std::ptr::from_ref::<Producer>);
    // SAFETY: (T2) as `global_producer`.
    unsafe { &*producer }
}

/// Writes a record into this thread's lane of the logger that has claimed this way.
#[cfg(feature = "tracing")]
pub(crate) fn write_layer<R: Record>(serial: u32, record: R) {
    if !try_write_layer(serial, &record) {
        let ticks = record.ticks();
        refused(layer_producer(), serial, ticks, record);
    }
}

/// The same where there is nothing unusual; else nothing is written. Inlined, and the record comes
/// to no other call, so that it need not exist in memory.
#[cfg(feature = "tracing")]
#[inline(always)]
pub(crate) fn try_write_layer<R: Record>(serial: u32, record: &R) -> bool {
    let ticks = record.ticks();
    let payload = record.payload_len();
    let len = HEAD_BYTES + payload.next_multiple_of(8);
    layer_producer().write(serial, len, |out| fill(record, ticks, out, payload))
}

/// The same as [`write_global`] where reading the clock is a call.
#[cold]
#[inline(never)]
fn write_with_slow_clock<R: Record>(serial: u32, record: R) {
    let ticks = record.ticks();
    let payload = record.payload_len();
    let len = HEAD_BYTES + payload.next_multiple_of(8);
    let producer = global_producer();
    if !producer.write(serial, len, |out| fill(&record, ticks, out, payload)) {
        refused(producer, serial, ticks, record);
    }
}

/// Says whether this thread is in a span of the logger with this number, if that is the global one.
pub(super) fn mark_global(serial: u32, in_span: bool) {
    let producer = global_producer();
    if producer.owner() == serial {
        producer.set_marked(in_span);
    }
}

#[cold]
#[inline(never)]
fn refused<R: Record>(producer: &Producer, serial: u32, ticks: u64, record: R) {
    if recorder::is_recorder(serial) {
        return recorder::write(serial, ticks, record);
    }
    let len = HEAD_BYTES + record.payload_len().next_multiple_of(8);
    // A thread that is in a span comes here with each event; see `entered`, N2.
    if record.tells() == Tells::Event
        && let span @ 1.. = entered::current(serial)
    {
        return write_marked(producer, serial, ticks, len + 8, InSpan(&record, span));
    }
    write_marked(producer, serial, ticks, len, record);
}

/// Writes a record that a plain write refused: the producer is marked, or there is no room.
#[inline(always)]
fn write_marked<R: Record>(producer: &Producer, serial: u32, ticks: u64, len: usize, record: R) {
    let key = producer.key(serial);
    if key != serial {
        let payload = record.payload_len();
        if producer.write(key, len, |out| fill(&record, ticks, out, payload)) {
            return;
        }
    }
    if !is_lost_at_once(producer, serial, len, record.level()) {
        cold(producer, serial, &record);
    }
}

/// Counts a record as lost for which nothing can be done until the consumer has taken something.
fn is_lost_at_once(producer: &Producer, serial: u32, len: usize, level: Level) -> bool {
    let full = producer.full(serial, len, level as u8);
    full.inspect(|memory| count_loss(memory, Cause::Full, level, 1)).is_some()
}

/// Writes a record into this thread's lane of a logger that the caller names.
pub(crate) fn write_local(lanes: &Arc<Lanes>, record: &dyn Record) {
    let span = entered::current(lanes.serial);
    if span != 0 && record.tells() == Tells::Event {
        return write_local(lanes, &InSpan(record, span));
    }
    if lanes.is_parents() {
        return count_forked(record);
    }
    let Ok(Some(producer)) = KEPT.try_with(|kept| kept.local(lanes.serial)) else {
        return cold_local(lanes, record);
    };
    let payload = record.payload_len();
    let len = HEAD_BYTES + payload.next_multiple_of(8);
    let ticks = record.ticks();
    if !producer.write(lanes.serial, len, |out| fill(record, ticks, out, payload))
        && !is_lost_at_once(&producer, lanes.serial, len, record.level())
    {
        cold_local(lanes, record);
    }
}

fn cold(producer: &Producer, serial: u32, record: &dyn Record) {
    if thread::is_internal() {
        return;
    }
    if serial == capture::SERIAL {
        return capture::take(record);
    }
    let level = record.level();
    if process::is_forked() {
        return count_forked(record);
    }
    let Some(_cold) = thread::Cold::enter() else {
        // Called by a signal handler that interrupted the cold way.
        return living::lose_global(serial, Cause::Reentrant, level);
    };
    match lanes_of(serial) {
        Living::Found(lanes) => write_slowly(producer, false, &lanes, level, record),
        // A span may outlive its logger: that loses no event.
        Living::Gone if record.tells() == Tells::Span => {}
        Living::Gone => process::count_unplaced(Cause::Shutdown, level),
        Living::Inside => living::count_interrupted(serial, level),
    }
}

/// Counts an event of a forked child; what a child tells of its parent's spans is none.
fn count_forked(record: &dyn Record) {
    if record.tells() != Tells::Span {
        process::count_forked(record.level());
    }
}

/// The lanes of a logger, or of a recorder.
pub(super) fn lanes_of(serial: u32) -> Living {
    match KEPT.try_with(|kept| kept.lanes(serial)) {
        Ok(Some(lanes)) => Living::Found(lanes),
        _ => living::find(serial),
    }
}

/// Makes sure that this thread has an attachment to these lanes, and lets go of those that ended.
pub(super) fn register(lanes: &Arc<Lanes>) {
    let _ = KEPT.try_with(|kept| kept.register(lanes, false));
}

/// The producer of this thread for calls that name these lanes, made if need be.
pub(super) fn local_producer(lanes: &Arc<Lanes>) -> Option<Rc<Producer>> {
    let known = KEPT.try_with(|kept| {
        kept.register(lanes, true);
        kept.local(lanes.serial)
    });
    known.ok().flatten()
}

#[cold]
#[inline(never)]
fn cold_local(lanes: &Arc<Lanes>, record: &dyn Record) {
    if thread::is_internal() {
        return;
    }
    let level = record.level();
    let Some(_cold) = thread::Cold::enter() else {
        return lanes.count_loss(Cause::Reentrant, level);
    };
    match local_producer(lanes) {
        Some(producer) => write_slowly(&producer, true, lanes, level, record),
        _ => write_common(lanes, level, record),
    }
}

impl Kept {
    fn lanes(&self, serial: u32) -> Option<Arc<Lanes>> {
        let kept = self.0.try_borrow().ok()?;
        kept.iter().find(|a| a.lanes.serial == serial).map(|a| a.lanes.clone())
    }

    /// The producer for calls that name this logger (T3).
    #[inline]
    fn local(&self, serial: u32) -> Option<Rc<Producer>> {
        let kept = self.0.try_borrow().ok()?;
        let mine = kept.iter().find(|a| a.is_for(serial, true))?;
        mine.local.clone()
    }

    /// Makes sure that this thread has an attachment to the logger.
    fn register(&self, lanes: &Arc<Lanes>, local: bool) {
        let Ok(mut kept) = self.0.try_borrow_mut() else { return };
        if kept.iter().any(|a| a.is_for(lanes.serial, local)) {
            return;
        }
        // Those of loggers that have ended go, but for one that a frame below writes to (T1).
        let is_over = |a: &mut Attachment| a.lanes.is_scribe_gone() && !a.is_busy();
        kept.extract_if(.., is_over).for_each(Attachment::end);
        // As a rule there is no other.
        kept.reserve_exact(1);
        kept.push(Attachment {
            lanes: lanes.clone(),
            lane: None,
            local: local.then(|| Rc::new(Producer::new())),
        });
        drop(kept);
        // A local producer that had no lane ever is attached by `write_slowly`.
    }

    /// The thread's lane, unless its file is gone.
    fn lane(&self, serial: u32, local: bool) -> Option<Arc<Lane>> {
        let kept = self.0.try_borrow().ok()?;
        let lane = kept.iter().find(|a| a.is_for(serial, local))?.lane.clone();
        lane.filter(|lane| !lane.is_stopped())
    }

    /// The thread's lane whose file is gone, which comes before the next.
    fn stopped(&self, serial: u32, local: bool) -> Option<Arc<Lane>> {
        let kept = self.0.try_borrow().ok()?;
        kept.iter().find(|a| a.is_for(serial, local))?.lane.clone()
    }

    /// Puts the lane into the attachment (T1: before the producer is attached), and returns the one
    /// that was there.
    fn set_lane(&self, serial: u32, local: bool, lane: Arc<Lane>) -> Option<Arc<Lane>> {
        let mut kept = self.0.borrow_mut();
        let mine = kept.iter_mut().find(|a| a.is_for(serial, local))?;
        mine.lane.replace(lane)
    }
}

/// True when a frame of this thread that a signal handler interrupted looks at what is kept.
fn is_kept_in_use() -> bool {
    KEPT.try_with(|kept| kept.0.try_borrow_mut().is_err()).unwrap_or(false)
}

/// Counts an event whose logger's place is gone, or going; what is told of a span then is none.
fn lose_late(lanes: &Lanes, record: &dyn Record) {
    if record.tells() != Tells::Span {
        lanes.count_loss(Cause::Shutdown, record.level());
    }
}

/// The cold way of one record: gives the thread a lane, makes room, waits, or counts the loss.
pub(super) fn write_slowly(
    producer: &Producer,
    local: bool,
    lanes: &Arc<Lanes>,
    level: Level,
    record: &dyn Record,
) {
    if lanes.is_parents() {
        return count_forked(record);
    }
    if producer.is_busy() || is_kept_in_use() {
        // A signal handler that interrupted this thread's own write, or its look for its lane.
        return write_common(lanes, level, record);
    }
    if lanes.is_closed() {
        return lose_late(lanes, record);
    }
    let lane = KEPT.try_with(|kept| {
        kept.register(lanes, local);
        kept.lane(lanes.serial, local).or_else(|| first_lane(producer, local, lanes))
    });
    let Ok(Some(mut lane)) = lane else {
        return write_common(lanes, level, record);
    };
    if producer.owner() != lanes.serial {
        // A call that was late for its logger, whose producer serves the next one by now.
        return write_common(lanes, level, record);
    }
    let payload = record.payload_len();
    let limit = lanes.record_bytes_limit() - HEAD_BYTES;
    let cut = (payload > limit).then(|| record.cut(limit));
    let payload = cut.as_ref().map_or(payload, Vec::len);
    let len = HEAD_BYTES + payload.next_multiple_of(8);
    let mut attempts = Attempts::new(level);
    loop {
        // Before the look for room, so that what the scribe gives back afterwards is no reason to
        // wait for more.
        let head = lane.memory().head();
        // Looked at behind each join (see `Lanes::join`), and when the producer was stopped.
        if lanes.is_closed() {
            return lane.count_loss(Cause::Shutdown, level, 1);
        }
        let too_small = len > lanes.record_bytes_max(&lane);
        let room = if too_small { Room::Full } else { producer.refill(len) };
        // A burst: a larger lane costs less than waking the scribe, and it takes the old one with
        // its next turn.
        let is_burst = room == Room::Open { marked: true } && !lanes.is_scribe_awake();
        if is_burst && let Some(larger) = lanes.exchange(&lane, len, false) {
            lane = attach(producer, local, lanes, larger);
            continue;
        }
        if let Room::Open { marked } = room {
            let wrote = producer.write(producer.key(lanes.serial), len, |out| match &cut {
                Some(cut) => fill_cut(record, cut, out, None),
                None => fill(record, record.ticks(), out, payload),
            });
            if marked {
                lanes.ready.set(lane.id as usize);
            }
            if wrote {
                return cut.iter().for_each(|_| lane.count_truncated());
            }
            // A signal handler has used up what was opened for this record, or the lane's file went.
            if lane.is_stopped() && !lanes.is_closed() {
                let Some(other) = first_lane(producer, local, lanes) else {
                    return write_common(lanes, level, record);
                };
                lane = other;
            }
            continue;
        }
        if let Some(larger) = lanes.exchange(&lane, len, too_small) {
            lane = attach(producer, local, lanes, larger);
        } else if too_small {
            // No lane of its own will ever take it: the bound is reached.
            return write_common(lanes, level, record);
        } else if !attempts.make_room(lanes, &lane, head, len) {
            lane.count_loss(Cause::Full, level, 1);
            lanes.ready.set(lane.id as usize);
            if lanes.is_largest(&lane) {
                producer.set_full(head, len, attempts.levels_lost_at_once(lanes));
            }
            return;
        }
    }
}

fn first_lane(producer: &Producer, local: bool, lanes: &Arc<Lanes>) -> Option<Arc<Lane>> {
    let before = KEPT.with(|kept| kept.stopped(lanes.serial, local));
    let Ok(lane) = lanes.hand_out(thread::id(), thread::name(), before) else {
        lanes.set_laneless();
        return None;
    };
    Some(attach(producer, local, lanes, lane))
}

/// Puts the producer to work on a new lane; the old one, if any, ends.
fn attach(producer: &Producer, local: bool, lanes: &Lanes, lane: Arc<Lane>) -> Arc<Lane> {
    let record_bytes_max = lanes.record_bytes_max(&lane) as u64;
    producer.detach();
    let old = KEPT.with(|kept| kept.set_lane(lanes.serial, local, lane.clone()));
    // SAFETY: (T1) the attachment keeps the lane; nobody else has this hand-out.
    unsafe { producer.attach(lane.memory(), lanes.serial, record_bytes_max) };
    mark_global(lanes.serial, entered::current(lanes.serial) != 0);
    // SAFETY: (T1) whoever detaches it ends the lane, whose seat it leaves then.
    unsafe { lane.seat.take(producer) };
    if let Some(old) = old {
        old.end();
    }
    lanes.join(lane.clone());
    lane
}
