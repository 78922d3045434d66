//! Segments: which segment the next block goes to, and where in it.

use std::path::PathBuf;

use super::writer::Op;
use crate::config::Durability;
use crate::store::block::Salt;
use crate::store::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::store::rotate::Rotate;
use crate::store::{index, name};

/// What every segment of a logger has in common.
#[derive(Debug, Clone)]
pub(crate) struct SegmentPlan {
    pub(crate) dir: PathBuf,
    /// The header; number and time are set for each segment.
    pub(crate) header: SegmentHeader,
    pub(crate) rotate: Rotate,
}

/// The current segment as the scribe sees it.
#[derive(Debug)]
pub(crate) struct Segments {
    plan: SegmentPlan,
    logger: u64,
    number: u64,
    is_open: bool,
    offset: u64,
    /// UTC of the boundary at which the segment ends.
    until_ns: i64,
    entries: Vec<index::Entry>,
}

impl Segments {
    pub(crate) fn new(plan: SegmentPlan, logger: u64) -> Self {
        let (number, is_open, offset, until_ns) = (0, false, 0, i64::MAX);
        Self { plan, logger, number, is_open, offset, until_ns, entries: Vec::new() }
    }

    /// Seals the segment when it is full or its time is over.
    pub(crate) fn roll_if_due(&mut self, durability: Durability, now_ns: i64) -> Option<Op> {
        let is_due = self.offset >= self.plan.rotate.size_max() || now_ns >= self.until_ns;
        if is_due { self.roll(durability) } else { None }
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
        self.number += 1;
        self.is_open = true;
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.until_ns = self.plan.rotate.next_boundary(now_ns);
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
