//! Waiting: how a task waits for an operation of a ring.

use std::os::fd::AsRawFd as _;
use std::task::Waker;

use super::ring::Ring;
use super::settle::Owner;
use super::wake::{self, Watched};

impl Ring {
    /// True when a task that has joined has to wait on: nothing has come, and it brings no other
    /// waker. False says nothing.
    #[inline]
    pub(super) fn waits_on(&self, key: u64, waker: &Waker) -> bool {
        if !self.returns.is_empty() || self.n_blocking.get() > 0 {
            return false;
        }
        let (Some(watched), Ok(mut core)) = (self.watched.get(), self.core.try_borrow_mut()) else {
            return false;
        };
        if core.has_completions() || !core.is_idle() {
            return false;
        }
        let Some(Owner::Joined(joined)) = core.state(key) else { return false };
        if !joined.will_wake(waker) {
            return false;
        }
        watched.bell.look();
        watched.bell.stay(|| !core.has_completions())
    }

    /// Keeps a task's waker until its operation completes; true when completions came meanwhile, so
    /// that it must look again.
    pub(super) fn wait_for(&self, key: u64, waker: &Waker) -> bool {
        if self.set_waker(key, waker) {
            return true;
        }
        if self.n_blocking.get() > 0 {
            return false;
        }
        match self.watched() {
            Some(watched) => {
                let has_new = watched.bell.join(key, waker, || self.has_new(waker));
                if let Some(owner @ Owner::Future(Some(_))) = self.core.borrow_mut().state(key)
                    && let Owner::Future(Some(waker)) = std::mem::replace(owner, Owner::Orphan)
                {
                    *owner = Owner::Joined(waker);
                }
                has_new
            }
            // Without a watcher there is no sleeping: the task asks to be polled again.
            None => {
                waker.wake_by_ref();
                self.has_new(waker)
            }
        }
    }

    /// Hands over what is queued; true when completions came, which the watcher has not seen if that
    /// was before it knew the task.
    fn has_new(&self, waker: &Waker) -> bool {
        let mut core = self.core.borrow_mut();
        if core.flush().is_err() {
            drop(core);
            waker.wake_by_ref();
            return false;
        }
        core.has_completions()
    }

    /// True if the operation has completed meanwhile.
    fn set_waker(&self, key: u64, waker: &Waker) -> bool {
        let is_known = match self.core.borrow_mut().state(key) {
            Some(Owner::Future(place)) => place.as_ref().is_some_and(|old| old.will_wake(waker)),
            Some(Owner::Joined(old)) => old.will_wake(waker),
            Some(Owner::Multi(multi)) => {
                multi.waker.as_ref().is_some_and(|old| old.will_wake(waker))
            }
            // A batch keeps its own.
            _ => true,
        };
        if is_known {
            return false;
        }
        // Its code is a user's, and so is its destructor's: both run without a borrow.
        let mut new = Some(waker.clone());
        let has_come = match self.core.borrow_mut().state(key) {
            Some(owner @ (Owner::Future(_) | Owner::Joined(_))) => {
                new = match std::mem::replace(owner, Owner::Future(new)) {
                    Owner::Joined(old) => Some(old),
                    Owner::Future(old) => old,
                    _ => None,
                };
                false
            }
            Some(Owner::Multi(multi)) => {
                std::mem::swap(&mut multi.waker, &mut new);
                multi.is_ended || !multi.arrived.is_empty()
            }
            _ => true,
        };
        drop(new);
        has_come
    }

    fn watched(&self) -> Option<&Watched> {
        if self.watched.get().is_none() {
            let fd = self.core.borrow().uring().as_raw_fd();
            let _ = self.watched.set(wake::watch(fd).ok()?);
        }
        let watched = self.watched.get();
        if let Some(watched) = watched {
            watched.bell.look();
        }
        watched
    }

    /// Forgets a task that waited.
    pub(super) fn leave(&self, key: u64) {
        if let Some(watched) = self.watched.get() {
            watched.bell.look();
            watched.bell.leave(key);
        }
    }
}
