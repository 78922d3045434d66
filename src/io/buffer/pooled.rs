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
    /// A whole word, so that it is moved as it was written.
    len: usize,
}

impl PooledBuffer {
    #[inline]
    pub(super) fn new(held: Held<Slot>, len: usize) -> Self {
        Self { held: ManuallyDrop::new(held), len }
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
        self.len = len;
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
        self.len
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
        // SAFETY: (L1) the one hold of the node, which is dropped once and not used behind this.
        let mut held = unsafe { ManuallyDrop::take(&mut self.held) };
        // A mark of its last user says nothing to the next.
        held.get_mut().buffer.end_owned();
        if let Err(held) = held.go_home() {
            give_back(held);
        }
    }
}

/// Puts a buffer where everybody finds it, with its hold on the pool.
#[inline(never)]
fn give_back(mut held: Held<Slot>) {
    let slot = held.get_mut();
    if let Some(pool) = slot.pool.take() {
        pool.classes[slot.class as usize].free.push(held);
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
