//! Sim disk: a disk in memory for tests, that fails on command and can be cut off at any moment.
//!
//! It keeps a journal of what it was asked for. An [`image`](SimDisk::image) is what a real disk may
//! hold after a power cut behind any entry of the journal: what was synced, and of the rest any
//! sectors, sizes and names. It may be made full at any byte. A sync that fails loses what it was about, as Linux does: a later one
//! that succeeds does not bring it back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::{DIRECT_ALIGN, Disk, DiskFile, DiskQueue, Ended, IoFd, LentBuffer};

const SECTOR_BYTES: u64 = 512;

/// What a power cut is about.
#[derive(Debug, Clone)]
enum Entry {
    Create {
        file: usize,
        path: PathBuf,
    },
    Write {
        file: usize,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Grow {
        file: usize,
        len: u64,
    },
    Cut {
        file: usize,
        len: u64,
    },
    /// Of what stands before entry `until`.
    Sync {
        file: usize,
        ok: bool,
        until: usize,
    },
    SyncDir,
    Unlink {
        path: PathBuf,
    },
    Mark(u64),
}

/// An operation that fails: the n-th of all, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) nth: u64,
    /// How many fail in a row.
    pub(crate) times: u64,
    /// The error number; writes of 0 are short instead.
    pub(crate) errno: i32,
    /// Only syncs count.
    pub(crate) syncs: bool,
}

#[derive(Debug, Default)]
struct State {
    journal: Vec<Entry>,
    names: BTreeMap<PathBuf, usize>,
    lens: Vec<u64>,
    fds: HashMap<i32, usize>,
    fault: Option<Fault>,
    /// Bytes that there is room for, and what is said when there is none.
    room: Option<(u64, i32)>,
    n_ops: u64,
    n_failed: u64,
    /// Syncs that ended after something was written to their files that they are not about.
    n_beside: u64,
    seed: u64,
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

/// Xorshift; a number below `end`.
pub(crate) fn random(seed: &mut u64, end: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 11) % end.max(1)
}

impl State {
    /// Counts an operation; an error when this is the one that fails.
    fn step(&mut self, is_sync: bool) -> Result<(), i32> {
        let Some(fault) = self.fault.filter(|fault| is_sync || !fault.syncs) else { return Ok(()) };
        let nth = self.n_ops;
        self.n_ops += 1;
        if (fault.nth..fault.nth + fault.times).contains(&nth) {
            self.n_failed += 1;
            return Err(fault.errno);
        }
        Ok(())
    }

    /// Counts an operation that takes room, however little, which a disk refuses that is about to
    /// be full.
    fn step_for_room(&mut self) -> io::Result<()> {
        if let Some((_, errno)) = self.room {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.step(false).map_err(io::Error::from_raw_os_error)
    }

    fn write(&mut self, file: usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut n = match self.step(false) {
            Ok(()) => bytes.len(),
            Err(0) => bytes.len() / 2 / SECTOR_BYTES as usize * SECTOR_BYTES as usize,
            Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
        };
        if let Some((left, errno)) = &mut self.room {
            if *left == 0 {
                self.n_failed += 1;
                return Err(io::Error::from_raw_os_error(*errno));
            }
            n = n.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= n as u64;
        }
        self.journal.push(Entry::Write { file, offset, bytes: bytes[..n].into() });
        self.lens[file] = self.lens[file].max(offset + n as u64);
        Ok(n)
    }
}

impl SimDisk {
    /// A disk with this fault.
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let state = State { seed: seed | 1, fault, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A queue of writes that end in any order.
    pub(crate) fn queue(&self) -> SimQueue {
        SimQueue { disk: self.clone(), next: 0, flying: VecDeque::new(), syncs: Vec::new() }
    }

    /// From now on there is room for so many bytes: the last write is cut, and what needs room
    /// behind it is refused with this error, until there is room again for `None`.
    pub(crate) fn set_room(&self, room: Option<(u64, i32)>) {
        self.0.lock().room = room;
    }

    /// Notes in the journal that something is promised from here on.
    pub(crate) fn mark(&self, value: u64) {
        self.0.lock().journal.push(Entry::Mark(value));
    }

    /// Entries of the journal, operations that were counted, and how many of them failed.
    pub(crate) fn counts(&self) -> (usize, u64, u64) {
        let state = self.0.lock();
        (state.journal.len(), state.n_ops, state.n_failed)
    }

    /// How many syncs went on beside writes to the same file.
    pub(crate) fn n_beside(&self) -> u64 {
        self.0.lock().n_beside
    }

    /// What a reader sees now: files by name, with all that was written to them.
    pub(crate) fn seen(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.0.lock();
        let mut files = vec![Vec::new(); state.lens.len()];
        for entry in &state.journal {
            if let Entry::Write { file, .. } | Entry::Grow { file, .. } | Entry::Cut { file, .. } =
                entry
            {
                apply(&mut files[*file], entry, |_| true);
            }
        }
        let named = state.names.iter();
        named.map(|(path, file)| (path.clone(), std::mem::take(&mut files[*file]))).collect()
    }

    /// What the disk may hold after a power cut behind `n` entries of the journal: files by name,
    /// and the last mark. A seed of 0 keeps nothing that was not synced, another any part of it.
    pub(crate) fn image(&self, n: usize, seed: u64) -> (BTreeMap<PathBuf, Vec<u8>>, u64) {
        let state = self.0.lock();
        let mut files: Vec<SimImage> = Vec::new();
        let (mut synced, mut names) = (BTreeMap::new(), Vec::new());
        let mut mark = 0;
        for (at, entry) in state.journal[..n].iter().enumerate() {
            match entry {
                Entry::Create { file, path } => {
                    files.resize_with(files.len().max(file + 1), SimImage::default);
                    names.push((path.clone(), Some(*file)));
                }
                Entry::Unlink { path } => names.push((path.clone(), None)),
                Entry::Write { file, .. } | Entry::Grow { file, .. } | Entry::Cut { file, .. } => {
                    files[*file].pending.push((at, entry));
                }
                Entry::Sync { file, ok, until } => files[*file].sync(*ok, *until),
                Entry::SyncDir => synced.extend(names.drain(..)),
                Entry::Mark(value) => mark = *value,
            }
        }
        let mut seed = seed;
        for (path, file) in names {
            if seed > 0 && random(&mut seed, 2) == 0 {
                synced.insert(path, file);
            }
        }
        let named = synced.into_iter().filter_map(|(path, file)| Some((path, file?)));
        (named.map(|(path, file)| (path, files[file].cut_off(&mut seed))).collect(), mark)
    }
}

/// One file as a power cut finds it.
#[derive(Default)]
struct SimImage<'a> {
    durable: Vec<u8>,
    /// With their places in the journal.
    pending: Vec<(usize, &'a Entry)>,
}

impl SimImage<'_> {
    fn sync(&mut self, ok: bool, until: usize) {
        for (_, entry) in self.pending.extract_if(.., |(at, _)| *at < until) {
            match entry {
                // Its pages are clean now, whatever became of them.
                Entry::Write { .. } if !ok => {}
                entry => apply(&mut self.durable, entry, |_| true),
            }
        }
    }

    fn cut_off(&self, seed: &mut u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if *seed == 0 {
            return bytes;
        }
        for (_, entry) in &self.pending {
            // All, nothing, or any sectors.
            match random(seed, 4) {
                0 => {}
                1 => apply(&mut bytes, entry, |_| true),
                _ => apply(&mut bytes, entry, |_| random(seed, 2) == 0),
            }
        }
        bytes
    }
}

fn apply(file: &mut Vec<u8>, entry: &Entry, mut keeps: impl FnMut(u64) -> bool) {
    match entry {
        Entry::Write { offset, bytes, .. } => {
            let end = *offset as usize + bytes.len();
            file.resize(file.len().max(end), 0);
            let mut at = 0;
            while at < bytes.len() {
                let place = *offset + at as u64;
                let len = (SECTOR_BYTES - place % SECTOR_BYTES).min((bytes.len() - at) as u64);
                if keeps(place) {
                    file[place as usize..][..len as usize]
                        .copy_from_slice(&bytes[at..][..len as usize]);
                }
                at += len as usize;
            }
        }
        Entry::Grow { len, .. } if keeps(0) => file.resize(file.len().max(*len as usize), 0),
        Entry::Cut { len, .. } if keeps(0) => file.resize(*len as usize, 0),
        _ => {}
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step_for_room()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.lens.len();
        state.lens.push(0);
        state.names.insert(path.to_owned(), file);
        state.journal.push(Entry::Create { file, path: path.to_owned() });
        Ok(SimFile::open(self, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = *self.0.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile::open(self, file))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step(false).map_err(io::Error::from_raw_os_error)?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.journal.push(Entry::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step(true).map_err(io::Error::from_raw_os_error)?;
        state.journal.push(Entry::SyncDir);
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
    is_direct: AtomicBool,
}

impl SimFile {
    fn open(disk: &SimDisk, file: usize) -> Box<dyn DiskFile> {
        Box::new(Self { disk: disk.clone(), file, is_direct: AtomicBool::new(false) })
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), (usize, io::Error)> {
        let is_aligned = (bytes.as_ptr() as usize).is_multiple_of(DIRECT_ALIGN)
            && bytes.len().is_multiple_of(DIRECT_ALIGN)
            && offset.is_multiple_of(DIRECT_ALIGN as u64);
        // ord: Relaxed, the file thread's own.
        if self.is_direct.load(Ordering::Relaxed) && !is_aligned {
            return Err((0, io::Error::from_raw_os_error(libc::EINVAL)));
        }
        let mut state = self.disk.0.lock();
        let n = state.write(self.file, bytes, offset).map_err(|error| (0, error))?;
        if n < bytes.len() {
            let errno = state.room.map_or(libc::ENOSPC, |(_, errno)| errno);
            state.n_failed += u64::from(state.room.is_some());
            return Err((n, io::Error::from_raw_os_error(errno)));
        }
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step_for_room()?;
        state.lens[self.file] = state.lens[self.file].max(len);
        state.journal.push(Entry::Grow { file: self.file, len });
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step(false).map_err(io::Error::from_raw_os_error)?;
        state.lens[self.file] = len;
        state.journal.push(Entry::Cut { file: self.file, len });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let (result, until) = (state.step(true), state.journal.len());
        state.journal.push(Entry::Sync { file: self.file, ok: result.is_ok(), until });
        result.map_err(io::Error::from_raw_os_error)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().lens[self.file])
    }

    fn is_linked(&self) -> bool {
        self.disk.0.lock().names.values().any(|&file| file == self.file)
    }

    fn is_named(&self, path: &Path) -> bool {
        self.disk.0.lock().names.get(path) == Some(&self.file)
    }

    fn set_direct(&self, direct: bool) -> io::Result<()> {
        // ord: Relaxed, as in `write_at`.
        self.is_direct.store(direct, Ordering::Relaxed);
        Ok(())
    }

    fn fd(&self) -> io::Result<IoFd> {
        let null = IoFd::from(std::fs::File::open("/dev/null")?);
        let number = null.as_fd().expect("it owns one").as_raw_fd();
        self.disk.0.lock().fds.insert(number, self.file);
        Ok(null)
    }
}

/// Writes of a [`SimDisk`] that are in flight: they reach it at once, and end in any order. A sync
/// is about what had ended when it began, and the disk has done nothing for it before it ends.
#[derive(Debug)]
pub(crate) struct SimQueue {
    disk: SimDisk,
    next: u64,
    flying: VecDeque<Ended>,
    syncs: Vec<SimSync>,
}

/// A sync that goes on.
#[derive(Debug)]
struct SimSync {
    id: u64,
    file: usize,
    /// It is about what stands before this entry of the journal.
    until: usize,
    /// It ends when so many looks have been taken at what has ended.
    n_looks: u64,
    result: Result<(), i32>,
}

/// How many looks a sync takes, and how long one is where nothing has ended.
const SYNC_LOOKS_MAX: u64 = 30;
const LOOK: Duration = Duration::from_micros(200);

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

impl DiskQueue for SimQueue {
    fn begin(
        &mut self,
        fd: &IoFd,
        bytes: LentBuffer,
        offset: u64,
    ) -> Result<u64, (LentBuffer, io::Error)> {
        assert!(offset.is_multiple_of(4096) && bytes.bytes().len().is_multiple_of(4096));
        let number = fd.as_fd().expect("it owns one").as_raw_fd();
        let mut state = self.disk.0.lock();
        let file = state.fds[&number];
        let result = state.write(file, bytes.bytes(), offset);
        self.next += 1;
        self.flying.push_back(Ended { id: self.next, result, bytes: Some(bytes) });
        Ok(self.next)
    }

    fn begin_sync(&mut self, fd: &IoFd) -> io::Result<u64> {
        let number = fd.as_fd().expect("it owns one").as_raw_fd();
        let mut state = self.disk.0.lock();
        let (file, until) = (state.fds[&number], state.journal.len());
        let n_looks = random(&mut state.seed, SYNC_LOOKS_MAX);
        let result = state.step(true);
        self.next += 1;
        self.syncs.push(SimSync { id: self.next, file, until, n_looks, result });
        Ok(self.next)
    }

    fn reap(&mut self, timeout: Option<Duration>, out: &mut Vec<Ended>) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let least = usize::from(timeout.is_none()).min(self.flying.len());
        let n = random(&mut state.seed, self.flying.len() as u64 + 1) as usize;
        for _ in 0..n.max(least) {
            let at = random(&mut state.seed, self.flying.len() as u64) as usize;
            out.extend(self.flying.remove(at));
        }
        for sync in &mut self.syncs {
            sync.n_looks = sync.n_looks.saturating_sub(1);
        }
        for sync in self.syncs.extract_if(.., |sync| sync.n_looks == 0) {
            let SimSync { id, file, until, result, .. } = sync;
            let is_later =
                |entry: &Entry| matches!(entry, Entry::Write { file: of, .. } if *of == file);
            state.n_beside += u64::from(state.journal[until..].iter().any(is_later));
            state.journal.push(Entry::Sync { file, ok: result.is_ok(), until });
            let result = result.map(|()| 0).map_err(io::Error::from_raw_os_error);
            out.push(Ended { id, result, bytes: None });
        }
        drop(state);
        if timeout.is_none() && out.is_empty() {
            // As after a call of the waker; a thread that logs gets on meanwhile.
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::new(Nobody))
    }
}
