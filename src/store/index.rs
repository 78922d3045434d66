//! Index: what the blocks of a sealed segment hold, told once more at its end.
//!
//! # Layout
//!
//! The payload of a block of kind [`super::block::KIND_INDEX`], whose last bytes are the file's:
//!
//! ```text
//! 0        4        8
//! | count  | zeros  | entries, 56 bytes each | zeros | trailer, 16 bytes |
//! |    u32 |      4 |
//!
//! entry    0            8         12        16             24            32     36   37  38   40
//!          | offset u64 | stored  | events  | first UTC ns | last UTC ns | lost |lev-|kind|zero|
//!          |            | len u32 |    u32  |        i64   |        i64  |  u32 |els |  u8|  2 |
//!          40           48                56
//!          | sequence   | callsites       |
//!          |      u64   | bit id % 64     |
//!
//! trailer  0                   8          12           16
//!          | offset of the     | "TTLI"   | crc of the |
//!          | index block   u64 |          | payload    |
//! ```
//!
//! The trailer's checksum covers the payload up to itself, so that the index stands even when its
//! block's header does not. It is salted like the block's.

use super::block::{self, ALIGN, BlockHeader, HEADER_BYTES, KIND_INDEX, Salt};

const COUNT_BYTES: usize = 8;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 56;
/// Bytes of the trailer, the last of a sealed file.
pub const TRAILER_BYTES: usize = 16;
/// The longest payload of an index block in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;
const MAGIC: [u8; 4] = *b"TTLI";

/// What the index says of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Where the block begins in the file.
    pub offset: u64,
    /// Bytes of its payload.
    pub stored_len: u32,
    /// Events in it.
    pub records: u32,
    /// UTC of the oldest event.
    pub first_wall_ns: i64,
    /// UTC of the newest event.
    pub last_wall_ns: i64,
    /// Events reported as lost.
    pub lost: u32,
    /// A bit for each level that occurs.
    pub levels: u8,
    /// Its kind.
    pub kind: u8,
    /// Its number within the segment.
    pub seq: u64,
    /// A bit for each callsite that occurs, its id modulo 64; all ones when nobody counted.
    pub callsites: u64,
}

impl Entry {
    /// The entry of a block; `callsites` are the ids that occur in it.
    #[must_use]
    pub fn new(offset: u64, header: &BlockHeader, callsites: &[u32]) -> Self {
        Self {
            offset,
            stored_len: header.stored_len,
            records: header.records,
            first_wall_ns: header.first_wall_ns,
            last_wall_ns: header.last_wall_ns,
            lost: header.lost,
            levels: header.levels,
            kind: header.kind,
            seq: header.seq,
            callsites: callsites.iter().fold(0, |bits, id| bits | 1 << (id % 64)),
        }
    }

    /// True when the entry says of the block at `offset` what its header says.
    #[must_use]
    pub fn agrees(&self, offset: u64, header: &BlockHeader) -> bool {
        *self == Self { callsites: self.callsites, ..Self::new(offset, header, &[]) }
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.stored_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_wall_ns.to_le_bytes());
        out[24..32].copy_from_slice(&self.last_wall_ns.to_le_bytes());
        out[32..36].copy_from_slice(&self.lost.to_le_bytes());
        out[36] = self.levels;
        out[37] = self.kind;
        out[40..48].copy_from_slice(&self.seq.to_le_bytes());
        out[48..56].copy_from_slice(&self.callsites.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        if bytes[38..40] != [0; 2] {
            return None;
        }
        Some(Self {
            offset: u64_at(0)?,
            stored_len: u32_at(8)?,
            records: u32_at(12)?,
            first_wall_ns: u64_at(16)?.cast_signed(),
            last_wall_ns: u64_at(24)?.cast_signed(),
            lost: u32_at(32)?,
            levels: bytes[36],
            kind: bytes[37],
            seq: u64_at(40)?,
            callsites: u64_at(48)?,
        })
    }
}

/// Bytes of the index block of so many blocks, where blocks are `align` bytes apart.
#[must_use]
pub const fn sealed_len(n_entries: usize, align: usize) -> usize {
    let len = HEADER_BYTES + COUNT_BYTES + n_entries * ENTRY_BYTES + TRAILER_BYTES;
    len.next_multiple_of(align)
}

/// The index block for `offset`, the end of the segment; `None` when there are too many entries.
#[must_use]
pub fn seal(entries: &[Entry], salt: Salt, offset: u64, seq: u64) -> Option<Vec<u8>> {
    seal_aligned(entries, salt, offset, seq, ALIGN)
}

/// Like [`seal`], padded to another alignment, as in a segment whose header says so.
#[must_use]
pub fn seal_aligned(
    entries: &[Entry],
    salt: Salt,
    offset: u64,
    seq: u64,
    align: usize,
) -> Option<Vec<u8>> {
    let mut buffer = vec![0; sealed_len(entries.len(), align)];
    let payload = &mut buffer[HEADER_BYTES..];
    payload[..4].copy_from_slice(&u32::try_from(entries.len()).ok()?.to_le_bytes());
    let slots = payload[COUNT_BYTES..].as_chunks_mut::<ENTRY_BYTES>().0;
    for (slot, entry) in slots.iter_mut().zip(entries) {
        *slot = entry.encode();
    }
    let stored_len = u32::try_from(payload.len()).ok()?;
    let (body, trailer) = payload.split_at_mut(payload.len() - TRAILER_BYTES);
    trailer[..8].copy_from_slice(&offset.to_le_bytes());
    trailer[8..12].copy_from_slice(&MAGIC);
    let crc = salt.crc(offset, &[body, &trailer[..12]]);
    trailer[12..].copy_from_slice(&crc.to_le_bytes());
    let oldest = entries.iter().map(|entry| entry.first_wall_ns).min();
    let newest = entries.iter().map(|entry| entry.last_wall_ns).max();
    let header = BlockHeader {
        kind: KIND_INDEX,
        stored_len,
        seq,
        first_wall_ns: oldest.unwrap_or(0),
        last_wall_ns: newest.unwrap_or(0),
        ..BlockHeader::default()
    };
    block::seal_aligned(&mut buffer, salt, offset, &header, align)?;
    Some(buffer)
}

/// Where the index block of a file begins that ends with this trailer; `None` when it is none.
#[must_use]
pub fn trailer_offset(trailer: &[u8; TRAILER_BYTES]) -> Option<u64> {
    let offset = trailer.first_chunk().map(|b| u64::from_le_bytes(*b))?;
    (trailer[8..12] == MAGIC).then_some(offset)
}

/// Reads the payload of the index block at `offset`; `None` when it is not whole.
#[must_use]
pub fn decode(payload: &[u8], salt: Salt, offset: u64) -> Option<Vec<Entry>> {
    let (body, trailer) = payload.split_last_chunk::<TRAILER_BYTES>()?;
    let (covered, crc) = trailer.split_last_chunk::<4>()?;
    if payload.len() > PAYLOAD_BYTES_MAX
        || trailer_offset(trailer) != Some(offset)
        || u32::from_le_bytes(*crc) != salt.crc(offset, &[body, covered])
    {
        return None;
    }
    let (count, rest) = body.split_first_chunk::<4>()?;
    let (zeros, rest) = rest.split_first_chunk::<4>()?;
    let n_entries = u32::from_le_bytes(*count) as usize;
    let (entries, padding) = rest.split_at_checked(n_entries.checked_mul(ENTRY_BYTES)?)?;
    if *zeros != [0; 4] || padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    entries.as_chunks().0.iter().map(Entry::decode).collect()
}
