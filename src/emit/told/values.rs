//! Values: those of one record, put together as they will lie in the lane.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

use super::super::cut::split;
use super::super::raw::{Chain, Cursor, Encode, Format, Ready as _};
use super::super::redact;
use super::super::scratch::{self, Scratch, TEXT_BYTES_MAX};
use super::super::value::Value;
use super::{Defined, Statement, Told};
use crate::record::{self, Kind, Role};

/// The values of one record.
#[derive(Debug)]
pub struct Values<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    /// What the statement's records are like; nothing once this one differs.
    like: &'a [Told],
    /// How many values were as `like` says.
    n_alike: usize,
    /// All of them once one was not.
    others: Vec<Told>,
    /// Names by field, while some may be secret.
    secrets: Option<&'a [(String, Role)]>,
    /// A field that is secret whatever its name; `usize::MAX` for none.
    hidden: usize,
    pub(super) truncated: bool,
}

/// A buffer that has grown beyond this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 256 << 10;

thread_local! {
    /// Where a thread's values are put together. It stays where it is, which costs less than moving
    /// it out and back, as `scratch` does (BENCHMARKS.md).
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `job` with room for the values of one record of a statement.
#[inline]
pub(crate) fn with_values<R>(statement: &Statement, job: impl FnOnce(&mut Values<'_>) -> R) -> R {
    let secrets = redact::is_any().then_some(&*statement.always.fields);
    let like = match (&secrets, statement.defined.get()) {
        (None, Some(defined)) => &*defined.like,
        _ => &[],
    };
    let mut job = Some(job);
    let mut with = |bytes: &mut Vec<u8>| {
        let others = Vec::new();
        let hidden = usize::MAX;
        let mut values =
            Values { bytes, like, n_alike: 0, others, secrets, hidden, truncated: false };
        job.take().map(|job| job(&mut values))
    };
    let done = BUFFER.try_with(|buffer| {
        let mut bytes = buffer.try_borrow_mut().ok()?;
        bytes.clear();
        let done = with(&mut bytes);
        if bytes.capacity() > KEPT_BYTES_MAX {
            *bytes = Vec::new();
        }
        done
    });
    match done {
        Ok(Some(done)) => done,
        // A value that logs while it is being formatted, or a thread that has ended.
        _ => with(&mut Vec::new()).expect("the job is done once"),
    }
}

macro_rules! numbers {
    ($($put:ident $type:ty, $kind:ident;)*) => { $(
        #[inline]
        pub(crate) fn $put(&mut self, field: usize, value: $type) {
            if !self.tell(field, Kind::$kind) {
                return;
            }
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    )* };
}

impl Values<'_> {
    numbers! {
        u64 u64, U64;
        i64 i64, I64;
        u128 u128, U128;
        i128 i128, I128;
        f64 f64, F64;
    }

    #[inline]
    pub(crate) fn bool(&mut self, field: usize, value: bool) {
        if !self.tell(field, Kind::Bool) {
            return;
        }
        self.bytes.push(value.into());
    }

    #[cfg(feature = "log")]
    pub(crate) fn char(&mut self, field: usize, value: char) {
        if !self.tell(field, Kind::Char) {
            return;
        }
        self.bytes.extend_from_slice(&u32::from(value).to_le_bytes());
    }

    #[inline]
    pub(crate) fn str(&mut self, field: usize, value: &str) {
        if !self.tell(field, Kind::Str) {
            return;
        }
        self.sized(value.as_bytes());
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn bytes(&mut self, field: usize, value: &[u8]) {
        if !self.tell(field, Kind::Bytes) {
            return;
        }
        self.sized(value);
    }

    /// What a format trait makes of a value.
    pub(crate) fn text(&mut self, field: usize, value: fmt::Arguments<'_>) {
        if !self.tell(field, Kind::Text) {
            return;
        }
        self.bytes.extend_from_slice(&[0; 4]);
        let at = self.bytes.len();
        let mut scratch = Scratch::new(self.bytes);
        let _ = scratch.format(|out| Format::format(&value, out));
        self.truncated |= scratch.truncated();
        let len = (self.bytes.len() - at) as u32;
        self.bytes[at - 4..at].copy_from_slice(&len.to_le_bytes());
    }

    /// What serde makes of a value, when that is a map or a list; else does nothing and returns
    /// false.
    #[cfg(all(feature = "serde", feature = "log"))]
    pub(crate) fn nested(&mut self, field: usize, value: &impl serde::Serialize) -> bool {
        if self.is_secret(field) {
            let _ = self.tell(field, Kind::Nested); // puts what stands for it
            return true;
        }
        let Ok(json) = serde_json::to_string(value) else { return false };
        if !json.starts_with(['{', '[']) || json.len() > TEXT_BYTES_MAX {
            return false;
        }
        self.tell(field, Kind::Nested);
        self.sized(json.as_bytes());
        true
    }

    /// An error with its sources.
    pub(crate) fn error(&mut self, field: usize, value: &(dyn Error + 'static)) {
        if !self.tell(field, Kind::Error) {
            return;
        }
        self.bytes.extend_from_slice(&[0; 4]);
        let at = self.bytes.len();
        let mut scratch = Scratch::new(self.bytes);
        let _ = Chain(value).prepare(&mut scratch);
        self.truncated |= scratch.truncated();
        let len = (self.bytes.len() - at) as u32;
        self.bytes[at - 4..at].copy_from_slice(&len.to_le_bytes());
    }

    /// Whatever can be logged as it is.
    pub(crate) fn value<V: Value + ?Sized>(&mut self, field: usize, value: &V) {
        let raw = value.raw();
        if const { <V::Raw<'_> as Encode>::FORMATS } {
            scratch::with(|buffer| {
                let mut scratch = Scratch::new(buffer);
                let ready = raw.prepare(&mut scratch);
                self.truncated |= scratch.truncated();
                self.ready::<V::Raw<'_>>(field, ready, scratch.into_text());
            });
        } else {
            let ready = raw.prepare(&mut Scratch::new(&mut Vec::new()));
            self.ready::<V::Raw<'_>>(field, ready, &[]);
        }
    }

    /// A value whose text is made; one that is absent is not told.
    fn ready<E: Encode>(&mut self, field: usize, ready: E::Ready, text: &[u8]) {
        let kind = E::KIND & !Kind::OPTIONAL;
        let is_there = ready.is_present() && kind != Kind::Empty as u8;
        if !is_there || !self.tell_kind(field, kind) {
            return;
        }
        self.truncated |= ready.variable() > TEXT_BYTES_MAX;
        let at = self.bytes.len();
        self.bytes.resize(at + ready.len(TEXT_BYTES_MAX, text), 0);
        ready.write(TEXT_BYTES_MAX, text, &mut Cursor::new(&mut self.bytes[at..]));
    }

    /// Makes the values of one more field secret.
    pub(crate) fn hide_field(&mut self, field: Option<usize>) {
        self.hidden = field.unwrap_or(usize::MAX);
    }

    #[inline]
    fn sized(&mut self, value: &[u8]) {
        let len = value.len().min(TEXT_BYTES_MAX);
        if len < value.len() {
            return self.sized_too_long(value);
        }
        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// No record holds it: it is cut here already, between two characters in case it is text.
    #[cold]
    fn sized_too_long(&mut self, value: &[u8]) {
        self.truncated = true;
        let mut len = TEXT_BYTES_MAX;
        while len > 0 && value[len] & 0xc0 == 0x80 {
            len -= 1;
        }
        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        self.bytes.extend_from_slice(&value[..len]);
    }

    /// Notes that the value of a field follows; false when that is secret, and `[redacted]` was put
    /// instead.
    #[inline(always)]
    fn tell(&mut self, field: usize, kind: Kind) -> bool {
        self.tell_kind(field, kind as u8)
    }

    #[inline(always)]
    fn tell_kind(&mut self, field: usize, kind: u8) -> bool {
        let told = Told::new(field, kind);
        // While some may be secret, none is as expected.
        if self.like.get(self.n_alike) == Some(&told) {
            self.n_alike += 1;
            return true;
        }
        self.tell_other(field, told)
    }

    #[cold]
    #[inline(never)]
    fn tell_other(&mut self, field: usize, told: Told) -> bool {
        if self.others.is_empty() {
            self.others.extend_from_slice(&self.like[..self.n_alike]);
            (self.like, self.n_alike) = (&[], 0);
        }
        let is_secret = self.is_secret(field);
        if is_secret {
            self.others.push(Told::new(field, Kind::Str as u8));
            self.sized(redact::REDACTED.as_bytes());
        } else {
            self.others.push(told);
        }
        !is_secret
    }

    fn is_secret(&self, field: usize) -> bool {
        self.secrets.is_some_and(|names| {
            self.hidden == field
                || names.get(field).is_some_and(|(name, _)| redact::is_secret(name))
        })
    }

    pub(super) fn told(&self) -> &[Told] {
        if self.others.is_empty() { &self.like[..self.n_alike] } else { &self.others }
    }

    /// The values so far, each with its field.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, record::Value<'_>)> {
        let parts = split(self.told().iter().map(|told| told.kind()), self.bytes);
        self.told().iter().zip(parts).filter_map(|(told, (kind, mut bytes))| {
            Some((usize::from(told.index()), record::take_value(kind, &mut bytes)?))
        })
    }

    /// True when all are as the definition has them.
    #[inline]
    pub(super) fn is_like(&self, defined: &Defined) -> bool {
        self.n_alike == defined.like.len() && self.others.is_empty()
            || self.others_are(&defined.like)
    }

    /// The same where each was looked at by itself.
    #[cold]
    fn others_are(&self, like: &[Told]) -> bool {
        !self.others.is_empty() && *self.others == *like
    }

    /// The values in a definition's order, each behind its kind; of two for one field the later.
    pub(super) fn telling(&self, order: &[u16]) -> Vec<u8> {
        let parts: Vec<_> = split(self.told().iter().map(|told| told.kind()), self.bytes).collect();
        let mut out = Vec::with_capacity(self.bytes.len() + order.len());
        for index in order {
            let at = self.told().iter().rposition(|told| told.index() == *index);
            match at.and_then(|at| parts.get(at)) {
                Some((kind, bytes)) => {
                    out.push(*kind);
                    out.extend_from_slice(bytes);
                }
                None => out.push(Kind::Empty as u8),
            }
        }
        out
    }
}
