//! Allocation: aligned, zeroed memory that is given back as it was taken.
//!
//! # Invariants
//!
//! - **A1** `start` points to `len.max(1)` bytes at least that are mapped, initialised (zeroed) and
//!   owned by this value alone until it is dropped.
//! - **A2** Memory goes back the way it came: heap with the very layout, a mapping with its length.
#![expect(unsafe_code, reason = "allocates and lends memory; proof above, A1-A2")]

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use super::{BufferError, numa};

/// Every buffer starts at a multiple of this, as O_DIRECT wants it.
pub(crate) const PAGE_BYTES: usize = 4096;
/// A buffer beyond this is refused: the kernel moves at most 2 GiB less a page in one call.
pub(crate) const BUFFER_BYTES_MAX: usize = (2 << 30) - PAGE_BYTES;

/// Zeroed memory of a fixed length at a fixed address.
#[derive(Debug)]
pub(super) struct Allocation {
    start: NonNull<u8>,
    len: u32,
    align: u32,
    from: From,
}

/// A word, so that the enums which keep their tag in it are moved by words.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum From {
    Heap,
    Mapping,
}

// SAFETY: (A1) the memory has one owner, and bytes have no thread of their own.
unsafe impl Send for Allocation {}
// SAFETY: (A1) a shared reference lends bytes for reading only.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// Memory from the heap. A length of 0 is an empty buffer at an aligned address.
    pub(super) fn aligned(len: usize, align: usize) -> Result<Self, BufferError> {
        let layout = Self::layout(len, align)?;
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            return Err(BufferError::AllocationFailed(format!("no memory for {len} bytes")));
        };
        Ok(Self { start, len: len as u32, align: align as u32, from: From::Heap })
    }

    /// Memory that lies on one NUMA node, as far as the kernel confirms it.
    pub(super) fn on_node(len: usize, node: usize) -> Result<Self, BufferError> {
        Self::layout(len, PAGE_BYTES)?;
        let start = numa::map_on_node(Self::mapped_bytes(len), node)?;
        Ok(Self { start, len: len as u32, align: PAGE_BYTES as u32, from: From::Mapping })
    }

    fn mapped_bytes(len: usize) -> usize {
        len.max(1).next_multiple_of(PAGE_BYTES)
    }

    fn layout(len: usize, align: usize) -> Result<Layout, BufferError> {
        if !align.is_power_of_two() || align > 1 << 30 {
            return Err(BufferError::InvalidAlignment { alignment: align });
        }
        if len > BUFFER_BYTES_MAX {
            return Err(BufferError::SizeTooLarge { size: len });
        }
        Layout::from_size_align(len.max(1), align)
            .map_err(|_| BufferError::SizeTooLarge { size: len })
    }

    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: (A1).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: (A1), and `&mut self` excludes every other borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }

    /// The node on which the first page lies, where the kernel tells.
    pub(super) fn node(&self) -> Option<usize> {
        numa::node_of(self.start)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let len = self.len as usize;
        match self.from {
            From::Heap => {
                let Ok(layout) = Self::layout(len, self.align as usize) else { return };
                // SAFETY: (A2) the same layout as in `aligned`.
                unsafe { alloc::dealloc(self.start.as_ptr(), layout) }
            }
            // SAFETY: (A2) the same length as in `on_node`, and nobody borrows it.
            From::Mapping => unsafe { numa::unmap(self.start, Self::mapped_bytes(len)) },
        }
    }
}
