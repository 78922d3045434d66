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
//!     next new number | its callsite's id, 4 bytes | the record's arguments |
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
//! `same` says that the callsite is that of the last record before it in this run that was not
//! stored as it lay. Callsites are numbered from 1 as they come; a slot keeps the bytes that were
//! last spelled out for it. All of this is empty at a block's start and behind a raw run.
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
mod varint;

use std::fmt;

use super::{Definition, Definitions, Kind, Level};

pub use decode::Decoder;
pub use encode::{Encoded, Encoder};

/// Bytes of records that one block may hold, decoded.
pub const RAW_BYTES_MAX: usize = 4 << 20;
/// Callsites that one block may name.
pub const SITES_MAX: usize = 1024;
/// Arguments beyond which a callsite's records are stored as they lie.
pub const ARGUMENTS_MAX: usize = 16;

/// Slots of the table of texts; the number behind the last one spells a text out.
const SLOTS: usize = 255;
const SPELLED: u8 = 255;

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
    /// False when records are stored as they lie.
    fixed: bool,
}

impl Schema {
    /// The schema of a callsite whose records hold values of these kinds ([`Kind`] numbers,
    /// [`Kind::OPTIONAL`] added where a value may be absent).
    #[must_use]
    pub fn new(kinds: &[u8], level: Level) -> Self {
        let known = |kind: &u8| Kind::from_u8(kind & !Kind::OPTIONAL).is_some();
        let fixed = kinds.len() <= ARGUMENTS_MAX && kinds.iter().all(known);
        let n_kinds = if fixed { kinds.len() } else { 0 };
        let mut packed = [0; ARGUMENTS_MAX];
        packed[..n_kinds].copy_from_slice(&kinds[..n_kinds]);
        Self { kinds: packed, n_kinds: n_kinds as u8, level, fixed }
    }

    /// The schema of a callsite whose records tell the kinds of their values themselves.
    #[must_use]
    pub const fn dynamic(level: Level) -> Self {
        Self { kinds: [0; ARGUMENTS_MAX], n_kinds: 0, level, fixed: false }
    }

    /// The schema of a definition.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        if definition.dynamic || definition.fields.len() > ARGUMENTS_MAX {
            return Self::dynamic(definition.level);
        }
        let mut kinds = [0; ARGUMENTS_MAX];
        for (kind, field) in kinds.iter_mut().zip(&definition.fields) {
            *kind = field.kind;
        }
        Self::new(&kinds[..definition.fields.len()], definition.level)
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
}

impl Schemas for Definitions {
    fn schema(&self, id: u32) -> Option<Schema> {
        self.get(id).map(|definition| Schema::of(definition))
    }
}

/// How one argument is coded: a [`Kind`] without the differences that coding does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Nothing,
    Byte,
    Delta16,
    Delta32,
    Delta64,
    Copy4,
    Copy8,
    Copy16,
    Duration,
    Text,
}

impl Op {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Empty => Self::Nothing,
            Kind::U8 | Kind::I8 | Kind::Bool => Self::Byte,
            Kind::U16 | Kind::I16 => Self::Delta16,
            Kind::U32 | Kind::I32 | Kind::Char => Self::Delta32,
            Kind::U64 | Kind::I64 => Self::Delta64,
            Kind::F32 => Self::Copy4,
            Kind::F64 => Self::Copy8,
            Kind::U128 | Kind::I128 => Self::Copy16,
            Kind::Duration => Self::Duration,
            Kind::Str | Kind::Text | Kind::Bytes | Kind::Error => Self::Text,
        }
    }

    /// Bytes of the argument in a record, without those of a text.
    const fn fixed_len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Byte => 1,
            Self::Delta16 => 2,
            Self::Delta32 | Self::Copy4 | Self::Text => 4,
            Self::Delta64 | Self::Copy8 => 8,
            Self::Copy16 => 16,
            Self::Duration => 12,
        }
    }
}

/// How the records of one callsite are coded.
#[derive(Debug, Clone, Copy)]
struct Plan {
    ops: [Op; ARGUMENTS_MAX],
    n_ops: usize,
    /// Bit per argument: it may be absent.
    optional: u16,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Stored as it lies.
    Raw,
    /// 64-bit integers alone.
    Words,
    /// Anything else.
    Mixed,
}

impl Plan {
    const RAW: Self =
        Self { ops: [Op::Nothing; ARGUMENTS_MAX], n_ops: 0, optional: 0, shape: Shape::Raw };

    fn of(schema: &Schema) -> Self {
        if !schema.fixed {
            return Self::RAW;
        }
        let mut plan = Self { n_ops: schema.kinds().len(), shape: Shape::Words, ..Self::RAW };
        for (i, &kind) in schema.kinds().iter().enumerate() {
            let Some(known) = Kind::from_u8(kind & !Kind::OPTIONAL) else { return Self::RAW };
            plan.ops[i] = Op::of(known);
            if kind & Kind::OPTIONAL != 0 {
                plan.optional |= 1 << i;
            }
            if plan.ops[i] != Op::Delta64 || plan.optional != 0 {
                plan.shape = Shape::Mixed;
            }
        }
        plan
    }

    #[inline(always)]
    fn ops(&self) -> &[Op] {
        &self.ops[..self.n_ops.min(ARGUMENTS_MAX)]
    }
}
