//! Buffer: where the values of one record are put together.
//!
//! All of it is initialised, and a value goes where the last one ended: so putting one is a look
//! for room and a store, and everything else is cold. Each thread keeps one buffer; who finds it
//! taken (a value that logs while it is being formatted, a thread that has ended) makes its own.

use std::cell::Cell;
use std::fmt::{self, Write as _};

use super::super::raw::{copy, cut_text};
use super::super::scratch::{TEXT_BYTES_MAX, wipe};

/// A buffer that has grown beyond this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 256 << 10;
const BYTES_MIN: usize = 64;

thread_local! {
    static KEPT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Values behind each other.
#[derive(Debug)]
pub(super) struct Buffer {
    /// The values, and room for more.
    bytes: Box<[u8]>,
    /// Where the next one goes.
    len: usize,
}

impl Buffer {
    /// This thread's, empty.
    #[inline(always)]
    pub(super) fn take() -> Self {
        let bytes = match KEPT.try_with(Cell::take) {
            Ok(Some(bytes)) => bytes,
            _ => Box::default(),
        };
        Self { bytes, len: 0 }
    }

    /// Keeps it for the thread's next record.
    #[inline(always)]
    pub(super) fn keep(self) {
        if self.bytes.len() <= KEPT_BYTES_MAX {
            // An error means that the thread-local is gone: then it is freed here.
            let _ = KEPT.try_with(|kept| kept.set(Some(self.bytes)));
        }
    }

    /// The values.
    #[inline(always)]
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Room for `len` bytes, if there is.
    #[inline(always)]
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let room = self.bytes.get_mut(self.len..self.len + len)?;
        self.len += len;
        Some(room)
    }

    /// Room for `len` bytes.
    pub(super) fn make_room(&mut self, len: usize) -> &mut [u8] {
        let at = self.len;
        if at + len > self.bytes.len() {
            self.grow(len);
        }
        self.len += len;
        &mut self.bytes[at..at + len]
    }

    /// Makes it larger by `more` at least, and leaves no copy of the values so far.
    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (self.len + more).max(2 * self.bytes.len()).max(BYTES_MIN);
        let mut larger = vec![0; len].into_boxed_slice();
        // Of a text's length, which comes last, there may be no byte yet.
        let filled = self.len.min(self.bytes.len());
        larger[..filled].copy_from_slice(&self.bytes[..filled]);
        wipe(&mut self.bytes);
        self.bytes = larger;
    }

    /// Puts bytes whose number is known to the compiler.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, value: [u8; N]) {
        match self.room(N).and_then(|room| room.first_chunk_mut()) {
            Some(room) => *room = value,
            None => self.put_growing(value),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_growing<const N: usize>(&mut self, value: [u8; N]) {
        self.make_room(N).copy_from_slice(&value);
    }

    /// Puts bytes behind their number; false when they are too many, and the first were put alone.
    #[inline(always)]
    pub(super) fn put_sized(&mut self, value: &[u8]) -> bool {
        if value.len() <= TEXT_BYTES_MAX
            && let Some(room) = self.room(4 + value.len())
            && let Some((size, room)) = room.split_first_chunk_mut()
        {
            *size = (value.len() as u32).to_le_bytes();
            copy(value, room);
            return true;
        }
        self.put_sized_growing(value)
    }

    /// What no record holds is cut here already, between two characters in case it is text.
    #[cold]
    #[inline(never)]
    fn put_sized_growing(&mut self, value: &[u8]) -> bool {
        let cut = cut_text(value, TEXT_BYTES_MAX);
        self.put((cut.len() as u32).to_le_bytes());
        self.make_room(cut.len()).copy_from_slice(cut);
        cut.len() == value.len()
    }

    /// Puts a text behind its length; false when it is too long, and its beginning was put alone.
    #[inline(always)]
    pub(super) fn put_text(&mut self, text: fmt::Arguments<'_>) -> bool {
        let begin = self.len + 4;
        self.len = begin;
        let mut writer = Writer { buffer: self, end: begin + TEXT_BYTES_MAX, is_whole: true };
        // What an implementation wrote before it failed is worth more than nothing.
        let _ = writer.write_fmt(text);
        let is_whole = writer.is_whole;
        if self.bytes.len() < begin {
            self.grow(0); // nothing was written
        }
        let len = (self.len - begin) as u32;
        if let Some(size) = self.bytes.get_mut(begin - 4..).and_then(<[u8]>::first_chunk_mut) {
            *size = len.to_le_bytes();
        }
        is_whole
    }
}

/// Writes a text up to an end.
struct Writer<'b> {
    buffer: &'b mut Buffer,
    end: usize,
    is_whole: bool,
}

impl fmt::Write for Writer<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.buffer.len + text.len() <= self.end
            && let Some(room) = self.buffer.room(text.len())
        {
            copy(text.as_bytes(), room);
            return Ok(());
        }
        self.write_growing(text)
    }
}

impl Writer<'_> {
    #[cold]
    #[inline(never)]
    fn write_growing(&mut self, text: &str) -> fmt::Result {
        let cut = cut_text(text.as_bytes(), self.end.saturating_sub(self.buffer.len));
        self.buffer.make_room(cut.len()).copy_from_slice(cut);
        if cut.len() == text.len() {
            return Ok(());
        }
        // Nothing may follow a cut, even where a shorter piece would still find room.
        (self.end, self.is_whole) = (0, false);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn values_lie_behind_each_other_however_often_the_buffer_grows() {
        let mut buffer = Buffer { bytes: Box::default(), len: 0 };
        let mut expected = Vec::new();
        assert!(buffer.put_text(format_args!("")));
        expected.extend(sized(""));
        for n in 0..100_usize {
            let text = "ä".repeat(n);
            buffer.put([n as u8; 3]);
            expected.extend([n as u8; 3]);
            assert!(buffer.put_sized(text.as_bytes()));
            expected.extend(sized(&text));
            assert!(buffer.put_text(format_args!("{text}|{n}")));
            expected.extend(sized(&format!("{text}|{n}")));
            buffer.make_room(n).fill(7);
            expected.extend(vec![7; n]);
            assert_eq!(buffer.filled(), expected);
        }
    }

    #[test]
    fn texts_longer_than_any_record_end_between_two_characters_and_say_so() {
        let mut buffer = Buffer { bytes: Box::default(), len: 0 };
        let long = format!("a{}", "ä".repeat(TEXT_BYTES_MAX / 2));
        let whole = &long[..TEXT_BYTES_MAX - 1];
        assert!(!buffer.put_sized(long.as_bytes()));
        assert_eq!(buffer.filled(), sized(whole));
        assert!(!buffer.put_text(format_args!("{long}{}", "b")));
        assert_eq!(buffer.filled(), [sized(whole), sized(whole)].concat());
        assert!(buffer.put_sized(b"behind"));
        assert!(buffer.filled().ends_with(&sized("behind")));
    }

    #[test]
    fn a_thread_keeps_its_buffer_and_a_value_that_logs_gets_another() {
        let mut outer = Buffer::take();
        outer.put([1; 8]);
        let mut inner = Buffer::take();
        inner.put([2; 8]);
        inner.keep();
        assert_eq!(outer.filled(), [1; 8]);
        let kept = outer.bytes.as_ptr();
        outer.keep();
        let again = Buffer::take();
        assert_eq!((again.bytes.as_ptr(), again.filled()), (kept, &[][..]));
    }
}
