//! Sync: the one door to atomics, cells, locks and threads, std's or loom's.
//!
//! Lock-free code takes its primitives from here alone, so that `--cfg loom` puts it, line for
//! line, under the model checker. A `static` needs a constructor that the compiler can run, which
//! loom's atomics lack: statics take theirs from [`fixed`], which no model looks into.

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

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
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
pub(crate) struct Unparker(Arc<loom::sync::Notify>);

#[cfg(loom)]
impl Parker {
    pub(crate) fn new() -> Self {
        Self(Unparker(Arc::new(loom::sync::Notify::new())))
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
        self.0.notify();
    }
}
