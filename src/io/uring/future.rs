//! Future: operations of a ring as futures, for any executor.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::io_buffer::Buffer;
use super::super::{
    Error, ErrorKind, IoBuffer, IoCompletion, IoFd, IoHandle, IoOperation, OFFSET_NONE,
    OpenOptions, SubmitError,
};
use super::settle::Owner;
use super::ring::Ring;

/// Shapes of a future's output: with a buffer, with a descriptor, or plain.
pub trait Outcome: sealed::Sealed {
    /// What the future gives.
    type Output;
    #[doc(hidden)]
    fn of(completion: IoCompletion) -> Self::Output;
}

mod sealed {
    pub trait Sealed {}
}

/// Gives the number of bytes, and the buffer, on error too.
#[derive(Debug)]
pub struct WithBuffer<B>(PhantomData<B>);
/// Gives what was opened.
#[derive(Debug)]
pub struct Opens;
/// Gives success or an error.
#[derive(Debug)]
pub struct Plain;

impl<B: Buffer> sealed::Sealed for WithBuffer<B> {}
impl sealed::Sealed for Opens {}
impl sealed::Sealed for Plain {}

impl<B: Buffer> Outcome for WithBuffer<B> {
    type Output = (Result<usize, Error>, B);

    fn of(completion: IoCompletion) -> Self::Output {
        let buffer = completion.buffer.and_then(B::from_io);
        (completion.result, buffer.expect("the kind of buffer that went in"))
    }
}

impl Outcome for Opens {
    type Output = Result<IoFd, Error>;

    fn of(completion: IoCompletion) -> Self::Output {
        completion.result.map(|_| completion.descriptor.expect("success brings a descriptor"))
    }
}

impl Outcome for Plain {
    type Output = Result<(), Error>;

    fn of(completion: IoCompletion) -> Self::Output {
        completion.result.map(|_| ())
    }
}

/// A read; gives bytes and buffer.
pub type ReadFuture<'ring, B> = OperationFuture<'ring, WithBuffer<B>>;
/// A write; gives bytes, which may be fewer, and buffer.
pub type WriteFuture<'ring, B> = OperationFuture<'ring, WithBuffer<B>>;
/// A read into several buffers.
pub type ReadVectoredFuture<'ring> = OperationFuture<'ring, WithBuffer<Vec<IoBuffer>>>;
/// A write of several buffers.
pub type WriteVectoredFuture<'ring> = OperationFuture<'ring, WithBuffer<Vec<IoBuffer>>>;
/// A send; gives bytes, which may be fewer, and buffer.
pub type SendFuture<'ring, B> = OperationFuture<'ring, WithBuffer<B>>;
/// A receive; gives bytes, 0 at the end, and buffer.
pub type RecvFuture<'ring, B> = OperationFuture<'ring, WithBuffer<B>>;
/// An accept; gives the connection.
pub type AcceptFuture<'ring> = OperationFuture<'ring, Opens>;
/// An open; gives the file.
pub type OpenFuture<'ring> = OperationFuture<'ring, Opens>;
/// A connect.
pub type ConnectFuture<'ring> = OperationFuture<'ring, Plain>;
/// An fsync or fdatasync.
pub type FsyncFuture<'ring> = OperationFuture<'ring, Plain>;
/// A close.
pub type CloseFuture<'ring> = OperationFuture<'ring, Plain>;
/// A wait.
pub type TimeoutFuture<'ring> = OperationFuture<'ring, Plain>;

/// One operation of a [`Ring`], queued when the future was made.
///
/// Dropping it cancels the operation; leaking it lets the operation go on. Either way buffer and
/// descriptor belong to the ring until the kernel has completed it.
///
/// # Panics
///
/// When it is polled again after it was ready.
#[must_use = "the operation is cancelled when its future is dropped"]
#[derive(Debug)]
pub struct OperationFuture<'ring, O: Outcome> {
    ring: &'ring Ring,
    state: State,
    outcome: PhantomData<fn() -> O>,
}

#[derive(Debug)]
enum State {
    Flying(u64),
    Refused(Box<SubmitError>),
    Done,
}

impl<'ring, O: Outcome> OperationFuture<'ring, O> {
    #[inline(always)]
    pub(super) fn new(ring: &'ring Ring, operation: IoOperation) -> Self {
        let state = match ring.push(operation, || Owner::Future(None)) {
            Ok(key) => State::Flying(key),
            Err(refused) => State::Refused(Box::new(refused)),
        };
        Self { ring, state, outcome: PhantomData }
    }

    /// Names the operation while it is in flight.
    #[must_use]
    pub fn handle(&self) -> Option<IoHandle> {
        match self.state {
            State::Flying(key) => Some(IoHandle(key)),
            _ => None,
        }
    }

    /// Asks for the operation to end early; the future still gives its result, and its buffer.
    ///
    /// # Errors
    ///
    /// If the request could not be queued.
    pub fn cancel(&self) -> Result<bool, Error> {
        self.handle().map_or(Ok(false), |handle| self.ring.cancel(handle))
    }
}

impl<O: Outcome> Future for OperationFuture<'_, O> {
    type Output = O::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        let State::Flying(key) = self.state else {
            return match std::mem::replace(&mut self.state, State::Done) {
                State::Refused(refused) => Poll::Ready(O::of(refused_completion(*refused))),
                _ => panic!("a future was polled after it was ready"),
            };
        };
        if self.ring.waits_on(key, context.waker()) {
            return Poll::Pending;
        }
        loop {
            self.ring.reap();
            if let Some(completion) = self.ring.take_done(key) {
                self.state = State::Done;
                return Poll::Ready(O::of(completion));
            }
            if !self.ring.wait_for(key, context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl<O: Outcome> Drop for OperationFuture<'_, O> {
    fn drop(&mut self) {
        if let State::Flying(key) = self.state {
            self.ring.abandon(key);
        }
    }
}

/// What was not taken, as a completion.
pub(super) fn refused_completion(refused: SubmitError) -> IoCompletion {
    IoCompletion {
        handle: IoHandle(u64::MAX),
        result: Err(refused.error),
        buffer: refused.operation.into_buffer(),
        descriptor: None,
    }
}

/// Writes a whole buffer, however often the kernel takes only a part of it.
///
/// After a short write the rest is written from where it stopped; where that is refused because it
/// is not aligned (O_DIRECT), from the last multiple of 4096 before.
#[must_use = "the operation is cancelled when its future is dropped"]
#[derive(Debug)]
pub struct WriteAllFuture<'ring, B: Buffer> {
    current: OperationFuture<'ring, WithBuffer<IoBuffer>>,
    fd: IoFd,
    offset: u64,
    n_written: usize,
    /// The write that is in flight began here.
    from: usize,
    buffer: PhantomData<fn() -> B>,
}

impl<B: Buffer> WriteAllFuture<'_, B> {
    fn go_on(&mut self, buffer: IoBuffer, from: usize) {
        let len = buffer.len();
        // Without an offset the file's position has moved on by itself.
        let offset = self.offset.checked_add(from as u64).unwrap_or(OFFSET_NONE);
        let operation = IoOperation::write(&self.fd, buffer, offset).in_range(from..len);
        self.from = from;
        self.current = OperationFuture::new(self.current.ring, operation);
    }
}

impl<B: Buffer> Future for WriteAllFuture<'_, B> {
    type Output = (Result<(), Error>, B);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        const DIRECT: usize = 4096;
        loop {
            let Poll::Ready((result, buffer)) = Pin::new(&mut self.current).poll(context) else {
                return Poll::Pending;
            };
            let again = match &result {
                Ok(0) if self.n_written < buffer.len() => {
                    let why = "the file takes no more bytes".to_owned();
                    return ready(Err(Error::new(ErrorKind::Invalid(why))), buffer);
                }
                Ok(n) => {
                    self.n_written = self.from + n;
                    self.n_written
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::EAGAIN) => self.from,
                    Some(libc::EINVAL)
                        if !self.from.is_multiple_of(DIRECT) && self.offset != OFFSET_NONE =>
                    {
                        self.from - self.from % DIRECT
                    }
                    _ => return ready(result.map(|_| ()), buffer),
                },
            };
            if self.n_written == buffer.len() {
                return ready(Ok(()), buffer);
            }
            self.go_on(buffer, again);
        }
    }
}

fn ready<B: Buffer>(result: Result<(), Error>, buffer: IoBuffer) -> Poll<(Result<(), Error>, B)> {
    Poll::Ready((result, B::from_io(buffer).expect("the kind of buffer that went in")))
}

/// Operations. Each is queued by the call, and handed over when its future is polled.
impl Ring {
    /// Reads into a buffer, at `offset` bytes or, with [`OFFSET_NONE`], at the file's position.
    #[inline]
    pub fn read<B: Buffer>(
        &self,
        fd: impl Into<IoFd>,
        buffer: B,
        offset: u64,
    ) -> ReadFuture<'_, B> {
        OperationFuture::new(self, IoOperation::read(fd, buffer, offset))
    }

    /// Writes a buffer once; fewer bytes than it has may be written.
    #[inline]
    pub fn write<B: Buffer>(
        &self,
        fd: impl Into<IoFd>,
        buffer: B,
        offset: u64,
    ) -> WriteFuture<'_, B> {
        OperationFuture::new(self, IoOperation::write(fd, buffer, offset))
    }

    /// Writes a whole buffer at an offset or, with [`OFFSET_NONE`], at the file's position.
    pub fn write_all<B: Buffer>(
        &self,
        fd: impl Into<IoFd>,
        buffer: B,
        offset: u64,
    ) -> WriteAllFuture<'_, B> {
        let fd = fd.into();
        let current = OperationFuture::new(self, IoOperation::write(&fd, buffer, offset));
        WriteAllFuture { current, fd, offset, n_written: 0, from: 0, buffer: PhantomData }
    }

    /// Reads into several buffers, one after the other.
    pub fn read_vectored(
        &self,
        fd: impl Into<IoFd>,
        buffers: Vec<IoBuffer>,
        offset: u64,
    ) -> ReadVectoredFuture<'_> {
        OperationFuture::new(self, IoOperation::ReadVectored { fd: fd.into(), buffers, offset })
    }

    /// Writes several buffers, one after the other.
    pub fn write_vectored(
        &self,
        fd: impl Into<IoFd>,
        buffers: Vec<IoBuffer>,
        offset: u64,
    ) -> WriteVectoredFuture<'_> {
        OperationFuture::new(self, IoOperation::WriteVectored { fd: fd.into(), buffers, offset })
    }

    /// Makes what completed before durable. It does not wait for writes in flight.
    pub fn fsync(&self, fd: impl Into<IoFd>) -> FsyncFuture<'_> {
        OperationFuture::new(self, IoOperation::fsync(fd))
    }

    /// The same for contents and length alone.
    pub fn fdatasync(&self, fd: impl Into<IoFd>) -> FsyncFuture<'_> {
        OperationFuture::new(self, IoOperation::fdatasync(fd))
    }

    /// Accepts one connection.
    pub fn accept(&self, listener: impl Into<IoFd>) -> AcceptFuture<'_> {
        OperationFuture::new(self, IoOperation::accept(listener))
    }

    /// Connects a socket, for example of [`IoFd::stream_socket`].
    pub fn connect(&self, socket: impl Into<IoFd>, address: SocketAddr) -> ConnectFuture<'_> {
        OperationFuture::new(self, IoOperation::connect(socket, address))
    }

    /// Sends a buffer once; fewer bytes than it has may be sent.
    pub fn send<B: Buffer>(&self, socket: impl Into<IoFd>, buffer: B) -> SendFuture<'_, B> {
        OperationFuture::new(self, IoOperation::send(socket, buffer))
    }

    /// Receives into a buffer.
    pub fn recv<B: Buffer>(&self, socket: impl Into<IoFd>, buffer: B) -> RecvFuture<'_, B> {
        OperationFuture::new(self, IoOperation::recv(socket, buffer))
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// If the path holds a zero byte.
    pub fn open(
        &self,
        path: impl AsRef<Path>,
        options: OpenOptions,
    ) -> Result<OpenFuture<'_>, Error> {
        Ok(OperationFuture::new(self, IoOperation::open(path, options)?))
    }

    /// Closes a descriptor of which there is no clone, and tells what `close` said.
    pub fn close_fd(&self, fd: impl Into<IoFd>) -> CloseFuture<'_> {
        OperationFuture::new(self, IoOperation::close(fd))
    }

    /// Waits.
    pub fn timeout(&self, after: Duration) -> TimeoutFuture<'_> {
        OperationFuture::new(self, IoOperation::timeout(after))
    }

    /// Passes an empty operation through the kernel.
    pub fn nop(&self) -> OperationFuture<'_, Plain> {
        OperationFuture::new(self, IoOperation::Nop)
    }

    /// Any operation, with its completion as it is.
    pub fn run(&self, operation: IoOperation) -> OperationFuture<'_, Whole> {
        OperationFuture::new(self, operation)
    }
}

/// Gives the completion as it is.
#[derive(Debug)]
pub struct Whole;

impl sealed::Sealed for Whole {}

impl Outcome for Whole {
    type Output = IoCompletion;

    fn of(completion: IoCompletion) -> IoCompletion {
        completion
    }
}
