//! Monitor: a lock and a condition that a forked child may go on to use.
//!
//! `parking_lot` keeps who waits in one table of the process: in a child that table names threads
//! which are not there, whose memory new threads get. So locks in which a logger's threads sleep,
//! and those that a child needs to start anew, are std's, which know nothing beside themselves. The
//! interface is `parking_lot`'s, without poison.

use std::ops::{Deref, DerefMut};
use std::sync::{self, PoisonError};
use std::time::{Duration, Instant};

/// A lock.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// What a lock protects, while this thread has it.
#[derive(Debug)]
pub(crate) struct Guard<'a, T>(Option<sync::MutexGuard<'a, T>>);

/// Somebody to be woken by.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

const HELD: &str = "taken out only while it waits";

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(Guard(Some(guard))),
            Err(sync::TryLockError::Poisoned(poisoned)) => Some(Guard(Some(poisoned.into_inner()))),
            Err(sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Tries until it has the lock or the time has come.
    pub(crate) fn try_lock_until(&self, until: Instant) -> Option<Guard<'_, T>> {
        loop {
            match self.try_lock() {
                None if Instant::now() < until => std::thread::sleep(Duration::from_micros(200)),
                tried => return tried,
            }
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        let held = guard.0.take().expect(HELD);
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until it is woken or the time has come; true when the time has come.
    pub(crate) fn wait_until<T>(&self, guard: &mut Guard<'_, T>, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let held = guard.0.take().expect(HELD);
        let waited = self.0.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner);
        guard.0 = Some(waited.0);
        waited.1.timed_out()
    }

    /// Waits while `is_so`, or until the time has come.
    pub(crate) fn wait_while_until<T>(
        &self,
        guard: &mut Guard<'_, T>,
        mut is_so: impl FnMut(&mut T) -> bool,
        until: Instant,
    ) {
        while is_so(&mut *guard) && !self.wait_until(guard, until) {}
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
