//! Waiters: the tasks that wait for a ring while nobody looks into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

/// Wakers of tasks whose operations are in flight, shared with the thread that watches rings.
///
/// Any of them will do: the task that is woken takes all completions and wakes the others.
#[derive(Debug, Default)]
pub(super) struct Bell {
    wakers: Mutex<BTreeMap<u64, Waker>>,
    /// How often completions were looked for: tells whether a woken task did.
    looks: AtomicU64,
}

impl Bell {
    /// Adds a task that waits for the operation `key`, or changes its waker.
    pub(super) fn join(&self, key: u64, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        let old = match wakers.get_mut(&key) {
            Some(old) if old.will_wake(waker) => return,
            Some(old) => Some(std::mem::replace(old, waker.clone())),
            None => wakers.insert(key, waker.clone()),
        };
        // A waker's destructor may come back here.
        drop(wakers);
        drop(old);
    }

    pub(super) fn leave(&self, key: u64) {
        let left = self.wakers.lock().remove(&key);
        drop(left);
    }

    pub(super) fn look(&self) {
        // ord: Relaxed, a sign of life.
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn looks(&self) -> u64 {
        // ord: Relaxed, as above.
        self.looks.load(Ordering::Relaxed)
    }

    pub(super) fn wake_one(&self) {
        let first = self.wakers.lock().first_key_value().map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    pub(super) fn wake_all(self: &Arc<Self>) {
        let all: Vec<_> = self.wakers.lock().values().cloned().collect();
        all.into_iter().for_each(Waker::wake);
    }
}
