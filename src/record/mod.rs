//! Record: the one layout of an event, from the lane to the reader.
//!
//! A record is what `emit` writes into a lane, what a run in a block holds (encoded or
//! raw), and what the reader decodes into. Everything in it is little-endian.
//!
//! # Layout
//!
//! ```text
//! 0            4                 6         8            16
//! | callsite   | payload words   | kind    | ticks      | payload, padded to 8 bytes
//! |        u32 |             u16 | flags   |        u64 | 8 * words
//! |            |                 | u8 + u8 |            |
//! ```
//!
//! The payload holds the values of the callsite's definition one after another, unaligned, each as
//! its [`Kind`] says; the rest of the last word is zero. A record of a callsite whose definition is
//! [`Definition::dynamic`], and one flagged [`FLAG_DYNAMIC`], tells kinds in the payload.
//!
//! A [`RECORD_PAD`] record fills the end of a lane's buffer; it is no event and no reader shows it.
//! Records of the kinds `RECORD_SPAN_…` tell of spans, and are no events either.
//!
//! Before the values stand, one word each: the id of the thread where [`FLAG_THREAD`] is set (common
//! lane), the id of the span where [`FLAG_SPAN`] is, the ticks at which it was first told where
//! [`FLAG_RETOLD`] is, and what a record of a span says beside its values.

mod anchor;
pub mod compact;
#[cfg(not(loom))]
mod covered;
mod definition;
mod glob;
mod json;
mod kind;
mod level;
mod loss;
mod open_spans;
mod run;
mod sum;
pub mod template;
mod value;

pub use anchor::{Anchor, Timeline};
#[cfg(not(loom))]
pub(crate) use covered::Covered;
pub use definition::{Definition, Definitions, Field, Role};
pub use glob::glob;
pub use json::is_json;
pub use kind::Kind;
pub use level::{Level, ParseLevelError};
pub use loss::{CAUSES, Cause, LEVELS, Losses};
#[cfg_attr(loom, expect(unused_imports, reason = "only what is modelled is compiled"))]
pub(crate) use open_spans::OpenSpans;
pub(crate) use run::thread_name_bytes;
pub use run::{CODEC_COMPACT, CODEC_RAW, RUN_HEAD_BYTES_MAX, RawRun, RunHead};
pub use sum::Sum;
pub(crate) use value::take_value;
pub use value::{Value, Values, error_chain};

/// Bytes before the payload: the word and the ticks.
pub const HEAD_BYTES: usize = 16;
/// The longest record in bytes, head included; longer ones are cut and flagged.
pub const RECORD_BYTES_MAX: usize = 128 << 10;

/// Kind: an event.
pub const RECORD_EVENT: u8 = 0;
/// Kind: nothing, fills the end of a lane's buffer.
pub const RECORD_PAD: u8 = 1;

/// Kind: a span was opened; the id of its parent, or 0, stands before the values.
pub const RECORD_SPAN_OPEN: u8 = 2;
/// Kind: fields of a span got values.
pub const RECORD_SPAN_VALUES: u8 = 3;
/// Kind: a thread entered a span.
pub const RECORD_SPAN_ENTER: u8 = 4;
/// Kind: a thread left a span.
pub const RECORD_SPAN_EXIT: u8 = 5;
/// Kind: a span was closed; two words say for how many ticks it was busy and idle.
pub const RECORD_SPAN_CLOSE: u8 = 6;
/// Kind: a span follows from another, whose id is the next word.
pub const RECORD_SPAN_FOLLOWS: u8 = 7;

/// Flag: the longest value was cut to fit.
pub const FLAG_TRUNCATED: u8 = 1;
/// Flag: the payload's first word is the id of the thread (records of the common lane).
pub const FLAG_THREAD: u8 = 2;
/// Flag: each value is preceded by one byte, its kind, since they differ from the definition's.
pub const FLAG_DYNAMIC: u8 = 4;

/// Flag: the next word of the payload is the id of the span that an event was logged in, or that a
/// record of a span is about.
pub const FLAG_SPAN: u8 = 8;
/// Flag: a record of a span that was told before, the next word of the payload being its ticks then.
pub const FLAG_RETOLD: u8 = 16;

/// The lane of the runs in which the scribe tells open spans again; no lane has this number.
pub const LANE_RETOLD: u32 = u32::MAX;

/// The words before a record's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prefix {
    /// Id of the thread, in the common lane.
    pub thread: Option<u32>,
    /// Id of the span, 0 for none.
    pub span: u64,
    /// When it was told first, of a record that is told again.
    pub retold: Option<u64>,
    /// Id of an opened span's parent, 0 for none.
    pub parent: u64,
}

impl Prefix {
    /// Takes the prefix from the front of a payload; `None` when the payload is too short.
    #[must_use]
    pub fn take(head: &Head, payload: &mut &[u8]) -> Option<Self> {
        let mut word = || {
            let (word, rest) = payload.split_first_chunk()?;
            *payload = rest;
            Some(u64::from_le_bytes(*word))
        };
        let mut prefix = Self::default();
        if head.flags & FLAG_THREAD != 0 {
            prefix.thread = Some(word()? as u32);
        }
        if head.flags & FLAG_SPAN != 0 {
            prefix.span = word()?;
        }
        if head.flags & FLAG_RETOLD != 0 {
            prefix.retold = Some(word()?);
        }
        if head.kind == RECORD_SPAN_OPEN {
            prefix.parent = word()?;
        }
        Some(prefix)
    }
}

/// The first sixteen bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Id of the callsite, unique in a process; 0 in a pad.
    pub callsite: u32,
    /// Length of the payload in words of eight bytes.
    pub words: u16,
    /// One of the `RECORD_` constants.
    pub kind: u8,
    /// A sum of the `FLAG_` constants.
    pub flags: u8,
    /// Raw ticks of the logger's clock.
    pub ticks: u64,
}

impl Head {
    /// Packs the fields before the ticks into the record's first word.
    #[inline(always)]
    #[must_use]
    pub const fn word(callsite: u32, words: u16, kind: u8, flags: u8) -> u64 {
        callsite as u64 | (words as u64) << 32 | (kind as u64) << 48 | (flags as u64) << 56
    }

    /// The first sixteen bytes of a record.
    #[inline(always)]
    #[must_use]
    pub const fn encode(
        callsite: u32,
        words: u16,
        kind: u8,
        flags: u8,
        ticks: u64,
    ) -> [u8; HEAD_BYTES] {
        let word = Self::word(callsite, words, kind, flags);
        (word as u128 | (ticks as u128) << 64).to_le_bytes()
    }

    /// Takes apart the first two words of a record.
    #[inline(always)]
    #[must_use]
    pub const fn parse(word: u64, ticks: u64) -> Self {
        Self {
            callsite: word as u32,
            words: (word >> 32) as u16,
            kind: (word >> 48) as u8,
            flags: (word >> 56) as u8,
            ticks,
        }
    }

    /// Reads the head at the start of `bytes`; `None` when they are too few, or fewer than it says.
    #[inline]
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        let ticks = u64::from_le_bytes(*bytes.get(8..)?.first_chunk::<8>()?);
        let head = Self::parse(word, ticks);
        (bytes.len() >= head.len()).then_some(head)
    }

    /// Length of the whole record in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> usize {
        HEAD_BYTES + self.words as usize * 8
    }

    /// False: a record has at least its head.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}
