//! Calls: each operation as the system call that it is elsewhere.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use super::super::{Error, ErrorKind, IoBuffer, IoFd, IoOperation, OFFSET_NONE};

/// What a call gave: bytes, and what it opened.
pub(in super::super) type Outcome = Result<(usize, Option<IoFd>), Error>;

/// Does the operation's call, which may block; sockets do not block, and say EAGAIN.
pub(in super::super) fn call(operation: &mut IoOperation) -> Outcome {
    if let IoOperation::Close { fd } = operation {
        return close(fd);
    }
    let done = match operation {
        IoOperation::Open { path, options } => {
            let mode = rustix::fs::Mode::from_raw_mode(options.mode_bits() as _);
            let fd = rustix::fs::open(path.as_c_str(), options.flags(), mode)?;
            return Ok((0, Some(IoFd::from(fd))));
        }
        IoOperation::Accept { fd } => {
            let connection = accept(fd.owned()?.as_fd())?;
            return Ok((0, Some(IoFd::from(connection))));
        }
        IoOperation::Nop | IoOperation::Timeout { .. } => 0,
        IoOperation::Read { fd, buffer, range, offset } => {
            let bytes = &mut buffer.as_mut_slice()[range.clone()];
            read(fd.owned()?, &mut [IoSliceMut::new(bytes)], *offset)?
        }
        IoOperation::Write { fd, buffer, range, offset } => {
            write(fd.owned()?, &[IoSlice::new(&buffer.as_slice()[range.clone()])], *offset)?
        }
        IoOperation::ReadVectored { fd, buffers, offset } => {
            let slices = buffers.iter_mut().map(IoBuffer::as_mut_slice).map(IoSliceMut::new);
            read(fd.owned()?, &mut slices.collect::<Vec<_>>(), *offset)?
        }
        IoOperation::WriteVectored { fd, buffers, offset } => {
            let slices = buffers.iter().map(IoBuffer::as_slice).map(IoSlice::new);
            write(fd.owned()?, &slices.collect::<Vec<_>>(), *offset)?
        }
        IoOperation::Fsync { fd, data_only } => {
            sync(fd.owned()?.as_fd(), *data_only)?;
            0
        }
        IoOperation::Connect { fd, address } => {
            connect(fd.owned()?.as_fd(), address)?;
            0
        }
        IoOperation::Send { fd, buffer, range } => {
            let (fd, bytes) = (fd.owned()?, &buffer.as_slice()[range.clone()]);
            let flags = SendFlags::DONTWAIT | no_signal();
            again(|| rustix::net::send(fd, bytes, flags))?
        }
        IoOperation::Recv { fd, buffer, range } => {
            let (fd, bytes) = (fd.owned()?, &mut buffer.as_mut_slice()[range.clone()]);
            again(|| rustix::net::recv(fd, &mut *bytes, RecvFlags::DONTWAIT))?.0
        }
        IoOperation::Close { .. } => 0,
    };
    Ok((done, None))
}

/// Calls again after a signal.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Reads as io_uring does: of what has no positions from where it is, and of a socket as it receives.
fn read(fd: &OwnedFd, slices: &mut [IoSliceMut<'_>], at: u64) -> Result<usize, Errno> {
    match kind(fd.as_fd()) {
        FileType::Socket => {
            begins_at(at)?;
            let mut none = RecvAncillaryBuffer::default();
            let flags = RecvFlags::DONTWAIT;
            again(|| rustix::net::recvmsg(fd, &mut *slices, &mut none, flags)).map(|got| got.bytes)
        }
        FileType::RegularFile | FileType::BlockDevice => read_vectored(fd, slices, at),
        _ => match read_vectored(fd, slices, at) {
            Err(Errno::SPIPE) => read_vectored(fd, slices, OFFSET_NONE),
            other => other,
        },
    }
}

/// Writes as io_uring does, to a pipe no more than fits for sure once it is ready.
fn write(fd: &OwnedFd, slices: &[IoSlice<'_>], at: u64) -> Result<usize, Errno> {
    match kind(fd.as_fd()) {
        FileType::Socket => {
            begins_at(at)?;
            let flags = SendFlags::DONTWAIT | no_signal();
            let none = || SendAncillaryBuffer::default();
            again(|| rustix::net::sendmsg(fd, slices, &mut none(), flags))
        }
        FileType::Fifo => {
            let mut left = rustix::pipe::PIPE_BUF;
            let fits = slices.iter().map(|slice| {
                let part = &slice[..slice.len().min(left)];
                left -= part.len();
                IoSlice::new(part)
            });
            write_vectored(fd, &fits.collect::<Vec<_>>(), OFFSET_NONE)
        }
        FileType::RegularFile | FileType::BlockDevice => write_vectored(fd, slices, at),
        _ => match write_vectored(fd, slices, at) {
            Err(Errno::SPIPE) => write_vectored(fd, slices, OFFSET_NONE),
            other => other,
        },
    }
}

/// Sockets have no position but the first.
fn begins_at(at: u64) -> Result<(), Errno> {
    if matches!(at, 0 | OFFSET_NONE) { Ok(()) } else { Err(Errno::SPIPE) }
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn read_vectored(fd: &OwnedFd, slices: &mut [IoSliceMut<'_>], at: u64) -> Result<usize, Errno> {
    again(|| match at {
        OFFSET_NONE => rustix::io::readv(fd, slices),
        at => rustix::io::preadv(fd, slices, at),
    })
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn write_vectored(fd: &OwnedFd, slices: &[IoSlice<'_>], at: u64) -> Result<usize, Errno> {
    again(|| match at {
        OFFSET_NONE => rustix::io::writev(fd, slices),
        at => rustix::io::pwritev(fd, slices, at),
    })
}

/// Without `preadv`: slice by slice, up to the first that is not filled.
#[cfg(any(target_os = "macos", target_os = "ios"))]
fn read_vectored(fd: &OwnedFd, slices: &mut [IoSliceMut<'_>], at: u64) -> Result<usize, Errno> {
    if at == OFFSET_NONE {
        return again(|| rustix::io::readv(fd, slices));
    }
    let mut total = 0;
    for slice in slices {
        let len = slice.len();
        match again(|| rustix::io::pread(fd, &mut **slice, at + total as u64)) {
            Ok(n) => {
                total += n;
                if n < len {
                    break;
                }
            }
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
fn write_vectored(fd: &OwnedFd, slices: &[IoSlice<'_>], at: u64) -> Result<usize, Errno> {
    if at == OFFSET_NONE {
        return again(|| rustix::io::writev(fd, slices));
    }
    let mut total = 0;
    for slice in slices {
        match again(|| rustix::io::pwrite(fd, slice, at + total as u64)) {
            Ok(n) => {
                total += n;
                if n < slice.len() {
                    break;
                }
            }
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn sync(fd: BorrowedFd<'_>, data_only: bool) -> Result<(), Errno> {
    again(|| if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) })
}

/// `fsync` does not reach the disk there: `F_FULLFSYNC` does.
#[cfg(any(target_os = "macos", target_os = "ios"))]
fn sync(fd: BorrowedFd<'_>, _: bool) -> Result<(), Errno> {
    again(|| rustix::fs::fcntl_fullfsync(fd))
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn no_signal() -> SendFlags {
    SendFlags::NOSIGNAL
}

/// std has switched the signal off for the process, or for its sockets.
#[cfg(any(target_os = "macos", target_os = "ios"))]
fn no_signal() -> SendFlags {
    SendFlags::empty()
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)
}

fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    set_nonblocking(listener)?;
    let connection = again(|| rustix::net::accept(listener))?;
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)?;
    // Some systems hand the listener's flag down; a connection blocks as it does with io_uring.
    let flags = rustix::fs::fcntl_getfl(&connection)?;
    rustix::fs::fcntl_setfl(&connection, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(connection)
}

/// Begins to connect, or, called again when the socket is ready, tells how it went.
fn connect(socket: BorrowedFd<'_>, address: &std::net::SocketAddr) -> Result<(), Errno> {
    let before = rustix::fs::fcntl_getfl(socket)?;
    set_nonblocking(socket)?;
    let result = match rustix::net::connect(socket, address) {
        Err(Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) => Err(Errno::AGAIN),
        // What other systems say when it is asked how it went.
        Err(Errno::ISCONN) if !cfg!(target_os = "linux") => Ok(()),
        other => other,
    };
    if result != Err(Errno::AGAIN) {
        rustix::fs::fcntl_setfl(socket, before - rustix::fs::OFlags::NONBLOCK)?;
    }
    result
}

fn close(fd: &mut IoFd) -> Outcome {
    let nothing = super::super::fd::Slot { ring: 0, index: 0, generation: 0 };
    let nothing = IoFd(super::super::fd::Target::Registered(nothing));
    match std::mem::replace(fd, nothing).try_into_owned() {
        Ok(owned) => {
            drop(owned);
            Ok((0, None))
        }
        Err(shared) => {
            *fd = shared;
            Err(Error::new(ErrorKind::InUse))
        }
    }
}

/// What an operation has to wait for before its call does not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A call that ends by itself, for a thread to make.
    Thread,
    /// Readiness for reading, after the call said EAGAIN or, `first`, before it.
    Readable {
        first: bool,
    },
    Writable {
        first: bool,
    },
    /// Time.
    Timer,
}

impl Wait {
    /// True when readiness comes before the call.
    pub(super) fn is_first(self) -> bool {
        matches!(self, Self::Readable { first: true } | Self::Writable { first: true })
    }
}

/// Sorts an operation by what it waits for.
pub(super) fn wait_of(operation: &IoOperation) -> Wait {
    match operation {
        IoOperation::Recv { .. } | IoOperation::Accept { .. } => Wait::Readable { first: false },
        IoOperation::Send { .. } | IoOperation::Connect { .. } => Wait::Writable { first: false },
        IoOperation::Timeout { .. } => Wait::Timer,
        IoOperation::Read { fd, .. } | IoOperation::ReadVectored { fd, .. } => match of(fd) {
            FileType::Socket => Wait::Readable { first: false },
            kind if may_block(kind) => Wait::Readable { first: true },
            _ => Wait::Thread,
        },
        IoOperation::Write { fd, .. } | IoOperation::WriteVectored { fd, .. } => match of(fd) {
            FileType::Socket => Wait::Writable { first: false },
            kind if may_block(kind) => Wait::Writable { first: true },
            _ => Wait::Thread,
        },
        _ => Wait::Thread,
    }
}

fn of(fd: &IoFd) -> FileType {
    fd.as_fd().map_or(FileType::RegularFile, kind)
}

fn kind(fd: BorrowedFd<'_>) -> FileType {
    // What tells nothing of itself says so when it is used.
    rustix::fs::fstat(fd)
        .map_or(FileType::RegularFile, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// True for pipes, terminals, event counters and the like, of which readiness may be told.
fn may_block(kind: FileType) -> bool {
    use FileType::{BlockDevice, Directory, RegularFile, Symlink};
    !matches!(kind, RegularFile | Directory | BlockDevice | Symlink)
}

/// True when a call on a pipe or the like would block now.
pub(in super::super) fn would_block(operation: &IoOperation) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let wanted = match wait_of(operation) {
        Wait::Readable { first: true } => PollFlags::IN,
        Wait::Writable { first: true } => PollFlags::OUT,
        _ => return false,
    };
    let Some(fd) = operation.fd().and_then(IoFd::as_fd) else { return false };
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, wanted)], Some(&now)) == Ok(0)
}
