//! Template: a message's format string, read when it is compiled and again when it is shown.
//!
//! `Parser` runs in the compiler, to decide whether a message can be put off, and in the reader.
//! It knows the part of Rust's format syntax that can be redone from values alone; anything else
//! is `Part::Bad`, and such a message is formatted where it is logged.

use std::fmt::{self, Write as _};

use super::{Value, error_chain};

/// The longest message that [`format`] makes; templates from a hostile file could ask for more.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A piece of a template. Text and names are byte ranges of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Text { start: usize, end: usize },
    Value(Name, Spec),
    Bad { at: usize },
    End,
}

/// Which argument a placeholder means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Next,
    Index(usize),
    Named { start: usize, end: usize },
}

/// What stands behind the colon of a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Byte range of the fill character, empty for a blank.
    fill: (usize, usize),
    /// `<`, `^`, `>`, or 0.
    align: u8,
    plus: bool,
    alternate: bool,
    zero: bool,
    width: Option<u16>,
    precision: Option<u16>,
    /// 0, `?`, `x`, `X`, `o`, `b`, `e` or `E`.
    style: u8,
}

const PLAIN: Spec = Spec {
    fill: (0, 0),
    align: 0,
    plus: false,
    alternate: false,
    zero: false,
    width: None,
    precision: None,
    style: 0,
};

/// Walks the parts of a template.
#[derive(Debug, Clone)]
pub(crate) struct Parser<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Parser<'t> {
    pub(crate) const fn new(template: &'t str) -> Self {
        Self { bytes: template.as_bytes(), at: 0 }
    }

    const fn peek(&self) -> u8 {
        if self.at < self.bytes.len() { self.bytes[self.at] } else { 0 }
    }

    const fn eat(&mut self, byte: u8) -> bool {
        let found = self.at < self.bytes.len() && self.bytes[self.at] == byte;
        if found {
            self.at += 1;
        }
        found
    }

    pub(crate) const fn next(&mut self) -> Part {
        let start = self.at;
        if start >= self.bytes.len() {
            return Part::End;
        }
        if self.eat(b'{') {
            if self.eat(b'{') {
                return Part::Text { start, end: start + 1 };
            }
            return match self.placeholder() {
                Some((name, spec)) => Part::Value(name, spec),
                None => {
                    // Go on behind the brace, so that a reader can show the rest as it stands.
                    self.at = start + 1;
                    Part::Bad { at: start }
                }
            };
        }
        if self.eat(b'}') {
            if self.eat(b'}') {
                return Part::Text { start, end: start + 1 };
            }
            return Part::Bad { at: start };
        }
        while self.at < self.bytes.len() && !matches!(self.bytes[self.at], b'{' | b'}') {
            self.at += 1;
        }
        Part::Text { start, end: self.at }
    }

    const fn placeholder(&mut self) -> Option<(Name, Spec)> {
        let start = self.at;
        let name = match self.peek() {
            b'0'..=b'9' => match self.number() {
                Some(index) => Name::Index(index as usize),
                None => return None,
            },
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => {
                while matches!(self.peek(), b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | 0x80..)
                {
                    self.at += 1;
                }
                Name::Named { start, end: self.at }
            }
            _ => Name::Next,
        };
        let spec = if self.eat(b':') { self.spec() } else { Some(PLAIN) };
        match spec {
            Some(spec) if self.eat(b'}') => Some((name, spec)),
            _ => None,
        }
    }

    const fn spec(&mut self) -> Option<Spec> {
        let mut spec = PLAIN;
        let fill = self.at;
        let fill_len = match self.peek() {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
        };
        let behind = fill + fill_len;
        if behind < self.bytes.len()
            && matches!(self.bytes[behind], b'<' | b'^' | b'>')
            && !matches!(self.bytes[fill], b'{' | b'}')
        {
            spec.fill = (fill, behind);
            self.at = behind;
        }
        if matches!(self.peek(), b'<' | b'^' | b'>') {
            spec.align = self.peek();
            self.at += 1;
        }
        spec.plus = self.eat(b'+');
        spec.alternate = self.eat(b'#');
        spec.zero = self.eat(b'0');
        if self.peek().is_ascii_digit() {
            spec.width = self.number();
            if spec.width.is_none() {
                return None;
            }
        }
        if self.eat(b'.') {
            spec.precision = self.number();
            if spec.precision.is_none() {
                return None;
            }
        }
        if matches!(self.peek(), b'?' | b'x' | b'X' | b'o' | b'b' | b'e' | b'E') {
            spec.style = self.peek();
            self.at += 1;
        }
        Some(spec)
    }

    const fn number(&mut self) -> Option<u16> {
        let start = self.at;
        let mut number = 0u32;
        while self.peek().is_ascii_digit() {
            number = number * 10 + (self.bytes[self.at] - b'0') as u32;
            if number > u16::MAX as u32 {
                return None;
            }
            self.at += 1;
        }
        if self.at == start { None } else { Some(number as u16) }
    }
}

/// Writes the message that `format!` would have made of the template and these arguments.
///
/// A placeholder whose argument is missing, or that is none, is shown as it stands. What would be
/// longer than [`MESSAGE_BYTES_MAX`] is cut.
pub fn format(template: &str, args: &[(&str, Value<'_>)], out: &mut String) {
    let from = out.len();
    let mut parser = Parser::new(template);
    let mut next = 0;
    loop {
        let start = parser.at;
        match parser.next() {
            Part::End => return,
            Part::Text { start, end } => out.push_str(&template[start..end]),
            Part::Bad { at } => out.push_str(&template[at..parser.at]),
            Part::Value(name, spec) => {
                let arg = match name {
                    Name::Next => {
                        next += 1;
                        args.get(next - 1)
                    }
                    Name::Index(index) => args.get(index),
                    Name::Named { start, end } => {
                        args.iter().find(|(name, _)| *name == &template[start..end])
                    }
                };
                match arg {
                    Some((_, value)) => spec.write(template, value, out),
                    None => out.push_str(&template[start..parser.at]),
                }
            }
        }
        if out.len() - from > MESSAGE_BYTES_MAX {
            let mut end = from + MESSAGE_BYTES_MAX;
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
            return;
        }
    }
}

impl Spec {
    /// Appends one value; `template` holds the fill character.
    fn write(&self, template: &str, value: &Value<'_>, out: &mut String) {
        if *self == PLAIN {
            return write_plain(value, out);
        }
        let start = out.len();
        // Writing into a `String` does not fail, and a style that the type lacks is shown plain.
        let padding = self.write_unpadded(value, out).unwrap_or(Padding::Left);
        let width = usize::from(self.width.unwrap_or(0));
        if padding == Padding::Done || width == 0 {
            return;
        }
        let len = out[start..].chars().count();
        let missing = width.saturating_sub(len);
        let before = match (self.align, padding) {
            (b'<', _) | (0, Padding::Left) => 0,
            (b'^', _) => missing / 2,
            _ => missing,
        };
        let fill = template.get(self.fill.0..self.fill.1).and_then(|fill| fill.chars().next());
        let fill = fill.unwrap_or(' ');
        if before > 0 {
            let text = out.split_off(start);
            out.extend(std::iter::repeat_n(fill, before));
            out.push_str(&text);
        }
        out.extend(std::iter::repeat_n(fill, missing - before));
    }

    fn write_unpadded(&self, value: &Value<'_>, out: &mut String) -> Result<Padding, fmt::Error> {
        let number = if self.zero { Padding::Done } else { Padding::Right };
        let bits = match *value {
            Value::U8(v) => u128::from(v),
            Value::U16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::U128(v) => v,
            Value::I8(v) => v.cast_unsigned().into(),
            Value::I16(v) => v.cast_unsigned().into(),
            Value::I32(v) => v.cast_unsigned().into(),
            Value::I64(v) => v.cast_unsigned().into(),
            Value::I128(v) => v.cast_unsigned(),
            Value::F32(v) => return self.write_float(v, out).map(|()| number),
            Value::F64(v) => return self.write_float(v, out).map(|()| number),
            _ => return self.write_text(value, out),
        };
        let signed = match *value {
            Value::I8(v) => Some(i128::from(v)),
            Value::I16(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::I64(v) => Some(v.into()),
            Value::I128(v) => Some(v),
            _ => None,
        };
        match (self.style, signed) {
            (b'x', _) => lower_hex(self, &bits, out),
            (b'X', _) => upper_hex(self, &bits, out),
            (b'o', _) => octal(self, &bits, out),
            (b'b', _) => binary(self, &bits, out),
            (b'e', Some(v)) => lower_exp(self, &v, out),
            (b'e', None) => lower_exp(self, &bits, out),
            (b'E', Some(v)) => upper_exp(self, &v, out),
            (b'E', None) => upper_exp(self, &bits, out),
            (_, Some(v)) => display(self, &v, out),
            (_, None) => display(self, &bits, out),
        }?;
        Ok(number)
    }

    fn write_float<F>(&self, value: F, out: &mut String) -> fmt::Result
    where
        F: fmt::Display + fmt::Debug + fmt::LowerExp + fmt::UpperExp,
    {
        match self.style {
            b'?' => debug(self, &value, out),
            b'e' => lower_exp(self, &value, out),
            b'E' => upper_exp(self, &value, out),
            _ => display(self, &value, out),
        }
    }

    fn write_text(&self, value: &Value<'_>, out: &mut String) -> Result<Padding, fmt::Error> {
        // `Display` and `Debug` of texts and durations know no zero flag.
        let spec = Self { zero: false, ..*self };
        match (*value, self.style) {
            // `Debug` of a text does not pad.
            (Value::Str(v) | Value::Text(v), b'?') => {
                write!(out, "{v:?}")?;
                return Ok(Padding::Done);
            }
            (Value::Char(v), b'?') => {
                write!(out, "{v:?}")?;
                return Ok(Padding::Done);
            }
            (Value::Str(v) | Value::Text(v), _) => display(&spec, v, out),
            (Value::Char(v), _) => display(&spec, &v, out),
            (Value::Bool(v), _) => display(&spec, &v, out),
            (Value::Duration(v), _) => debug(&spec, &v, out),
            _ => {
                write_plain(value, out);
                Ok(())
            }
        }?;
        Ok(Padding::Left)
    }
}

/// What is left to do about a value's width.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Done,
    /// Stands left when nothing else is said.
    Left,
    /// Stands right when nothing else is said.
    Right,
}

fn write_plain(value: &Value<'_>, out: &mut String) {
    let written = match *value {
        Value::Empty => Ok(()),
        Value::U8(v) => write!(out, "{v}"),
        Value::U16(v) => write!(out, "{v}"),
        Value::U32(v) => write!(out, "{v}"),
        Value::U64(v) => write!(out, "{v}"),
        Value::U128(v) => write!(out, "{v}"),
        Value::I8(v) => write!(out, "{v}"),
        Value::I16(v) => write!(out, "{v}"),
        Value::I32(v) => write!(out, "{v}"),
        Value::I64(v) => write!(out, "{v}"),
        Value::I128(v) => write!(out, "{v}"),
        Value::F32(v) => write!(out, "{v}"),
        Value::F64(v) => write!(out, "{v}"),
        Value::Bool(v) => write!(out, "{v}"),
        Value::Char(v) => out.write_char(v),
        Value::Str(v) | Value::Text(v) => out.write_str(v),
        Value::Nested(v) => out.write_str(v),
        Value::Bytes(v) => v.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Value::Duration(v) => write!(out, "{v:?}"),
        Value::Error(v) => error_chain(v).enumerate().try_for_each(|(i, text)| {
            let colon = if i == 0 { "" } else { ": " };
            write!(out, "{colon}{text}")
        }),
    };
    debug_assert!(written.is_ok(), "a String takes all");
}

/// Defines functions that hand flags and precision, known only now, to one of std's format traits.
macro_rules! flagged {
    ($($name:ident $trait:ident $style:literal;)*) => { $(
        fn $name<T: fmt::$trait + ?Sized>(spec: &Spec, v: &T, out: &mut String) -> fmt::Result {
            let w = if spec.zero { usize::from(spec.width.unwrap_or(0)) } else { 0 };
            let p = spec.precision.map_or(0, usize::from);
            flagged!(@ out v w p (spec.plus, spec.alternate, spec.zero, spec.precision.is_some()) $style
                (false, false, false) "", (false, false, true) "0", (false, true, false) "#",
                (false, true, true) "#0", (true, false, false) "+", (true, false, true) "+0",
                (true, true, false) "+#", (true, true, true) "+#0")
        }
    )* };
    (@ $out:ident $v:ident $w:ident $p:ident $spec:tt $style:literal
        $(($plus:literal, $alternate:literal, $zero:literal) $flags:literal),*) => {
        match $spec {
            $(($plus, $alternate, $zero, false) => {
                write!($out, concat!("{v:", $flags, "w$", $style, "}"), v = $v, w = $w)
            }
            ($plus, $alternate, $zero, true) => {
                write!($out, concat!("{v:", $flags, "w$.p$", $style, "}"), v = $v, w = $w, p = $p)
            })*
        }
    };
}

flagged! {
    display Display "";
    debug Debug "?";
    lower_hex LowerHex "x";
    upper_hex UpperHex "X";
    octal Octal "o";
    binary Binary "b";
    lower_exp LowerExp "e";
    upper_exp UpperExp "E";
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
