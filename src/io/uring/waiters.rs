//! Waiters: the tasks that wait for a ring while nobody looks into it.
//!
//! # Invariants
//!
//! - **W1** A task joins before it looks for completions a last time: what comes before that look it
//!   finds, and for what comes behind it the watcher finds its waker. A task that has joined and not
//!   left is known: it looks again and no more.
//! - **W2** A task that was woken and does not look, since it was leaked, costs the others the
//!   watcher's patience and no more: `looks` has not moved, so that all are woken. One whose sign of
//!   life the watcher has not seen when it begins to wait sees the completion itself.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::sync::{AtomicU64, Mutex, Ordering, fence, mutant};

/// Wakers of tasks whose operations are in flight, shared with the thread that watches rings.
///
/// Any of them will do: the task that is woken takes all completions and wakes the others.
#[derive(Debug)]
pub(super) struct Bell {
    wakers: Mutex<BTreeMap<u64, Waker>>,
    /// How often completions were looked for: tells whether a woken task did.
    looks: AtomicU64,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { wakers: Mutex::new(BTreeMap::new()), looks: AtomicU64::new(0) }
    }

    /// Adds a task that waits for the operation `key`, or changes its waker, and looks whether it
    /// need not wait (W1).
    pub(super) fn join<R>(&self, key: u64, waker: &Waker, look: impl FnOnce() -> R) -> R {
        if mutant("bell_late") {
            let found = look();
            self.add(key, waker);
            return found;
        }
        self.add(key, waker);
        self.stay(look)
    }

    /// The same for a task that has joined with the very waker, and not left since.
    #[inline]
    pub(super) fn stay<R>(&self, look: impl FnOnce() -> R) -> R {
        if !mutant("bell_fence") {
            // ord: SeqCst, keeps what `look` reads behind this task's sign of life, for the fence in
            // `looks` (W2): Acquire and Release would let both miss each other.
            fence(Ordering::SeqCst);
        }
        look()
    }

    fn add(&self, key: u64, waker: &Waker) {
        if self.wakers.lock().get(&key).is_some_and(|old| old.will_wake(waker)) {
            return;
        }
        // Its code is a user's, and so is its destructor's: both run without the lock.
        let new = waker.clone();
        let old = self.wakers.lock().insert(key, new);
        drop(old);
    }

    pub(super) fn leave(&self, key: u64) {
        let left = self.wakers.lock().remove(&key);
        drop(left);
    }

    /// Gives a sign of life, for who has the ring: nobody else writes it.
    #[inline]
    pub(super) fn look(&self) {
        // ord: Relaxed, this thread's own, or handed over with the ring.
        let looks = self.looks.load(Ordering::Relaxed);
        // ord: Relaxed, a sign of life.
        self.looks.store(looks.wrapping_add(1), Ordering::Relaxed);
    }

    /// How often it was looked so far, asked behind a completion.
    pub(super) fn looks(&self) -> u64 {
        // ord: SeqCst, keeps the load behind the completion that the caller knows of; pairs with the
        // fence in `join`.
        fence(Ordering::SeqCst);
        // ord: Relaxed, behind the fence.
        self.looks.load(Ordering::Relaxed)
    }

    pub(super) fn wake_one(&self) {
        let first = self.wakers.lock().first_key_value().map(|(_, waker)| waker.clone());
        first.into_iter().for_each(wake);
    }

    /// Wakes all if nobody has looked since there were so many looks (W2).
    pub(super) fn wake_all_unless_seen(&self, looks: u64) {
        if self.looks() != looks || mutant("bell_patient") {
            return;
        }
        let all: Vec<_> = self.wakers.lock().values().cloned().collect();
        all.into_iter().for_each(wake);
    }
}

/// Wakes on the thread that watches all rings, which no waker may end.
fn wake(waker: Waker) {
    // Its panic was told by the hook of panics.
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;

    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Waits as a future does: looks, joins, looks again, sleeps.
    fn wait(bell: &Bell, key: u64, done: &AtomicBool) {
        let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
        // ord: Acquire, pairs with the kernel's Release.
        let is_done = || done.load(Ordering::Acquire);
        bell.look();
        let mut is_over = is_done() || bell.join(key, &waker, is_done);
        while !is_over {
            thread::park();
            bell.look();
            is_over = is_done() || bell.stay(is_done);
        }
        bell.look();
        bell.leave(key);
    }

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    /// W1: the completion comes before the task joins, between that and its last look, or behind.
    #[test]
    fn model_a_completion_is_never_slept_through() {
        check(|| {
            let (bell, done) = (Arc::new(Bell::new()), Arc::new(AtomicBool::new(false)));
            let task = thread::spawn({
                let (bell, done) = (bell.clone(), done.clone());
                move || wait(&bell, 7, &done)
            });
            // ord: Release, as the kernel publishes a completion; then the edge that wakes the watcher.
            done.store(true, Ordering::Release);
            bell.wake_one();
            task.join().unwrap();
        });
    }

    /// W2: the task that is woken first was leaked, and the completion is the other's.
    #[test]
    fn model_a_leaked_task_holds_nobody_up_for_good() {
        check(|| {
            let (bell, done) = (Arc::new(Bell::new()), Arc::new(AtomicBool::new(false)));
            bell.join(1, Waker::noop(), || ());
            let task = thread::spawn({
                let (bell, done) = (bell.clone(), done.clone());
                move || wait(&bell, 2, &done)
            });
            // ord: Release, as above.
            done.store(true, Ordering::Release);
            let looks = bell.looks();
            bell.wake_one();
            // The watcher's patience is over.
            bell.wake_all_unless_seen(looks);
            task.join().unwrap();
        });
    }
}
