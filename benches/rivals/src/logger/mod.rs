//! Logger: the loggers under measurement, each behind the same five calls.

mod bare;
mod slog;
mod ticklog;
mod tracing;
#[cfg(feature = "ttlog")]
mod ttlog;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use self::bare::{Empty, Private};
pub use self::slog::{SlogBlocking, SlogDefault};
pub use self::ticklog::{TicklogBlocking, TicklogDefault};
pub use self::tracing::{TracingDefault, TracingLossless};
#[cfg(feature = "ttlog")]
pub use self::ttlog::Ttlog;

/// A logger and its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// No logger: what the measuring loop and its values cost.
    Empty,
    /// A clock read and a copy of the same bytes into a private buffer.
    Floor,
    /// ttlog as it comes.
    Ttlog,
    /// ticklog as it comes: drops when full.
    Ticklog,
    /// ticklog, waits when full.
    TicklogBlock,
    /// tracing-subscriber's text through tracing-appender as it comes: drops when full.
    TracingAppender,
    /// tracing-subscriber's text through tracing-appender, waits when full.
    TracingAppenderBlock,
    /// slog-async and slog-json as they come: drops when full.
    SlogAsync,
    /// slog-async and slog-json, waits when full, with a channel that a burst fits in.
    SlogAsyncBlock,
}

impl Name {
    /// Name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Floor => "floor",
            Self::Ttlog => "ttlog",
            Self::Ticklog => "ticklog",
            Self::TicklogBlock => "ticklog-block",
            Self::TracingAppender => "tracing-appender",
            Self::TracingAppenderBlock => "tracing-appender-block",
            Self::SlogAsync => "slog-async",
            Self::SlogAsyncBlock => "slog-async-block",
        }
    }

    /// Whether it was compiled in.
    pub fn is_built(self) -> bool {
        self != Self::Ttlog || cfg!(feature = "ttlog")
    }

    /// Whether it writes anything that can be read back.
    pub fn has_output(self) -> bool {
        !matches!(self, Self::Empty | Self::Floor)
    }

    /// Whether it stands for another project.
    pub fn is_rival(self) -> bool {
        self.has_output() && self != Self::Ttlog
    }
}

/// A started logger; one a process, because most are global.
pub trait Logger: Sized + Sync {
    /// What one thread logs with.
    type Producer<'a>: Producer
    where
        Self: 'a;

    /// Starts it, with its output below `dir`.
    fn start(dir: &Path) -> Result<Self>;

    /// What the calling thread logs with.
    fn producer(&self) -> Self::Producer<'_>;

    /// Returns when every accepted event is on file. This ends the measured time.
    fn settle(&mut self) -> Result<()>;

    /// Ends it, outside the measured time.
    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// The calls under measurement. Each is compiled into the measuring loop.
pub trait Producer {
    /// Logs `x={}`.
    fn one_u64(&mut self, x: u64);
    /// Logs `{}`.
    fn one_str(&mut self, text: &str);
    /// Logs `{} {} {}`.
    fn mixed(&mut self, x: u64, y: f64, text: &str);
    /// Logs `request done` with four fields.
    fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool);
    /// Logs at a level that is off.
    fn disabled(&mut self, x: u64);
}
