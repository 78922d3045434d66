//! Io: I/O that owns what it works on, by io_uring where that is to be had.
//!
//! ```text
//!            futures, batches          messages from other threads
//!                  │                              │
//!  Operation ──► Ring ─────────┐     Remote ──► Driver
//!                              ▼                  ▼
//!  buffers ──► IoOperation ──► slot ◄──────── IoBackend
//!  (pinned, pooled)            │ ▲          io_uring │ portable │ simulated
//!                        kernel  └─ completion, result *and buffer*
//! ```
//!
//! Nothing here knows of logging: it is the layer that ttlog's files stand on, for everybody's use.
//!
//! # Which door
//!
//! | you have | take |
//! | --- | --- |
//! | one thread, Linux, futures | [`Ring`]: the least between you and the kernel |
//! | many threads, or an async runtime | [`Driver::spawn`] and a [`Remote`] for each |
//! | a loop of your own | [`backend()`]: [`IoBackend`], a queue of operations and completions |
//! | tests | [`SimBackend`]: order, delay, short transfers and failures by a seed |
//!
//! ```
//! use ttlog::io::{Driver, IoChoice, IoFd, IoOperation, PinnedBuffer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("hello");
//! let (remote, thread) = Driver::spawn(IoChoice::Auto)?;
//! let file = IoFd::from(std::fs::File::create(&path)?);
//! let mut buffer = PinnedBuffer::with_capacity_aligned(5);
//! buffer.copy_from_slice(b"hello");
//! let done = remote.submit(IoOperation::write(&file, buffer, 0))?.wait();
//! assert_eq!(done.result?, 5);
//! assert_eq!(done.buffer.unwrap().as_slice(), b"hello"); // it comes back
//! drop(remote);
//! thread.join().unwrap()?;
//! # Ok(()) }
//! ```
//!
//! # What holds whatever safe code does
//!
//! - An operation owns its buffer and its descriptor from submission to completion. Dropping,
//!   leaking or cancelling its future frees nothing before, and a descriptor's number is not used
//!   for another file meanwhile.
//! - The buffer comes back with the result, on error too; of a dropped future it is freed, or goes
//!   back to its pool, with the completion.
//! - A ring that is dropped waits for the kernel. What does not end within
//!   [`drain_max`](RingBuilder::drain_max) is leaked and [counted](leaked_operations), never freed.
//! - A completion that is stale, comes twice or is nobody's changes nothing.
//!
//! A lifetime would not do: a borrow `'buf: 'ring` ends, in safe code, when the future or the ring
//! is passed to [`std::mem::forget`], and the kernel writes on. Pinning does not help either: it
//! keeps a value where it is while somebody looks after it, and a leaked borrow has nobody.
//!
//! # Where io_uring is refused
//!
//! [`backend()`] and [`Driver`] probe at the start, by making a ring and letting an operation pass:
//! ENOSYS (old kernel, seccomp), EPERM (sysctl, seccomp), ENOMEM (RLIMIT_MEMLOCK), a missing
//! operation, or an `enter` that is refused although the set-up was not, lead to the portable
//! backend, and [`IoStats::reason`] says why and what to change. So does `ttlog doctor`.
//!
//! # Platforms
//!
//! Linux 5.11 or newer has io_uring; multishot accept needs 5.19 and receiving 6.0. Every Unix has
//! the portable and the simulated backend.

mod buffer;
mod oneshot;
/// What of io_uring is modelled, where the rest is left out.
#[cfg(all(test, loom))]
#[path = "uring/waiters.rs"]
mod waiters;

/// What models do without.
macro_rules! without_loom {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}

without_loom! {
    mod backend;
    mod choice;
    mod backend_queue;
    mod disk;
    mod driver;
    mod error;
    mod fd;
    mod file_disk;
    mod io_buffer;
    mod lent;
    mod open_options;
    mod operation;
    mod portable;
    mod sim;
    #[cfg(test)]
    pub(crate) mod sim_disk;
    mod slab;
    #[cfg(target_os = "linux")]
    mod uring;

    pub use backend::{IoBackend, IoBackendKind, IoStats, SubmitError};
    pub use buffer::{
        BufferError, BufferPool, BufferPoolConfig, BufferPoolStats, GenerationCounter,
        LocalPool, PinnedBuffer, PooledBuffer,
    };
    pub use choice::{IoChoice, Probe, backend, probe};
    pub(crate) use backend_queue::BackendQueue;
    pub(crate) use disk::{DIRECT_ALIGN, Disk, DiskFile, DiskQueue, Ended};
    pub use driver::{Driver, IoFuture, Remote};
    pub use error::{Error, ErrorKind};
    pub use fd::IoFd;
    pub(crate) use file_disk::FileDisk;
    pub use file_disk::writes_uncached;
    pub use io_buffer::{Buffer, IoBuffer};
    pub(crate) use lent::{Lend, Region};
    #[doc(hidden)]
    pub use lent::LentBuffer;
    pub use open_options::OpenOptions;
    pub use operation::{IoCompletion, IoHandle, IoOperation, IoState, OFFSET_NONE};
    pub use portable::PortableBackend;
    pub use sim::{SimBackend, SimConfig};
    #[cfg(target_os = "linux")]
    pub use uring::*;
}
