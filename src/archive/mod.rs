//! Archive: copies sealed segments, or a whole tree, so that what stands under a name is complete.
//!
//! ```text
//! walk ──► jobs ──► read ─► write ─► … ─► sync ─► verify ─► rename ──► links, directories
//!          (some in flight, one backend, a fixed set of buffers)
//! ```
//!
//! # Invariants
//!
//! - **A1** A file gets its name when its bytes, mode, times and owner are there and synced, and a
//!   segment's checksums were compared. Before, it lies in [`PART_DIR`] of the target.
//! - **A2** A directory is synced after the last name in it was made; its own mode and times come
//!   last of all.
//! - **A3** Memory does not grow with a file's length: buffers are those of one pool, made at the
//!   start.
//! - **A4** Nothing is followed: symbolic links are copied as such, and a file that is none when it
//!   is opened is told.
//!
//! # Failure
//!
//! What cannot be copied is told and counted, and the rest goes on. Whoever is interrupted leaves
//! whole files and a directory of parts, which the next run removes; what it finds complete (same
//! length and time of change) it leaves as it is.

mod copy;
mod place;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use self::copy::Copier;
use self::place::Target;
use self::walk::{Entry, Kind, Walk};
use crate::io::IoChoice;

/// Where files lie that are not complete, in the target.
pub const PART_DIR: &str = ".ttlog-part";
/// Files that may be in flight.
pub const IN_FLIGHT_MAX: usize = 4096;

/// What is copied, and how.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Everything below the source, rather than the segments in it.
    pub all: bool,
    /// Files that are copied at a time.
    pub in_flight: usize,
    /// By which way.
    pub io: IoChoice,
}

/// What was done so far; may be read from another thread while it goes on.
#[derive(Debug, Default)]
pub struct Counters {
    files: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
    links: AtomicU64,
    directories: AtomicU64,
    errors: AtomicU64,
}

/// What [`Counters`] had at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Files that were copied.
    pub files: u64,
    /// Bytes that were written; holes are not.
    pub bytes: u64,
    /// Files and links that were there already.
    pub skipped: u64,
    /// Hard and symbolic links that were made.
    pub links: u64,
    /// Directories that were made.
    pub directories: u64,
    /// What could not be copied, and segments with damage.
    pub errors: u64,
}

impl Counters {
    /// What there is now, each counter by itself.
    #[must_use]
    pub fn sums(&self) -> Sums {
        // ord: Relaxed, counters: that a copy is through is known from `run`'s return alone.
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sums {
            files: get(&self.files),
            bytes: get(&self.bytes),
            skipped: get(&self.skipped),
            links: get(&self.links),
            directories: get(&self.directories),
            errors: get(&self.errors),
        }
    }
}

/// Adds to a counter, and publishes nothing by it.
fn add(counter: &AtomicU64, n: u64) {
    // ord: Relaxed, a counter.
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What a run tells while it goes on: one line each.
pub type Tell<'a> = dyn Fn(String) + Sync + 'a;

/// What the parts of a run share.
pub(crate) struct Shared<'a> {
    pub(crate) counters: &'a Counters,
    tell: &'a Tell<'a>,
}

impl Shared<'_> {
    /// Tells what could not be copied.
    fn fail(&self, path: &Path, why: impl std::fmt::Display) {
        add(&self.counters.errors, 1);
        self.note(path, why);
    }

    fn note(&self, path: &Path, why: impl std::fmt::Display) {
        (self.tell)(format!("{}: {why}", path.display()));
    }
}

/// Copies from one directory to another, which is made if need be. What could not be copied is
/// told and counted.
///
/// # Errors
///
/// When the source is no directory, the target lies in it or cannot be made or synced, another run
/// has the target, or there is no way of doing I/O.
pub fn run(
    source: &Path,
    target: &Path,
    options: &Options,
    counters: &Counters,
    tell: &Tell<'_>,
) -> io::Result<Sums> {
    let shared = Shared { counters, tell };
    let source = at(source, std::fs::canonicalize(source))?;
    if !source.is_dir() {
        return Err(says(&source, "is no directory; name the one that holds the logs"));
    }
    let mut target = Target::open(target, &source)?;
    let in_flight = options.in_flight.clamp(1, IN_FLIGHT_MAX);
    let mut copier = Copier::new(options.io, in_flight, &shared)?;
    let mut walk = Walk::new(&source, options.all)?;
    let (mut is_walking, mut is_copying) = (true, true);
    while is_walking || is_copying {
        while is_walking && copier.has_room() {
            match walk.next(&shared) {
                Some(entry) => take(entry, &mut target, &mut copier, &shared),
                None => is_walking = false,
            }
        }
        is_copying = copier.turn(&mut target)?;
    }
    target.link_all(&shared);
    target.finish(&shared)?;
    Ok(counters.sums())
}

/// Begins with one thing that the walk found.
fn take(entry: Entry, target: &mut Target, copier: &mut Copier<'_>, shared: &Shared<'_>) {
    let done = match entry.kind {
        Kind::Directory => target.make_dir(&entry),
        Kind::Symlink => target.make_symlink(&entry),
        Kind::File => {
            if target.is_later_link(&entry) {
                return;
            }
            if target.has(&entry) {
                add(&shared.counters.skipped, 1);
                return;
            }
            copier.begin(&entry, target)
        }
    };
    match done {
        Ok(Done::Begun) => {}
        Ok(Done::Made) if entry.kind == Kind::Directory => add(&shared.counters.directories, 1),
        Ok(Done::Made) => add(&shared.counters.links, 1),
        Ok(Done::WasThere) if entry.kind == Kind::Directory => {}
        Ok(Done::WasThere) => add(&shared.counters.skipped, 1),
        Err(error) => shared.fail(&entry.path, error),
    }
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Begun,
    Made,
    WasThere,
}

/// An error with its path before it.
fn at<R>(path: &Path, result: io::Result<R>) -> io::Result<R> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn says(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("{} {what}", path.display()))
}

/// Where something of the source goes.
fn place_of(root: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(relative) }
}
