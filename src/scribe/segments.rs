//! Segments: which segment the next block goes to, and where in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::writer::Op;
use crate::config::Durability;
use crate::store::block::Salt;
use crate::store::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::store::{index, name};

/// What every segment of a logger has in common.
#[derive(Debug, Clone)]
pub(crate) struct SegmentPlan {
    pub(crate) dir: PathBuf,
    /// The header; number and time are set for each segment.
    pub(crate) header: SegmentHeader,
    /// A segment is rolled when it would grow beyond this.
    pub(crate) bytes_max: u64,
    /// Number of the last segment or spill file of the logger.
    pub(crate) numbers: Arc<AtomicU64>,
}

/// The current segment as the scribe sees it.
#[derive(Debug)]
pub(crate) struct Segments {
    plan: SegmentPlan,
    logger: u64,
    number: u64,
    is_open: bool,
    offset: u64,
    entries: Vec<index::Entry>,
}

impl Segments {
    pub(crate) fn new(plan: SegmentPlan, logger: u64) -> Self {
        Self { plan, logger, number: 0, is_open: false, offset: 0, entries: Vec::new() }
    }

    /// Seals the segment when it is full.
    pub(crate) fn roll_if_full(&mut self, durability: Durability) -> Option<Op> {
        if self.offset >= self.plan.bytes_max { self.roll(durability) } else { None }
    }

    /// Seals the segment, if one is open.
    pub(crate) fn roll(&mut self, durability: Durability) -> Option<Op> {
        if !self.is_open {
            return None;
        }
        let (salt, offset, seq) = self.next_block();
        let index = index::seal(&self.entries, salt, offset, seq);
        self.lose();
        // Without an index, for more blocks than one holds, readers scan.
        let index = index.unwrap_or_default();
        Some(Op::Seal { index, offset, sync: durability != Durability::Never })
    }

    /// Forgets the segment: its name went away, or it is sealed.
    pub(crate) fn lose(&mut self) {
        self.is_open = false;
        self.offset = 0;
        self.entries.clear();
    }

    /// Begins a segment if none is open.
    pub(crate) fn begin_if_needed(&mut self, now_ns: i64) -> Option<Op> {
        if self.is_open {
            return None;
        }
        // ord: Relaxed, a counter.
        self.number = self.plan.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        self.is_open = true;
        self.offset = SEGMENT_HEADER_BYTES as u64;
        let header =
            SegmentHeader { number: self.number, created_ns: now_ns, ..self.plan.header.clone() };
        let name = name::segment(&header.app, now_ns, self.logger, self.number);
        Some(Op::Begin { path: self.plan.dir.join(name), header })
    }

    /// Salt, offset and number of the next block.
    pub(crate) fn next_block(&self) -> (Salt, u64, u64) {
        let salt = Salt { logger: self.logger, segment: self.number };
        (salt, self.offset, self.entries.len() as u64)
    }

    /// Notes a block that was handed to the file thread.
    pub(crate) fn add(&mut self, entry: index::Entry, len: usize) {
        self.entries.push(entry);
        self.offset += len as u64;
    }
}
