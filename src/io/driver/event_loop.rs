//! Event loop: messages, completions, ready work, in this order, a bounded part of each.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::backend::IoBackend;
use super::super::choice::backend_for_this_thread;
use super::super::oneshot::Sender;
use super::super::{
    BufferPool, BufferPoolConfig, Error, ErrorKind, IoChoice, IoCompletion, IoHandle, IoStats,
    SubmitError,
};
use super::remote::{Inbox, Message, Remote};
use super::tasks::Tasks;

/// Messages, and tasks, of one round at most.
const ROUND_MAX: usize = 256;
/// Rounds without work before the driver sleeps.
const SPIN_ROUNDS: u32 = 64;
/// A sleep ends by a wake; this is only a number for the backend.
const LONG: Duration = Duration::from_secs(3600);

/// The event loop of one thread: its backend, its pool, its tasks.
///
/// # Examples
///
/// A driver on a thread of its own is one call, [`Driver::spawn`]. On the calling thread:
///
/// ```
/// use ttlog::io::{Driver, IoChoice, IoOperation};
///
/// # fn main() -> Result<(), ttlog::io::Error> {
/// let (mut driver, remote) = Driver::new(IoChoice::Auto)?;
/// let of_task = remote.clone();
/// driver.spawn_local(async move {
///     let done = of_task.submit(IoOperation::Nop).expect("there is room").await;
///     assert!(done.result.is_ok());
/// });
/// drop(remote);
/// driver.run()
/// # }
/// ```
pub struct Driver {
    backend: Box<dyn IoBackend>,
    inbox: Arc<Inbox>,
    tasks: Tasks,
    pool: Arc<BufferPool>,
    /// Who waits for what is in flight.
    waiting: HashMap<IoHandle, (u64, Sender<IoCompletion>)>,
    /// For cancellations, which name a message.
    handles: HashMap<u64, IoHandle>,
    /// Kept for their memory.
    messages: Vec<Message>,
    completions: Vec<IoCompletion>,
    is_aborting: bool,
    not_send: PhantomData<*const ()>,
}

impl Driver {
    /// Makes a driver for the calling thread, with a backend of this choice.
    ///
    /// # Errors
    ///
    /// As [`backend`](super::super::backend()).
    pub fn new(choice: IoChoice) -> Result<(Self, Remote), Error> {
        Ok(Self::with_backend(backend_for_this_thread(choice)?))
    }

    /// Makes a driver over a backend.
    #[must_use]
    pub fn with_backend(backend: Box<dyn IoBackend>) -> (Self, Remote) {
        let inbox = Inbox::new(backend.waker());
        let remote = Remote::new(&inbox);
        let driver = Self {
            backend,
            tasks: Tasks::new(&inbox),
            inbox,
            pool: Arc::new(BufferPool::new(BufferPoolConfig::default())),
            waiting: HashMap::new(),
            handles: HashMap::new(),
            messages: Vec::new(),
            completions: Vec::new(),
            is_aborting: false,
            not_send: PhantomData,
        };
        (driver, remote)
    }

    /// Starts a thread with a driver.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or if no thread can be started. The thread's own result is what
    /// [`run`](Self::run) gave.
    pub fn spawn(choice: IoChoice) -> Result<(Remote, JoinHandle<Result<(), Error>>), Error> {
        let (made, answer) = std::sync::mpsc::channel();
        let builder = std::thread::Builder::new().name("ttlog-io".into());
        let thread = builder.spawn(move || match Self::new(choice) {
            Ok((driver, remote)) => {
                let told = made.send(Ok(remote));
                debug_assert!(told.is_ok(), "the caller waits below");
                driver.run()
            }
            Err(error) => {
                // The caller waits below.
                let _ = made.send(Err(error));
                Ok(())
            }
        })?;
        let answer = answer.recv().map_err(|_| Error::new(ErrorKind::Closed))?;
        answer.map(|remote| (remote, thread))
    }

    /// The driver's own pool, for its tasks and for who submits to it.
    #[must_use]
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// What the backend is and did.
    #[must_use]
    pub fn stats(&self) -> IoStats {
        self.backend.stats()
    }

    /// Adds a task, which runs on this thread.
    pub fn spawn_local(&mut self, future: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(Box::pin(future));
    }

    /// Runs until all remotes are gone, or one of them says so, and everything has completed.
    ///
    /// # Errors
    ///
    /// What the backend fails with; who waits is told [`ErrorKind::Closed`].
    pub fn run(mut self) -> Result<(), Error> {
        let mut n_idle = 0;
        loop {
            let worked = self.run_once()?;
            // Tasks that always have work are no reason to go on after an abort.
            if (self.aborts() || !worked) && self.is_over() {
                return Ok(());
            } else if worked {
                n_idle = 0;
            } else if n_idle < SPIN_ROUNDS {
                n_idle += 1;
                std::hint::spin_loop();
            } else {
                self.park()?;
                n_idle = 0;
            }
        }
    }

    /// One round without waiting; true if there was work.
    ///
    /// # Errors
    ///
    /// What the backend fails with.
    pub fn run_once(&mut self) -> Result<bool, Error> {
        let mut worked = self.take_messages();
        worked |= self.take_completions(Duration::ZERO)?;
        worked |= self.tasks.run(ROUND_MAX);
        Ok(worked)
    }

    /// True once the end was asked for, with a cancellation of all that is in flight then.
    fn aborts(&mut self) -> bool {
        // ord: Acquire, pairs with the Release of `abort`.
        if self.inbox.is_aborted.load(Ordering::Acquire) && !self.is_aborting {
            self.is_aborting = true;
            for handle in self.waiting.keys() {
                // What cannot be cancelled ends by itself.
                let _ = self.backend.cancel(*handle);
            }
        }
        self.is_aborting
    }

    fn is_over(&self) -> bool {
        let has_tasks = self.tasks.len() > 0 && !self.is_aborting;
        let messages = &self.inbox.messages;
        messages.is_closed() && messages.is_empty() && self.waiting.is_empty() && !has_tasks
    }

    /// Sleeps until there is something to do (D1).
    fn park(&mut self) -> Result<(), Error> {
        // ord: Relaxed, published by the fence.
        self.inbox.is_parked.store(true, Ordering::Relaxed);
        // ord: SeqCst, pairs with the fence in `Inbox::ring_bell`.
        fence(Ordering::SeqCst);
        let has_news = !self.inbox.messages.is_empty() || self.tasks.is_any_ready();
        let is_closing = self.inbox.messages.is_closed() && self.waiting.is_empty();
        let result = match has_news || (is_closing && self.tasks.len() == 0) {
            true => Ok(false),
            false => self.take_completions(LONG),
        };
        // ord: Relaxed, a bell too many does no harm.
        self.inbox.is_parked.store(false, Ordering::Relaxed);
        result.map(|_| ())
    }

    fn take_messages(&mut self) -> bool {
        let mut messages = std::mem::take(&mut self.messages);
        self.inbox.messages.take_into(&mut messages, ROUND_MAX);
        let any = !messages.is_empty();
        for message in messages.drain(..) {
            match message {
                Message::Submit { id, operation, reply } => match self.backend.submit(operation) {
                    Ok(handle) => {
                        if self.is_aborting {
                            // It was on its way when the end was asked for. As in `aborts`.
                            let _ = self.backend.cancel(handle);
                        }
                        self.waiting.insert(handle, (id, reply));
                        self.handles.insert(id, handle);
                    }
                    Err(refused) => drop(reply.send(refused_completion(refused))),
                },
                Message::Cancel { id } => {
                    if let Some(handle) = self.handles.get(&id) {
                        // What cannot be cancelled ends by itself.
                        let _ = self.backend.cancel(*handle);
                    }
                }
                Message::Spawn(make) => self.tasks.spawn(make()),
            }
        }
        self.messages = messages;
        any
    }

    fn take_completions(&mut self, timeout: Duration) -> Result<bool, Error> {
        let mut completions = std::mem::take(&mut self.completions);
        let polled = self.backend.poll_into(Some(timeout), &mut completions);
        let any = !completions.is_empty();
        for completion in completions.drain(..) {
            if let Some((id, reply)) = self.waiting.remove(&completion.handle) {
                self.handles.remove(&id);
                // Without a taker it is dropped here, and its buffer goes back.
                drop(reply.send(completion));
            }
        }
        self.completions = completions;
        polled.map(|_| any)
    }
}

fn refused_completion(refused: SubmitError) -> IoCompletion {
    IoCompletion {
        handle: IoHandle(u64::MAX),
        result: Err(refused.error),
        buffer: refused.operation.into_buffer(),
        descriptor: None,
    }
}

impl Drop for Driver {
    /// Tells everybody who still waits (D2).
    fn drop(&mut self) {
        self.inbox.messages.close();
        loop {
            // Waits for those, too, that another thread is about to put there.
            let messages = self.inbox.messages.take_batch_timeout(ROUND_MAX, Duration::MAX);
            if messages.is_empty() {
                return;
            }
            for message in messages {
                if let Message::Submit { operation, reply, .. } = message {
                    let error = operation.error(Error::new(ErrorKind::Closed));
                    drop(reply.send(refused_completion(SubmitError { operation, error })));
                }
            }
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("backend", &self.backend)
            .field("waiting", &self.waiting.len())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
