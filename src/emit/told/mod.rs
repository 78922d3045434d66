//! Told: values whose kinds are known only when they are logged, as other front ends bring them.
//!
//! A visitor hands values over one by one; each is put behind the last as it will lie in the lane.
//! The first record of a [`Statement`] says which kinds its definition has. Records that bring the
//! same fields as the same kinds are their values alone; any other tells its kinds.
//!
//! A statement is an event's or a span's: of a span, other records tell what it goes through.

mod buffer;
mod open;
mod values;

use std::sync::OnceLock;

pub(crate) use self::open::OpenSpan;
#[cfg(feature = "tracing")]
pub use self::open::TraceIds;
#[cfg(feature = "tracing")]
pub(crate) use self::open::{SPAN_ID, TRACE_ID};
pub(crate) use self::values::{Values, with_values};
#[cfg(feature = "tracing")]
use self::buffer::ROOM;
use super::callsite;
use super::clock;
use super::cut;
use super::raw::Cursor;
#[cfg(feature = "tracing")]
use super::redact;
use crate::lane::fill::{Record, Tells};
#[cfg(feature = "tracing")]
use crate::lane::handle;
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
    order: Box<[usize]>,
}

/// Index of a field in its statement, and in the lowest byte the kind of its value: a word, so that
/// comparing two is one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told(u32);

impl Told {
    #[inline(always)]
    const fn new(index: usize, kind: u8) -> Self {
        Self((index as u32) << 8 | kind as u32)
    }

    const fn index(self) -> usize {
        (self.0 >> 8) as usize
    }

    const fn kind(self) -> u8 {
        self.0 as u8
    }
}

/// What a record tells; spans go by their ids, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// An event in the span that its thread is in.
    #[cfg(feature = "log")]
    Event,
    /// An event in a span, or in none.
    Placed { span: u64 },
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
        let [first, second, third] = self.words;
        if self.len > 0 {
            out.put(first.to_le_bytes());
        }
        if self.len > 1 {
            out.put(second.to_le_bytes());
        }
        if self.len > 2 {
            out.put(third.to_le_bytes());
        }
    }
}

impl What {
    #[inline(always)]
    const fn tells(self) -> Tells {
        match self {
            #[cfg(feature = "log")]
            Self::Event => Tells::Event,
            Self::Placed { .. } => Tells::Placed,
            Self::Open { .. } | Self::Values { .. } => Tells::Span,
        }
    }

    #[inline(always)]
    const fn parts(self) -> (u8, u8, Words) {
        match self {
            #[cfg(feature = "log")]
            Self::Event => (RECORD_EVENT, 0, Words::NONE),
            Self::Placed { span: 0 } => (RECORD_EVENT, 0, Words::NONE),
            Self::Placed { span } => (RECORD_EVENT, FLAG_SPAN, Words::one(span)),
            Self::Open { span, parent } => (RECORD_SPAN_OPEN, FLAG_SPAN, Words::two(span, parent)),
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
        let n_fields = always.fields.len().min(usize::from(u16::MAX));
        let mut like = values.told().to_vec();
        // A field that was told twice is no pattern.
        let mut seen = vec![false; n_fields];
        let once = like.iter().all(|told| {
            seen.get_mut(told.index())
                .is_some_and(|seen| !std::mem::replace(seen, true))
        });
        if !once {
            like.clear();
        }
        let told = like.iter().map(|told| told.index());
        let untold = (0..n_fields).filter(|index| !like.iter().any(|told| told.index() == *index));
        let order: Box<[usize]> = told.chain(untold).collect();
        let field = |(place, index): (usize, &usize)| {
            let (name, role) = always.fields[*index].clone();
            Field {
                name,
                kind: like.get(place).map_or(Kind::Empty as u8, |told| told.kind()),
                role,
            }
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
    pub(crate) fn record(
        &self,
        what: What,
        values: &Values<'_>,
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<(), NoRoom> {
        let defined = self.defined(values)?;
        let mut record = self.plain(what, defined, values.filled());
        if values.is_truncated() {
            record.flags |= FLAG_TRUNCATED;
        }
        let telling;
        if !values.is_like(defined) {
            record.flags |= FLAG_DYNAMIC;
            telling = values.telling(&defined.order);
            (record.like, record.bytes) = (&[], &*telling);
        }
        push(record);
        Ok(())
    }

    /// The same for an event of a statement that is [ready](Statement::ready), whose values `fill`
    /// puts, to the logger with this number, which has claimed the way of layers. The record of one
    /// that is as the first was comes to no other call: so it exists in registers alone.
    ///
    /// # Errors
    ///
    /// As [`Statement::record`].
    #[cfg(feature = "tracing")]
    #[inline(always)]
    pub(crate) fn event(
        &self,
        defined: &Defined,
        span: u64,
        serial: u32,
        fill: impl FnOnce(&mut Values<'_>),
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<(), NoRoom> {
        let mut room = ROOM;
        let mut values = Values::new(&mut room, &defined.like);
        fill(&mut values);
        if values.is_plain() {
            let record = self.plain(What::Placed { span: 0 }, defined, values.filled());
            if handle::try_write_layer(serial, span, &record) {
                return Ok(());
            }
        }
        self.event_otherwise(span, &values, push)
    }

    /// The definition, of a statement whose records may be as its first was.
    #[cfg(feature = "tracing")]
    #[inline(always)]
    pub(crate) fn ready(&self) -> Option<&Defined> {
        if redact::is_any() { None } else { self.defined.get() }
    }

    #[cfg(feature = "tracing")]
    #[cold]
    #[inline(never)]
    fn event_otherwise(
        &self,
        span: u64,
        values: &Values<'_>,
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<(), NoRoom> {
        self.record(What::Placed { span }, values, push)
    }

    /// The record of values that are as the definition has them.
    #[inline(always)]
    fn plain<'a>(&self, what: What, defined: &'a Defined, bytes: &'a [u8]) -> ToldRecord<'a> {
        let (kind, flags, words) = what.parts();
        let (id, level, tells, like) = (defined.id, self.always.level, what.tells(), &*defined.like);
        ToldRecord { id, level, tells, kind, flags, words, like, bytes }
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
        let (id, level, tells, flags) = (defined.id, self.always.level, Tells::Span, FLAG_SPAN);
        push(ToldRecord { id, level, tells, kind, flags, words, like: &[], bytes: &[] });
    }
}

/// A record whose values are ready to be copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldRecord<'a> {
    id: u32,
    level: Level,
    tells: Tells,
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

    fn tells(&self) -> Tells {
        self.tells
    }

    #[inline(always)]
    fn fast_ticks() -> Option<u64> {
        clock::fast_ticks()
    }

    #[inline(always)]
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
        let kinds = (!tells).then(|| self.like.iter().map(|told| told.kind()));
        let mut out = vec![0; self.words.bytes()];
        self.words.write(&mut Cursor::new(&mut out));
        cut::put(kinds, self.bytes, limit.saturating_sub(out.len()), &mut out);
        out
    }
}
