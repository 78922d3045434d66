//! Handle: how a thread reaches its lane: one thread-local on the hot way, everything else cold.
#![expect(unsafe_code, reason = "attaches producers to lanes that the thread keeps; T1")]
//!
//! # Failure
//!
//! Whatever stands between an event and its lane, the call returns: the event is counted as lost in
//! the lane, else in the common lane, in the process's counter when there is no logger to ask.

use std::sync::Arc;

use super::capture;
use super::common::write_common;
use super::entered;
use super::fill::{InSpan, Record, Tells, Whole, fill_cut, len_of};
use super::full::Attempts;
use super::hand_out::{Lane, count_loss};
use super::hot;
use super::kept::{self, KEPT, lanes_of};
use super::lanes::Lanes;
use super::living::{self, Living};
use super::process;
use super::recorder;
use super::ring::{Fill, Producer, Room};
use super::thread;
use crate::record::{Cause, HEAD_BYTES, Level};

/// Records of a full lane that are lost before another look for a larger one, which takes locks that
/// all threads share: some microseconds' worth.
pub(super) const LOST_AT_ONCE: u32 = 64;

/// Writes a record into this thread's lane of the global logger, whose serial number the callsite
/// knows. The record comes by value, so that it exists in memory on the cold way alone.
#[inline(always)]
pub(crate) fn write_global<R: Record>(serial: u32, record: R) {
    let Some(ticks) = R::fast_ticks() else { return write_with_slow_clock(serial, record) };
    let payload = record.payload_len();
    let len = len_of(payload);
    let producer = hot::global();
    if !producer.write(serial, len, Whole { record: &record, ticks, payload }) {
        refused(producer, serial, ticks, record);
    }
}

/// Writes a record into this thread's lane of the logger that has claimed this way.
#[cfg(feature = "tracing")]
pub(crate) fn write_layer<R: Record>(serial: u32, record: R) {
    if !write_plainly(serial, &record) {
        let ticks = record.ticks();
        refused(hot::layer(), serial, ticks, record);
    }
}

/// The same for an event that may be in a span, where there is nothing unusual; else nothing is
/// written. Inlined, and the record comes to no other call, so that it need not exist in memory.
#[cfg(feature = "tracing")]
#[inline(always)]
pub(crate) fn try_write_layer<R: Record>(serial: u32, span: u64, record: &R) -> bool {
    match span {
        0 => write_plainly(serial, record),
        _ => write_plainly(serial, &InSpan(record, span)),
    }
}

#[cfg(feature = "tracing")]
#[inline(always)]
fn write_plainly<R: Record>(serial: u32, record: &R) -> bool {
    let ticks = record.ticks();
    let payload = record.payload_len();
    hot::layer().write(serial, len_of(payload), Whole { record, ticks, payload })
}

/// The same as [`write_global`] where reading the clock is a call.
#[cold]
#[inline(never)]
fn write_with_slow_clock<R: Record>(serial: u32, record: R) {
    let ticks = record.ticks();
    let payload = record.payload_len();
    let len = len_of(payload);
    let producer = hot::global();
    if !producer.write(serial, len, Whole { record: &record, ticks, payload }) {
        refused(producer, serial, ticks, record);
    }
}

#[cold]
#[inline(never)]
fn refused<R: Record>(producer: &Producer, serial: u32, ticks: u64, record: R) {
    if recorder::is_recorder(serial) {
        return recorder::write(serial, ticks, record);
    }
    let len = len_of(record.payload_len());
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
        if producer.write(key, len, Whole { record: &record, ticks, payload }) {
            return;
        }
    }
    if !is_lost_at_once(producer, serial, len, record.level()) {
        cold(producer, serial, &record);
    }
}

/// Counts a record as lost for which nothing can be done until the consumer has taken something.
fn is_lost_at_once(producer: &Producer, serial: u32, len: usize, level: Level) -> bool {
    let lose = |memory: &_| count_loss(memory, Cause::Full, level, 1);
    producer.lose_at_once(serial, len, level as u8, lose)
}

/// Writes a record into this thread's lane of a logger that the caller names. It comes by value, as
/// in [`write_global`].
#[inline(always)]
pub(crate) fn write_named<R: Record>(lanes: &Arc<Lanes>, record: R) {
    let Some(ticks) = R::fast_ticks() else { return refused_named(lanes, record) };
    let payload = record.payload_len();
    let len = len_of(payload);
    if !hot::named().write(lanes.serial, len, Whole { record: &record, ticks, payload }) {
        refused_named(lanes, record);
    }
}

#[cold]
#[inline(never)]
fn refused_named<R: Record>(lanes: &Arc<Lanes>, record: R) {
    let len = len_of(record.payload_len());
    if !is_lost_at_once(hot::named(), lanes.serial, len, record.level()) {
        write_local(lanes, &record);
    }
}

/// The same for a thread that is in a span, or whose hot producer is another logger's, and for
/// records that are told seldom.
pub(crate) fn write_local(lanes: &Arc<Lanes>, record: &dyn Record) {
    let span = entered::current(lanes.serial);
    if span != 0 && record.tells() == Tells::Event {
        return write_local(lanes, &InSpan(record, span));
    }
    if lanes.is_parents() {
        return count_forked(record);
    }
    let Ok(Some(producer)) = KEPT.try_with(|kept| kept.named(lanes.serial)) else {
        return cold_local(lanes, record);
    };
    let payload = record.payload_len();
    let len = len_of(payload);
    let ticks = record.ticks();
    let key = producer.key(lanes.serial); // marked where the thread is in a span
    if !producer.write(key, len, Whole { record, ticks, payload })
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
    match kept::named_producer(lanes) {
        Some(producer) => write_slowly(&producer, true, lanes, level, record),
        _ => write_common(lanes, level, record),
    }
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
    if producer.is_busy() || kept::is_in_use() {
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
    let len = len_of(payload);
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
            let key = producer.key(lanes.serial);
            let wrote = producer.write(key, len, |out: &mut [u8]| match &cut {
                Some(cut) => fill_cut(record, cut, out, None),
                None => Whole { record, ticks: record.ticks(), payload }.fill(out),
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
            // A larger lane may be there before the consumer takes something.
            let left = if lanes.is_largest(&lane) { u32::MAX } else { LOST_AT_ONCE };
            producer.set_full(head, len, attempts.levels_lost_at_once(lanes), left);
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
    // Before the producer serves another lane: who stops the old one late finds nobody there (E1).
    if let Some(old) = old {
        old.end();
    }
    // SAFETY: (T1) the attachment keeps the lane; nobody else has this hand-out.
    unsafe { producer.attach(lane.memory(), lanes.serial, record_bytes_max) };
    hot::mark(lanes.serial, entered::current(lanes.serial) != 0);
    // SAFETY: (T1) whoever detaches it ends the lane, whose seat it leaves then.
    unsafe { lane.seat.take(producer) };
    lanes.join(lane.clone());
    lane
}
