//! Ring: io_uring for one thread at a time.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use io_uring::IoUring;

use super::super::slab::Slab;
use super::super::{
    Error, ErrorKind, IoCompletion, IoHandle, IoOperation, IoStats, SubmitError,
};
use super::batch::BatchState;
use super::core::Core;
use super::settle::{Owner, Reaped};
use super::block::Blocker;
use super::probe::Mode;
use super::registry::{Return, Returns, Table};
use super::wake::Watched;
use crate::sync::call_each;

const REAP_MAX: usize = 128;

/// Safe io_uring: operations own their buffers, futures may be dropped, leaked or cancelled.
///
/// Each method queues an operation and returns a future; the kernel hears of queued operations when
/// a future is polled without being ready, or at [`submit`](Self::submit). The future gives the
/// result *and the buffer*, on error too.
///
/// # Who reaps and who wakes
///
/// Whoever polls a future, or calls [`reap`](Self::reap), takes *all* completions of the ring and
/// wakes their tasks. [`block_on`](Self::block_on) sleeps in the kernel until there are some, which
/// is the fastest way. Under any other executor a thread of the process, `ttlog-io-wake`, sleeps on
/// the descriptors of rings with waiting tasks and wakes one of those; a pending future costs no
/// processor time.
///
/// # Threads
///
/// A `Ring` is `Send` and not `Sync`: one thread at a time, and it may move with work in flight.
/// Nothing is locked on the way of an operation. Wakers and destructors may call back into the ring.
///
/// What waits in the kernel, as a read of a quiet pipe does, is cancelled by it when the thread that
/// handed it over *ends*: its buffer comes back with that, and it may be begun again elsewhere.
///
/// A single thread:
///
/// ```
/// use ttlog::io::{PinnedBuffer, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(_) = Ring::new(2) else { return Ok(()) };
/// let ring = Ring::new(32)?;
/// let zero = std::fs::File::open("/dev/zero")?;
/// let buffer = PinnedBuffer::with_capacity_aligned(4096);
/// let (result, buffer) = ring.block_on(ring.read(zero, buffer, 0));
/// assert_eq!((result?, buffer[0]), (4096, 0));
/// # Ok(()) }
/// ```
///
/// Moved between threads, here with an operation in flight:
///
/// ```
/// use ttlog::io::{IoFd, Operation, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(_) = Ring::new(2) else { return Ok(()) };
/// let ring = Ring::new(32)?;
/// let zero = IoFd::from(std::fs::File::open("/dev/zero")?);
/// let operation = Operation::read().set_fd(&zero).set_buffer(vec![1; 16]).submit(&ring)?;
/// let bytes = std::thread::spawn(move || operation.wait(&ring).into_parts().1).join().unwrap();
/// assert_eq!(bytes.unwrap().as_slice(), [0; 16]);
/// # Ok(()) }
/// ```
///
/// One for each thread:
///
/// ```
/// use ttlog::io::Ring;
///
/// # let Ok(_) = Ring::new(2) else { return };
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| {
///             let ring = Ring::new(32).unwrap();
///             ring.block_on(ring.nop()).unwrap();
///         });
///     }
/// });
/// ```
///
/// Behind a channel, where many threads use one: that is [`Driver`](crate::io::Driver).
///
/// ```
/// use ttlog::io::{Driver, IoChoice, IoOperation};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (remote, thread) = Driver::spawn(IoChoice::Auto)?;
/// let zero = std::fs::File::open("/dev/zero")?;
/// let done = remote.submit(IoOperation::read(zero, vec![1; 16], 0))?.wait();
/// assert_eq!(done.buffer.unwrap().as_slice(), [0; 16]);
/// remote.shutdown();
/// thread.join().unwrap()?;
/// # Ok(()) }
/// ```
///
/// It cannot be shared:
///
/// ```compile_fail,E0277
/// use std::sync::Arc;
/// use ttlog::io::Ring;
///
/// let ring = Arc::new(Ring::new(32).unwrap());
/// std::thread::spawn(move || ring.submit());
/// ```
///
/// and a future of it stays on its thread:
///
/// ```compile_fail,E0277
/// use ttlog::io::Ring;
///
/// let ring = Ring::new(32).unwrap();
/// let future = ring.nop();
/// std::thread::scope(|scope| { scope.spawn(move || drop(future)); });
/// ```
///
/// An operation in flight needs its ring to stay where the future can see it:
///
/// ```compile_fail,E0505
/// use ttlog::io::Ring;
///
/// let ring = Ring::new(32).unwrap();
/// let future = ring.nop();
/// drop(ring);
/// drop(future);
/// ```
///
/// # Why operations own their buffers
///
/// A borrow that must outlive the ring (`'buf: 'ring`) holds nothing: `mem::forget` of the future,
/// or of the ring, ends the borrow in safe code, and the kernel still writes. What is owned by a
/// slot of the ring is freed by its completion alone.
///
/// # Dropping
///
/// Closing a ring does not make the kernel stop: a buffer was seen to change half a second after
/// `close`. So dropping the ring cancels what is in flight and waits for every completion, for
/// [`drain_max`](crate::io::RingBuilder::drain_max) at most; beyond that it leaks ring and buffers.
/// [`close`](Self::close) does the same and tells.
///
/// # When the thread that submitted ends
///
/// The kernel may end operations that a thread submitted with ECANCELED when that thread ends. A
/// ring that moves on sees such a completion like any other.
pub struct Ring {
    // Before the core, whose descriptor it watches.
    pub(super) watched: OnceCell<Watched>,
    pub(super) core: RefCell<Core>,
    batches: RefCell<Slab<BatchState>>,
    /// Kept for its memory.
    scratch: Cell<Vec<Reaped>>,
    pub(super) returns: Arc<Returns>,
    pub(super) blocker: Arc<Blocker>,
    pub(super) blocker_waker: Waker,
    /// Calls of `block_on` that are running: they look for completions.
    pub(super) n_blocking: Cell<u32>,
    not_sync: PhantomData<Cell<()>>,
}

impl Ring {
    /// Makes a ring in which `entries` operations can be queued at a time.
    ///
    /// # Errors
    ///
    /// As [`RingBuilder::build`](crate::io::RingBuilder::build); [`crate::io::backend()`] goes another way then.
    pub fn new(entries: u32) -> Result<Self, Error> {
        Self::builder().entries(entries).build()
    }

    pub(super) fn of(ring: IoUring, drain_max: Duration) -> Result<Self, Error> {
        let mut core = Core::new(ring, Mode::Movable);
        core.drain_max = drain_max;
        let blocker = Blocker::new(core.doorbell()?);
        Ok(Self {
            watched: OnceCell::new(),
            core: RefCell::new(core),
            batches: RefCell::new(Slab::new()),
            scratch: Cell::default(),
            returns: Arc::default(),
            blocker_waker: Waker::from(Arc::clone(&blocker)),
            blocker,
            n_blocking: Cell::new(0),
            not_sync: PhantomData,
        })
    }

    /// Operations that can be queued before the kernel is called.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.core.borrow().capacity()
    }

    /// What is going on in the ring.
    #[must_use]
    pub fn tracker(&self) -> OperationTracker {
        let core = self.core.borrow();
        OperationTracker { in_flight: core.in_flight(), next_id: core.stats.submitted }
    }

    /// What the ring did.
    #[must_use]
    pub fn stats(&self) -> IoStats {
        self.core.borrow().stats.clone()
    }

    /// Hands queued operations to the kernel without waiting.
    ///
    /// # Errors
    ///
    /// What the kernel says; the operations stay queued.
    pub fn submit(&self) -> Result<(), Error> {
        self.core.borrow_mut().flush()
    }

    /// Takes completions that are there and wakes their tasks; their number.
    #[inline]
    pub fn reap(&self) -> usize {
        self.take_returns();
        let mut n_reaped = 0;
        loop {
            let mut core = self.core.borrow_mut();
            if !core.has_completions() {
                return n_reaped;
            }
            let mut reaped = self.scratch.take();
            n_reaped += core.reap(REAP_MAX, &mut reaped);
            drop(core);
            call_each(reaped.drain(..), |one| self.dispatch(one));
            self.scratch.set(reaped);
        }
    }

    /// Does what a completion asks for; nothing of the ring is borrowed, since this runs wakers and
    /// destructors.
    fn dispatch(&self, one: Reaped) {
        match one {
            Reaped::Wake(waker) => waker.wake(),
            Reaped::Batch { batch, index, completion } => {
                let mut batches = self.batches.borrow_mut();
                let waker = match batches.get_mut(batch) {
                    Some(state) => {
                        state.done.push((index, completion));
                        state.waker.take()
                    }
                    None => {
                        drop(batches);
                        drop(completion);
                        return;
                    }
                };
                drop(batches);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Reaped::Backend(_) | Reaped::Orphan(_) | Reaped::Descriptor(_) => drop(one),
        }
    }

    /// Sleeps until there is a completion; a kernel that refuses is asked again, slowly.
    pub(super) fn wait_in_kernel(&self, timeout: Option<Duration>) {
        let entered = self.core.borrow_mut().enter(1, timeout);
        if entered.is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the ring: cancels what is in flight and waits for it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] when operations did not end in time; their memory is leaked then.
    pub fn close(self) -> Result<(), Error> {
        let left = self.core.borrow_mut().drain();
        drop(self);
        if left == 0 { Ok(()) } else { Err(Error::new(ErrorKind::InUse)) }
    }

    /// Asks for an operation to end early; false when it has completed. Its completion still comes,
    /// and its buffer with it.
    ///
    /// # Errors
    ///
    /// If the request could not be queued.
    pub fn cancel(&self, handle: IoHandle) -> Result<bool, Error> {
        let mut core = self.core.borrow_mut();
        let found = core.cancel(handle.0)?;
        core.flush()?;
        Ok(found)
    }

    /// Queues an operation; takes completions when the kernel has no room.
    #[inline(always)]
    pub(super) fn push(
        &self,
        operation: IoOperation,
        owner: impl Fn() -> Owner,
    ) -> Result<u64, SubmitError> {
        // Without a panic here, the operation need not lie in memory to be dropped.
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return self.push_any(operation, owner);
        };
        match core.push_plain(operation, owner()) {
            Ok(key) => Ok(key),
            Err((operation, _)) => {
                drop(core);
                self.push_any(operation, owner)
            }
        }
    }

    #[inline(never)]
    fn push_any(
        &self,
        mut operation: IoOperation,
        owner: impl Fn() -> Owner,
    ) -> Result<u64, SubmitError> {
        for _ in 0..1000 {
            let pushed = self.core.borrow_mut().push_any(operation, owner());
            match pushed {
                Err(refused) if refused.error.kind() == ErrorKind::Busy => {
                    operation = refused.operation;
                    if self.reap() == 0 {
                        self.wait_in_kernel(Some(Duration::from_millis(1)));
                    }
                }
                other => return other,
            }
        }
        Err(SubmitError { error: Error::new(ErrorKind::Busy), operation })
    }

    /// The completion of a future or token, if it is there.
    #[inline]
    pub(super) fn take_done(&self, key: u64) -> Option<IoCompletion> {
        let done = self.core.borrow_mut().take_done(key);
        if done.is_some() {
            self.leave(key);
        }
        done
    }

    /// Gives up an operation: it is cancelled, and its buffer freed with its completion.
    pub(super) fn abandon(&self, key: u64) {
        self.leave(key);
        let mut core = self.core.borrow_mut();
        let is_flying = matches!(core.state(key), Some(Owner::Future(_) | Owner::Joined(_)));
        let left = core.orphan(key);
        if is_flying {
            // Without room, or without a kernel, it ends by itself.
            let _ = core.cancel(key).and_then(|_| core.flush());
        }
        drop(core);
        drop(left);
    }

    pub(super) fn with_core<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        work(&mut self.core.borrow_mut())
    }

    pub(super) fn batches(&self) -> &RefCell<Slab<BatchState>> {
        &self.batches
    }

    pub(super) fn with_table<R>(&self, work: impl FnOnce(&mut Table, &IoUring) -> R) -> R {
        self.with_core(|core| core.with_table(work))
    }

    pub(super) fn returns(&self) -> Arc<Returns> {
        Arc::clone(&self.returns)
    }

    /// Clears what was dropped where the ring was not at hand.
    #[inline]
    pub(super) fn take_returns(&self) {
        for one in self.returns.take() {
            if let Return::Token(key) = one {
                self.abandon(key);
            } else if let Some(later) = self.with_table(|table, ring| table.take_back(ring, one)) {
                self.returns.give(later);
            }
        }
    }
}

impl AsRawFd for Ring {
    /// The ring's descriptor, for `epoll` and `/proc/self/fdinfo`.
    fn as_raw_fd(&self) -> RawFd {
        self.core.borrow().uring().as_raw_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("tracker", &self.tracker()).finish_non_exhaustive()
    }
}

/// How many operations a ring has had and has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationTracker {
    /// Operations that the ring owns: queued or in the kernel.
    pub in_flight: usize,
    /// Operations so far, so the number of the next.
    pub next_id: u64,
}
