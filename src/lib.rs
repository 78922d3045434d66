//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

mod config;
mod error;
mod io;
pub mod lane;
mod notice;
pub mod record;
mod scribe;
mod stats;
pub mod store;
mod sync;

pub use config::{Builder, Compression, Durability, Rotate};
pub use error::Error;
pub use stats::{Health, Stats};
