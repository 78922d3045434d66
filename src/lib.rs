//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

mod error;
mod io;
pub mod lane;
pub mod record;
mod sync;

pub use error::Error;
