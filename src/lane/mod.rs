//! Lane: a bounded byte ring in shared memory for each thread that logs.

#[cfg(not(loom))]
pub(crate) mod catalog;
#[cfg(not(loom))]
pub(crate) mod common;
#[cfg(not(loom))]
pub(crate) mod handle;
#[cfg(not(loom))]
pub(crate) mod lanes;
pub(crate) mod latch;
#[cfg(not(loom))]
pub(crate) mod living;
#[cfg_attr(loom, path = "memory_loom.rs")]
pub(crate) mod memory;
#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod models_shared;
#[cfg(not(loom))]
pub mod outside;
#[cfg(all(test, not(loom)))]
mod outside_tests;
#[cfg(not(loom))]
pub(crate) mod owner;
pub(crate) mod park;
#[cfg(not(loom))]
pub(crate) mod place;
#[cfg(not(loom))]
pub(crate) mod process;
pub(crate) mod ready;
pub(crate) mod registry;
pub(crate) mod ring;
pub(crate) mod staging;
