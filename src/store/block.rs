//! Block: some hundred kilobytes of events that stand alone.
//!
//! # Layout
//!
//! ```text
//! 0          4       5    6     7     8             12        16
//! | magic    | ver-  |kind|codec|flags| payload     | raw     | sequence        |
//! |  "TTLB"  | sion 1|    |     |   0 | bytes   u32 | bytes u32|            u64 |
//! 24         28         32                 40                 48        52     53
//! | events   | lost     | first UTC ns     | last UTC ns      | defs at | levels| zeros |
//! |     u32  |     u32  |             i64  |             i64  |     u32 |    u8 |   3   |
//! 56          60          64
//! | crc of   | crc of    | payload: runs | definitions | anchors | zeros up to 64 n |
//! | payload  | 0..60     |          0 .. defs at                 |
//!
//! definitions   | bytes u32 | definitions |      anchors   | count u32 | 24 bytes each |
//! ```
//!
//! Both checksums are CRC-32C, begun with logger id, segment number and the block's offset, eight
//! bytes each. Blocks begin at multiples of the segment's alignment, 64 as a rule.

use crate::record::compact::{Decoder, Malformed, RAW_BYTES_MAX};
use crate::record::{Anchor, Definitions, Level, RawRun, Sum};

const VERSION_AT: usize = 4;
const KIND_AT: usize = 5;
const CODEC_AT: usize = 6;
const FLAGS_AT: usize = 7;
const STORED_AT: usize = 8;
const RAW_AT: usize = 12;
const SEQ_AT: usize = 16;
const RECORDS_AT: usize = 24;
const LOST_AT: usize = 28;
const FIRST_AT: usize = 32;
const LAST_AT: usize = 40;
const DEFS_AT: usize = 48;
const LEVELS_AT: usize = 52;
const ZEROS_AT: usize = 53;
const PAYLOAD_CRC_AT: usize = 56;
const HEADER_CRC_AT: usize = PAYLOAD_CRC_AT + 4;
/// Bytes of a block's header.
pub const HEADER_BYTES: usize = HEADER_CRC_AT + 4;
const _: () = assert!(HEADER_BYTES == 64, "the drawing above is the format");

/// Blocks begin at multiples of this.
pub const ALIGN: usize = 64;
/// First bytes of a block.
pub const MAGIC: [u8; 4] = *b"TTLB";
/// The format of blocks that this version writes.
pub const VERSION: u8 = 1;
/// Kind: events.
pub const KIND_EVENTS: u8 = 1;
/// Kind: the index at the end of a sealed segment.
pub const KIND_INDEX: u8 = 2;
/// Kind: items of a typed ring, in its spill files alone; readers of events step over it.
pub const KIND_ITEMS: u8 = 3;
/// Kind: how many items of such a file were taken.
pub const KIND_MARK: u8 = 4;
/// Codec: runs, each saying itself how it is encoded.
pub const CODEC_RUNS: u8 = 0;
/// Codec: the same, the payload as a whole in a zstd frame.
pub const CODEC_ZSTD: u8 = 1;
/// The longest payload of a block in bytes, stored and in a frame.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// What a checksum begins with, the offset aside: a block is whole only in its own segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt {
    /// The logger's id.
    pub logger: u64,
    /// The segment's number within its logger.
    pub segment: u64,
}

impl Salt {
    /// The checksum of these parts, one behind another, in a block at `offset`.
    #[must_use]
    pub fn crc(&self, offset: u64, parts: &[&[u8]]) -> u32 {
        let mut salt = [0; 24];
        salt[0..8].copy_from_slice(&self.logger.to_le_bytes());
        salt[8..16].copy_from_slice(&self.segment.to_le_bytes());
        salt[16..24].copy_from_slice(&offset.to_le_bytes());
        parts.iter().fold(crc32c::crc32c(&salt), |crc, part| crc32c::crc32c_append(crc, part))
    }
}

/// What a block says about its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockHeader {
    /// Format of the block; [`VERSION`] in what is written.
    pub version: u8,
    /// [`KIND_EVENTS`], [`KIND_INDEX`], or one that this version does not know.
    pub kind: u8,
    /// [`CODEC_RUNS`] or [`CODEC_ZSTD`].
    pub codec: u8,
    /// Zero.
    pub flags: u8,
    /// Bytes of the payload as it is stored.
    pub stored_len: u32,
    /// Bytes of the records as they lay in their lanes.
    pub raw_len: u32,
    /// Number of the block within its segment.
    pub seq: u64,
    /// Events in the block.
    pub records: u32,
    /// Events that the runs report as lost since the block before.
    pub lost: u32,
    /// UTC of the oldest event in nanoseconds since 1970.
    pub first_wall_ns: i64,
    /// UTC of the newest event.
    pub last_wall_ns: i64,
    /// Where the definitions begin in the payload, which for [`CODEC_ZSTD`] is the frame's content.
    pub defs_offset: u32,
    /// A bit for each level that occurs, by the level's number.
    pub levels: u8,
    /// Checksum of the payload.
    pub payload_crc: u32,
}

impl BlockHeader {
    /// Bytes of the block in its file, padding included; blocks are `align` bytes apart.
    #[must_use]
    pub fn padded_len(&self, align: usize) -> u64 {
        let align = align as u64;
        (HEADER_BYTES as u64 + u64::from(self.stored_len)).next_multiple_of(align)
    }

    /// True when this version can read what is in the block.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let is_codec = match self.kind {
            KIND_INDEX => self.codec == CODEC_RUNS,
            _ => matches!(self.codec, CODEC_RUNS | CODEC_ZSTD),
        };
        self.version == VERSION && is_codec && self.flags == 0
    }

    /// The longest payload in which the runs may lie.
    fn payload_max(&self) -> u32 {
        if self.codec == CODEC_ZSTD { PAYLOAD_BYTES_MAX as u32 } else { self.stored_len }
    }

    /// True when an event of this level may be in the block.
    #[must_use]
    pub fn has_level(&self, level: Level) -> bool {
        self.levels >> level as u8 & 1 != 0
    }

    fn encode(&self, salt: Salt, offset: u64) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..VERSION_AT].copy_from_slice(&MAGIC);
        out[VERSION_AT] = self.version;
        out[KIND_AT] = self.kind;
        out[CODEC_AT] = self.codec;
        out[FLAGS_AT] = self.flags;
        out[STORED_AT..RAW_AT].copy_from_slice(&self.stored_len.to_le_bytes());
        out[RAW_AT..SEQ_AT].copy_from_slice(&self.raw_len.to_le_bytes());
        out[SEQ_AT..RECORDS_AT].copy_from_slice(&self.seq.to_le_bytes());
        out[RECORDS_AT..LOST_AT].copy_from_slice(&self.records.to_le_bytes());
        out[LOST_AT..FIRST_AT].copy_from_slice(&self.lost.to_le_bytes());
        out[FIRST_AT..LAST_AT].copy_from_slice(&self.first_wall_ns.to_le_bytes());
        out[LAST_AT..DEFS_AT].copy_from_slice(&self.last_wall_ns.to_le_bytes());
        out[DEFS_AT..LEVELS_AT].copy_from_slice(&self.defs_offset.to_le_bytes());
        out[LEVELS_AT] = self.levels;
        out[PAYLOAD_CRC_AT..HEADER_CRC_AT].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = salt.crc(offset, &[&out[..HEADER_CRC_AT]]);
        out[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// Finishes the block whose payload lies at `buffer[HEADER_BYTES..]`: writes header, checksums and
/// padding, and returns the block's length in the file, or `None` when the payload is too long for
/// the format or the padding for the buffer.
///
/// Version, flags and checksum of `header` are set here; its `codec` and `stored_len` count.
#[must_use]
pub fn seal(buffer: &mut [u8], salt: Salt, offset: u64, header: &BlockHeader) -> Option<usize> {
    seal_aligned(buffer, salt, offset, header, ALIGN)
}

/// Like [`seal`], padded to another alignment, as in a segment whose header says so.
#[must_use]
pub fn seal_aligned(
    buffer: &mut [u8],
    salt: Salt,
    offset: u64,
    header: &BlockHeader,
    align: usize,
) -> Option<usize> {
    let payload = buffer.get(HEADER_BYTES..HEADER_BYTES + header.stored_len as usize)?;
    let mut sum = Sum::default();
    sum.extend(payload);
    seal_summed(buffer, salt, offset, header, align, sum)
}

/// Like [`seal_aligned`], of a payload that was summed up before.
#[must_use]
pub(crate) fn seal_summed(
    buffer: &mut [u8],
    salt: Salt,
    offset: u64,
    header: &BlockHeader,
    align: usize,
    payload: Sum,
) -> Option<usize> {
    debug_assert!(
        align.is_power_of_two() && offset.is_multiple_of(align as u64),
        "blocks are aligned"
    );
    debug_assert!(header.defs_offset <= header.payload_max(), "the runs lie in the payload");
    let end = HEADER_BYTES + header.stored_len as usize;
    let padded = end.next_multiple_of(align);
    if header.stored_len as usize > stored_max(header.kind) || padded > buffer.len() {
        return None;
    }
    let payload_crc = payload.behind(salt.crc(offset, &[]));
    debug_assert_eq!(payload_crc, salt.crc(offset, &[&buffer[HEADER_BYTES..end]]), "of all of it");
    let header = BlockHeader { version: VERSION, flags: 0, payload_crc, ..*header };
    buffer[..HEADER_BYTES].copy_from_slice(&header.encode(salt, offset));
    buffer[end..padded].fill(0);
    Some(padded)
}

/// Reads the header of the block at `offset`; `None` when the bytes are none, or not of this place.
#[must_use]
pub fn parse_header(bytes: &[u8; HEADER_BYTES], salt: Salt, offset: u64) -> Option<BlockHeader> {
    let u32_at = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
    let u64_at = |at: usize| bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
    if bytes[..VERSION_AT] != MAGIC
        || u32_at(HEADER_CRC_AT)? != salt.crc(offset, &[&bytes[..HEADER_CRC_AT]])
    {
        return None;
    }
    let header = BlockHeader {
        version: bytes[VERSION_AT],
        kind: bytes[KIND_AT],
        codec: bytes[CODEC_AT],
        flags: bytes[FLAGS_AT],
        stored_len: u32_at(STORED_AT)?,
        raw_len: u32_at(RAW_AT)?,
        seq: u64_at(SEQ_AT)?,
        records: u32_at(RECORDS_AT)?,
        lost: u32_at(LOST_AT)?,
        first_wall_ns: u64_at(FIRST_AT)?.cast_signed(),
        last_wall_ns: u64_at(LAST_AT)?.cast_signed(),
        defs_offset: u32_at(DEFS_AT)?,
        levels: bytes[LEVELS_AT],
        payload_crc: u32_at(PAYLOAD_CRC_AT)?,
    };
    // Lengths are limited in every version, so that a newer block can be stepped over.
    let sane = header.stored_len as usize <= stored_max(header.kind);
    let sane_if_known = header.raw_len as usize <= RAW_BYTES_MAX
        && header.defs_offset <= header.payload_max()
        && bytes[ZEROS_AT..PAYLOAD_CRC_AT] == [0; 3];
    (sane && (sane_if_known || !header.is_known())).then_some(header)
}

/// True when `stored` (the block at `offset` behind its header, padding included) is what the
/// header says.
#[must_use]
pub fn check_payload(stored: &[u8], salt: Salt, offset: u64, header: &BlockHeader) -> bool {
    let Some((payload, padding)) = stored.split_at_checked(header.stored_len as usize) else {
        return false;
    };
    padding.iter().all(|&byte| byte == 0) && salt.crc(offset, &[payload]) == header.payload_crc
}

const fn stored_max(kind: u8) -> usize {
    if kind == KIND_INDEX { super::index::PAYLOAD_BYTES_MAX } else { PAYLOAD_BYTES_MAX }
}

/// The parts of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections<'a> {
    /// Runs, one behind another.
    pub runs: &'a [u8],
    /// Definitions of the callsites that occur, one behind another.
    pub definitions: &'a [u8],
    /// Anchors around the oldest and the newest event.
    pub anchors: Vec<Anchor>,
}

/// Takes a payload apart; `None` when its numbers contradict each other.
#[must_use]
pub fn sections<'a>(payload: &'a [u8], header: &BlockHeader) -> Option<Sections<'a>> {
    let (runs, rest) = payload.split_at_checked(header.defs_offset as usize)?;
    let (definitions_len, rest) = rest.split_first_chunk()?;
    let (definitions, rest) =
        rest.split_at_checked(u32::from_le_bytes(*definitions_len) as usize)?;
    let (n_anchors, rest) = rest.split_first_chunk()?;
    let (anchors, rest) = rest.as_chunks::<{ Anchor::BYTES }>();
    if !rest.is_empty() || anchors.len() != u32::from_le_bytes(*n_anchors) as usize {
        return None;
    }
    Some(Sections { runs, definitions, anchors: anchors.iter().map(Anchor::decode).collect() })
}

/// Bytes of definitions and anchors in a payload.
#[must_use]
pub const fn sections_len(definitions_len: usize, n_anchors: usize) -> usize {
    4 + definitions_len + 4 + n_anchors * Anchor::BYTES
}

/// Writes definitions (each as [`crate::record::Definition::encode`] makes it) and anchors behind
/// the runs of a payload, at `at`; returns the payload's length, or `None` when it is too short.
pub fn put_sections<'a>(
    payload: &mut [u8],
    at: usize,
    definitions: impl IntoIterator<Item = &'a [u8]>,
    anchors: &[Anchor],
) -> Option<usize> {
    let mut end = at + 4;
    for definition in definitions {
        payload.get_mut(end..end + definition.len())?.copy_from_slice(definition);
        end += definition.len();
    }
    let definitions_len = u32::try_from(end - at - 4).ok()?;
    payload.get_mut(at..at + 4)?.copy_from_slice(&definitions_len.to_le_bytes());
    let n_anchors = u32::try_from(anchors.len()).ok()?;
    payload.get_mut(end..end + 4)?.copy_from_slice(&n_anchors.to_le_bytes());
    end += 4;
    for anchor in anchors {
        payload.get_mut(end..end + Anchor::BYTES)?.copy_from_slice(&anchor.encode());
        end += Anchor::BYTES;
    }
    Some(end)
}

/// The anchors that a block needs whose events lie between these ticks: all between, and one more
/// to each side; two at least where there are two, for the rate.
#[must_use]
pub fn bracket(anchors: &[Anchor], first_ticks: u64, last_ticks: u64) -> &[Anchor] {
    let mut from = anchors.partition_point(|anchor| anchor.ticks <= first_ticks).saturating_sub(1);
    let mut to = anchors.partition_point(|anchor| anchor.ticks < last_ticks) + 1;
    to = to.max(from + 2).min(anchors.len());
    from = from.min(to.saturating_sub(2));
    &anchors[from..to]
}

/// What a block holds, decoded.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Its runs, in the order of the block.
    pub runs: Vec<RawRun>,
    /// The callsites that occur.
    pub definitions: Definitions,
    /// Anchors around its events.
    pub anchors: Vec<Anchor>,
}

/// Decodes a payload whose checksum was right.
///
/// # Errors
///
/// When it is not what the header says all the same; what had been decoded until then is lost.
pub fn contents(payload: &[u8], header: &BlockHeader) -> Result<Contents, Malformed> {
    let contradiction = |what| Malformed { at: 0, what };
    let Some(Sections { runs, definitions: bytes, anchors }) = sections(payload, header) else {
        return Err(contradiction("expected sections that fill the block"));
    };
    let mut definitions = Definitions::default();
    if definitions.decode_all(bytes) != bytes.len() {
        return Err(contradiction("expected whole definitions"));
    }
    let runs = Decoder::new(runs, &definitions).collect::<Result<Vec<_>, _>>()?;
    let records = runs.iter().map(|run| u64::from(run.head.count)).sum::<u64>();
    if records != u64::from(header.records) {
        return Err(contradiction("expected as many events as the block says"));
    }
    Ok(Contents { runs, definitions, anchors })
}
