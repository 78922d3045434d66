//! Segment: a file of blocks; its header, and the reader that walks it.
//!
//! # Layout
//!
//! ```text
//! 0               512             1024
//! | header        | header again  | block | block | … | index block when sealed |
//!
//! header  0          8        10      11      12       16         24         32
//!         | magic    | format | align | clock | flags  | logger   | number   | boot id,     |
//!         |  8 bytes |    u16 | log2  |   u8  |    u32 |   id u64 |     u64  |    16 bytes  |
//!         48           56        60        64    65        66     67         72
//!         | created ns | pid u32 | uid u32 | app | version | host | zeros, 5 | the three texts
//!         |       i64  |         |         |   lengths, u8 each   |          | and zeros
//!         508      512
//!         | crc    |   of the 508 bytes before, unsalted
//! ```
//!
//! Magic, format and checksum stay where they are in every later format. Unknown flags are
//! compatible ones: they are ignored.

use super::Error;
use super::block::{ALIGN, Salt};

pub use super::reader::{BlockRef, Entry, SegmentReader};

const FORMAT_AT: usize = 8;
const ALIGN_AT: usize = 10;
const CLOCK_AT: usize = 11;
const FLAGS_AT: usize = 12;
const LOGGER_AT: usize = 16;
const NUMBER_AT: usize = 24;
const BOOT_AT: usize = 32;
const CREATED_AT: usize = 48;
const PID_AT: usize = 56;
const UID_AT: usize = 60;
const LENS_AT: usize = 64;
const TEXTS_AT: usize = 72;
const CRC_AT: usize = COPY_BYTES - 4;
/// Bytes of one of the two copies of the header.
pub const COPY_BYTES: usize = 512;
/// Bytes before the first block.
pub const SEGMENT_HEADER_BYTES: usize = 2 * COPY_BYTES;
const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(ALIGN), "the first block is aligned");

/// First bytes of a segment. The high bit, the line ends and the end-of-file character show what a
/// transfer as text would have done.
pub const MAGIC: [u8; 8] = *b"\x89TTL\r\n\x1a\n";
/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u16 = 1;
/// Clock: ticks are those of the processor's time stamp counter.
pub const CLOCK_TSC: u8 = 1;
/// Clock: ticks are nanoseconds of `CLOCK_MONOTONIC`.
pub const CLOCK_MONOTONIC: u8 = 2;
/// Clock: ticks are nanoseconds of UTC since 1970, told by who logged (`ttlog record`).
pub const CLOCK_UTC: u8 = 3;
/// Flag: the segment was packed, rewritten with larger blocks after it was sealed.
pub const FLAG_PACKED: u32 = 1;
/// Flag of a segment: written by the spiller beside others. Its runs lie between those of segments
/// with smaller and greater numbers.
pub const FLAG_SPILL: u32 = 2;
/// Flag: a dump of a flight recorder. Its number is no segment's; what it has of the log stands in
/// segments under the same positions too, as far as those are still there.
pub const FLAG_DUMP: u32 = 4;
/// Flag of a spill file: it is a typed ring's, and holds items in place of events.
pub const FLAG_ITEMS: u32 = 8;
/// Flag of a segment: its file was removed by somebody while it was written, and made again under
/// the same number. What it held before is not missing.
pub const FLAG_AGAIN: u32 = 16;
/// Flag of a segment: its logger had spilled before. What lies between its runs may be in a file of
/// another number, and is not missing when a number is.
pub const FLAG_SPILLED: u32 = 32;
/// The longest text of a header in bytes: app, version, host.
const TEXT_BYTES_MAX: [usize; 3] = [128, 64, 128];
const _: () = assert!(
    TEXTS_AT + TEXT_BYTES_MAX[0] + TEXT_BYTES_MAX[1] + TEXT_BYTES_MAX[2] <= CRC_AT,
    "all texts fit"
);
/// The largest alignment of blocks, as a power of two.
const ALIGN_LOG2_MAX: u8 = 16;

/// Who wrote a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentHeader {
    /// The logger's id.
    pub logger: u64,
    /// The segment's number within its logger.
    pub number: u64,
    /// The boot of the system, from the kernel; ticks compare within one.
    pub boot: [u8; 16],
    /// [`CLOCK_TSC`] or [`CLOCK_MONOTONIC`].
    pub clock: u8,
    /// Name of the app.
    pub app: String,
    /// Version of the app.
    pub version: String,
    /// Name of the host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The user.
    pub uid: u32,
    /// UTC of the start in nanoseconds since 1970.
    pub created_ns: i64,
    /// Blocks begin at multiples of this power of two; 0 stands for 64 bytes.
    pub align_log2: u8,
    /// A sum of the `FLAG_` constants; unknown ones are ignored.
    pub flags: u32,
}

impl SegmentHeader {
    /// The header as it stands in a file, both copies. Texts that are too long are cut.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        let (first, second) = out.split_at_mut(COPY_BYTES);
        first[..FORMAT_AT].copy_from_slice(&MAGIC);
        first[FORMAT_AT..ALIGN_AT].copy_from_slice(&FORMAT.to_le_bytes());
        first[ALIGN_AT] = self.align().ilog2() as u8;
        first[CLOCK_AT] = self.clock;
        first[FLAGS_AT..LOGGER_AT].copy_from_slice(&self.flags.to_le_bytes());
        first[LOGGER_AT..NUMBER_AT].copy_from_slice(&self.logger.to_le_bytes());
        first[NUMBER_AT..BOOT_AT].copy_from_slice(&self.number.to_le_bytes());
        first[BOOT_AT..CREATED_AT].copy_from_slice(&self.boot);
        first[CREATED_AT..PID_AT].copy_from_slice(&self.created_ns.to_le_bytes());
        first[PID_AT..UID_AT].copy_from_slice(&self.pid.to_le_bytes());
        first[UID_AT..LENS_AT].copy_from_slice(&self.uid.to_le_bytes());
        let mut at = TEXTS_AT;
        for (i, text) in [&self.app, &self.version, &self.host].into_iter().enumerate() {
            let text = cut(text, TEXT_BYTES_MAX[i]).as_bytes();
            first[LENS_AT + i] = text.len() as u8;
            first[at..at + text.len()].copy_from_slice(text);
            at += text.len();
        }
        let crc = crc32c::crc32c(&first[..CRC_AT]);
        first[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        second.copy_from_slice(first);
        out
    }

    /// Reads one copy of a header.
    ///
    /// # Errors
    ///
    /// [`Error::NotTtlog`], [`Error::DamagedHeader`] or [`Error::Newer`].
    pub fn decode(bytes: &[u8; COPY_BYTES]) -> Result<Self, Error> {
        let u16_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u16::from_le_bytes(*b));
        let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        if bytes[..FORMAT_AT] != MAGIC {
            return Err(Error::NotTtlog);
        }
        if u32_at(CRC_AT) != crc32c::crc32c(&bytes[..CRC_AT]) {
            return Err(Error::DamagedHeader);
        }
        let found = u16_at(FORMAT_AT);
        if found != FORMAT {
            return Err(Error::Newer { found, known: FORMAT });
        }
        let align_log2 = bytes[ALIGN_AT];
        let sane = (ALIGN.ilog2() as u8..=ALIGN_LOG2_MAX).contains(&align_log2);
        let texts = decode_texts(&bytes[LENS_AT..CRC_AT]).filter(|_| sane);
        let [app, version, host] = texts.ok_or(Error::DamagedHeader)?;
        let mut boot = [0; 16];
        boot.copy_from_slice(&bytes[BOOT_AT..CREATED_AT]);
        Ok(Self {
            logger: u64_at(LOGGER_AT),
            number: u64_at(NUMBER_AT),
            boot,
            clock: bytes[CLOCK_AT],
            app,
            version,
            host,
            pid: u32_at(PID_AT),
            uid: u32_at(UID_AT),
            created_ns: u64_at(CREATED_AT).cast_signed(),
            align_log2,
            flags: u32_at(FLAGS_AT),
        })
    }

    /// What the checksums of this segment's blocks begin with.
    #[must_use]
    pub const fn salt(&self) -> Salt {
        Salt { logger: self.logger, segment: self.number }
    }

    /// Blocks begin at multiples of this.
    #[must_use]
    pub fn align(&self) -> usize {
        1 << self.align_log2.clamp(ALIGN.ilog2() as u8, ALIGN_LOG2_MAX)
    }

    /// Where the first block begins.
    #[must_use]
    pub fn first_block(&self) -> u64 {
        SEGMENT_HEADER_BYTES.next_multiple_of(self.align()) as u64
    }
}

fn decode_texts(bytes: &[u8]) -> Option<[String; 3]> {
    let (lens, rest) = bytes.split_at_checked(TEXTS_AT - LENS_AT)?;
    let mut rest = rest;
    let mut texts = [const { String::new() }; 3];
    for (text, &len) in texts.iter_mut().zip(lens) {
        let (bytes, behind) = rest.split_at_checked(usize::from(len))?;
        *text = std::str::from_utf8(bytes).ok()?.to_owned();
        rest = behind;
    }
    let zeros = lens[texts.len()..].iter().chain(rest).all(|&byte| byte == 0);
    zeros.then_some(texts)
}

/// As much of an app's name as a header keeps.
pub(crate) fn kept_app(app: &str) -> &str {
    cut(app, TEXT_BYTES_MAX[0])
}

/// As many whole characters as fit so many bytes.
fn cut(text: &str, len_max: usize) -> &str {
    let mut len = text.len().min(len_max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}
