//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.

mod adopt;
mod config;
mod emit;
mod error;
mod io;
pub mod lane;
mod logger;
#[macro_use]
mod macros;
mod notice;
#[doc(hidden)]
pub mod pipe;
pub mod record;
pub mod render;
mod scribe;
mod stats;
pub mod store;
mod sync;
pub mod view;

pub use config::{Builder, Compression, Durability, Rotate};
pub use emit::field;
pub use emit::filter::{Filter, FilterError};
pub use emit::level::STATIC_MAX_LEVEL;
pub use emit::value::Value;
pub use error::Error;
pub use logger::{FlushFuture, Flushed, Handle, init};
pub use record::Level;
pub use stats::{Health, Stats};

/// What the macros expand to, and hooks for the project's own tests. No part of the interface.
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
