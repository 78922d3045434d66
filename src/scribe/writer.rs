//! Writer: the file thread of a logger, the only one that waits for the disk (rule S7).
//!
//! It takes operations in the order in which the scribe gave them. Blocks of a segment that is
//! written past the page cache fly: the kernel writes some at a time, in any order, and they
//! land in theirs; all others are written by a call each. An operation that the disk refuses is
//! tried again from where it stopped, with growing pauses, until it goes through or the logger is
//! told to give up; meanwhile blocks stay in staging, where an adopter finds them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::batch::Block;
use super::flight::{Flight, Flying};
use super::kept::Kept;
use super::moved::{self, Moved};
use super::progress::Progress;
use super::queue::{Op, Queue};
use super::rest::Pace;
use super::sync::Beside;
use crate::config::Durability;
use crate::io::{DIRECT_ALIGN, Disk, DiskFile, DiskQueue, IoFd};
use crate::notice::Seldom;
use crate::store::segment::SegmentHeader;

/// First step of preallocation; it doubles with use.
const RESERVE_BYTES_MIN: u64 = 256 << 10;
/// Greatest step of preallocation.
const RESERVE_BYTES_MAX: u64 = 64 << 20;
/// First and longest pause before a refused operation is tried again.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Sealed segments that are not synced yet, at most.
const UNSYNCED_MAX: usize = 32;

/// What the file thread needs from its logger.
pub(crate) struct WriterSetup {
    pub(crate) disk: Box<dyn Disk>,
    /// Makes what writes past the page cache, on the file thread.
    pub(crate) flight: Box<dyn Fn() -> io::Result<Box<dyn DiskQueue>> + Send>,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    /// About how long a segment becomes: more need not be reserved.
    pub(crate) segment_bytes: u64,
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<Progress>,
    /// Called when something was done that the scribe waits for.
    pub(crate) wake: Box<dyn Fn() + Send>,
    /// Publishes the owner file again if its name went away.
    pub(crate) check_owner: Box<dyn Fn() + Send>,
}

pub(super) struct Writer {
    pub(super) setup: WriterSetup,
    pub(super) current: Option<Current>,
    /// How far the current segment's blocks were moved, since its file was removed.
    pub(super) moved: Moved,
    /// Made with the first segment that is written past the page cache.
    pub(super) flight: Option<Flight>,
    pub(super) unsynced: Vec<Box<dyn DiskFile>>,
    /// The names of all segments so far survive a power cut.
    pub(super) names_synced: bool,
    /// The current segment's blocks that are not durable, but for those that a sync is about.
    pub(super) kept: Kept,
    /// The sync that goes on while blocks are written.
    pub(super) beside: Option<Beside>,
    /// One more is wanted, of the first so many blocks.
    pub(super) wanted: Option<u64>,
    /// How fast blocks land.
    pub(super) pace: Pace,
    /// Blocks that were handed over.
    n_blocks: u64,
    /// A sync failed whose blocks were not kept: they may be missing after a power cut.
    pub(super) suspect: bool,
    pub(super) seldom: Seldom,
}

pub(super) struct Current {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    reserved: u64,
    step: u64,
    /// Where the last block that was written ends, and the last that is durable.
    pub(super) end: u64,
    pub(super) durable_end: u64,
    /// What flies goes here.
    pub(super) direct: Option<IoFd>,
}

/// Runs the file thread until [`Op::End`].
pub(crate) fn run(setup: WriterSetup) {
    let queue = setup.queue.clone();
    let ended = Ended(queue.clone());
    let mut writer = Writer {
        setup,
        current: None,
        moved: Moved::default(),
        flight: None,
        unsynced: Vec::new(),
        names_synced: false,
        kept: Kept::default(),
        beside: None,
        wanted: None,
        pace: Pace::default(),
        n_blocks: 0,
        suspect: false,
        seldom: Seldom::new(Duration::from_secs(60)),
    };
    loop {
        match writer.next(&queue) {
            Some(Op::End) => break,
            Some(op) => writer.perform(op),
            None => writer.land(None),
        }
    }
    writer.land_all();
    writer.settle();
    drop(ended);
    (writer.setup.wake)();
}

/// Says that the thread has ended, even when it panicked: the scribe does not wait for it then.
struct Ended(Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_ended();
    }
}

impl Writer {
    /// The next operation; none when something may have landed before there is one.
    fn next(&mut self, queue: &Queue) -> Option<Op> {
        if queue.is_empty() {
            self.rest();
        }
        match &self.flight {
            Some(flight) if flight.is_busy() => queue.pop_or_wake(|| flight.waker()),
            _ => Some(queue.pop(self.kept.holds())),
        }
    }

    fn perform(&mut self, op: Op) {
        if matches!(op, Op::Sync) && self.can_sync_beside() {
            return self.sync_when_written(self.n_blocks);
        }
        if !matches!(op, Op::Write { .. } | Op::Check) {
            self.land_all();
            self.settle();
        }
        match op {
            Op::Begin { path, header } => self.begin(path, header),
            Op::Write { block, offset, events } => {
                self.n_blocks += 1;
                self.take_off(block, offset, events);
                self.sync_if_much();
            }
            Op::Seal { index, offset, sync } => self.seal(&index, offset, sync),
            Op::Sync => self.sync(),
            Op::Check => self.check(),
            Op::End => {}
        }
    }

    fn begin(&mut self, path: PathBuf, header: SegmentHeader) {
        // One that was not sealed, since its name went away: it may have another.
        if self.setup.durability == Durability::Never {
            let left = self.current.take();
            left.into_iter().for_each(|left| self.sync_later(left.file));
        } else if self.current.is_some() {
            self.sync();
        }
        let file = self.insist("could not make a segment", &path, |writer| {
            match writer.setup.disk.create(&path) {
                // A try that failed half-way left the name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    writer.setup.disk.open(&path)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The directory is gone: it is made again with the owner file.
                    (writer.setup.check_owner)();
                    writer.setup.disk.create(&path)
                }
                other => other,
            }
        });
        self.moved = Moved::default();
        let is_direct = header.align() >= DIRECT_ALIGN;
        self.set_current(file, path, header);
        if is_direct {
            self.set_direct();
        }
        self.setup.progress.add_segment();
    }

    pub(super) fn set_current(
        &mut self,
        file: Box<dyn DiskFile>,
        path: PathBuf,
        header: SegmentHeader,
    ) {
        let is_direct = header.align() >= DIRECT_ALIGN;
        // One that is written past the page cache fills fast.
        let step = if is_direct { self.reserve_bytes_max() } else { RESERVE_BYTES_MIN };
        let bytes = header.encode();
        let (end, durable_end) = (bytes.len() as u64, 0);
        self.names_synced = false;
        self.current =
            Some(Current { file, path, header, reserved: 0, step, end, durable_end, direct: None });
        self.write(&bytes, 0);
    }

    /// Lets the blocks of a segment that was just begun fly, where the file system can. One that is
    /// begun again is not: what is written again need not lie in aligned memory.
    fn set_direct(&mut self) {
        if self.flight.is_none() {
            match (self.setup.flight)() {
                Ok(queue) => self.flight = Some(Flight::new(queue)),
                Err(error) => {
                    self.setup.progress.set_io_reason(Some(error.to_string()));
                    return self.setup.queue.set_refuses_direct();
                }
            }
        }
        self.tell_reason();
        let Some(current) = &mut self.current else { return };
        let fd = current.file.set_direct(true).and_then(|()| current.file.fd());
        match fd {
            Ok(fd) => current.direct = Some(fd),
            Err(_) => self.setup.queue.set_refuses_direct(),
        }
    }

    /// Lets the rest of the current segment be written by a call each.
    fn set_plain(&mut self) {
        if let Some(current) = &mut self.current
            && current.direct.take().is_some()
        {
            // If it fails, the write that follows tells why.
            let _ = current.file.set_direct(false);
            self.tell_reason();
        }
    }

    /// Says why blocks do not fly as well as they might, at both ends of a segment of such.
    fn tell_reason(&self) {
        if let Some(flight) = &self.flight {
            self.setup.progress.set_io_reason(flight.reason());
        }
    }

    /// Begins to write a block, or writes it.
    fn take_off(&mut self, mut block: Block, offset: u64, events: u32) {
        self.make_room(offset, block.bytes().len());
        let fd = self.current.as_ref().and_then(|current| current.direct.clone());
        if let Some(fd) = fd {
            // Blocks of a segment that was begun again do not fly, so that none is moved.
            self.reserve(offset + block.bytes().len() as u64);
            let Some(flight) = &mut self.flight else { return };
            match flight.begin(&fd, block, offset, events) {
                // The kernel gets it with those behind it, when this thread looks what has landed.
                Ok(()) => return,
                Err(back) => block = back,
            }
            self.land_all();
            self.set_plain();
        }
        self.write_block(block, offset, events);
    }

    /// Takes in what has landed; waits until something has, or the time has passed.
    pub(super) fn land(&mut self, timeout: Option<Duration>) {
        let Some(flight) = &mut self.flight else { return };
        if let Err(error) = flight.reap(timeout) {
            // What flies cannot be left: the kernel may still read it.
            let text = format!("could not wait for the disk: {error}");
            if self.setup.progress.set_failing(Some(text.clone())) {
                self.seldom.say(|| text);
            }
            std::thread::sleep(PAUSE.0);
        }
        // Asked behind all that has landed, once for them together.
        let mut is_linked = None;
        while let Some(flying) = self.flight.as_mut().and_then(Flight::pop_landed) {
            let is_linked = *is_linked.get_or_insert_with(|| {
                self.current.as_ref().is_some_and(|current| current.file.is_linked())
            });
            let Flying { offset, events, .. } = flying;
            let (block, result) = flying.into_block();
            if result.is_ok() && is_linked {
                self.written(block, offset, events);
                continue;
            }
            if result.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
                // Not refused before, as some file systems do.
                self.setup.queue.set_refuses_direct();
            }
            // Something is wrong: this block and those behind it are written one by one, each until
            // the disk agrees.
            let mut again = vec![(block, offset, events)];
            let flight = self.flight.as_mut().expect("looked at above");
            while !flight.has_landed() {
                if flight.reap(None).is_err() {
                    std::thread::sleep(PAUSE.0);
                }
            }
            while let Some(flying) = flight.pop_landed() {
                let Flying { offset, events, .. } = flying;
                again.push((flying.into_block().0, offset, events));
            }
            self.set_plain();
            for (block, offset, events) in again {
                self.write_block(block, offset, events);
            }
        }
        match self.flight.as_mut().and_then(Flight::take_synced) {
            Some(result) => self.end_beside(result),
            None => self.sync_beside_if_due(),
        }
    }

    pub(super) fn land_all(&mut self) {
        while self.flight.as_ref().is_some_and(|flight| !flight.is_empty()) {
            self.land(None);
        }
    }

    /// Writes a block where a reader finds it: in a file that has a name.
    fn write_block(&mut self, mut block: Block, offset: u64, events: u32) {
        let mut was = Moved::default();
        loop {
            let Some(current) = &self.current else { return };
            if self.moved != was {
                self.moved.seal(&current.header, block.bytes_mut(), was, offset);
                was = self.moved;
            }
            let place = was.place(offset);
            self.write(block.bytes(), place);
            let Some(current) = &self.current else { return };
            let header = moved::parse(&current.header, block.bytes(), place);
            let (false, Some(header)) = (current.file.is_linked(), header) else { break };
            self.make_again();
            let Some(current) = &self.current else { return };
            self.moved.restart(&current.header, offset, was.seq(&header));
        }
        self.written(block, offset, events);
    }

    /// Says that a block is written, and gives its buffer back, or keeps it until it is durable.
    fn written(&mut self, block: Block, offset: u64, events: u32) {
        let len = block.bytes().len() as u64;
        if let Some(current) = &mut self.current {
            current.end = self.moved.place(offset) + len;
            block.set_held_by(current.header.number, 0);
        }
        self.setup.progress.add_written(u64::from(events), len);
        let buffer = match self.setup.durability {
            Durability::Never => Some(block.into_buffer()),
            _ => self.kept.keep(block, offset, self.moved),
        };
        self.setup.queue.give_free(buffer);
        (self.setup.wake)();
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut written = 0;
        let Some(current) = &self.current else { return };
        let path = current.path.clone();
        self.reserve(offset + bytes.len() as u64);
        self.insist("could not write", &path, |writer| {
            let file = &writer.current.as_ref().expect("looked at above").file;
            match file.write_at(&bytes[written..], offset + written as u64) {
                Ok(()) => Ok(()),
                Err((n, error)) => {
                    written += n;
                    Err(error)
                }
            }
        });
    }

    /// Reserves ahead, so that a write seldom has to grow the file. Refusals do not matter: the
    /// write itself will tell.
    fn reserve(&mut self, end: u64) {
        let step_max = self.reserve_bytes_max();
        let Some(current) = &mut self.current else { return };
        if end <= current.reserved {
            return;
        }
        let target = end.next_multiple_of(current.step);
        match current.file.reserve(target) {
            Ok(()) => {
                current.reserved = target;
                current.step = (current.step * 2).min(step_max);
            }
            Err(_) => current.reserved = end,
        }
    }

    fn reserve_bytes_max(&self) -> u64 {
        let segment = self.setup.segment_bytes.next_multiple_of(RESERVE_BYTES_MIN);
        segment.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
    }

    fn seal(&mut self, index: &[u8], offset: u64, sync: bool) {
        self.set_plain();
        // An index knows where its blocks were to lie: without one, readers scan.
        let index = if self.moved.is_any() { &[] } else { index };
        let offset = self.moved.place(offset);
        // What was reserved goes before the index comes, so that nothing ever lies behind it.
        self.cut(offset + index.len() as u64);
        if let Some(current) = &mut self.current {
            current.reserved = u64::MAX;
        }
        self.write(index, offset);
        if sync {
            self.sync();
        }
        if let Some(current) = &self.current
            && current.reserved < u64::MAX
        {
            // It was begun elsewhere, when that failed; its index is left out.
            self.cut(current.end);
        }
        let Some(current) = self.current.take() else { return };
        if !sync {
            self.sync_later(current.file);
        }
    }

    /// Keeps a file for a sync that is asked for; under [`Durability::Never`] the kernel writes back
    /// in its own time.
    fn sync_later(&mut self, file: Box<dyn DiskFile>) {
        self.unsynced.push(file);
        if self.unsynced.len() > UNSYNCED_MAX {
            self.unsynced.remove(0);
        }
    }

    /// Cuts the current segment's file.
    fn cut(&mut self, len: u64) {
        let Some(current) = &self.current else { return };
        let path = current.path.clone();
        self.insist("could not cut", &path, |writer| match &writer.current {
            Some(current) => current.file.truncate(len),
            None => Ok(()),
        });
    }

    fn check(&mut self) {
        // It may take long.
        self.land(Some(Duration::ZERO));
        (self.setup.check_owner)();
        if let Some(current) = &self.current
            && !current.file.is_named(&current.path)
        {
            self.setup.queue.set_vanished();
            (self.setup.wake)();
        }
    }

    /// Tries until the disk agrees.
    pub(super) fn insist<R>(
        &mut self,
        what: &str,
        path: &Path,
        mut work: impl FnMut(&mut Self) -> io::Result<R>,
    ) -> R {
        let mut pause = PAUSE.0;
        loop {
            match work(self) {
                Ok(done) => {
                    if self.setup.progress.set_failing(None) {
                        let dir = self.setup.dir.display().to_string();
                        self.seldom.say(|| format!("writing to {dir} goes on"));
                    }
                    return done;
                }
                Err(error) => {
                    let text = format!("{what} {}: {error}", path.display());
                    if self.setup.progress.set_failing(Some(text.clone())) {
                        self.seldom.say(|| format!("{text}; trying again, see health()"));
                    }
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
