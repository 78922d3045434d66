//! Lane: a bounded byte ring in shared memory for each thread that logs.
//!
//! ```text
//! handle ──► ring (one producer) ──► memory ◄── intake (the scribe's end)
//!   │ cold                             ▲
//!   └► lanes: hand out, exchange ──────┘ place: the directory of lanes, staging, callsites, owner
//! ```
//!
//! `ring`, `ready`, `park`, `latch`, `registry` and `staging` are lock-free and have models under
//! loom (`models`); `outside` reads the same memory of any process with `pread`.

#[cfg(all(test, not(loom)))]
mod common_tests;
#[cfg(all(test, not(loom)))]
mod full_tests;
#[cfg(all(test, not(loom)))]
mod handle_tests;
pub(crate) mod latch;
#[cfg_attr(loom, path = "memory_loom.rs")]
pub(crate) mod memory;
#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod models_shared;
pub(crate) mod outlet;
#[cfg(all(test, not(loom)))]
mod outside_tests;
pub(crate) mod park;
#[cfg(all(test, not(loom)))]
mod place_tests;
pub(crate) mod ready;
pub(crate) mod registry;
pub(crate) mod ring;
pub(crate) mod staging;
pub(crate) mod word;

without_loom! {
    pub(crate) mod alarm;
    pub(crate) mod capture;
    pub(crate) mod catalog;
    pub(crate) mod common;
    pub(crate) mod entered;
    pub(crate) mod fill;
    pub(crate) mod full;
    pub(crate) mod hand_out;
    pub(crate) mod handle;
    mod hot;
    mod kept;
    pub(crate) mod lanes;
    mod levels;
    pub(crate) mod lines;
    pub(crate) mod living;
    pub mod outside;
    pub(crate) mod overflow;
    pub(crate) mod owner;
    mod peek;
    pub(crate) mod place;
    pub(crate) mod places;
    pub(crate) mod process;
    pub(crate) mod recorder;
    mod room;
    mod seat;
    pub(crate) mod thread;
}
