//! FileDisk: the disk through `pwrite` and `fdatasync`.
//!
//! Long writes go past the page cache's memory where the kernel can (`RWF_DONTCACHE`, Linux 6.14 on
//! ext4 and xfs): their pages are given back once they are on the disk, so that a busy log neither
//! pushes the program's own files out of memory nor pays for fresh pages all the time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, IoFd};

/// Writes of at least so many bytes do not stay in the page cache. Shorter ones are those of a
/// quiet log, which is likely to be read soon.
const UNCACHED_BYTES_MIN: usize = 64 << 10;
/// A page that is written in part is kept, or the next write would have to read it.
const PAGE_BYTES: u64 = 4096;

/// The file system of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileDisk;

impl Disk for FileDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o640).custom_flags(flags);
        Ok(Box::new(PlainFile::new(options.open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(PlainFile::new(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// An open file, and what its file system was found to be able to do.
#[derive(Debug)]
struct PlainFile {
    file: File,
    /// False once the kernel refused `RWF_DONTCACHE`.
    may_uncache: AtomicBool,
}

impl PlainFile {
    fn new(file: File) -> Self {
        Self { file, may_uncache: AtomicBool::new(true) }
    }

    /// One write of some of the bytes.
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let whole = (offset + bytes.len() as u64) / PAGE_BYTES * PAGE_BYTES;
        let n_whole = whole.saturating_sub(offset) as usize;
        // ord: Relaxed, a hint that guards nothing.
        if n_whole >= UNCACHED_BYTES_MIN && self.may_uncache.load(Ordering::Relaxed) {
            match write_uncached(&self.file, &bytes[..n_whole], offset) {
                // EINVAL, ENOSYS: before Linux 6.14 and 4.6; EOPNOTSUPP: not on this file system.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    // ord: Relaxed, as above.
                    self.may_uncache.store(false, Ordering::Relaxed);
                }
                other => return Ok(other?),
            }
        }
        self.file.write_at(bytes, offset)
    }
}

/// One write whose pages are given back once they are on the disk.
#[cfg(target_os = "linux")]
fn write_uncached(file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    /// `RWF_DONTCACHE` of linux/fs.h, which rustix does not name yet.
    const DONTCACHE: rustix::io::ReadWriteFlags =
        rustix::io::ReadWriteFlags::from_bits_retain(0x80);
    rustix::io::pwritev2(file, &[io::IoSlice::new(bytes)], offset, DONTCACHE)
}

/// Other systems have no such write.
#[cfg(not(target_os = "linux"))]
fn write_uncached(_file: &File, _bytes: &[u8], _offset: u64) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// Makes a file and says whether long writes to it leave no pages in the page cache, as segments are
/// written: by `RWF_DONTCACHE`, which Linux has from 6.14 on, on ext4 and xfs. The caller removes
/// the file.
///
/// # Errors
///
/// When the file exists, cannot be made, or cannot be written to.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let dir = tempfile::tempdir()?;
/// let uncached = ttlog::io::writes_uncached(dir.path().join("probe"))?;
/// println!("long writes stay in the page cache: {}", !uncached);
/// # Ok(()) }
/// ```
pub fn writes_uncached(path: impl AsRef<Path>) -> io::Result<bool> {
    let file = PlainFile::new(OpenOptions::new().write(true).create_new(true).open(path)?);
    file.write_at(&vec![0; UNCACHED_BYTES_MIN], 0).map_err(|(_, error)| error)?;
    // ord: Relaxed, this thread alone stored it.
    Ok(file.may_uncache.load(Ordering::Relaxed))
}

impl DiskFile for PlainFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(&bytes[written..], offset + written as u64) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)?)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_linked(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() > 0)
    }

    fn is_named(&self, path: &Path) -> bool {
        let (Ok(held), Ok(named)) = (self.file.metadata(), std::fs::symlink_metadata(path)) else {
            return false;
        };
        held.dev() == named.dev() && held.ino() == named.ino()
    }

    #[cfg(not(target_vendor = "apple"))]
    fn set_direct(&self, direct: bool) -> io::Result<()> {
        let mut flags = rustix::fs::fcntl_getfl(&self.file)?;
        flags.set(OFlags::DIRECT, direct);
        Ok(rustix::fs::fcntl_setfl(&self.file, flags)?)
    }

    #[cfg(target_vendor = "apple")]
    fn set_direct(&self, _direct: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn fd(&self) -> io::Result<IoFd> {
        Ok(IoFd::from(self.file.try_clone()?))
    }
}
