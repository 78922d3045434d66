//! Sync: the one door to atomics and thread-locals, std's or loom's.
//!
//! A `static` needs a constructor that the compiler can run, which loom's atomics lack; statics
//! therefore take theirs from [`fixed`], which no model looks into.

/// Atomics that models see.
#[cfg_attr(not(loom), expect(unused_imports, reason = "for the parts that models cover"))]
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Atomics for statics: always std's.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}
