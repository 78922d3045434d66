//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

pub mod lane;
pub mod record;
pub mod render;
pub mod store;
mod sync;
pub mod view;
