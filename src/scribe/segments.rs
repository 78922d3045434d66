//! Segments: which segment the next block goes to, where in it, and how it is written.
//!
//! A logger begins with segments that are written through the page cache, which takes small blocks
//! for little and bursts at once. When blocks have been full for a gibibyte, the next segment is
//! written past it: less work for each byte, for the 4 KiB that a block is aligned to. When blocks
//! become small again, or the scribe ran out of buffers there, the next goes through it again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::Op;
use crate::config::{Direct, Durability};
use crate::io::DIRECT_ALIGN;
use crate::store::block::Salt;
use crate::store::rotate::Rotate;
use crate::store::segment::{FLAG_SPILLED, SegmentHeader};
use crate::store::{index, name};

/// A block that is nearly full: a turn's worth of a busy logger.
const FULL_BYTES: usize = 192 << 10;
/// Bytes of full blocks, one after the other, that make the next segment a direct one.
const FLOOD_BYTES: u64 = 1 << 30;
/// Blocks that are not full, one after the other, that end a direct segment.
const CALM_BLOCKS: u32 = 32;
/// Direct segments that a logger does without after one for which the disk was too slow.
const SLOW_SEGMENTS: u32 = 16;

/// What every segment of a logger has in common.
#[derive(Debug, Clone)]
pub(crate) struct SegmentPlan {
    pub(crate) dir: PathBuf,
    /// The header; number, time and alignment are set for each segment.
    pub(crate) header: SegmentHeader,
    pub(crate) rotate: Rotate,
    pub(crate) direct: Direct,
    /// Number of the last segment or spill file of the logger.
    pub(crate) numbers: Arc<AtomicU64>,
}

/// The current segment as the scribe sees it.
#[derive(Debug)]
pub(crate) struct Segments {
    plan: SegmentPlan,
    logger: u64,
    number: u64,
    /// How many were begun.
    n_begun: u64,
    is_open: bool,
    /// What its header says; the next segment's while none is open.
    align: usize,
    offset: u64,
    /// UTC of the boundary at which the segment ends.
    until_ns: i64,
    is_over: bool,
    entries: Vec<index::Entry>,
    /// Bytes of full blocks, and number of others, since the last of the other kind.
    full_bytes: u64,
    n_small: u32,
    /// Segments that are not to be direct though there is a flood.
    n_slow: u32,
}

impl Segments {
    pub(crate) fn new(plan: SegmentPlan, logger: u64) -> Self {
        Self {
            plan,
            logger,
            number: 0,
            n_begun: 0,
            is_open: false,
            align: 0,
            offset: 0,
            until_ns: i64::MAX,
            is_over: false,
            entries: Vec::new(),
            full_bytes: 0,
            n_small: 0,
            n_slow: 0,
        }
    }

    /// Notes whether the current segment's time is over, or a spill file was begun behind it, so that
    /// retention, which goes by numbers, finds the events in about that order. It is asked before
    /// blocks are filled, with `i64::MIN` for not now, and not when one is written: what a segment
    /// begins with is known before.
    pub(crate) fn look_at_clock(&mut self, now_ns: i64) {
        if self.is_open && now_ns > i64::MIN {
            // ord: Relaxed, a counter.
            let is_behind = self.plan.numbers.load(Ordering::Relaxed) > self.number;
            self.is_over |= is_behind || now_ns >= self.until_ns;
        }
    }

    /// True when the current segment ends at a time.
    pub(crate) fn has_boundary(&self) -> bool {
        self.is_open && self.until_ns < i64::MAX
    }

    /// Seals the segment when it is full, its time is over, or it was begun for a flood that is over.
    pub(crate) fn roll_if_due(&mut self, durability: Durability) -> Option<Op> {
        if self.is_due() { self.roll(durability) } else { None }
    }

    fn is_due(&self) -> bool {
        let is_calm = self.plan.direct == Direct::Auto
            && self.align == DIRECT_ALIGN
            && self.n_small >= CALM_BLOCKS;
        is_calm || self.is_over || self.offset >= self.plan.rotate.size_max()
    }

    /// Seals the segment, if one is open.
    pub(crate) fn roll(&mut self, durability: Durability) -> Option<Op> {
        if !self.is_open {
            return None;
        }
        let (salt, offset, seq) = self.next_block();
        let index = index::seal_aligned(&self.entries, salt, offset, seq, self.align);
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

    /// How many segments are begun when the next block is in one.
    pub(crate) fn n_begun_next(&self) -> u64 {
        if self.is_open && !self.is_due() { self.n_begun } else { self.n_begun + 1 }
    }

    /// The disk was so slow that the scribe had no buffer left; without the page cache, if this
    /// segment does without.
    pub(crate) fn set_slow(&mut self) {
        if self.is_open && self.align == DIRECT_ALIGN {
            self.n_slow = SLOW_SEGMENTS;
        }
    }

    /// Begins a segment if none is open; `can_be_direct` says what is known of the file system.
    pub(crate) fn begin_if_needed(&mut self, now_ns: i64, can_be_direct: bool) -> Option<Op> {
        if self.is_open {
            return None;
        }
        // ord: Relaxed, a counter.
        self.number = self.plan.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        self.is_open = true;
        self.n_begun += 1;
        (self.until_ns, self.is_over) = (self.plan.rotate.next_boundary(now_ns), false);
        let is_flood = self.full_bytes >= FLOOD_BYTES;
        let is_direct = can_be_direct
            && match self.plan.direct {
                Direct::Auto => is_flood && self.n_slow == 0,
                Direct::Always => true,
                Direct::Never => false,
            };
        self.n_slow = self.n_slow.saturating_sub(1);
        self.n_small = 0;
        // Numbers that no segment has are those of spill files.
        let has_spilled = self.number != self.n_begun;
        let header = SegmentHeader {
            number: self.number,
            created_ns: now_ns,
            flags: if has_spilled { FLAG_SPILLED } else { 0 },
            align_log2: if is_direct { DIRECT_ALIGN.ilog2() as u8 } else { 0 },
            ..self.plan.header.clone()
        };
        (self.offset, self.align) = (header.first_block(), header.align());
        let name = name::segment(&header.app, now_ns, self.logger, self.number);
        Some(Op::Begin { path: self.plan.dir.join(name), header })
    }

    /// Salt, offset and number of the next block.
    pub(crate) fn next_block(&self) -> (Salt, u64, u64) {
        let salt = Salt { logger: self.logger, segment: self.number };
        (salt, self.offset, self.entries.len() as u64)
    }

    /// What the current segment's blocks are aligned to.
    pub(crate) fn align(&self) -> usize {
        self.align
    }

    /// Notes a block that was handed to the file thread.
    pub(crate) fn add(&mut self, entry: index::Entry, len: usize) {
        self.entries.push(entry);
        self.offset += len as u64;
        if len >= FULL_BYTES {
            self.full_bytes += len as u64;
            self.n_small = 0;
        } else {
            self.full_bytes = 0;
            self.n_small += 1;
        }
    }
}
