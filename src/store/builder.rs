//! Builder: makes a segment in memory, for recovery and tests.

use std::collections::HashMap;

use super::block::{self, BlockHeader, CODEC_ZSTD, HEADER_BYTES, KIND_EVENTS, PAYLOAD_BYTES_MAX};
use super::segment::SegmentHeader;
use super::{index, zipped};
use crate::record::compact::{Encoded, Encoder, Malformed};
use crate::record::{
    Anchor, CODEC_COMPACT, Definition, Definitions, Losses, RawRun, RunHead, Timeline,
};

/// Payload bytes of runs in a block, as a rule.
const RUNS_BYTES: usize = 256 << 10;

/// Makes one segment of whole runs.
#[derive(Debug)]
pub struct Builder {
    header: SegmentHeader,
    codec: u8,
    runs_bytes: usize,
    definitions: Definitions,
    timeline: Timeline,
    encoder: Encoder,
    /// The block that is being filled: header and payload.
    block: Vec<u8>,
    runs_len: usize,
    summary: Encoded,
    /// Events lost that the block's runs tell.
    lost: u64,
    /// What each lane and generation told last.
    losses: HashMap<(u32, u32), Losses>,
    /// Whole blocks that were not taken yet.
    bytes: Vec<u8>,
    /// Where `bytes` begin in the file.
    offset: u64,
    entries: Vec<index::Entry>,
    /// The level at which payloads are zipped.
    zstd_level: Option<i32>,
    /// False when the caller says what was lost.
    counts_losses: bool,
}

impl Builder {
    /// Begins a segment.
    #[must_use]
    pub fn new(header: SegmentHeader) -> Self {
        let mut bytes = header.encode().to_vec();
        bytes.resize(header.first_block() as usize, 0);
        Self {
            header,
            codec: CODEC_COMPACT,
            runs_bytes: RUNS_BYTES,
            definitions: Definitions::default(),
            timeline: Timeline::default(),
            encoder: Encoder::new(),
            block: Vec::new(),
            runs_len: 0,
            summary: Encoded::default(),
            lost: 0,
            losses: HashMap::new(),
            bytes,
            offset: 0,
            entries: Vec::new(),
            zstd_level: None,
            counts_losses: true,
        }
    }

    /// Puts payloads into zstd frames where that makes them shorter; nothing without the feature.
    #[must_use]
    pub fn zstd(mut self, level: i32) -> Self {
        self.zstd_level = Some(level);
        self
    }

    /// Losses that were told before, by lane and generation: blocks count what is more.
    #[must_use]
    pub(crate) fn losses_told(mut self, told: HashMap<(u32, u32), Losses>) -> Self {
        self.losses = told;
        self
    }

    /// Takes what blocks tell as lost from [`Builder::add_lost`] alone, as when blocks of another
    /// segment are put together, whose first runs may tell what earlier segments told already.
    #[must_use]
    pub fn losses_by_caller(mut self) -> Self {
        self.counts_losses = false;
        self
    }

    /// Adds events that the block being filled tells as lost.
    pub fn add_lost(&mut self, events: u32) {
        self.lost = self.lost.saturating_add(u64::from(events));
    }

    /// Bytes of runs in the block that is being filled.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.runs_len
    }

    /// Encodes with another codec of runs than [`CODEC_COMPACT`].
    #[must_use]
    pub fn codec(mut self, codec: u8) -> Self {
        self.codec = codec;
        self
    }

    /// Fills blocks up to another number of bytes; a record that is longer gets a block of its own.
    #[must_use]
    pub fn runs_bytes(mut self, bytes: usize) -> Self {
        self.runs_bytes = bytes.min(PAYLOAD_BYTES_MAX / 2);
        self
    }

    /// Adds a definition, before the first run that needs it.
    pub fn add_definition(&mut self, definition: Definition) {
        self.definitions.add(definition);
    }

    /// Adds an anchor, before the runs that lie around it.
    pub fn add_anchor(&mut self, anchor: Anchor) {
        self.timeline.add(anchor);
    }

    /// Appends a run, cut where a block is full.
    ///
    /// # Errors
    ///
    /// When its bytes are not whole records.
    pub fn push_run(&mut self, run: &RawRun) -> Result<(), Malformed> {
        let mut head = run.head.clone();
        let mut rest = &run.bytes[..];
        loop {
            let room = match self.runs_len {
                0 => PAYLOAD_BYTES_MAX / 2,
                _ => self.runs_bytes,
            };
            // A single record that is longer than a block still needs a place.
            let room = if self.runs_len == 0 && !first_is_long(rest, self.runs_bytes) {
                self.runs_bytes
            } else {
                room
            };
            self.block.resize(HEADER_BYTES + room.max(self.runs_len), 0);
            let out = &mut self.block[HEADER_BYTES..];
            let at = self.runs_len;
            let done =
                self.encoder.run(&self.definitions, head.clone(), rest, out, at, self.codec)?;
            rest = &rest[done.consumed..];
            if done.written > 0 && rest.is_empty() {
                set_end(&mut out[at..], run.head.end);
            }
            self.add(&done);
            if done.written > 0 && rest.is_empty() {
                self.add_losses(&run.head);
                return Ok(());
            }
            if done.written == 0 && self.runs_len == 0 {
                return Err(Malformed { at: 0, what: "expected a record that fits a block" });
            }
            head.position += done.consumed as u64;
            head.first_record += u64::from(done.count);
            self.seal_block()?;
        }
    }

    /// Ends the block that is being filled, if it has a run.
    ///
    /// # Errors
    ///
    /// When its definitions do not fit a block.
    pub fn seal_block(&mut self) -> Result<(), Malformed> {
        if self.runs_len == 0 {
            return Ok(());
        }
        let too_long = Malformed { at: 0, what: "expected definitions that fit a block" };
        let mut definitions = Vec::new();
        for definition in self.encoder.callsites().iter().filter_map(|&id| self.definitions.get(id))
        {
            definition.encode(&mut definitions);
        }
        let Encoded { first_ticks, last_ticks, .. } = self.summary;
        let anchors = block::bracket(self.timeline.anchors(), first_ticks, last_ticks);
        let (first_wall_ns, last_wall_ns) = self.timeline.span_ns(first_ticks, last_ticks);
        let sections_len = block::sections_len(definitions.len(), anchors.len());
        let align = self.header.align();
        let payload_len = self.runs_len + sections_len;
        self.block.resize((HEADER_BYTES + payload_len).next_multiple_of(align), 0);
        block::put_sections(
            &mut self.block[HEADER_BYTES..],
            self.runs_len,
            [&definitions[..]],
            anchors,
        )
        .ok_or(too_long)?;
        let header = BlockHeader {
            kind: KIND_EVENTS,
            stored_len: payload_len as u32,
            raw_len: self.encoder.raw_bytes() as u32,
            seq: self.entries.len() as u64,
            records: self.summary.count,
            lost: u32::try_from(self.lost).unwrap_or(u32::MAX),
            first_wall_ns,
            last_wall_ns,
            defs_offset: self.runs_len as u32,
            levels: self.summary.levels,
            ..BlockHeader::default()
        };
        let offset = self.end();
        let salt = self.header.salt();
        let header = self.zip(header, payload_len);
        let len =
            block::seal_aligned(&mut self.block, salt, offset, &header, align).ok_or(too_long)?;
        self.bytes.extend_from_slice(&self.block[..len]);
        self.entries.push(index::Entry::new(offset, &header, self.encoder.callsites()));
        self.encoder.reset();
        (self.runs_len, self.lost, self.summary) = (0, 0, Encoded::default());
        Ok(())
    }

    /// Takes the blocks that are whole, to write them behind those taken before.
    pub fn take(&mut self) -> Vec<u8> {
        self.offset = self.end();
        std::mem::take(&mut self.bytes)
    }

    /// Ends the last block and returns what was not taken yet, without an index.
    ///
    /// # Errors
    ///
    /// As [`Builder::seal_block`].
    pub fn finish_unsealed(mut self) -> Result<Vec<u8>, Malformed> {
        self.seal_block()?;
        Ok(self.bytes)
    }

    /// Ends the last block, adds the index, and returns what was not taken yet.
    ///
    /// # Errors
    ///
    /// As [`Builder::seal_block`]; or when there are too many blocks for an index.
    pub fn finish(mut self) -> Result<Vec<u8>, Malformed> {
        self.seal_block()?;
        let seq = self.entries.len() as u64;
        let (salt, align) = (self.header.salt(), self.header.align());
        let index = index::seal_aligned(&self.entries, salt, self.end(), seq, align)
            .ok_or(Malformed { at: 0, what: "expected fewer blocks" })?;
        self.bytes.extend_from_slice(&index);
        Ok(self.bytes)
    }

    /// Puts the payload into a frame, if that was asked for and makes it shorter.
    fn zip(&mut self, header: BlockHeader, payload_len: usize) -> BlockHeader {
        let payload = &mut self.block[HEADER_BYTES..HEADER_BYTES + payload_len];
        match self.zstd_level.and_then(|level| zipped::zip(payload, level)) {
            Some(frame) => {
                payload[..frame.len()].copy_from_slice(&frame);
                BlockHeader { codec: CODEC_ZSTD, stored_len: frame.len() as u32, ..header }
            }
            None => header,
        }
    }

    fn add_losses(&mut self, head: &RunHead) {
        if !self.counts_losses {
            return;
        }
        let told = self.losses.entry((head.lane, head.generation)).or_default();
        let fresh = head.losses.since(told);
        self.lost = self.lost.saturating_add(fresh.total());
        told.add_all(&fresh);
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn add(&mut self, done: &Encoded) {
        self.runs_len += done.written;
        if done.count == 0 {
            return;
        }
        let sum = &mut self.summary;
        let first = if sum.count == 0 { u64::MAX } else { sum.first_ticks };
        sum.first_ticks = first.min(done.first_ticks);
        sum.last_ticks = sum.last_ticks.max(done.last_ticks);
        sum.count += done.count;
        sum.levels |= done.levels;
    }
}

/// True when the first record would not fit an empty block of so many bytes.
fn first_is_long(records: &[u8], runs_bytes: usize) -> bool {
    let len = crate::record::Head::read(records).map_or(0, |head| head.len());
    len + crate::record::RUN_HEAD_BYTES_MAX + 512 > runs_bytes
}

/// Puts the run's own end back: behind its last record a pad may have lain that is not stored.
fn set_end(run: &mut [u8], end: u64) {
    let Some((head, codec, _, body_len)) = RunHead::decode(run) else { return };
    let end = end.max(head.end);
    RunHead { end, ..head }
        .encode(codec, body_len as u32, run)
        .expect("the head was written to the same place");
}
