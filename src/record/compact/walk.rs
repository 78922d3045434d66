//! Walk: how far the encoder has come in the records of one run.

use super::Malformed;
use crate::record::Head;

/// Progress through the records of one run.
pub(super) struct Walk {
    pub(super) at: usize,
    pub(super) consumed: usize,
    /// Bytes taken without a pad.
    pub(super) raw_len: usize,
    pub(super) raw_room: usize,
    pub(super) count: u32,
    /// Those that are no events.
    pub(super) spans: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) levels: u8,
}

pub(super) struct Next<'a> {
    pub(super) head: Head,
    pub(super) record: &'a [u8],
}

impl Walk {
    pub(super) fn new(at: usize, raw_room: usize) -> Self {
        let (first, last) = (u64::MAX, 0);
        Self { at, consumed: 0, raw_len: 0, raw_room, count: 0, spans: 0, first, last, levels: 0 }
    }

    /// The record after those taken, `None` when there is no more.
    #[inline(always)]
    pub(super) fn next<'a>(&self, records: &'a [u8]) -> Result<Option<Next<'a>>, Malformed> {
        let rest = &records[self.consumed.min(records.len())..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(head) = Head::read(rest) else {
            return Err(Malformed { at: self.consumed, what: "expected a whole record" });
        };
        Ok(Some(Next { head, record: &rest[..head.len()] }))
    }

    pub(super) fn is_full(&self, len: usize) -> bool {
        self.raw_room - self.raw_len < len
    }

    /// Says that a record with these ticks, of a callsite of this level, is taken next.
    #[inline(always)]
    pub(super) fn see(&mut self, ticks: u64, level: u8) {
        self.first = self.first.min(ticks);
        self.levels |= level;
    }

    /// Takes records whose ticks do not fall from the first, which was seen, to the last.
    #[inline(always)]
    pub(super) fn accept(&mut self, n: usize, len: usize, last_ticks: u64) {
        self.consumed += len;
        self.raw_len += len;
        self.count += n as u32;
        self.last = self.last.max(last_ticks);
    }
}
