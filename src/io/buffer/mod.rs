//! Buffer: memory for I/O that never moves, and a pool of it.
//!
//! A [`PinnedBuffer`] owns aligned memory at a fixed address; moving the value moves no byte. It
//! goes *into* an operation and comes back with the result, so that nobody can touch or free it
//! while the kernel reads or writes it. A [`BufferPool`] keeps buffers for reuse.
//!
//! Under loom only the free list and the counter are compiled: what is lock-free.

mod free_list;
mod generation;
#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
mod allocation;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod numa;
#[cfg(not(loom))]
mod pinned;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod pooled;

#[cfg(all(not(loom), target_os = "linux"))]
pub(super) use allocation::BUFFER_BYTES_MAX;
#[cfg(not(loom))]
pub use {
    config::BufferPoolConfig,
    generation::GenerationCounter,
    local::LocalPool,
    pinned::{BufferError, PinnedBuffer},
    pool::{BufferPool, BufferPoolStats},
    pooled::PooledBuffer,
};
