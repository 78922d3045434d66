//! Doorbell: wakes a thread that waits in the kernel for its ring.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

use super::super::Error;

/// An eventfd that a ring polls while its owner sleeps.
#[derive(Debug)]
pub(super) struct Doorbell {
    fd: OwnedFd,
}

impl Doorbell {
    pub(super) fn new() -> Result<Arc<Self>, Error> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { fd }))
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Takes all rings so far.
    pub(super) fn clear(&self) {
        // Empty is as good as emptied.
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let one: [u8; 8] = std::array::from_fn(|at| u8::from(at == usize::from(cfg!(target_endian = "big")) * 7));
        // Fails only when it is full of rings, and then it rings.
        let _ = rustix::io::write(&self.fd, &one);
    }
}
