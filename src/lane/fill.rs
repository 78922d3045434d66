//! Fill: a record's bytes in the room that a lane has made, and the lane that threads share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::thread_id;
use super::lanes::Lanes;
use super::ring::Room;
use crate::record::{Cause, FLAG_THREAD, FLAG_TRUNCATED, HEAD_BYTES, Level};

/// What the emit side puts into a lane.
pub(crate) trait Record {
    /// Length of the values in bytes.
    fn payload_len(&self) -> usize;
    /// How severe the event is.
    fn level(&self) -> Level;
    /// The clock, where it can be read without a call.
    fn fast_ticks() -> Option<u64>
    where
        Self: Sized;
    /// The clock.
    fn ticks(&self) -> u64;
    /// The record's head; `flags` are added to the record's own.
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES];
    /// Writes the values; `out` is as long as they are.
    fn payload(&self, out: &mut [u8]);
    /// The values with the longest one cut, so that they take at most `limit` bytes.
    fn cut(&self, limit: usize) -> Vec<u8>;
}

#[inline(always)]
pub(super) fn fill<R: Record + ?Sized>(record: &R, ticks: u64, out: &mut [u8], payload: usize) {
    let words = ((out.len() - HEAD_BYTES) / 8) as u16;
    let (head, values) = out.split_at_mut(HEAD_BYTES);
    head.copy_from_slice(&record.head(ticks, words, 0));
    if !payload.is_multiple_of(8)
        && let Some(last) = values.last_chunk_mut::<8>()
    {
        *last = [0; 8];
    }
    record.payload(&mut values[..payload]);
}

/// Writes into the lane that threads share; the event is lost when its lock is not to be had, or
/// when it stays full.
pub(super) fn write_common(lanes: &Arc<Lanes>, level: Level, record: &dyn Record) {
    let thread = thread_id();
    let lane = lanes.common.lane().clone();
    let limit = lanes.record_bytes_max(&lane) - HEAD_BYTES - 8;
    let mut payload = record.payload_len();
    let cut = (payload > limit).then(|| record.cut(limit));
    if let Some(cut) = &cut {
        payload = cut.len();
        lane.count_truncated();
    }
    let len = HEAD_BYTES + 8 + payload.next_multiple_of(8);
    if len > lanes.record_bytes_max(&lane) {
        return lane.count_loss(Cause::Full, level, 1);
    }
    let mut waited_since = None;
    let cause = loop {
        if lanes.is_closed() {
            break Cause::Shutdown;
        }
        let head = lane.memory().head();
        let wrote = lanes.common.with(|producer| {
            if lanes.is_closed() {
                return Room::Full;
            }
            let room = producer.refill(len);
            if room != Room::Full {
                producer.write(lanes.serial, len, |out| match &cut {
                    Some(cut) => fill_cut(record, cut, out, Some(thread)),
                    None => fill_shared(record, out, payload, thread),
                });
            }
            room
        });
        match wrote {
            Some(Room::Open { marked }) => {
                if marked {
                    lanes.ready.set(0);
                }
                return;
            }
            // The holder is another thread, which writes one record: this thread's own frames below
            // a signal handler were found out before.
            None | Some(Room::Full) => {
                let since = waited_since.get_or_insert_with(Instant::now);
                if lanes.waits_in_vain() || since.elapsed() > lanes.patience {
                    break Cause::Full;
                }
                lanes.ready.set(0);
                std::thread::sleep(Duration::from_micros(100));
                if lane.memory().head() != head {
                    waited_since = None;
                }
            }
        }
    };
    lane.count_loss(cause, level, 1);
}

fn fill_shared(record: &dyn Record, out: &mut [u8], payload: usize, thread: u32) {
    let words = ((out.len() - HEAD_BYTES) / 8) as u16;
    let (head, values) = out.split_at_mut(HEAD_BYTES);
    head.copy_from_slice(&record.head(record.ticks(), words, FLAG_THREAD));
    values.fill(0);
    values[..4].copy_from_slice(&thread.to_le_bytes());
    record.payload(&mut values[8..8 + payload]);
}

pub(super) fn fill_cut(record: &dyn Record, cut: &[u8], out: &mut [u8], thread: Option<u32>) {
    let words = ((out.len() - HEAD_BYTES) / 8) as u16;
    let (head, mut values) = out.split_at_mut(HEAD_BYTES);
    let flag = if thread.is_some() { FLAG_THREAD } else { 0 };
    head.copy_from_slice(&record.head(record.ticks(), words, FLAG_TRUNCATED | flag));
    values.fill(0);
    if let Some(thread) = thread {
        values[..4].copy_from_slice(&thread.to_le_bytes());
        values = &mut values[8..];
    }
    values[..cut.len()].copy_from_slice(cut);
}
