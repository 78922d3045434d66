//! Pooled: a buffer that knows where it came from.
#![expect(unsafe_code, reason = "takes its node out as it is dropped; proof in free_list, L1")]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::free_list::Held;
use super::pool::Slot;
use super::{BufferError, PinnedBuffer};

/// A buffer that returns to its [`BufferPool`](super::BufferPool) or
/// [`LocalPool`](super::LocalPool) when it is dropped, also from within an operation.
///
/// Derefs to its bytes. `len` is what was asked for, `capacity` what the class has.
pub struct PooledBuffer {
    /// Taken out in drop alone.
    held: ManuallyDrop<Held<Slot>>,
    /// The class above the length, 32 bits each: one word, which is moved as it was written.
    shape: u64,
}

impl PooledBuffer {
    #[inline]
    pub(super) fn new(held: Held<Slot>, class: usize, len: usize) -> Self {
        let shape = (class as u64) << 32 | u64::from(len as u32);
        Self { held: ManuallyDrop::new(held), shape }
    }

    /// Bytes of the class, of which the first [`len`](slice::len) are lent out.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pinned().len()
    }

    /// Lends out another number of bytes.
    ///
    /// # Errors
    ///
    /// [`BufferError::SizeTooLarge`] beyond the capacity; nothing changes then.
    pub fn resize(&mut self, len: usize) -> Result<(), BufferError> {
        if len > self.capacity() {
            return Err(BufferError::SizeTooLarge { size: len });
        }
        self.shape = self.shape >> 32 << 32 | u64::from(len as u32);
        Ok(())
    }

    /// The buffer behind, with its generation.
    #[must_use]
    #[inline]
    pub fn pinned(&self) -> &PinnedBuffer {
        &self.held.get().buffer
    }

    /// Bytes that are lent out.
    #[inline]
    pub(crate) fn lent_len(&self) -> usize {
        self.shape as u32 as usize
    }

    /// The same, which is there, without a panic if it were not.
    #[cfg(target_os = "linux")]
    #[inline(always)]
    pub(crate) fn pinned_if_held(&mut self) -> Option<&mut PinnedBuffer> {
        self.held.try_get_mut().map(|slot| &mut slot.buffer)
    }

    #[inline]
    pub(crate) fn pinned_mut(&mut self) -> &mut PinnedBuffer {
        &mut self.held.get_mut().buffer
    }
}

impl Deref for PooledBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.pinned()[..self.lent_len()]
    }
}

impl DerefMut for PooledBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.lent_len();
        &mut self.pinned_mut()[..len]
    }
}

impl Drop for PooledBuffer {
    #[inline]
    fn drop(&mut self) {
        let class = (self.shape >> 32) as usize;
        // SAFETY: (L1) the one hold of the node, which is dropped once and not used behind this.
        let mut held = unsafe { ManuallyDrop::take(&mut self.held) };
        let buffer = &mut held.get_mut().buffer;
        // A mark of its last user says nothing to the next.
        if !buffer.is_available() {
            buffer.toggle_owned();
        }
        let gone = held.go_home(class, |slot| slot.pool.as_deref().map(|pool| &pool.home));
        if let Err(mut held) = gone
            && let Some(pool) = held.get_mut().pool.take()
        {
            pool.classes[class].free.push(held);
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer")
            .field("len", &self.lent_len())
            .field("buffer", self.pinned())
            .finish()
    }
}
