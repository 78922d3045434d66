//! Local: a pool for one thread, which pays for no other.

use std::fmt;

use super::free_list::{FreeList, Home};
use super::pool::{Inner, Slot};
use super::{BufferError, BufferPool, BufferPoolConfig, BufferPoolStats, PooledBuffer};

/// A [`BufferPool`] for one thread, as one that drives a ring: what it hands out and gets back there
/// costs no atomic operation.
///
/// The pool stays on the thread that made it. Its buffers go anywhere: one that is dropped on
/// another thread comes back as to a [`BufferPool`], and is handed out again when no other is free.
///
/// ```
/// use ttlog::io::{BufferPoolConfig, LocalPool};
///
/// let pool = LocalPool::new(BufferPoolConfig::default());
/// let first = pool.allocate(5000).expect("within the limit");
/// let start = first.as_ptr();
/// drop(first);
/// let second = pool.allocate(6000).expect("the same again");
/// assert_eq!((second.as_ptr(), pool.stats().in_use), (start, 1));
/// std::thread::spawn(move || drop(second)).join().unwrap();
/// assert_eq!((pool.stats().in_use, pool.stats().available), (0, 1));
/// ```
///
/// It cannot leave:
///
/// ```compile_fail,E0277
/// let pool = ttlog::io::LocalPool::new(ttlog::io::BufferPoolConfig::default());
/// std::thread::spawn(move || drop(pool));
/// ```
pub struct LocalPool {
    pool: BufferPool,
    /// What lies here, by class.
    shelves: Box<[Shelf]>,
}

/// Buffers of a class that lie at home.
struct Shelf {
    bytes: usize,
    home: Home<Slot>,
}

impl LocalPool {
    /// Makes a pool of the calling thread. A configuration that makes no sense is mended, as by
    /// [`BufferPool::new`].
    #[must_use]
    pub fn new(config: BufferPoolConfig) -> Self {
        let mut homes = Vec::new();
        let pool = BufferPool::of(config, || {
            let (list, home) = FreeList::at_home();
            homes.push(home);
            list
        });
        let classes = pool.inner.classes.iter().zip(homes);
        let shelves = classes.map(|(class, home)| Shelf { bytes: class.bytes, home }).collect();
        let pool = Self { pool, shelves };
        (0..pool.shelves.len()).for_each(|class| pool.take_home(class));
        pool
    }

    /// Takes what is free for everybody, as what was made in advance.
    fn take_home(&self, class: usize) {
        let inner = &self.pool.inner;
        while let Some(held) = inner.classes[class].free.pop() {
            drop(Inner::lend(inner, held, 0));
        }
    }

    /// Makes a pool, and refuses a configuration that makes no sense.
    ///
    /// # Errors
    ///
    /// As [`BufferPool::try_new`].
    pub fn try_new(config: BufferPoolConfig) -> Result<Self, BufferError> {
        config.check()?;
        Ok(Self::new(config))
    }

    /// Hands out a buffer, as [`BufferPool::allocate`] does.
    #[must_use]
    #[inline]
    pub fn allocate(&self, size: usize) -> Option<PooledBuffer> {
        let inner = &self.pool.inner;
        let Some((at, shelf)) = inner.find(size, &self.shelves, |shelf| shelf.bytes) else {
            return inner.refuse();
        };
        match shelf.home.pop() {
            Some(held) => Some(PooledBuffer::new(held, size)),
            None => self.allocate_anew(at, size),
        }
    }

    /// The same, from what came back from other threads, or new.
    #[cold]
    fn allocate_anew(&self, class: usize, size: usize) -> Option<PooledBuffer> {
        let inner = &self.pool.inner;
        match inner.classes[class].free.pop() {
            Some(held) => Some(Inner::lend(inner, held, size)),
            None => Inner::lend_new(inner, class, size),
        }
    }

    /// Makes `count` buffers more for requests of `size` bytes. It frees none of other classes.
    ///
    /// # Errors
    ///
    /// As [`BufferPool::prealloc`].
    pub fn prealloc(&self, size: usize, count: usize) -> Result<(), BufferError> {
        let made = self.pool.prealloc(size, count);
        self.pool.inner.class_for(size).into_iter().for_each(|class| self.take_home(class));
        made
    }

    /// Tells what the pool holds. Other threads may give buffers back before the call returns.
    #[must_use]
    pub fn stats(&self) -> BufferPoolStats {
        self.pool.stats_beside(self.shelves.iter().map(|shelf| shelf.home.len()).sum())
    }
}

impl Drop for LocalPool {
    /// What lies here goes where every thread may free it, and what is in use will.
    fn drop(&mut self) {
        for (class, shelf) in self.pool.inner.classes.iter().zip(&self.shelves) {
            while let Some(mut held) = shelf.home.pop() {
                // Not the last one: the pool itself has another.
                let pool = held.get_mut().pool.take();
                class.free.push(held);
                drop(pool);
            }
            shelf.home.end();
        }
    }
}

impl fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use proptest::prelude::*;

    use super::*;

    fn pool(max_memory: usize) -> LocalPool {
        LocalPool::new(BufferPoolConfig { max_memory, ..BufferPoolConfig::default() })
    }

    /// Tells when the pool is gone.
    fn end_of(pool: &LocalPool) -> Weak<Inner> {
        Arc::downgrade(&pool.pool.inner)
    }

    #[test]
    fn at_the_limit_what_lies_at_home_is_freed_for_another_class() {
        let pool = pool(64 << 10);
        let small: Vec<_> = (0..16).map(|_| pool.allocate(1).unwrap()).collect();
        assert!(pool.allocate(1).is_none() && pool.allocate(2 << 20).is_none());
        drop(small);
        assert!(pool.allocate(64 << 10).is_some());
        let stats = pool.stats();
        assert_eq!((stats.capacity, stats.in_use, stats.refused), (1, 0, 2));
        assert_eq!(stats.memory_bytes, 64 << 10);
    }

    #[test]
    fn what_is_made_in_advance_lies_at_home() {
        let config = BufferPoolConfig { prealloc_count: 2, ..BufferPoolConfig::default() };
        let pool = LocalPool::new(BufferPoolConfig { size_classes: vec![4096], ..config });
        pool.prealloc(100, 3).unwrap();
        assert_eq!(pool.shelves[0].home.len(), 5);
        assert_eq!((pool.stats().available, pool.stats().in_use), (5, 0));
        let end = end_of(&pool);
        drop(pool);
        assert_eq!(end.strong_count(), 0);
    }

    #[test]
    fn nothing_is_left_of_a_pool_without_buffers_in_use() {
        let pool = pool(1 << 20);
        let end = end_of(&pool);
        let buffers: Vec<_> = (0..5).map(|n| pool.allocate(1 << (10 + n)).unwrap()).collect();
        drop(buffers);
        drop(pool);
        assert_eq!(end.strong_count(), 0);
    }

    #[test]
    fn buffers_outlive_their_pool_here_and_elsewhere() {
        for is_elsewhere in [false, true] {
            let pool = pool(1 << 20);
            let end = end_of(&pool);
            drop(pool.allocate(1));
            let (mut here, there) = (pool.allocate(100).unwrap(), pool.allocate(100).unwrap());
            drop(pool);
            here.fill(3);
            if is_elsewhere {
                std::thread::spawn(move || drop(there)).join().unwrap();
            } else {
                drop(there);
            }
            assert_eq!(end.strong_count(), 1);
            drop(here);
            assert_eq!(end.strong_count(), 0);
        }
    }

    #[test]
    fn a_buffer_of_another_thread_is_nobodys_here() {
        let of_other = std::thread::spawn(|| {
            let pool = pool(1 << 20);
            let buffer = pool.allocate(1).unwrap();
            (buffer, end_of(&pool))
        });
        let (buffer, end) = of_other.join().unwrap();
        let own = pool(1 << 20);
        drop(buffer);
        assert_eq!((end.strong_count(), own.stats().capacity), (0, 0));
    }

    proptest! {
        #[test]
        fn the_numbers_agree_wherever_buffers_are_dropped(
            steps in proptest::collection::vec((0u8..3, 0usize..70_000), 0..200)
        ) {
            let pool = pool(512 << 10);
            let (mut held, mut n_refused) = (Vec::new(), 0);
            for (step, n) in steps {
                match step {
                    0 if !held.is_empty() => drop(held.swap_remove(n % held.len())),
                    1 if !held.is_empty() => {
                        let buffer = held.swap_remove(n % held.len());
                        std::thread::scope(|scope| drop(scope.spawn(move || drop(buffer)).join()));
                    }
                    _ => match pool.allocate(n) {
                        Some(buffer) => {
                            let capacity = buffer.capacity();
                            prop_assert!(buffer.len() == n && capacity >= n.max(4096));
                            prop_assert!(capacity == 4096 || capacity / 2 < n);
                            held.push(buffer);
                        }
                        None => n_refused += 1,
                    },
                }
                let stats = pool.stats();
                prop_assert_eq!((stats.in_use, stats.refused), (held.len(), n_refused));
                prop_assert!(stats.memory_bytes <= stats.max_memory);
                let mut starts: Vec<_> = held.iter().map(|buffer| buffer.as_ptr()).collect();
                starts.sort_unstable();
                starts.dedup();
                prop_assert_eq!(starts.len(), held.len());
            }
        }
    }
}
