//! Place: the directory in shared memory that holds a logger's lanes, staging and definitions.
//!
//! # Layout
//!
//! ```text
//! <base>/ttlog-<uid>-<logger id>/      0700, base is /dev/shm or a directory of the user's choice
//!   owner      who it belongs to, and the lock (S8)
//!   anchors    moments on three clocks
//!   callsites  definitions, appended before their id is used (S11)
//!   lane-<n>   a lane       staging-<n>  a block that is being filled or written
//!   recorder-<n>            a lane of the flight recorder, which never comes to a segment
//! ```
//!
//! Where there is no room the same structures lie in private memory, and end with the process.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};

use super::memory::{HEADER_BYTES, Memory};
pub(crate) use super::places::{open_hinted, remove, remove_unfinished};
use super::places::{lock_empty, remove_by, remove_opened};
use super::room;
use super::owner::{LanesHint, Owner};
use crate::record::Anchor;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Name of the owner file within a place.
pub(crate) const OWNER_NAME: &str = "owner";
/// What the names of lanes begin with.
pub(crate) const LANE_PREFIX: &str = "lane-";
/// What the names of a flight recorder's lanes begin with.
pub(crate) const RECORDER_PREFIX: &str = "recorder-";
/// Where places lie unless the user chose otherwise.
pub(crate) const SHARED_MEMORY: &str = "/dev/shm";
/// Room for definitions that is reserved ahead.
const CALLSITES_AHEAD_BYTES: u64 = 64 << 10;
/// The table of definitions takes at most this much, which a reader holds in memory.
pub(super) const CALLSITES_BYTES_MAX: u64 = 16 << 20;
/// How often a directory is made anew that somebody took for a leftover.
const TRIES: usize = 50;
/// Anchors kept at most; more are thinned.
pub(super) const ANCHORS_MAX: usize = 128;

/// Words of the file `anchors`.
pub(crate) mod anchors_word {
    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const COUNT: usize = 1;
    pub(crate) const FIRST: usize = 16;
    const _: () = assert!(FIRST + 3 * super::ANCHORS_MAX <= super::super::memory::HEADER_WORDS);
}

/// Where the user wants lanes to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LanesChoice {
    /// A directory of `/dev/shm`, private memory when there is no room.
    Shared,
    /// A directory below this one.
    In(PathBuf),
    /// Private memory.
    Private,
}

impl LanesChoice {
    /// The directory in which places are made, if any.
    pub(crate) fn base(&self) -> Option<&Path> {
        match self {
            Self::Shared => Some(Path::new(SHARED_MEMORY)),
            Self::In(dir) => Some(dir),
            Self::Private => None,
        }
    }
}

/// A logger's place.
#[derive(Debug)]
pub(crate) struct Place {
    /// `None` in private memory.
    path: Option<PathBuf>,
    state: Arc<RwLock<Arc<State>>>,
    /// How often it was made again.
    round: Arc<AtomicU64>,
    /// The lanes here are the recorder's, beside those of the place that was made.
    is_recorder: bool,
    /// Why it could not be made again, when it could not.
    gone: Mutex<Option<String>>,
    pub(super) kept: Mutex<Vec<Anchor>>,
    bytes_max: u64,
    bytes_used: AtomicU64,
}

/// What lies under the place's name, or did until somebody removed it.
#[derive(Debug)]
struct State {
    dir: Option<Dir>,
    anchors: Memory,
}

#[derive(Debug)]
struct Dir {
    fd: OwnedFd,
    callsites: Mutex<Callsites>,
    lock: Mutex<Option<File>>,
}

/// The table of definitions, with room reserved ahead: shared memory that fills up later must not
/// make what lanes hold undecodable.
#[derive(Debug)]
struct Callsites {
    file: File,
    len: u64,
    reserved: u64,
}

impl Callsites {
    fn new(file: File) -> io::Result<Self> {
        let mut callsites = Self { file, len: 0, reserved: 0 };
        callsites.reserve(CALLSITES_AHEAD_BYTES)?;
        Ok(callsites)
    }

    /// Reserves room for `ahead` bytes behind what is there.
    fn reserve(&mut self, ahead: u64) -> io::Result<()> {
        let step = (self.len + ahead).saturating_sub(self.reserved);
        if step == 0 {
            return Ok(());
        }
        // Readers take the file's length for the table's, so that it must not grow by this.
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.reserved, step)
        })?;
        self.reserved += step;
        Ok(())
    }

    fn append(&mut self, definition: &[u8]) -> io::Result<()> {
        if self.len + definition.len() as u64 > CALLSITES_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // All of it, or nothing that a reader would see the start of.
        self.reserve(definition.len() as u64)?;
        self.file.write_all_at(definition, self.len)?;
        self.len += definition.len() as u64;
        if self.len + CALLSITES_AHEAD_BYTES / 2 > self.reserved {
            // A refusal matters to the definition that finds no room.
            let _ = self.reserve(CALLSITES_AHEAD_BYTES);
        }
        Ok(())
    }
}

impl Place {
    /// Makes the place of this logger; with it the reason why it is private though it should not
    /// be. `bytes_max` bounds what the place may take, `bytes_min` is what a logger needs at least.
    pub(crate) fn create(
        choice: &LanesChoice,
        logger: u64,
        bytes_max: u64,
        bytes_min: u64,
    ) -> io::Result<(Self, Option<String>)> {
        let Some(base) = choice.base() else { return Ok((Self::private(bytes_max)?, None)) };
        match Self::shared(base, logger, bytes_max, bytes_min) {
            Ok(place) => Ok((place, None)),
            Err(error) => {
                let why = format!("no room for lanes in {}: {error}", base.display());
                Ok((Self::private(bytes_max)?, Some(why)))
            }
        }
    }

    fn private(bytes_max: u64) -> io::Result<Self> {
        let bytes_max = bytes_max.min(room::memory_left().unwrap_or(u64::MAX) / 8);
        let state = State { dir: None, anchors: Memory::private(0)? };
        Ok(Self::of(None, state, bytes_max))
    }

    fn of(path: Option<PathBuf>, state: State, bytes_max: u64) -> Self {
        Self {
            path,
            state: Arc::new(RwLock::new(Arc::new(state))),
            round: Arc::new(AtomicU64::new(0)),
            is_recorder: false,
            gone: Mutex::new(None),
            kept: Mutex::new(Vec::new()),
            bytes_max,
            bytes_used: AtomicU64::new(0),
        }
    }

    fn state(&self) -> Arc<State> {
        self.state.read().clone()
    }

    /// The same place for the lanes of a flight recorder, which take up to `bytes_max` beside what
    /// the others take. An error when that is more than may be used, or in private memory, where
    /// nobody could read them.
    pub(crate) fn for_recorder(&self, bytes_max: u64) -> io::Result<Self> {
        let Some(base) = self.path.as_deref().and_then(Path::parent) else {
            let what = "lanes lie in private memory, where nobody could read what it keeps";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        };
        room::for_recorder(base, bytes_max)?;
        Ok(Self {
            path: self.path.clone(),
            state: self.state.clone(),
            round: self.round.clone(),
            is_recorder: true,
            gone: Mutex::new(None),
            kept: Mutex::new(Vec::new()),
            bytes_max,
            bytes_used: AtomicU64::new(0),
        })
    }

    /// True where the lanes are the recorder's.
    pub(crate) fn is_recorder(&self) -> bool {
        self.is_recorder
    }

    /// Name of a lane's file.
    pub(crate) fn lane_file(&self, id: u32) -> String {
        format!("{}{id}", if self.is_recorder { RECORDER_PREFIX } else { LANE_PREFIX })
    }

    fn shared(base: &Path, logger: u64, bytes_max: u64, bytes_min: u64) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(base)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let bytes_max = bytes_max.min(free / 4).min(room::memory_left().unwrap_or(u64::MAX) / 8);
        if bytes_max < bytes_min {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} KiB free, of which a quarter may be used", free >> 10),
            ));
        }
        let path = base.join(name(logger));
        let made = Self::make_dir(&path).and_then(Self::fill);
        if made.is_err() {
            remove(&path);
        }
        Ok(Self::of(Some(path), made?, bytes_max))
    }

    /// Makes the directory, and locks it until its owner file is there: one that is not locked and
    /// has no owner file was left by a process that died in between.
    fn make_dir(path: &Path) -> io::Result<OwnedFd> {
        for _ in 0..TRIES {
            match std::fs::DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if let Some(fd) = lock_empty(path)? {
                return Ok(fd);
            }
            // Who took it for a leftover removes it this very moment.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn fill(fd: OwnedFd) -> io::Result<State> {
        let anchors = Memory::shared(&fd, Path::new("anchors"), 0)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let callsites = rustix::fs::openat(&fd, "callsites", flags, Mode::RUSR | Mode::WUSR)?;
        let callsites = Mutex::new(Callsites::new(File::from(callsites))?);
        Ok(State { dir: Some(Dir { fd, callsites, lock: Mutex::new(None) }), anchors })
    }

    /// The directory; `None` in private memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Why what lies here does not outlive the process any more, though it should.
    pub(crate) fn gone(&self) -> Option<String> {
        self.gone.lock().clone()
    }

    /// Changes when the place was made again: memory from before has no name any more.
    pub(crate) fn round(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `make_again`: what is made now has a name.
        self.round.load(Ordering::Acquire)
    }

    /// True when somebody removed the place, or its owner file, under its logger.
    pub(crate) fn is_removed(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let state = self.state();
        let Some(dir) = &state.dir else { return false };
        let lock = dir.lock.lock();
        lock.as_ref().is_some_and(|lock| lock.metadata().is_ok_and(|meta| meta.nlink() == 0))
    }

    /// Makes a place again that was removed (S8): a new directory under its name, with what its
    /// readers need to know. Lanes and staging are the caller's affair. `owner` becomes what its
    /// owner file says now. On an error `gone` tells why.
    pub(crate) fn make_again(&self, owner: &mut Owner) -> io::Result<()> {
        let made = self.try_make_again(owner);
        let why = |error| format!("the place of the lanes was removed, and not made again: {error}");
        *self.gone.lock() = made.as_ref().err().map(why);
        made
    }

    fn try_make_again(&self, owner: &mut Owner) -> io::Result<()> {
        let old = self.state();
        let (Some(path), Some(dir)) = (&self.path, &old.dir) else { return Ok(()) };
        // What is left of it is in the way, and would be nobody's.
        remove_opened(&dir.fd, path);
        // So is what a try left that failed half-way, say for want of room.
        let _ = remove_unfinished(path);
        let new = Arc::new(Self::fill(Self::make_dir(path)?)?);
        let new_dir = new.dir.as_ref().expect("it was just made");
        // Held until the new table takes its place, so that no definition falls between.
        let defined = dir.callsites.lock();
        let mut table = vec![0; defined.len as usize];
        defined.file.read_exact_at(&mut table, 0)?;
        new_dir.callsites.lock().append(&table)?;
        let stat = rustix::fs::fstat(&new_dir.fd)?;
        let (device, inode) = (stat.st_dev, stat.st_ino);
        owner.lanes = Some(LanesHint { path: path.clone(), device, inode });
        new_dir.publish(path, owner)?;
        let kept = self.kept.lock();
        Self::write_anchors(&new.anchors, &kept, 0);
        *self.state.write() = new;
        drop((kept, defined));
        if let Some(lock) = dir.lock.lock().take() {
            super::process::close_kept(lock);
        }
        // ord: Release, pairs with the Acquire in `round`.
        self.round.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What the owner file in the log directory says of it.
    pub(crate) fn hint(&self) -> io::Result<Option<LanesHint>> {
        let state = self.state();
        let (Some(path), Some(dir)) = (&self.path, &state.dir) else { return Ok(None) };
        let stat = rustix::fs::fstat(&dir.fd)?;
        Ok(Some(LanesHint { path: path.clone(), device: stat.st_dev, inode: stat.st_ino }))
    }

    /// Writes the owner file and keeps its lock for as long as the place lives.
    pub(crate) fn publish(&self, owner: &Owner) -> io::Result<()> {
        match (&self.path, &self.state().dir) {
            (Some(path), Some(dir)) => dir.publish(path, owner),
            _ => Ok(()),
        }
    }

    /// Memory for a lane or a staging buffer: `data_len` bytes behind a header, within the bounds.
    /// `share` is how much of the bound may be used after it, as a fraction of 4.
    pub(crate) fn memory(&self, file: &str, data_len: usize, share: u64) -> io::Result<Memory> {
        let len = (data_len + HEADER_BYTES) as u64;
        // ord: Relaxed, a counter.
        let used = self.bytes_used.fetch_add(len, Ordering::Relaxed);
        let made = if used + len > self.bytes_max / 4 * share {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else if let Some(dir) = &self.state().dir {
            Memory::shared(&dir.fd, Path::new(file), data_len)
        } else {
            Memory::private(data_len)
        };
        if made.is_err() {
            // ord: Relaxed, a counter.
            self.bytes_used.fetch_sub(len, Ordering::Relaxed);
        }
        made
    }

    /// Removes the file of memory that is not needed any more.
    pub(crate) fn forget(&self, file: &str, data_len: usize) {
        if let Some(dir) = &self.state().dir {
            let _ = rustix::fs::unlinkat(&dir.fd, file, AtFlags::empty());
        }
        self.release(data_len);
    }

    /// The same for memory whose file is gone.
    pub(crate) fn release(&self, data_len: usize) {
        // ord: Relaxed, a counter.
        self.bytes_used.fetch_sub((data_len + HEADER_BYTES) as u64, Ordering::Relaxed);
    }

    /// Bytes taken by lanes, staging and spares.
    pub(crate) fn bytes_used(&self) -> u64 {
        // ord: Relaxed, a counter.
        self.bytes_used.load(Ordering::Relaxed)
    }

    /// Appends an encoded definition to the table (S11); an error when there is no room for it.
    pub(crate) fn define(&self, definition: &[u8]) -> io::Result<()> {
        loop {
            let state = self.state();
            let Some(dir) = &state.dir else { return Ok(()) };
            let mut callsites = dir.callsites.lock();
            // Another table may have taken its place meanwhile.
            if Arc::ptr_eq(&state, &self.state.read()) {
                return callsites.append(definition);
            }
        }
    }

    /// Adds an anchor for readers from outside, and thins what there is too much of: dense for the
    /// last seconds, sparse for the hours before.
    pub(crate) fn add_anchor(&self, anchor: Anchor) {
        let mut kept = self.kept.lock();
        if kept.len() == ANCHORS_MAX {
            let mut nth = 0;
            let half = ANCHORS_MAX / 2;
            kept.retain(|_| {
                nth += 1;
                nth > half || nth % 2 == 1
            });
            kept.push(anchor);
            Self::write_anchors(&self.state().anchors, &kept, 0);
        } else {
            kept.push(anchor);
            let from = kept.len() - 1;
            Self::write_anchors(&self.state().anchors, &kept, from);
        }
    }

    fn write_anchors(anchors: &Memory, kept: &[Anchor], from: usize) {
        let sequence = anchors.word(anchors_word::SEQUENCE);
        // ord: Relaxed, a counter of this thread's own (the lock is held).
        let odd = sequence.load(Ordering::Relaxed) + 1;
        // ord: Release, before the words below for a reader that copies the page.
        sequence.store(odd, Ordering::Release);
        for (nth, anchor) in kept.iter().enumerate().skip(from) {
            let at = anchors_word::FIRST + nth * 3;
            let words = [anchor.ticks, anchor.mono_ns, anchor.wall_ns.cast_unsigned()];
            for (word, value) in words.into_iter().enumerate() {
                // ord: Release, between the two stores of the sequence.
                anchors.word(at + word).store(value, Ordering::Release);
            }
        }
        // ord: Release, as above.
        anchors.word(anchors_word::COUNT).store(kept.len() as u64, Ordering::Release);
        // ord: Release, after the words above.
        sequence.store(odd + 1, Ordering::Release);
    }

    /// The anchors that bracket these ticks: the last one before and the first one behind.
    pub(crate) fn anchors_around(&self, first_ticks: u64, last_ticks: u64) -> Vec<Anchor> {
        let kept = self.kept.lock();
        let from = kept.partition_point(|a| a.ticks <= first_ticks).saturating_sub(1);
        let to = (kept.partition_point(|a| a.ticks < last_ticks) + 1).min(kept.len());
        kept[from.min(to)..to].to_vec()
    }

    /// Removes the whole place.
    pub(crate) fn remove(&self) {
        if let (Some(path), Some(dir)) = (&self.path, &self.state().dir) {
            remove_by(&dir.fd, path);
        }
    }

    /// Lets go of the lock, so that the next adopter may take what is left.
    pub(crate) fn unlock(&self) {
        if let Some(dir) = &self.state().dir
            && let Some(lock) = dir.lock.lock().take()
        {
            super::process::close_kept(lock);
        }
    }
}

impl Dir {
    /// Writes the owner file and keeps its lock.
    fn publish(&self, path: &Path, owner: &Owner) -> io::Result<()> {
        let lock = owner.publish(path, OWNER_NAME)?;
        super::process::keep_from_children(&lock);
        *self.lock.lock() = Some(lock);
        // From now on the owner file's lock says that somebody is here.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not by its descriptor alone: children that are forked later must not touch its number.
        if !self.is_recorder {
            self.unlock();
        }
    }
}

/// Name of a logger's place.
pub(crate) fn name(logger: u64) -> String {
    format!("ttlog-{}-{logger:016x}", rustix::process::getuid().as_raw())
}
