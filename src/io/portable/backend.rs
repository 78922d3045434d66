//! Backend: the portable way behind the trait that all backends have in common.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use polling::{Events, Poller};

use super::super::backend::IoBackend;
use super::super::slab::Slab;
use super::super::{
    Error, ErrorKind, IoBackendKind, IoCompletion, IoFd, IoHandle, IoOperation, IoStats,
    SubmitError,
};
use super::calls::{self, Outcome, Wait};
use super::threads::{Done, Threads, cancelled};
use super::watch::Watch;
use crate::sync::deadline;

/// Readiness for sockets and pipes, a few threads for files: works on every Unix.
///
/// Listeners, and sockets while they connect, are made non-blocking. Registered files are refused.
/// Dropping it frees what waits, and waits up to a minute for calls that have begun, such as a write
/// to a pipe that nobody reads; a call that goes on keeps its buffer and its thread.
///
/// ```
/// use ttlog::io::{IoBackend, IoFd, IoOperation, PortableBackend};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut backend = PortableBackend::new()?;
/// let zero = IoFd::from(std::fs::File::open("/dev/zero")?);
/// backend.submit(IoOperation::read(&zero, vec![1; 4], 0))?;
/// let done = backend.poll(None)?;
/// assert_eq!(done[0].buffer.as_ref().unwrap().as_slice(), [0; 4]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PortableBackend {
    poller: Arc<Poller>,
    events: Events,
    watch: Watch,
    threads: Threads,
    slots: Slab<Slot>,
    /// By time, then key.
    timers: BTreeSet<(Instant, u64)>,
    ready: VecDeque<IoCompletion>,
    bell: Arc<Bell>,
    stats: IoStats,
    not_sync: PhantomData<Cell<()>>,
}

/// Where an operation is.
#[derive(Debug)]
enum Slot {
    /// With a thread.
    Thread,
    /// Waiting for its descriptor to be ready.
    Watched { operation: IoOperation, fd: Arc<OwnedFd>, write: bool },
    /// Waiting for a time.
    Timer { operation: IoOperation, at: Instant },
}

#[derive(Debug)]
struct Bell {
    poller: Arc<Poller>,
    is_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ord: Release, pairs with the AcqRel of the wait.
        self.is_rung.store(true, Ordering::Release);
        // Fails only where the poller is gone.
        let _ = self.poller.notify();
    }
}

impl PortableBackend {
    /// Makes a backend; threads start with the first operations on files.
    ///
    /// # Errors
    ///
    /// If the system gives no poller, as with too many open descriptors.
    pub fn new() -> Result<Self, Error> {
        let poller = Arc::new(Poller::new()?);
        let bell = Bell { poller: Arc::clone(&poller), is_rung: false.into() };
        Ok(Self {
            events: Events::new(),
            watch: Watch::new(Arc::clone(&poller)),
            threads: Threads::new(Arc::clone(&poller)),
            slots: Slab::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            bell: Arc::new(bell),
            stats: IoStats::new(IoBackendKind::Portable),
            poller,
            not_sync: PhantomData,
        })
    }

    /// Says in the statistics why this backend was taken.
    pub(in super::super) fn because(mut self, reason: Option<String>) -> Self {
        self.stats.reason = reason;
        self
    }

    fn give(&mut self, key: u64, mut operation: IoOperation, outcome: Outcome) {
        operation.end();
        let (result, descriptor) = match outcome {
            Ok((n, descriptor)) => (Ok(n), descriptor),
            Err(error) => (Err(operation.error(error)), None),
        };
        let buffer = operation.into_buffer();
        self.ready.push_back(IoCompletion { handle: IoHandle(key), result, buffer, descriptor });
    }

    /// Tries a call that does not block, and waits for readiness where it would.
    fn try_now(&mut self, mut operation: IoOperation, fd: Arc<OwnedFd>, write: bool, key: u64) {
        let again = rustix::io::Errno::AGAIN.raw_os_error();
        match calls::call(&mut operation) {
            Err(error) if error.raw_os_error() == Some(again) => {
                self.watch_for(operation, fd, write, key);
            }
            outcome => {
                self.slots.remove(key);
                self.give(key, operation, outcome);
            }
        }
    }

    fn watch_for(&mut self, operation: IoOperation, fd: Arc<OwnedFd>, write: bool, key: u64) {
        match self.watch.add(&fd, key, write) {
            Ok(()) => {
                if let Some(slot) = self.slots.get_mut(key) {
                    *slot = Slot::Watched { operation, fd, write };
                }
            }
            // Of a device like /dev/null readiness is not told: a thread makes the call.
            Err(_) if calls::wait_of(&operation).is_first() => self.threads.push(key, operation),
            Err(error) => {
                self.slots.remove(key);
                self.give(key, operation, Err(error));
            }
        }
    }

    /// Begins an operation whose slot is there.
    fn begin(&mut self, operation: IoOperation, key: u64) {
        let wait = calls::wait_of(&operation);
        if wait == Wait::Timer {
            return self.set_timer(operation, key);
        }
        if wait == Wait::Thread {
            // Without a clone of the descriptor: a close needs the last one.
            return self.threads.push(key, operation);
        }
        let Some(fd) = operation.fd().and_then(|fd| fd.owned().ok()).cloned() else { return };
        match wait {
            Wait::Readable { first: false } => self.try_now(operation, fd, false, key),
            Wait::Writable { first: false } => self.try_now(operation, fd, true, key),
            Wait::Readable { first: true } => self.watch_for(operation, fd, false, key),
            Wait::Writable { first: true } => self.watch_for(operation, fd, true, key),
            Wait::Thread | Wait::Timer => {}
        }
    }

    fn set_timer(&mut self, operation: IoOperation, key: u64) {
        let IoOperation::Timeout { after } = operation else { return };
        let at = deadline(after);
        self.timers.insert((at, key));
        if let Some(slot) = self.slots.get_mut(key) {
            *slot = Slot::Timer { operation, at };
        }
    }

    /// Moves what is done to `ready`, without waiting.
    fn gather(&mut self) {
        while let Some(Done { key, operation, outcome }) = self.threads.take() {
            self.slots.remove(key);
            self.give(key, operation, outcome);
        }
        let now = Instant::now();
        while let Some(&(at, key)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(Slot::Timer { operation, .. }) = self.slots.remove(key) {
                self.give(key, operation, Ok((0, None)));
            }
        }
    }

    /// Waits for events, no longer than `timeout` or the next timer.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let now = Instant::now();
        let timer = self.timers.first().map(|(at, _)| at.saturating_duration_since(now));
        let timeout = match (timeout, timer) {
            (Some(timeout), Some(timer)) => Some(timeout.min(timer)),
            (timeout, timer) => timeout.or(timer),
        };
        self.events.clear();
        self.stats.enters += 1;
        match self.poller.wait(&mut self.events, timeout) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error.into());
            }
            _ => {}
        }
        let mut keys = Vec::new();
        for event in self.events.iter() {
            self.watch.take(&event, &mut keys);
        }
        for key in keys {
            let Some(slot @ Slot::Watched { .. }) = self.slots.get_mut(key) else { continue };
            let Slot::Watched { operation, fd, write } = std::mem::replace(slot, Slot::Thread)
            else {
                continue;
            };
            if calls::wait_of(&operation).is_first() {
                // The call of a pipe may still block, if another was faster.
                self.threads.push(key, operation);
            } else {
                self.try_now(operation, fd, write, key);
            }
        }
        Ok(())
    }
}

impl IoBackend for PortableBackend {
    fn submit(&mut self, mut operation: IoOperation) -> Result<IoHandle, SubmitError> {
        if let Some(Err(error)) = operation.fd().map(IoFd::owned) {
            let error = operation.error(error);
            return Err(SubmitError { operation, error });
        }
        if let Err(error) = operation.begin() {
            return Err(SubmitError { operation, error });
        }
        if let IoOperation::Close { fd } = &mut operation
            && !fd.owned().is_ok_and(|fd| Arc::strong_count(fd) == 1)
        {
            let error = operation.error(Error::new(ErrorKind::InUse));
            return Err(SubmitError { operation, error });
        }
        let key = self.slots.insert(Slot::Thread);
        self.stats.submitted += 1;
        self.begin(operation, key);
        Ok(IoHandle(key))
    }

    fn cancel(&mut self, handle: IoHandle) -> Result<bool, Error> {
        let key = handle.0;
        match self.slots.get_mut(key) {
            None => return Ok(false),
            // What a thread has begun ends by itself.
            Some(Slot::Thread) => {
                if let Some(operation) = self.threads.withdraw(key) {
                    self.slots.remove(key);
                    self.give(key, operation, cancelled());
                }
                return Ok(true);
            }
            Some(_) => {}
        }
        match self.slots.remove(key) {
            Some(Slot::Watched { operation, fd, .. }) => {
                self.watch.remove(&fd, key);
                self.give(key, operation, cancelled());
            }
            Some(Slot::Timer { operation, at }) => {
                self.timers.remove(&(at, key));
                self.give(key, operation, cancelled());
            }
            _ => {}
        }
        Ok(true)
    }

    fn poll_into(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error> {
        let deadline = timeout.map(deadline);
        loop {
            self.gather();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let is_rung = self.bell.is_rung.swap(false, Ordering::AcqRel); // ord: as in `wake`
            let is_idle = left.is_none() && self.in_flight() == 0;
            if !self.ready.is_empty() || is_rung || is_idle {
                break;
            }
            self.wait(left)?;
            self.gather();
            if left == Some(Duration::ZERO) {
                break;
            }
        }
        let n = self.ready.len().min(self.max_batch_size());
        out.extend(self.ready.drain(..n));
        self.stats.completed += n as u64;
        Ok(n)
    }

    fn in_flight(&self) -> usize {
        self.slots.len() + self.ready.len()
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    fn stats(&self) -> IoStats {
        self.stats.clone()
    }
}
