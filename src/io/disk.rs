//! Disk: the file verbs that the store needs, and nothing else.
//!
//! A trait, so that the same store runs on plain files, on io_uring and on a simulated disk that
//! fails on command.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::task::Waker;
use std::time::Duration;

use super::{IoFd, LentBuffer};

/// A directory tree in which segments lie.
pub(crate) trait Disk: Debug + Send {
    /// Makes a new file for appending, readable by its group, and fails when the name exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that exists, for reading and mending.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames within one file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub(crate) trait DiskFile: Debug + Send {
    /// Writes all bytes at this offset, or says how many of them were written before the error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), (usize, io::Error)>;
    /// Reserves room up to this length; the file may be longer afterwards, filled with zeros.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// False when the file has no name any more, so that what is written to it is gone with it.
    fn is_linked(&self) -> bool;
    /// True while `path` names this very file.
    fn is_named(&self, path: &Path) -> bool;
    /// Lets writes go past the page cache, or through it again. Past it, offset, length and memory
    /// of each have to be multiples of [`DIRECT_ALIGN`].
    fn set_direct(&self, direct: bool) -> io::Result<()>;
    /// The descriptor, for a [`DiskQueue`] that hands it to a kernel.
    fn fd(&self) -> io::Result<IoFd>;
}

/// Alignment of what goes past the page cache: no disk has larger sectors.
pub(crate) const DIRECT_ALIGN: usize = 4096;

/// Writes, and syncs, that go on while others begin.
pub(crate) trait DiskQueue: Debug {
    /// Begins to write all of the buffer; it comes back when nothing can begin.
    fn begin(
        &mut self,
        fd: &IoFd,
        bytes: LentBuffer,
        offset: u64,
    ) -> Result<u64, (LentBuffer, io::Error)>;
    /// Begins to make durable what of a file has ended by now.
    fn begin_sync(&mut self, fd: &IoFd) -> io::Result<u64>;
    /// Appends what has ended. Without any it waits for one, until the time has passed or the waker
    /// was called; without end for `None`.
    fn reap(&mut self, timeout: Option<Duration>, out: &mut Vec<Ended>) -> io::Result<()>;
    /// Ends a wait in [`reap`](Self::reap), from any thread.
    fn waker(&self) -> Waker;
    /// Why it is another kind of queue, or asks more of the processor, than it might.
    fn reason(&self) -> Option<String> {
        None
    }
}

/// A write or sync that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What `begin` or `begin_sync` called it.
    pub(crate) id: u64,
    /// How many bytes were written, which may be less than all.
    pub(crate) result: io::Result<usize>,
    /// The buffer of a write.
    pub(crate) bytes: Option<LentBuffer>,
}
