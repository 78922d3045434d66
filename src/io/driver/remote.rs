//! Remote: operations handed to a driver's thread, and their results.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};

use super::super::oneshot::{self, Receiver, Sender};
use super::super::{Error, ErrorKind, IoCompletion, IoHandle, IoOperation, SubmitError};
use super::tasks::LocalFuture;
use crate::ring::{BackPressurePolicy, LockFreeRingBuffer, PushError};

/// Messages that wait for a driver at most.
const INBOX_LEN: usize = 4096;

/// What a driver is told.
pub(super) enum Message {
    Submit { id: u64, operation: IoOperation, reply: Sender<IoCompletion> },
    Cancel { id: u64 },
    Spawn(Box<dyn FnOnce() -> LocalFuture + Send>),
}

/// Where messages wait, and how the driver is woken for them.
pub(super) struct Inbox {
    pub(super) messages: LockFreeRingBuffer<Message>,
    pub(super) waker: Waker,
    pub(super) is_parked: AtomicBool,
    /// Ends what is in flight, rather than to wait for it.
    pub(super) is_aborted: AtomicBool,
    n_remotes: AtomicUsize,
    next_id: AtomicU64,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            messages: LockFreeRingBuffer::new(INBOX_LEN, BackPressurePolicy::DropNewest),
            waker,
            is_parked: false.into(),
            is_aborted: false.into(),
            n_remotes: 0.into(),
            next_id: 0.into(),
        })
    }

    /// Wakes the driver if it sleeps (D1).
    pub(super) fn ring_bell(&self) {
        // ord: SeqCst, pairs with the fence in `Driver::park`; with less, message and sleep may
        // miss each other.
        fence(Ordering::SeqCst);
        // ord: Relaxed, ordered by the fence.
        if self.is_parked.load(Ordering::Relaxed) {
            self.waker.wake_by_ref();
        }
    }

    fn push(&self, message: Message) -> Result<(), PushError<Message>> {
        self.messages.push(message)?;
        self.ring_bell();
        Ok(())
    }
}

/// Hands operations to a [`Driver`](super::Driver) from any thread; clones share the driver.
///
/// Result and buffer come back through the [`IoFuture`]. The driver ends when the last remote is
/// dropped, or at [`shutdown`](Self::shutdown).
pub struct Remote {
    inbox: Arc<Inbox>,
}

impl Remote {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        // ord: Relaxed, as the count of an `Arc`.
        inbox.n_remotes.fetch_add(1, Ordering::Relaxed);
        Self { inbox: Arc::clone(inbox) }
    }

    /// Hands an operation over; it begins without the future being polled. Never blocks.
    ///
    /// # Errors
    ///
    /// Gives the operation back: [`ErrorKind::Busy`] when 4096 messages wait,
    /// [`ErrorKind::Closed`] when the driver has ended.
    ///
    /// ```
    /// use ttlog::io::{Driver, IoChoice, IoOperation};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (remote, thread) = Driver::spawn(IoChoice::Auto)?;
    /// let futures: Vec<_> = (0..4).map(|_| remote.submit(IoOperation::Nop)).collect();
    /// for future in futures {
    ///     assert!(future?.wait().result.is_ok());
    /// }
    /// drop(remote);
    /// thread.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn submit(&self, operation: IoOperation) -> Result<IoFuture, SubmitError> {
        // ord: Relaxed, a counter.
        let id = self.inbox.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, receiver) = oneshot::channel();
        let message = Message::Submit { id, operation, reply };
        let kind = match self.inbox.push(message) {
            Ok(()) => {
                let inbox = Some(Arc::clone(&self.inbox));
                return Ok(IoFuture { receiver, id, inbox });
            }
            Err(refused) => (refused.is_closed(), refused.into_inner()),
        };
        match kind {
            (is_closed, Message::Submit { operation, .. }) => {
                let kind = if is_closed { ErrorKind::Closed } else { ErrorKind::Busy };
                Err(SubmitError { error: operation.error(Error::new(kind)), operation })
            }
            _ => unreachable!("the ring gives back what was pushed"),
        }
    }

    /// Runs a future on the driver's thread, among its other tasks. It is made there, so that it
    /// need not be `Send`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] or [`ErrorKind::Closed`], as [`submit`](Self::submit).
    pub fn spawn<F, M>(&self, make: M) -> Result<(), Error>
    where
        F: Future<Output = ()> + 'static,
        M: FnOnce() -> F + Send + 'static,
    {
        let message = Message::Spawn(Box::new(move || Box::pin(make())));
        self.inbox.push(message).map_err(|refused| {
            Error::new(if refused.is_closed() { ErrorKind::Closed } else { ErrorKind::Busy })
        })
    }

    /// Lets the driver end after all that was handed over has completed. What never completes by
    /// itself, such as an accept, has to be cancelled, or [`abort`](Self::abort) called.
    pub fn shutdown(&self) {
        self.inbox.messages.close();
        self.inbox.waker.wake_by_ref();
    }

    /// Lets the driver end now: what is in flight is cancelled, and completes so.
    pub fn abort(&self) {
        // ord: Release, pairs with the Acquire of the driver.
        self.inbox.is_aborted.store(true, Ordering::Release);
        self.shutdown();
    }
}

impl Clone for Remote {
    fn clone(&self) -> Self {
        Self::new(&self.inbox)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // ord: AcqRel, as the count of an `Arc`.
        if self.inbox.n_remotes.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shutdown();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("waiting", &self.inbox.messages.len()).finish()
    }
}

/// An operation that a driver has; gives its completion, with the buffer, on any executor.
///
/// Dropping it asks for the operation to end early; its buffer is dropped on the driver's thread.
/// When the driver's backend fails, or a task of it panics, the completion has
/// [`ErrorKind::Closed`] and no buffer.
#[must_use = "the operation is cancelled when its future is dropped"]
pub struct IoFuture {
    receiver: Receiver<IoCompletion>,
    id: u64,
    /// Until the completion was taken.
    inbox: Option<Arc<Inbox>>,
}

impl IoFuture {
    /// Waits for the completion on this thread.
    #[must_use]
    pub fn wait(mut self) -> IoCompletion {
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            let poll = Pin::new(&mut self).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(completion) = poll {
                return completion;
            }
            std::thread::park();
        }
    }

    /// Asks for the operation to end early; the future still gives its completion. False when the
    /// driver could not be told.
    pub fn cancel(&self) -> bool {
        let message = Message::Cancel { id: self.id };
        self.inbox.as_ref().is_some_and(|inbox| inbox.push(message).is_ok())
    }
}

impl Future for IoFuture {
    type Output = IoCompletion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoCompletion> {
        let Poll::Ready(received) = self.receiver.poll(context) else { return Poll::Pending };
        self.inbox = None;
        Poll::Ready(received.unwrap_or_else(|()| IoCompletion {
            handle: IoHandle(u64::MAX),
            result: Err(Error::new(ErrorKind::Closed)),
            buffer: None,
            descriptor: None,
        }))
    }
}

impl Drop for IoFuture {
    fn drop(&mut self) {
        // A full inbox lets the operation go on to its end.
        let _ = self.cancel();
    }
}

impl fmt::Debug for IoFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoFuture({})", self.id)
    }
}
