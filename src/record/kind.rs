//! Kind: how a value lies in a record's payload.

/// How a value lies in a payload. The number is part of the file format.
///
/// | kinds | bytes |
/// | --- | --- |
/// | `U8` `I8` `Bool` | 1 |
/// | `U16` `I16` | 2 |
/// | `U32` `I32` `F32` `Char` | 4 |
/// | `U64` `I64` `F64` | 8 |
/// | `U128` `I128` | 16 |
/// | `Duration` | 8 of seconds, 4 of nanoseconds |
/// | `Str` `Text` `Bytes` `Nested` | 4 of length, then as many |
/// | `Error` | 4 of length, then for each error of the chain, outermost first, 4 of length and text |
/// | `Empty` | 0: the field has no value |
///
/// With [`Kind::OPTIONAL`] added to its number, a kind has one byte before it: 1 and the value, or
/// 0 and nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named for the Rust type that it holds")]
pub enum Kind {
    /// No value: `field::Empty`.
    Empty = 1,
    U8 = 2,
    U16 = 3,
    U32 = 4,
    U64 = 5,
    U128 = 6,
    I8 = 7,
    I16 = 8,
    I32 = 9,
    I64 = 10,
    I128 = 11,
    F32 = 12,
    F64 = 13,
    Bool = 14,
    Char = 15,
    /// A string that the program held.
    Str = 16,
    /// Text that `Display` or `Debug` made.
    Text = 17,
    Bytes = 18,
    Duration = 19,
    /// An error with its chain of sources.
    Error = 20,
    /// Maps and lists as strict JSON without blanks; of length 0 when they were too long.
    Nested = 21,
}

impl Kind {
    /// Added to a kind's number: the value may be absent.
    pub const OPTIONAL: u8 = 0x40;
    /// Number 0 is no kind: it ends a packed list of kinds.
    pub const NONE: u8 = 0;

    /// The kind with this number, without [`Kind::OPTIONAL`].
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Empty,
            2 => Self::U8,
            3 => Self::U16,
            4 => Self::U32,
            5 => Self::U64,
            6 => Self::U128,
            7 => Self::I8,
            8 => Self::I16,
            9 => Self::I32,
            10 => Self::I64,
            11 => Self::I128,
            12 => Self::F32,
            13 => Self::F64,
            14 => Self::Bool,
            15 => Self::Char,
            16 => Self::Str,
            17 => Self::Text,
            18 => Self::Bytes,
            19 => Self::Duration,
            20 => Self::Error,
            21 => Self::Nested,
            _ => return None,
        })
    }

    /// Bytes of a value of this kind, `None` when the value itself says how many.
    #[must_use]
    pub const fn fixed_len(self) -> Option<usize> {
        Some(match self {
            Self::Empty => 0,
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 | Self::Char => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::U128 | Self::I128 => 16,
            Self::Duration => 12,
            Self::Str | Self::Text | Self::Bytes | Self::Error | Self::Nested => return None,
        })
    }
}
