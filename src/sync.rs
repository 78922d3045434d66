//! Sync: the one door to atomics, cells, locks and threads, std's or loom's.
//!
//! Lock-free code takes its primitives from here alone, so that `--cfg loom` puts it, line for
//! line, under the model checker. A `static` needs a constructor that the compiler can run, which
//! loom's atomics lack: statics take theirs from [`fixed`], which no model looks into.
//!
//! A mutant (`LANE_MUTANT=…`, under `--cfg loom` alone) weakens one step, to show that a model tells the difference.

/// Atomics for statics, and for hints that order nothing: always std's.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

/// What users hold, or is set once: always std's.
pub(crate) mod plain {
    pub(crate) use std::sync::{Arc, OnceLock};
}

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, compiler_fence, fence},
};

#[cfg(not(loom))]
pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
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
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
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
///
/// Loom's own `try_lock` hardly ever fails: a thread that is about to try is held up until the
/// holder lets go, and nobody runs in between who shares nothing else with it. So who holds the lock
/// by an attempt shares a number with whoever attempts it, touched before it lets go and before each
/// attempt: that makes loom look at attempts in between.
#[cfg(loom)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    lock: loom::sync::Mutex<T>,
    attempts: AtomicU32,
}

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { lock: loom::sync::Mutex::new(value), attempts: AtomicU32::new(0) }
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.lock.lock().expect("no holder panics: none runs code of a user")
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // ord: Relaxed, orders nothing.
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let guard = self.lock.try_lock().ok()?;
        Some(MutexGuard { guard, attempts: &self.attempts })
    }
}

/// The lock, held by an attempt.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    guard: loom::sync::MutexGuard<'a, T>,
    attempts: &'a AtomicU32,
}

#[cfg(loom)]
impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // A model that has failed does not go on.
        if !std::thread::panicking() {
            // ord: Relaxed, orders nothing.
            self.attempts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(loom)]
impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

#[cfg(loom)]
impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// True under a model checker, where loops that only save time would widen the search for nothing.
pub(crate) const MODELLED: bool = cfg!(loom);

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

#[path = "sync_calls.rs"]
mod calls;
#[path = "sync_lines.rs"]
pub(crate) mod lines;
#[cfg(not(loom))]
pub(crate) use calls::CENTURY;
pub(crate) use calls::{call_each, deadline};

/// Atomics and fences.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Cells that are shared by hand.
pub(crate) mod cell {
    #[cfg(loom)]
    pub(crate) use loom::cell::UnsafeCell;

    /// Gives std's cell the closure interface of loom's.
    #[cfg(not(loom))]
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(loom))]
    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }
}

/// Threads that park and are unparked.
pub(crate) mod thread {
    #[cfg(loom)]
    pub(crate) use loom::hint::spin_loop;
    #[cfg(loom)]
    pub(crate) use loom::thread::{Thread, current, park};
    #[cfg(not(loom))]
    pub(crate) use std::hint::spin_loop;
    #[cfg(not(loom))]
    pub(crate) use std::thread::{Thread, current, park, park_timeout};

    #[cfg(not(loom))]
    thread_local! {
        static NUMBER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    #[cfg(loom)]
    loom::thread_local! {
        static NUMBER: std::cell::Cell<u64> = std::cell::Cell::new(0);
    }

    /// This thread's number, which no other thread ever has; 0 before it took one.
    #[inline(always)]
    pub(crate) fn number() -> u64 {
        NUMBER.with(std::cell::Cell::get)
    }

    /// The same, which it takes now if it has none.
    pub(crate) fn take_number() -> u64 {
        static TAKEN: super::fixed::AtomicU64 = super::fixed::AtomicU64::new(0);
        if number() == 0 {
            // ord: Relaxed, a counter.
            let number = TAKEN.fetch_add(1, super::fixed::Ordering::Relaxed) + 1;
            NUMBER.with(|own| own.set(number));
        }
        number()
    }

    /// Stands for a park that ran out: a model has no time.
    #[cfg(loom)]
    pub(crate) fn park_timeout(_: std::time::Duration) {
        loom::thread::yield_now();
    }
}

/// A fence that one side of a store-then-load race pays for both.
///
/// The frequent side keeps the compiler from moving its load before its store; the rare side makes
/// the kernel run a full fence on every processor that runs a thread of this process.
pub(crate) mod barrier {
    /// The frequent side: keeps the compiler from moving a load before a store.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn light() {
        super::compiler_fence(super::Ordering::SeqCst); // ord: the rare side fences for both
    }

    #[cfg(loom)]
    std::thread_local! {
        /// True in a model that pays for the rare side's fence on the frequent side, since loom
        /// knows no fence of one thread on behalf of another.
        pub(crate) static MODELLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    #[cfg(loom)]
    pub(crate) fn light() {
        if MODELLED.get() {
            super::fence(super::Ordering::SeqCst); // ord: as the rare side's
        }
    }

    /// Registers the process for expedited barriers, once; false where the kernel has none.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn is_ready() -> bool {
        use rustix::thread::{MembarrierCommand, membarrier};
        static READY: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *READY.get_or_init(|| {
            membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
                && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
        })
    }

    /// Runs the rare side's fence; false if the kernel refuses.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn run() -> bool {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    #[cfg(any(not(target_os = "linux"), loom))]
    pub(crate) fn is_ready() -> bool {
        false
    }

    #[cfg(any(not(target_os = "linux"), loom))]
    pub(crate) fn run() -> bool {
        false
    }
}
