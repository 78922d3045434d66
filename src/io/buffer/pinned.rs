//! Pinned: one buffer at a fixed address.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::GenerationCounter;
use super::allocation::{Allocation, PAGE_BYTES};

/// Why a buffer could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferError {
    /// The system has no memory for it, or the pool's limit is reached.
    AllocationFailed(String),
    /// It cannot lie on the node that was asked for.
    NumaAllocationFailed(String),
    /// Larger than the kernel moves at once, or than the pool's largest class.
    SizeTooLarge {
        /// Bytes that were asked for.
        size: usize,
    },
    /// Not a power of two, or out of range.
    InvalidAlignment {
        /// The alignment that was asked for.
        alignment: usize,
    },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllocationFailed(why) => write!(f, "allocation failed: {why}"),
            Self::NumaAllocationFailed(why) => write!(
                f,
                "allocation on a NUMA node failed: {why}; without a node memory comes from anywhere"
            ),
            Self::SizeTooLarge { size } => {
                write!(f, "a buffer of {size} bytes is too large; use several")
            }
            Self::InvalidAlignment { alignment } => {
                write!(f, "alignment {alignment} is not a power of two in range; 4096 suits all")
            }
        }
    }
}

impl std::error::Error for BufferError {}

/// Zeroed memory at a fixed address, a multiple of 4096, for reads and writes by the kernel.
///
/// Derefs to its bytes. Move it into an operation; it comes back with the result.
///
/// # In use or available
///
/// A flag tells others that share the buffer whether it is in use. [`mark_in_use`] sets it and
/// [`mark_available`] clears it; each change adds one to the [`generation`](Self::generation), a
/// call that changes nothing adds nothing. An operation sets it while the kernel has the buffer,
/// and refuses a buffer that is marked already. (The project from which the names come expected
/// `is_available()` to be true after `mark_in_use()`; here it is false.)
///
/// The flag protects no memory: ownership does that.
///
/// ```
/// use ttlog::io::PinnedBuffer;
///
/// let mut buffer = PinnedBuffer::with_capacity_aligned(5000);
/// assert_eq!((buffer.len(), buffer.as_ptr() as usize % 4096), (5000, 0));
/// buffer[0] = 7;
/// assert!(buffer.mark_in_use() && !buffer.is_available());
/// assert!(!buffer.mark_in_use()); // another has it
/// assert!(buffer.mark_available() && buffer.is_available());
/// assert_eq!(buffer.generation(), 2);
/// ```
///
/// [`mark_in_use`]: Self::mark_in_use
/// [`mark_available`]: Self::mark_available
#[derive(Debug)]
pub struct PinnedBuffer {
    memory: Allocation,
    /// Odd while in use, so that flag and number never disagree.
    generation: GenerationCounter,
}

impl PinnedBuffer {
    /// Allocates `len` zeroed bytes at a multiple of 4096. A length of 0 gives an empty buffer.
    ///
    /// # Panics
    ///
    /// If there is no memory, or beyond 2 GiB; [`try_with_capacity_aligned`] answers with an error.
    ///
    /// [`try_with_capacity_aligned`]: Self::try_with_capacity_aligned
    #[must_use]
    #[track_caller]
    pub fn with_capacity_aligned(len: usize) -> Self {
        match Self::try_with_capacity_aligned(len, PAGE_BYTES) {
            Ok(buffer) => buffer,
            Err(error) => panic!("{error}"),
        }
    }

    /// Allocates `len` zeroed bytes at a multiple of `alignment`.
    ///
    /// # Errors
    ///
    /// [`BufferError::InvalidAlignment`] if it is not a power of two or beyond 1 GiB;
    /// [`BufferError::SizeTooLarge`] beyond 2 GiB; [`BufferError::AllocationFailed`].
    ///
    /// ```
    /// use ttlog::io::{BufferError, PinnedBuffer};
    ///
    /// let odd = PinnedBuffer::try_with_capacity_aligned(10, 3);
    /// assert_eq!(odd.unwrap_err(), BufferError::InvalidAlignment { alignment: 3 });
    /// ```
    pub fn try_with_capacity_aligned(len: usize, alignment: usize) -> Result<Self, BufferError> {
        Allocation::aligned(len, alignment).map(Self::of)
    }

    /// Allocates on a NUMA node, if it can be; else, and for `None`, anywhere.
    /// [`numa_node`](Self::numa_node) tells where it lies.
    ///
    /// # Panics
    ///
    /// As [`with_capacity_aligned`](Self::with_capacity_aligned).
    #[must_use]
    #[track_caller]
    pub fn with_capacity_numa(len: usize, node: Option<usize>) -> Self {
        let placed = node.and_then(|node| Self::try_with_capacity_numa(len, node).ok());
        placed.unwrap_or_else(|| Self::with_capacity_aligned(len))
    }

    /// Allocates on a NUMA node, by `mbind`, and lets `get_mempolicy` confirm it.
    ///
    /// # Errors
    ///
    /// [`BufferError::NumaAllocationFailed`] if there is no such node, or none at all on this
    /// system; [`BufferError::SizeTooLarge`] beyond 2 GiB.
    pub fn try_with_capacity_numa(len: usize, node: usize) -> Result<Self, BufferError> {
        Allocation::on_node(len, node).map(Self::of)
    }

    fn of(memory: Allocation) -> Self {
        Self { memory, generation: GenerationCounter::new() }
    }

    /// Marks the buffer as in use; false if it was already. Of two threads one gets true.
    pub fn mark_in_use(&self) -> bool {
        self.generation.advance_from(false)
    }

    /// Marks the buffer as available; false if it was already.
    pub fn mark_available(&self) -> bool {
        self.generation.advance_from(true)
    }

    /// False between [`mark_in_use`](Self::mark_in_use) and
    /// [`mark_available`](Self::mark_available). Another thread may change it at any time.
    #[inline]
    pub fn is_available(&self) -> bool {
        !self.generation.is_odd()
    }

    /// How often the buffer went from available to in use and back.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The NUMA node of the first page, where the kernel tells: `None` without NUMA, or before the
    /// page was touched.
    pub fn numa_node(&self) -> Option<usize> {
        self.memory.node()
    }

    /// Marks the buffer as in use for who owns it alone; false if it was.
    #[inline]
    pub(crate) fn begin_owned(&mut self) -> bool {
        let is_free = !self.generation.is_odd_owned();
        if is_free {
            self.generation.advance_owned();
        }
        is_free
    }

    /// Clears the mark for who owns the buffer alone.
    #[inline]
    pub(crate) fn end_owned(&mut self) {
        if self.generation.is_odd_owned() {
            self.generation.advance_owned();
        }
    }

    /// Undoes [`begin_owned`](Self::begin_owned).
    #[cfg(target_os = "linux")]
    #[inline]
    pub(crate) fn unbegin_owned(&mut self) {
        self.generation.take_back_owned();
    }

    /// Where the bytes lie; stays so for the life of the buffer.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.memory.start().as_ptr()
    }
}

impl Deref for PinnedBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.memory.bytes()
    }
}

impl DerefMut for PinnedBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut()
    }
}

impl AsRef<[u8]> for PinnedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for PinnedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_that_is_there_is_confirmed_and_another_is_defined() {
        match PinnedBuffer::try_with_capacity_numa(8192, 0) {
            Ok(buffer) => assert_eq!(buffer.numa_node(), Some(0)),
            Err(error) => println!("not run: {error}"),
        }
        assert!(matches!(
            PinnedBuffer::try_with_capacity_numa(4096, 999),
            Err(BufferError::NumaAllocationFailed(_))
        ));
        assert!(PinnedBuffer::try_with_capacity_numa(4096, usize::MAX).is_err());
        for node in [None, Some(0), Some(999)] {
            let mut buffer = PinnedBuffer::with_capacity_numa(5000, node);
            assert_eq!((buffer.len(), buffer.start() as usize % 4096), (5000, 0));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(1);
        }
    }

    #[test]
    fn of_many_threads_one_marks() {
        let buffer = PinnedBuffer::with_capacity_aligned(1);
        let marked = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if buffer.mark_in_use() {
                            marked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            assert!(buffer.mark_available());
                        }
                    }
                });
            }
        });
        assert_eq!(buffer.generation(), 2 * marked.into_inner());
    }

    proptest! {
        #[test]
        fn every_size_and_alignment_is_defined(len in 0usize..100_000, align in 0usize..9000) {
            match PinnedBuffer::try_with_capacity_aligned(len, align) {
                Ok(mut buffer) => {
                    prop_assert!(align.is_power_of_two());
                    prop_assert_eq!(buffer.start() as usize % align, 0);
                    prop_assert_eq!(buffer.len(), len);
                    buffer.fill(0xff);
                }
                Err(error) => prop_assert_eq!(
                    error,
                    BufferError::InvalidAlignment { alignment: align }
                ),
            }
        }

        #[test]
        fn the_flag_follows_its_changes(calls in proptest::collection::vec(any::<bool>(), 0..50)) {
            let buffer = PinnedBuffer::with_capacity_aligned(1);
            let (mut in_use, mut changes) = (false, 0);
            for mark in calls {
                let changed = if mark { buffer.mark_in_use() } else { buffer.mark_available() };
                prop_assert_eq!(changed, mark != in_use);
                in_use = mark;
                changes += u64::from(changed);
                prop_assert_eq!(buffer.generation(), changes);
                prop_assert_eq!(buffer.is_available(), !in_use);
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        for size in [usize::MAX, 3 << 30] {
            let refused = PinnedBuffer::try_with_capacity_aligned(size, 4096);
            assert_eq!(refused.unwrap_err(), BufferError::SizeTooLarge { size });
        }
    }
}
