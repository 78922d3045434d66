//! Buffer: where the values of one record are put together.
#![expect(unsafe_code, reason = "memory of the stack that is filled as values come; B1, B2")]
//!
//! It is a room on the stack of who logs: nothing is fetched, kept or cleared for a record, and a
//! value goes where the last one ended, so that putting one is a look for room and a store. What
//! finds no room there moves to a larger one, which the thread keeps for its next long record.
//!
//! No value is put that is to be redacted, so nothing here is wiped.
//!
//! # Invariants
//!
//! - **B1** `begin`, `at` and `end` lie within one room, in this order, and the bytes before `at` are
//!   initialised.
//! - **B2** The room is borrowed, and [`ROOM_BYTES`] long; or it is longer, and a box that the buffer
//!   owns.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::super::raw::{copy_short, cut_text};
use super::super::scratch::TEXT_BYTES_MAX;

/// A record of some twenty fields with short texts finds room.
const ROOM_BYTES: usize = 512;
/// A larger room that has grown beyond this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Where a buffer begins.
pub(super) type Room = [MaybeUninit<u8>; ROOM_BYTES];

/// A room on the stack, which costs nothing.
pub(super) const ROOM: Room = [MaybeUninit::uninit(); ROOM_BYTES];

type Larger = Box<[MaybeUninit<u8>]>;

thread_local! {
    static KEPT: Cell<Option<Larger>> = const { Cell::new(None) };
}

/// Values behind each other.
#[derive(Debug)]
pub(super) struct Buffer<'r> {
    begin: *mut MaybeUninit<u8>,
    /// Where the next value goes.
    at: *mut MaybeUninit<u8>,
    end: *mut MaybeUninit<u8>,
    room: PhantomData<&'r mut Room>,
}

impl<'r> Buffer<'r> {
    /// An empty one.
    #[inline(always)]
    pub(super) fn new(room: &'r mut Room) -> Self {
        let room = room.as_mut_ptr_range();
        Self { begin: room.start, at: room.start, end: room.end, room: PhantomData }
    }

    /// The values.
    #[inline(always)]
    pub(super) fn filled(&self) -> &[u8] {
        // SAFETY: (B1)
        unsafe { std::slice::from_raw_parts(self.begin.cast(), self.len()) }
    }

    /// How many bytes there are.
    #[inline(always)]
    fn len(&self) -> usize {
        self.at.addr() - self.begin.addr() // (B1)
    }

    /// How many there may be.
    #[inline(always)]
    fn room_len(&self) -> usize {
        self.end.addr() - self.begin.addr() // (B1)
    }

    /// How many more find room.
    #[inline(always)]
    fn left(&self) -> usize {
        self.end.addr() - self.at.addr() // (B1)
    }

    /// Puts what is short and finds room.
    #[inline(always)]
    fn put_short(&mut self, bytes: &[u8]) -> bool {
        if self.left() < bytes.len() {
            return false;
        }
        // SAFETY: looked at, and B1: nobody else has these.
        let is_put = copy_short(bytes, unsafe { std::slice::from_raw_parts_mut(self.at, bytes.len()) });
        if is_put {
            // SAFETY: looked at.
            self.at = unsafe { self.at.add(bytes.len()) }; // (B1)
        }
        is_put
    }

    /// # Safety
    ///
    /// They find room.
    #[inline(always)]
    unsafe fn put_array<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(N <= self.left());
        // SAFETY: by the caller, and B1: nobody else has these.
        unsafe { self.at.cast::<[u8; N]>().write(bytes) };
        // SAFETY: by the caller.
        self.at = unsafe { self.at.add(N) }; // (B1)
    }

    /// Puts bytes, wherever they find room.
    pub(super) fn put_anyway(&mut self, bytes: &[u8]) {
        if self.left() < bytes.len() {
            self.grow(bytes.len());
        }
        // SAFETY: looked at, and else made.
        unsafe { self.at.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
        // SAFETY: as above.
        self.at = unsafe { self.at.add(bytes.len()) }; // (B1)
    }

    /// Puts so many zeros, to be replaced.
    #[inline(always)]
    pub(super) fn make_room(&mut self, len: usize) -> &mut [u8] {
        if self.left() < len {
            self.grow(len);
        }
        let zeros = self.at;
        // SAFETY: looked at, and else made; nobody else has these.
        unsafe { std::slice::from_raw_parts_mut(zeros, len) }.fill(MaybeUninit::new(0));
        // SAFETY: as above.
        self.at = unsafe { zeros.add(len) }; // (B1)
        // SAFETY: initialised, and borrowed as long as the buffer.
        unsafe { std::slice::from_raw_parts_mut(zeros.cast(), len) }
    }

    /// Makes room for `more` bytes at least.
    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (self.len() + more).max(2 * self.room_len());
        let kept = KEPT.try_with(Cell::take).ok().flatten().filter(|kept| kept.len() >= len);
        let mut room = kept.unwrap_or_else(|| Box::new_uninit_slice(len));
        debug_assert!(room.len() > ROOM_BYTES && room.len() > self.len());
        // SAFETY: it is longer, and another.
        unsafe { self.begin.copy_to_nonoverlapping(room.as_mut_ptr(), self.len()) };
        let (len, room) = (self.len(), Box::leak(room).as_mut_ptr_range());
        self.give_back();
        // SAFETY: it is longer than what was copied.
        (self.begin, self.at, self.end) = (room.start, unsafe { room.start.add(len) }, room.end);
    }

    /// Gives a room that it owns back, or keeps it for the thread's next long record.
    ///
    /// Whoever calls it puts another in its place, or is the last to have the buffer.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        if self.room_len() == ROOM_BYTES {
            return;
        }
        let room = std::ptr::slice_from_raw_parts_mut(self.begin, self.room_len());
        // SAFETY: (B2) it came from `Box::leak`, and by the caller nobody has it any more.
        let room: Larger = unsafe { Box::from_raw(room) };
        if room.len() <= KEPT_BYTES_MAX {
            // An error means that the thread-local is gone: then it is freed here.
            let _ = KEPT.try_with(|kept| kept.set(Some(room)));
        }
    }

    /// Puts bytes whose number is known to the compiler.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, value: [u8; N]) {
        if self.left() < N {
            return self.put_growing(value);
        }
        // SAFETY: looked at.
        unsafe { self.put_array(value) };
    }

    #[cold]
    #[inline(never)]
    fn put_growing<const N: usize>(&mut self, value: [u8; N]) {
        self.put_anyway(&value);
    }

    /// Puts bytes behind their number; false when they are too many, and the first were put alone.
    #[inline(always)]
    pub(super) fn put_sized(&mut self, value: &[u8]) -> bool {
        let at = self.at;
        if self.left() >= 4 {
            // SAFETY: looked at.
            unsafe { self.put_array((value.len() as u32).to_le_bytes()) };
            if self.put_short(value) {
                return true;
            }
            self.at = at;
        }
        self.put_sized_anyway(value)
    }

    /// What no record holds is cut here already, between two characters in case it is text.
    #[inline(never)]
    fn put_sized_anyway(&mut self, value: &[u8]) -> bool {
        let cut = cut_text(value, TEXT_BYTES_MAX);
        self.put_anyway(&(cut.len() as u32).to_le_bytes());
        self.put_anyway(cut);
        cut.len() == value.len()
    }

    /// Puts a text behind its length; false when it is too long, and its beginning was put alone.
    #[inline(always)]
    pub(super) fn put_text(&mut self, text: fmt::Arguments<'_>) -> bool {
        self.put([0; 4]);
        let begin = self.len();
        let mut writer = Writer { buffer: self, begin };
        // What an implementation wrote before it failed is worth more than nothing.
        let _ = writer.write_fmt(text);
        let is_whole = writer.begin == begin;
        let len = (self.len() - begin) as u32;
        // SAFETY: (B1) the four bytes before the text, which were put above.
        let size = unsafe { self.begin.add(begin - 4) };
        // SAFETY: as above.
        unsafe { size.cast::<[u8; 4]>().write(len.to_le_bytes()) };
        is_whole
    }
}

impl Drop for Buffer<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.room_len() != ROOM_BYTES {
            self.give_back();
        }
    }
}

/// Writes a text up to the longest that a record may have.
struct Writer<'w, 'r> {
    buffer: &'w mut Buffer<'r>,
    /// Where the text begins; `usize::MAX` once it was cut.
    begin: usize,
}

impl fmt::Write for Writer<'_, '_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A room on the stack is shorter than the longest text.
        if self.buffer.room_len() == ROOM_BYTES && self.buffer.put_short(text.as_bytes()) {
            return Ok(());
        }
        self.write_long(text)
    }
}

impl Writer<'_, '_> {
    #[inline(never)]
    fn write_long(&mut self, text: &str) -> fmt::Result {
        // Nothing may follow a cut, even where a shorter piece would still find room.
        let written = self.buffer.len().checked_sub(self.begin).ok_or(fmt::Error)?;
        let cut = cut_text(text.as_bytes(), TEXT_BYTES_MAX.saturating_sub(written));
        self.buffer.put_anyway(cut);
        if cut.len() == text.len() {
            return Ok(());
        }
        self.begin = usize::MAX;
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
        let mut room = ROOM;
        let mut buffer = Buffer::new(&mut room);
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
        let mut room = ROOM;
        let mut buffer = Buffer::new(&mut room);
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
    fn a_thread_keeps_a_larger_room_and_a_value_that_logs_meanwhile_gets_another() {
        let long = |room: &mut Room| {
            let mut buffer = Buffer::new(room);
            buffer.put([1; 8]);
            assert!(buffer.put_sized(&[2; ROOM_BYTES]));
            assert_eq!(buffer.filled().len(), 12 + ROOM_BYTES);
            buffer.begin
        };
        let first = long(&mut { ROOM });
        assert_eq!(long(&mut { ROOM }), first);
        let mut room = ROOM;
        let mut outer = Buffer::new(&mut room);
        outer.make_room(ROOM_BYTES + 1).fill(3);
        assert_eq!(outer.begin, first);
        assert_ne!(long(&mut { ROOM }), first);
        assert_eq!(outer.filled(), [3; ROOM_BYTES + 1]);
    }

    #[test]
    fn a_room_that_has_grown_beyond_a_bound_is_not_kept() {
        let mut room = ROOM;
        let mut buffer = Buffer::new(&mut room);
        buffer.make_room(KEPT_BYTES_MAX + 1);
        drop(buffer);
        assert!(KEPT.take().is_none());
    }

    /// Whatever is put in whatever order, as a plain list of bytes would have it.
    #[test]
    fn any_values_in_any_order_lie_as_in_a_list() {
        let mut state = 0x9e37_79b9_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let text = "ab€".repeat(200);
        for _ in 0..3_000 {
            let mut room = ROOM;
            let mut buffer = Buffer::new(&mut room);
            let mut expected = Vec::new();
            for _ in 0..next(24) {
                let len = [next(9), next(40), next(120), next(600)][next(4) as usize] as usize;
                let len = (0..=len).rev().find(|len| text.is_char_boundary(*len)).unwrap();
                let part = &text[..len];
                match next(5) {
                    0 => {
                        buffer.put([7; 16]);
                        expected.extend([7; 16]);
                    }
                    1 => {
                        assert!(buffer.put_sized(part.as_bytes()));
                        expected.extend(sized(part));
                    }
                    2 => {
                        assert!(buffer.put_text(format_args!("{part}{len}{part}")));
                        expected.extend(sized(&format!("{part}{len}{part}")));
                    }
                    3 => {
                        buffer.put([3; 1]);
                        expected.extend([3; 1]);
                    }
                    _ => {
                        buffer.make_room(len).fill(9);
                        expected.extend(vec![9; len]);
                    }
                }
                assert_eq!(buffer.filled(), expected);
            }
        }
    }
}
