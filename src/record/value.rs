//! Value: reads the values of a record's payload.

use std::time::Duration;

use super::{Definition, FLAG_DYNAMIC, Head, Kind, Prefix};

/// One value of a record, borrowed from its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "each is named for the Rust type that it holds")]
pub enum Value<'a> {
    /// The field has no value.
    Empty,
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    F32(f32),
    F64(f64),
    Bool(bool),
    Char(char),
    Str(&'a str),
    /// Text that `Display` or `Debug` made.
    Text(&'a str),
    Bytes(&'a [u8]),
    Duration(Duration),
    /// The texts of an error and its sources: see [`error_chain`].
    Error(&'a [u8]),
    /// Maps and lists as strict JSON on one line.
    Nested(&'a str),
}

/// The texts of a [`Value::Error`], outermost first.
pub fn error_chain(mut bytes: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let text = take_sized(&mut bytes)?;
        std::str::from_utf8(text).ok()
    })
}

/// Walks the values of one record in the order of its definition's fields.
///
/// Ends early, with [`Values::is_damaged`] true, when the payload is not what the kinds say.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: &'a [u8],
    kinds: std::slice::Iter<'a, super::Field>,
    dynamic: bool,
    prefix: Prefix,
    damaged: bool,
}

impl<'a> Values<'a> {
    /// The values of the record with this head whose payload is `payload`.
    #[must_use]
    pub fn new(definition: &'a Definition, head: &Head, mut payload: &'a [u8]) -> Self {
        let prefix = Prefix::take(head, &mut payload);
        Self {
            damaged: prefix.is_none(),
            rest: payload,
            kinds: definition.fields.iter(),
            dynamic: definition.dynamic || head.flags & FLAG_DYNAMIC != 0,
            prefix: prefix.unwrap_or_default(),
        }
    }

    /// The thread that a record of the common lane names.
    #[must_use]
    pub fn thread(&self) -> Option<u32> {
        self.prefix.thread
    }

    /// The words before the values.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// True when each value stands behind its kind.
    #[must_use]
    pub fn tells_kinds(&self) -> bool {
        self.dynamic
    }

    /// True when the payload did not hold what the kinds say.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The bytes behind the values taken so far.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (&'a super::Field, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.damaged {
            return None;
        }
        let field = self.kinds.next()?;
        let mut rest = self.rest;
        let kind = if self.dynamic { take(&mut rest, 1).map(|b| b[0]) } else { Some(field.kind) };
        let value = kind.and_then(|kind| take_value(kind, &mut rest));
        self.rest = rest;
        self.damaged = value.is_none();
        value.map(|value| (field, value))
    }
}

/// Takes one value of this kind (its number, with [`Kind::OPTIONAL`]) from the front of `bytes`.
pub(crate) fn take_value<'a>(kind: u8, bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    if kind & Kind::OPTIONAL != 0 {
        match take(bytes, 1)?[0] {
            0 => return Some(Value::Empty),
            1 => {}
            _ => return None,
        }
    }
    let kind = Kind::from_u8(kind & !Kind::OPTIONAL)?;
    macro_rules! number {
        ($variant:ident, $type:ty) => {{
            const BYTES: usize = size_of::<$type>();
            let bytes = take(bytes, BYTES)?.first_chunk::<BYTES>()?;
            Value::$variant(<$type>::from_le_bytes(*bytes))
        }};
    }
    Some(match kind {
        Kind::Empty => Value::Empty,
        Kind::U8 => number!(U8, u8),
        Kind::U16 => number!(U16, u16),
        Kind::U32 => number!(U32, u32),
        Kind::U64 => number!(U64, u64),
        Kind::U128 => number!(U128, u128),
        Kind::I8 => number!(I8, i8),
        Kind::I16 => number!(I16, i16),
        Kind::I32 => number!(I32, i32),
        Kind::I64 => number!(I64, i64),
        Kind::I128 => number!(I128, i128),
        Kind::F32 => number!(F32, f32),
        Kind::F64 => number!(F64, f64),
        Kind::Bool => match take(bytes, 1)?[0] {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            _ => return None,
        },
        Kind::Char => {
            Value::Char(char::from_u32(u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?))?)
        }
        Kind::Str => Value::Str(std::str::from_utf8(take_sized(bytes)?).ok()?),
        Kind::Text => Value::Text(std::str::from_utf8(take_sized(bytes)?).ok()?),
        Kind::Bytes => Value::Bytes(take_sized(bytes)?),
        Kind::Nested => match std::str::from_utf8(take_sized(bytes)?).ok()? {
            "" => Value::Empty,
            json => Value::Nested(super::is_json(json).then_some(json)?),
        },
        Kind::Duration => {
            let seconds = u64::from_le_bytes(*take(bytes, 8)?.first_chunk()?);
            let nanos = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?);
            if nanos >= 1_000_000_000 {
                return None;
            }
            Value::Duration(Duration::new(seconds, nanos))
        }
        Kind::Error => {
            let chain = take_sized(bytes)?;
            let mut rest = chain;
            while !rest.is_empty() {
                std::str::from_utf8(take_sized(&mut rest)?).ok()?;
            }
            Value::Error(chain)
        }
    })
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?);
    take(bytes, len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_in_order() {
        let mut bytes: &[u8] = &[5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o', 1, 42, 0];
        assert_eq!(take_value(Kind::Str as u8, &mut bytes), Some(Value::Str("hello")));
        assert_eq!(take_value(Kind::U8 as u8 | Kind::OPTIONAL, &mut bytes), Some(Value::U8(42)));
        assert_eq!(take_value(Kind::U8 as u8 | Kind::OPTIONAL, &mut bytes), Some(Value::Empty));
        assert_eq!(take_value(Kind::U8 as u8, &mut bytes), None);
    }

    #[test]
    fn an_error_is_its_chain() {
        let mut bytes = vec![13, 0, 0, 0, 1, 0, 0, 0, b'a', 4, 0, 0, 0];
        bytes.extend_from_slice(b"root");
        assert_eq!(bytes.len(), 17);
        let Some(Value::Error(chain)) = take_value(Kind::Error as u8, &mut &bytes[..]) else {
            panic!("no error")
        };
        assert_eq!(error_chain(chain).collect::<Vec<_>>(), ["a", "root"]);
    }
}
