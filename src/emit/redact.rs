//! Redact: values that are not to be logged, by their type or by their key.
//!
//! What is redacted never reaches a lane, and so no file: a value of type [`Redacted`] is replaced
//! by the compiler, a value under a key that matches on the calling thread, before its record
//! enters the lane.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::args::Args;
use super::metadata::{Metadata, clean};
use super::raw::{Cursor, cut_chain, cut_text, put_sized};
use super::value::Value;
use crate::record::template::{Name, Parser, Part};
use crate::record::{Kind, Value as Stored, glob, take_value};

/// What stands for a value that is not logged.
pub(crate) const REDACTED: &str = "[redacted]";
/// Values beyond this many share the last bit of a mask.
const MASK_BITS: usize = 64;

/// A value that no log shows: neither as a field nor through `%`, `?` or a message's argument.
///
/// # Examples
///
/// ```
/// use ttlog::Redacted;
///
/// let token = Redacted("hunter2".to_owned());
/// ttlog::info!(token, "logged in"); // token=[redacted]
/// assert_eq!(format!("{token} {token:?}"), "[redacted] [redacted]");
/// assert_eq!(token.0, "hunter2");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Redacted<T: ?Sized>(
    /// The value itself.
    pub T,
);

impl<T: ?Sized> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: ?Sized> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: ?Sized> Value for Redacted<T> {
    type Raw<'a>
        = &'a str
    where
        Self: 'a;

    fn raw(&self) -> &str {
        REDACTED
    }
}

/// Keys that are redacted, by the serial number of the logger that asks for it. They hold for every
/// logger of the process. Changed under the lock of the list of callsites.
static KEYS: ArcSwapOption<Vec<(u32, Patterns)>> = ArcSwapOption::const_empty();

/// True while there are keys at all: one load for who has many values to ask for.
static IS_ANY: AtomicBool = AtomicBool::new(false);

/// True while a key may be secret.
#[inline]
pub(super) fn is_any() -> bool {
    // ord: Relaxed, as `load` of the keys: a call beside the change may see either.
    IS_ANY.load(Ordering::Relaxed)
}

/// True for a key whose values are not to be logged, by whatever way they come.
pub(crate) fn is_secret(key: &str) -> bool {
    let keys = KEYS.load();
    keys.as_ref().is_some_and(|keys| keys.iter().any(|(_, patterns)| patterns.matches(key)))
}

/// Changes the keys; the caller has the lock.
pub(super) fn change(change: impl FnOnce(&mut Vec<(u32, Patterns)>)) {
    let mut keys = KEYS.load().as_deref().cloned().unwrap_or_default();
    change(&mut keys);
    let is_any = !keys.is_empty();
    KEYS.store(is_any.then(|| Arc::new(keys)));
    // ord: Relaxed, as in `is_any`.
    IS_ANY.store(is_any, Ordering::Relaxed);
}

/// Keys whose values are redacted.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(Vec<String>);

impl Patterns {
    /// Patterns in which `*` stands for any text and `?` for one character, in any case.
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| pattern.to_lowercase()).collect())
    }

    /// True for a key that matches as a whole, or from one of its dots on.
    pub(crate) fn matches(&self, key: &str) -> bool {
        let key = key.to_lowercase();
        let mut ends = key.match_indices('.').map(|(at, _)| &key[at + 1..]).chain([&*key]);
        ends.any(|end| self.0.iter().any(|pattern| glob(pattern, end)))
    }
}

/// Which values of a statement are redacted, a bit each, the first in the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mask {
    /// When the message's arguments are logged one by one.
    pub(crate) deferred: u64,
    /// When the message is one text behind the fields.
    pub(crate) formatted: u64,
}

/// Which values of a statement are secret.
pub(super) fn mask_of(of: &Metadata, is_secret: impl Fn(&str) -> bool) -> Mask {
    let is_secret = |name: &str| !name.is_empty() && is_secret(name);
    let bit = |at: usize| 1 << at.min(MASK_BITS - 1);
    let mut mask = Mask::default();
    for (at, _) in of.fields.iter().enumerate().filter(|(_, field)| is_secret(&field.to_name())) {
        mask.deferred |= bit(at);
        mask.formatted |= bit(at);
    }
    let behind = of.fields.len();
    for (at, _) in of.arguments.iter().enumerate().filter(|(_, name)| is_secret(&clean(name))) {
        mask.deferred |= bit(behind + at);
        mask.formatted |= bit(behind);
    }
    // A variable that the template names itself is part of a message that is made where it is logged.
    if of.template.is_some_and(|template| names(template).any(is_secret)) {
        mask.formatted |= bit(behind);
    }
    mask
}

/// True when the message of such a statement, made where it is logged, shows a secret value.
pub(super) fn hides_message(of: &Metadata) -> bool {
    mask_of(of, is_secret).formatted >> of.fields.len().min(MASK_BITS - 1) & 1 != 0
}

/// The names in a template's placeholders.
fn names(template: &str) -> impl Iterator<Item = &str> {
    let mut parser = Parser::new(template);
    std::iter::from_fn(move || {
        loop {
            match parser.next() {
                Part::End => return None,
                Part::Value(Name::Named { start, end }, _) => return template.get(start..end),
                // What the reader cannot redo may name anything: the word behind the brace.
                Part::Bad { at } => {
                    let name = template.get(at + 1..).unwrap_or_default();
                    let is_part = |c: char| c == '_' || c.is_alphanumeric();
                    return Some(&name[..name.find(|c| !is_part(c)).unwrap_or(name.len())]);
                }
                Part::Text { .. } | Part::Value(..) => {}
            }
        }
    })
}

/// The values of a record with those of the mask replaced. Each is preceded by its kind.
pub(super) fn masked(mut values: &[u8], mask: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len());
    let mut at = 0;
    while let Some((&kind, mut rest)) = values.split_first() {
        let Some(value) = take_value(kind, &mut rest) else { return Vec::new() };
        let (whole, behind) = values.split_at(values.len() - rest.len());
        if mask >> usize::min(at, MASK_BITS - 1) & 1 == 1 && value != Stored::Empty {
            out.push(Kind::Text as u8);
            out.extend_from_slice(&(REDACTED.len() as u32).to_le_bytes());
            out.extend_from_slice(REDACTED.as_bytes());
        } else {
            out.extend_from_slice(whole);
        }
        values = behind;
        at += 1;
    }
    out
}

/// Values that are bytes already, each preceded by its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    /// The longest that a variable part may be.
    cap: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, cap: usize::MAX }
    }

    /// Each value: its kind and fixed part, and its variable part, which may be cut.
    fn parts(&self) -> impl Iterator<Item = (&'a [u8], Option<Stored<'a>>)> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || {
            let (&kind, mut rest) = bytes.split_first()?;
            let value = take_value(kind, &mut rest)?;
            let (whole, behind) = bytes.split_at(bytes.len() - rest.len());
            bytes = behind;
            Some(match value {
                Stored::Str(_) | Stored::Text(_) | Stored::Bytes(_) | Stored::Error(_) => {
                    let optional = usize::from(kind & Kind::OPTIONAL != 0);
                    (&whole[..1 + optional], Some(value))
                }
                _ => (whole, None),
            })
        })
    }
}

/// A variable part that was cut to `cap`: what stays whole, and the start of what follows.
fn cut<'a>(value: &Stored<'a>, cap: usize) -> (&'a [u8], Option<&'a [u8]>) {
    match *value {
        Stored::Str(text) | Stored::Text(text) => (cut_text(text.as_bytes(), cap), None),
        Stored::Bytes(bytes) => (&bytes[..bytes.len().min(cap)], None),
        Stored::Error(chain) => {
            let (whole, part) = cut_chain(chain, cap);
            (whole, Some(part).filter(|part| !part.is_empty()))
        }
        _ => (&[], None),
    }
}

impl Args for Bytes<'_> {
    fn len(&self) -> usize {
        if self.cap == usize::MAX {
            return self.bytes.len();
        }
        let variable = |value: &Stored<'_>| {
            let (whole, part) = cut(value, self.cap);
            4 + whole.len() + part.map_or(0, |part| 4 + part.len())
        };
        self.parts().map(|(fixed, value)| fixed.len() + value.as_ref().map_or(0, variable)).sum()
    }

    fn write(&self, out: &mut Cursor<'_>) {
        if self.cap == usize::MAX {
            return out.put_slice(self.bytes);
        }
        for (fixed, value) in self.parts() {
            out.put_slice(fixed);
            let Some(value) = value else { continue };
            let (whole, part) = cut(&value, self.cap);
            let len = whole.len() + part.map_or(0, |part| 4 + part.len());
            out.put((len as u32).to_le_bytes());
            out.put_slice(whole);
            part.iter().for_each(|part| put_sized(part, out));
        }
    }

    fn limited(&self, limit: usize) -> impl Args {
        // The largest cap under which all fits; the lengths grow with it.
        let (mut fits, mut above) = (0, self.bytes.len().saturating_add(1));
        while above - fits > 1 {
            let cap = fits + (above - fits) / 2;
            if (Self { cap, ..*self }).len() <= limit {
                fits = cap;
            } else {
                above = cap;
            }
        }
        Self { cap: fits, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::callsite::FieldName;
    use super::*;

    #[test]
    fn keys_match_in_any_case_whole_or_from_a_dot_on() {
        let patterns = Patterns::new(&["password".into(), "*Token*".into(), "a.b".into()]);
        for secret in
            ["password", "PassWord", "user.password", "x.y.access_token", "tokens", "c.a.b"]
        {
            assert!(patterns.matches(secret), "{secret}");
        }
        for open in ["passwords", "password.hash", "user", "b", ""] {
            assert!(!patterns.matches(open), "{open}");
        }
    }

    #[test]
    fn a_mask_speaks_of_fields_arguments_and_the_message() {
        let patterns = Patterns::new(&["secret".into()]);
        let of = |template, arguments: &'static [&'static str]| {
            let metadata = Metadata {
                is_span: false,
                level: crate::record::Level::Info,
                name: "",
                target: "",
                file: "",
                line: 0,
                module: "",
                fields: &[FieldName::Path("a"), FieldName::Path("x . r#secret")],
                template: Some(template),
                arguments,
            };
            let mask = mask_of(&metadata, |name| patterns.matches(name));
            (mask.deferred, mask.formatted)
        };
        assert_eq!(of("plain {}", &[""]), (0b10, 0b10));
        assert_eq!(of("{} {secret}", &["", "secret"]), (0b1010, 0b110));
        assert_eq!(of("{secret}", &[]), (0b10, 0b110), "a captured variable");
        assert_eq!(of("{secret:w$}", &[]), (0b10, 0b110), "one that the reader cannot redo");
        assert_eq!(of("{{secret}}", &[]), (0b10, 0b10), "no placeholder");
    }

    #[test]
    fn masked_values_are_cut_like_others() {
        let mut values = vec![Kind::U8 as u8, 7, Kind::Str as u8, 6, 0, 0, 0];
        values.extend_from_slice(b"secret");
        values.extend_from_slice(&[Kind::Str as u8 | Kind::OPTIONAL, 1, 40, 0, 0, 0]);
        values.extend_from_slice("ä".repeat(20).as_bytes());
        values.extend_from_slice(&[Kind::U8 as u8 | Kind::OPTIONAL, 0]);
        let masked = masked(&values, 0b1010);
        assert!(!masked.windows(6).any(|w| w == b"secret"));
        assert_eq!(masked.len(), values.len() - 6 + REDACTED.len());
        let whole = Bytes::new(&masked);
        for limit in [masked.len(), masked.len() - 1, masked.len() - 33] {
            let cut = whole.limited(limit);
            let mut out = vec![0; cut.len()];
            cut.write(&mut Cursor::new(&mut out));
            assert!(out.len() <= limit && out.len() + 3 >= limit, "{} of {limit}", out.len());
            let mut at = &out[..];
            let mut n = 0;
            while let Some((kind, mut rest)) = at.split_first() {
                assert!(take_value(*kind, &mut rest).is_some(), "{limit}");
                (at, n) = (rest, n + 1);
            }
            assert_eq!(n, 4);
        }
    }
}
