//! Pool: buffers by size class, within a limit, handed out and back without a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::allocation::BUFFER_BYTES_MAX;
use super::free_list::{FreeList, Held};
use super::pooled::PooledBuffer;
use super::{BufferError, BufferPoolConfig, PinnedBuffer};

/// What a [`BufferPool`] holds at a moment; `in_use + available == capacity` always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferPoolStats {
    /// Buffers that exist.
    pub capacity: usize,
    /// Buffers that are handed out, to programs or to operations in flight.
    pub in_use: usize,
    /// Buffers that wait to be handed out.
    pub available: usize,
    /// Bytes of all buffers.
    pub memory_bytes: usize,
    /// The limit of `memory_bytes`.
    pub max_memory: usize,
    /// Requests that got none: too large, or no memory left.
    pub refused: u64,
}

/// Buffers for I/O by size class: aligned, prefaulted, bounded in memory, reused.
///
/// [`allocate`](Self::allocate) never blocks and makes a buffer only when none of the class is
/// free; at the limit it frees unused buffers of other classes first. A [`PooledBuffer`] goes back
/// by itself when it is dropped, on any thread, also after the pool itself was dropped. Give each
/// thread with a ring a [`LocalPool`](super::LocalPool) where allocation has to scale.
///
/// # Examples
///
/// ```
/// use ttlog::io::{BufferPool, BufferPoolConfig};
///
/// let pool = BufferPool::new(BufferPoolConfig::default());
/// let mut buffer = pool.allocate(5000).expect("within the limit");
/// buffer[0] = 1;
/// assert_eq!((buffer.len(), buffer.capacity()), (5000, 8192));
/// assert_eq!(pool.stats().in_use, 1);
/// drop(buffer);
/// assert_eq!((pool.stats().in_use, pool.stats().available), (0, 1));
/// ```
pub struct BufferPool {
    pub(super) inner: Arc<Inner>,
}

/// What a pool and its buffers in use have in common.
pub(super) struct Inner {
    pub(super) classes: Box<[Class]>,
    /// The first class that may hold a size of so many bits, less one byte.
    class_of_bits: [u32; 33],
    /// Buffers in use hold the pool alive; so each holds a reference, and they need no other count.
    n_buffers: AtomicUsize,
    memory_bytes: AtomicUsize,
    refused: AtomicU64,
    alignment: usize,
    max_memory: usize,
    numa_node: Option<usize>,
}

pub(super) struct Class {
    pub(super) bytes: usize,
    pub(super) free: FreeList<Slot>,
}

/// A buffer in its place, where it stays for as long as there is a pool.
pub(super) struct Slot {
    pub(super) buffer: PinnedBuffer,
    /// Keeps the pool alive while the buffer is in use, or lies at a home.
    pub(super) pool: Option<Arc<Inner>>,
    pub(super) class: u32,
}

impl BufferPool {
    /// Makes a pool. A configuration that makes no sense is mended: an alignment becomes the next
    /// power of two that is at least 512, classes are rounded up to it, sorted, and those of 0 or
    /// beyond 2 GiB left out. [`try_new`](Self::try_new) refuses it instead.
    #[must_use]
    pub fn new(config: BufferPoolConfig) -> Self {
        Self::of(config, FreeList::new)
    }

    /// A pool of such lists, one for each class.
    pub(super) fn of(config: BufferPoolConfig, mut list: impl FnMut() -> FreeList<Slot>) -> Self {
        let alignment = config.alignment.clamp(512, 1 << 20).next_power_of_two();
        let wanted = config.size_classes.iter().filter(|n| (1..=BUFFER_BYTES_MAX).contains(*n));
        let mut sizes: Vec<_> = wanted.map(|size| size.next_multiple_of(alignment)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let class = |bytes| Class { bytes, free: list() };
        let first_above = |bits: usize| match bits {
            0 => 0,
            bits => sizes.partition_point(|size| *size <= 1 << (bits - 1)) as u32,
        };
        let inner = Inner {
            class_of_bits: std::array::from_fn(first_above),
            classes: sizes.into_iter().map(class).collect(),
            n_buffers: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            alignment,
            max_memory: config.max_memory,
            numa_node: config.numa_node,
        };
        let pool = Self { inner: Arc::new(inner) };
        for class in &pool.inner.classes {
            // As far as memory allows: what is missing is made when it is asked for.
            let _ = pool.prealloc(class.bytes, config.prealloc_count);
        }
        pool
    }

    /// Makes a pool, and refuses a configuration that makes no sense.
    ///
    /// # Errors
    ///
    /// [`BufferError::InvalidAlignment`] unless the alignment is a power of two from 512 bytes to
    /// 1 MiB; [`BufferError::SizeTooLarge`] for a class beyond 2 GiB or beyond `max_memory`.
    ///
    /// ```
    /// use ttlog::io::{BufferError, BufferPool, BufferPoolConfig};
    ///
    /// let odd = BufferPoolConfig { alignment: 1000, ..BufferPoolConfig::default() };
    /// assert!(matches!(BufferPool::try_new(odd), Err(BufferError::InvalidAlignment { .. })));
    /// ```
    pub fn try_new(config: BufferPoolConfig) -> Result<Self, BufferError> {
        config.check()?;
        Ok(Self::new(config))
    }

    /// Hands out a zeroed or reused buffer of `size` bytes; its contents are whatever its last user
    /// left. `None` when no class is large enough or no memory is left: it never blocks.
    #[must_use]
    #[inline]
    pub fn allocate(&self, size: usize) -> Option<PooledBuffer> {
        let inner = &self.inner;
        let Some((at, class)) = inner.find(size, &inner.classes, |class| class.bytes) else {
            return inner.refuse();
        };
        match class.free.pop() {
            Some(held) => Some(Inner::lend(inner, held, size)),
            None => Inner::lend_new(inner, at, size),
        }
    }

    /// Makes `count` buffers more for requests of `size` bytes. It frees none of other classes.
    ///
    /// # Errors
    ///
    /// [`BufferError::SizeTooLarge`] when no class holds `size`, and
    /// [`BufferError::AllocationFailed`] when the limit is reached; what was made until then stays.
    pub fn prealloc(&self, size: usize, count: usize) -> Result<(), BufferError> {
        let class = self.inner.class_for(size).ok_or(BufferError::SizeTooLarge { size })?;
        for made in 0..count {
            let Some(made) = self.inner.make(class) else {
                let limit = self.inner.max_memory;
                return Err(BufferError::AllocationFailed(format!(
                    "{made} of {count} buffers made; the pool's max_memory is {limit} bytes"
                )));
            };
            self.inner.classes[class].free.push(made);
        }
        Ok(())
    }

    /// Tells what the pool holds. Other threads may change it before the call returns.
    #[must_use]
    pub fn stats(&self) -> BufferPoolStats {
        self.stats_beside(0)
    }

    /// The same, with so many that hold the pool and are in nobody's use.
    pub(super) fn stats_beside(&self, n_at_home: usize) -> BufferPoolStats {
        let inner = &self.inner;
        // ord: Relaxed, counters; each is exact, and `available` follows from the others.
        let memory_bytes = inner.memory_bytes.load(Ordering::Relaxed);
        let refused = inner.refused.load(Ordering::Relaxed); // ord: Relaxed, as above
        let n_buffers = inner.n_buffers.load(Ordering::Relaxed); // ord: Relaxed, as above
        let in_use = (Arc::strong_count(inner) - 1 - n_at_home).min(n_buffers);
        BufferPoolStats {
            capacity: n_buffers,
            in_use,
            available: n_buffers - in_use,
            memory_bytes,
            max_memory: inner.max_memory,
            refused,
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

impl Inner {
    /// The smallest class that holds so many bytes.
    pub(super) fn class_for(&self, size: usize) -> Option<usize> {
        self.find(size, &self.classes, |class| class.bytes).map(|(at, _)| at)
    }

    /// The same in what there is one of for each class.
    #[inline]
    pub(super) fn find<'a, C>(
        &self,
        size: usize,
        classes: &'a [C],
        bytes: impl Fn(&C) -> usize,
    ) -> Option<(usize, &'a C)> {
        let bits = usize::BITS - size.saturating_sub(1).leading_zeros();
        let mut at = *self.class_of_bits.get(bits as usize)? as usize;
        loop {
            let class = classes.get(at)?;
            if bytes(class) >= size {
                return Some((at, class));
            }
            at += 1;
        }
    }

    /// Counts a request that gets nothing.
    #[cold]
    pub(super) fn refuse(&self) -> Option<PooledBuffer> {
        // ord: Relaxed, a counter.
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Hands a buffer out, which holds the pool from here on.
    #[inline]
    pub(super) fn lend(this: &Arc<Self>, mut held: Held<Slot>, size: usize) -> PooledBuffer {
        let before = held.get_mut().pool.replace(Arc::clone(this));
        debug_assert!(before.is_none(), "nobody had it");
        std::mem::forget(before);
        PooledBuffer::new(held, size)
    }

    /// Makes one to hand out, or counts that there is none.
    #[cold]
    pub(super) fn lend_new(this: &Arc<Self>, class: usize, size: usize) -> Option<PooledBuffer> {
        match this.make_room_and(class) {
            Some(held) => Some(Self::lend(this, held, size)),
            None => this.refuse(),
        }
    }

    /// Makes a buffer; at the limit it frees unused ones of other classes first.
    #[cold]
    fn make_room_and(&self, class: usize) -> Option<Held<Slot>> {
        loop {
            if let Some(made) = self.make(class) {
                return Some(made);
            }
            self.free_one_beside(class)?;
        }
    }

    /// Makes a buffer within the limit.
    #[cold]
    fn make(&self, class: usize) -> Option<Held<Slot>> {
        let bytes = self.classes[class].bytes;
        if !self.reserve(bytes) {
            return None;
        }
        let placed =
            self.numa_node.and_then(|node| PinnedBuffer::try_with_capacity_numa(bytes, node).ok());
        // A place is a wish, the alignment is none.
        let placed =
            placed.filter(|buffer| (buffer.as_ptr() as usize).is_multiple_of(self.alignment));
        let aligned = || PinnedBuffer::try_with_capacity_aligned(bytes, self.alignment).ok();
        let made = placed.or_else(aligned).and_then(|mut buffer| {
            // Touched here, so that no page is missing when it matters.
            buffer.fill(0);
            self.classes[class].free.make(Slot { buffer, pool: None, class: class as u32 })
        });
        match made {
            // ord: Relaxed, counters.
            Some(_) => self.n_buffers.fetch_add(1, Ordering::Relaxed),
            None => self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed), // ord: as above
        };
        made
    }

    fn reserve(&self, bytes: usize) -> bool {
        let grown = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.max_memory);
        // ord: Relaxed, a counter that only its own bound depends on.
        self.memory_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    /// A buffer that nobody uses, with no hold on the pool any more.
    fn pop_unused(&self, class: usize) -> Option<Held<Slot>> {
        self.classes[class].free.pop().or_else(|| {
            let mut held = self.classes[class].free.pop_home()?;
            held.get_mut().pool = None;
            Some(held)
        })
    }

    /// Frees an unused buffer of another class, the largest first; `None` when there is none.
    fn free_one_beside(&self, class: usize) -> Option<()> {
        let others = self.classes.iter().enumerate().rev().filter(|(other, _)| *other != class);
        for (index, other) in others {
            let Some(held) = self.pop_unused(index) else { continue };
            drop(other.free.retire(held));
            // ord: Relaxed, counters.
            self.n_buffers.fetch_sub(1, Ordering::Relaxed);
            self.memory_bytes.fetch_sub(other.bytes, Ordering::Relaxed); // ord: as above
            return Some(());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    fn pool(max_memory: usize) -> BufferPool {
        BufferPool::new(BufferPoolConfig { max_memory, ..BufferPoolConfig::default() })
    }

    #[test]
    fn making_in_advance_takes_nothing_from_other_classes() {
        let config = BufferPoolConfig {
            prealloc_count: 8,
            max_memory: 100 << 10,
            ..BufferPoolConfig::default()
        };
        let pool = BufferPool::new(config);
        // 8 of 4 KiB, 8 of 8 KiB; nothing is left for the larger.
        assert_eq!((pool.stats().available, pool.stats().memory_bytes), (16, 96 << 10));
        let small: Vec<_> = (0..9).map_while(|_| pool.allocate(4096)).collect();
        assert_eq!(small.len(), 9);
        // A call for a larger one frees unused ones of the others.
        assert!(pool.allocate(16 << 10).is_some());
        assert!(pool.allocate(128 << 10).is_none());
        assert!(pool.prealloc(2 << 20, 1).is_err() && pool.prealloc(1 << 20, 1).is_err());
    }

    #[test]
    fn the_limit_holds_and_the_numbers_agree_while_threads_storm() {
        let pool = pool(1 << 20);
        let is_over = AtomicBool::new(false);
        let n_held = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8_usize)
                .map(|seed| {
                    let (pool, n_held) = (&pool, &n_held);
                    scope.spawn(move || {
                        let mut held = Vec::new();
                        for n in 0..5000_usize {
                            let size = 1 + (n * 7919 + seed * 104_729) % (200 << 10);
                            if let Some(mut buffer) = pool.allocate(size) {
                                assert_eq!(buffer.as_ptr() as usize % 4096, 0);
                                assert!(buffer.len() == size && buffer.capacity() >= size);
                                buffer[0] = seed as u8;
                                held.push(buffer);
                            }
                            if held.len() > n % 5 {
                                let buffer = held.swap_remove(n % held.len());
                                assert_eq!(buffer[0], seed as u8, "held by one thread alone");
                            }
                        }
                        n_held.fetch_add(held.len(), Ordering::Relaxed);
                        held
                    })
                })
                .collect();
            let watcher = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let stats = pool.stats();
                    assert!(stats.memory_bytes <= stats.max_memory);
                    assert_eq!(stats.in_use + stats.available, stats.capacity);
                }
            });
            let held: Vec<_> = workers.into_iter().flat_map(|it| it.join().unwrap()).collect();
            assert_eq!(pool.stats().in_use, held.len());
            is_over.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
        });
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.available), (0, stats.capacity));
    }

    #[test]
    fn a_node_is_a_wish_and_an_alignment_is_none() {
        for numa_node in [None, Some(0), Some(999)] {
            let config = BufferPoolConfig { alignment: 1 << 16, numa_node, ..Default::default() };
            let pool = BufferPool::new(config);
            let buffers: Vec<_> = (0..8).map(|_| pool.allocate(1).unwrap()).collect();
            assert!(
                buffers.iter().all(|buffer| (buffer.as_ptr() as usize).is_multiple_of(1 << 16))
            );
        }
    }

    #[test]
    fn buffers_outlive_their_pool() {
        let pool = pool(1 << 20);
        let mut buffer = pool.allocate(100).unwrap();
        drop(pool);
        buffer.fill(3);
        assert!(buffer.resize(4096).is_ok() && buffer.resize(4097).is_err());
        assert_eq!(buffer.len(), 4096);
    }

    proptest! {
        #[test]
        fn every_class_is_aligned_and_large_enough(size in 0usize..1 << 21) {
            let pool = pool(4 << 20);
            match pool.allocate(size) {
                Some(mut buffer) => {
                    prop_assert_eq!(buffer.as_ptr() as usize % 4096, 0);
                    prop_assert!(buffer.len() == size && buffer.capacity().is_power_of_two());
                    buffer.fill(1);
                }
                None => prop_assert!(size > 1 << 20),
            }
        }

        #[test]
        fn a_configuration_is_mended_or_refused(
            classes in proptest::collection::vec(0usize..1 << 22, 0..6),
            alignment in 0usize..20_000,
        ) {
            let config = BufferPoolConfig {
                size_classes: classes,
                alignment,
                ..BufferPoolConfig::default()
            };
            let is_even = alignment.is_power_of_two() && alignment >= 512;
            prop_assert_eq!(BufferPool::try_new(config.clone()).is_ok(), is_even);
            let pool = BufferPool::new(config);
            if let Some(buffer) = pool.allocate(1) {
                prop_assert_eq!(buffer.as_ptr() as usize % 512, 0);
            }
        }
    }
}
