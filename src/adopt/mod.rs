//! Adopt: takes up what dead loggers left (rules S9 and S10).
//!
//! ```text
//! start ─► keep_pace: more than a few dead places? ─► some are taken up before this one is made
//!      └─► in_background, at low priority: all of them, then places that nobody owns
//! ```
//!
//! With the dead logger's lock held: make its spill files segments, sync and trim those, write what
//! they lack from staging and lanes into a segment of the dead logger's id, make that durable, dump
//! its flight recorder, then remove lanes and owner file. A crash in between adopts again; nothing is
//! doubled, since every reader and adopter keeps each byte range once (S2).

mod held;
mod orphan;
mod segment;
mod spill;

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use self::held::Held;
use self::segment::{Listing, Segment};
use crate::dump;
use crate::emit::clock;
use crate::io::{Disk, FileDisk};
use crate::lane::outside::{self, Found, Snapshot};
use crate::lane::owner::{self, Lock, Owner, Taken};
use crate::lane::place;
use crate::notice;
use crate::record::LANE_RETOLD;
use crate::store::name;

/// An owner file whose lanes cannot be seen from here goes after this long (S10).
const UNSEEN_NS_MAX: i64 = 7 * 86_400 * 1_000_000_000;
/// Places that a start leaves to the background; it waits when there are more.
const FEW: usize = 4;
/// Dead loggers that are taken up together: one look at their directory, one sync of it.
const TOGETHER: usize = 8;
/// How long a start takes up dead loggers before it makes a place of its own.
const PACE: Duration = Duration::from_millis(200);
/// How long a start waits for that, whatever the disk does.
const PACE_WAIT: Duration = Duration::from_secs(1);

/// Takes up some of the dead when there are more than a few, so that a program which dies again and
/// again, however soon, leaves no more places than it takes up: it has none of its own by now.
///
/// `base` is where this start will make its place. Without more than a few places there this costs
/// one look at that directory.
pub(crate) fn keep_pace(dir: &Path, base: &Path) {
    let places = orphan::places(base);
    if places.len() <= FEW {
        return;
    }
    for (path, _) in &places {
        orphan::remove_unfinished(path);
    }
    let dir = dir.to_owned();
    let (busy, done) = channel::<()>();
    let started = spawn(move || {
        let _busy = busy;
        let mut dead = dead(&dir);
        if dead.len() > FEW {
            dead.truncate(dead.len() - FEW / 2);
            adopt_until(&dir, dead, Some(Instant::now() + PACE));
        }
    });
    if started {
        // A disk that hangs holds up nobody: the thread goes on by itself.
        let waited = done.recv_timeout(PACE_WAIT);
        debug_assert!(matches!(
            waited,
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ));
    }
}

/// Adopts what there is in a log directory, without anybody waiting for it, then does what comes
/// behind that.
pub(crate) fn in_background(dir: PathBuf, then: impl FnOnce() + Send + 'static) {
    // Without the thread the next start tries again.
    let _ = spawn(move || {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
        take_up(&dir);
        orphan::remove_all(Path::new(place::SHARED_MEMORY));
        then();
    });
}

/// Adopts what there is in a log directory, now.
pub fn take_up(dir: &Path) {
    owner::clear_leftovers(dir);
    adopt_until(dir, dead(dir), None);
}

fn spawn(work: impl FnOnce() + Send + 'static) -> bool {
    let work = move || {
        crate::lane::thread::mark_internal();
        crate::lane::process::block_signals();
        work();
    };
    std::thread::Builder::new().name("ttlog-adopt".into()).spawn(work).is_ok()
}

/// The dead loggers of a directory, those that began first in front.
fn dead(dir: &Path) -> Vec<Found> {
    let Ok((mut found, _)) = outside::owners(dir) else { return Vec::new() };
    found.retain(|found| !found.alive);
    found.sort_by_key(|found| found.owner.start_ns);
    found
}

/// One dead logger, with its lock.
struct Dead {
    found: Found,
    _lock: Lock,
    segments: Vec<Segment>,
    /// Its spill files are part of the log.
    is_drained: bool,
}

/// Adopts dead loggers, some at a time, until the deadline has passed.
fn adopt_until(dir: &Path, dead: Vec<Found>, deadline: Option<Instant>) {
    let mut dead = dead.into_iter();
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while !is_late() {
        let some: Vec<Found> = dead.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            return;
        }
        let some: Vec<Dead> = some.into_iter().filter_map(lock).collect();
        let paths: Vec<PathBuf> = some.iter().map(|dead| dead.found.path.clone()).collect();
        if let Err(error) = adopt_together(&FileDisk, dir, some) {
            let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            tell(&first, &error);
        }
    }
}

fn tell(what: &str, error: &io::Error) {
    notice::say(&format!(
        "what {what} left could not be taken up: {error}; the next start tries again"
    ));
}

fn lock(found: Found) -> Option<Dead> {
    // A reader that looks whether the lock is held has it for a moment: try again.
    let lock = (0..3).find_map(|nth| {
        if nth > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        match owner::try_take(&found.path) {
            Ok(Taken::Free(lock)) => Some(lock),
            Ok(Taken::Held) | Err(_) => None,
        }
    });
    lock.map(|lock| Dead { found, _lock: lock, segments: Vec::new(), is_drained: true })
}

/// Adopts dead loggers whose locks the caller holds: what they lack is written for all of them
/// before the directory is synced once and anything is removed.
fn adopt_together(disk: &dyn Disk, dir: &Path, mut dead: Vec<Dead>) -> io::Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    // Behind the locks: nobody else writes segments and spill files of these loggers any more.
    for dead in &mut dead {
        if let Err(error) = spill::take_up(disk, dir, &dead.found.owner) {
            tell(&dead.found.path.display().to_string(), &error);
            dead.is_drained = false;
        }
    }
    let loggers: BTreeSet<u64> = dead.iter().map(|dead| dead.found.owner.logger).collect();
    let mut listing = Listing::of(dir, &loggers)?;
    let mut any_written = false;
    dead.retain_mut(|dead| match complete(disk, dir, dead, &mut listing) {
        Ok(Some(written)) => {
            any_written |= written;
            true
        }
        Ok(None) => false,
        Err(error) => {
            tell(&dead.found.path.display().to_string(), &error);
            false
        }
    });
    if any_written {
        disk.sync_dir(dir)?;
    }
    // The owner file leads to what was not drained.
    for dead in dead.iter().filter(|dead| dead.is_drained) {
        dump_recorder(dead);
        if let Err(error) = remove(disk, dead) {
            tell(&dead.found.path.display().to_string(), &error);
        }
    }
    Ok(())
}

/// Mends a dead logger's segments and writes what they lack; true when there was something, `None`
/// when its lanes cannot be seen from here (S10).
fn complete(
    disk: &dyn Disk,
    dir: &Path,
    dead: &mut Dead,
    listing: &mut Listing,
) -> io::Result<Option<bool>> {
    let owner = &dead.found.owner;
    let is_cut = listing.is_cut(owner.logger);
    dead.segments = listing.segments(disk, owner.logger)?;
    for segment in &mut dead.segments {
        segment.mend(disk)?;
    }
    let Some(snapshot) = what_is_left(owner)? else { return Ok(None) };
    for note in &snapshot.notes {
        notice::say(&format!("{note}: what it held is gone"));
    }
    if snapshot.runs.is_empty() {
        return Ok(Some(false));
    }
    let Held { mut covered, has_holes } = Held::of(&dead.segments)?;
    // What was spilled has no order with the rest, and may have taken the first number.
    if is_cut && !snapshot.has_spilled && !has_holes {
        covered.cover_removed();
    }
    let retold = covered.last_generation(LANE_RETOLD);
    let mut missing = covered.missing(snapshot.runs.clone());
    if missing.is_empty() {
        return Ok(Some(false));
    }
    // What is in staging may be told again itself.
    let staged = missing.iter().filter(|run| run.head.lane == LANE_RETOLD);
    let last = staged.map(|run| run.head.generation).fold(retold, u32::max);
    let spans = segment::open_spans(&mut dead.segments)?;
    missing.splice(0..0, segment::retelling(&spans, last.saturating_add(1), &missing));
    let number = dead.segments.iter().map(|segment| segment.header.number).max().unwrap_or(0);
    segment::write(disk, dir, owner, number + 1, missing, &snapshot)?;
    Ok(Some(true))
}

/// Writes down what a dead logger's flight recorder kept, which goes with its place: never into the
/// log, but into a dump beside it.
fn dump_recorder(dead: &Dead) {
    let owner = &dead.found.owner;
    let Some(dir) = dead.found.path.parent().filter(|_| outside::has_recorder(owner)) else { return };
    // Without room for it the log goes on all the same.
    if let Err(error) = dump::dump(owner, dir, None) {
        notice::say(&format!("what a flight recorder kept is gone: {error}"));
    }
}

/// Removes a dead logger's lanes and owner file; what they held is durable.
fn remove(disk: &dyn Disk, dead: &Dead) -> io::Result<()> {
    let owner = &dead.found.owner;
    for segment in &dead.segments {
        segment.cut_torn(disk, owner)?;
    }
    if let Some(hint) = &owner.lanes
        && let Ok(path) = place::open_hinted(hint)
        && holds(&path, owner.logger)
    {
        place::remove(&path);
    }
    // Nobody listens there any more.
    let _ = disk.unlink(&dead.found.path.with_file_name(name::control(owner.logger)));
    disk.unlink(&dead.found.path)
}

/// What lies in the dead logger's place; `None` when that cannot be seen from here, and may be
/// seen from elsewhere (S10).
fn what_is_left(owner: &Owner) -> io::Result<Option<Snapshot>> {
    if let Some(why) = outside::unseen(owner) {
        // Pages may be older than their header: never decoded.
        if owner.lanes.is_some() {
            notice::say(&format!("{} ({:016x}): {why}", owner.app, owner.logger));
        }
        return Ok(Some(Snapshot::default()));
    }
    match outside::snapshot(owner) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = clock::wall_ns().saturating_sub(owner.start_ns);
            let is_elsewhere = owner.mount != mount_namespace() && age < UNSEEN_NS_MAX;
            Ok((!is_elsewhere).then(Snapshot::default))
        }
        Err(error) => Err(error),
    }
}

/// True when the place says itself that it is this logger's.
fn holds(path: &Path, logger: u64) -> bool {
    let own = Owner::read(&path.join(place::OWNER_NAME));
    matches!(own, Ok(Some(own)) if own.logger == logger)
}

/// Inode of this process's mount namespace: paths mean the same only within one.
pub(crate) fn mount_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/mnt").map_or(0, |meta| meta.ino())
}
