//! Io: how bytes reach the disk.
//!
//! `io` knows buffers, files and errors, and no log event.

mod disk;
mod file_disk;

pub(crate) use disk::{Disk, DiskFile};
pub(crate) use file_disk::FileDisk;
