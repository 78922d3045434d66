//! Report: what was taken up of the dead, what was left, and why.

use std::path::PathBuf;

use crate::lane::owner::Owner;
use crate::record::{Head, RECORD_EVENT, RawRun};

/// What was taken up of one dead logger, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenUp {
    /// Its app.
    pub app: String,
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub logger: u64,
    /// Events that only its lanes and staging had.
    pub events: u64,
    /// Losses that were told nowhere else.
    pub lost: u64,
    /// Spill files that became segments.
    pub spill_files: u64,
    /// Bytes cut from the ends of segments: zeros, and a block that its writer died at.
    pub cut_bytes: u64,
    /// Blocks of its segments that are damaged, and stay so.
    pub damaged: u64,
    /// The segment with what was missing; `None` when nothing was.
    pub segment: Option<PathBuf>,
}

impl TakenUp {
    pub(super) fn of(owner: &Owner) -> Self {
        Self {
            app: owner.app.clone(),
            pid: owner.pid,
            logger: owner.logger,
            events: 0,
            lost: 0,
            spill_files: 0,
            cut_bytes: 0,
            damaged: 0,
            segment: None,
        }
    }
}

/// What became of the dead loggers of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Those that were taken up, whatever they had left.
    pub taken_up: Vec<TakenUp>,
    /// Loggers whose locks are held: they live, or somebody else takes them up.
    pub held: u64,
    /// What is gone with a boot or a broken place.
    pub notes: Vec<String>,
    /// What was left as it is because it cannot be seen or opened from here.
    pub unseen: Vec<String>,
    /// What could not be taken up.
    pub failures: Vec<String>,
    /// Everything is read, so that damage can be counted: a start does not wait for that.
    pub(super) checks: bool,
}

impl Report {
    pub(super) fn fail(&mut self, what: impl std::fmt::Display, error: impl std::fmt::Display) {
        self.failures.push(format!("what {what} left could not be taken up: {error}"));
    }
}

/// How many events these runs hold.
pub(super) fn n_events(runs: &[RawRun]) -> u64 {
    let mut n = 0;
    for run in runs {
        let mut rest = &run.bytes[..];
        while let Some(head) = Head::read(rest) {
            n += u64::from(head.kind == RECORD_EVENT);
            rest = &rest[head.len()..];
        }
    }
    n
}
