//! Told: values whose kinds are known only when they are logged, as other front ends bring them.
//!
//! A visitor hands values over one by one; each is put behind the last as it will lie in the lane.
//! The first record of a [`Statement`] says which kinds its definition has. Records that bring the
//! same fields as the same kinds are their values alone; any other tells its kinds.

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;

use super::callsite;
use super::clock;
use super::raw::{Chain, Encode as _, Format, cut_chain};
use super::scratch::{self, Scratch};
use crate::lane::fill::Record;
use crate::record::{
    Definition, FLAG_DYNAMIC, FLAG_TRUNCATED, Field, HEAD_BYTES, Head, Kind, Level, Role,
};

/// Values that are remembered without an allocation.
const FEW: usize = 24;

/// What a statement of another front end always says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Static {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) module: String,
    /// The names that records may have values for, with what these are for.
    pub(crate) fields: Vec<(String, Role)>,
}

/// A statement of another front end, and its definition once a record has been logged.
#[derive(Debug)]
pub(crate) struct Statement {
    always: Static,
    defined: OnceLock<Defined>,
}

/// How a statement's records look that do not tell their kinds.
#[derive(Debug)]
pub(crate) struct Defined {
    id: u32,
    /// The first record's values: index and kind of each, in their order.
    like: Box<[Told]>,
    /// For each place in the definition, the index of its field.
    order: Box<[u16]>,
}

/// Index of a field in its statement, and the kind of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Told {
    index: u16,
    kind: u8,
}

/// The values of one record.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    bytes: &'a mut Vec<u8>,
    few: [Told; FEW],
    len: usize,
    /// All of them when there are more than [`FEW`].
    many: Vec<Told>,
    truncated: bool,
}

/// Calls `job` with room for the values of one record.
#[inline]
pub(crate) fn with_values<R>(job: impl FnOnce(&mut Values<'_>) -> R) -> R {
    scratch::with(|bytes| {
        let few = [Told::default(); FEW];
        job(&mut Values { bytes, few, len: 0, many: Vec::new(), truncated: false })
    })
}

macro_rules! numbers {
    ($($put:ident $type:ty, $kind:ident;)*) => { $(
        #[inline]
        pub(crate) fn $put(&mut self, field: usize, value: $type) {
            self.tell(field, Kind::$kind);
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
        self.tell(field, Kind::Bool);
        self.bytes.push(value.into());
    }

    #[inline]
    pub(crate) fn str(&mut self, field: usize, value: &str) {
        self.tell(field, Kind::Str);
        self.sized(value.as_bytes());
    }

    pub(crate) fn bytes(&mut self, field: usize, value: &[u8]) {
        self.tell(field, Kind::Bytes);
        self.sized(value);
    }

    /// What a format trait makes of a value.
    pub(crate) fn text(&mut self, field: usize, value: fmt::Arguments<'_>) {
        self.tell(field, Kind::Text);
        self.bytes.extend_from_slice(&[0; 4]);
        let at = self.bytes.len();
        let mut scratch = Scratch::new(self.bytes);
        match value.as_str() {
            // Most messages have no arguments.
            Some(text) => drop(scratch.format(|out| out.write_str(text))),
            None => drop(scratch.format(|out| Format::format(&value, out))),
        }
        self.truncated |= scratch.truncated();
        let len = (self.bytes.len() - at) as u32;
        self.bytes[at - 4..at].copy_from_slice(&len.to_le_bytes());
    }

    /// An error with its sources.
    pub(crate) fn error(&mut self, field: usize, value: &(dyn Error + 'static)) {
        self.tell(field, Kind::Error);
        self.bytes.extend_from_slice(&[0; 4]);
        let at = self.bytes.len();
        let mut scratch = Scratch::new(self.bytes);
        let _ = Chain(value).prepare(&mut scratch);
        self.truncated |= scratch.truncated();
        let len = (self.bytes.len() - at) as u32;
        self.bytes[at - 4..at].copy_from_slice(&len.to_le_bytes());
    }

    #[inline]
    fn sized(&mut self, value: &[u8]) {
        let len = value.len().min(scratch::TEXT_BYTES_MAX);
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
        let mut len = scratch::TEXT_BYTES_MAX;
        while len > 0 && value[len] & 0xc0 == 0x80 {
            len -= 1;
        }
        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        self.bytes.extend_from_slice(&value[..len]);
    }

    #[inline]
    fn tell(&mut self, field: usize, kind: Kind) {
        let told = Told { index: field as u16, kind: kind as u8 };
        if let Some(place) = self.few.get_mut(self.len) {
            *place = told;
            self.len += 1;
        } else {
            self.tell_many(told);
        }
    }

    #[cold]
    fn tell_many(&mut self, told: Told) {
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few);
        }
        self.many.push(told);
    }

    fn told(&self) -> &[Told] {
        if self.many.is_empty() { &self.few[..self.len] } else { &self.many }
    }

    /// The values in a definition's order, each behind its kind; of two for one field the later.
    fn telling(&self, order: &[u16]) -> Vec<u8> {
        let parts: Vec<_> = split(self.told().iter().map(|told| told.kind), self.bytes).collect();
        let mut out = Vec::with_capacity(self.bytes.len() + order.len());
        for index in order {
            let at = self.told().iter().rposition(|told| told.index == *index);
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

/// Values of these kinds, one behind another, each by itself.
fn split(
    kinds: impl Iterator<Item = u8>,
    mut bytes: &[u8],
) -> impl Iterator<Item = (u8, &[u8])> {
    kinds.map_while(move |kind| {
        let len = match Kind::from_u8(kind)?.fixed_len() {
            Some(len) => len,
            None => 4 + u32::from_le_bytes(*bytes.first_chunk()?) as usize,
        };
        let (value, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((kind, value))
    })
}

/// Why a record cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Statement {
    pub(crate) const fn new(always: Static) -> Self {
        Self { always, defined: OnceLock::new() }
    }

    pub(crate) fn always(&self) -> &Static {
        &self.always
    }

    /// The definition; the first record makes it, and says what its values are like.
    #[inline]
    fn defined(&self, values: &Values<'_>) -> Result<&Defined, NoRoom> {
        match self.defined.get() {
            Some(defined) => Ok(defined),
            None => self.define(values),
        }
    }

    #[cold]
    fn define(&self, values: &Values<'_>) -> Result<&Defined, NoRoom> {
        let always = &self.always;
        let n_fields = always.fields.len().min(usize::from(u16::MAX)) as u16;
        let mut like = values.told().to_vec();
        // A field that was told twice is no pattern.
        let mut seen = vec![false; usize::from(n_fields)];
        let once = like.iter().all(|told| {
            seen.get_mut(usize::from(told.index)).is_some_and(|seen| !std::mem::replace(seen, true))
        });
        if !once {
            like.clear();
        }
        let told = like.iter().map(|told| told.index);
        let untold = (0..n_fields).filter(|index| !like.iter().any(|told| told.index == *index));
        let order: Box<[u16]> = told.chain(untold).collect();
        let field = |(place, index): (usize, &u16)| {
            let (name, role) = always.fields[usize::from(*index)].clone();
            Field { name, kind: like.get(place).map_or(Kind::Empty as u8, |told| told.kind), role }
        };
        let id = callsite::define(Definition {
            id: 0,
            level: always.level,
            dynamic: false,
            target: always.target.clone(),
            name: always.name.clone(),
            file: always.file.clone(),
            line: always.line,
            module: always.module.clone(),
            template: None,
            fields: order.iter().enumerate().map(field).collect(),
        })
        .ok_or(NoRoom)?;
        // Of two threads that come here at once one wins; the other's number stays unused.
        Ok(self.defined.get_or_init(|| Defined { id, like: like.into(), order }))
    }

    /// Makes the record of these values and hands it to `push`.
    ///
    /// # Errors
    ///
    /// When there is no room for the definition: the event is to be counted as lost.
    #[inline]
    pub(crate) fn record(
        &self,
        record_kind: u8,
        values: &Values<'_>,
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<(), NoRoom> {
        let defined = self.defined(values)?;
        let flags = if values.truncated { FLAG_TRUNCATED } else { 0 };
        let level = self.always.level;
        if *values.told() == *defined.like {
            let like = &*defined.like;
            let bytes = &values.bytes[..];
            push(ToldRecord { id: defined.id, level, record_kind, flags, like, bytes });
        } else {
            let bytes = &*values.telling(&defined.order);
            let flags = flags | FLAG_DYNAMIC;
            push(ToldRecord { id: defined.id, level, record_kind, flags, like: &[], bytes });
        }
        Ok(())
    }
}

/// A record whose values are ready to be copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldRecord<'a> {
    id: u32,
    level: Level,
    record_kind: u8,
    flags: u8,
    /// The kinds, unless each value stands behind its own.
    like: &'a [Told],
    bytes: &'a [u8],
}

impl Record for ToldRecord<'_> {
    #[inline(always)]
    fn payload_len(&self) -> usize {
        self.bytes.len()
    }

    fn level(&self) -> Level {
        self.level
    }

    #[inline(always)]
    fn fast_ticks() -> Option<u64> {
        clock::fast_ticks()
    }

    fn ticks(&self) -> u64 {
        clock::ticks()
    }

    #[inline(always)]
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(self.id, words, self.record_kind, self.flags | flags, ticks)
    }

    #[inline(always)]
    fn payload(&self, out: &mut [u8]) {
        out.copy_from_slice(self.bytes);
    }

    fn cut(&self, limit: usize) -> Vec<u8> {
        let tells = self.flags & FLAG_DYNAMIC != 0;
        let mut parts: Vec<(u8, Vec<u8>)> = if tells {
            split_telling(self.bytes)
        } else {
            let kinds = self.like.iter().map(|told| told.kind);
            split(kinds, self.bytes).map(|(kind, bytes)| (kind, bytes.to_vec())).collect()
        };
        let head = usize::from(tells);
        loop {
            let len: usize = parts.iter().map(|(_, bytes)| head + bytes.len()).sum();
            let Some(excess) = len.checked_sub(limit).filter(|excess| *excess > 0) else { break };
            let texts = parts.iter_mut().filter(|(kind, bytes)| is_text(*kind) && bytes.len() > 4);
            match texts.max_by_key(|(_, bytes)| bytes.len()) {
                Some((kind, bytes)) => shorten(*kind, bytes, excess),
                // More numbers than a record holds: the last ones go.
                None => drop(parts.pop()),
            }
        }
        let mut out = Vec::with_capacity(limit);
        for (kind, bytes) in parts {
            out.extend_from_slice(&[kind][..head]);
            out.extend_from_slice(&bytes);
        }
        out
    }
}

fn split_telling(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut parts = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        let Some((_, value)) = split(std::iter::once(kind), rest).next() else { break };
        parts.push((kind, value.to_vec()));
        bytes = &rest[value.len()..];
    }
    parts
}

fn is_text(kind: u8) -> bool {
    Kind::from_u8(kind).is_some_and(|kind| kind.fixed_len().is_none())
}

/// Takes `excess` bytes off a value with its length before it, or what it has.
fn shorten(kind: u8, value: &mut Vec<u8>, excess: usize) {
    let wanted = (value.len() - 4).saturating_sub(excess);
    let mut out = vec![0; 4];
    if kind == Kind::Error as u8 {
        let (whole, part) = cut_chain(&value[4..], wanted);
        out.extend_from_slice(whole);
        if !part.is_empty() {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(part);
        }
    } else {
        let mut len = wanted;
        while kind != Kind::Bytes as u8 && len > 0 && value[4 + len] & 0xc0 == 0x80 {
            len -= 1;
        }
        out.extend_from_slice(&value[4..4 + len]);
    }
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    *value = out;
}
