//! Job: one file that is copied, and what is in flight of it.

use std::fs::Metadata;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::SeekFrom;

use super::place::Target;
use crate::io::IoFd;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// One file.
pub(super) struct Job {
    pub(super) path: PathBuf,
    pub(super) place: PathBuf,
    pub(super) part: PathBuf,
    /// It is synced by itself.
    pub(super) is_alone: bool,
    pub(super) source: IoFd,
    pub(super) target: IoFd,
    pub(super) metadata: Metadata,
    /// What is read next, and where the stretch of data ends in which it lies.
    pub(super) next: u64,
    pub(super) data_end: u64,
    pub(super) in_flight: u32,
    /// True while it has its place among the readers.
    pub(super) is_reading: bool,
    pub(super) failed: Option<io::Error>,
}

/// What is in flight of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// So many bytes from there.
    Read {
        at: u64,
        len: usize,
    },
    /// A part of the buffer that was read from `at`; `rest` bytes behind it were not read yet.
    Write {
        at: u64,
        from: usize,
        end: usize,
        rest: usize,
    },
    Sync,
}

impl Job {
    /// Finds the next stretch of data behind a hole; false when there is none.
    pub(super) fn next_data(&mut self) -> io::Result<bool> {
        let len = self.metadata.len();
        if self.next >= len {
            return Ok(false);
        }
        let Some(source) = self.source.as_fd() else { return Ok(false) };
        let data = match rustix::fs::seek(source, SeekFrom::Data(self.next)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => len,
            Err(error) => return Err(error.into()),
        };
        if data >= len {
            (self.next, self.data_end) = (len, len);
            return Ok(false);
        }
        let hole = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        (self.next, self.data_end) = (data, hole.min(len));
        Ok(true)
    }

    /// Gives the copy its length, which holes at the end need, and what else it is to have.
    pub(super) fn dress(&self, target: &Target) -> io::Result<()> {
        let Some(copy) = self.target.as_fd() else { return Ok(()) };
        if is_sparse(&self.metadata) {
            rustix::fs::ftruncate(copy, self.metadata.len())?;
        }
        target.dresser.dress_new(copy, &self.metadata)
    }
}

pub(super) fn is_sparse(metadata: &Metadata) -> bool {
    metadata.blocks() * BLOCK_BYTES < metadata.len()
}

pub(super) fn write_all(copy: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()> {
    let (mut bytes, mut at) = (bytes, at);
    while !bytes.is_empty() {
        match rustix::io::pwrite(copy, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => (bytes, at) = (&bytes[n..], at + n as u64),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
