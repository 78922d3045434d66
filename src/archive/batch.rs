//! Batch: short files that are copied by plain calls, those of one directory at a time, by the thread
//! that walks and one beside it.
//!
//! What is not in the page cache is asked for, and read when others were copied meanwhile.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Scope;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::job::{is_sparse, write_all};
use super::place::Dresser;
use super::{Counters, OPEN_FLAGS, add};
use crate::crash::crash_point;
use crate::monitor::{Condvar, Mutex};

/// Files of one directory that a thread copies in one go, and batches that wait for the other one.
const FILES_MAX: usize = 128;
const WAITING_MAX: usize = 1;
/// Files of a batch that are being read in; they are open, and so no more of them.
const SLOW_MAX: usize = 16;

/// Where files lie that are copied together.
#[derive(Debug)]
pub(super) struct Dirs {
    pub(super) from: PathBuf,
    pub(super) place: PathBuf,
    /// Where the copies are made: among the parts, each with a name for the time being, or in a
    /// directory that has no name yet, with their own.
    pub(super) parts: PathBuf,
}

/// A short file.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) dirs: Arc<Dirs>,
    pub(super) name: OsString,
    /// Its name for the time being; none where it has its own.
    pub(super) part: Option<OsString>,
}

impl Item {
    pub(super) fn path(&self) -> PathBuf {
        self.dirs.from.join(&self.name)
    }

    pub(super) fn place(&self) -> PathBuf {
        self.dirs.place.join(&self.name)
    }

    /// Where its copy is until it gets its name.
    pub(super) fn copy(&self) -> PathBuf {
        self.dirs.parts.join(self.part.as_ref().unwrap_or(&self.name))
    }
}

/// How far one came.
#[derive(Debug)]
pub(super) enum Came {
    /// All is copied, so many bytes, but for the sync.
    Copied(u64),
    /// It was removed meanwhile.
    Gone,
    /// It cannot be copied at once.
    NotAtOnce,
    Failed(io::Error),
}

/// Those that are on their way.
pub(super) struct Batches<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    copying: Copying<'env>,
    next: Vec<Item>,
    shared: Arc<Shared>,
    has_thread: Option<bool>,
    buffer: Vec<u8>,
}

/// What both threads use.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits, or the other thread is through with something.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<Item>>,
    /// True while the other thread copies.
    is_busy: bool,
    is_over: bool,
    came: Vec<(Item, Came)>,
}

impl<'scope, 'env> Batches<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        dresser: Dresser,
        counters: &'env Counters,
        len_max: usize,
    ) -> Self {
        let copying = Copying { dresser, counters, len_max };
        let shared = Arc::default();
        Self { scope, copying, next: Vec::new(), shared, has_thread: None, buffer: Vec::new() }
    }

    /// Adds a file; true when a batch went on its way.
    pub(super) fn push(&mut self, item: Item) -> bool {
        let is_of_next = |first: &Item| Arc::ptr_eq(&first.dirs, &item.dirs);
        let goes = self.next.len() >= FILES_MAX || !self.next.first().is_none_or(is_of_next);
        if goes {
            self.send();
        }
        self.next.push(item);
        goes
    }

    /// Adds a file of a directory that is there already, to be made as `part` of `parts`.
    pub(super) fn push_to(
        &mut self,
        path: &Path,
        place: &Path,
        (parts, part): (&Path, OsString),
    ) -> bool {
        let dir = |path| Path::parent(path).unwrap_or(path);
        let (from, to) = (dir(path), dir(place));
        let is_same = |dirs: &Dirs| dirs.from == from && dirs.place == to && dirs.parts == parts;
        let dirs = match self.next.first() {
            Some(first) if is_same(&first.dirs) => first.dirs.clone(),
            _ => {
                let [from, place, parts] = [from, to, parts].map(Path::to_owned);
                Arc::new(Dirs { from, place, parts })
            }
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        self.push(Item { dirs, name, part: Some(part) })
    }

    /// What came of files that are through.
    pub(super) fn settle(&mut self) -> Vec<(Item, Came)> {
        std::mem::take(&mut self.shared.state.lock().came)
    }

    /// Waits until all are through.
    pub(super) fn finish(&mut self) -> Vec<(Item, Came)> {
        self.copy_next();
        loop {
            let waiting = self.shared.state.lock().waiting.pop_front();
            let Some(items) = waiting else { break };
            self.copy(items);
        }
        let mut state = self.shared.state.lock();
        while state.is_busy {
            self.shared.changed.wait(&mut state);
        }
        std::mem::take(&mut state.came)
    }

    /// Hands a batch to the other thread, or copies it here while that one has enough.
    fn send(&mut self) {
        let has_thread = match self.has_thread {
            Some(has_thread) => has_thread,
            None => *self.has_thread.insert(self.start()),
        };
        if has_thread {
            let mut state = self.shared.state.lock();
            if state.waiting.len() < WAITING_MAX {
                state.waiting.push_back(std::mem::take(&mut self.next));
                self.shared.changed.notify_all();
                return;
            }
        }
        self.copy_next();
    }

    fn copy_next(&mut self) {
        let items = std::mem::take(&mut self.next);
        self.copy(items);
    }

    fn copy(&mut self, items: Vec<Item>) {
        let mut came = self.copying.copy_all(items, &mut self.buffer);
        self.shared.state.lock().came.append(&mut came);
    }

    /// Starts the other thread where there is a processor for it.
    fn start(&self) -> bool {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return false;
        }
        let (shared, copying) = (self.shared.clone(), self.copying);
        let work = move || {
            let mut buffer = Vec::new();
            while let Some(items) = shared.take() {
                let busy = Busy(&shared);
                let mut came = copying.copy_all(items, &mut buffer);
                shared.state.lock().came.append(&mut came);
                drop(busy);
            }
        };
        let named = std::thread::Builder::new().name("ttlog-copy".into());
        named.spawn_scoped(self.scope, work).is_ok()
    }
}

impl Drop for Batches<'_, '_> {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// The next batch, for the other thread; none at the end.
    fn take(&self) -> Option<Vec<Item>> {
        let mut state = self.state.lock();
        while !state.is_over {
            if let Some(items) = state.waiting.pop_front() {
                state.is_busy = true;
                return Some(items);
            }
            self.changed.wait(&mut state);
        }
        None
    }
}

/// Says that the other thread is through, even when it panicked.
struct Busy<'a>(&'a Shared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_busy = false;
        self.0.changed.notify_all();
    }
}

/// What copying one takes.
#[derive(Debug, Clone, Copy)]
struct Copying<'a> {
    dresser: Dresser,
    counters: &'a Counters,
    len_max: usize,
}

impl Copying<'_> {
    /// Copies files of one directory to another one.
    fn copy_all(self, items: Vec<Item>, buffer: &mut Vec<u8>) -> Vec<(Item, Came)> {
        let Some(first) = items.first() else { return Vec::new() };
        buffer.resize(self.len_max, 0);
        let (from, to) = (open_dir(&first.dirs.from), open_dir(&first.dirs.parts));
        let (Ok(from), Ok(to)) = (from, to) else {
            // Told with the files' names.
            return items.into_iter().map(|item| (item, Came::NotAtOnce)).collect();
        };
        let mut came = Vec::with_capacity(items.len());
        let mut slow = Vec::new();
        for item in items {
            match self.open(&item, from.as_fd()) {
                Ok(opened) if read_at_once(&opened, buffer) => {
                    let is_come = self.write(&item, &opened.metadata, to.as_fd(), buffer);
                    came.push((item, is_come));
                }
                Ok(opened) => slow.push((item, opened)),
                Err(is_come) => came.push((item, is_come)),
            }
            if slow.len() >= SLOW_MAX {
                self.copy_slow(&mut slow, &mut came, to.as_fd(), buffer);
            }
        }
        self.copy_slow(&mut slow, &mut came, to.as_fd(), buffer);
        let copied = |(_, came): &_| if let Came::Copied(len) = came { *len } else { 0 };
        add(&self.counters.bytes, came.iter().map(copied).sum());
        came
    }

    /// Copies what was not in the page cache.
    fn copy_slow(
        self,
        slow: &mut Vec<(Item, Opened)>,
        came: &mut Vec<(Item, Came)>,
        to: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) {
        for (item, Opened { source, metadata }) in slow.drain(..) {
            let is_come = match source.read_exact_at(&mut buffer[..metadata.len() as usize], 0) {
                Ok(()) => self.write(&item, &metadata, to, buffer),
                // It became shorter.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Came::NotAtOnce,
                Err(error) => Came::Failed(error),
            };
            came.push((item, is_come));
        }
    }

    /// Opens a file, unless that is all that comes of it.
    fn open(self, item: &Item, from: BorrowedFd<'_>) -> Result<Opened, Came> {
        let source = match rustix::fs::openat(from, &item.name, OPEN_FLAGS, Mode::empty()) {
            Ok(source) => File::from(source),
            Err(Errno::NOENT) => return Err(Came::Gone),
            Err(error) => return Err(Came::Failed(error.into())),
        };
        let metadata = source.metadata().map_err(Came::Failed)?;
        // Whatever it is by now is told by who opens it again.
        let is_plain = metadata.is_file() && !is_sparse(&metadata);
        // Nobody looked yet whether this name is its first.
        let may_be_link = item.part.is_none() && metadata.nlink() > 1;
        if !is_plain || may_be_link || metadata.len() > self.len_max as u64 {
            return Err(Came::NotAtOnce);
        }
        Ok(Opened { source, metadata })
    }

    /// Makes the copy of a file whose bytes stand at the start of the buffer.
    fn write(
        self,
        item: &Item,
        metadata: &Metadata,
        to: BorrowedFd<'_>,
        buffer: &[u8],
    ) -> Came {
        let part: &OsStr = item.part.as_ref().unwrap_or(&item.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(self.dresser.first_mode(metadata));
        let copy = match rustix::fs::openat(to, part, flags, mode) {
            Ok(copy) => copy,
            // A file system that takes two names for one.
            Err(Errno::EXIST) => return Came::NotAtOnce,
            Err(error) => return Came::Failed(error.into()),
        };
        crash_point!("archive.short");
        let len = metadata.len();
        let written = write_all(copy.as_fd(), &buffer[..len as usize], 0);
        crash_point!("archive.sync");
        match written.and_then(|()| self.dresser.dress_new(copy.as_fd(), metadata)) {
            Ok(()) => Came::Copied(len),
            Err(error) => {
                let _ = rustix::fs::unlinkat(to, part, AtFlags::empty());
                Came::Failed(error)
            }
        }
    }
}

/// A short file that is open.
struct Opened {
    source: File,
    metadata: Metadata,
}

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Puts a file's bytes at the start of the buffer; false when not all of them are in the page cache,
/// or the file system does not say. Then the others are on their way there.
fn read_at_once(file: &Opened, buffer: &mut [u8]) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        use rustix::io::{ReadWriteFlags, preadv2};
        let (source, len) = (&file.source, file.metadata.len() as usize);
        let mut into = [io::IoSliceMut::new(&mut buffer[..len])];
        let is_read = len == 0 || preadv2(source, &mut into, 0, ReadWriteFlags::NOWAIT) == Ok(len);
        if !is_read {
            // In vain where a file system has no use for it.
            let _ = fadvise(source, 0, None, Advice::WillNeed);
        }
        is_read
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, buffer);
        false
    }
}
