//! Tasks: futures that run on a driver's thread.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

use super::super::slab::Slab;
use super::remote::Inbox;

/// A future of the driver's own thread.
pub(super) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The futures of one driver.
pub(super) struct Tasks {
    slots: Slab<(Option<LocalFuture>, Arc<TaskWaker>)>,
    ready: Arc<Ready>,
}

/// Keys of tasks that were woken, from any thread.
struct Ready {
    keys: Mutex<VecDeque<u64>>,
    inbox: Arc<Inbox>,
}

/// Wakes one task.
struct TaskWaker {
    key: u64,
    /// True while its key is among the ready ones: many wakes are one poll.
    is_ready: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ord: AcqRel, pairs with the one in `run`, whose poll sees what was done before this wake,
        // also when another has put the key there.
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            self.ready.keys.lock().push_back(self.key);
            self.ready.inbox.ring_bell();
        }
    }
}

impl Tasks {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        let ready = Ready { keys: Mutex::default(), inbox: Arc::clone(inbox) };
        Self { slots: Slab::new(), ready: Arc::new(ready) }
    }

    pub(super) fn spawn(&mut self, future: LocalFuture) {
        let vacant = self.slots.vacant();
        let key = vacant.key();
        let ready = Arc::clone(&self.ready);
        let waker = Arc::new(TaskWaker { key, is_ready: true.into(), ready });
        vacant.insert((Some(future), waker));
        self.ready.keys.lock().push_back(key);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_any_ready(&self) -> bool {
        !self.ready.keys.lock().is_empty()
    }

    /// Polls up to `max` tasks that were woken; true if there were any.
    pub(super) fn run(&mut self, max: usize) -> bool {
        for n in 0..max {
            let Some(key) = self.ready.keys.lock().pop_front() else { return n > 0 };
            // Woken after its end: nothing to do.
            let Some((place, waker)) = self.slots.get_mut(key) else { continue };
            let Some(mut future) = place.take() else { continue };
            waker.is_ready.swap(false, Ordering::AcqRel); // ord: as in `wake_by_ref`
            let waker = Waker::from(Arc::clone(waker));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                drop(self.slots.remove(key));
            } else if let Some((place, _)) = self.slots.get_mut(key) {
                *place = Some(future);
            }
        }
        true
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasks({})", self.len())
    }
}
