//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

#[cfg(not(loom))]
mod adopt;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod emit;
mod error;
#[cfg(not(loom))]
mod io;
pub mod lane;
#[cfg(not(loom))]
mod logger;
#[cfg(not(loom))]
#[macro_use]
mod macros;
#[cfg(not(loom))]
mod notice;
pub mod record;
#[cfg(not(loom))]
mod scribe;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
pub mod store;
mod sync;

#[cfg(not(loom))]
pub use config::{Builder, Compression, Durability, Rotate};
#[cfg(not(loom))]
pub use emit::field;
#[cfg(not(loom))]
pub use emit::filter::{Filter, FilterError};
#[cfg(not(loom))]
pub use emit::level::STATIC_MAX_LEVEL;
#[cfg(not(loom))]
pub use emit::value::Value;
pub use error::Error;
#[cfg(not(loom))]
pub use logger::{FlushFuture, Flushed, Handle, init};
pub use record::Level;
#[cfg(not(loom))]
pub use stats::{Health, Stats};

/// What the macros expand to, and hooks for the project's own tests. No part of the interface.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use std::fmt::Write;
    pub use std::option::Option::{None, Some};
    pub use std::{concat, file, format_args, line, module_path, stringify};

    pub use crate::emit::args::{Args, Captures, CapturesNothing, Probe};
    pub use crate::emit::callsite::{Callsite, FieldName, Metadata};
    pub use crate::emit::level::is_compiled;
    pub use crate::emit::raw::Cursor;
    pub use crate::emit::route::{LoggerRef, ignore_parent};
    pub use crate::emit::template::is_deferrable;
    pub use crate::emit::{callsite, clock, emit, emit_message};
}
