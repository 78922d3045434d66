//! Stats: what a logger has done so far, and how it is.

use std::path::PathBuf;

use crate::record::{Cause, Level, Losses};

/// Counters of one logger since it began, read one after another while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events in segments and spill files.
    pub written: u64,
    /// Events that survive a power cut.
    pub durable: u64,
    /// Events that went by way of a spill file; they are in `written` too.
    pub spilled: u64,
    /// Records whose longest value was cut to fit.
    pub truncated: u64,
    /// Events that a rate limit left out; the log tells how many where they are missing.
    pub suppressed: u64,
    /// Bytes in segments, without what is reserved ahead.
    pub bytes_written: u64,
    /// Segments begun.
    pub segments: u64,
    /// Lanes in use.
    pub lanes: u64,
    /// Bytes taken by lanes, staging and spares.
    pub lanes_bytes: u64,
    /// How often the disk refused something.
    pub disk_errors: u64,
    pub(crate) losses: Losses,
}

impl Stats {
    /// Events that were not accepted, of all levels and causes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses.total()
    }

    /// Events of one level that were not accepted for one cause.
    #[must_use]
    pub fn lost_by(&self, cause: Cause, level: Level) -> u64 {
        self.losses.get(cause, level)
    }
}

/// How a logger is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Health {
    /// True when lanes lie in shared memory, so that an accepted event survives `kill -9`.
    pub crash_safe: bool,
    /// Where lanes lie; `None` in private memory.
    pub lanes: Option<PathBuf>,
    /// Why lanes lie in private memory though they should not.
    pub lanes_reason: Option<String>,
    /// What the disk refuses at the moment.
    pub failing: Option<String>,
    /// Why nothing is called durable any more: a sync failed.
    pub suspect: Option<String>,
    /// Why `ttlog ctl` cannot ask this logger; everything else works without.
    pub control_reason: Option<String>,
    /// Why floods are not written by io_uring from registered memory, the way that asks least of the
    /// processor; everything works without. Known once there was one.
    pub io_reason: Option<String>,
    /// True when the logger has been shut down.
    pub ended: bool,
}

impl Health {
    /// True when there is nothing to worry about.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failing.is_none() && self.suspect.is_none() && self.lanes_reason.is_none()
    }
}
