//! Operation: what a backend is asked to do, with all that it needs, and what comes back.

use std::ffi::{CString, OsStr};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use super::{Error, ErrorKind, IoBuffer, IoFd, OpenOptions};

/// Says to a read or a write: at the file's own position, or none, as pipes and sockets have it.
pub const OFFSET_NONE: u64 = u64::MAX;

/// One operation, with the buffer and the descriptor that it owns until it has completed.
///
/// The functions make the common shapes; a range other than the whole buffer is chosen with
/// [`in_range`](Self::in_range).
///
/// ```
/// use ttlog::io::{IoFd, IoOperation, OFFSET_NONE};
///
/// # fn main() -> std::io::Result<()> {
/// let zero = IoFd::from(std::fs::File::open("/dev/zero")?);
/// let operation = IoOperation::read(&zero, vec![1; 100], OFFSET_NONE).in_range(10..20);
/// assert_eq!(operation.name(), "read");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum IoOperation {
    /// Does nothing, by way of the kernel where there is one.
    Nop,
    /// Reads into `buffer[range]`; the result is the number of bytes, 0 at the end.
    Read {
        /// What to read.
        fd: IoFd,
        /// Where to.
        buffer: IoBuffer,
        /// Bytes of the buffer that may be filled.
        range: Range<usize>,
        /// Bytes from the file's start, or [`OFFSET_NONE`].
        offset: u64,
    },
    /// Writes `buffer[range]`; the result is the number of bytes, which may be less.
    Write {
        /// Where to.
        fd: IoFd,
        /// What to write.
        buffer: IoBuffer,
        /// Bytes of the buffer that are written.
        range: Range<usize>,
        /// Bytes from the file's start, or [`OFFSET_NONE`].
        offset: u64,
    },
    /// Reads into several buffers, one after the other.
    ReadVectored {
        /// What to read.
        fd: IoFd,
        /// Where to; at most 1024.
        buffers: Vec<IoBuffer>,
        /// Bytes from the file's start, or [`OFFSET_NONE`].
        offset: u64,
    },
    /// Writes several buffers, one after the other.
    WriteVectored {
        /// Where to.
        fd: IoFd,
        /// What to write; at most 1024.
        buffers: Vec<IoBuffer>,
        /// Bytes from the file's start, or [`OFFSET_NONE`].
        offset: u64,
    },
    /// Makes what completed before durable.
    Fsync {
        /// The file.
        fd: IoFd,
        /// Contents and length alone (fdatasync) or everything.
        data_only: bool,
    },
    /// Accepts a connection, which is the completion's `descriptor`.
    Accept {
        /// The listener.
        fd: IoFd,
    },
    /// Connects a socket.
    Connect {
        /// The socket, for example of [`IoFd::stream_socket`].
        fd: IoFd,
        /// Where to.
        address: SocketAddr,
    },
    /// Sends `buffer[range]`, without a signal when the other end is gone.
    Send {
        /// A connected socket.
        fd: IoFd,
        /// What to send.
        buffer: IoBuffer,
        /// Bytes of the buffer that are sent.
        range: Range<usize>,
    },
    /// Receives into `buffer[range]`; the result is the number of bytes, 0 at the end.
    Recv {
        /// A connected socket.
        fd: IoFd,
        /// Where to.
        buffer: IoBuffer,
        /// Bytes of the buffer that may be filled.
        range: Range<usize>,
    },
    /// Opens a file, which is the completion's `descriptor`.
    Open {
        /// The path.
        path: CString,
        /// How.
        options: OpenOptions,
    },
    /// Closes a descriptor, and tells what `close` said.
    Close {
        /// The descriptor; refused while anybody else has a clone.
        fd: IoFd,
    },
    /// Completes when the time has passed, with a result of 0.
    Timeout {
        /// How long.
        after: Duration,
    },
}

impl IoOperation {
    /// Reads into the whole buffer.
    #[inline]
    pub fn read(fd: impl Into<IoFd>, buffer: impl Into<IoBuffer>, offset: u64) -> Self {
        let buffer = buffer.into();
        Self::Read { fd: fd.into(), range: 0..buffer.len(), buffer, offset }
    }

    /// Writes the whole buffer.
    #[inline]
    pub fn write(fd: impl Into<IoFd>, buffer: impl Into<IoBuffer>, offset: u64) -> Self {
        let buffer = buffer.into();
        Self::Write { fd: fd.into(), range: 0..buffer.len(), buffer, offset }
    }

    /// Sends the whole buffer.
    #[inline]
    pub fn send(fd: impl Into<IoFd>, buffer: impl Into<IoBuffer>) -> Self {
        let buffer = buffer.into();
        Self::Send { fd: fd.into(), range: 0..buffer.len(), buffer }
    }

    /// Receives into the whole buffer.
    #[inline]
    pub fn recv(fd: impl Into<IoFd>, buffer: impl Into<IoBuffer>) -> Self {
        let buffer = buffer.into();
        Self::Recv { fd: fd.into(), range: 0..buffer.len(), buffer }
    }

    /// Makes contents, length and metadata durable.
    pub fn fsync(fd: impl Into<IoFd>) -> Self {
        Self::Fsync { fd: fd.into(), data_only: false }
    }

    /// Makes contents and length durable.
    pub fn fdatasync(fd: impl Into<IoFd>) -> Self {
        Self::Fsync { fd: fd.into(), data_only: true }
    }

    /// Accepts one connection.
    pub fn accept(fd: impl Into<IoFd>) -> Self {
        Self::Accept { fd: fd.into() }
    }

    /// Connects a socket.
    pub fn connect(fd: impl Into<IoFd>, address: SocketAddr) -> Self {
        Self::Connect { fd: fd.into(), address }
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// If the path holds a zero byte.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, Error> {
        let path: &OsStr = path.as_ref().as_os_str();
        let path = CString::new(path.as_bytes()).map_err(|_| {
            Error::new(ErrorKind::Invalid("a path must not hold a zero byte".into()))
        })?;
        Ok(Self::Open { path, options })
    }

    /// Closes a descriptor.
    pub fn close(fd: impl Into<IoFd>) -> Self {
        Self::Close { fd: fd.into() }
    }

    /// Waits.
    #[must_use]
    pub fn timeout(after: Duration) -> Self {
        Self::Timeout { after }
    }

    /// Restricts a read, write, send or receive to a part of its buffer; others stay as they are.
    #[must_use]
    pub fn in_range(mut self, part: Range<usize>) -> Self {
        if let Self::Read { range, .. }
        | Self::Write { range, .. }
        | Self::Send { range, .. }
        | Self::Recv { range, .. } = &mut self
        {
            *range = part;
        }
        self
    }

    /// The operation's name, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nop => "nop",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::ReadVectored { .. } => "readv",
            Self::WriteVectored { .. } => "writev",
            Self::Fsync { .. } => "fsync",
            Self::Accept { .. } => "accept",
            Self::Connect { .. } => "connect",
            Self::Send { .. } => "send",
            Self::Recv { .. } => "recv",
            Self::Open { .. } => "open",
            Self::Close { .. } => "close",
            Self::Timeout { .. } => "timeout",
        }
    }

    /// The descriptor that it is about.
    #[must_use]
    pub fn fd(&self) -> Option<&IoFd> {
        match self {
            Self::Read { fd, .. }
            | Self::Write { fd, .. }
            | Self::ReadVectored { fd, .. }
            | Self::WriteVectored { fd, .. }
            | Self::Fsync { fd, .. }
            | Self::Accept { fd }
            | Self::Connect { fd, .. }
            | Self::Send { fd, .. }
            | Self::Recv { fd, .. }
            | Self::Close { fd } => Some(fd),
            Self::Nop | Self::Open { .. } | Self::Timeout { .. } => None,
        }
    }

    pub(crate) fn offset(&self) -> Option<u64> {
        match self {
            Self::Read { offset, .. }
            | Self::Write { offset, .. }
            | Self::ReadVectored { offset, .. }
            | Self::WriteVectored { offset, .. } => Some(*offset).filter(|at| *at != OFFSET_NONE),
            _ => None,
        }
    }

    /// Takes the buffer out; several are one [`IoBuffer::Many`].
    #[must_use]
    #[inline]
    pub fn into_buffer(self) -> Option<IoBuffer> {
        match self {
            Self::Read { buffer, .. }
            | Self::Write { buffer, .. }
            | Self::Send { buffer, .. }
            | Self::Recv { buffer, .. } => Some(buffer),
            Self::ReadVectored { buffers, .. } | Self::WriteVectored { buffers, .. } => {
                Some(IoBuffer::Many(buffers))
            }
            _ => None,
        }
    }

    /// True when success is a number of bytes and nothing else.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Self::Accept { .. } | Self::Open { .. } | Self::Close { .. })
    }

    pub(super) fn buffer_mut(&mut self) -> Buffers<'_> {
        match self {
            Self::Read { buffer, .. }
            | Self::Write { buffer, .. }
            | Self::Send { buffer, .. }
            | Self::Recv { buffer, .. } => Buffers::One(buffer),
            Self::ReadVectored { buffers, .. } | Self::WriteVectored { buffers, .. } => {
                Buffers::Many(buffers)
            }
            _ => Buffers::None,
        }
    }

    /// Says an error in the operation's name.
    pub(crate) fn error(&self, error: Error) -> Error {
        error.during(self.name(), self.fd().and_then(IoFd::number), self.offset())
    }

    /// What must hold before a backend takes it; marks the buffers as in use. Gives where the bytes
    /// of a single buffer's range lie, on the heap, and how many.
    #[inline(always)]
    pub(super) fn begin(&mut self) -> Result<(*mut u8, usize), Error> {
        let (Self::Read { buffer, range, .. }
        | Self::Write { buffer, range, .. }
        | Self::Send { buffer, range, .. }
        | Self::Recv { buffer, range, .. }) = self
        else {
            return self.begin_of_rare().map(|()| (std::ptr::null_mut(), 0));
        };
        let (start, len, mark) = buffer.place();
        let (from, to) = (range.start, range.end);
        if from > to || to > len || start.is_null() {
            return Err(self.refusal(from, to));
        }
        if mark.is_some_and(|buffer| !buffer.begin_owned()) {
            return Err(self.error(Error::new(ErrorKind::BufferInFlight)));
        }
        Ok((start.wrapping_add(from), to - from))
    }

    /// Why a range is none of a single buffer's.
    #[cold]
    fn refusal(&mut self, from: usize, end: usize) -> Error {
        let len = match self.buffer_mut() {
            Buffers::One(buffer) => buffer.len(),
            _ => 0,
        };
        let kind = if from > end || end > len {
            ErrorKind::OutOfBounds { end, len }
        } else {
            ErrorKind::Invalid("several buffers need a vectored operation".to_owned())
        };
        self.error(Error::new(kind))
    }

    /// The same for operations without buffers, or with several.
    #[inline(never)]
    fn begin_of_rare(&mut self) -> Result<(), Error> {
        let Buffers::Many(buffers) = self.buffer_mut() else { return Ok(()) };
        if buffers.len() > 1024 || buffers.iter().any(|b| matches!(b, IoBuffer::Many(_))) {
            let why = "a vectored operation takes up to 1024 plain buffers".to_owned();
            return Err(self.error(Error::new(ErrorKind::Invalid(why))));
        }
        if let Some(n_begun) = buffers.iter_mut().position(|buffer| !buffer.begin()) {
            buffers[..n_begun].iter_mut().for_each(IoBuffer::end);
            return Err(self.error(Error::new(ErrorKind::BufferInFlight)));
        }
        Ok(())
    }

    /// Marks the buffers as available again.
    pub(super) fn end(&mut self) {
        match self.buffer_mut() {
            Buffers::None => {}
            Buffers::One(buffer) => buffer.end(),
            Buffers::Many(buffers) => buffers.iter_mut().for_each(IoBuffer::end),
        }
    }
}

/// The buffers of an operation.
pub(super) enum Buffers<'a> {
    None,
    One(&'a mut IoBuffer),
    Many(&'a mut Vec<IoBuffer>),
}

/// Names an operation within the backend that took it. It names nothing any more once the
/// operation's completion was taken, and never names another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IoHandle(pub(super) u64);

/// What became of an operation.
#[derive(Debug)]
pub struct IoCompletion {
    /// Which one.
    pub handle: IoHandle,
    /// Bytes, or 0 where there are none to count.
    pub result: Result<usize, Error>,
    /// The operation's buffer, on error too; several are one [`IoBuffer::Many`].
    pub buffer: Option<IoBuffer>,
    /// What an accept or open opened.
    pub descriptor: Option<IoFd>,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoState {
    /// Taken, and not completed.
    Submitted,
    /// Completed with success.
    Completed,
    /// Completed because it was cancelled.
    Cancelled,
    /// Completed with an error.
    Failed,
}

impl IoCompletion {
    /// Which of the states of the end it is in.
    #[must_use]
    pub fn state(&self) -> IoState {
        match &self.result {
            Ok(_) => IoState::Completed,
            Err(error) if error.is_cancelled() => IoState::Cancelled,
            Err(_) => IoState::Failed,
        }
    }
}
