//! Copy: the files that are in flight: read, written, synced, verified, named.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::Duration;

use rustix::fs::{Advice, SeekFrom};

use super::place::Target;
use super::walk::Entry;
use super::{Done, Shared, add, at, open_source};
use crate::crash::crash_point;
use crate::io::{
    self as engine, BufferPool, BufferPoolConfig, ErrorKind, IoBackend, IoBuffer, IoChoice,
    IoCompletion, IoFd, IoHandle, IoOperation,
};
use crate::store::name;
use crate::store::segment::{Entry as Found, SegmentReader};

/// Sizes and numbers of the buffers: for small files, and for the others.
const SMALL: (usize, usize) = (64 << 10, 64);
const LARGE: (usize, usize) = (512 << 10, 16);
/// Pieces of one file that are on their way.
const DEPTH: u32 = 8;
/// Shorter files wait for others before they are synced, so that the journal of their file system
/// has fewer entries to write.
const SYNC_ALONE_BYTES: u64 = 1 << 20;
/// So many of them are synced at a time, and from how many on by one call for the file system: a
/// call for each waits for the disk's cache each time.
const SYNC_TOGETHER: usize = 256;
const SYNC_AS_ONE: usize = 16;
/// Descriptors that are left to the rest of the process.
const DESCRIPTORS_SPARE: u64 = 64;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Copies files, several at a time.
pub(super) struct Copier<'a> {
    shared: &'a Shared<'a>,
    backend: Box<dyn IoBackend>,
    pool: BufferPool,
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    /// Jobs that have something left to read.
    readers: VecDeque<usize>,
    /// Jobs of which everything is written, and whose sync has not begun.
    unsynced: Vec<usize>,
    steps: HashMap<IoHandle, (usize, Step)>,
    done: Vec<IoCompletion>,
}

/// One file.
struct Job {
    path: PathBuf,
    place: PathBuf,
    part: PathBuf,
    source: IoFd,
    target: IoFd,
    metadata: Metadata,
    /// What is read next, and where the stretch of data ends in which it lies.
    next: u64,
    data_end: u64,
    in_flight: u32,
    /// True while it has its place among the readers.
    is_reading: bool,
    failed: Option<io::Error>,
}

/// What is in flight of a file.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many bytes from there.
    Read {
        at: u64,
        len: usize,
    },
    /// A part of the buffer that was read from `at`; `rest` bytes behind it were not read yet.
    Write {
        at: u64,
        from: usize,
        end: usize,
        rest: usize,
    },
    Sync,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        choice: IoChoice,
        in_flight: usize,
        shared: &'a Shared<'a>,
    ) -> io::Result<Self> {
        let in_flight = in_flight.min(descriptors() / 2).max(1);
        let pool = BufferPool::new(BufferPoolConfig {
            size_classes: vec![SMALL.0, LARGE.0],
            max_memory: SMALL.0 * SMALL.1 + LARGE.0 * LARGE.1,
            ..BufferPoolConfig::default()
        });
        for (size, count) in [SMALL, LARGE] {
            pool.prealloc(size, count).map_err(io::Error::other)?;
        }
        let n_steps = SMALL.1 + LARGE.1 + in_flight;
        Ok(Self {
            shared,
            backend: engine::backend(choice)?,
            pool,
            jobs: (0..in_flight).map(|_| None).collect(),
            free: (0..in_flight).rev().collect(),
            readers: VecDeque::with_capacity(in_flight),
            unsynced: Vec::with_capacity(in_flight),
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

    /// Opens a file and begins with it.
    pub(super) fn begin(&mut self, entry: &Entry, target: &mut Target) -> io::Result<Done> {
        let Some((source, metadata)) = open_source(&entry.path)? else { return Ok(Done::Gone) };
        let (part, place) = (target.part(), target.place(&entry.relative));
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let copy = at(&part, options.open(&part))?;
        let is_sparse = metadata.blocks() * BLOCK_BYTES < metadata.len();
        let data_end = if is_sparse { 0 } else { metadata.len() };
        let job = Job {
            path: entry.path.clone(),
            place,
            part,
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

    /// Hands over what can be, waits for something to complete or the waker, and goes on with that.
    /// False when no file is in flight.
    pub(super) fn turn(&mut self, target: &mut Target) -> io::Result<bool> {
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
        if self.unsynced.len() >= SYNC_TOGETHER || self.steps.is_empty() {
            // Where that is not to be had, or somebody's data did not reach the disk, each file says
            // for itself.
            let is_synced = self.unsynced.len() >= SYNC_AS_ONE && target.sync_file_system();
            while let Some(index) = self.unsynced.pop() {
                match is_synced {
                    true => self.end(index, target)?,
                    false => self.sync(index, target)?,
                }
            }
        }
        if !self.steps.is_empty() {
            let mut done = std::mem::take(&mut self.done);
            let timeout = if done.is_empty() { None } else { Some(Duration::ZERO) };
            self.backend.poll_into(timeout, &mut done)?;
            for completion in done.drain(..) {
                self.complete(completion, target)?;
            }
            // What came while room was made.
            done.append(&mut self.done);
            self.done = done;
        }
        Ok(self.free.len() < self.jobs.len())
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
            let Some(buffer) = self.pool.allocate(len) else { return Reading::NoBuffer };
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
        let (at, from, end, rest) = match step {
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
                Ok(()) if job.metadata.len() < SYNC_ALONE_BYTES => {
                    job.begin_write_back();
                    self.unsynced.push(index);
                    return Ok(());
                }
                Ok(()) => return self.sync(index, target),
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

    /// Ends with a file: it gets its name, or is removed.
    fn end(&mut self, index: usize, target: &mut Target) -> io::Result<()> {
        let Some(job) = self.jobs[index].take() else { return Ok(()) };
        if job.is_reading {
            self.readers.retain(|reader| *reader != index);
        }
        self.free.push(index);
        let Job { path, place, part, source, target: copy, failed, .. } = job;
        let result = match failed {
            Some(error) => Err(error),
            None => verify(&path, source, copy, self.shared)
                .and_then(|()| target.publish(&part, &place)),
        };
        match result {
            Ok(()) => add(&self.shared.counters.files, 1),
            Err(error) => {
                let _ = std::fs::remove_file(&part);
                self.shared.fail(&path, error);
            }
        }
        Ok(())
    }
}

/// How far reading a file has come.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Everything,
    Enough,
    NoBuffer,
}

impl Job {
    /// Finds the next stretch of data behind a hole; false when there is none.
    fn next_data(&mut self) -> io::Result<bool> {
        let len = self.metadata.len();
        if self.next >= len {
            return Ok(false);
        }
        let Some(source) = self.source.as_fd() else { return Ok(false) };
        let data = match rustix::fs::seek(source, SeekFrom::Data(self.next)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => len,
            Err(error) => return Err(error.into()),
        };
        if data >= len {
            (self.next, self.data_end) = (len, len);
            return Ok(false);
        }
        let hole = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        (self.next, self.data_end) = (data, hole.min(len));
        Ok(true)
    }

    /// Lets the system begin to write the copy, which is synced later. The copy of a segment is
    /// read once more.
    fn begin_write_back(&self) {
        if let Some(copy) = self.target.as_fd().filter(|_| !is_segment(&self.path)) {
            // A hint: what it does not do the sync does.
            let _ = rustix::fs::fadvise(copy, 0, None, Advice::DontNeed);
        }
    }

    /// Gives the copy its length, which holes at the end need, and what else it is to have.
    fn dress(&self, target: &Target) -> io::Result<()> {
        let Some(copy) = self.target.as_fd() else { return Ok(()) };
        rustix::fs::ftruncate(copy, self.metadata.len())?;
        target.dresser.dress(copy, &self.metadata)
    }
}

/// True when the file's name is a segment's.
fn is_segment(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name::parse(name).is_some())
}

/// Compares a segment's checksums. One that is damaged at its source is told, and copied as it is.
fn verify(path: &Path, source: IoFd, copy: IoFd, shared: &Shared<'_>) -> io::Result<()> {
    if !is_segment(path) {
        return Ok(());
    }
    let Some(damage) = damage_of(copy)? else { return Ok(()) };
    if damage_of(source)?.is_none() {
        return Err(io::Error::other(format!("the copy is not what was read: {damage}")));
    }
    shared.fail(path, format!("damaged, and copied as it is: {damage}"));
    Ok(())
}

/// The first damage of a segment, with its place.
fn damage_of(file: IoFd) -> io::Result<Option<String>> {
    let Ok(file) = file.try_into_owned() else { return Err(io::Error::other("still in use")) };
    let mut reader = match SegmentReader::from_file(file.into()) {
        Ok(reader) => reader,
        Err(crate::store::Error::Io(error)) => return Err(error),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut payload = Vec::new();
    while let Some(found) = reader.next_entry()? {
        let damage = match found {
            Found::Block(block) => reader.read_block(&block, &mut payload).err(),
            Found::Damage(damage) => Some(damage),
            Found::Unfinished { .. } => None,
        };
        // At the end of a segment that is written to, a block may not be whole yet.
        if let Some(damage) = damage.filter(|damage| reader.is_sealed() || !damage.tail) {
            return Ok(Some(damage.to_string()));
        }
    }
    Ok(None)
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
