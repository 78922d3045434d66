//! Told: values whose kinds are known only when they are logged, as other front ends bring them.
//!
//! A visitor hands values over one by one; each is put behind the last as it will lie in the lane.
//! The first record of a [`Statement`] says which kinds its definition has. Records that bring the
//! same fields as the same kinds are their values alone; any other tells its kinds.
//!
//! A statement is an event's or a span's: of a span, other records tell what it goes through.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::sync::OnceLock;

use super::redact;
use super::callsite;
use super::clock;
use super::cut::{self, split};
use super::raw::{Chain, Cursor, Encode as _, Format};
use super::scratch::{Scratch, TEXT_BYTES_MAX};
use crate::lane::fill::Record;
use crate::lane::process;
use crate::record::{
    Definition, FLAG_DYNAMIC, FLAG_SPAN, FLAG_TRUNCATED, Field, HEAD_BYTES, Head, Kind, Level,
    RECORD_EVENT, RECORD_SPAN_CLOSE, RECORD_SPAN_ENTER, RECORD_SPAN_EXIT, RECORD_SPAN_FOLLOWS,
    RECORD_SPAN_OPEN, RECORD_SPAN_VALUES, Role,
};

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
    /// What the statement's records are like; nothing once this one differs.
    like: &'a [Told],
    /// How many values were as `like` says.
    n_alike: usize,
    /// All of them once one was not.
    others: Vec<Told>,
    /// Names by field, while some may be secret.
    secrets: Option<&'a [(String, Role)]>,
    truncated: bool,
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
pub(crate) fn with_values<R>(
    statement: &Statement,
    job: impl FnOnce(&mut Values<'_>) -> R,
) -> R {
    let like = statement.defined.get().map_or(&[][..], |defined| &defined.like);
    let mut job = Some(job);
    let secrets = redact::is_any().then_some(&*statement.always.fields);
    let mut with = |bytes: &mut Vec<u8>| {
        let others = Vec::new();
        let values = Values { bytes, like, n_alike: 0, others, secrets, truncated: false };
        job.take().map(|job| job(&mut { values }))
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
            if self.hides(field) {
                return;
            }
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
        if self.hides(field) {
            return;
        }
        self.tell(field, Kind::Bool);
        self.bytes.push(value.into());
    }

    #[cfg(feature = "log")]
    pub(crate) fn char(&mut self, field: usize, value: char) {
        if self.hides(field) {
            return;
        }
        self.tell(field, Kind::Char);
        self.bytes.extend_from_slice(&u32::from(value).to_le_bytes());
    }

    #[inline]
    pub(crate) fn str(&mut self, field: usize, value: &str) {
        if self.hides(field) {
            return;
        }
        self.tell(field, Kind::Str);
        self.sized(value.as_bytes());
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn bytes(&mut self, field: usize, value: &[u8]) {
        if self.hides(field) {
            return;
        }
        self.tell(field, Kind::Bytes);
        self.sized(value);
    }

    /// What a format trait makes of a value.
    pub(crate) fn text(&mut self, field: usize, value: fmt::Arguments<'_>) {
        if self.hides(field) {
            return;
        }
        self.tell(field, Kind::Text);
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
        if self.hides(field) {
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
        if self.hides(field) {
            return;
        }
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

    /// True when the field's values are secret: then `[redacted]` is put instead.
    #[inline]
    fn hides(&mut self, field: usize) -> bool {
        self.secrets.is_some_and(|names| self.hide(names, field))
    }

    #[cold]
    fn hide(&mut self, names: &[(String, Role)], field: usize) -> bool {
        let is_secret = names.get(field).is_some_and(|(name, _)| redact::is_secret(name));
        if is_secret {
            self.tell(field, Kind::Str);
            self.sized(redact::REDACTED.as_bytes());
        }
        is_secret
    }

    #[inline]
    fn tell(&mut self, field: usize, kind: Kind) {
        let told = Told { index: field as u16, kind: kind as u8 };
        if self.like.get(self.n_alike) == Some(&told) {
            self.n_alike += 1;
        } else {
            self.tell_other(told);
        }
    }

    #[cold]
    fn tell_other(&mut self, told: Told) {
        if self.others.is_empty() {
            self.others.extend_from_slice(&self.like[..self.n_alike]);
            (self.like, self.n_alike) = (&[], 0);
        }
        self.others.push(told);
    }

    fn told(&self) -> &[Told] {
        if self.others.is_empty() { &self.like[..self.n_alike] } else { &self.others }
    }

    /// True when all are as the definition has them.
    #[inline]
    fn is_like(&self, defined: &Defined) -> bool {
        self.n_alike == defined.like.len() && self.others.is_empty()
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

/// What a record tells; spans go by their ids, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// An event in a span.
    Event { span: u64 },
    /// A span was opened below another.
    Open { span: u64, parent: u64 },
    /// Fields of a span got values.
    Values { span: u64 },
}

/// What a span goes through that has no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A thread is in it from now on.
    Enter,
    /// A thread has left it.
    Exit,
    /// It is over, after so many ticks in it and beside it.
    Close { busy: u64, idle: u64 },
    /// It follows from another span.
    Follows { other: u64 },
}

/// The words before a record's values.
#[derive(Debug, Clone, Copy)]
struct Words {
    words: [u64; 3],
    len: usize,
}

impl Words {
    const NONE: Self = Self { words: [0; 3], len: 0 };

    const fn one(a: u64) -> Self {
        Self { words: [a, 0, 0], len: 1 }
    }

    const fn two(a: u64, b: u64) -> Self {
        Self { words: [a, b, 0], len: 2 }
    }

    #[inline(always)]
    fn bytes(&self) -> usize {
        8 * self.len
    }

    #[inline(always)]
    fn write(&self, out: &mut Cursor<'_>) {
        self.words.iter().take(self.len).for_each(|word| out.put(word.to_le_bytes()));
    }
}

impl What {
    #[inline(always)]
    const fn parts(self) -> (u8, u8, Words) {
        match self {
            Self::Event { span: 0 } => (RECORD_EVENT, 0, Words::NONE),
            Self::Event { span } => (RECORD_EVENT, FLAG_SPAN, Words::one(span)),
            Self::Open { span, parent } => {
                (RECORD_SPAN_OPEN, FLAG_SPAN, Words::two(span, parent))
            }
            Self::Values { span } => (RECORD_SPAN_VALUES, FLAG_SPAN, Words::one(span)),
        }
    }
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
        if process::is_forked() {
            return Err(NoRoom); // who held the list of callsites may not be there
        }
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
        what: What,
        values: &Values<'_>,
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<(), NoRoom> {
        let defined = self.defined(values)?;
        let (kind, mut flags, words) = what.parts();
        if values.truncated {
            flags |= FLAG_TRUNCATED;
        }
        let level = self.always.level;
        if values.is_like(defined) {
            let (like, bytes) = (&*defined.like, &values.bytes[..]);
            push(ToldRecord { id: defined.id, level, kind, flags, words, like, bytes });
        } else {
            let bytes = &*values.telling(&defined.order);
            let flags = flags | FLAG_DYNAMIC;
            push(ToldRecord { id: defined.id, level, kind, flags, words, like: &[], bytes });
        }
        Ok(())
    }

    /// Hands the record of a step of a span to `push`; of a span that was not opened there is none.
    pub(crate) fn step(&self, span: u64, step: Step, push: impl FnOnce(ToldRecord<'_>)) {
        let Some(defined) = self.defined.get() else { return };
        let (kind, words) = match step {
            Step::Enter => (RECORD_SPAN_ENTER, Words::one(span)),
            Step::Exit => (RECORD_SPAN_EXIT, Words::one(span)),
            Step::Close { busy, idle } => {
                (RECORD_SPAN_CLOSE, Words { words: [span, busy, idle], len: 3 })
            }
            Step::Follows { other } => (RECORD_SPAN_FOLLOWS, Words::two(span, other)),
        };
        let (id, level, flags) = (defined.id, self.always.level, FLAG_SPAN);
        push(ToldRecord { id, level, kind, flags, words, like: &[], bytes: &[] });
    }
}

/// A record whose values are ready to be copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldRecord<'a> {
    id: u32,
    level: Level,
    kind: u8,
    flags: u8,
    words: Words,
    /// The kinds, unless each value stands behind its own.
    like: &'a [Told],
    bytes: &'a [u8],
}

impl Record for ToldRecord<'_> {
    #[inline(always)]
    fn payload_len(&self) -> usize {
        self.words.bytes() + self.bytes.len()
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
        Head::encode(self.id, words, self.kind, self.flags | flags, ticks)
    }

    #[inline(always)]
    fn payload(&self, out: &mut [u8]) {
        let mut out = Cursor::new(out);
        self.words.write(&mut out);
        out.put_slice(self.bytes);
    }

    fn cut(&self, limit: usize) -> Vec<u8> {
        let tells = self.flags & FLAG_DYNAMIC != 0;
        let kinds = (!tells).then(|| self.like.iter().map(|told| told.kind));
        let mut out = vec![0; self.words.bytes()];
        self.words.write(&mut Cursor::new(&mut out));
        cut::put(kinds, self.bytes, limit.saturating_sub(out.len()), &mut out);
        out
    }
}
