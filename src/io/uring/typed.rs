//! Typed: an operation whose state is its type, and which borrows nothing.

use std::ops::Range;
use std::sync::Arc;

use super::super::{
    Error, ErrorKind, IoBuffer, IoCompletion, IoFd, IoHandle, IoOperation, OFFSET_NONE,
};
use super::settle::Owner;
use super::future::refused_completion;
use super::registry::{Return, Returns};
use super::ring::Ring;

/// An operation in one of three states: [`Building`], [`Submitted`], [`Completed`].
///
/// Each step takes the operation and gives it in the next state, so that a step out of order does
/// not compile. A submitted operation borrows neither ring nor buffer: it may move to another
/// thread together with its ring, where it completes.
///
/// # Examples
///
/// ```
/// use ttlog::io::{Operation, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(ring) = Ring::new(8) else { return Ok(()) };
/// let zero = std::fs::File::open("/dev/zero")?;
/// let submitted = Operation::read().set_fd(zero).set_buffer(vec![1; 8]).submit(&ring)?;
/// let (result, buffer) = submitted.wait(&ring).into_parts();
/// assert_eq!((result?, buffer.unwrap().as_slice()), (8, &[0; 8][..]));
/// # Ok(()) }
/// ```
///
/// Twice:
///
/// ```compile_fail,E0382
/// # use ttlog::io::{Operation, Ring};
/// # let ring = Ring::new(8).unwrap();
/// let operation = Operation::nop();
/// let first = operation.submit(&ring);
/// let second = operation.submit(&ring);
/// ```
///
/// The result before it is there:
///
/// ```compile_fail,E0599
/// # use ttlog::io::{Operation, Ring};
/// # let ring = Ring::new(8).unwrap();
/// let submitted = Operation::nop().submit(&ring).unwrap();
/// let (result, buffer) = submitted.into_parts();
/// ```
#[derive(Debug)]
pub struct Operation<S> {
    state: S,
}

/// The state in which an operation is put together.
#[derive(Debug)]
pub struct Building {
    verb: Verb,
    fd: Option<IoFd>,
    buffer: Option<IoBuffer>,
    range: Option<Range<usize>>,
    offset: u64,
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Nop,
    Read,
    Write,
    Send,
    Recv,
    Accept,
    Fsync { data_only: bool },
}

/// The state in which the ring has the operation. Dropped, it gives the operation up: the ring
/// frees the buffer when the kernel has completed it.
#[derive(Debug)]
pub struct Submitted {
    key: u64,
    /// Where to say that nobody waits any more; also tells the ring from others.
    returns: Option<Arc<Returns>>,
}

/// The state in which result and buffer are there.
#[derive(Debug)]
pub struct Completed<T> {
    result: Result<T, Error>,
    buffer: Option<IoBuffer>,
    descriptor: Option<IoFd>,
}

/// Where the buffer of an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferState {
    /// With the program.
    Available,
    /// With the kernel, for this operation.
    InFlight(IoHandle),
    /// With the ring, to be fetched with the result.
    Completed,
}

/// An operation that was not taken, in the state it was in, and why.
#[derive(Debug)]
pub struct NotSubmitted {
    /// The operation, with its buffer.
    pub operation: Operation<Building>,
    /// Why.
    pub error: Error,
}

/// An operation that has not completed yet.
#[derive(Debug)]
pub struct Pending {
    /// The operation.
    pub operation: Operation<Submitted>,
    /// [`ErrorKind::OperationPending`], or [`ErrorKind::NotRegistered`] for another's ring.
    pub error: Error,
}

macro_rules! error_of {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.error, f)
            }
        }

        impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.error)
            }
        }
    )*};
}
error_of!(NotSubmitted, Pending);

impl Operation<Building> {
    fn new(verb: Verb) -> Self {
        let state = Building { verb, fd: None, buffer: None, range: None, offset: OFFSET_NONE };
        Self { state }
    }

    /// An operation that does nothing.
    #[must_use]
    pub fn nop() -> Self {
        Self::new(Verb::Nop)
    }

    /// A read; needs a descriptor and a buffer.
    #[must_use]
    pub fn read() -> Self {
        Self::new(Verb::Read)
    }

    /// A write; needs a descriptor and a buffer.
    #[must_use]
    pub fn write() -> Self {
        Self::new(Verb::Write)
    }

    /// A send; needs a socket and a buffer.
    #[must_use]
    pub fn send() -> Self {
        Self::new(Verb::Send)
    }

    /// A receive; needs a socket and a buffer.
    #[must_use]
    pub fn recv() -> Self {
        Self::new(Verb::Recv)
    }

    /// An accept; needs a listener.
    #[must_use]
    pub fn accept() -> Self {
        Self::new(Verb::Accept)
    }

    /// An fsync; needs a file.
    #[must_use]
    pub fn fsync() -> Self {
        Self::new(Verb::Fsync { data_only: false })
    }

    /// An fdatasync; needs a file.
    #[must_use]
    pub fn fdatasync() -> Self {
        Self::new(Verb::Fsync { data_only: true })
    }

    /// The file or socket.
    #[must_use]
    pub fn set_fd(mut self, fd: impl Into<IoFd>) -> Self {
        self.state.fd = Some(fd.into());
        self
    }

    /// The buffer, which the operation owns from here on.
    #[must_use]
    pub fn set_buffer(mut self, buffer: impl Into<IoBuffer>) -> Self {
        self.state.buffer = Some(buffer.into());
        self
    }

    /// Bytes from the file's start; without it, the file's position.
    #[must_use]
    pub fn set_offset(mut self, offset: u64) -> Self {
        self.state.offset = offset;
        self
    }

    /// The part of the buffer that is used; without it, the whole.
    #[must_use]
    pub fn set_range(mut self, range: Range<usize>) -> Self {
        self.state.range = Some(range);
        self
    }

    /// Takes the buffer back.
    pub fn take_buffer(&mut self) -> Option<IoBuffer> {
        self.state.buffer.take()
    }

    /// [`BufferState::Available`]: nobody has it but the program.
    #[must_use]
    pub fn buffer_state(&self) -> BufferState {
        BufferState::Available
    }

    /// Queues the operation and hands it to the kernel.
    ///
    /// # Errors
    ///
    /// Gives it back if something is missing or refused. When handing over fails after it was
    /// queued, it stays queued and that is no error: the ring hands it over with the next call.
    pub fn submit(self, ring: &Ring) -> Result<Operation<Submitted>, NotSubmitted> {
        let operation = self.build()?;
        match ring.push(operation, || Owner::Future(None)) {
            Ok(key) => {
                // What fails now is tried again when somebody waits.
                let _ = ring.submit();
                let state = Submitted { key, returns: Some(ring.returns()) };
                Ok(Operation { state })
            }
            Err(refused) => {
                let error = refused.error;
                Err(NotSubmitted { operation: Self::rebuild(refused.operation), error })
            }
        }
    }

    fn build(mut self) -> Result<IoOperation, NotSubmitted> {
        let needs_buffer =
            matches!(self.state.verb, Verb::Read | Verb::Write | Verb::Send | Verb::Recv);
        let missing = match (&self.state.fd, &self.state.buffer) {
            (None, _) if !matches!(self.state.verb, Verb::Nop) => "a descriptor: call set_fd",
            (_, None) if needs_buffer => "a buffer: call set_buffer",
            _ => "",
        };
        if !missing.is_empty() {
            let why = format!("the operation needs {missing}");
            let error = Error::new(ErrorKind::Invalid(why));
            return Err(NotSubmitted { operation: self, error });
        }
        let (fd, buffer) = (self.state.fd.take(), self.state.buffer.take());
        let operation = match (self.state.verb, fd, buffer) {
            (Verb::Read, Some(fd), Some(buffer)) => {
                IoOperation::read(fd, buffer, self.state.offset)
            }
            (Verb::Write, Some(fd), Some(buffer)) => {
                IoOperation::write(fd, buffer, self.state.offset)
            }
            (Verb::Send, Some(fd), Some(buffer)) => IoOperation::send(fd, buffer),
            (Verb::Recv, Some(fd), Some(buffer)) => IoOperation::recv(fd, buffer),
            (Verb::Accept, Some(fd), _) => IoOperation::accept(fd),
            (Verb::Fsync { data_only }, Some(fd), _) => IoOperation::Fsync { fd, data_only },
            _ => IoOperation::Nop,
        };
        Ok(match self.state.range {
            Some(range) => operation.in_range(range),
            None => operation,
        })
    }

    /// Back from what a ring refused.
    fn rebuild(operation: IoOperation) -> Self {
        let fd = operation.fd().cloned();
        let (verb, range, offset) = match &operation {
            IoOperation::Read { range, offset, .. } => (Verb::Read, Some(range.clone()), *offset),
            IoOperation::Write { range, offset, .. } => (Verb::Write, Some(range.clone()), *offset),
            IoOperation::Send { range, .. } => (Verb::Send, Some(range.clone()), OFFSET_NONE),
            IoOperation::Recv { range, .. } => (Verb::Recv, Some(range.clone()), OFFSET_NONE),
            IoOperation::Accept { .. } => (Verb::Accept, None, OFFSET_NONE),
            IoOperation::Fsync { data_only, .. } => {
                (Verb::Fsync { data_only: *data_only }, None, OFFSET_NONE)
            }
            _ => (Verb::Nop, None, OFFSET_NONE),
        };
        let buffer = operation.into_buffer();
        Self { state: Building { verb, fd, buffer, range, offset } }
    }
}

impl Operation<Submitted> {
    /// Names the operation within its ring.
    #[must_use]
    pub fn handle(&self) -> IoHandle {
        IoHandle(self.state.key)
    }

    fn is_of(&self, ring: &Ring) -> bool {
        self.state.returns.as_ref().is_some_and(|own| Arc::ptr_eq(own, &ring.returns()))
    }

    /// Where the buffer is. It changes when the ring takes completions.
    #[must_use]
    pub fn buffer_state(&self, ring: &Ring) -> BufferState {
        let is_done =
            self.is_of(ring) && ring.with_core(|core| matches!(core.state(self.state.key), Some(Owner::Done(_))));
        if is_done { BufferState::Completed } else { BufferState::InFlight(self.handle()) }
    }

    /// The operation with its result, if that is there; does not wait.
    ///
    /// # Errors
    ///
    /// Gives the operation back if it has not completed, or if the ring is another.
    pub fn result(mut self, ring: &Ring) -> Result<Operation<Completed<usize>>, Pending> {
        if !self.is_of(ring) {
            let error = Error::new(ErrorKind::NotRegistered);
            return Err(Pending { operation: self, error });
        }
        ring.reap();
        match ring.take_done(self.state.key) {
            Some(completion) => {
                self.state.returns = None;
                Ok(Operation { state: Completed::of(completion) })
            }
            None => {
                // What could not be handed over is tried again.
                let _ = ring.submit();
                let error = Error::new(ErrorKind::OperationPending);
                Err(Pending { operation: self, error })
            }
        }
    }

    /// Waits for the result, in the kernel. With another's ring it gives
    /// [`ErrorKind::NotRegistered`] at once, and gives the operation up.
    #[must_use]
    pub fn wait(self, ring: &Ring) -> Operation<Completed<usize>> {
        let mut operation = self;
        loop {
            match operation.result(ring) {
                Ok(completed) => return completed,
                Err(pending) if pending.error.kind() == ErrorKind::OperationPending => {
                    operation = pending.operation;
                    ring.wait_in_kernel(None);
                }
                Err(Pending { error, operation }) => {
                    drop(operation);
                    let refused = super::super::SubmitError { operation: IoOperation::Nop, error };
                    return Operation { state: Completed::of(refused_completion(refused)) };
                }
            }
        }
    }

    /// Asks for an early end; false when it has completed, or the ring is another.
    ///
    /// # Errors
    ///
    /// If the request could not be queued.
    pub fn cancel(&self, ring: &Ring) -> Result<bool, Error> {
        if self.is_of(ring) { ring.cancel(self.handle()) } else { Ok(false) }
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if let Some(returns) = self.returns.take() {
            returns.give(Return::Token(self.key));
        }
    }
}

impl Completed<usize> {
    fn of(completion: IoCompletion) -> Self {
        let IoCompletion { result, buffer, descriptor, .. } = completion;
        Self { result, buffer, descriptor }
    }
}

impl<T> Operation<Completed<T>> {
    /// The result.
    ///
    /// # Errors
    ///
    /// What the operation failed with.
    pub fn result(&self) -> Result<&T, &Error> {
        self.state.result.as_ref()
    }

    /// What an accept opened.
    pub fn take_descriptor(&mut self) -> Option<IoFd> {
        self.state.descriptor.take()
    }

    /// Result and buffer, which is there on error, too.
    pub fn into_parts(self) -> (Result<T, Error>, Option<IoBuffer>) {
        (self.state.result, self.state.buffer)
    }
}
