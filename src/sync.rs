//! Sync: the one door to atomics, cells, locks and threads, which are std's or, under loom, loom's.
//!
//! Nothing else in the crate names `std::sync::atomic`, `std::cell::UnsafeCell` or `std::thread`,
//! so that a model checks the very code that ships.

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;

#[cfg(loom)]
pub(crate) use locks::Mutex;

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

    /// Stands for a park that ran out: a model has no time.
    #[cfg(loom)]
    pub(crate) fn park_timeout(_: std::time::Duration) {
        loom::thread::yield_now();
    }
}

#[cfg(loom)]
mod locks {
    /// Gives loom's lock the interface of parking_lot's, which knows no poison.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no holder panics: none runs code of a user")
        }
    }
}

// The asymmetric barrier, wanted by `ring` alone so far.

/// A fence that one side of a store-then-load race pays for both.
///
/// The frequent side keeps the compiler from moving its load before its store; the rare side makes
/// the kernel run a full fence on every processor that runs a thread of this process.
pub(crate) mod barrier {
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
