//! Place: the target's side: names, links, modes, times and owners, and the syncs that make them
//! last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::batch::Dirs;
use super::stage::Stage;
use super::walk::{Entry, Found, Kind};
use super::{Done, PART_DIR, Shared, add, at, place_of, says};
use crate::store::pack;
use crate::store::segment::SegmentReader;

/// The longest name, and the shortest path that is too long.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// Bits that a copy of anybody's file may have; the others are root's to give.
const MODE_BITS: u32 = 0o777;
const MODE_BITS_OF_ROOT: u32 = 0o7777;

/// Where the copy goes.
#[derive(Debug)]
pub(super) struct Target {
    root: PathBuf,
    parts: PathBuf,
    /// Its lock is held for as long as the run lasts.
    lock: File,
    pub(super) dresser: Dresser,
    /// Many files are synced by one call. Not behind a refusal: some of what it was told of, and tells
    /// nobody again, may be in files that are in flight.
    pub(super) syncs_as_one: bool,
    n_parts: u64,
    stage: Stage,
    /// Directories in which names were made, and those of them that are new.
    touched: BTreeSet<PathBuf>,
    made: HashSet<PathBuf>,
    /// Directories with what they are to have in the end, parents first.
    directories: Vec<(PathBuf, Metadata)>,
    /// Files with several names: where the first of them is.
    first_links: HashMap<(u64, u64), PathBuf>,
    later_links: Vec<(PathBuf, PathBuf)>,
}

impl Drop for Target {
    fn drop(&mut self) {
        // Not by closing: a child that another thread is just starting would keep it a moment.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Target {
    /// Makes the target, and clears what an interrupted run left in it.
    pub(super) fn open(path: &Path, source: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        // Before anything is made: the source stays as it is.
        let there = path.ancestors().find_map(|above| {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match std::fs::canonicalize(above) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                there => Some(there),
            }
        });
        if let Some(Ok(there)) = there
            && there.starts_with(source)
        {
            return Err(says(&there, "lies in the source; choose a place outside"));
        }
        at(path, std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path))?;
        let root = at(path, std::fs::canonicalize(path))?;
        let parts = root.join(PART_DIR);
        let lock = lock(&root, &parts)?;
        for entry in at(&parts, std::fs::read_dir(&parts))? {
            let entry = at(&parts, entry)?;
            let path = entry.path();
            let is_dir = at(&path, entry.file_type())?.is_dir();
            let remove = if is_dir { std::fs::remove_dir_all } else { std::fs::remove_file };
            at(&path, remove(&path))?;
        }
        let parent = root.parent().filter(|_| is_new).map(Path::to_owned);
        let dresser = at(&parts, Dresser::new(&parts.join("0")))?;
        Ok(Self {
            parts,
            lock,
            dresser,
            syncs_as_one: tells_errors(),
            n_parts: 0,
            stage: Stage::default(),
            touched: parent.into_iter().chain([root.clone()]).collect(),
            root,
            made: HashSet::new(),
            directories: Vec::new(),
            first_links: HashMap::new(),
            later_links: Vec::new(),
        })
    }

    /// Makes everything durable that was written to the target's file system; false when that cannot
    /// be said. Linux tells an error of any of its files to who has one open since before.
    pub(super) fn sync_file_system(&mut self) -> bool {
        #[cfg(target_os = "linux")]
        let is_synced = self.syncs_as_one && rustix::fs::syncfs(&self.lock).is_ok();
        #[cfg(not(target_os = "linux"))]
        let is_synced = false;
        self.syncs_as_one = is_synced;
        is_synced
    }

    /// A name for something that is not complete.
    pub(super) fn part(&mut self) -> PathBuf {
        next_part(&self.parts, &mut self.n_parts)
    }

    /// The same, as a name in the directory of parts.
    pub(super) fn part_of_parts(&mut self) -> (&Path, OsString) {
        self.n_parts += 1;
        (&self.parts, self.n_parts.to_string().into())
    }

    pub(super) fn place(&self, relative: &Path) -> PathBuf {
        place_of(&self.root, relative)
    }

    /// True for a file of which another name was met: a link is made in the end.
    pub(super) fn is_later_link(&mut self, entry: &Entry) -> bool {
        if entry.metadata.nlink() < 2 {
            return false;
        }
        let place = self.place(&entry.relative);
        let key = (entry.metadata.dev(), entry.metadata.ino());
        match self.first_links.get(&key) {
            Some(first) => {
                self.later_links.push((first.clone(), place));
                true
            }
            None => {
                self.first_links.insert(key, place);
                false
            }
        }
    }

    /// True when an earlier run copied this file, or compressed it where that is asked for, and it
    /// was not changed since.
    pub(super) fn has(&self, entry: &Entry, is_compressed: bool) -> bool {
        let (here, place) = (&entry.metadata, self.place(&entry.relative));
        if place.parent().is_some_and(|dir| self.made.contains(dir)) {
            return false;
        }
        let Ok(there) = std::fs::symlink_metadata(&place) else { return false };
        let is_same = there.is_file()
            && (there.mtime(), there.mtime_nsec()) == (here.mtime(), here.mtime_nsec());
        let is_as_long = there.len() == here.len();
        if !is_same || !is_compressed {
            return is_same && is_as_long;
        }
        match SegmentReader::open(&place) {
            Ok(copy) if copy.is_sealed() => pack::is_packed(&copy),
            _ => is_as_long,
        }
    }

    pub(super) fn make_dir(&mut self, entry: &Entry) -> io::Result<Done> {
        let place = self.place(&entry.relative);
        let is_root = entry.relative.as_os_str().is_empty();
        let made = self.make_new_dir(&place);
        let done = match made {
            Ok(()) => {
                self.touch(&place);
                self.made.insert(place.clone());
                self.touched.insert(place.clone());
                Done::Made
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // The target itself may be named through a link; nothing below it is followed.
                let staged = self.stage.find(&place);
                let lies = staged.as_deref().unwrap_or(&place);
                if !is_root && !std::fs::symlink_metadata(lies)?.is_dir() {
                    return Err(says(&place, "is no directory; move it out of the way"));
                }
                // Its mode comes in the end; an earlier run may have made it read-only.
                std::fs::set_permissions(lies, std::fs::Permissions::from_mode(0o700))?;
                Done::WasThere
            }
            Err(error) => return Err(error),
        };
        self.directories.push((place, entry.metadata.clone()));
        Ok(done)
    }

    /// True for a directory in which paths might be too long for the system as long as those above it
    /// have no names, and only as long.
    pub(super) fn is_too_deep(&self, found: &Found) -> bool {
        let Found::Entry(entry @ Entry { kind: Kind::Directory, .. }) = found else { return false };
        let place = self.place(&entry.relative);
        let len = |path: &Path| path.as_os_str().len();
        self.stage.find(&place).is_some_and(|lies| {
            len(&lies) > len(&place) && len(&lies) + "/".len() + NAME_MAX >= PATH_MAX
        })
    }

    /// Makes a directory, for a time without its name where short files are synced together.
    fn make_new_dir(&mut self, place: &Path) -> io::Result<()> {
        let is_in_stage = self.stage.find(place).is_some();
        let is_new = || {
            let there = std::fs::symlink_metadata(place);
            there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if is_in_stage || self.syncs_as_one && is_new() {
            let Self { stage, parts, n_parts, .. } = self;
            return stage.make(place, || next_part(parts, n_parts));
        }
        std::fs::DirBuilder::new().mode(0o700).create(place)
    }

    /// Gives directories their names that have none yet. All in them is synced.
    pub(super) fn publish_directories(&mut self, shared: &Shared<'_>) {
        for (place, error) in self.stage.publish() {
            shared.fail(&place, error);
            if !place.is_dir() {
                self.touched.retain(|dir| !dir.starts_with(&place));
                self.directories.retain(|(dir, _)| !dir.starts_with(&place));
            }
        }
    }

    /// Where the copies of a directory's files are made while it has no name.
    pub(super) fn dirs_of_new(&self, entry: &Entry) -> Option<Dirs> {
        let place = self.place(&entry.relative);
        let parts = self.stage.of(&place)?.to_owned();
        Some(Dirs { from: entry.path.clone(), place, parts })
    }

    /// True for what lies in a directory that has no name yet.
    pub(super) fn is_staged(&self, place: &Path) -> bool {
        self.stage.find(place).is_some()
    }

    pub(super) fn make_symlink(&mut self, entry: &Entry) -> io::Result<Done> {
        let to = std::fs::read_link(&entry.path)?;
        let place = self.place(&entry.relative);
        if std::fs::read_link(&place).is_ok_and(|there| there == to) {
            return Ok(Done::WasThere);
        }
        let part = self.part();
        std::os::unix::fs::symlink(&to, &part)?;
        if self.dresser.is_root {
            let (uid, gid) = owners(&entry.metadata);
            rustix::fs::chownat(CWD, &part, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(CWD, &part, &times(&entry.metadata), AtFlags::SYMLINK_NOFOLLOW)?;
        self.publish(&part, &place)?;
        Ok(Done::Made)
    }

    /// Gives something complete its name (A1).
    pub(super) fn publish(&mut self, part: &Path, place: &Path) -> io::Result<()> {
        crate::crash::crash_point!("archive.rename");
        let staged = self.stage.find(place);
        let renamed = std::fs::rename(part, staged.as_deref().unwrap_or(place));
        if renamed.is_err() {
            let _ = std::fs::remove_file(part);
        }
        self.touch(place);
        crate::crash::crash_point!("archive.renamed");
        at(place, renamed)
    }

    /// Makes the links to files that are there by now.
    pub(super) fn link_all(&mut self, shared: &Shared<'_>) {
        for (first, place) in std::mem::take(&mut self.later_links) {
            match self.link(&first, &place) {
                Ok(Done::WasThere) => add(&shared.counters.skipped, 1),
                Ok(_) => add(&shared.counters.links, 1),
                Err(error) => shared.fail(&place, error),
            }
        }
    }

    fn link(&mut self, first: &Path, place: &Path) -> io::Result<Done> {
        let there = std::fs::symlink_metadata(place);
        let here = std::fs::symlink_metadata(first)?;
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            return Ok(Done::WasThere);
        }
        let part = self.part();
        std::fs::hard_link(first, &part)?;
        self.publish(&part, place)?;
        Ok(Done::Made)
    }

    /// Syncs the names, gives directories their modes and times, the inner ones first (A2), and
    /// removes the directory of parts.
    pub(super) fn finish(&mut self, shared: &Shared<'_>) -> io::Result<()> {
        crate::crash::crash_point!("archive.finish");
        at(&self.parts, std::fs::remove_dir(&self.parts))?;
        let open = |path: &Path| {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        for (place, metadata) in self.directories.iter().rev() {
            let dressed = open(place).map_err(io::Error::from);
            if let Err(error) = dressed.and_then(|dir| self.dresser.dress(dir.as_fd(), metadata)) {
                shared.fail(place, error);
            }
            self.touched.insert(place.clone());
        }
        for dir in self.touched.iter().rev() {
            at(dir, open(dir).and_then(rustix::fs::fsync).map_err(Into::into))?;
        }
        Ok(())
    }

    fn touch(&mut self, place: &Path) {
        let Some(dir) = place.parent() else { return };
        if !self.touched.contains(dir) {
            self.touched.insert(dir.to_owned());
        }
    }
}

/// Gives copies what else their sources have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dresser {
    is_root: bool,
    /// What a new file gets by itself: its owners, and of all modes those bits.
    new_owners: (u32, u32),
    new_mode: u32,
}

impl Dresser {
    /// Makes a file and removes it, to see what new files have.
    fn new(probe: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(MODE_BITS).open(probe)?;
        let metadata = file.metadata()?;
        std::fs::remove_file(probe)?;
        Ok(Self {
            is_root: rustix::process::geteuid().is_root(),
            new_owners: (metadata.uid(), metadata.gid()),
            new_mode: metadata.mode() & MODE_BITS,
        })
    }

    /// The mode that a copy is made with: nobody else finds it before it has its name.
    pub(super) fn first_mode(self, metadata: &Metadata) -> u32 {
        metadata.mode() & self.new_mode
    }

    /// Gives a copy that was made with its [first mode](Self::first_mode) what it lacks.
    pub(super) fn dress_new(self, file: BorrowedFd<'_>, metadata: &Metadata) -> io::Result<()> {
        let is_right = !self.is_root || self.new_owners == (metadata.uid(), metadata.gid());
        if is_right && self.mode(metadata).as_raw_mode() == self.first_mode(metadata) {
            return Ok(rustix::fs::futimens(file, &times(metadata))?);
        }
        self.dress(file, metadata)
    }

    /// Gives a file its owner, mode and times.
    pub(super) fn dress(self, file: BorrowedFd<'_>, metadata: &Metadata) -> io::Result<()> {
        if self.is_root {
            let (uid, gid) = owners(metadata);
            rustix::fs::fchown(file, uid, gid)?;
        }
        rustix::fs::fchmod(file, self.mode(metadata))?;
        Ok(rustix::fs::futimens(file, &times(metadata))?)
    }

    fn mode(self, metadata: &Metadata) -> Mode {
        let bits = if self.is_root { MODE_BITS_OF_ROOT } else { MODE_BITS };
        Mode::from_raw_mode(metadata.mode() & bits)
    }
}

/// Makes the directory of parts if need be, and locks it.
fn lock(root: &Path, parts: &Path) -> io::Result<File> {
    loop {
        match at(parts, make_parts(root, parts)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits() as i32;
        let lock = match File::options().read(true).custom_flags(flags).open(parts) {
            // Whoever had it has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => at(parts, lock)?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(says(root, "is being written by another run; wait for it"));
            }
            Err(error) => return at(parts, Err(error.into())),
        }
        // It may have been removed before it was locked: another run has the next one.
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let locked = at(parts, lock.metadata()).map(id)?;
        if std::fs::symlink_metadata(parts).is_ok_and(|there| id(there) == locked) {
            return Ok(lock);
        }
    }
}

/// Makes the directory of parts, also in a target that a run before this one has left read-only.
fn make_parts(root: &Path, parts: &Path) -> io::Result<()> {
    let make = || std::fs::DirBuilder::new().mode(0o700).create(parts);
    let made = make();
    let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    if made.as_ref().is_err_and(is_refused) {
        // Its mode comes in the end.
        let mode = std::fs::metadata(root)?.mode() | 0o700;
        if std::fs::set_permissions(root, std::fs::Permissions::from_mode(mode)).is_ok() {
            return make();
        }
    }
    made
}

fn next_part(parts: &Path, n_parts: &mut u64) -> PathBuf {
    *n_parts += 1;
    parts.join(n_parts.to_string())
}

/// True where a sync of a file system tells what failed: Linux before 5.8 passes over it.
fn tells_errors() -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next()) >= (5, 8)
}

fn owners(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = |tv_sec, tv_nsec: i64| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    }
}
