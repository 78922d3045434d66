//! Values: those of one record, put together as they will lie in the lane.

use std::error::Error;
use std::fmt;

use super::super::cut::split;
use super::super::raw::{Chain, Cursor, Encode, Ready as _};
use super::super::redact;
use super::super::scratch::{self, Scratch, TEXT_BYTES_MAX};
use super::super::value::Value;
use super::buffer::{Buffer, ROOM, Room};
use super::{Defined, Statement, Told};
use crate::record::{self, Kind, Role};

/// The values of one record.
#[derive(Debug)]
pub struct Values<'a> {
    buffer: Buffer<'a>,
    /// What the statement's records are like; nothing once this one differs.
    like: &'a [Told],
    /// How many values were as `like` says; `usize::MAX` once this one differs.
    n_alike: usize,
    /// What there is to say of one that differs.
    others: Option<Box<Others<'a>>>,
}

/// What there is to say of a record that is not as the statement's first one was.
#[derive(Debug)]
struct Others<'a> {
    /// All values so far.
    told: Vec<Told>,
    /// Names by field, while some may be secret.
    secrets: Option<&'a [(String, Role)]>,
    /// A field that is secret whatever its name; `usize::MAX` for none.
    hidden: usize,
    truncated: bool,
}

/// Calls `job` with room for the values of one record of a statement.
#[inline(always)]
pub(crate) fn with_values<R>(statement: &Statement, job: impl FnOnce(&mut Values<'_>) -> R) -> R {
    let (mut room, like) = (ROOM, statement.defined.get().map_or(&[][..], |defined| &defined.like));
    let mut values = Values::new(&mut room, like);
    if redact::is_any() {
        values.others().secrets = Some(&statement.always.fields);
    }
    job(&mut values)
}

macro_rules! numbers {
    ($($put:ident $type:ty, $kind:ident;)*) => { $(
        #[inline]
        pub(crate) fn $put(&mut self, field: usize, value: $type) {
            self.put(field, Kind::$kind, value.to_le_bytes());
        }
    )* };
}

impl<'a> Values<'a> {
    /// No values yet, of a record that may become like these.
    #[inline(always)]
    pub(super) fn new(room: &'a mut Room, like: &'a [Told]) -> Self {
        Self { buffer: Buffer::new(room), like, n_alike: 0, others: None }
    }

    numbers! {
        u64 u64, U64;
        i64 i64, I64;
        u128 u128, U128;
        i128 i128, I128;
        f64 f64, F64;
    }

    #[inline]
    pub(crate) fn bool(&mut self, field: usize, value: bool) {
        self.put(field, Kind::Bool, [value.into()]);
    }

    #[cfg(feature = "log")]
    pub(crate) fn char(&mut self, field: usize, value: char) {
        self.put(field, Kind::Char, u32::from(value).to_le_bytes());
    }

    #[inline]
    pub(crate) fn str(&mut self, field: usize, value: &str) {
        self.sized(field, Kind::Str, value.as_bytes());
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn bytes(&mut self, field: usize, value: &[u8]) {
        self.sized(field, Kind::Bytes, value);
    }

    /// What a format trait makes of a value.
    #[inline]
    pub(crate) fn text(&mut self, field: usize, value: fmt::Arguments<'_>) {
        if self.tell(Told::new(field, Kind::Text as u8)) && !self.buffer.put_text(value) {
            self.others().truncated = true;
        }
    }

    /// What serde makes of a value, when that is a map or a list; else does nothing and returns
    /// false.
    #[cfg(all(feature = "serde", feature = "log"))]
    pub(crate) fn nested(&mut self, field: usize, value: &impl serde::Serialize) -> bool {
        if self.is_secret(field) {
            let _ = self.tell(Told::new(field, Kind::Nested as u8)); // puts what stands for it
            return true;
        }
        let Ok(json) = serde_json::to_string(value) else { return false };
        if !json.starts_with(['{', '[']) || json.len() > TEXT_BYTES_MAX {
            return false;
        }
        self.sized(field, Kind::Nested, json.as_bytes());
        true
    }

    /// An error with its sources.
    pub(crate) fn error(&mut self, field: usize, value: &(dyn Error + 'static)) {
        if !self.tell(Told::new(field, Kind::Error as u8)) {
            return;
        }
        scratch::with(|buffer| {
            let mut scratch = Scratch::new(buffer);
            let _ = Chain(value).prepare(&mut scratch);
            let truncated = scratch.truncated();
            if !self.buffer.put_sized(scratch.into_text()) || truncated {
                self.others().truncated = true;
            }
        });
    }

    /// Whatever can be logged as it is.
    pub(crate) fn value<V: Value + ?Sized>(&mut self, field: usize, value: &V) {
        let raw = value.raw();
        if const { <V::Raw<'_> as Encode>::FORMATS } {
            scratch::with(|buffer| {
                let mut scratch = Scratch::new(buffer);
                let ready = raw.prepare(&mut scratch);
                let truncated = scratch.truncated();
                self.ready::<V::Raw<'_>>(field, ready, scratch.into_text(), truncated);
                if self.is_secret(field) {
                    scratch::wipe(buffer);
                }
            });
        } else {
            let ready = raw.prepare(&mut Scratch::new(&mut Vec::new()));
            self.ready::<V::Raw<'_>>(field, ready, &[], false);
        }
    }

    /// A value whose text is made; one that is absent is not told.
    fn ready<E: Encode>(&mut self, field: usize, ready: E::Ready, text: &[u8], truncated: bool) {
        let kind = E::KIND & !Kind::OPTIONAL;
        let is_there = ready.is_present() && kind != Kind::Empty as u8;
        if !is_there || !self.tell(Told::new(field, kind)) {
            return;
        }
        if truncated || ready.variable() > TEXT_BYTES_MAX {
            self.others().truncated = true;
        }
        let room = self.buffer.make_room(ready.len(TEXT_BYTES_MAX, text));
        ready.write(TEXT_BYTES_MAX, text, &mut Cursor::new(room));
    }

    /// Makes the values of one more field secret.
    pub(crate) fn hide_field(&mut self, field: Option<usize>) {
        if let Some(others) = &mut self.others {
            others.hidden = field.unwrap_or(usize::MAX);
        }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, field: usize, kind: Kind, value: [u8; N]) {
        let told = Told::new(field, kind as u8);
        match self.is_as_expected(told) {
            true => self.buffer.put(value),
            false => self.put_other(told, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_other<const N: usize>(&mut self, told: Told, value: [u8; N]) {
        if self.tell_other(told) {
            self.buffer.put(value);
        }
    }

    #[inline(always)]
    fn sized(&mut self, field: usize, kind: Kind, value: &[u8]) {
        if self.tell(Told::new(field, kind as u8)) && !self.buffer.put_sized(value) {
            self.others().truncated = true;
        }
    }

    /// Notes that the value of a field follows; false when that is secret, and `[redacted]` was put
    /// instead.
    #[inline(always)]
    fn tell(&mut self, told: Told) -> bool {
        self.is_as_expected(told) || self.tell_other(told)
    }

    /// True when it is what comes next in records like the first; then it is told.
    #[inline(always)]
    fn is_as_expected(&mut self, told: Told) -> bool {
        // While some may be secret, none is as expected.
        if self.like.get(self.n_alike) == Some(&told) {
            self.n_alike += 1;
            return true;
        }
        false
    }

    #[cold]
    #[inline(never)]
    fn tell_other(&mut self, told: Told) -> bool {
        let field = told.index();
        let is_secret = self.is_secret(field);
        if is_secret {
            self.others().told.push(Told::new(field, Kind::Str as u8));
            self.buffer.put_sized(redact::REDACTED.as_bytes());
        } else {
            self.others().told.push(told);
        }
        !is_secret
    }

    /// From now on it differs.
    #[cold]
    fn others(&mut self) -> &mut Others<'a> {
        let (like, n_alike) = (self.like, self.n_alike);
        let others = self.others.get_or_insert_with(|| {
            let told = like[..n_alike].to_vec();
            Box::new(Others { told, secrets: None, hidden: usize::MAX, truncated: false })
        });
        (self.like, self.n_alike) = (&[], usize::MAX);
        others
    }

    fn is_secret(&self, field: usize) -> bool {
        self.others.as_ref().is_some_and(|others| {
            others.secrets.is_some_and(|names| {
                others.hidden == field
                    || names.get(field).is_some_and(|(name, _)| redact::is_secret(name))
            })
        })
    }

    /// Those so far, as they will lie in the lane.
    #[inline(always)]
    pub(super) fn filled(&self) -> &[u8] {
        self.buffer.filled()
    }

    pub(super) fn told(&self) -> &[Told] {
        match &self.others {
            Some(others) => &others.told,
            None => &self.like[..self.n_alike],
        }
    }

    /// True when a text was longer than a record may be.
    pub(super) fn is_truncated(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.truncated)
    }

    /// The values so far, each with its field.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, record::Value<'_>)> {
        let parts = split(self.told().iter().map(|told| told.kind()), self.filled());
        self.told().iter().zip(parts).filter_map(|(told, (kind, mut bytes))| {
            Some((told.index(), record::take_value(kind, &mut bytes)?))
        })
    }

    /// True when nothing is to be said of it but its values, which are as `like` says.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.n_alike == self.like.len()
    }

    /// True when all are as the definition has them.
    pub(super) fn is_like(&self, defined: &Defined) -> bool {
        match &self.others {
            None => self.n_alike == defined.like.len(),
            Some(others) => *others.told == *defined.like,
        }
    }

    /// The values in a definition's order, each behind its kind; of two for one field the later.
    #[inline(never)]
    pub(super) fn telling(&self, order: &[usize]) -> Vec<u8> {
        let parts: Vec<_> = split(self.told().iter().map(|told| told.kind()), self.filled()).collect();
        let mut out = Vec::with_capacity(self.filled().len() + order.len());
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
