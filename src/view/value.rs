//! Value: one value of an event, owned, as readers compare and show it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::record;

/// One value of an event.
///
/// Numbers compare by value, whatever their types: `Value::from(42u8) == Value::from(42.0)`. A
/// character equals the text of that one character.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named for the Rust type that it holds")]
pub enum Value {
    U64(u64),
    I64(i64),
    U128(u128),
    I128(i128),
    F32(f32),
    F64(f64),
    Bool(bool),
    Char(char),
    Str(String),
    Bytes(Vec<u8>),
    Duration(Duration),
    /// The texts of an error and its sources, outermost first.
    Error(Vec<String>),
    /// Maps and lists as strict JSON without blanks.
    Nested(String),
}

impl Value {
    /// The value as text, when it is a string or a character.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Str(text) => Some(Cow::Borrowed(text)),
            Self::Char(c) => Some(Cow::Owned(c.to_string())),
            _ => None,
        }
    }

    /// Copies a value out of a record; `None` for one that has no value.
    pub(super) fn of(value: record::Value<'_>) -> Option<Self> {
        use record::Value as Raw;
        Some(match value {
            Raw::U8(n) => Self::U64(n.into()),
            Raw::U16(n) => Self::U64(n.into()),
            Raw::U32(n) => Self::U64(n.into()),
            Raw::U64(n) => Self::U64(n),
            Raw::U128(n) => Self::U128(n),
            Raw::I8(n) => Self::I64(n.into()),
            Raw::I16(n) => Self::I64(n.into()),
            Raw::I32(n) => Self::I64(n.into()),
            Raw::I64(n) => Self::I64(n),
            Raw::I128(n) => Self::I128(n),
            Raw::F32(n) => Self::F32(n),
            Raw::F64(n) => Self::F64(n),
            Raw::Bool(flag) => Self::Bool(flag),
            Raw::Char(c) => Self::Char(c),
            Raw::Str(text) | Raw::Text(text) => Self::Str(text.to_owned()),
            Raw::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Raw::Duration(duration) => Self::Duration(duration),
            Raw::Error(chain) => {
                Self::Error(record::error_chain(chain).map(str::to_owned).collect())
            }
            Raw::Nested(json) => Self::Nested(json.to_owned()),
            Raw::Empty => return None,
        })
    }

    fn number(&self) -> Option<Number> {
        Some(match *self {
            Self::U64(n) => Number::Int { negative: false, size: n.into() },
            Self::U128(n) => Number::Int { negative: false, size: n },
            Self::I64(n) => Number::of_signed(n.into()),
            Self::I128(n) => Number::of_signed(n),
            Self::F32(n) => Number::of_float(n.into()),
            Self::F64(n) => Number::of_float(n),
            _ => return None,
        })
    }
}

/// A number reduced to one form, so that equal values of different types are equal.
#[derive(Debug, PartialEq)]
enum Number {
    Int { negative: bool, size: u128 },
    Float(f64),
}

impl Number {
    fn of_signed(n: i128) -> Self {
        Self::Int { negative: n < 0, size: n.unsigned_abs() }
    }

    fn of_float(n: f64) -> Self {
        // Beyond 2^128 no integer type reaches; both zeros are the integer 0.
        let whole = n.fract() == 0.0 && n.abs() < 2f64.powi(128);
        if whole { Self::Int { negative: n < 0.0, size: n.abs() as u128 } } else { Self::Float(n) }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a == b;
        }
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Error(a), Self::Error(b)) => a == b,
            (Self::Nested(a), Self::Nested(b)) => a == b,
            _ => matches!((self.as_str(), other.as_str()), (Some(a), Some(b)) if a == b),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U64(n) => n.fmt(f),
            Self::I64(n) => n.fmt(f),
            Self::U128(n) => n.fmt(f),
            Self::I128(n) => n.fmt(f),
            Self::F32(n) => n.fmt(f),
            Self::F64(n) => n.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
            Self::Char(c) => c.fmt(f),
            Self::Str(text) | Self::Nested(text) => text.fmt(f),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Duration(duration) => fmt::Debug::fmt(duration, f),
            Self::Error(chain) => f.write_str(&chain.join(": ")),
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    u8 => U64, u16 => U64, u32 => U64, u64 => U64, u128 => U128,
    i8 => I64, i16 => I64, i32 => I64, i64 => I64, i128 => I128,
    f32 => F32, f64 => F64, bool => Bool, char => Char, &str => Str, String => Str,
    &[u8] => Bytes, Vec<u8> => Bytes, Duration => Duration,
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::U64(value as u64)
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self::I64(value as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        let same = [
            Value::from(42u8),
            42i64.into(),
            42.0.into(),
            42f32.into(),
            42u128.into(),
            42i128.into(),
            42usize.into(),
        ];
        for a in &same {
            for b in &same {
                assert_eq!(a, b);
            }
            assert_ne!(*a, Value::from(43));
            assert_ne!(*a, Value::from(-42));
            assert_ne!(*a, Value::from("42"));
        }
        assert_eq!(Value::from(-0.0), Value::from(0));
        assert_eq!(Value::from(1.5f32), Value::from(1.5));
        assert_ne!(Value::from(u64::MAX), Value::from(u64::MAX as f64));
        assert_ne!(Value::from(f64::NAN), Value::from(f64::NAN));
        assert_ne!(Value::from(u64::MAX), Value::from(-1));
        assert_eq!(Value::from('a'), Value::from("a"));
    }
}
