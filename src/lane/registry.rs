//! Registry: the list of a logger's lanes, joined without a lock and walked by any thread.
#![expect(unsafe_code, reason = "links nodes that the epoch keeps alive; proof in G1-G3 below")]
//!
//! # Layout
//!
//! ```text
//! first ──► newest lane ──► … ──► oldest lane ──► null      joined at the front, left anywhere
//! ```
//!
//! # Invariants
//!
//! - **G1** Threads join by a CAS on `first`; a node's lane never changes.
//! - **G2** One thread alone, the scribe, takes nodes out (`leave` asserts it by a lock that it
//!   never waits for). A node that was taken out keeps its `next`, so that a walk that stands on it
//!   goes on to the end.
//! - **G3** A node that was taken out is freed when every walk that began before has ended: walks
//!   pin the epoch once, and nothing on a log call's hot path does (a pin costs as much as its
//!   clock read).

use crate::sync::epoch::{Atomic, Collector, Guard, Owned, Shared, unprotected};
use crate::sync::{Mutex, Ordering, mutant, weaken};

/// A list of shared values with lock-free joins and walks.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    first: Atomic<Node<T>>,
    collector: Collector,
    leaving: Mutex<()>,
}

#[derive(Debug)]
struct Node<T> {
    value: T,
    next: Atomic<Node<T>>,
}

impl<T: Send + Sync + Clone + 'static> Registry<T> {
    pub(crate) fn new() -> Self {
        Self { first: Atomic::null(), collector: Collector::new(), leaving: Mutex::new(()) }
    }

    /// Adds a value at the front.
    pub(crate) fn join(&self, value: T) {
        // SAFETY: (G1) no node is looked into here. Should the first one leave and another take its
        // address meanwhile, that one is the first when the CAS succeeds, and `next` is right.
        let guard = unsafe { unprotected() };
        let mut node = Owned::new(Node { value, next: Atomic::null() });
        loop {
            // ord: Acquire, pairs with the Release below: the first node is whole.
            let first = self.first.load(Ordering::Acquire, guard);
            node.next = Atomic::from(first);
            // ord: Release, publishes the node; Relaxed when it fails, since the loop reads again.
            match self.first.compare_exchange_weak(
                first,
                node,
                weaken!("join_store", Ordering::Release),
                Ordering::Relaxed,
                guard,
            ) {
                Ok(_) => return,
                Err(refused) => node = refused.new,
            }
        }
    }

    /// Calls `visit` with every value that was there when the walk began, newest first. Values
    /// that join meanwhile are not seen; those that leave meanwhile may be.
    pub(crate) fn walk(&self, mut visit: impl FnMut(&T)) {
        let local = self.collector.register();
        let guard = local.pin();
        // ord: Acquire, pairs with the Release in `join`.
        let mut at = self.first.load(weaken!("walk_load", Ordering::Acquire), &guard);
        // SAFETY: (G3) pinned since before the load.
        while let Some(node) = unsafe { at.as_ref() } {
            visit(&node.value);
            // ord: Acquire, pairs with the Release of the node's join.
            at = node.next.load(Ordering::Acquire, &guard);
        }
    }

    /// Takes out the values for which `gone` says so, and returns how many.
    pub(crate) fn leave(&self, mut gone: impl FnMut(&T) -> bool) -> usize {
        let _alone = self.leaving.try_lock().expect("only the scribe takes lanes out (G2)");
        let local = self.collector.register();
        let guard = local.pin();
        let mut n_left = 0;
        let mut link = &self.first;
        loop {
            // ord: Acquire, pairs with the Release in `join`.
            let at = link.load(Ordering::Acquire, &guard);
            // SAFETY: (G3) pinned since before the load.
            let Some(node) = (unsafe { at.as_ref() }) else { return n_left };
            if gone(&node.value) {
                self.unlink(link, at, node, &guard);
                n_left += 1;
            } else {
                link = &node.next;
            }
        }
    }

    fn unlink<'g>(
        &'g self,
        mut link: &'g Atomic<Node<T>>,
        at: Shared<'g, Node<T>>,
        node: &'g Node<T>,
        guard: &'g Guard,
    ) {
        // ord: Acquire, pairs with the Release of the next node's join.
        let next = node.next.load(Ordering::Acquire, guard);
        if mutant("unlink_blind") {
            // ord: Relaxed, a mutant.
            link.store(next, Ordering::Relaxed);
            return;
        }
        // ord: AcqRel, publishes `next` anew and sees what joined instead; Acquire likewise.
        while link.compare_exchange(at, next, Ordering::AcqRel, Ordering::Acquire, guard).is_err() {
            // Only `first` changes under us (G1, G2): find the node that now stands before `at`.
            // ord: Acquire, pairs with the Release in `join`.
            let mut before = self.first.load(Ordering::Acquire, guard);
            loop {
                // SAFETY: (G3) pinned; `at` is still linked, since this thread alone unlinks.
                let node = unsafe { before.deref() };
                // ord: Acquire, as above.
                let after = node.next.load(Ordering::Acquire, guard);
                if after == at {
                    link = &node.next;
                    break;
                }
                before = after;
            }
        }
        if mutant("next_cut") {
            // ord: Relaxed, a mutant.
            node.next.store(Shared::null(), Ordering::Relaxed);
        }
        // SAFETY: (G3) unlinked once, by the CAS above.
        unsafe { guard.defer_destroy(at) };
    }
}

impl<T> Drop for Registry<T> {
    fn drop(&mut self) {
        // SAFETY: nobody walks a registry that is being dropped.
        let guard = unsafe { unprotected() };
        // ord: Relaxed, the last owner sees everything.
        let mut at = self.first.load(Ordering::Relaxed, guard);
        while !at.is_null() {
            // SAFETY: each node is linked once, and this is the last owner.
            let node = unsafe { at.into_owned() };
            // ord: Relaxed, as above.
            at = node.next.load(Ordering::Relaxed, guard);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn all(registry: &Registry<Arc<u32>>) -> Vec<u32> {
        let mut seen = Vec::new();
        registry.walk(|value| seen.push(**value));
        seen
    }

    #[test]
    fn a_walk_sees_who_is_there() {
        let registry = Registry::new();
        for n in 0..5 {
            registry.join(Arc::new(n));
        }
        assert_eq!(all(&registry), [4, 3, 2, 1, 0]);
        assert_eq!(registry.leave(|n| **n % 2 == 0), 3);
        assert_eq!(all(&registry), [3, 1]);
    }

    #[test]
    fn who_left_is_freed_and_who_stays_is_not() {
        let registry = Registry::new();
        let (gone, stays) = (Arc::new(1), Arc::new(2));
        registry.join(gone.clone());
        registry.join(stays.clone());
        registry.leave(|n| **n == 1);
        drop(registry);
        assert_eq!((Arc::strong_count(&gone), Arc::strong_count(&stays)), (1, 1));
    }

    #[test]
    fn joins_and_leaves_at_once_lose_nobody() {
        let registry = Registry::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let registry = &registry;
                scope.spawn(move || {
                    for n in 0..500 {
                        registry.join(Arc::new(thread * 1000 + n));
                    }
                });
            }
            for _ in 0..200 {
                registry.leave(|n| **n % 2 == 1);
                registry.walk(|n| assert!(**n < 4000));
            }
        });
        registry.leave(|n| **n % 2 == 1);
        assert_eq!(all(&registry).len(), 4 * 250);
    }
}
