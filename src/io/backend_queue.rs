//! Backend queue: a [`DiskQueue`] over any [`IoBackend`].

use std::io;
use std::task::Waker;
use std::time::Duration;

use super::choice::backend_for_this_thread;
use super::{
    DiskQueue, Ended, Error, IoBackend, IoBuffer, IoChoice, IoCompletion, IoFd, IoOperation,
    LentBuffer,
};

/// Writes by io_uring, or by the threads of the portable backend.
#[derive(Debug)]
pub(crate) struct BackendQueue {
    backend: Box<dyn IoBackend>,
    completions: Vec<IoCompletion>,
}

impl BackendQueue {
    /// A queue for the calling thread.
    ///
    /// # Errors
    ///
    /// As [`backend`](super::backend()).
    pub(crate) fn new(choice: IoChoice) -> Result<Self, Error> {
        Ok(Self::over(backend_for_this_thread(choice)?))
    }

    /// A queue over this backend.
    pub(crate) fn over(backend: Box<dyn IoBackend>) -> Self {
        Self { backend, completions: Vec::new() }
    }
}

fn lent(buffer: IoBuffer) -> LentBuffer {
    buffer.try_into().expect("an operation gives back the buffer that it was given")
}

/// The error with the system's number, where it has one.
fn told(error: &Error) -> io::Error {
    let other = || io::Error::other(error.to_string());
    error.raw_os_error().map_or_else(other, io::Error::from_raw_os_error)
}

impl DiskQueue for BackendQueue {
    fn begin(
        &mut self,
        fd: &IoFd,
        bytes: LentBuffer,
        offset: u64,
    ) -> Result<u64, (LentBuffer, io::Error)> {
        self.backend.register(&bytes);
        match self.backend.submit(IoOperation::write(fd, bytes, offset)) {
            Ok(handle) => Ok(handle.0),
            Err(refused) => {
                let buffer = refused.operation.into_buffer().expect("a write has a buffer");
                Err((lent(buffer), told(&refused.error)))
            }
        }
    }

    fn begin_sync(&mut self, fd: &IoFd) -> io::Result<u64> {
        match self.backend.submit(IoOperation::fdatasync(fd)) {
            Ok(handle) => Ok(handle.0),
            Err(refused) => Err(told(&refused.error)),
        }
    }

    fn reap(&mut self, timeout: Option<Duration>, out: &mut Vec<Ended>) -> io::Result<()> {
        self.backend.poll_into(timeout, &mut self.completions)?;
        out.extend(self.completions.drain(..).map(|done| Ended {
            id: done.handle.0,
            result: done.result.map_err(|error| told(&error)),
            bytes: done.buffer.map(lent),
        }));
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.backend.waker()
    }

    fn reason(&self) -> Option<String> {
        let stats = self.backend.stats();
        let plainly = |why| format!("staging is written without being registered: {why}");
        stats.reason.or(stats.unregistered.map(plainly))
    }
}
