//! Threads: a few of them, which make the calls that may block on a disk.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use polling::Poller;

use super::super::{Error, IoOperation};
use super::calls::{self, Outcome};

const THREADS_MAX: usize = 4;
/// How long a drop waits for calls that threads have begun.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// An operation on its way to a thread, and back with what came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) key: u64,
    pub(super) operation: IoOperation,
    pub(super) outcome: Outcome,
}

/// The threads of one backend. They end when it is dropped, after what they have begun; a drop waits
/// for that, and leaves a thread to itself whose call does not end within a minute.
#[derive(Debug)]
pub(super) struct Threads {
    shared: Arc<Shared>,
    done: Receiver<Done>,
    sender: Sender<Done>,
    poller: Arc<Poller>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    is_more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: std::collections::VecDeque<(u64, IoOperation)>,
    n_idle: usize,
    is_ended: bool,
}

impl Threads {
    pub(super) fn new(poller: Arc<Poller>) -> Self {
        let (sender, done) = channel();
        Self { shared: Arc::default(), done, sender, poller, handles: Vec::new() }
    }

    /// Hands an operation to a thread; without any thread it is done here and now.
    pub(super) fn push(&mut self, key: u64, mut operation: IoOperation) {
        let mut queue = self.shared.queue.lock();
        let is_busy = queue.n_idle <= queue.waiting.len();
        drop(queue);
        if is_busy && self.handles.len() < THREADS_MAX {
            self.start();
        }
        if self.handles.is_empty() {
            let outcome = calls::call(&mut operation);
            // The receiver is a field beside it.
            let _ = self.sender.send(Done { key, operation, outcome });
            return;
        }
        queue = self.shared.queue.lock();
        queue.waiting.push_back((key, operation));
        drop(queue);
        self.shared.is_more.notify_one();
    }

    /// Starts one more thread, if the system has one.
    fn start(&mut self) {
        let (shared, sender) = (Arc::clone(&self.shared), self.sender.clone());
        let poller = Arc::clone(&self.poller);
        let builder = std::thread::Builder::new().name("ttlog-io-file".into());
        if let Ok(handle) = builder.spawn(move || run(&shared, &sender, &poller)) {
            self.handles.push(handle);
        }
    }

    pub(super) fn take(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Takes an operation out that no thread has begun.
    pub(super) fn withdraw(&self, key: u64) -> Option<IoOperation> {
        let mut queue = self.shared.queue.lock();
        let at = queue.waiting.iter().position(|(waiting, _)| *waiting == key)?;
        queue.waiting.remove(at).map(|(_, operation)| operation)
    }
}

fn run(shared: &Shared, sender: &Sender<Done>, poller: &Poller) {
    loop {
        let mut queue = shared.queue.lock();
        let (key, mut operation) = loop {
            if let Some(next) = queue.waiting.pop_front() {
                break next;
            }
            if queue.is_ended {
                return;
            }
            queue.n_idle += 1;
            shared.is_more.wait(&mut queue);
            queue.n_idle -= 1;
        };
        drop(queue);
        let outcome = calls::call(&mut operation);
        if sender.send(Done { key, operation, outcome }).is_err() {
            return;
        }
        // A poller that cannot be woken wakes by its timeout.
        let _ = poller.notify();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.is_ended = true;
        // What has not begun need not begin; its buffers are freed here.
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
        self.shared.is_more.notify_all();
        // A call that does not end keeps its thread, which owns what it works on.
        let deadline = Instant::now() + DRAIN_MAX;
        while self.handles.iter().any(|handle| !handle.is_finished()) && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The outcome of what was withdrawn.
pub(super) fn cancelled() -> Outcome {
    Err(Error::os(rustix::io::Errno::CANCELED.raw_os_error()))
}
