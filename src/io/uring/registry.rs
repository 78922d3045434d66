//! Registry: files and buffers that the kernel has looked up, and mapped, in advance.
#![expect(unsafe_code, reason = "registers memory; proof in super, U5 and U8")]

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use io_uring::IoUring;
use parking_lot::Mutex;

use super::super::fd::{Slot, Target};
use super::super::{Error, ErrorKind, IoFd, IoOperation, LentBuffer, PinnedBuffer, Region};
use super::entry::Tables;
use super::ring::Ring;

/// Files, and buffers, that one ring can have registered at a time.
const ENTRIES_MAX: u32 = 256;

/// What was dropped elsewhere, for the ring to clear when it next looks.
#[derive(Debug, Default)]
pub(super) struct Returns {
    n: AtomicUsize,
    list: Mutex<Vec<Return>>,
}

#[derive(Debug)]
pub(super) enum Return {
    File(Slot),
    Buffer(Slot),
    /// A token whose operation nobody waits for any more.
    Token(u64),
}

impl Returns {
    pub(super) fn give(&self, one: Return) {
        self.list.lock().push(one);
        // ord: Release, pairs with the Acquire in `take`; the lock orders the list itself.
        self.n.fetch_add(1, Ordering::Release);
    }

    /// What is given the next moment, it may not see.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // ord: Acquire, as in `give`.
        self.n.load(Ordering::Acquire) == 0
    }

    #[inline]
    pub(super) fn take(&self) -> Vec<Return> {
        if self.is_empty() {
            return Vec::new();
        }
        let list = std::mem::take(&mut *self.list.lock());
        // ord: Release, as in `give`.
        self.n.fetch_sub(list.len(), Ordering::Release);
        list
    }
}

/// The registrations of one ring.
#[derive(Debug)]
pub(super) struct Table {
    ring: u32,
    files: Vec<Entry>,
    buffers: Vec<Entry>,
    /// Memory that is lent again and again (U8).
    lent: Vec<Lent>,
}

/// Lasting memory that is registered.
#[derive(Debug)]
struct Lent {
    owner: Weak<dyn Any + Send + Sync>,
    index: u32,
}

#[derive(Debug, Clone)]
struct Entry {
    generation: u32,
    is_used: bool,
    in_flight: u32,
}

static RINGS: AtomicU32 = AtomicU32::new(1);

impl Table {
    pub(super) fn new() -> Self {
        // ord: Relaxed, a counter.
        let ring = RINGS.fetch_add(1, Ordering::Relaxed);
        Self { ring, files: Vec::new(), buffers: Vec::new(), lent: Vec::new() }
    }

    /// Counts an operation of a registered file.
    #[inline]
    pub(super) fn begin(&mut self, operation: &IoOperation) {
        if !self.files.is_empty() {
            self.count(operation, 1);
        }
    }

    #[inline]
    pub(super) fn end(&mut self, operation: &IoOperation) {
        if !self.files.is_empty() {
            self.count(operation, -1);
        }
    }

    fn count(&mut self, operation: &IoOperation, by: i32) {
        if let Some(IoFd(Target::Registered(slot))) = operation.fd()
            && let Some(entry) = self.files.get_mut(slot.index as usize)
        {
            entry.in_flight = entry.in_flight.saturating_add_signed(by);
        }
    }

    fn find(&self, entries: &[Entry], slot: Slot) -> Option<u32> {
        let entry = entries.get(slot.index as usize).filter(|_| slot.ring == self.ring)?;
        (entry.is_used && entry.generation == slot.generation).then_some(slot.index)
    }

    /// Makes the kernel's table of files when there is none.
    fn make_files(&mut self, ring: &IoUring) -> Result<(), Error> {
        if self.files.is_empty() {
            ring.submitter()
                .register_files(&[-1; ENTRIES_MAX as usize])
                .map_err(|error| Error::from(error).during("register files", None, None))?;
            self.files = vec![Entry::FREE; ENTRIES_MAX as usize];
        }
        Ok(())
    }

    fn make_buffers(&mut self, ring: &IoUring) -> Result<(), Error> {
        if self.buffers.is_empty() {
            ring.submitter()
                .register_buffers_sparse(ENTRIES_MAX)
                .map_err(|error| Error::from(error).during("register buffers", None, None))?;
            self.buffers = vec![Entry::FREE; ENTRIES_MAX as usize];
        }
        Ok(())
    }

    fn add_file(&mut self, ring: &IoUring, fd: &IoFd) -> Result<Slot, Error> {
        let number = fd.owned()?.as_raw_fd();
        self.make_files(ring)?;
        let slot = self.free_slot(&self.files).ok_or_else(|| Error::new(ErrorKind::Busy))?;
        ring.submitter()
            .register_files_update(slot.index, &[number])
            .map_err(|error| Error::from(error).during("register file", Some(number), None))?;
        self.files[slot.index as usize].is_used = true;
        Ok(slot)
    }

    fn remove_file(&mut self, ring: &IoUring, slot: Slot) -> Result<(), Error> {
        let index = self.find(&self.files, slot);
        let index = index.ok_or_else(|| Error::new(ErrorKind::NotRegistered))?;
        let entry = &mut self.files[index as usize];
        if entry.in_flight > 0 {
            return Err(Error::new(ErrorKind::InUse));
        }
        ring.submitter().register_files_update(index, &[-1])?;
        entry.release();
        Ok(())
    }

    fn add_buffer(&mut self, ring: &IoUring, buffer: &mut PinnedBuffer) -> Result<Slot, Error> {
        if buffer.is_empty() {
            let why = "an empty buffer cannot be registered".to_owned();
            return Err(Error::new(ErrorKind::Invalid(why)));
        }
        // The memory belongs to the buffer, which alone names the index from now on.
        self.add_memory(ring, buffer.start(), buffer.len())
    }

    /// Registers memory that stays mapped as long as whoever is going to name the index.
    fn add_memory(&mut self, ring: &IoUring, start: *mut u8, len: usize) -> Result<Slot, Error> {
        self.make_buffers(ring)?;
        let slot = self.free_slot(&self.buffers).ok_or_else(|| Error::new(ErrorKind::Busy))?;
        let vector = libc::iovec { iov_base: start.cast(), iov_len: len };
        // SAFETY: (U5, U8) the caller's memory, which is mapped now; the kernel holds its pages, so
        // that unmapping it leaves no page of another there.
        unsafe { ring.submitter().register_buffers_update(slot.index, &[vector], None) }
            .map_err(|error| Error::from(error).during("register buffer", None, None))?;
        self.buffers[slot.index as usize].is_used = true;
        Ok(slot)
    }

    /// Registers the memory in which a buffer lies; how many such there are. Memory that lasts no
    /// longer gives its place up before.
    pub(super) fn add_lent(&mut self, ring: &IoUring, buffer: &LentBuffer) -> Result<u64, Error> {
        let Some(Region { owner, start, len }) = buffer.region() else {
            return Ok(self.lent.len() as u64);
        };
        let (here, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lent).into_iter().partition(|lent| lent.owner.strong_count() > 0);
        self.lent = here;
        for Lent { index, .. } in gone {
            self.clear_buffer(ring, index)?;
        }
        let index = self.add_memory(ring, start, len)?.index;
        self.lent.push(Lent { owner: Arc::downgrade(&owner), index });
        Ok(self.lent.len() as u64)
    }

    fn clear_buffer(&mut self, ring: &IoUring, index: u32) -> Result<(), Error> {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: (U5) nothing is registered in its place.
        unsafe { ring.submitter().register_buffers_update(index, &[nothing], None) }?;
        self.buffers[index as usize].release();
        Ok(())
    }

    fn remove_buffer(&mut self, ring: &IoUring, slot: Slot) -> Result<(), Error> {
        let index = self.find(&self.buffers, slot);
        self.clear_buffer(ring, index.ok_or_else(|| Error::new(ErrorKind::NotRegistered))?)
    }

    fn free_slot(&self, entries: &[Entry]) -> Option<Slot> {
        let index = entries.iter().position(|entry| !entry.is_used)?;
        let generation = entries[index].generation;
        Some(Slot { ring: self.ring, index: index as u32, generation })
    }

    /// Clears what was dropped without being unregistered; what is in flight stays for next time.
    pub(super) fn take_back(&mut self, ring: &IoUring, one: Return) -> Option<Return> {
        match one {
            Return::File(slot) => match self.remove_file(ring, slot) {
                Err(error) if error.kind() == ErrorKind::InUse => Some(Return::File(slot)),
                _ => None,
            },
            Return::Buffer(slot) => {
                // Refused only when the ring has ended, and then it is gone anyway.
                let _ = self.remove_buffer(ring, slot);
                None
            }
            Return::Token(_) => None,
        }
    }
}

impl Entry {
    const FREE: Self = Self { generation: 1, is_used: false, in_flight: 0 };

    fn release(&mut self) {
        self.is_used = false;
        self.generation = self.generation.wrapping_add(1);
    }
}

impl Tables for Table {
    fn file(&self, slot: Slot) -> Option<u32> {
        self.find(&self.files, slot)
    }

    fn buffer(&self, slot: Slot) -> Option<u16> {
        self.find(&self.buffers, slot).map(|index| index as u16)
    }

    fn lent(&self, buffer: &LentBuffer) -> Option<u16> {
        if self.lent.is_empty() {
            return None;
        }
        // (U8) The table's weak pointer keeps the address from being another owner's.
        let owner = buffer.region()?.owner;
        let is_known = |lent: &&Lent| std::ptr::addr_eq(lent.owner.as_ptr(), Arc::as_ptr(&owner));
        self.lent.iter().find(is_known).map(|lent| lent.index as u16)
    }
}

/// Registers files and buffers with a [`Ring`].
///
/// A registered file saves a look-up in each operation; a registered buffer saves mapping its pages,
/// which pays with O_DIRECT and large blocks. Handles are used like the things themselves.
/// Unregistering takes the handle, so that it cannot be used any more; an [`IoFd`] that was made of
/// it before is refused with [`ErrorKind::NotRegistered`]. A handle that is dropped is unregistered
/// at the ring's next registration.
///
/// # Examples
///
/// ```
/// use ttlog::io::{PinnedBuffer, Registry, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(ring) = Ring::new(8) else { return Ok(()) };
/// let registry = Registry::new(&ring);
/// let file = registry.register_file(std::fs::File::open("/dev/zero")?)?;
/// let mut buffer = PinnedBuffer::with_capacity_aligned(4096);
/// buffer.fill(1);
/// let buffer = registry.register_buffer(buffer).map_err(|(_, error)| error)?;
/// let (result, buffer) = ring.block_on(ring.read(&file, buffer, 0));
/// assert_eq!((result?, buffer[4095]), (4096, 0));
/// let buffer: PinnedBuffer = registry.unregister_buffer(buffer).map_err(|(_, error)| error)?;
/// registry.unregister_file(file).map_err(|(_, error)| error)?;
/// # drop(buffer);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Registry<'ring> {
    ring: &'ring Ring,
}

impl<'ring> Registry<'ring> {
    /// Registers with this ring; registries of one ring share its table.
    #[must_use]
    pub fn new(ring: &'ring Ring) -> Self {
        Self { ring }
    }

    /// Registers a file or socket. The registration keeps it open, whatever becomes of `fd`.
    ///
    /// # Errors
    ///
    /// What the kernel says; [`ErrorKind::Busy`] when 256 are registered;
    /// [`ErrorKind::NotRegistered`] if `fd` is a registration itself.
    pub fn register_file(&self, fd: impl Into<IoFd>) -> Result<RegisteredFd, Error> {
        self.ring.take_returns();
        let slot = self.ring.with_table(|table, ring| table.add_file(ring, &fd.into()))?;
        Ok(RegisteredFd { slot, returns: Some(self.ring.returns()), not_send: PhantomData })
    }

    /// Ends a file's registration.
    ///
    /// # Errors
    ///
    /// Gives the handle back while operations in flight use it ([`ErrorKind::InUse`]), or if it
    /// belongs to another ring.
    pub fn unregister_file(&self, mut fd: RegisteredFd) -> Result<(), (RegisteredFd, Error)> {
        match self.ring.with_table(|table, ring| table.remove_file(ring, fd.slot)) {
            Ok(()) => {
                fd.returns = None;
                Ok(())
            }
            Err(error) => Err((fd, error)),
        }
    }

    /// Registers a buffer.
    ///
    /// # Errors
    ///
    /// Gives the buffer back: ENOMEM beyond RLIMIT_MEMLOCK (it can be used unregistered), EPERM
    /// where a filter forbids it, [`ErrorKind::Busy`] when 256 are registered.
    pub fn register_buffer(
        &self,
        mut buffer: PinnedBuffer,
    ) -> Result<RegisteredBuffer, (PinnedBuffer, Error)> {
        self.ring.take_returns();
        match self.ring.with_table(|table, ring| table.add_buffer(ring, &mut buffer)) {
            Ok(slot) => {
                let returns = self.ring.returns();
                Ok(RegisteredBuffer(Box::new(Whole { buffer: Some(buffer), slot, returns })))
            }
            Err(error) => Err((buffer, error)),
        }
    }

    /// Ends a buffer's registration and gives the buffer back.
    ///
    /// # Errors
    ///
    /// Gives the handle back if it belongs to another ring.
    #[expect(clippy::missing_panics_doc, reason = "the buffer is taken here alone")]
    pub fn unregister_buffer(
        &self,
        mut buffer: RegisteredBuffer,
    ) -> Result<PinnedBuffer, (RegisteredBuffer, Error)> {
        match self.ring.with_table(|table, ring| table.remove_buffer(ring, buffer.slot())) {
            Ok(()) => Ok(buffer.0.buffer.take().expect("taken here alone")),
            Err(error) => Err((buffer, error)),
        }
    }
}

/// A registered file; use `&file` where an [`IoFd`] is taken. It stays on its thread.
pub struct RegisteredFd {
    slot: Slot,
    returns: Option<Arc<Returns>>,
    not_send: PhantomData<*const ()>,
}

impl From<&RegisteredFd> for IoFd {
    fn from(fd: &RegisteredFd) -> Self {
        Self(Target::Registered(fd.slot))
    }
}

impl Drop for RegisteredFd {
    fn drop(&mut self) {
        if let Some(returns) = self.returns.take() {
            returns.give(Return::File(self.slot));
        }
    }
}

impl fmt::Debug for RegisteredFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredFd({})", self.slot.index)
    }
}

/// A registered buffer, used like a [`PinnedBuffer`]. With another ring it is an ordinary buffer.
pub struct RegisteredBuffer(Box<Whole>);

/// On the heap, where operations leave it when they move.
struct Whole {
    buffer: Option<PinnedBuffer>,
    slot: Slot,
    returns: Arc<Returns>,
}

impl RegisteredBuffer {
    pub(super) fn slot(&self) -> Slot {
        self.0.slot
    }

    pub(crate) fn pinned_mut(&mut self) -> &mut PinnedBuffer {
        self.0.buffer.as_mut().expect("taken when it is unregistered or dropped")
    }
}

impl Deref for RegisteredBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.buffer.as_deref().expect("taken when it is unregistered or dropped")
    }
}

impl DerefMut for RegisteredBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pinned_mut()
    }
}

impl Drop for RegisteredBuffer {
    fn drop(&mut self) {
        if self.0.buffer.is_some() {
            self.0.returns.give(Return::Buffer(self.0.slot));
        }
    }
}

impl fmt::Debug for RegisteredBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredBuffer({})", self.0.slot.index)
    }
}
