//! Raw: the encodings that a value can have in a record, and how each is written.
#![expect(unsafe_code, reason = "tells the compiler how long a slice can be; V1")]
//!
//! A value becomes a [`Raw`] when the call is made, a [`Ready`] once its text has been formatted,
//! and bytes when its length is known and the lane has made room.
//!
//! # Invariants
//!
//! - **V1** No slice has more than `isize::MAX` bytes: the language says so of every reference.

use std::error::Error;
use std::fmt;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::scratch::{Scratch, Text};
use crate::record::Kind;

/// An encoding that [`crate::Value`] can choose. Sealed: the set is part of the file format.
pub trait Raw: Encode {}
impl<T: Encode> Raw for T {}

/// The working half of [`Raw`].
pub trait Encode: Sized {
    /// Number of the [`Kind`], with [`Kind::OPTIONAL`] where the value may be absent.
    const KIND: u8;
    /// True when it is text still to be made.
    const FORMATS: bool = false;
    /// What is left when nothing is to be formatted any more.
    type Ready: Ready;
    /// Formats what is to be formatted.
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready;
}

/// A value that can be measured and copied; `cap` is the longest that its variable part may be.
pub trait Ready: Copy {
    /// False for an absent value.
    #[inline(always)]
    fn is_present(&self) -> bool {
        true
    }
    /// Bytes of the value when it is present.
    fn len(&self, cap: usize, text: &[u8]) -> usize;
    /// Bytes of its variable part.
    #[inline(always)]
    fn variable(&self) -> usize {
        0
    }
    /// Writes [`Ready::len`] bytes.
    fn write(&self, cap: usize, text: &[u8], out: &mut Cursor<'_>);
}

/// The place where a payload is written, front to back.
#[derive(Debug)]
pub struct Cursor<'a> {
    out: &'a mut [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor over exactly the payload.
    #[inline(always)]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out }
    }

    /// Bytes not yet written.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.out.len()
    }

    /// Copies bytes whose number is known to the compiler.
    #[inline(always)]
    pub fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let out = std::mem::take(&mut self.out);
        debug_assert!(out.len() >= N, "the payload was measured");
        if let Some((head, rest)) = out.split_first_chunk_mut() {
            *head = bytes;
            self.out = rest;
        }
    }

    /// Copies bytes.
    #[inline(always)]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        let out = std::mem::take(&mut self.out);
        debug_assert!(out.len() >= bytes.len(), "the payload was measured");
        if let Some((head, rest)) = out.split_at_mut_checked(bytes.len()) {
            copy(bytes, head);
            self.out = rest;
        }
    }
}

/// A byte of memory that is filled, where there may have been none.
pub(super) trait Byte: Copy {
    fn of(byte: u8) -> Self;
}

impl Byte for u8 {
    #[inline(always)]
    fn of(byte: u8) -> Self {
        byte
    }
}

impl Byte for MaybeUninit<u8> {
    #[inline(always)]
    fn of(byte: u8) -> Self {
        Self::new(byte)
    }
}

/// Copies a slice into another of the same length.
#[inline(always)]
pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    if !copy_short(from, to) {
        to.copy_from_slice(from);
    }
}

/// The same for 8 to 32 bytes; else does nothing. Most texts are as short, and for those two moves
/// that overlap cost a quarter of what the call of memcpy does.
#[inline(always)]
pub(super) fn copy_short<B: Byte>(from: &[u8], to: &mut [B]) -> bool {
    copy_ends::<8, B>(from, to) || copy_ends::<16, B>(from, to)
}

/// Copies what is `N` to `2 * N` bytes long by its first and its last `N`; else does nothing.
#[inline(always)]
fn copy_ends<const N: usize, B: Byte>(from: &[u8], to: &mut [B]) -> bool {
    if from.len() > 2 * N {
        return false;
    }
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = first.map(B::of);
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = last.map(B::of);
    }
    true
}

macro_rules! fixed {
    ($($type:ty, $kind:ident, |$v:ident| $bytes:expr;)*) => { $(
        impl Encode for $type {
            const KIND: u8 = Kind::$kind as u8;
            type Ready = Self;
            #[inline(always)]
            fn prepare(self, _: &mut Scratch<'_>) -> Self {
                self
            }
        }

        impl Ready for $type {
            #[inline(always)]
            fn len(&self, _: usize, _: &[u8]) -> usize {
                const { Kind::$kind.fixed_len().expect("the kind has a fixed length") }
            }
            #[inline(always)]
            fn write(&self, _: usize, _: &[u8], out: &mut Cursor<'_>) {
                let $v = *self;
                out.put($bytes);
            }
        }
    )* };
}

fixed! {
    u8, U8, |v| [v];
    u16, U16, |v| v.to_le_bytes();
    u32, U32, |v| v.to_le_bytes();
    u64, U64, |v| v.to_le_bytes();
    u128, U128, |v| v.to_le_bytes();
    i8, I8, |v| v.to_le_bytes();
    i16, I16, |v| v.to_le_bytes();
    i32, I32, |v| v.to_le_bytes();
    i64, I64, |v| v.to_le_bytes();
    i128, I128, |v| v.to_le_bytes();
    f32, F32, |v| v.to_le_bytes();
    f64, F64, |v| v.to_le_bytes();
    bool, Bool, |v| [u8::from(v)];
    char, Char, |v| u32::from(v).to_le_bytes();
    super::field::Empty, Empty, |_v| [];
}

impl Encode for Duration {
    const KIND: u8 = Kind::Duration as u8;
    type Ready = Self;
    #[inline(always)]
    fn prepare(self, _: &mut Scratch<'_>) -> Self {
        self
    }
}

impl Ready for Duration {
    #[inline(always)]
    fn len(&self, _: usize, _: &[u8]) -> usize {
        12
    }
    #[inline(always)]
    fn write(&self, _: usize, _: &[u8], out: &mut Cursor<'_>) {
        out.put(self.as_secs().to_le_bytes());
        out.put(self.subsec_nanos().to_le_bytes());
    }
}

impl Encode for &str {
    const KIND: u8 = Kind::Str as u8;
    type Ready = Self;
    #[inline(always)]
    fn prepare(self, _: &mut Scratch<'_>) -> Self {
        self
    }
}

impl Ready for &str {
    #[inline(always)]
    fn len(&self, cap: usize, _: &[u8]) -> usize {
        4 + len_of(cut_text(self.as_bytes(), cap))
    }
    #[inline(always)]
    fn variable(&self) -> usize {
        str::len(self)
    }
    #[inline(always)]
    fn write(&self, cap: usize, _: &[u8], out: &mut Cursor<'_>) {
        put_sized(cut_text(self.as_bytes(), cap), out);
    }
}

impl Encode for &[u8] {
    const KIND: u8 = Kind::Bytes as u8;
    type Ready = Self;
    #[inline(always)]
    fn prepare(self, _: &mut Scratch<'_>) -> Self {
        self
    }
}

impl Ready for &[u8] {
    #[inline(always)]
    fn len(&self, cap: usize, _: &[u8]) -> usize {
        4 + len_of(self).min(cap)
    }
    #[inline(always)]
    fn variable(&self) -> usize {
        <[u8]>::len(self)
    }
    #[inline(always)]
    fn write(&self, cap: usize, _: &[u8], out: &mut Cursor<'_>) {
        put_sized(&self[..<[u8]>::len(self).min(cap)], out);
    }
}

impl<T: Encode> Encode for Option<T> {
    const KIND: u8 = T::KIND | Kind::OPTIONAL;
    const FORMATS: bool = T::FORMATS;
    type Ready = Option<T::Ready>;
    #[inline(always)]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Self::Ready {
        self.map(|value| value.prepare(scratch))
    }
}

impl<T: Ready> Ready for Option<T> {
    // `Some(None)` is as absent as `None`: the kind has one flag for both.
    #[inline(always)]
    fn is_present(&self) -> bool {
        self.as_ref().is_some_and(T::is_present)
    }
    #[inline(always)]
    fn len(&self, cap: usize, text: &[u8]) -> usize {
        self.as_ref().map_or(0, |value| value.len(cap, text))
    }
    #[inline(always)]
    fn variable(&self) -> usize {
        self.as_ref().map_or(0, T::variable)
    }
    #[inline(always)]
    fn write(&self, cap: usize, text: &[u8], out: &mut Cursor<'_>) {
        if let Some(value) = self {
            value.write(cap, text, out);
        }
    }
}

/// Text that a closure or a format trait makes.
#[derive(Debug, Clone, Copy)]
pub struct Formatted<T>(pub T);

/// Something that writes itself as text.
pub trait Format {
    /// Writes the text; an error means only that no more is wanted.
    ///
    /// # Errors
    ///
    /// When the writer has had enough, or as the user's implementation says.
    fn format(self, out: &mut dyn fmt::Write) -> fmt::Result;
}

impl<T: Format> Encode for Formatted<T> {
    const KIND: u8 = Kind::Text as u8;
    const FORMATS: bool = true;
    type Ready = Text;
    #[inline]
    fn prepare(self, scratch: &mut Scratch<'_>) -> Text {
        scratch.format(|out| self.0.format(out))
    }
}

impl Ready for Text {
    #[inline]
    fn len(&self, cap: usize, text: &[u8]) -> usize {
        4 + cut_text(self.of(text), cap).len()
    }
    #[inline]
    fn variable(&self) -> usize {
        Text::len(self)
    }
    #[inline]
    fn write(&self, cap: usize, text: &[u8], out: &mut Cursor<'_>) {
        put_sized(cut_text(self.of(text), cap), out);
    }
}

/// An error and its sources.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

/// The encoded texts of a [`Chain`].
#[derive(Debug, Clone, Copy)]
pub struct ChainText(Text);

/// An error may name itself as its source; no chain of sense is longer.
const CHAIN_LEN_MAX: usize = 64;

impl<'e> Encode for Chain<'e> {
    const KIND: u8 = Kind::Error as u8;
    const FORMATS: bool = true;
    type Ready = ChainText;
    fn prepare(self, scratch: &mut Scratch<'_>) -> ChainText {
        let errors = std::iter::successors(Some(self.0), |error: &&'e (dyn Error + 'static)| {
            let error: &'e (dyn Error + 'static) = *error;
            error.source()
        });
        ChainText(scratch.list(errors.take(CHAIN_LEN_MAX)))
    }
}

impl Ready for ChainText {
    fn len(&self, cap: usize, text: &[u8]) -> usize {
        let (whole, part) = cut_chain(self.0.of(text), cap);
        4 + whole.len() + if part.is_empty() { 0 } else { 4 + part.len() }
    }
    fn variable(&self) -> usize {
        self.0.len()
    }
    fn write(&self, cap: usize, text: &[u8], out: &mut Cursor<'_>) {
        let (whole, part) = cut_chain(self.0.of(text), cap);
        let len = Ready::len(self, cap, text) - 4;
        out.put((len as u32).to_le_bytes());
        out.put_slice(whole);
        if !part.is_empty() {
            put_sized(part, out);
        }
    }
}

/// Length of a slice, with its bound: one text and what is fixed about the others do not wrap when
/// they are summed up, and the compiler drops the checks of each value against that sum (RFC.md).
#[inline(always)]
fn len_of(bytes: &[u8]) -> usize {
    let len = bytes.len();
    // SAFETY: (V1)
    unsafe { std::hint::assert_unchecked(len <= isize::MAX as usize) };
    len
}

#[inline(always)]
pub(super) fn put_sized(bytes: &[u8], out: &mut Cursor<'_>) {
    out.put((bytes.len() as u32).to_le_bytes());
    out.put_slice(bytes);
}

/// The longest start of a text that ends between two characters and fits `cap`.
#[inline(always)]
pub(super) fn cut_text(bytes: &[u8], cap: usize) -> &[u8] {
    if bytes.len() <= cap { bytes } else { cut_between_chars(bytes, cap) }
}

#[cold]
fn cut_between_chars(bytes: &[u8], cap: usize) -> &[u8] {
    let mut end = cap;
    while end > 0 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &bytes[..end]
}

/// The texts of a chain that fit `cap` whole, and the start of the next that still fits.
pub(super) fn cut_chain(chain: &[u8], cap: usize) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(len) = chain.get(at..).and_then(<[u8]>::first_chunk) {
        let text = at + 4;
        let end = text + u32::from_le_bytes(*len) as usize;
        if end > cap {
            let part = chain.get(text..end).unwrap_or_default();
            return (&chain[..at], cut_text(part, cap.saturating_sub(text)));
        }
        at = end;
    }
    (chain, &[])
}
