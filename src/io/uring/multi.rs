//! Multi: operations that are submitted once and complete many times.

use std::pin::Pin;
use std::task::{Context, Poll};

use io_uring::{cqueue, opcode, types};
use std::os::fd::AsRawFd as _;

use super::super::{Error, ErrorKind, IoFd, IoOperation};
use super::settle::{Arrived, Multi, Owner};
use super::ring::Ring;

/// Accepts connections for as long as it lives, by one operation (Linux 5.19).
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use ttlog::io::Ring;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(ring) = Ring::new(8) else { return Ok(()) };
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let mut incoming = ring.accept_multi(listener)?;
/// for _ in 0..3 {
///     let client = TcpStream::connect(address)?;
///     let Some(server) = ring.block_on(incoming.next()) else { break };
///     drop((client, server?));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AcceptMulti<'ring> {
    source: Source<'ring>,
}

/// Receives for as long as it lives, by one operation, into memory that the kernel chooses from a
/// group (Linux 6.0); gives the bytes as they come, in order.
///
/// The group's memory belongs to the ring until that ends: make one of these for a connection that
/// lives long.
#[derive(Debug)]
pub struct RecvMulti<'ring> {
    source: Source<'ring>,
    /// Where the group's memory is, and the group's number and length of a buffer.
    at: usize,
    group: u16,
    buffer_bytes: u32,
}

/// An operation that completes many times.
#[derive(Debug)]
struct Source<'ring> {
    ring: &'ring Ring,
    fd: IoFd,
    key: Option<u64>,
}

impl Ring {
    /// Accepts connections until the answer is dropped.
    ///
    /// # Errors
    ///
    /// If there is no room, or for a registered file.
    pub fn accept_multi(&self, listener: impl Into<IoFd>) -> Result<AcceptMulti<'_>, Error> {
        let mut source = Source { ring: self, fd: listener.into(), key: None };
        source.accept()?;
        Ok(AcceptMulti { source })
    }

    /// Receives into `n_buffers` buffers of `buffer_bytes` each that the kernel chooses from, until
    /// the answer is dropped.
    ///
    /// # Errors
    ///
    /// If there is no room, for a registered file, or for sizes of 0 or beyond 32,768 buffers or
    /// 1 GiB.
    pub fn recv_multi(
        &self,
        socket: impl Into<IoFd>,
        n_buffers: u16,
        buffer_bytes: u32,
    ) -> Result<RecvMulti<'_>, Error> {
        let total = usize::from(n_buffers) * buffer_bytes as usize;
        if total == 0 || n_buffers > 1 << 15 || total > 1 << 30 {
            let why = format!("{n_buffers} buffers of {buffer_bytes} bytes: out of range");
            return Err(Error::new(ErrorKind::Invalid(why)));
        }
        let memory = vec![0; total].into_boxed_slice();
        let (at, group) = self.with_core(|core| core.provide(memory, buffer_bytes))?;
        let mut source = Source { ring: self, fd: socket.into(), key: None };
        source.recv(group)?;
        Ok(RecvMulti { source, at, group, buffer_bytes })
    }
}

impl Source<'_> {
    fn accept(&mut self) -> Result<(), Error> {
        let fd = types::Fd(self.fd.owned()?.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.submit(IoOperation::accept(&self.fd), entry)
    }

    fn recv(&mut self, group: u16) -> Result<(), Error> {
        let fd = types::Fd(self.fd.owned()?.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, group).build();
        // Keeps the socket open; the memory is the group's.
        self.submit(IoOperation::recv(&self.fd, Vec::<u8>::new()), entry)
    }

    fn submit(
        &mut self,
        operation: IoOperation,
        entry: io_uring::squeue::Entry,
    ) -> Result<(), Error> {
        self.end();
        let key = self.ring.with_core(|core| core.push_multi(operation, entry, Box::default()))?;
        self.key = Some(key);
        self.ring.submit()
    }

    /// The next completion; `None` when the operation has ended.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Arrived>> {
        let Some(key) = self.key else { return Poll::Ready(None) };
        loop {
            self.ring.reap();
            let next = self.ring.with_core(|core| match core.state(key) {
                Some(Owner::Multi(multi)) => {
                    let Multi { arrived, is_ended, .. } = &mut **multi;
                    arrived.pop_front().map(Some).or(is_ended.then_some(None))
                }
                _ => Some(None),
            });
            match next {
                Some(Some(arrived)) => {
                    self.ring.leave(key);
                    return Poll::Ready(Some(arrived));
                }
                Some(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                None if !self.ring.wait_for(key, context.waker()) => return Poll::Pending,
                None => {}
            }
        }
    }

    /// Gives the operation up; what it brought and nobody took is dropped.
    fn end(&mut self) {
        let Some(key) = self.key.take() else { return };
        self.ring.leave(key);
        let held = self.ring.with_core(|core| {
            let held = core.orphan_multi(key);
            // Without room it ends with the ring.
            let _ = core.cancel(key).and_then(|_| core.flush());
            held
        });
        drop(held);
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn error_of(arrived: &Arrived, op: &'static str) -> Error {
    match -arrived.result {
        libc::EINVAL => Error::new(ErrorKind::Unsupported(format!(
            "the kernel has no multishot {op}; use {op} in a loop"
        ))),
        errno => Error::os(errno).during(op, None, None),
    }
}

impl AcceptMulti<'_> {
    /// The next connection; `None` when the kernel has ended the operation, after an error.
    ///
    /// # Errors
    ///
    /// What the accept said, such as EMFILE; [`ErrorKind::Unsupported`] where there is none.
    pub async fn next(&mut self) -> Option<Result<IoFd, Error>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<IoFd, Error>>> {
        self.source.poll_next(context).map(|arrived| {
            arrived.map(|mut arrived| match arrived.descriptor.take() {
                Some(fd) => Ok(IoFd::from(fd)),
                None => Err(error_of(&arrived, "accept")),
            })
        })
    }
}

impl RecvMulti<'_> {
    /// The next bytes; `None` at the end of the connection.
    ///
    /// # Errors
    ///
    /// What the receive said; [`ErrorKind::Unsupported`] where there is none.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<u8>, Error>>> {
        loop {
            let Poll::Ready(arrived) = self.source.poll_next(context) else { return Poll::Pending };
            let Some(arrived) = arrived else { return Poll::Ready(None) };
            if arrived.result == -libc::ENOBUFS {
                // All buffers were full for a moment; those that were taken are provided again.
                let group = self.group;
                match self.source.recv(group) {
                    Ok(()) => continue,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            let taken = match (arrived.result, cqueue::buffer_select(arrived.flags)) {
                (0, _) => return Poll::Ready(None),
                (n @ 1.., Some(id)) => {
                    let (at, which) = (self.at, (id, self.buffer_bytes, self.group));
                    self.source.ring.with_core(|core| core.take_provided(at, which, n as usize))
                }
                _ => Err(error_of(&arrived, "recv")),
            };
            return Poll::Ready(Some(taken));
        }
    }
}
