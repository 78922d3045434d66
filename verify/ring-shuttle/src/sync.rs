//! Sync: the door to shuttle's atomics, locks and threads, with the names of ttlog's own.

use std::cell::Cell;

pub(crate) use shuttle::sync::atomic::compiler_fence;
pub(crate) use std::sync::Arc;

#[path = "../../../src/sync_calls.rs"]
mod calls;
pub(crate) use calls::{call_each, deadline};
#[expect(dead_code, reason = "the ring asks for lines one by one")]
#[path = "../../../src/sync_lines.rs"]
pub(crate) mod lines;

/// True: loops that only save time are cut short.
pub(crate) const MODELLED: bool = true;

thread_local! {
    static MUTANT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Leaves a step of the ring out, or puts it in the wrong place, for the schedules that this
/// thread runs from now on.
pub fn set_mutant(name: Option<&'static str>) {
    MUTANT.set(name);
}

/// True when this mutant was asked for.
pub(crate) fn mutant(name: &str) -> bool {
    MUTANT.get() == Some(name)
}

/// Hints that order nothing.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}

/// What users hold, or is set once.
pub(crate) mod plain {
    pub(crate) use std::sync::{Arc, OnceLock};
}

/// Shuttle's lock with the interface of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().expect("no holder panics: none runs code of a user")
    }
}

/// Atomics and fences.
pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Cells that are shared by hand: all schedules run on one thread of the system.
pub(crate) mod cell {
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }
}

/// Threads that park and are unparked.
pub(crate) mod thread {
    pub(crate) use shuttle::hint::spin_loop;
    pub(crate) use shuttle::thread::{Thread, current, park, park_timeout};
}

/// No barrier of the kernel: both sides of I7 run a fence.
pub(crate) mod barrier {
    pub(crate) fn is_ready() -> bool {
        false
    }

    pub(crate) fn run() -> bool {
        false
    }
}
