//! Disk: the file verbs that the store needs, and nothing else.
//!
//! A trait, so that the same store runs on plain files, on io_uring and on a simulated disk that
//! fails on command.

use std::fmt::Debug;
use std::io;
use std::path::Path;

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
}
