//! Args: the values of one call, as a list that the compiler knows the length of.
//!
//! A macro builds `(((), &a), &b)`. The list tells its kinds at compile time; [`List::prepare`]
//! formats what is to be formatted, and leaves an [`Encoded`], which a lane can measure and copy.

use super::raw::{Cursor, Encode, Format, Formatted, Ready};
use super::scratch::Scratch;
use super::value::{Deferrable, Value};
use crate::record::Kind;

/// The values of a record whose length is known. What a lane takes.
#[expect(clippy::len_without_is_empty, reason = "no payload is a payload of length 0")]
pub trait Args: Copy {
    /// Bytes of the payload, not padded.
    fn len(&self) -> usize;
    /// Writes exactly [`Args::len`] bytes.
    fn write(&self, out: &mut Cursor<'_>);
    /// The same values with the longest cut so that the payload takes at most `limit` bytes. The
    /// record is then to be flagged [`crate::record::FLAG_TRUNCATED`].
    fn limited(&self, limit: usize) -> impl Args;
}

/// Values per record whose kinds a callsite remembers in one word; longer lists tell them in each
/// record.
pub(crate) const COUNT_MAX: usize = 8;
/// The key of a callsite that has no definition.
pub(crate) const KEY_NONE: u64 = u64::MAX;
/// The key of a callsite whose calls take the detour: no list has it.
pub(crate) const KEY_DETOUR: u64 = u64::MAX - 3;
const KEY_LONG: u64 = u64::MAX - 1;
const KEY_LONG_DEFERRED: u64 = u64::MAX - 2;

/// A list of values, not yet formatted.
pub trait List: Copy {
    /// Number of values.
    const COUNT: usize;
    /// Their kinds, the first in the lowest byte; only for lists of up to [`COUNT_MAX`].
    const KINDS: u64;
    /// True when one is text still to be made.
    const FORMATS: bool;
    /// True when each argument of the message can be formatted by the reader.
    const DEFERRABLE: bool = true;
    /// What stands at the callsite's word of kinds when its definition fits this list.
    const KEY: u64 = match (Self::COUNT > COUNT_MAX, Self::DEFERRED) {
        (false, _) => Self::KINDS,
        (true, false) => KEY_LONG,
        (true, true) => KEY_LONG_DEFERRED,
    };
    /// True when the list ends with arguments of a template.
    const DEFERRED: bool = false;
    /// The list when its texts are made.
    type Ready: ReadyList;

    /// Formats what is to be formatted.
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready;
    /// Appends the kinds in their order.
    fn kinds(out: &mut Vec<u8>);
}

/// A list whose values can be measured and copied.
pub trait ReadyList: Copy {
    /// Bytes of all values; with `dynamic`, a byte for the kind before each.
    fn len(&self, dynamic: bool, cap: usize, text: &[u8]) -> usize;
    /// Length of the longest variable part.
    fn longest(&self) -> usize;
    /// Writes all values.
    fn write(&self, dynamic: bool, cap: usize, text: &[u8], out: &mut Cursor<'_>);
}

impl List for () {
    const COUNT: usize = 0;
    const KINDS: u64 = 0;
    const FORMATS: bool = false;
    type Ready = ();
    #[inline(always)]
    fn prepare(self, _: &mut Scratch<'_>) {}
    fn kinds(_: &mut Vec<u8>) {}
}

impl ReadyList for () {
    #[inline(always)]
    fn len(&self, _: bool, _: usize, _: &[u8]) -> usize {
        0
    }
    #[inline(always)]
    fn longest(&self) -> usize {
        0
    }
    #[inline(always)]
    fn write(&self, _: bool, _: usize, _: &[u8], _: &mut Cursor<'_>) {}
}

/// One prepared value behind others; the kind is a constant of the encoding.
#[derive(Debug)]
pub struct Behind<L, E: Encode>(L, E::Ready);

impl<L: Copy, E: Encode> Clone for Behind<L, E> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Copy, E: Encode> Copy for Behind<L, E> {}

impl<L: ReadyList, E: Encode> ReadyList for Behind<L, E> {
    #[inline(always)]
    fn len(&self, dynamic: bool, cap: usize, text: &[u8]) -> usize {
        let optional = usize::from(E::KIND & Kind::OPTIONAL != 0);
        let value = if self.1.is_present() { self.1.len(cap, text) } else { 0 };
        self.0.len(dynamic, cap, text) + usize::from(dynamic) + optional + value
    }
    #[inline(always)]
    fn longest(&self) -> usize {
        self.0.longest().max(self.1.variable())
    }
    #[inline(always)]
    fn write(&self, dynamic: bool, cap: usize, text: &[u8], out: &mut Cursor<'_>) {
        self.0.write(dynamic, cap, text, out);
        if dynamic {
            out.put([E::KIND]);
        }
        let present = self.1.is_present();
        if E::KIND & Kind::OPTIONAL != 0 {
            out.put([u8::from(present)]);
        }
        if present {
            self.1.write(cap, text, out);
        }
    }
}

const fn append_kind(kinds: u64, count: usize, kind: u8) -> u64 {
    if count < COUNT_MAX { kinds | (kind as u64) << (8 * count) } else { kinds }
}

impl<'v, L: List, V: Value + ?Sized> List for (L, &'v V) {
    const COUNT: usize = L::COUNT + 1;
    const KINDS: u64 = append_kind(L::KINDS, L::COUNT, <V::Raw<'v> as Encode>::KIND);
    const FORMATS: bool = L::FORMATS || <V::Raw<'v> as Encode>::FORMATS;
    const DEFERRABLE: bool = L::DEFERRABLE;
    type Ready = Behind<L::Ready, V::Raw<'v>>;
    #[inline(always)]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready {
        let front = self.0.prepare(scratch);
        Behind(front, self.1.raw().prepare(scratch))
    }
    fn kinds(out: &mut Vec<u8>) {
        L::kinds(out);
        out.push(<V::Raw<'v> as Encode>::KIND);
    }
}

/// The message, formatted where it is logged.
#[derive(Debug)]
pub struct Message<'f, F>(pub &'f F);

impl<F> Clone for Message<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Message<'_, F> {}

impl<L: List, F: Fn(&mut dyn std::fmt::Write) -> std::fmt::Result> List for (L, Message<'_, F>) {
    const COUNT: usize = L::COUNT + 1;
    const KINDS: u64 = append_kind(L::KINDS, L::COUNT, Kind::Text as u8);
    const FORMATS: bool = true;
    type Ready = Behind<L::Ready, Formatted<NoFormat>>;
    #[inline]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready {
        let front = self.0.prepare(scratch);
        Behind(front, scratch.format(self.1.0))
    }
    fn kinds(out: &mut Vec<u8>) {
        L::kinds(out);
        out.push(Kind::Text as u8);
    }
}

/// Stands for text that is already made.
#[derive(Debug, Clone, Copy)]
pub struct NoFormat;

impl Format for NoFormat {
    fn format(self, _: &mut dyn std::fmt::Write) -> std::fmt::Result {
        Ok(())
    }
}

/// The arguments of a message's template behind the fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deferred<L>(pub(crate) L);

impl<L: List> List for Deferred<L> {
    const COUNT: usize = L::COUNT;
    const KINDS: u64 = L::KINDS;
    const FORMATS: bool = L::FORMATS;
    const DEFERRABLE: bool = L::DEFERRABLE;
    const DEFERRED: bool = true;
    type Ready = L::Ready;
    #[inline(always)]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready {
        self.0.prepare(scratch)
    }
    fn kinds(out: &mut Vec<u8>) {
        L::kinds(out);
    }
}

/// Asks whether an argument of a message can be left to the reader: a call of `capture` finds
/// [`Captures`] if so, and [`CapturesNothing`], one reference further away, if not.
#[derive(Debug)]
pub struct Probe<'a, T: ?Sized>(pub &'a T);

/// Keeps an argument as it is.
pub trait Captures<'a> {
    /// The argument.
    type Captured;
    /// The argument.
    fn capture(&self) -> Self::Captured;
}

impl<'a, T: Deferrable + ?Sized> Captures<'a> for Probe<'a, T> {
    type Captured = &'a T;
    #[inline(always)]
    fn capture(&self) -> &'a T {
        self.0
    }
}

/// Says that an argument must be formatted where it is logged.
pub trait CapturesNothing {
    /// Nothing.
    fn capture(&self) -> Opaque;
}

impl<T: ?Sized> CapturesNothing for &Probe<'_, T> {
    #[inline(always)]
    fn capture(&self) -> Opaque {
        Opaque
    }
}

/// An argument that only `format_args!` can read.
#[derive(Debug, Clone, Copy)]
pub struct Opaque;

impl<L: List> List for (L, Opaque) {
    const COUNT: usize = L::COUNT;
    const KINDS: u64 = L::KINDS;
    const FORMATS: bool = L::FORMATS;
    const DEFERRABLE: bool = false;
    type Ready = L::Ready;
    #[inline(always)]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready {
        self.0.prepare(scratch)
    }
    fn kinds(out: &mut Vec<u8>) {
        L::kinds(out);
    }
}

/// A list ready to be copied, with the text that it points into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded<'a, L> {
    list: L,
    text: &'a [u8],
    /// True when each value is preceded by its kind.
    dynamic: bool,
    /// The longest that a variable part may be.
    cap: usize,
}

impl<'a, L: ReadyList> Encoded<'a, L> {
    #[inline(always)]
    pub(crate) fn new(list: L, text: &'a [u8], dynamic: bool) -> Self {
        Self { list, text, dynamic, cap: usize::MAX }
    }

    /// The same with a kind before each value.
    pub(crate) fn dynamic(self) -> Self {
        Self { dynamic: true, ..self }
    }
}

impl<L: ReadyList> Args for Encoded<'_, L> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.list.len(self.dynamic, self.cap, self.text)
    }

    #[inline(always)]
    fn write(&self, out: &mut Cursor<'_>) {
        self.list.write(self.dynamic, self.cap, self.text, out);
    }

    #[cold]
    fn limited(&self, limit: usize) -> impl Args {
        // The largest cap under which all fits; the lengths grow with it.
        let (mut fits, mut above) = (0, self.list.longest().min(self.cap).saturating_add(1));
        while above - fits > 1 {
            let cap = fits + (above - fits) / 2;
            if self.list.len(self.dynamic, cap, self.text) <= limit {
                fits = cap;
            } else {
                above = cap;
            }
        }
        Self { cap: fits, ..*self }
    }
}
