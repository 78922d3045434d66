//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

pub mod record;
pub mod ring;

mod error;
mod sync;

pub use error::Error;
