//! Scratch: the thread's buffer in which text is formatted before the lane is touched.
//!
//! The buffer is taken out of its thread-local while it is used. A `Debug` implementation that
//! logs finds the place empty and makes a buffer of its own; of the two the larger one stays. When
//! the thread-local is gone (another destructor logs), each call makes its own.
//!
//! # Invariants
//!
//! - **T1** A text that holds what is to be redacted leaves no copy behind: who logs it wipes the
//!   buffer, a buffer that grows wipes what it leaves, and a panic wipes what it finds.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};

use crate::record::RECORD_BYTES_MAX;

/// The longest text of one value.
pub(crate) const TEXT_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// A buffer that has grown beyond this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 256 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where in the scratch a text lies.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    start: usize,
    len: usize,
}

impl Text {
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The text itself; `scratch` is what it was formatted into.
    #[inline(always)]
    pub(crate) fn of<'a>(&self, scratch: &'a [u8]) -> &'a [u8] {
        scratch.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// Collects the texts of one call.
#[derive(Debug)]
pub struct Scratch<'a> {
    buffer: &'a mut Vec<u8>,
    truncated: bool,
}

impl<'a> Scratch<'a> {
    #[inline(always)]
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer, truncated: false }
    }

    /// True when a text was longer than a record may be.
    #[inline(always)]
    pub(crate) fn truncated(&self) -> bool {
        self.truncated
    }

    /// The texts so far.
    #[inline(always)]
    pub(crate) fn into_text(self) -> &'a [u8] {
        self.buffer
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Makes room for `more`, and leaves no copy of the texts so far (T1).
    #[cold]
    fn grow(&mut self, more: usize) {
        let capacity = (self.buffer.len() + more).max(2 * self.buffer.capacity()).max(64);
        let mut larger = Vec::with_capacity(capacity);
        larger.extend_from_slice(self.buffer);
        wipe(self.buffer);
        *self.buffer = larger;
    }

    /// Appends what `write` writes, cut at [`TEXT_BYTES_MAX`].
    #[inline]
    pub(crate) fn format(
        &mut self,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> Text {
        let start = self.buffer.len();
        let mut writer = Writer { end: start + TEXT_BYTES_MAX, scratch: self };
        // What an implementation wrote before it failed is worth more than nothing.
        let _ = write(&mut writer);
        Text { start, len: self.buffer.len() - start }
    }

    /// Appends errors as a list of sized texts.
    pub(crate) fn list<'e>(
        &mut self,
        errors: impl Iterator<Item = &'e (dyn Error + 'static)>,
    ) -> Text {
        let start = self.buffer.len();
        for error in errors {
            let at = self.buffer.len();
            if at + 4 - start >= TEXT_BYTES_MAX {
                self.truncated = true;
                break;
            }
            self.append(&[0; 4]);
            let mut writer = Writer { end: start + TEXT_BYTES_MAX, scratch: self };
            let _ = write!(writer, "{error}");
            let len = (self.buffer.len() - at - 4) as u32;
            self.buffer[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        Text { start, len: self.buffer.len() - start }
    }
}

/// Overwrites bytes of which no copy may stay.
#[cold]
#[inline(never)]
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // As if somebody looked, so that the compiler leaves the zeros where they are.
    std::hint::black_box(bytes);
}

struct Writer<'s, 'a> {
    scratch: &'s mut Scratch<'a>,
    end: usize,
}

impl fmt::Write for Writer<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.end.saturating_sub(self.scratch.buffer.len());
        if text.len() <= room {
            self.scratch.append(text.as_bytes());
            return Ok(());
        }
        let mut len = room;
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.scratch.append(&text.as_bytes()[..len]);
        // Nothing may follow a cut, even where a shorter piece would still find room.
        self.end = 0;
        self.scratch.truncated = true;
        Err(fmt::Error)
    }
}

/// Gives the buffer back, also when a `Debug` implementation panics.
struct Loan(Vec<u8>);

impl Drop for Loan {
    fn drop(&mut self) {
        let mut mine = std::mem::take(&mut self.0);
        if !mine.is_empty() {
            wipe(&mut mine); // a panic came before its call was through (T1)
        }
        if mine.capacity() > KEPT_BYTES_MAX {
            return;
        }
        mine.clear();
        // An error means that the thread-local is gone: then the buffer is freed here.
        let _ = BUFFER.try_with(|place| {
            let other = place.take();
            place.set(if other.capacity() > mine.capacity() { other } else { mine });
        });
    }
}

/// Calls `job` with an empty buffer of this thread.
#[inline]
pub(crate) fn with<T>(job: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut loan = Loan(BUFFER.try_with(Cell::take).unwrap_or_default());
    let done = job(&mut loan.0);
    loan.0.clear();
    done
}
