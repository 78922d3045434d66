//! Backend: what every way of doing I/O has in common.

use std::fmt::Debug;
use std::task::Waker;
use std::time::Duration;

use super::{Error, IoCompletion, IoHandle, IoOperation, LentBuffer};

/// Takes operations and gives completions: io_uring, portable, simulated.
///
/// A backend belongs to one thread at a time: it can be sent to another, not shared.
///
/// - Each operation that [`submit`](Self::submit) took has exactly one completion, cancelled or
///   not, in any order. Its buffer and descriptor belong to the backend until then.
/// - Dropping a backend with operations in flight waits for them, or keeps their memory for ever
///   when they do not end; it never frees what a kernel may still use.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ttlog::io::{self, IoBackend, IoChoice, IoFd, IoOperation};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut backend = io::backend(IoChoice::Auto)?;
/// let file = IoFd::from(std::fs::File::open("/dev/zero")?);
/// let handle = backend.submit(IoOperation::read(&file, vec![1; 64], 0))?;
/// let done = backend.poll(Some(Duration::from_secs(5)))?;
/// assert_eq!(done[0].handle, handle);
/// assert_eq!(done[0].buffer.as_ref().unwrap().as_slice(), [0; 64]);
/// # Ok(()) }
/// ```
pub trait IoBackend: Debug + Send {
    /// Takes an operation. It may begin at once, and begins at the next [`poll`](Self::poll) at the
    /// latest.
    ///
    /// # Errors
    ///
    /// Gives the operation back with the reason: a range out of bounds, a buffer that is marked in
    /// use, a registration of another ring, no room.
    fn submit(&mut self, operation: IoOperation) -> Result<IoHandle, SubmitError>;

    /// Asks for an operation to end early. It still completes, with an error or with success, and
    /// its buffer comes back then. False when there is no such operation (any more).
    ///
    /// # Errors
    ///
    /// If the request could not be made.
    fn cancel(&mut self, handle: IoHandle) -> Result<bool, Error>;

    /// Appends completions to `out`, [`max_batch_size`](Self::max_batch_size) at most, and returns
    /// their number. Without any it waits for one: not at all for a timeout of zero, without end for
    /// `None` (but not when nothing is in flight). It may return early with none after
    /// [`waker`](Self::waker) was called.
    ///
    /// # Errors
    ///
    /// If the system refuses to wait; no completion is lost by it.
    fn poll_into(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error>;

    /// The same, into a new vector.
    ///
    /// # Errors
    ///
    /// As [`poll_into`](Self::poll_into).
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Vec<IoCompletion>, Error> {
        let mut out = Vec::new();
        self.poll_into(timeout, &mut out)?;
        Ok(out)
    }

    /// Registers the lasting memory in which a buffer lies, where the kernel has use for that; what
    /// is refused is lent as it is, and [`IoStats::unregistered`] says why.
    #[doc(hidden)]
    fn register(&mut self, _: &LentBuffer) {}

    /// Completions that one poll gives at most.
    fn max_batch_size(&self) -> usize {
        128
    }

    /// Operations that were taken and have not been given back.
    fn in_flight(&self) -> usize;

    /// Ends a wait in [`poll_into`](Self::poll_into), now or the next, from any thread.
    fn waker(&self) -> Waker;

    /// What it is, why, and what it did.
    fn stats(&self) -> IoStats;
}

/// The kinds of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoBackendKind {
    /// Linux io_uring.
    Uring,
    /// Readiness for sockets, threads for files.
    Portable,
    /// In memory, for tests.
    Simulated,
}

impl IoBackendKind {
    /// One word, as `ttlog doctor` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Portable => "portable",
            Self::Simulated => "simulated",
        }
    }
}

/// What a backend is and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoStats {
    /// What it is.
    pub kind: IoBackendKind,
    /// Why it is not io_uring, if that was wanted.
    pub reason: Option<String>,
    /// Operations that were taken.
    pub submitted: u64,
    /// Operations that were given back.
    pub completed: u64,
    /// Completions that belonged to no operation, and were ignored.
    pub stale: u64,
    /// System calls that handed operations over or asked for completions.
    pub enters: u64,
    /// Pieces of memory that the kernel has mapped for good, for operations that come again.
    pub registered: u64,
    /// Why it did not map more of them, if it refused.
    pub unregistered: Option<String>,
}

impl IoStats {
    pub(super) fn new(kind: IoBackendKind) -> Self {
        Self {
            kind,
            reason: None,
            submitted: 0,
            completed: 0,
            stale: 0,
            enters: 0,
            registered: 0,
            unregistered: None,
        }
    }
}

/// An operation that was not taken, and why.
#[derive(Debug)]
pub struct SubmitError {
    /// The operation, with its buffer.
    pub operation: IoOperation,
    /// Why.
    pub error: Error,
}

impl std::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
