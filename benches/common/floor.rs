//! Floor: what a log call costs at least, one clock read and one copy of the event's bytes.
//!
//! The bytes are those of ttlog's raw record: a head word, a word of ticks, the values (a string is
//! 4 bytes of length and its text), padded to 8 bytes. The buffer belongs to one thread, wraps, and
//! nobody reads it: no full check, no publishing store, no thread-local, no wake.

use super::clock::ticks;

const BUFFER_BYTES: usize = 256 * 1024;
/// Records start below this, so that one of at most as many bytes fits behind any start.
const START_MASK: usize = BUFFER_BYTES / 2 - 1;
const HEAD_BYTES: usize = 16;
const STRING_BYTES_MAX: usize = 256;

/// A private buffer that wraps.
#[derive(Debug)]
pub(crate) struct Floor {
    buffer: Box<[u8; BUFFER_BYTES]>,
    next: usize,
}

impl Default for Floor {
    fn default() -> Self {
        // Not zero: the pages must be there before the first call.
        Self { buffer: Box::new([1; BUFFER_BYTES]), next: 0 }
    }
}

impl Floor {
    /// Copies the event `x={}`.
    #[inline(always)]
    pub(crate) fn one_u64(&mut self, x: u64) {
        let (at, record) = self.begin(1);
        record[at + 16..at + 24].copy_from_slice(&x.to_le_bytes());
        self.next = at + 24;
    }

    /// Copies the event `{}` of a string.
    #[inline(always)]
    pub(crate) fn one_str(&mut self, text: &str) {
        let (at, record) = self.begin(2);
        let end = put_str(record, at + HEAD_BYTES, text);
        self.next = end.next_multiple_of(8);
    }

    /// Copies the event `{} {} {}` of a number, a float and a string.
    #[inline(always)]
    pub(crate) fn mixed(&mut self, x: u64, y: f64, text: &str) {
        let (at, record) = self.begin(3);
        record[at + 16..at + 24].copy_from_slice(&x.to_le_bytes());
        record[at + 24..at + 32].copy_from_slice(&y.to_le_bytes());
        let end = put_str(record, at + 32, text);
        self.next = end.next_multiple_of(8);
    }

    /// Copies the event `request done` with four fields.
    #[inline(always)]
    pub(crate) fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
        let (at, record) = self.begin(4);
        record[at + 16..at + 24].copy_from_slice(&user_id.to_le_bytes());
        let end = put_str(record, at + 24, path);
        record[end..end + 8].copy_from_slice(&latency.to_le_bytes());
        record[end + 8] = u8::from(ok);
        self.next = (end + 9).next_multiple_of(8);
    }

    /// Writes the two words of the head and returns where the record starts.
    #[inline(always)]
    fn begin(&mut self, callsite: u64) -> (usize, &mut [u8; BUFFER_BYTES]) {
        let at = self.next & START_MASK;
        self.buffer[at..at + 8].copy_from_slice(&callsite.to_le_bytes());
        self.buffer[at + 8..at + 16].copy_from_slice(&ticks().to_le_bytes());
        (at, &mut self.buffer)
    }
}

/// Copies length and text to `at`; returns where they end.
#[inline(always)]
fn put_str(record: &mut [u8; BUFFER_BYTES], at: usize, text: &str) -> usize {
    let len = text.len().min(STRING_BYTES_MAX);
    record[at..at + 4].copy_from_slice(&(len as u32).to_le_bytes());
    record[at + 4..at + 4 + len].copy_from_slice(&text.as_bytes()[..len]);
    at + 4 + len
}
