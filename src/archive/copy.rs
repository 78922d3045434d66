//! Copy: the files that are in flight: read, written, synced, verified, named.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::Duration;

use super::batch::{Came, Item};
use super::job::{Job, Step, is_sparse, write_all};
use super::place::Target;
use super::short::{Closed, OPEN_MAX, Short};
use super::verify::verify;
use super::walk::Entry;
use super::{Done, Shared, add, at, open_source};
use crate::crash::crash_point;
use crate::io::{
    self as engine, BufferPool, BufferPoolConfig, ErrorKind, IoBackend, IoBuffer, IoChoice,
    IoCompletion, IoHandle, IoOperation,
};

/// Sizes and numbers of the buffers: for small files, and for the others.
pub(super) const SMALL: (usize, usize) = (64 << 10, 64);
const LARGE: (usize, usize) = (512 << 10, 16);
/// Pieces of one file that are on their way.
const DEPTH: u32 = 8;
/// Shorter files wait for others before they are synced, so that the journal of their file system
/// has fewer entries to write.
const SYNC_ALONE_BYTES: u64 = 1 << 20;
/// Descriptors that are left to the rest of the process.
const DESCRIPTORS_SPARE: u64 = 64;

/// Copies files, several at a time.
pub(super) struct Copier<'a> {
    shared: &'a Shared<'a>,
    backend: Box<dyn IoBackend>,
    small: BufferPool,
    large: BufferPool,
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    /// Jobs that have something left to read.
    readers: VecDeque<usize>,
    /// Jobs with short files of which everything is written, and whose sync has not begun; and
    /// what is left of those that came behind them.
    unsynced: Vec<usize>,
    closed: Closed,
    /// Short files that were begun here since the last sync.
    n_short: usize,
    /// Files and their places that are to be copied once more, and synced alone.
    again: Vec<(PathBuf, PathBuf)>,
    steps: HashMap<IoHandle, (usize, Step)>,
    done: Vec<IoCompletion>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        choice: IoChoice,
        in_flight: usize,
        shared: &'a Shared<'a>,
    ) -> io::Result<Self> {
        let in_flight = in_flight.min(descriptors() / 2).max(1);
        // A pool each, so that neither size takes the other's memory; they are made as they are needed.
        let [small, large] = [SMALL, LARGE].map(|(size, count)| {
            BufferPool::new(BufferPoolConfig {
                size_classes: vec![size],
                max_memory: size * count,
                ..BufferPoolConfig::default()
            })
        });
        let n_steps = SMALL.1 + LARGE.1 + in_flight;
        Ok(Self {
            shared,
            backend: engine::backend(choice)?,
            small,
            large,
            jobs: (0..in_flight).map(|_| None).collect(),
            free: (0..in_flight).rev().collect(),
            readers: VecDeque::with_capacity(in_flight),
            unsynced: Vec::with_capacity(OPEN_MAX),
            closed: Closed::default(),
            n_short: 0,
            again: Vec::new(),
            steps: HashMap::with_capacity(n_steps),
            done: Vec::with_capacity(n_steps),
        })
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Ends a wait in [`turn`](Self::turn), now or the next.
    pub(super) fn waker(&self) -> Waker {
        self.backend.waker()
    }

    /// True when it is time to sync short files.
    pub(super) fn is_full(&self) -> bool {
        self.closed.is_full()
    }

    /// True when so many short files are open that others are better closed at once.
    pub(super) fn has_enough_open(&self) -> bool {
        self.n_short >= self.open_max()
    }

    /// Short copies that may stay open: they have jobs, of which others need some.
    fn open_max(&self) -> usize {
        OPEN_MAX.min(self.jobs.len() / 2)
    }

    /// Takes a short file that was copied in a batch; returns one that is to be begun here.
    pub(super) fn take_short(&mut self, item: Item, came: Came) -> Option<Item> {
        match came {
            Came::Copied(len) => self.closed.push_item(item, len),
            Came::Gone => {}
            Came::NotAtOnce => return Some(item),
            Came::Failed(error) => self.shared.fail(&item.path(), error),
        }
        None
    }

    /// Opens a file and begins with it.
    pub(super) fn begin(&mut self, entry: &Entry, target: &mut Target) -> io::Result<Done> {
        self.n_short += usize::from(entry.metadata.len() < SYNC_ALONE_BYTES);
        let place = target.place(&entry.relative);
        self.open(entry.path.clone(), place, false, target)
    }

    fn open(
        &mut self,
        path: PathBuf,
        place: PathBuf,
        is_alone: bool,
        target: &mut Target,
    ) -> io::Result<Done> {
        let Some((source, metadata)) = open_source(&path)? else { return Ok(Done::Gone) };
        let part = target.part();
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        options.mode(target.dresser.first_mode(&metadata));
        let copy = at(&part, options.open(&part))?;
        let is_sparse = is_sparse(&metadata);
        let data_end = if is_sparse { 0 } else { metadata.len() };
        let job = Job {
            path,
            place,
            part,
            is_alone: is_alone || metadata.len() >= SYNC_ALONE_BYTES,
            source: source.into(),
            target: copy.into(),
            metadata,
            next: 0,
            data_end,
            in_flight: 0,
            is_reading: true,
            failed: None,
        };
        let index = self.free.pop().ok_or_else(|| io::Error::other("too many files in flight"))?;
        self.jobs[index] = Some(job);
        self.readers.push_back(index);
        Ok(Done::Begun)
    }

    /// Hands over what can be, may wait for something to complete or the waker, and goes on with that.
    /// False when no file is in flight.
    pub(super) fn turn(&mut self, next: Next, target: &mut Target) -> io::Result<bool> {
        while self.has_room()
            && let Some((path, place)) = self.again.pop()
        {
            match self.open(path.clone(), place, true, target) {
                Ok(_) => {}
                Err(error) => self.shared.fail(&path, error),
            }
        }
        // In the order in which they were begun: a disk has more of few long files at a time than of
        // many.
        let mut at = 0;
        while let Some(&index) = self.readers.get(at) {
            match self.read(index) {
                Reading::Everything => {
                    self.readers.remove(at);
                    self.jobs[index].iter_mut().for_each(|job| job.is_reading = false);
                    self.settle(index, target)?;
                }
                Reading::Enough => at += 1,
                Reading::NoBuffer => break,
            }
        }
        let is_idle = self.steps.is_empty() && self.readers.is_empty();
        if next == Next::Sync || next == Next::Nothing && is_idle {
            self.sync_all(target)?;
        }
        if !self.steps.is_empty() {
            let mut done = std::mem::take(&mut self.done);
            let waits = done.is_empty() && matches!(next, Next::Room | Next::Nothing);
            let timeout = if waits { None } else { Some(Duration::ZERO) };
            self.backend.poll_into(timeout, &mut done)?;
            for completion in done.drain(..) {
                self.complete(completion, target)?;
            }
            // What came while room was made.
            done.append(&mut self.done);
            self.done = done;
        }
        Ok(self.free.len() < self.jobs.len() || !self.closed.is_empty() || !self.again.is_empty())
    }

    /// Syncs short files: many at once; a few, or where somebody's data did not reach the disk, each
    /// for itself.
    fn sync_all(&mut self, target: &mut Target) -> io::Result<()> {
        let is_synced = !self.closed.is_empty() && target.sync_file_system();
        while let Some(index) = self.unsynced.pop() {
            match is_synced {
                true => self.end(index, target)?,
                false => self.sync(index, target)?,
            }
        }
        let (closed, items) = self.closed.take();
        for Short { path, place, part, damage } in closed {
            if is_synced {
                self.name(&path, &part, target.publish(&part, &place).map(|()| damage));
            } else {
                self.again(&part, path, place);
            }
        }
        for item in items {
            let copy = item.copy();
            if !is_synced {
                self.again(&copy, item.path(), item.place());
            } else if item.part.is_none() {
                add(&self.shared.counters.files, 1);
            } else {
                let named = target.publish(&copy, &item.place());
                self.name(&item.path(), &copy, named.map(|()| None));
            }
        }
        target.publish_directories(self.shared);
        self.n_short = 0;
        Ok(())
    }

    /// Copies a file once more: whose data somebody lost nobody may learn from a copy that was closed.
    fn again(&mut self, copy: &Path, path: PathBuf, place: PathBuf) {
        let _ = std::fs::remove_file(copy);
        self.again.push((path, place));
    }

    /// Reads of a file as much as may be on its way.
    fn read(&mut self, index: usize) -> Reading {
        loop {
            let Some(job) = &mut self.jobs[index] else { return Reading::Everything };
            if job.failed.is_some() {
                return Reading::Everything;
            }
            if job.next >= job.data_end {
                match job.next_data() {
                    Ok(true) => {}
                    Ok(false) => return Reading::Everything,
                    Err(error) => {
                        job.failed = Some(error);
                        return Reading::Everything;
                    }
                }
            }
            if job.in_flight >= DEPTH {
                return Reading::Enough;
            }
            let left = job.data_end - job.next;
            let len = left.min(LARGE.0 as u64) as usize;
            let pool = if len <= SMALL.0 { &self.small } else { &self.large };
            let Some(buffer) = pool.allocate(len) else { return Reading::NoBuffer };
            let read = IoOperation::read(&job.source, buffer, job.next);
            let step = Step::Read { at: job.next, len };
            job.next += len as u64;
            if let Err(error) = self.submit(index, read, step) {
                self.fail(index, error);
            }
        }
    }

    fn submit(&mut self, index: usize, operation: IoOperation, step: Step) -> io::Result<()> {
        let mut operation = operation;
        let handle = loop {
            match self.backend.submit(operation) {
                Ok(handle) => break handle,
                Err(refused) if refused.error.kind() == ErrorKind::Busy => {
                    // Completions make room; they are looked at in the next turn.
                    self.backend.poll_into(None, &mut self.done)?;
                    operation = refused.operation;
                }
                Err(refused) => return Err(refused.error.into()),
            }
        };
        self.steps.insert(handle, (index, step));
        if let Some(job) = &mut self.jobs[index] {
            job.in_flight += 1;
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, error: io::Error) {
        if let Some(job) = &mut self.jobs[index] {
            job.failed.get_or_insert(error);
        }
    }

    fn complete(&mut self, completion: IoCompletion, target: &mut Target) -> io::Result<()> {
        let IoCompletion { handle, result, buffer, .. } = completion;
        let Some((index, step)) = self.steps.remove(&handle) else { return Ok(()) };
        if let Some(job) = &mut self.jobs[index] {
            job.in_flight -= 1;
        }
        match (result, step) {
            (Err(error), _) => self.fail(index, error.into()),
            (Ok(_), Step::Sync) => return self.end(index, target),
            (Ok(n), step) => {
                let Some(buffer) = buffer else { return Err(io::Error::other("no buffer")) };
                if let Err(error) = self.go_on(index, step, n, buffer) {
                    self.fail(index, error);
                }
            }
        }
        self.settle(index, target)
    }

    /// Goes on with a buffer of which `n` bytes were read or written.
    fn go_on(&mut self, index: usize, step: Step, n: usize, buffer: IoBuffer) -> io::Result<()> {
        let Some(job) = &self.jobs[index] else { return Ok(()) };
        let (source, copy) = (job.source.clone(), job.target.clone());
        let len = job.metadata.len();
        let (at, mut from, end, rest) = match step {
            Step::Read { .. } if n == 0 => {
                return Err(io::Error::other("became shorter while it was copied"));
            }
            Step::Read { at, len } => (at, 0, n, len - n),
            Step::Write { .. } if n == 0 => return Err(io::ErrorKind::WriteZero.into()),
            Step::Write { at, from, end, rest } => {
                add(&self.shared.counters.bytes, n as u64);
                (at, from + n, end, rest)
            }
            Step::Sync => return Ok(()),
        };
        if from < end && len <= SMALL.0 as u64 {
            // A ring would have a thread of the kernel copy it into the page cache.
            let Some(copy) = copy.as_fd() else { return Err(io::Error::other("no descriptor")) };
            write_all(copy, &buffer.as_slice()[from..end], at + from as u64)?;
            add(&self.shared.counters.bytes, (end - from) as u64);
            from = end;
        }
        if from < end {
            let write = IoOperation::write(&copy, buffer, at + from as u64).in_range(from..end);
            self.submit(index, write, Step::Write { at, from, end, rest })
        } else if rest > 0 {
            let at = at + end as u64;
            let read = IoOperation::read(&source, buffer, at).in_range(0..rest);
            self.submit(index, read, Step::Read { at, len: rest })
        } else {
            Ok(())
        }
    }

    /// Goes on with a file of which nothing is in flight.
    fn settle(&mut self, index: usize, target: &mut Target) -> io::Result<()> {
        let Some(job) = &mut self.jobs[index] else { return Ok(()) };
        if job.in_flight > 0 || job.failed.is_none() && job.is_reading {
            return Ok(());
        }
        if job.failed.is_none() {
            crash_point!("archive.sync");
            match job.dress(target) {
                Ok(()) if job.is_alone || !target.syncs_as_one => return self.sync(index, target),
                Ok(()) => {
                    match self.unsynced.len() < self.open_max() {
                        true => self.unsynced.push(index),
                        false => self.close(index),
                    }
                    return Ok(());
                }
                Err(error) => job.failed = Some(error),
            }
        }
        self.end(index, target)
    }

    /// Syncs a file of which everything is written.
    fn sync(&mut self, index: usize, target: &mut Target) -> io::Result<()> {
        let Some(job) = &self.jobs[index] else { return Ok(()) };
        let sync = IoOperation::fsync(&job.target);
        match self.submit(index, sync, Step::Sync) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.fail(index, error);
                self.end(index, target)
            }
        }
    }

    /// Lets go of all but the names of a short file of which everything is written.
    fn close(&mut self, index: usize) {
        let Some(job) = self.take(index) else { return };
        let Job { path, place, part, source, target: copy, metadata, .. } = job;
        match verify(&path, source, copy) {
            Ok(damage) => {
                let short = Short { path, place, part, damage };
                self.closed.push(short, metadata.len());
            }
            Err(error) => self.name(&path, &part, Err(error)),
        }
    }

    fn take(&mut self, index: usize) -> Option<Job> {
        let job = self.jobs[index].take()?;
        if job.is_reading {
            self.readers.retain(|reader| *reader != index);
        }
        self.free.push(index);
        Some(job)
    }

    /// Ends with a file: it gets its name, or is removed.
    fn end(&mut self, index: usize, target: &mut Target) -> io::Result<()> {
        let Some(job) = self.take(index) else { return Ok(()) };
        let Job { path, place, part, source, target: copy, metadata, failed, .. } = job;
        if target.is_staged(&place) {
            self.closed.add(metadata.len());
        }
        let result = match failed {
            Some(error) => Err(error),
            None => verify(&path, source, copy)
                .and_then(|damage| target.publish(&part, &place).map(|()| damage)),
        };
        self.name(&path, &part, result);
        Ok(())
    }

    /// Counts a file that has its name, or tells why it has none.
    fn name(&self, path: &Path, part: &Path, result: io::Result<Option<String>>) {
        match result {
            Ok(damage) => {
                add(&self.shared.counters.files, 1);
                damage.iter().for_each(|damage| self.shared.fail(path, damage));
            }
            Err(error) => {
                let _ = std::fs::remove_file(part);
                self.shared.fail(path, error);
            }
        }
    }
}

/// What there is beside the files that are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Others, which can be begun at once.
    More,
    /// Others, when there is room for them.
    Room,
    /// Nothing that can be begun before something here is through, and no batch.
    Nothing,
    /// Short files that are to be synced now, and no batch.
    Sync,
}

/// How far reading a file has come.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Everything,
    Enough,
    NoBuffer,
}

/// Descriptors that files in flight may have: as many as the system allows.
fn descriptors() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let current =
            limit.maximum.or(limit.current).map(|max| max.min(3 * super::IN_FLIGHT_MAX as u64));
        let more = rustix::process::Rlimit { current, ..limit };
        if current > limit.current && setrlimit(Resource::Nofile, more).is_ok() {
            limit = more;
        }
    }
    let current = limit.current.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_SPARE);
    usize::try_from(current).unwrap_or(usize::MAX)
}
