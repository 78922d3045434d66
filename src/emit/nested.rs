//! Nested: what serde can serialise, with its maps and lists kept.

use std::fmt;
use std::io;

use serde::Serialize;

use super::raw::{Cursor, Encode, Ready};
use super::scratch::{Scratch, Text};
use super::value::Value;
use crate::record::Kind;

/// A value that [`serde()`] logs.
#[derive(Debug, Clone, Copy)]
pub struct SerdeValue<'v, T: ?Sized>(&'v T);

/// Logs a value as serde serialises it: maps and lists stay maps and lists, and nest in JSON.
///
/// A value that cannot be serialised is logged as the text of the error; one that is too long for a
/// record is left out, and the event marked as truncated.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
///
/// let stock = BTreeMap::from([("apples", vec![1, 2]), ("pears", vec![])]);
/// ttlog::info!(stock = ttlog::serde(&stock), "counted");
/// ```
pub const fn serde<T: Serialize + ?Sized>(value: &T) -> SerdeValue<'_, T> {
    SerdeValue(value)
}

impl<T: Serialize + ?Sized> Value for SerdeValue<'_, T> {
    type Raw<'a>
        = Nested<'a, T>
    where
        Self: 'a;

    fn raw(&self) -> Nested<'_, T> {
        Nested(self.0)
    }
}

/// A value as the JSON that it is.
#[derive(Debug)]
pub struct Nested<'a, T: ?Sized>(&'a T);

/// The JSON of a [`Nested`].
#[derive(Debug, Clone, Copy)]
pub struct NestedText(Text);

impl<T: Serialize + ?Sized> Encode for Nested<'_, T> {
    const KIND: u8 = Kind::Nested as u8;
    const FORMATS: bool = true;
    type Ready = NestedText;

    fn prepare(self, scratch: &mut Scratch<'_>) -> NestedText {
        NestedText(scratch.format(|out| write(self.0, out)))
    }
}

/// Writes a value as JSON, or why that cannot be done.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, out: &mut dyn fmt::Write) -> fmt::Result {
    // A value whose serialisation fails half-way must leave nothing.
    let mut json = String::new();
    if let Err(error) = serde_json::to_writer(Through(&mut json), value) {
        json = serde_json::Value::String(error.to_string()).to_string();
    }
    out.write_str(&json)
}

struct Through<'s>(&'s mut String);

impl io::Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // serde_json writes pieces of UTF-8 that are whole.
        self.0.push_str(std::str::from_utf8(bytes).map_err(io::Error::other)?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NestedText {
    /// The whole text or nothing: a part of it would be no JSON.
    fn within<'t>(&self, cap: usize, text: &'t [u8]) -> &'t [u8] {
        let json = self.0.of(text);
        let is_whole = json.len() <= cap && std::str::from_utf8(json).is_ok_and(crate::record::is_json);
        if is_whole { json } else { &[] }
    }
}

impl Ready for NestedText {
    fn len(&self, cap: usize, text: &[u8]) -> usize {
        4 + self.within(cap, text).len()
    }

    fn variable(&self) -> usize {
        self.0.len()
    }

    fn write(&self, cap: usize, text: &[u8], out: &mut Cursor<'_>) {
        let json = self.within(cap, text);
        out.put((json.len() as u32).to_le_bytes());
        out.put_slice(json);
    }
}
