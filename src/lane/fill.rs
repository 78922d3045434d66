//! Fill: a record's bytes in the room that a lane has made.

use super::ring::Fill;
use crate::record::{FLAG_SPAN, FLAG_THREAD, FLAG_TRUNCATED, HEAD_BYTES, Level};

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Of an event, in the span that its thread is in.
    Event,
    /// Of an event that names its span, or that is in none on purpose.
    Placed,
    /// Of a span.
    Span,
}

/// What the emit side puts into a lane.
pub(crate) trait Record {
    /// Length of the values in bytes.
    fn payload_len(&self) -> usize;
    /// How severe the event is.
    fn level(&self) -> Level;
    /// What it tells.
    fn tells(&self) -> Tells {
        Tells::Event
    }
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

/// An event with the span that its thread is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct InSpan<'a, R: ?Sized>(pub(super) &'a R, pub(super) u64);

impl<R: Record + ?Sized> Record for InSpan<'_, R> {
    #[inline(always)]
    fn payload_len(&self) -> usize {
        8 + self.0.payload_len()
    }

    fn level(&self) -> Level {
        self.0.level()
    }

    fn tells(&self) -> Tells {
        Tells::Placed
    }

    fn fast_ticks() -> Option<u64>
    where
        Self: Sized,
    {
        None
    }

    fn ticks(&self) -> u64 {
        self.0.ticks()
    }

    #[inline(always)]
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        self.0.head(ticks, words, flags | FLAG_SPAN)
    }

    #[inline(always)]
    fn payload(&self, out: &mut [u8]) {
        if let Some((span, values)) = out.split_first_chunk_mut() {
            *span = self.1.to_le_bytes();
            self.0.payload(values);
        }
    }

    fn cut(&self, limit: usize) -> Vec<u8> {
        let mut out = self.1.to_le_bytes().to_vec();
        out.extend_from_slice(&self.0.cut(limit.saturating_sub(8)));
        out
    }
}

/// Length of a record with so many bytes of values.
#[inline(always)]
pub(super) const fn len_of(payload: usize) -> usize {
    // Less to compute than `next_multiple_of`.
    HEAD_BYTES + ((payload + 7) & !7)
}

/// A whole record.
#[derive(Debug)]
pub(super) struct Whole<'a, R: ?Sized> {
    pub(super) record: &'a R,
    pub(super) ticks: u64,
    /// Length of its values in bytes.
    pub(super) payload: usize,
}

impl<R: Record + ?Sized> Fill for Whole<'_, R> {
    #[inline(always)]
    fn fill(self, out: &mut [u8]) {
        let words = ((len_of(self.payload) - HEAD_BYTES) / 8) as u16;
        let (head, values) = out.split_at_mut(HEAD_BYTES);
        head.copy_from_slice(&self.record.head(self.ticks, words, 0));
        // Its last bytes may be padding. Where no length is variable the compiler sees for itself
        // that this is overwritten.
        if let Some(last) = values.last_chunk_mut::<8>() {
            *last = [0; 8];
        }
        self.record.payload(&mut values[..self.payload]);
    }
}

/// Writes a record whose values were cut; `thread` stands before them in the common lane.
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
