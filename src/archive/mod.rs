//! Archive: copies sealed segments, or a whole tree, so that what stands under a name is complete.
//!
//! ```text
//! walk ─┬► jobs ──► read ─► write ─► … ─► sync ─► verify ─┬► rename ──► links, directories
//!       │  (some in flight, one backend, a fixed set of buffers)
//!       ├► batches ──► short files: read, write (two threads) ─► one sync ─┤
//!       └► compress ──► pack, sync, compare (a thread for each processor) ─┘
//! ```
//!
//! # Invariants
//!
//! - **A1** A file gets its name when its bytes, mode, times and owner are there and synced, and a
//!   segment's checksums were compared. Before, it lies in [`PART_DIR`] of the target, alone or in
//!   a new directory, which gets its name when all in it is so.
//! - **A2** A directory is synced after the last name in it was made; its own mode and times come
//!   last of all.
//! - **A3** Memory does not grow with a file's length: buffers are those of two pools, made when they
//!   are first needed, and one for each thread that copies short files; a segment that is compressed takes that of the blocks that become one.
//! - **A4** Nothing is followed: symbolic links are copied as such, and a file that is none when it
//!   is opened is told.
//!
//! # Failure
//!
//! What cannot be copied is told and counted, and the rest goes on. Whoever is interrupted leaves
//! whole files and a directory of parts, which the next run removes; what it finds complete (same
//! length and time of change, or packed and of the same time) it leaves as it is.

mod batch;
mod compress;
mod copy;
mod job;
mod place;
mod short;
mod stage;
mod verify;
mod walk;

use std::fs::{File, Metadata};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use self::batch::{Batches, Item};
use self::compress::Compressor;
use self::copy::{Copier, Next, SMALL};
use self::place::Target;
use self::verify::is_segment;
use self::walk::{Entry, Found, Kind, Walk};
use crate::io::IoChoice;
use crate::store::pack;

/// Where files lie that are not complete, in the target.
pub const PART_DIR: &str = ".ttlog-part";
/// Files that may be in flight.
pub const IN_FLIGHT_MAX: usize = 4096;
/// Levels of zstd with which segments may be compressed.
pub const LEVELS: RangeInclusive<i32> = pack::LEVELS;

/// What is copied, and how.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Everything below the source, rather than the segments in it.
    pub all: bool,
    /// Files that are copied at a time.
    pub in_flight: usize,
    /// By which way.
    pub io: IoChoice,
    /// The level of zstd, 1 to 22, with which sealed segments are packed on their way; `None` copies
    /// them as they are. Without the feature `zstd` packing makes blocks larger, and no more.
    pub compress: Option<i32>,
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
    compressed: AtomicU64,
    saved: AtomicU64,
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
    /// Segments of `files` that were compressed.
    pub compressed: u64,
    /// Bytes by which they became smaller.
    pub saved: u64,
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
            compressed: get(&self.compressed),
            saved: get(&self.saved),
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
/// has the target, there is no way of doing I/O, or zstd has no such level.
pub fn run(
    source: &Path,
    target: &Path,
    options: &Options,
    counters: &Counters,
    tell: &Tell<'_>,
) -> io::Result<Sums> {
    let shared = Shared { counters, tell };
    if let Some(level) = options.compress.filter(|level| !LEVELS.contains(level)) {
        let what = format!("zstd has no level {level}; use one from 1 to 22");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let source = at(source, std::fs::canonicalize(source))?;
    if !source.is_dir() {
        return Err(says(&source, "is no directory; name the one that holds the logs"));
    }
    let in_flight = options.in_flight.clamp(1, IN_FLIGHT_MAX);
    // First, since it asks for more descriptors: clearing a deep stage takes one for each level.
    let copier = Copier::new(options.io, in_flight, &shared)?;
    let mut target = Target::open(target, &source)?;
    let walk = Walk::new(&source, options.all)?;
    copy_all(walk, copier, options.compress, &mut target, &shared)?;
    target.link_all(&shared);
    target.finish(&shared)?;
    Ok(counters.sums())
}

/// Copies what the walk finds.
fn copy_all(
    mut walk: Walk,
    mut copier: Copier<'_>,
    level: Option<i32>,
    target: &mut Target,
    shared: &Shared<'_>,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let mut compressor = Compressor::new(scope, level, shared.counters, copier.waker());
        let mut batches = Batches::new(scope, target.dresser, shared.counters, SMALL.0);
        // What came back from the compressor, and from batches.
        let mut plain = Vec::new();
        // What waits until the directories above it have their names.
        let mut late = None;
        let (mut is_walking, mut is_copying) = (true, true);
        while is_walking || is_copying || compressor.is_busy() || !plain.is_empty() {
            let mut waits = !is_copying && plain.is_empty() && compressor.is_busy();
            waits &= !is_walking || !compressor.has_room();
            while let Some(settled) = compressor.settle(waits, target, shared) {
                plain.extend(settled);
                waits = false;
            }
            let mut next = Next::Room;
            let mut is_deep = false;
            while copier.has_room() && compressor.has_room() {
                if let Some(entry) = plain.pop() {
                    let done = copier.begin(&entry, target);
                    tell(done, entry.kind, &entry.path, shared);
                } else if let Some(found) = late.take().or_else(|| walk.next(shared)) {
                    is_deep = target.is_too_deep(&found);
                    if is_deep {
                        late = Some(found);
                        break;
                    }
                    let ways = (&mut copier, &mut compressor, &mut batches);
                    if take(found, &mut walk, target, ways, shared) {
                        next = Next::More;
                        break;
                    }
                } else {
                    is_walking = false;
                    break;
                }
            }
            let mut came = batches.settle();
            if !is_walking || !compressor.has_room() {
                next = Next::Nothing;
            } else if copier.is_full() || is_deep {
                next = Next::Sync;
            }
            if matches!(next, Next::Nothing | Next::Sync) {
                came.append(&mut batches.finish());
                // A sync gives them their names.
                walk.none_is_new();
            }
            for (item, came) in came {
                let item = copier.take_short(item, came);
                plain.extend(item.and_then(|item| look_at(&item, &walk, target, shared)));
            }
            if next == Next::Nothing && !is_walking && !plain.is_empty() {
                next = if copier.has_room() { Next::More } else { Next::Room };
            }
            is_copying = copier.turn(next, target)?;
        }
        // What came last was synced by itself.
        target.publish_directories(shared);
        Ok(())
    })
}

/// A file that could not be copied at once; none that is a link to one that was met, or is gone.
fn look_at(item: &Item, walk: &Walk, target: &mut Target, shared: &Shared<'_>) -> Option<Entry> {
    let entry = walk.look_at(&item.dirs, &item.name, shared)?;
    // Others were looked at before.
    let is_link = item.part.is_none() && target.is_later_link(&entry);
    (!is_link).then_some(entry)
}

/// The ways of copying a file.
type Ways<'a, 'b, 'scope, 'env> =
    (&'a mut Copier<'b>, &'a mut Compressor<'scope, 'env>, &'a mut Batches<'scope, 'env>);

/// Begins with one thing that the walk found; true when a batch went on its way by it.
fn take(
    found: Found,
    walk: &mut Walk,
    target: &mut Target,
    (copier, compressor, batches): Ways<'_, '_, '_, '_>,
    shared: &Shared<'_>,
) -> bool {
    let entry = match found {
        Found::Entry(entry) => entry,
        Found::Name(dirs, name) if copier.has_enough_open() => {
            return batches.push(Item { dirs, name, part: None });
        }
        Found::Name(dirs, name) => match walk.look_at(&dirs, &name, shared) {
            Some(entry) => entry,
            None => return false,
        },
    };
    if let Kind::Directory | Kind::Symlink = entry.kind {
        let is_dir = entry.kind == Kind::Directory;
        let done = if is_dir { target.make_dir(&entry) } else { target.make_symlink(&entry) };
        if is_dir && done.is_err() {
            walk.pass_over(&entry.path);
        } else if is_dir && let Some(dirs) = target.dirs_of_new(&entry) {
            walk.is_new(dirs);
        }
        tell(done, entry.kind, &entry.path, shared);
        return false;
    }
    if target.is_later_link(&entry) {
        return false;
    }
    let is_compressed = compressor.wants(&entry);
    if target.has(&entry, is_compressed) {
        add(&shared.counters.skipped, 1);
        return false;
    }
    let is_short = entry.metadata.len() <= SMALL.0 as u64 && !is_segment(&entry.path);
    if is_short && !is_compressed && target.syncs_as_one && copier.has_enough_open() {
        let place = target.place(&entry.relative);
        return batches.push_to(&entry.path, &place, target.part_of_parts());
    }
    let (kind, path) = (entry.kind, entry.path.clone());
    let done = match is_compressed {
        true => compressor.begin(entry, target),
        false => copier.begin(&entry, target),
    };
    tell(done, kind, &path, shared);
    false
}

/// Counts what was done at once.
fn tell(done: io::Result<Done>, kind: Kind, path: &Path, shared: &Shared<'_>) {
    match done {
        Ok(Done::Begun | Done::Gone) => {}
        Ok(Done::Made) if kind == Kind::Directory => add(&shared.counters.directories, 1),
        Ok(Done::Made) => add(&shared.counters.links, 1),
        Ok(Done::WasThere) if kind == Kind::Directory => {}
        Ok(Done::WasThere) => add(&shared.counters.skipped, 1),
        Err(error) => shared.fail(path, error),
    }
}

/// How a file is opened that is to be copied.
const OPEN_FLAGS: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file that is to be copied (A4); `None` for one that was removed meanwhile, by retention
/// say.
fn open_source(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let flags = OPEN_FLAGS.bits() as i32;
    let source = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no file any more"));
    }
    Ok(Some((source, metadata)))
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Begun,
    Made,
    WasThere,
    Gone,
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
