//! Fd: descriptors that operations own together with their users.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;

use super::{Error, ErrorKind};

/// A descriptor that stays open for as long as an operation, or any clone, has it.
///
/// A number that was closed and given to another file is never written to: the kernel has the
/// descriptor only while a clone lies in the operation. Clones share one descriptor.
///
/// ```
/// use ttlog::io::IoFd;
///
/// # fn main() -> std::io::Result<()> {
/// let fd = IoFd::from(std::fs::File::open("/dev/zero")?);
/// let clone = fd.clone();
/// assert!(fd.try_into_owned().is_err()); // the clone has it, too
/// assert!(clone.try_into_owned().is_ok());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct IoFd(pub(super) Target);

#[derive(Debug, Clone)]
pub(super) enum Target {
    Owned(Arc<OwnedFd>),
    /// A slot in the table of registered files of one ring.
    Registered(Slot),
}

/// Names a registration: the slot, and which use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) ring: u32,
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl IoFd {
    /// The descriptor; `None` for a registered file, which has none.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Target::Owned(fd) => Some(fd.as_fd()),
            Target::Registered(_) => None,
        }
    }

    /// Takes the descriptor out, for a [`File`] or a socket of std.
    ///
    /// # Errors
    ///
    /// Gives it back while a clone or an operation in flight has it, or if it is a registered one.
    pub fn try_into_owned(self) -> Result<OwnedFd, Self> {
        match self.0 {
            Target::Owned(fd) => Arc::try_unwrap(fd).map_err(|fd| Self(Target::Owned(fd))),
            Target::Registered(slot) => Err(Self(Target::Registered(slot))),
        }
    }

    /// Makes a stream socket for addresses like this one, to be connected by an operation.
    ///
    /// # Errors
    ///
    /// What `socket` says, such as EMFILE.
    pub fn stream_socket(address: &SocketAddr) -> Result<Self, Error> {
        use rustix::net::{AddressFamily, SocketType, socket};
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let fd = socket(family, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self::from(fd))
    }

    /// Takes the descriptor, leaving a registration that names nothing.
    #[cfg(target_os = "linux")]
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        let nothing = Target::Registered(Slot { ring: 0, index: 0, generation: 0 });
        Self(std::mem::replace(&mut self.0, nothing))
    }

    /// The number, for messages alone.
    pub(super) fn number(&self) -> Option<i32> {
        self.as_fd().map(|fd| fd.as_raw_fd())
    }

    pub(super) fn owned(&self) -> Result<&Arc<OwnedFd>, Error> {
        match &self.0 {
            Target::Owned(fd) => Ok(fd),
            Target::Registered(_) => Err(Error::new(ErrorKind::NotRegistered)),
        }
    }
}

impl From<&IoFd> for IoFd {
    #[inline]
    fn from(fd: &IoFd) -> Self {
        fd.clone()
    }
}

macro_rules! from_owned {
    ($($name:ty),*) => {$(
        impl From<$name> for IoFd {
            fn from(value: $name) -> Self {
                Self(Target::Owned(Arc::new(value.into())))
            }
        }
    )*};
}
from_owned!(OwnedFd, File, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener);
from_owned!(UnixStream, std::io::PipeReader, std::io::PipeWriter);
