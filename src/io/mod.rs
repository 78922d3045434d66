//! Io: I/O that owns what it works on, by io_uring where that is to be had.

mod buffer;

/// What models do without.
macro_rules! without_loom {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}

without_loom! {
    mod backend;
    mod disk;
    mod error;
    mod fd;
    mod file_disk;
    mod io_buffer;
    mod operation;
    mod slab;
    #[cfg(target_os = "linux")]
    mod uring;

    pub use backend::{IoBackend, IoBackendKind, IoStats, SubmitError};
    pub use buffer::{
        BufferError, BufferPool, BufferPoolConfig, BufferPoolStats, GenerationCounter,
        PinnedBuffer, PooledBuffer,
    };
    pub(crate) use disk::{Disk, DiskFile};
    pub use error::{Error, ErrorKind};
    pub use fd::IoFd;
    pub(crate) use file_disk::FileDisk;
    pub use io_buffer::{Buffer, IoBuffer};
    pub use operation::{
        IoCompletion, IoHandle, IoOperation, IoState, OFFSET_NONE, OpenOptions,
    };
    #[cfg(target_os = "linux")]
    pub use uring::*;
}
