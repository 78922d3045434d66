//! Watch: which descriptors wait for readiness, and for whom.
//!
//! # Invariants
//!
//! - **W1** A descriptor that the poller knows is owned by an entry here, and the poller is told to
//!   forget it before the entry goes.
#![expect(unsafe_code, reason = "the poller keeps descriptors by number; proof above, W1")]

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;

use polling::{Event, Poller};

use super::super::Error;

/// Descriptors with operations that wait for them.
#[derive(Debug)]
pub(super) struct Watch {
    poller: Arc<Poller>,
    entries: HashMap<usize, Entry>,
}

#[derive(Debug)]
struct Entry {
    fd: Arc<OwnedFd>,
    readers: VecDeque<u64>,
    writers: VecDeque<u64>,
}

impl Watch {
    pub(super) fn new(poller: Arc<Poller>) -> Self {
        Self { poller, entries: HashMap::new() }
    }

    /// Waits for readiness on behalf of an operation.
    pub(super) fn add(&mut self, fd: &Arc<OwnedFd>, key: u64, write: bool) -> Result<(), Error> {
        let id = fd.as_raw_fd() as usize;
        if !self.entries.contains_key(&id) {
            // SAFETY: (W1) the entry below owns it, and `forget` deletes it first.
            unsafe { self.poller.add(&**fd, Event::none(id)) }?;
            let entry =
                Entry { fd: Arc::clone(fd), readers: VecDeque::new(), writers: VecDeque::new() };
            self.entries.insert(id, entry);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            if write { entry.writers.push_back(key) } else { entry.readers.push_back(key) }
        }
        self.tell(id)
    }

    /// Takes the operations that this event concerns; those that still wait are added again.
    pub(super) fn take(&mut self, event: &Event, out: &mut Vec<u64>) {
        if let Some(entry) = self.entries.get_mut(&event.key) {
            if event.readable {
                out.extend(entry.readers.drain(..));
            }
            if event.writable {
                out.extend(entry.writers.drain(..));
            }
            // Refused only when the descriptor is not the poller's any more: then it is forgotten.
            let _ = self.tell(event.key);
        }
    }

    /// Forgets an operation.
    pub(super) fn remove(&mut self, fd: &Arc<OwnedFd>, key: u64) {
        let id = fd.as_raw_fd() as usize;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.readers.retain(|waiting| *waiting != key);
            entry.writers.retain(|waiting| *waiting != key);
            // As in `take`.
            let _ = self.tell(id);
        }
    }

    /// Tells the poller what is waited for; it forgets after each event by itself.
    fn tell(&mut self, id: usize) -> Result<(), Error> {
        let Some(entry) = self.entries.get(&id) else { return Ok(()) };
        let event = Event::new(id, !entry.readers.is_empty(), !entry.writers.is_empty());
        if event.readable || event.writable {
            return Ok(self.poller.modify(entry.fd.as_fd(), event)?);
        }
        self.forget(id);
        Ok(())
    }

    fn forget(&mut self, id: usize) {
        if let Some(entry) = self.entries.remove(&id) {
            // (W1) Refused only for what the poller does not have.
            let _ = self.poller.delete(entry.fd.as_fd());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let ids: Vec<_> = self.entries.keys().copied().collect();
        ids.into_iter().for_each(|id| self.forget(id));
    }
}
