//! Value: one value of a record as text and as JSON.

use std::fmt::{self, Write};

use crate::record::{Value, error_chain};

use super::escape::{self, Through};
use super::number;

/// Writes a value as `Display` would, nothing escaped.
///
/// # Errors
///
/// Fails when `out` does.
pub fn display(value: Value<'_>, out: &mut dyn Write) -> fmt::Result {
    match value {
        Value::Str(text) | Value::Text(text) | Value::Nested(text) => out.write_str(text),
        Value::Char(c) => out.write_char(c),
        Value::Bool(flag) => out.write_str(if flag { "true" } else { "false" }),
        Value::F32(number) => write!(out, "{number}"),
        Value::F64(number) => write!(out, "{number}"),
        Value::Duration(duration) => write!(out, "{duration:?}"),
        Value::Error(chain) => {
            for (i, text) in error_chain(chain).enumerate() {
                if i > 0 {
                    out.write_str(": ")?;
                }
                out.write_str(text)?;
            }
            Ok(())
        }
        other => {
            let mut digits = Vec::new();
            simple(other, &mut digits);
            out.write_str(&String::from_utf8_lossy(&digits))
        }
    }
}

/// Appends a value as JSON; [`Value::Empty`] as `null`.
pub fn json(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Str(text) | Value::Text(text) => {
            out.push(b'"');
            escape::json(text, out);
            out.push(b'"');
        }
        Value::Nested(text) => nested(text, out),
        Value::F64(number) if !number.is_finite() => quote(|out| number::float(number, out), out),
        Value::F32(number) if !number.is_finite() => quote(|out| number::float32(number, out), out),
        Value::U128(_) | Value::I128(_) | Value::Bytes(_) => quote(|out| simple(value, out), out),
        Value::Char(_) | Value::Error(_) => quote(
            |out| {
                // A vector takes all that is written to it.
                let _ = display(value, &mut Through { out, escape: escape::json });
            },
            out,
        ),
        Value::Empty => out.extend_from_slice(b"null"),
        _ => simple(value, out),
    }
}

/// Appends a value for a line of text: words as they are, other text in quotes.
pub fn text(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Str(text) | Value::Text(text) => escape::word(text, out),
        Value::Nested(text) => nested(text, out),
        Value::Char(c) => escape::word(c.encode_utf8(&mut [0; 4]), out),
        Value::Error(_) => {
            let mut text = String::new();
            let _ = display(value, &mut text);
            escape::word(&text, out);
        }
        Value::Duration(duration) => {
            let mut text = Through { out, escape: escape::plain };
            let _ = write!(text, "{duration:?}");
        }
        _ => simple(value, out),
    }
}

/// Appends strict JSON, what is hidden in its texts escaped.
fn nested(text: &str, out: &mut Vec<u8>) {
    for piece in text.split_inclusive(|c: char| !c.is_ascii()) {
        let at = piece.char_indices().next_back().map_or(0, |(at, _)| at);
        match piece.split_at(at) {
            (before, last) if !last.is_ascii() => {
                out.extend_from_slice(before.as_bytes());
                escape::json(last, out);
            }
            _ => out.extend_from_slice(piece.as_bytes()),
        }
    }
}

/// Appends what is made of digits and plain letters alone.
fn simple(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::U8(number) => number::unsigned(number.into(), out),
        Value::U16(number) => number::unsigned(number.into(), out),
        Value::U32(number) => number::unsigned(number.into(), out),
        Value::U64(number) => number::unsigned(number, out),
        Value::I8(number) => number::signed(number.into(), out),
        Value::I16(number) => number::signed(number.into(), out),
        Value::I32(number) => number::signed(number.into(), out),
        Value::I64(number) => number::signed(number, out),
        Value::U128(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::I128(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::F32(number) => number::float32(number, out),
        Value::F64(number) => number::float(number, out),
        Value::Bool(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
        Value::Bytes(bytes) => number::hex(bytes, out),
        Value::Duration(duration) => number::seconds(duration, out),
        _ => {}
    }
}

fn quote(inside: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'"');
    inside(out);
    out.push(b'"');
}
