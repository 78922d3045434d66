//! Dump: what a flight recorder keeps, written as a segment of its own.
//!
//! ```text
//! recorder's lanes ──┐ all of it
//! lanes, staging ────┼─► pieces by time ─► .<name>.<pid> ─► sync ─► rename ─► sync of the directory
//! segments, spill ───┘ of the same time
//! ```
//!
//! Everything is read as from outside (S5), by the process itself as by another, so that a logger
//! that lives, hangs or died is dumped alike, and no thread of it is stopped or waited for. What the
//! log has of the same time stands beside it under the positions that it has there: a reader of both
//! shows each event once (S2).
//!
//! # Failure
//!
//! Whoever dies in between leaves the file that was there, or none, and a temporary one, which a
//! later dump into the log directory removes.

mod gather;
mod piece;

use std::io;
use std::path::{Path, PathBuf};

use self::gather::{Gathered, gather};
use self::piece::in_order;
use crate::crash::crash_point;
use crate::emit::clock;
use crate::error::{Error, Kind};
use crate::io::{Disk, FileDisk};
use crate::lane::owner::Owner;
use crate::lane::place;
use crate::record::{HEAD_BYTES, Head, RECORD_EVENT, RawRun};
use crate::store::segment::{FLAG_DUMP, SegmentHeader};
use crate::store::{Builder, name};

/// Dumps of a program that are kept beside its log; the oldest go.
const DUMPS_MAX: usize = 10;

/// A dump that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// The file.
    pub path: PathBuf,
    /// Events in it.
    pub events: u64,
    /// Those of them that only the recorder had.
    pub recorded: u64,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// Writes what a logger's recorder keeps, living or dead, to `to`, or beside its log in `dir`.
///
/// # Errors
///
/// When it has no recorder, when its lanes cannot be read, or when the file cannot be written.
pub fn dump(owner: &Owner, dir: &Path, to: Option<&Path>) -> Result<Dumped, Error> {
    let now_ns = clock::wall_ns();
    let target = match to {
        Some(path) => path.to_owned(),
        // Beside others of the same second.
        None => dir.join(name::dump(&owner.app, now_ns, owner.logger, millisecond(now_ns))),
    };
    check(&target)?;
    let gathered = gather(owner, dir)?;
    let written = write(&FileDisk, owner, now_ns, &target, &gathered);
    written.map_err(|error| {
        let what = "the dump cannot be written; choose a directory that is there, has room and \
                    may be written to";
        Error::at(Kind::Dump(what), &target, error)
    })?;
    if to.is_none() {
        keep_few(dir, &owner.app);
    }
    let events = |runs: &[RawRun]| runs.iter().map(|run| count_events(&run.bytes)).sum::<u64>();
    let recorded = events(&gathered.recorded);
    let events = recorded + events(&gathered.ordinary);
    Ok(Dumped { path: target, events, recorded, notes: gathered.notes })
}

/// The loggers of this user that have this process id, living or dead, whose lanes lie in shared
/// memory.
#[must_use]
pub fn loggers_of(pid: u32) -> Vec<Owner> {
    let uid = rustix::process::getuid().as_raw();
    let mut owners = Vec::new();
    for entry in std::fs::read_dir(place::SHARED_MEMORY).into_iter().flatten().flatten() {
        let Some((of, logger)) = entry.file_name().to_str().and_then(name::parse_place) else {
            continue;
        };
        let read = || Owner::read(&entry.path().join(place::OWNER_NAME)).ok().flatten();
        // What it says is followed only where the place is what it names (S9).
        let is_it = |owner: &Owner| owner.logger == logger && owner.pid == pid;
        owners.extend((of == uid).then(read).flatten().filter(is_it));
    }
    owners.sort_by_key(|owner| owner.start_ns);
    owners
}

fn millisecond(wall_ns: i64) -> u64 {
    (wall_ns.rem_euclid(1_000_000_000) / 1_000_000).cast_unsigned()
}

/// Refuses names under which something else than a file lies, which a rename would remove.
fn check(target: &Path) -> Result<(), Error> {
    let refuse = |what| {
        let error = io::ErrorKind::AlreadyExists;
        Err(Error::at(Kind::Dump(what), target, error.into()))
    };
    match std::fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => refuse("a dump is one file; name a file in this directory"),
        Ok(found) if !found.is_file() => {
            refuse("a dump takes the place of a regular file alone; choose another name")
        }
        _ if target.file_name().is_none() => refuse("a dump is one file; name it"),
        _ => Ok(()),
    }
}

fn write(
    disk: &dyn Disk,
    owner: &Owner,
    now_ns: i64,
    target: &Path,
    gathered: &Gathered,
) -> io::Result<()> {
    let file_name = target.file_name().unwrap_or_default().to_string_lossy();
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let temporary = dir.join(format!(".{file_name}.{}", std::process::id()));
    let _ = disk.unlink(&temporary);
    crash_point!("dump.create");
    let written = disk.create(&temporary).and_then(|file| {
        let mut offset = 0;
        let mut builder = begin(owner, now_ns, gathered);
        let mut put = |bytes: Vec<u8>| {
            let written = file.write_at(&bytes, offset).map_err(|(_, error)| error);
            offset += bytes.len() as u64;
            written
        };
        let malformed = |error: crate::record::compact::Malformed| {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        };
        for piece in in_order(&gathered.recorded, &gathered.ordinary) {
            builder.push_run(&piece.into_run()).map_err(malformed)?;
            let whole = builder.take();
            if !whole.is_empty() {
                put(whole)?;
            }
        }
        put(builder.finish().map_err(malformed)?)?;
        crash_point!("dump.written");
        file.sync()?;
        crash_point!("dump.rename");
        disk.rename(&temporary, target)
    });
    if written.is_err() {
        let _ = disk.unlink(&temporary);
    }
    written?;
    crash_point!("dump.renamed");
    disk.sync_dir(dir)
}

/// The header of a file with events of this logger; its number and its time are the maker's.
pub(crate) fn header_of(owner: &Owner) -> SegmentHeader {
    SegmentHeader {
        logger: owner.logger,
        boot: owner.boot,
        clock: owner.clock,
        app: owner.app.clone(),
        version: owner.version.clone(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: owner.pid,
        uid: rustix::process::getuid().as_raw(),
        ..SegmentHeader::default()
    }
}

fn begin(owner: &Owner, now_ns: i64, gathered: &Gathered) -> Builder {
    let mut builder = Builder::new(SegmentHeader {
        number: millisecond(now_ns),
        created_ns: now_ns,
        flags: FLAG_DUMP,
        ..header_of(owner)
    });
    for definition in gathered.definitions.iter() {
        builder.add_definition((**definition).clone());
    }
    for anchor in gathered.timeline.anchors() {
        builder.add_anchor(*anchor);
    }
    builder
}

fn count_events(mut records: &[u8]) -> u64 {
    let mut events = 0;
    while let Some(head) = Head::read(records).filter(|head| head.len() >= HEAD_BYTES) {
        events += u64::from(head.kind == RECORD_EVENT);
        records = &records[head.len()..];
    }
    events
}

/// Removes all but the newest dumps of an app beside its log, and what dumps left that were killed.
fn keep_few(dir: &Path, app: &str) {
    let mut dumps = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        if let Some(found) = name::parse_dump(file) {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && found.app == name::clean(app) {
                dumps.push((found.created_s, found.number, entry.path()));
            }
        } else if let Some((of, pid)) = file.strip_prefix('.').and_then(|f| f.rsplit_once('.'))
            && name::parse_dump(of).is_some()
            && pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        {
            let _ = FileDisk.unlink(&entry.path());
        }
    }
    dumps.sort_unstable();
    let n_over = dumps.len().saturating_sub(DUMPS_MAX);
    for (_, _, path) in dumps.into_iter().take(n_over) {
        let _ = FileDisk.unlink(&path);
    }
}
