//! Config: what a pool may hold.

use super::BufferError;
use super::allocation::{BUFFER_BYTES_MAX, PAGE_BYTES};

/// What a [`BufferPool`](super::BufferPool) may hold.
///
/// ```
/// use ttlog::io::{BufferPool, BufferPoolConfig};
///
/// let config = BufferPoolConfig { max_memory: 1 << 20, ..BufferPoolConfig::default() };
/// assert_eq!(config.size_classes.len(), 9);
/// assert!(BufferPool::new(config).allocate(2 << 20).is_none());
/// ```
#[derive(Debug, Clone)]
pub struct BufferPoolConfig {
    /// Sizes of buffers in bytes; default 4 KiB, 8 KiB … 1 MiB. A request gets the smallest that
    /// holds it.
    pub size_classes: Vec<usize>,
    /// Buffers of each class that are made at once, as far as `max_memory` allows; default 0.
    pub prealloc_count: usize,
    /// A power of two; default 4096, as O_DIRECT wants it.
    pub alignment: usize,
    /// Bytes that all buffers together never exceed, in use or not; default 64 MiB.
    pub max_memory: usize,
    /// The NUMA node on which buffers shall lie; default none. With a node that is not there,
    /// buffers lie anywhere.
    pub numa_node: Option<usize>,
}

impl Default for BufferPoolConfig {
    fn default() -> Self {
        Self {
            size_classes: (12..=20).map(|bits| 1 << bits).collect(),
            prealloc_count: 0,
            alignment: PAGE_BYTES,
            max_memory: 64 << 20,
            numa_node: None,
        }
    }
}

impl BufferPoolConfig {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<(), BufferError> {
        let alignment = self.alignment;
        if !alignment.is_power_of_two() || !(512..=1 << 20).contains(&alignment) {
            return Err(BufferError::InvalidAlignment { alignment });
        }
        let limit = BUFFER_BYTES_MAX.min(self.max_memory);
        match self.size_classes.iter().find(|size| **size > limit) {
            Some(&size) => Err(BufferError::SizeTooLarge { size }),
            None => Ok(()),
        }
    }
}
