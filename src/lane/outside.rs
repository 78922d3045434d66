//! Outside: what lies in the lane places of living and dead loggers.

use std::io;
use std::path::{Path, PathBuf};

use crate::record::{Anchor, Definitions, RawRun};

/// A logger that wrote or writes into a log directory, as its owner file tells.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Id of the logger.
    pub logger: u64,
    /// Directory of its lanes.
    pub place: PathBuf,
    /// Id of its process.
    pub pid: u32,
    /// True while its process holds the lock.
    pub alive: bool,
    /// Name of its program.
    pub app: String,
}

/// What lies in a logger's lanes and staging.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Id of the logger.
    pub logger: u64,
    /// Id of the machine's boot.
    pub boot: [u8; 16],
    /// Kind of the clock: 1 = TSC, 2 = monotonic.
    pub clock: u8,
    /// Id of its process.
    pub pid: u32,
    /// Name of its program.
    pub app: String,
    /// Version of its program.
    pub version: String,
    /// True while its process holds the lock.
    pub alive: bool,
    /// The runs of lanes and staging, overlaps not removed.
    pub runs: Vec<RawRun>,
    /// The callsites of the logger.
    pub definitions: Definitions,
    /// The clock's anchors.
    pub anchors: Vec<Anchor>,
    /// What could not be read, for people.
    pub notes: Vec<String>,
}

/// The loggers that have an owner file in this directory.
///
/// # Errors
///
/// Fails when the directory cannot be listed.
pub fn owners(_log_dir: &Path) -> io::Result<Vec<Owner>> {
    Ok(Vec::new())
}

/// Reads a logger's lanes and staging.
///
/// # Errors
///
/// Fails when its place cannot be read.
pub fn snapshot(_owner: &Owner) -> io::Result<Snapshot> {
    Ok(Snapshot::default())
}
