//! Backend: io_uring behind the trait that all backends have in common.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::super::backend::IoBackend;
use super::super::{
    Error, IoCompletion, IoHandle, IoOperation, IoStats, LentBuffer, SubmitError,
};
use super::core::Core;
use super::settle::Owner;
use super::probe::{self, Mode};
use crate::sync::deadline;

/// The backend of io_uring: operations are queued by `submit` and handed to the kernel by `poll`,
/// many with one call.
///
/// ```
/// use ttlog::io::{IoBackend, IoOperation, UringBackend};
///
/// # let Ok(_) = UringBackend::new(2) else { return Ok::<(), Box<dyn std::error::Error>>(()) };
/// let mut backend = UringBackend::new(64)?;
/// (0..10).for_each(|_| drop(backend.submit(IoOperation::Nop)));
/// assert_eq!(backend.poll(None)?.len(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UringBackend {
    core: Core,
    waker: Waker,
    not_sync: PhantomData<Cell<()>>,
}

impl UringBackend {
    /// Makes a ring in which `entries` operations can be queued.
    ///
    /// # Errors
    ///
    /// Says what the kernel refused, and the way out.
    pub fn new(entries: u32) -> Result<Self, Error> {
        Self::with_mode(entries, Mode::Movable)
    }

    /// The same for a thread that keeps it: completions cost less (SINGLE_ISSUER, DEFER_TASKRUN,
    /// where the kernel has them). On another thread every call fails with EEXIST, and dropping it
    /// there leaks what is in flight.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn for_this_thread(entries: u32) -> Result<Self, Error> {
        Self::with_mode(entries, Mode::OneThread)
    }

    /// Hands queued operations to the kernel without taking completions.
    ///
    /// # Errors
    ///
    /// What the kernel says; the operations stay queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.core.flush()
    }

    fn with_mode(entries: u32, mode: Mode) -> Result<Self, Error> {
        let mut core = Core::new(probe::make(entries, mode, None)?, mode);
        let waker = Waker::from(Arc::clone(core.doorbell()?));
        Ok(Self { core, waker, not_sync: PhantomData })
    }
}

impl IoBackend for UringBackend {
    #[inline(always)]
    fn submit(&mut self, operation: IoOperation) -> Result<IoHandle, SubmitError> {
        self.core.push(operation, Owner::Backend).map(IoHandle)
    }

    #[inline]
    fn cancel(&mut self, handle: IoHandle) -> Result<bool, Error> {
        self.core.cancel(handle.0)
    }

    #[inline(always)]
    fn poll_into(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error> {
        let has_completions = self.core.has_completions();
        if !has_completions && timeout == Some(Duration::ZERO) && self.core.is_idle() {
            return Ok(0);
        }
        self.poll_busy(timeout, has_completions, out)
    }

    fn register(&mut self, buffer: &LentBuffer) {
        self.core.register_lent(buffer);
    }

    fn in_flight(&self) -> usize {
        self.core.in_flight()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> IoStats {
        self.core.stats.clone()
    }
}

impl UringBackend {
    /// The rest of a poll, when there is something to do or to wait for.
    #[inline(never)]
    fn poll_busy(
        &mut self,
        timeout: Option<Duration>,
        has_completions: bool,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error> {
        let before = out.len();
        if has_completions {
            self.take_completions(out);
            // What was queued begins now; a kernel that refuses says so when there is nothing else.
            let _ = self.core.flush();
            return Ok(out.len() - before);
        }
        if timeout == Some(Duration::ZERO) {
            self.core.flush()?;
            self.take_completions(out);
            return Ok(out.len() - before);
        }
        self.wait(timeout, out)
    }

    fn take_completions(&mut self, out: &mut Vec<IoCompletion>) -> usize {
        self.core.reap(self.max_batch_size(), out)
    }

    /// One call hands over what is queued and waits.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error> {
        let before = out.len();
        let deadline = timeout.map(deadline);
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || (left.is_none() && self.core.in_flight() == 0) {
                return Ok(out.len() - before);
            }
            self.core.enter(1, left)?;
            let n = self.take_completions(out);
            // One more for the doorbell, which ends the wait; others, as of cancellations, do not.
            if out.len() > before || (n > 0 && self.core.was_rung()) {
                return Ok(out.len() - before);
            }
        }
    }
}
