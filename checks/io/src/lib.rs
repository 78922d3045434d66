//! Check: the modules that `ttlog::io` stands on, and itself, as one crate.
//!
//! ```text
//! cargo check --manifest-path checks/io/Cargo.toml --target aarch64-apple-darwin
//! ```
#![allow(dead_code, unused_imports)]

#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/io/mod.rs"]
pub mod io;
#[path = "../../../src/ring/mod.rs"]
pub mod ring;
#[path = "../../../src/sync.rs"]
mod sync;
