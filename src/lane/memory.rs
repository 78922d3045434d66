//! Memory: the mapping under a lane or a staging buffer, shared by name or private.
#![expect(unsafe_code, reason = "maps files and lends the mapping out; proof in I1-I4 below")]
//!
//! # Invariants
//!
//! - **I1** A mapping is page-aligned, `len` bytes long and stays until its `Memory` is dropped;
//!   whoever holds a pointer into it holds the `Memory` (through an `Arc`) too.
//! - **I2** The file behind a shared mapping is made by this process under a fresh name
//!   (`O_EXCL | O_NOFOLLOW`, 0600), fully reserved before it is mapped and never shortened, so that
//!   no access can raise SIGBUS.
//! - **I3** The first `HEADER_BYTES` are accessed through atomics only.
//! - **I4** The bytes behind them are written by the one thread that owns the position (the lane's
//!   producer, or the consumer that fills a staging buffer) and read by others only after a release
//!   store published them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes before the data of every mapping: one page of words.
pub(crate) const HEADER_BYTES: usize = 4096;
/// Words in the header.
pub(crate) const HEADER_WORDS: usize = HEADER_BYTES / 8;

/// A mapping of a header page and `data_len` bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    data_len: usize,
}

// SAFETY: (I3, I4) all access is through atomics or ordered by them.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Makes the file `name` in the directory `place`, reserves and maps it.
    pub(crate) fn shared(place: impl AsFd, name: &Path, data_len: usize) -> io::Result<Self> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&place, name, flags, mode)?);
        let len = HEADER_BYTES + data_len;
        // Reserving makes a full /dev/shm an error here, where it would be a SIGBUS later (I2).
        // A signal interrupts it, also one whose handler wants calls restarted.
        let mapped = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len as u64)
        })
        .and_then(|()| Self::map(Some(&file), data_len));
        if mapped.is_err() {
            let _ = rustix::fs::unlinkat(&place, name, rustix::fs::AtFlags::empty());
        }
        Ok(mapped?)
    }

    /// Maps memory that no other process sees.
    pub(crate) fn private(data_len: usize) -> io::Result<Self> {
        Ok(Self::map(None, data_len)?)
    }

    fn map(file: Option<&File>, data_len: usize) -> rustix::io::Result<Self> {
        let len = HEADER_BYTES + data_len;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let start = match file {
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            Some(file) => unsafe {
                let flags = MapFlags::SHARED | MapFlags::POPULATE;
                rustix::mm::mmap(std::ptr::null_mut(), len, access, flags, file, 0)
            },
            // SAFETY: as above.
            None => unsafe {
                let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
                rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, access, flags)
            },
        }?;
        let start = NonNull::new(start.cast::<u8>()).expect("the kernel maps nothing at 0");
        Ok(Self { start, data_len })
    }

    /// Bytes behind the header.
    pub(crate) fn data_len(&self) -> usize {
        self.data_len
    }

    /// One word of the header.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        // SAFETY: (I1, I3) page-aligned, long enough, and only ever seen as atomics.
        let header: &[AtomicU64; HEADER_WORDS] = unsafe { self.start.cast().as_ref() };
        &header[index]
    }

    /// Address of the first byte behind the header.
    pub(crate) fn data(&self) -> *mut u8 {
        // SAFETY: (I1) the mapping is longer than its header.
        unsafe { self.start.as_ptr().add(HEADER_BYTES) }
    }

    /// Lends bytes behind the header that have been published.
    ///
    /// # Safety
    ///
    /// The bytes are published, and their owner does not write them again while the slice lives
    /// (I4).
    pub(crate) unsafe fn published(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.data_len && len <= self.data_len - at, "beyond the mapping");
        // SAFETY: (I1) the range was checked; (I4) by the caller.
        let first = unsafe { self.data().add(at) };
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// Lends bytes behind the header to the one thread that writes them.
    ///
    /// # Safety
    ///
    /// The caller is the one owner of these bytes, and they are not published (I4).
    #[expect(clippy::mut_from_ref, reason = "the mapping is shared, the range is the caller's")]
    pub(crate) unsafe fn owned(&self, at: usize, len: usize) -> &mut [u8] {
        assert!(at <= self.data_len && len <= self.data_len - at, "beyond the mapping");
        // SAFETY: (I1) the range was checked; (I4) by the caller.
        let first = unsafe { self.data().add(at) };
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: (I1) nobody holds a pointer into it any more.
        let _ =
            unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), HEADER_BYTES + self.data_len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_mapping_is_a_file_with_mode_0600_that_is_reserved() {
        use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let place = File::open(dir.path()).unwrap();
        let memory = Memory::shared(&place, Path::new("lane-1"), 8192).unwrap();
        // SAFETY: this test is the only owner.
        unsafe { memory.owned(0, 5) }.copy_from_slice(b"hello");
        let file = File::open(dir.path().join("lane-1")).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        assert_eq!(meta.len(), 4096 + 8192);
        assert!(meta.blocks() * 512 >= meta.len());
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, HEADER_BYTES as u64).unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[test]
    fn a_name_that_exists_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("lane-1")).unwrap();
        let place = File::open(dir.path()).unwrap();
        let error = Memory::shared(&place, Path::new("lane-1"), 4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
