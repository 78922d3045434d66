//! Batch: the block that the scribe is filling.

use std::sync::Arc;

use crate::io::PinnedBuffer;
use crate::lane::catalog::CatalogView;
use crate::lane::memory::Memory;
use crate::lane::staging::{BLOCK_HEADER_BYTES, Buffer, RUNS_BYTES, Sealed};
use crate::record::compact::{Encoded, Encoder, Malformed};
use crate::record::{Anchor, RunHead, Timeline};
use crate::store::block::{self, BlockHeader, Salt};
use crate::store::index;

/// Definitions beyond this end a block: what they take comes on top of its runs.
const DEFINITIONS_BYTES: usize = 128 << 10;

/// A block in the making.
#[derive(Debug)]
pub(crate) struct Batch {
    buffer: Buffer,
    records: u32,
    /// Those of them that are no events.
    spans: u32,
    lost: u64,
    first_ticks: u64,
    last_ticks: u64,
    levels: u8,
    n_sites: usize,
    definitions: Vec<Arc<[u8]>>,
    definitions_len: usize,
}

/// A block that is ready to be written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) block: Block,
    /// Length in the file.
    pub(crate) len: usize,
    pub(crate) events: u32,
    pub(crate) entry: index::Entry,
}

/// The bytes of a block, in staging wherever they fit.
#[derive(Debug)]
pub(crate) enum Block {
    /// Written from where it lies.
    Staged(Sealed),
    /// Definitions did not fit behind the runs; the staging buffer keeps the runs meanwhile.
    Copied(Sealed, PinnedBuffer),
}

impl Block {
    /// The block's bytes, padding included.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Staged(sealed) => sealed.bytes(),
            Self::Copied(_, bytes) => bytes,
        }
    }

    /// The same, to be sealed anew for another place in its segment.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Staged(sealed) => sealed.bytes_mut(),
            Self::Copied(_, bytes) => bytes,
        }
    }

    /// The staging memory in which the block lies.
    pub(crate) fn memory(&self) -> Option<&Arc<Memory>> {
        match self {
            Self::Staged(sealed) => Some(sealed.memory()),
            Self::Copied(..) => None,
        }
    }

    /// Says that the block is Written, into this segment; a spill file tells its device too.
    pub(crate) fn set_held_by(&self, segment: u64, device: u64) {
        match self {
            Self::Staged(sealed) | Self::Copied(sealed, _) => sealed.set_held_by(segment, device),
        }
    }

    /// Gives the staging buffer back.
    pub(crate) fn into_buffer(self) -> Buffer {
        match self {
            Self::Staged(sealed) | Self::Copied(sealed, _) => sealed.into_buffer(),
        }
    }
}

impl Batch {
    /// An empty block in this buffer.
    pub(crate) fn new(buffer: Buffer, encoder: &mut Encoder) -> Self {
        encoder.reset();
        Self {
            buffer,
            records: 0,
            spans: 0,
            lost: 0,
            first_ticks: u64::MAX,
            last_ticks: 0,
            levels: 0,
            n_sites: 0,
            definitions: Vec::new(),
            definitions_len: 0,
        }
    }

    /// Gives the staging buffer back of a block that is empty.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// True while nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.committed() == 0
    }

    /// Encodes as much of `records` as fits; nothing is consumed when the block is full. `lost` is
    /// how many losses the run reports anew.
    pub(crate) fn add(
        &mut self,
        encoder: &mut Encoder,
        catalog: &CatalogView,
        head: RunHead,
        records: &[u8],
        lost: u64,
        codec: u8,
    ) -> Result<Encoded, Malformed> {
        if self.definitions_len > DEFINITIONS_BYTES {
            return Ok(Encoded::default());
        }
        let at = self.buffer.committed();
        let out = &mut self.buffer.payload()[..RUNS_BYTES];
        let encoded = encoder.run(catalog, head, records, out, at, codec)?;
        if encoded.written == 0 {
            return Ok(encoded);
        }
        for &id in &encoder.callsites()[self.n_sites..] {
            if let Some(definition) = catalog.encoded(id) {
                self.definitions_len += definition.len();
                self.definitions.push(definition);
            }
        }
        self.n_sites = encoder.callsites().len();
        self.records += encoded.count;
        self.spans += encoded.spans;
        self.lost += lost;
        self.levels |= encoded.levels;
        if encoded.count > 0 {
            self.first_ticks = self.first_ticks.min(encoded.first_ticks);
            self.last_ticks = self.last_ticks.max(encoded.last_ticks);
        }
        self.buffer.commit(encoded.written);
        Ok(encoded)
    }

    /// Oldest and newest ticks; those of `now` when the block holds losses alone.
    pub(crate) fn ticks(&self, now: &Anchor) -> (u64, u64) {
        if self.records == 0 {
            return (now.ticks, now.ticks);
        }
        (self.first_ticks, self.last_ticks)
    }

    /// Ends the block: definitions, anchors, header, checksums, and zeros up to a multiple of
    /// `align`.
    pub(crate) fn seal(
        mut self,
        encoder: &Encoder,
        salt: Salt,
        offset: u64,
        seq: u64,
        anchors: &[Anchor],
        align: usize,
    ) -> Ready {
        let runs_len = self.buffer.committed();
        let mut timeline = Timeline::default();
        for anchor in anchors {
            timeline.add(*anchor);
        }
        let now = anchors.last().copied().unwrap_or_default();
        let (first_ticks, last_ticks) = self.ticks(&now);
        let (first_wall_ns, last_wall_ns) = timeline.span_ns(first_ticks, last_ticks);
        let mut header = BlockHeader {
            kind: block::KIND_EVENTS,
            raw_len: encoder.raw_bytes() as u32,
            seq,
            records: self.records,
            lost: u32::try_from(self.lost).unwrap_or(u32::MAX),
            first_wall_ns,
            last_wall_ns,
            defs_offset: runs_len as u32,
            levels: self.levels,
            ..BlockHeader::default()
        };
        let definitions = || self.definitions.iter().map(|definition| &**definition);
        let len = runs_len + block::sections_len(self.definitions_len, anchors.len());
        header.stored_len = len as u32;
        let entry = |header: &BlockHeader| index::Entry::new(offset, header, encoder.callsites());
        let entry = entry(&header);
        let events = self.records - self.spans;
        let room = self.buffer.payload().len();
        if len + align <= room {
            block::put_sections(self.buffer.payload(), runs_len, definitions(), anchors)
                .expect("the room was measured");
            let sum = encoder.sum(&self.buffer.payload()[..len]);
            let len = block::seal_summed(self.buffer.bytes(), salt, offset, &header, align, sum)
                .expect("the room was measured");
            return Ready { block: Block::Staged(self.buffer.seal(len)), len, events, entry };
        }
        let padded = (BLOCK_HEADER_BYTES + len).next_multiple_of(align);
        let mut bytes = PinnedBuffer::with_capacity_aligned(padded);
        bytes[BLOCK_HEADER_BYTES..][..runs_len].copy_from_slice(&self.buffer.payload()[..runs_len]);
        block::put_sections(&mut bytes[BLOCK_HEADER_BYTES..], runs_len, definitions(), anchors)
            .expect("the room was measured");
        let sum = encoder.sum(&bytes[BLOCK_HEADER_BYTES..][..len]);
        let len = block::seal_summed(&mut bytes, salt, offset, &header, align, sum)
            .expect("the room was measured");
        let sealed = self.buffer.seal(BLOCK_HEADER_BYTES + runs_len);
        Ready { block: Block::Copied(sealed, bytes), len, events, entry }
    }
}
