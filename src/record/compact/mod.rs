//! Compact: records encoded one by one against what the block has seen before.
//!
//! # Layout
//!
//! A run's body is the ticks of its first record as a zigzag varint against the ticks of the
//! record before (0 at first), then each record:
//!
//! ```text
//! | varint (ticks since the record before) << 1 | same | only when same is 0: |
//!                                                       | varint number | new: id u32 |
//!     number 0        | the record as it lay in the lane: 16 + 8 * words bytes |
//!     number known    | the record's arguments |
//!     next new number | id u32 | flags u8 | n u8 | n kinds u8 | the record's arguments |
//!
//! an argument:
//!     U16..U64, I16..I64, Char    zigzag varint against its last value in this callsite
//!     U8, I8, Bool, F32, F64, U128, I128       its bytes
//!     Duration                    seconds as U64, nanoseconds as their 4 bytes
//!     Str, Text, Bytes, Error     | slot u8 | or | 255 | slot u8 | varint length | bytes |
//!     optional                    | 1 | argument | or | 0 |
//!     Empty                       nothing
//! ```
//!
//! `same` says that the number is that of the last record before it in this run that was not
//! stored as it lay. Numbers count from 1 as they come: each stands for a callsite, its records'
//! flags, and the kinds of their values. `n` is 255, and no kinds follow, when the kinds are the
//! definition's; else the records tell them, and each value lies behind its kind. Records with the
//! flag for a thread or a span have one more argument for each before the others, a U64 that nothing
//! tells. A slot
//! keeps the bytes that were last spelled out for it. All of this is empty at a block's start and
//! behind a raw run.
//!
//! A varint holds its length as the zeros below its lowest set bit: `0bxxxx_xxx1` is one byte,
//! `0bxxxx_xx10` two, up to `0x80` for eight; a zero byte is followed by eight.
//!
//! # Invariants
//!
//! - **C1** What the encoder writes decodes to the same bytes, whatever they are: a record that is
//!   not what its definition says is stored as it lay.
//! - **C2** A record is looked at as a whole before any of it changes the state, so that a record
//!   that does not fit leaves no trace.
//! - **C3** The decoder's memory is bounded by [`RAW_BYTES_MAX`] and [`SITES_MAX`], whatever the
//!   numbers in its input say.

mod decode;
mod encode;
mod plan;
mod short;
mod site;
mod stencil;
mod texts;
mod varint;
mod walk;

use std::fmt;

use super::{Definition, Definitions, Kind, Level};

pub use decode::Decoder;
pub use encode::{Encoded, Encoder};

/// Bytes of records that one block may hold, decoded.
pub const RAW_BYTES_MAX: usize = 4 << 20;
/// Callsites that one block may name.
pub const SITES_MAX: usize = 1024;
/// Bytes of definitions that one block may need, unless one alone needs more.
pub const DEFINITIONS_BYTES_MAX: usize = 1 << 20;
/// Arguments beyond which a callsite's records are stored as they lie.
pub const ARGUMENTS_MAX: usize = 16;
/// How far before it encodes a record the encoder asks for lines: they lie with the processor that
/// wrote them, and 512 bytes are too few (RFC.md).
const AHEAD_BYTES: usize = 1536;
/// A longer record's lines come in a row, which processors foresee.
const ASKED_MAX: usize = 256;

/// Slots of the table of texts; the number behind the last one spells a text out.
const SLOTS: usize = 255;
const SPELLED: u8 = 255;
/// Instead of a number of kinds: those of the definition.
const KINDS_DEFINED: u8 = 255;

/// Bytes that are not what they should be, at an offset into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Offset into the input.
    pub at: usize,
    /// What was expected there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

/// What the encoder needs to know of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    kinds: [u8; ARGUMENTS_MAX],
    n_kinds: u8,
    level: Level,
    form: Form,
}

/// What a definition says of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// They hold values of these kinds.
    Defined,
    /// They tell the kinds of their values.
    Told,
    /// More than this encoding knows of.
    Unknown,
}

impl Schema {
    /// The schema of a callsite whose records hold values of these kinds ([`Kind`] numbers,
    /// [`Kind::OPTIONAL`] added where a value may be absent).
    #[must_use]
    pub fn new(kinds: &[u8], level: Level) -> Self {
        let known = |kind: &u8| Kind::from_u8(kind & !Kind::OPTIONAL).is_some();
        let fixed = kinds.len() <= ARGUMENTS_MAX && kinds.iter().all(known);
        let n_kinds = if fixed { kinds.len() } else { 0 };
        let form = if fixed { Form::Defined } else { Form::Unknown };
        let mut packed = [0; ARGUMENTS_MAX];
        packed[..n_kinds].copy_from_slice(&kinds[..n_kinds]);
        Self { kinds: packed, n_kinds: n_kinds as u8, level, form }
    }

    /// The schema of a callsite whose records tell the kinds of their values themselves.
    #[must_use]
    pub const fn dynamic(level: Level) -> Self {
        Self { kinds: [0; ARGUMENTS_MAX], n_kinds: 0, level, form: Form::Told }
    }

    /// The schema of a definition.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        if definition.dynamic {
            return Self::dynamic(definition.level);
        }
        // One more than there is room for, so that too many are seen to be too many.
        let mut kinds = [0; ARGUMENTS_MAX + 1];
        for (kind, field) in kinds.iter_mut().zip(&definition.fields) {
            *kind = field.kind;
        }
        Self::new(&kinds[..definition.fields.len().min(kinds.len())], definition.level)
    }

    /// The level of the callsite.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    fn kinds(&self) -> &[u8] {
        &self.kinds[..usize::from(self.n_kinds)]
    }
}

/// Gives the schema of a callsite by its id.
pub trait Schemas {
    /// The schema of the callsite with this id, `None` when it is unknown.
    fn schema(&self, id: u32) -> Option<Schema>;

    /// Bytes that its definition takes in a block; 0 when there is none.
    fn definition_len(&self, id: u32) -> usize;
}

impl Schemas for Definitions {
    fn schema(&self, id: u32) -> Option<Schema> {
        self.get(id).map(|definition| Schema::of(definition))
    }

    fn definition_len(&self, id: u32) -> usize {
        self.get(id).map_or(0, |definition| definition.encoded_len())
    }
}
