//! Adopt: takes up what dead loggers left (rules S9 and S10).
//!
//! ```text
//! ttlog recover ─► take_up: all of them, now, and tells what it did
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
mod report;
mod segment;
mod spill;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use self::held::Held;
pub use self::report::{Report, TakenUp};
use self::segment::{Listing, Segment};
use crate::crash::crash_point;
use crate::dump;
use crate::emit::clock;
use crate::io::{Disk, FileDisk};
use crate::lane::outside::{self, Found, HeldBy, Snapshot};
use crate::lane::owner::{self, Lock, Owner, Taken};
use crate::lane::place;
use crate::notice;
use crate::record::LANE_RETOLD;
use crate::store::{name, pack};

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
        let Ok((mut found, _)) = outside::owners(&dir) else { return };
        found.retain(|found| !found.alive);
        let mut dead = by_start(found);
        if dead.len() > FEW {
            dead.truncate(dead.len() - FEW / 2);
            let (deadline, mut report) = (Some(Instant::now() + PACE), Report::default());
            adopt_until(Some(&FileDisk), &dir, dead, deadline, &mut report);
            tell(&report);
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
        crate::lane::process::lower_priority();
        owner::clear_leftovers(&dir);
        // A directory that cannot be listed is told by who writes there.
        if let Ok(report) = adopt_all(Some(&FileDisk), &dir, Report::default()) {
            tell(&report);
        }
        orphan::remove_all(Path::new(place::SHARED_MEMORY));
        then();
    });
}

/// Adopts what there is in a log directory, now.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn take_up(dir: &Path) -> io::Result<Report> {
    owner::clear_leftovers(dir);
    adopt_all(Some(&FileDisk), dir, Report { checks: true, ..Report::default() })
}

/// Tells what [`take_up`] would do, and does nothing.
///
/// # Errors
///
/// As for [`take_up`].
pub fn look(dir: &Path) -> io::Result<Report> {
    adopt_all(None, dir, Report { checks: true, ..Report::default() })
}

fn adopt_all(disk: Option<&dyn Disk>, dir: &Path, mut report: Report) -> io::Result<Report> {
    let (found, notes) = outside::owners(dir)?;
    let (held, dead): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.alive);
    (report.held, report.unseen) = (held.len() as u64, notes);
    adopt_until(disk, dir, by_start(dead), None, &mut report);
    Ok(report)
}

/// Says what a program that starts has to say of the dead.
fn tell(report: &Report) {
    report.notes.iter().for_each(|note| notice::say(note));
    for failure in &report.failures {
        notice::say(&format!("{failure}; the next start tries again"));
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> bool {
    let work = move || {
        crate::lane::thread::mark_internal();
        crate::lane::process::block_signals();
        work();
    };
    std::thread::Builder::new().name("ttlog-adopt".into()).spawn(work).is_ok()
}

/// Loggers in the order in which they began.
fn by_start(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|found| found.owner.start_ns);
    found
}

/// One dead logger, with its lock unless it is only looked at.
struct Dead {
    found: Found,
    _lock: Option<Lock>,
    segments: Vec<Segment>,
    /// Its spill files are part of the log.
    is_drained: bool,
    told: TakenUp,
}

/// Adopts dead loggers, some at a time, until the deadline has passed; without a disk only looks.
fn adopt_until(
    disk: Option<&dyn Disk>,
    dir: &Path,
    dead: Vec<Found>,
    deadline: Option<Instant>,
    report: &mut Report,
) {
    let mut dead = dead.into_iter();
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while !is_late() {
        let some: Vec<Found> = dead.by_ref().take(TOGETHER).collect();
        let Some(first) = some.first().map(|found| found.path.display().to_string()) else {
            return;
        };
        let some: Vec<Dead> =
            some.into_iter().filter_map(|found| take(disk, found, report)).collect();
        if let Err(error) = adopt_together(disk, dir, some, report) {
            report.fail(first, error);
        }
    }
}

/// The dead logger, locked if it is to be changed; `None` when somebody else has it.
fn take(disk: Option<&dyn Disk>, found: Found, report: &mut Report) -> Option<Dead> {
    let lock = match disk {
        Some(_) => Some(lock(&found, report)?),
        None => None,
    };
    let told = TakenUp::of(&found.owner);
    Some(Dead { found, _lock: lock, segments: Vec::new(), is_drained: true, told })
}

fn lock(found: &Found, report: &mut Report) -> Option<Lock> {
    // A reader that looks whether the lock is held has it for a moment: try again.
    for nth in 0..3 {
        if nth > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        match owner::try_take(&found.path) {
            Ok(Taken::Free(lock)) => return Some(lock),
            Ok(Taken::Held) => {}
            // Somebody else has taken it up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                report.unseen.push(format!("{}: {error}", found.path.display()));
                return None;
            }
        }
    }
    report.held += 1;
    None
}

/// Adopts dead loggers whose locks the caller holds: what they lack is written for all of them
/// before the directory is synced once and anything is removed.
fn adopt_together(
    disk: Option<&dyn Disk>,
    dir: &Path,
    mut dead: Vec<Dead>,
    report: &mut Report,
) -> io::Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    // Behind the locks: nobody else writes segments and spill files of these loggers any more.
    for dead in &mut dead {
        match spill::take_up(disk, dir, &dead.found.owner) {
            Ok(taken) => (dead.told.spill_files, dead.told.cut_bytes) = taken,
            Err(error) => {
                report.fail(dead.found.path.display(), error);
                dead.is_drained = false;
            }
        }
    }
    let loggers: BTreeSet<u64> = dead.iter().map(|dead| dead.found.owner.logger).collect();
    let mut listing = Listing::of(dir, &loggers)?;
    dead.retain_mut(|dead| match complete(disk, dir, dead, &mut listing, report) {
        Ok(is_seen) => is_seen,
        Err(error) => {
            report.fail(dead.found.path.display(), error);
            false
        }
    });
    let Some(disk) = disk else {
        for mut dead in dead.into_iter().filter(|dead| dead.is_drained) {
            cut_torn(None, &mut dead)?;
            report.taken_up.push(dead.told);
        }
        return Ok(());
    };
    if dead.iter().any(|dead| dead.told.segment.is_some()) {
        disk.sync_dir(dir)?;
    }
    // A packer among them may have died over a part.
    pack::clear_leftovers(disk, dir, &|packer| loggers.contains(&packer));
    // The owner file leads to what was not drained.
    for mut dead in dead.into_iter().filter(|dead| dead.is_drained) {
        crash_point!("adopt.remove");
        dump_recorder(&dead);
        match remove(disk, &mut dead) {
            Ok(()) => report.taken_up.push(dead.told),
            Err(error) => report.fail(dead.found.path.display(), error),
        }
    }
    Ok(())
}

/// Mends a dead logger's segments and writes what they lack; false when its lanes cannot be seen
/// from here (S10).
fn complete(
    disk: Option<&dyn Disk>,
    dir: &Path,
    dead: &mut Dead,
    listing: &mut Listing,
    report: &mut Report,
) -> io::Result<bool> {
    let (owner, told) = (&dead.found.owner, &mut dead.told);
    let mut numbers = listing.numbers(owner.logger);
    dead.segments = listing.segments(disk, owner.logger)?;
    // A directory that cannot be listed was told when they were to be drained.
    for path in spill::files(owner).unwrap_or_default() {
        numbers.extend(segment::number(&path));
        // Those in the log directory are among the segments.
        if disk.is_none() && !spill::is_beside(owner, dir) {
            dead.segments.extend(Segment::at(path, owner.logger));
        }
    }
    for segment in &mut dead.segments {
        told.cut_bytes += segment.mend(disk)?;
    }
    // A block that lies in staging still, and was held by a segment that is gone, was removed with
    // it. Of a spill disk that is not there nobody knows what is gone.
    let device = owner.spill.as_ref().and_then(|dir| Some(std::fs::metadata(dir).ok()?.dev()));
    let last = Cell::new(numbers.last().copied().unwrap_or(0));
    let is_gone = |held_by: HeldBy| {
        last.set(last.get().max(held_by.segment));
        let is_seen = held_by.device == 0 || Some(held_by.device) == device;
        is_seen && !numbers.contains(&held_by.segment)
    };
    let Some(snapshot) = what_is_left(owner, &is_gone, report)? else { return Ok(false) };
    let notes = snapshot.notes.iter().map(|note| format!("{note}: what it held is gone"));
    report.notes.extend(notes);
    if snapshot.runs.is_empty() && !report.checks {
        return Ok(true);
    }
    let Held { mut covered, damaged } = Held::of(&dead.segments)?;
    told.damaged = damaged;
    let retold = covered.last_generation(LANE_RETOLD);
    let (lost_before, losses) = (covered.lost(), covered.losses());
    let mut missing = covered.missing(snapshot.runs.clone());
    if missing.is_empty() {
        return Ok(true);
    }
    (told.events, told.lost) = (report::n_events(&missing), covered.lost() - lost_before);
    // What is in staging may be told again itself.
    let staged = missing.iter().filter(|run| run.head.lane == LANE_RETOLD);
    let last_retold = staged.map(|run| run.head.generation).fold(retold, u32::max);
    let spans = segment::open_spans(&mut dead.segments)?;
    let retold = spans.as_run(last_retold.saturating_add(1), missing.iter());
    missing.splice(0..0, retold);
    let number = last.get().checked_add(1).ok_or_else(|| {
        let what = "a file there bears the greatest number that a segment can have; move it away";
        io::Error::other(format!("{}: {what}", dir.display()))
    })?;
    told.segment = Some(segment::write(disk, dir, owner, number, missing, losses, &snapshot)?);
    Ok(true)
}

/// Writes down what a dead logger's flight recorder kept, which goes with its place: never into the
/// log, but into a dump beside it.
fn dump_recorder(dead: &Dead) {
    let owner = &dead.found.owner;
    let Some(dir) = dead.found.path.parent().filter(|_| outside::has_recorder(owner)) else {
        return;
    };
    // Without room for it the log goes on all the same.
    if let Err(error) = dump::dump(owner, dir, None) {
        notice::say(&format!("what a flight recorder kept is gone: {error}"));
    }
}

/// Cuts blocks that the dead logger died at.
fn cut_torn(disk: Option<&dyn Disk>, dead: &mut Dead) -> io::Result<()> {
    for segment in &dead.segments {
        let cut_bytes = segment.cut_torn(disk, &dead.found.owner)?;
        dead.told.cut_bytes += cut_bytes;
        // What was cut was no damage.
        dead.told.damaged = dead.told.damaged.saturating_sub(u64::from(cut_bytes > 0));
    }
    Ok(())
}

/// Removes a dead logger's lanes and owner file; what they held is durable.
fn remove(disk: &dyn Disk, dead: &mut Dead) -> io::Result<()> {
    cut_torn(Some(disk), dead)?;
    let owner = &dead.found.owner;
    if let Some(hint) = &owner.lanes
        && let Ok(path) = place::open_hinted(hint)
        && holds(&path, owner.logger)
    {
        place::remove(&path);
    }
    crash_point!("adopt.removed");
    // Nobody listens there any more.
    let _ = disk.unlink(&dead.found.path.with_file_name(name::control(owner.logger)));
    disk.unlink(&dead.found.path)
}

/// What lies in the dead logger's place, but for what is gone; `None` when that cannot be seen from
/// here, and may be seen from elsewhere (S10).
fn what_is_left(
    owner: &Owner,
    is_gone: &dyn Fn(HeldBy) -> bool,
    report: &mut Report,
) -> io::Result<Option<Snapshot>> {
    let name = format!("{} ({:016x})", owner.app, owner.logger);
    if let Some(why) = outside::unseen(owner) {
        // Pages may be older than their header: never decoded.
        if owner.lanes.is_some() {
            report.notes.push(format!("{name}: {why}"));
        }
        return Ok(Some(Snapshot::default()));
    }
    match outside::snapshot_without(owner, is_gone) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = clock::wall_ns().saturating_sub(owner.start_ns);
            let is_elsewhere = owner.mount != mount_namespace() && age < UNSEEN_NS_MAX;
            if is_elsewhere {
                report.unseen.push(format!("{name}: its lanes lie in another container's memory"));
            }
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
