//! Io buffer: the kinds of buffers that operations take, as one type.

#[cfg(target_os = "linux")]
use super::buffer::BUFFER_BYTES_MAX;
use super::{LentBuffer, PinnedBuffer, PooledBuffer};
#[cfg(target_os = "linux")]
use super::uring::RegisteredBuffer;

/// A buffer on its way through an operation. All kinds own memory that stays where it is when the
/// value moves.
#[derive(Debug)]
#[non_exhaustive]
pub enum IoBuffer {
    /// Aligned memory.
    Pinned(PinnedBuffer),
    /// Aligned memory of a pool.
    Pooled(PooledBuffer),
    /// Any bytes; reads fill up to its length, not its capacity.
    Vec(Vec<u8>),
    /// Memory that the kernel has mapped already.
    #[cfg(target_os = "linux")]
    Registered(RegisteredBuffer),
    /// Memory that the crate's own parts lend.
    #[doc(hidden)]
    Lent(LentBuffer),
    /// The buffers of a vectored operation.
    Many(Vec<IoBuffer>),
}

/// Every operation moves one into its slot and out again.
const _: () = assert!(size_of::<IoBuffer>() <= 32);

impl IoBuffer {
    /// Bytes, of all buffers together.
    #[must_use]
    #[inline(always)]
    pub fn len(&self) -> usize {
        match self {
            Self::Pooled(buffer) => buffer.lent_len(),
            Self::Pinned(buffer) => buffer.len(),
            Self::Vec(buffer) => buffer.len(),
            rare => rare.len_of_rare(),
        }
    }

    #[inline(never)]
    fn len_of_rare(&self) -> usize {
        match self {
            Self::Many(buffers) => buffers.iter().map(Self::len).sum(),
            one => one.as_slice().len(),
        }
    }

    /// True without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; of several buffers none, since they do not lie side by side.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Pinned(buffer) => buffer,
            Self::Pooled(buffer) => buffer,
            Self::Vec(buffer) => buffer,
            #[cfg(target_os = "linux")]
            Self::Registered(buffer) => buffer,
            Self::Lent(buffer) => buffer.bytes(),
            Self::Many(_) => &[],
        }
    }

    /// The bytes; of several buffers none.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Pinned(buffer) => buffer,
            Self::Pooled(buffer) => buffer,
            Self::Vec(buffer) => buffer,
            #[cfg(target_os = "linux")]
            Self::Registered(buffer) => buffer,
            Self::Lent(buffer) => buffer.bytes_mut(),
            Self::Many(_) => &mut [],
        }
    }

    /// The buffer with a mark, if it has one.
    #[inline]
    fn marked(&mut self) -> Option<&mut PinnedBuffer> {
        match self {
            Self::Pinned(buffer) => Some(buffer),
            Self::Pooled(buffer) => Some(buffer.pinned_mut()),
            #[cfg(target_os = "linux")]
            Self::Registered(buffer) => Some(buffer.pinned_mut()),
            Self::Vec(_) | Self::Lent(_) | Self::Many(_) => None,
        }
    }

    /// Where the bytes lie, how many, and the buffer with a mark; of several buffers null.
    #[inline(always)]
    pub(super) fn place(&mut self) -> (*mut u8, usize, Option<&mut PinnedBuffer>) {
        match self {
            Self::Pooled(buffer) => {
                let (len, pinned) = (buffer.lent_len(), buffer.pinned_mut());
                (pinned.start(), len, Some(pinned))
            }
            Self::Pinned(buffer) => (buffer.start(), buffer.len(), Some(buffer)),
            Self::Vec(buffer) => (buffer.as_mut_ptr(), buffer.len(), None),
            rare => rare.place_of_rare(),
        }
    }

    #[inline(never)]
    fn place_of_rare(&mut self) -> (*mut u8, usize, Option<&mut PinnedBuffer>) {
        if matches!(self, Self::Many(_)) {
            return (std::ptr::null_mut(), 0, None);
        }
        let bytes = self.as_mut_slice();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        (start, len, self.marked())
    }

    /// Marks a plain buffer as in use; where the bytes of a range of it lie, and how many the kernel
    /// takes. `None` of any other, and when that would be refused.
    #[cfg(target_os = "linux")]
    #[inline(always)]
    pub(super) fn begin_plain(
        &mut self,
        range: &std::ops::Range<usize>,
    ) -> Option<(*mut u8, u32)> {
        let (start, len, mark) = match self {
            Self::Pooled(buffer) => {
                let (len, pinned) = (buffer.lent_len(), buffer.pinned_mut());
                (pinned.start(), len, Some(pinned))
            }
            Self::Pinned(buffer) => (buffer.start(), buffer.len(), Some(buffer)),
            Self::Vec(buffer) if buffer.len() <= BUFFER_BYTES_MAX => {
                (buffer.as_mut_ptr(), buffer.len(), None)
            }
            _ => return None,
        };
        let (from, to) = (range.start, range.end);
        if from > to || to > len || mark.is_some_and(|buffer| !buffer.begin_owned()) {
            return None;
        }
        // None of these is longer than the kernel moves at once.
        Some((start.wrapping_add(from), (to - from) as u32))
    }

    /// Undoes [`begin_plain`](Self::begin_plain).
    #[cfg(target_os = "linux")]
    #[inline(always)]
    pub(super) fn unbegin_plain(&mut self) {
        match self {
            Self::Pooled(buffer) => buffer.pinned_mut().unbegin_owned(),
            Self::Pinned(buffer) => buffer.unbegin_owned(),
            _ => {}
        }
    }

    /// Marks it as in use; false if it was.
    #[inline]
    pub(super) fn begin(&mut self) -> bool {
        self.marked().is_none_or(PinnedBuffer::begin_owned)
    }

    /// Marks it as available again.
    #[inline(always)]
    pub(super) fn end(&mut self) {
        match self {
            Self::Pooled(buffer) => buffer.pinned_mut().end_owned(),
            other => other.end_of_other(),
        }
    }

    fn end_of_other(&mut self) {
        if let Some(buffer) = self.marked() {
            buffer.end_owned();
        }
    }
}

/// A buffer that an operation takes and gives back: [`PinnedBuffer`], [`PooledBuffer`], `Vec<u8>`,
/// registered ones, and [`IoBuffer`] itself.
///
/// The trait is sealed: what the kernel writes to must stay where it is, and these are known to.
pub trait Buffer: Into<IoBuffer> + sealed::Sealed {
    /// The buffer that went in; the same kind comes out.
    #[doc(hidden)]
    fn from_io(buffer: IoBuffer) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! buffer {
    ($($(#[$on:meta])? $kind:ident($name:ty)),*) => {$(
        $(#[$on])?
        impl From<$name> for IoBuffer {
            #[inline]
            fn from(buffer: $name) -> Self {
                Self::$kind(buffer)
            }
        }
        $(#[$on])?
        impl sealed::Sealed for $name {}
        $(#[$on])?
        impl Buffer for $name {
            #[inline]
            fn from_io(buffer: IoBuffer) -> Option<Self> {
                match buffer {
                    IoBuffer::$kind(buffer) => Some(buffer),
                    _ => None,
                }
            }
        }
        $(#[$on])?
        impl TryFrom<IoBuffer> for $name {
            type Error = IoBuffer;

            fn try_from(buffer: IoBuffer) -> Result<Self, IoBuffer> {
                match buffer {
                    IoBuffer::$kind(buffer) => Ok(buffer),
                    other => Err(other),
                }
            }
        }
    )*};
}
buffer!(
    Pinned(PinnedBuffer),
    Pooled(PooledBuffer),
    Vec(Vec<u8>),
    #[cfg(target_os = "linux")]
    Registered(RegisteredBuffer),
    Many(Vec<IoBuffer>)
);

impl sealed::Sealed for IoBuffer {}

impl Buffer for IoBuffer {
    fn from_io(buffer: IoBuffer) -> Option<Self> {
        Some(buffer)
    }
}
