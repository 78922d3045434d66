//! Error: why an operation failed, with what it was about.

use std::fmt;
use std::io;

/// Why an operation, or a call of this module, failed.
///
/// Tells the operation, and descriptor and offset where there are any. Converts into
/// [`std::io::Error`].
///
/// ```
/// use ttlog::io::{ErrorKind, IoFd, PinnedBuffer, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(ring) = Ring::new(8) else { return Ok(()) };
/// let read_only = IoFd::from(std::fs::File::open("/dev/null")?);
/// let buffer = PinnedBuffer::with_capacity_aligned(16);
/// let (result, buffer) = ring.block_on(ring.write(&read_only, buffer, 0));
/// assert_eq!(result.unwrap_err().kind(), ErrorKind::Os(9)); // EBADF
/// assert_eq!(buffer.len(), 16); // it comes back on error, too
/// # Ok(()) }
/// ```
pub struct Error(Box<Repr>);

#[derive(Debug, Clone)]
struct Repr {
    kind: ErrorKind,
    op: Option<&'static str>,
    fd: Option<i32>,
    offset: Option<u64>,
}

/// The cases behind [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system's error number.
    Os(i32),
    /// The buffer is marked as in use.
    BufferInFlight,
    /// The operation has not completed yet.
    OperationPending,
    /// The operation was cancelled before it began, or by its batch.
    Cancelled,
    /// The range does not lie within the buffer.
    OutOfBounds {
        /// Where the range ends.
        end: usize,
        /// Bytes of the buffer.
        len: usize,
    },
    /// More operations than one batch may have.
    BatchTooLarge {
        /// Operations of this batch.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The batch makes no sense: empty, or its dependencies are.
    BatchInvalid(String),
    /// The handle was made by another ring, or its registration is gone.
    NotRegistered,
    /// Operations in flight, or other owners, still use it.
    InUse,
    /// The queue is full; try again after completions were taken.
    Busy,
    /// The ring or driver has ended.
    Closed,
    /// This backend or kernel cannot do it, and why.
    Unsupported(String),
    /// An argument makes no sense, and what to do instead.
    Invalid(String),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Repr { kind, op: None, fd: None, offset: None }))
    }

    pub(crate) fn os(errno: i32) -> Self {
        Self::new(ErrorKind::Os(errno))
    }

    /// Says which operation it is about.
    pub(crate) fn during(mut self, op: &'static str, fd: Option<i32>, offset: Option<u64>) -> Self {
        self.0.op = Some(op);
        self.0.fd = fd;
        self.0.offset = offset;
        self
    }

    /// The case, to be matched on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind.clone()
    }

    /// The system's error number, if it comes from there.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.0.kind {
            ErrorKind::Os(errno) => Some(errno),
            _ => None,
        }
    }

    /// True when the operation was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let canceled = rustix::io::Errno::CANCELED.raw_os_error();
        self.0.kind == ErrorKind::Cancelled || self.0.kind == ErrorKind::Os(canceled)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Self::BufferInFlight => f.write_str("the buffer is in use; call mark_available first"),
            Self::OperationPending => f.write_str("the operation has not completed; wait for it"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::OutOfBounds { end, len } => {
                write!(f, "the range ends at {end}, the buffer at {len}")
            }
            Self::BatchTooLarge { size, max } => {
                write!(f, "{size} operations in a batch of at most {max}; use several")
            }
            Self::BatchInvalid(why) | Self::Unsupported(why) | Self::Invalid(why) => {
                f.write_str(why)
            }
            Self::NotRegistered => f.write_str("not registered with this ring, or no longer"),
            Self::InUse => f.write_str("still in use by an operation in flight or another owner"),
            Self::Busy => f.write_str("the queue is full; take completions, then try again"),
            Self::Closed => f.write_str("the ring or driver has ended"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(op) = self.0.op {
            f.write_str(op)?;
            if let Some(fd) = self.0.fd {
                write!(f, " of descriptor {fd}")?;
            }
            if let Some(offset) = self.0.offset {
                write!(f, " at {offset}")?;
            }
            f.write_str(": ")?;
        }
        self.0.kind.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(errno),
            None => Self::new(ErrorKind::Invalid(error.to_string())),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::os(errno.raw_os_error())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.0.kind {
            ErrorKind::Os(errno) => io::Error::from_raw_os_error(errno).kind(),
            ErrorKind::Cancelled => io::ErrorKind::Interrupted,
            ErrorKind::OperationPending | ErrorKind::Busy => io::ErrorKind::WouldBlock,
            ErrorKind::Unsupported(_) => io::ErrorKind::Unsupported,
            ErrorKind::BufferInFlight | ErrorKind::InUse => io::ErrorKind::ResourceBusy,
            ErrorKind::Closed => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
