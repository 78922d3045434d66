//! The black box of a service: events in nanoseconds, safe from `kill -9`, read back by one command.
//!
//! ```text
//!  thread A  info!(…) ──► lane A ┐
//!  thread B  info!(…) ──► lane B ├─► scribe ──► staging ──► segment files ─┐
//!  thread C  info!(…) ──► lane C ┘                                         ├─► view ──► ttlog
//!                           └───── in shared memory ─┴─────────────────────┘
//! ```
//!
//! A call copies its arguments into its thread's *lane*, a ring of bytes in shared memory, and
//! returns. One thread for each logger, the *scribe*, encodes what lanes hold into blocks, which
//! another writes to *segments*. What a call accepted is in one of the three at every moment, so
//! that it is readable however the process ends.
//!
//! # Examples
//!
//! ```no_run
//! fn main() -> Result<(), ttlog::Error> {
//!     ttlog::init("logs")?;
//!     ttlog::info!(user.id = 42, "hello {}", "world");
//!     Ok(())
//! } // and then, in a shell: ttlog logs
//! ```
//!
//! Nothing has to be held or flushed before `main` returns. [`Builder`] has the settings, [`Handle`]
//! tells how the logger is and waits for the disk, and [`view`] reads logs back; [`info!`] and its
//! siblings have tracing's grammar, which [`event!`] describes.
//!
//! # When the disk does not keep up
//!
//! A full lane is exchanged for a larger one; then its thread waits while the lane is being written.
//! After 50 ms without, a thread of the logger empties full lanes into spill files beside the log,
//! which become part of it later. Where that is in vain too, for a second, events are lost at once,
//! counted in [`Stats`] by level and [`Cause`], and told in the log where they are missing, until
//! there is progress again.
//! [`Builder::back_pressure`] chooses otherwise, for all events or for those at and above a level.
//!
//! # Features
//!
//! | feature | effect |
//! | --- | --- |
//! | `cli` | builds the command `ttlog`, with the crates that it needs |
//! | `local_time` | adds `Rotate::local`: segments that end with local days and hours |
//! | `max_level_off`, `…_error`, `…_warn`, `…_info`, `…_debug`, `…_trace` | calls that are more verbose are removed when the program is compiled |
//! | `release_max_level_…` | the same in builds without debug assertions only, where it takes precedence |
//! | `tracing` (default) | [`layer`](fn@layer) and [`Subscriber`]: events of tracing |
//! | `log` (default) | [`bridge`]: records of log |
//! | `serde` | `serde(&value)`: maps and lists that nest |
//! | `zstd` | sealed segments are packed with zstd, and segments so packed are read; compiles C |
//! | `parquet`, `tui` | declared; they change nothing in this version |

/// What models of the lock-free parts do without: `--cfg loom` compiles `lane`, `record`, `sync`.
macro_rules! without_loom {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}

mod error;
pub mod io;
#[doc(hidden)]
pub mod lane;
#[doc(hidden)]
pub mod record;
pub mod ring;
mod sync;

// Not among the others: macros of a module that a macro makes cannot be named by path in here.
#[cfg(not(loom))]
#[macro_use]
mod macros;

without_loom! {
    mod adopt;
    #[doc(hidden)]
    pub mod archive;
    mod back_pressure;
    #[cfg(feature = "log")]
    pub mod bridge;
    mod config;
    #[doc(hidden)]
    pub mod control;
    mod crash;
    #[doc(hidden)]
    pub mod dump;
    mod emit;
    mod handle;
    #[cfg(feature = "tracing")]
    mod layer;
    mod logger;
    mod notice;
    mod monitor;
    #[doc(hidden)]
    pub mod pipe;
    #[doc(hidden)]
    pub mod render;
    mod recorder;
    mod scribe;
    #[cfg(test)]
    mod sim_tests;
    mod stats;
    #[doc(hidden)]
    pub mod store;
    pub mod test;
    #[doc(hidden)]
    pub mod upkeep;
    pub mod view;

    pub use back_pressure::Fallback;
    pub use config::{Builder, Compression, Console, Durability};
    pub use emit::field;
    pub use emit::span;
    pub use emit::filter::{Explanation, Filter, FilterError};
    pub use emit::handler::in_signal_handler;
    pub use emit::level::STATIC_MAX_LEVEL;
    pub use emit::redact::Redacted;
    pub use emit::span::{Instrument, Span};
    #[cfg(feature = "serde")]
    pub use emit::nested::{SerdeValue, serde};
    #[cfg(feature = "tracing")]
    pub use emit::told::TraceIds;
    pub use emit::value::Value;
    pub use handle::{FlushFuture, Flushed, Handle};
    pub use io::IoChoice;
    #[cfg(feature = "tracing")]
    pub use layer::{Layer, LayerBuilder, Subscriber, layer};
    pub use logger::{init, reinit_after_fork};
    pub use stats::{Health, Stats};
    pub use store::keep::Keep;
    pub use store::rotate::Rotate;
}

pub use error::Error;
pub use record::{Cause, Level};
pub use ring::BackPressurePolicy;

/// What the macros expand to, and hooks for the project's own tests. No part of the interface.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use std::fmt::Write;
    pub use std::option::Option::{None, Some};
    pub use std::{concat, file, format_args, line, module_path, stringify};

    pub use crate::adopt::{Report, TakenUp, look, take_up};
    pub use crate::config::Direct;
    pub use crate::emit::args::{Args, Captures, CapturesNothing, Probe};
    pub use crate::emit::callsite::{Callsite, FieldName, Metadata};
    pub use crate::emit::level::is_compiled;
    pub use crate::emit::raw::Cursor;
    pub use crate::emit::route::{LoggerRef, below};
    pub use crate::emit::span::{Parent, SpanSite};
    pub use crate::emit::template::is_deferrable;
    pub use crate::emit::{callsite, clock, emit, emit_message};
    pub use crate::record::Sum;
}

/// Compiles what README.md shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
