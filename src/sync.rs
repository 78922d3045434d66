//! Sync: the one door to atomics, cells, locks and threads, std's or loom's.
//!
//! Lock-free code takes its primitives from here alone, so that `--cfg loom` puts it, line for
//! line, under the model checker. A `static` needs a constructor that the compiler can run, which
//! loom's atomics lack: statics take theirs from [`fixed`], which no model looks into.
//!
//! A mutant (`LANE_MUTANT=…`, under `--cfg loom` alone) weakens one step, to show that a model tells the difference.

/// Atomics for statics: always std's.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence, fence},
};

#[cfg(not(loom))]
pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::{hint::spin_loop, thread::yield_now};

/// Reclamation by epochs.
#[cfg(not(loom))]
pub(crate) mod epoch {
    pub(crate) use crossbeam_epoch::{Atomic, Collector, Guard, Owned, Shared, unprotected};
}
#[cfg(loom)]
#[path = "sync_epoch_loom.rs"]
pub(crate) mod epoch;

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
    thread::yield_now,
};

/// A fence against the compiler alone: orders a thread with its own signal handlers.
///
/// Loom has no signals, so that there is nothing to model.
#[cfg(loom)]
pub(crate) fn compiler_fence(_: Ordering) {}

/// A parker under loom: parks until its unparker was called, without a timeout, since a lost
/// wake-up must show as a deadlock.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Parker(Unparker);

/// The other end of a [`Parker`].
#[cfg(loom)]
#[derive(Debug, Clone)]
pub(crate) struct Unparker(Arc<loom::sync::Notify>, std::sync::Arc<fixed::AtomicU64>);

#[cfg(loom)]
impl Parker {
    pub(crate) fn new() -> Self {
        Self(Unparker(Arc::new(loom::sync::Notify::new()), std::sync::Arc::default()))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park_timeout(&self, _: std::time::Duration) {
        self.0.0.wait();
    }
}

#[cfg(loom)]
impl Unparker {
    pub(crate) fn unpark(&self) {
        // ord: Relaxed, counts for a model to look at.
        self.1.fetch_add(1, fixed::Ordering::Relaxed);
        self.0.notify();
    }

    /// How often it was called: each call is one of the system.
    pub(crate) fn n_calls(&self) -> u64 {
        // ord: Relaxed, as above.
        self.1.load(fixed::Ordering::Relaxed)
    }
}

/// Gives loom's lock the interface of parking_lot's, which knows no poison.
#[cfg(loom)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("no holder panics: none runs code of a user")
    }

    pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// True when this mutant was asked for: a step that a model must miss is then left out.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn mutant(_: &str) -> bool {
    false
}

/// The same under loom: one build serves all mutants.
#[cfg(loom)]
pub(crate) fn mutant(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("LANE_MUTANT").ok()).as_deref() == Some(name)
}

/// An ordering that a mutant weakens.
macro_rules! weaken {
    ($mutant:literal, $order:expr) => {
        // ord: Relaxed in the mutant; its user says what the other pairs with.
        if $crate::sync::mutant($mutant) { Ordering::Relaxed } else { $order }
    };
}
pub(crate) use weaken;
