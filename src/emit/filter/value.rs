//! Value: what a directive demands of the value of a span's field.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

use crate::record::{Value, error_chain};

/// Memory that a pattern may take, compiled.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A value that a field must have. Two are equal when they were written alike.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    text: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// In quotes: exactly this text.
    Text(String),
    /// Matches texts whose end it matches.
    Pattern(Regex),
}

impl Wanted {
    /// Reads what stands behind the equals sign: a bool, a number, a text in quotes, or a regular
    /// expression.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let test = if text.is_empty() {
            return Err("no value behind the equals sign; write [{name}] for any, or \"\"".into());
        } else if let Ok(is) = text.parse() {
            Test::Bool(is)
        } else if let Some(number) = integer(text) {
            Test::Integer(number)
        } else if let Ok(number) = text.parse() {
            Test::Float(number)
        } else if text.starts_with('"') {
            Test::Text(unquote(text).ok_or("a quote is not closed")?)
        } else {
            let pattern = format!("(?:{text})\\z");
            let pattern = RegexBuilder::new(&pattern).size_limit(PATTERN_BYTES_MAX).build();
            let no = |why| {
                format!("{text} is no regular expression ({why}); put plain text into quotes")
            };
            Test::Pattern(pattern.map_err(no)?)
        };
        Ok(Self { text: text.to_owned(), test })
    }

    pub(super) fn matches(&self, value: Value<'_>) -> bool {
        match &self.test {
            Test::Bool(wanted) => value == Value::Bool(*wanted),
            Test::Integer(wanted) => as_integer(value) == Some(*wanted),
            Test::Float(wanted) => match value {
                Value::F64(value) => {
                    value == *wanted
                        || (value - wanted).abs() < f64::EPSILON
                        || value.is_nan() && wanted.is_nan()
                }
                Value::F32(value) => value == *wanted as f32 || value.is_nan() && wanted.is_nan(),
                _ => false,
            },
            // What `Debug` makes of a text has the quotes.
            Test::Text(wanted) => {
                with_text(value, |text| text == wanted)
                    || matches!(value, Value::Text(text) if text == self.text)
            }
            Test::Pattern(wanted) => with_text(value, |text| wanted.is_match(text)),
        }
    }
}

/// Calls `job` with the text of a value; false for one that is a number or a bool.
fn with_text(value: Value<'_>, job: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Str(text) | Value::Text(text) | Value::Nested(text) => job(text),
        Value::Char(one) => job(one.encode_utf8(&mut [0; 4])),
        Value::Duration(time) => job(&format!("{time:?}")),
        Value::Error(chain) => job(error_chain(chain).next().unwrap_or_default()),
        Value::Bytes(bytes) => {
            job(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        _ => false,
    }
}

fn integer(text: &str) -> Option<i128> {
    let unsigned = text.parse::<u64>().map(i128::from);
    unsigned.or_else(|_| text.parse::<i64>().map(i128::from)).ok()
}

fn as_integer(value: Value<'_>) -> Option<i128> {
    Some(match value {
        Value::U8(n) => n.into(),
        Value::U16(n) => n.into(),
        Value::U32(n) => n.into(),
        Value::U64(n) => n.into(),
        Value::U128(n) => n.try_into().ok()?,
        Value::I8(n) => n.into(),
        Value::I16(n) => n.into(),
        Value::I32(n) => n.into(),
        Value::I64(n) => n.into(),
        Value::I128(n) => n,
        _ => return None,
    })
}

/// The text between quotes, in which `\"` and `\\` stand for what follows.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"').filter(|inner| !inner.is_empty())?;
    let mut out = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(out),
            '\\' => out.push(chars.next()?),
            other => out.push(other),
        }
    }
}

/// A value as it stands in the description of a span, for who asks what a filter would do: as in a
/// directive, and any other text is itself.
pub(super) fn with_described(text: &str, job: impl FnOnce(Value<'_>)) {
    if let Ok(is) = text.parse() {
        job(Value::Bool(is));
    } else if let Some(number) = integer(text) {
        job(Value::I128(number));
    } else if let Ok(number) = text.parse() {
        job(Value::F64(number));
    } else {
        job(Value::Str(unquote(text).as_deref().unwrap_or(text)));
    }
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Wanted {}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_looks_like() {
        let ada = "\"ada\"";
        for (wanted, value, is_it) in [
            ("true", Value::Bool(true), true),
            ("true", Value::Bool(false), false),
            ("true", Value::Str("true"), false),
            ("7", Value::U8(7), true),
            ("7", Value::I64(7), true),
            ("7", Value::I128(7), true),
            ("7", Value::U128(u128::MAX), false),
            ("7", Value::F64(7.0), false),
            ("7", Value::Str("7"), false),
            ("-7", Value::I32(-7), true),
            ("0.1", Value::F64(0.1), true),
            ("0.1", Value::F32(0.1), true),
            ("0.1", Value::F64(0.2), false),
            ("NaN", Value::F64(f64::NAN), true),
            ("inf", Value::F64(f64::INFINITY), true),
            ("ada", Value::Str("ada"), true),
            ("ada", Value::Str("adam"), false),
            ("ada", Value::Str("canada"), true),
            ("^ada", Value::Str("canada"), false),
            ("a.*", Value::Text("grace"), true),
            ("(?s).*e", Value::Text("line\nline"), true),
            ("a{2}", Value::Char('a'), false),
            ("[a-c]", Value::Char('b'), true),
            ("5ms", Value::Duration(std::time::Duration::from_millis(5)), true),
            ("0aff", Value::Bytes(&[10, 255]), true),
            (ada, Value::Str("ada"), true),
            (ada, Value::Text("ada"), true),
            (ada, Value::Text(ada), true),
            (ada, Value::Str("canada"), false),
            ("\"a\\\"b\"", Value::Str("a\"b"), true),
            ("\"\"", Value::Str(""), true),
            ("\"\"", Value::Empty, false),
        ] {
            let parsed = Wanted::parse(wanted).unwrap();
            assert_eq!(parsed.matches(value), is_it, "{wanted} {value:?}");
            assert_eq!(parsed.to_string(), wanted);
        }
        for (bad, why) in [
            ("", "no value"),
            ("\"a", "not closed"),
            ("\"a\"b", "not closed"),
            ("a(b", "no regular expression"),
            ("(x{1000}){1000}", "no regular expression"),
        ] {
            assert!(Wanted::parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
