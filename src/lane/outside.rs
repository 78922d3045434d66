//! Outside: reads the lanes and staging of any logger, living or dead, without mapping them (S5).
//!
//! Everything is copied with `pread` and believed only if identity, epoch and head, read again
//! afterwards, still cover it. Lanes are read before staging, and the caller reads segments after
//! both: what leaves one place meanwhile is found in the next. Nothing in these files is trusted.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::memory::HEADER_BYTES;
use super::owner;
pub use super::owner::Owner;
use super::peek::{Bytes as _, TRIES, Words, lie, read_lane, read_recorder};
use super::place::{self, CALLSITES_BYTES_MAX, LANE_PREFIX, RECORDER_PREFIX, anchors_word};
use super::staging::{
    self, BUFFERS_MAX, SPILL_BUFFERS, SPILL_FIRST, STAGING_MAGIC, STAGING_VERSION,
};
use crate::record::compact::Decoder;
use crate::record::{Anchor, Definitions, RawRun};

/// A logger whose owner file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the file says.
    pub owner: Owner,
    /// The file.
    pub path: PathBuf,
    /// True while somebody holds its lock.
    pub alive: bool,
}

/// Which segment holds what still lies in a staging buffer, since its block is Written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldBy {
    /// Its number.
    pub(crate) segment: u64,
    /// It was a spill file on this device, or 0.
    pub(crate) device: u64,
}

/// What lies in a logger's place.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Runs of lanes and staging, in no order; byte ranges may occur twice.
    pub runs: Vec<RawRun>,
    /// Definitions of the logger's callsites.
    pub definitions: Definitions,
    /// Moments on three clocks.
    pub anchors: Vec<Anchor>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
    /// True once the logger has had a spiller: what that took has no order with the rest.
    pub has_spilled: bool,
}

/// The owner files in a log directory; those that cannot be read are told as notes.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn owners(log_dir: &Path) -> io::Result<(Vec<Found>, Vec<String>)> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(log_dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let Some(logger) = crate::store::name::parse_owner(name) else { continue };
        let read = Owner::read(&path).and_then(|owner| Ok((owner, owner::is_held(&path)?)));
        match read {
            Ok((Some(owner), alive)) if owner.logger == logger => {
                found.push(Found { owner, path, alive });
            }
            Ok(_) => notes.push(format!("{}: not an owner file of ttlog", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => notes.push(unread(&path, &error)),
        }
    }
    Ok((found, notes))
}

/// Says why an owner file is passed over, and what that may cost.
fn unread(path: &Path, error: &io::Error) -> String {
    let cost = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; what its process has only in memory cannot be seen: ask as the user that it runs as"
        }
        _ => "",
    };
    format!("{}: {error}{cost}", path.display())
}

/// Why a logger's lanes are not to be looked at, if so (S10).
#[must_use]
pub fn unseen(owner: &Owner) -> Option<&'static str> {
    if owner.boot != owner::boot_id() {
        return Some("its lanes are of another boot: what was not written then is gone");
    }
    None
}

/// Reads everything in the place of a logger into memory.
///
/// # Errors
///
/// As for [`each_run`].
pub fn snapshot(owner: &Owner) -> io::Result<Snapshot> {
    let mut runs = Vec::new();
    let snapshot = each_run(owner, &mut |run| runs.push(run))?;
    Ok(Snapshot { runs, ..snapshot })
}

/// Reads everything in the place of a logger into memory, but for the staging buffers whose blocks
/// were held by a segment that is gone.
///
/// # Errors
///
/// As for [`each_run`].
pub(crate) fn snapshot_without(
    owner: &Owner,
    is_gone: &dyn Fn(HeldBy) -> bool,
) -> io::Result<Snapshot> {
    let mut runs = Vec::new();
    let snapshot = each_run_without(owner, is_gone, &mut |run| runs.push(run))?;
    Ok(Snapshot { runs, ..snapshot })
}

/// Reads everything in the place of a logger and gives each run to `each` as it comes, so that a
/// place of any size takes little memory. The snapshot has everything else.
///
/// # Errors
///
/// When the place is not there, or not what the owner file says.
pub fn each_run(owner: &Owner, each: &mut dyn FnMut(RawRun)) -> io::Result<Snapshot> {
    each_run_without(owner, &|_| false, each)
}

fn each_run_without(
    owner: &Owner,
    is_gone: &dyn Fn(HeldBy) -> bool,
    each: &mut dyn FnMut(RawRun),
) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let Some(hint) = &owner.lanes else { return Ok(snapshot) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let mut tell = |name: &str, error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            snapshot.notes.push(format!("{}: {error}", path.join(name).display()));
        }
    };
    for name in names(&path, LANE_PREFIX)? {
        if let Err(error) = place.lane(&name, each) {
            tell(&name, error);
        }
    }
    // Listed behind the lanes: what left one meanwhile may be in a buffer that was made for it.
    let mut buffers = Vec::new();
    for name in names(&path, "staging-")? {
        let number = name.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
        snapshot.has_spilled |= number.is_some_and(|number| number >= SPILL_FIRST);
        if buffers.len() == BUFFERS_MAX + SPILL_BUFFERS {
            tell(&name, lie("more staging buffers than a logger has"));
            break;
        }
        match place.staging(&name) {
            Ok((Some(held_by), _)) if is_gone(held_by) => {}
            Ok((_, bytes)) => buffers.push((name, bytes)),
            Err(error) => tell(&name, error),
        }
    }
    // Behind both, so that every id in them is known.
    snapshot.definitions = place.definitions()?;
    for (name, bytes) in buffers {
        for run in Decoder::new(&bytes, &snapshot.definitions) {
            match run {
                Ok(run) => each(run),
                Err(_) => {
                    tell(&name, lie("a staging buffer with a run that is no run"));
                    break;
                }
            }
        }
    }
    snapshot.anchors = place.anchors()?;
    Ok(snapshot)
}

/// True when a logger has a flight recorder whose lanes can be seen from here.
#[must_use]
pub fn has_recorder(owner: &Owner) -> bool {
    let path = owner.lanes.as_ref().and_then(|hint| place::open_hinted(hint).ok());
    let names = path.and_then(|path| names(&path, RECORDER_PREFIX).ok());
    unseen(owner).is_none() && names.is_some_and(|names| !names.is_empty())
}

/// Reads what a logger's flight recorder keeps; `None` when it has none.
///
/// # Errors
///
/// As for [`each_run`].
pub fn recorded(owner: &Owner) -> io::Result<Option<Snapshot>> {
    let Some(hint) = &owner.lanes else { return Ok(None) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let names = names(&path, RECORDER_PREFIX)?;
    if names.is_empty() {
        return Ok(None);
    }
    let mut snapshot = Snapshot::default();
    for name in names {
        match place.recorder(&name) {
            Ok(runs) => snapshot.runs.extend(runs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                snapshot.notes.push(format!("{}: {error}", path.join(name).display()));
            }
        }
    }
    snapshot.definitions = place.definitions()?;
    snapshot.anchors = place.anchors()?;
    Ok(Some(snapshot))
}

/// The names in a place that begin like this.
fn names(path: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| name.starts_with(prefix)));
    }
    Ok(names)
}

/// The staging buffers of a logger, each as a block that was sealed in it would lie there.
pub(crate) fn staged_blocks(owner: &Owner) -> io::Result<Vec<Vec<u8>>> {
    let Some(hint) = &owner.lanes else { return Ok(Vec::new()) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let mut blocks = Vec::new();
    for name in names(&path, "staging-")? {
        let mut block = vec![0; staging::BUFFER_BYTES];
        if place.open(&name)?.read_exact_at(&mut block, HEADER_BYTES as u64).is_ok() {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

struct Place<'a> {
    path: &'a Path,
    logger: u64,
}

/// The runs in a copy of a lane's file.
///
/// # Errors
///
/// When the bytes are not a lane of this logger, or contradict themselves.
pub fn lane_runs(file: &[u8], logger: u64) -> io::Result<Vec<RawRun>> {
    let mut runs = Vec::new();
    read_lane(file, logger, &mut |run| runs.push(run))?;
    Ok(runs)
}

/// True for a file that has its name and no room yet.
fn is_being_made(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() == 0)
}

impl Place<'_> {
    fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(self.path.join(name), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(lie("not a regular file"));
        }
        Ok(file)
    }

    fn lane(&self, name: &str, each: &mut dyn FnMut(RawRun)) -> io::Result<()> {
        let file = self.open(name)?;
        if is_being_made(&file)? {
            return Ok(());
        }
        read_lane(&file, self.logger, each)
    }

    /// The runs of a flight recorder's lane.
    fn recorder(&self, name: &str) -> io::Result<Vec<RawRun>> {
        let file = self.open(name)?;
        if is_being_made(&file)? { Ok(Vec::new()) } else { read_recorder(&file, self.logger) }
    }

    /// The committed runs of a staging buffer, encoded, and the segment that has them already.
    fn staging(&self, name: &str) -> io::Result<(Option<HeldBy>, Vec<u8>)> {
        let nothing = (None, Vec::new());
        let file = self.open(name)?;
        if is_being_made(&file)? {
            return Ok(nothing);
        }
        // The epoch comes first: who finds the new one finds the new length (B3 of staging).
        let epoch = Words::read(&file)?.get(staging::word::EPOCH);
        let words = Words::read(&file)?;
        if words.get(staging::word::MAGIC) == 0 && words.get(staging::word::COMMITTED) == 0 {
            return Ok(nothing);
        }
        if words.get(staging::word::MAGIC) != STAGING_MAGIC
            || words.get(staging::word::VERSION) != STAGING_VERSION
            || words.get(staging::word::LOGGER) != self.logger
        {
            return Err(lie("not a staging buffer of this logger"));
        }
        let committed = words.get(staging::word::COMMITTED) as usize;
        if committed > staging::BUFFER_BYTES - staging::BLOCK_HEADER_BYTES {
            return Err(lie("a staging buffer that says it is longer than it can be"));
        }
        let mut bytes = vec![0; committed];
        file.read_exact_at(&mut bytes, (HEADER_BYTES + staging::BLOCK_HEADER_BYTES) as u64)?;
        if Words::read(&file)?.get(staging::word::EPOCH) != epoch {
            // Reused meanwhile, so that its block is Written: the caller finds it in a segment.
            return Ok(nothing);
        }
        let held_by = HeldBy {
            segment: words.get(staging::word::HELD_BY),
            device: words.get(staging::word::DEVICE),
        };
        Ok(((held_by.segment > 0).then_some(held_by), bytes))
    }

    fn definitions(&self) -> io::Result<Definitions> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        self.open("callsites")?.take(CALLSITES_BYTES_MAX).read_to_end(&mut bytes)?;
        let mut definitions = Definitions::default();
        definitions.decode_all(&bytes);
        Ok(definitions)
    }

    fn anchors(&self) -> io::Result<Vec<Anchor>> {
        let file = self.open("anchors")?;
        for _ in 0..TRIES {
            let words = Words::read(&file)?;
            let sequence = words.get(anchors_word::SEQUENCE);
            let again = Words::read(&file)?.get(anchors_word::SEQUENCE);
            // A dead logger may have left an odd number: what is torn then is one anchor.
            if sequence == again {
                let max = (HEADER_BYTES / 8 - anchors_word::FIRST) / 3;
                let count = (words.get(anchors_word::COUNT) as usize).min(max);
                let anchor = |nth: usize| {
                    let at = anchors_word::FIRST + nth * 3;
                    let wall_ns = words.get(at + 2).cast_signed();
                    Anchor { ticks: words.get(at), mono_ns: words.get(at + 1), wall_ns }
                };
                return Ok((0..count).map(anchor).collect());
            }
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_file_of_another_user_is_told_with_what_it_hides() {
        let told = |kind: io::ErrorKind| unread(Path::new("logs/1.owner"), &kind.into());
        let denied = told(io::ErrorKind::PermissionDenied);
        assert!(denied.starts_with("logs/1.owner: permission denied; what its process"), "{denied}");
        assert_eq!(told(io::ErrorKind::TimedOut), "logs/1.owner: timed out");
    }
}
