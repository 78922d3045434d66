//! Writer: the file thread of a logger, the only one that waits for the disk (rule S7).
//!
//! It takes operations in the order in which the scribe gave them. An operation that the disk
//! refuses is tried again from where it stopped, with growing pauses, until it goes through or the
//! logger is told to give up; meanwhile blocks stay in staging, where an adopter finds them.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::batch::Block;
use super::moved::{self, Moved};
use super::progress::Progress;
use crate::io::{Disk, DiskFile};
use crate::lane::staging::Buffer;
use crate::notice::Seldom;
use crate::store::segment::SegmentHeader;

/// First step of preallocation; it doubles with use.
const RESERVE_BYTES_MIN: u64 = 256 << 10;
/// Greatest step of preallocation.
const RESERVE_BYTES_MAX: u64 = 64 << 20;
/// First and longest pause before a refused operation is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Sealed segments that are not synced yet, at most.
const UNSYNCED_MAX: usize = 32;

/// What the scribe asks of the disk.
#[derive(Debug)]
pub(crate) enum Op {
    /// Make a segment and write its header.
    Begin { path: PathBuf, header: SegmentHeader },
    /// Write a block.
    Write { block: Block, offset: u64, events: u32 },
    /// End the segment with its index and cut what was reserved beyond it.
    Seal { index: Vec<u8>, offset: u64, sync: bool },
    /// Make everything so far durable.
    Sync,
    /// Look whether the owner file and the segment are still where they were made.
    Check,
    /// Nothing more will come.
    End,
}

/// The queue between scribe and file thread.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    ops: VecDeque<Op>,
    free: Vec<Buffer>,
    vanished: bool,
    ended: bool,
}

impl Queue {
    /// Hands an operation over.
    pub(crate) fn push(&self, op: Op) {
        self.state.lock().ops.push_back(op);
        self.changed.notify_all();
    }

    /// Hands an operation over unless others wait already.
    pub(crate) fn push_if_idle(&self, op: Op) {
        let mut state = self.state.lock();
        if state.ops.is_empty() {
            state.ops.push_back(op);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.push(Op::End);
    }

    /// Staging buffers whose blocks are written.
    pub(crate) fn take_free(&self) -> Vec<Buffer> {
        std::mem::take(&mut self.state.lock().free)
    }

    /// True once after the current segment's name went away.
    pub(crate) fn take_vanished(&self) -> bool {
        std::mem::take(&mut self.state.lock().vanished)
    }

    /// True when the thread has done everything or given up.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    fn pop(&self) -> Op {
        let mut state = self.state.lock();
        loop {
            if let Some(op) = state.ops.pop_front() {
                return op;
            }
            self.changed.wait(&mut state);
        }
    }
}

/// What the file thread needs from its logger.
pub(crate) struct WriterSetup {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<Progress>,
    /// Called when something was done that the scribe waits for.
    pub(crate) wake: Box<dyn Fn() + Send>,
    /// Publishes the owner file again if its name went away.
    pub(crate) check_owner: Box<dyn Fn() + Send>,
}

struct Writer {
    setup: WriterSetup,
    current: Option<Current>,
    /// How far the current segment's blocks were moved, since its file was removed.
    moved: Moved,
    unsynced: Vec<Box<dyn DiskFile>>,
    /// A sync failed once: what it was about may be missing after a power cut.
    suspect: bool,
    seldom: Seldom,
}

struct Current {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    reserved: u64,
    step: u64,
    name_synced: bool,
}

/// Runs the file thread until [`Op::End`].
pub(crate) fn run(setup: WriterSetup) {
    let queue = setup.queue.clone();
    let ended = Ended(queue.clone());
    let seldom = Seldom::new(Duration::from_secs(60));
    let (moved, unsynced) = (Moved::default(), Vec::new());
    let mut writer = Writer { setup, current: None, moved, unsynced, suspect: false, seldom };
    loop {
        match queue.pop() {
            Op::End => break,
            op => writer.perform(op),
        }
    }
    drop(ended);
    (writer.setup.wake)();
}

/// Says that the thread has ended, even when it panicked: the scribe does not wait for it then.
struct Ended(Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
    }
}

impl Writer {
    fn perform(&mut self, op: Op) {
        match op {
            Op::Begin { path, header } => self.begin(path, header),
            Op::Write { mut block, offset, events } => {
                self.write_block(&mut block, offset);
                self.setup.progress.add_written(u64::from(events), block.bytes().len() as u64);
                self.setup.queue.state.lock().free.push(block.into_buffer());
                (self.setup.wake)();
            }
            Op::Seal { index, offset, sync } => self.seal(&index, offset, sync),
            Op::Sync => self.sync(),
            Op::Check => self.check(),
            Op::End => {}
        }
    }

    fn begin(&mut self, path: PathBuf, header: SegmentHeader) {
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
        self.set_current(file, path, header);
        self.setup.progress.add_segment();
    }

    fn set_current(&mut self, file: Box<dyn DiskFile>, path: PathBuf, header: SegmentHeader) {
        let (reserved, step, name_synced) = (0, RESERVE_BYTES_MIN, false);
        let bytes = header.encode();
        self.current = Some(Current { file, path, header, reserved, step, name_synced });
        self.write(&bytes, 0);
    }

    /// Writes a block where a reader finds it: in a file that has a name.
    fn write_block(&mut self, block: &mut Block, offset: u64) {
        let mut sealed_for = offset;
        loop {
            let Some(current) = &self.current else { return };
            let place = self.moved.place(offset);
            if place != sealed_for {
                self.moved.seal(&current.header, block.bytes_mut(), sealed_for, offset);
                sealed_for = place;
            }
            self.write(block.bytes(), place);
            let Some(current) = &self.current else { return };
            let header = moved::parse(&current.header, block.bytes(), place);
            let (true, Some(header)) = (!current.file.is_linked(), header) else { return };
            self.make_again();
            self.moved.restart(offset, header.seq + self.moved.blocks());
        }
    }

    /// Makes the current segment again, whose file was removed, with its directory if need be.
    fn make_again(&mut self) {
        let Some(Current { path, header, .. }) = self.current.take() else { return };
        let (mut path, mut header) = (path, header);
        (self.setup.check_owner)();
        let what = path.clone();
        let file = self.insist("could not make a segment again", &what, |writer| {
            let made = writer.setup.disk.create(&path);
            match &made {
                // Somebody put a copy there, say.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = moved::later(&mut header, &path);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (writer.setup.check_owner)();
                }
                _ => {}
            }
            made
        });
        self.set_current(file, path, header);
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
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
        let Some(current) = &mut self.current else { return };
        if end <= current.reserved {
            return;
        }
        let target = end.next_multiple_of(current.step);
        match current.file.reserve(target) {
            Ok(()) => {
                current.reserved = target;
                current.step = (current.step * 2).min(RESERVE_BYTES_MAX);
            }
            Err(_) => current.reserved = end,
        }
    }

    fn seal(&mut self, index: &[u8], offset: u64, sync: bool) {
        // An index knows where its blocks were to lie: without one, readers scan.
        let index = if self.moved.is_any() { &[] } else { index };
        let offset = self.moved.place(offset);
        if let Some(current) = &mut self.current {
            // What was reserved goes before the index comes, so that nothing ever lies behind it.
            let _ = current.file.truncate(offset + index.len() as u64);
            current.reserved = u64::MAX;
        }
        self.write(index, offset);
        if sync {
            self.sync();
        }
        let Some(current) = self.current.take() else { return };
        if !sync {
            self.unsynced.push(current.file);
            if self.unsynced.len() > UNSYNCED_MAX {
                // Under `Durability::Never` the kernel writes back in its own time.
                self.unsynced.remove(0);
            }
        }
    }

    fn sync(&mut self) {
        let mark = self.setup.progress.written();
        let mut result = self.unsynced.drain(..).try_for_each(|file| file.sync());
        if let Some(current) = &mut self.current {
            result = result.and_then(|()| current.file.sync());
            if !current.name_synced && result.is_ok() {
                result = self.setup.disk.sync_dir(&self.setup.dir);
                current.name_synced = result.is_ok();
            }
        }
        match result {
            Ok(()) if self.suspect => {}
            Ok(()) => self.setup.progress.set_durable(mark),
            Err(error) => {
                // The kernel reports a failed write-back once; a second sync that succeeds would
                // say nothing about the first one's pages.
                self.suspect = true;
                let dir = self.setup.dir.display();
                self.setup.progress.set_suspect(format!("could not sync {dir}: {error}"));
                self.seldom.say(|| format!("could not sync {dir}: {error}; see health()"));
            }
        }
        (self.setup.wake)();
    }

    fn check(&mut self) {
        (self.setup.check_owner)();
        if let Some(current) = &self.current
            && !current.file.is_named(&current.path)
        {
            self.setup.queue.state.lock().vanished = true;
            (self.setup.wake)();
        }
    }

    /// Tries until the disk agrees.
    fn insist<R>(
        &mut self,
        what: &str,
        path: &std::path::Path,
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    use super::*;
    use crate::io::FileDisk;

    /// A disk that hangs until it is told to go on.
    #[derive(Debug)]
    struct Hung(Mutex<Receiver<()>>);

    impl Disk for Hung {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.lock().recv().expect("the test tells it");
            FileDisk.create(path)
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            FileDisk.open(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            FileDisk.rename(from, to)
        }
        fn unlink(&self, path: &Path) -> io::Result<()> {
            FileDisk.unlink(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            FileDisk.sync_dir(path)
        }
    }

    #[test]
    fn s7_who_hands_over_does_not_wait_for_a_disk_that_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let (go, told) = channel();
        let (queue, progress) = (Arc::new(Queue::default()), Arc::new(Progress::default()));
        let setup = WriterSetup {
            disk: Box::new(Hung(Mutex::new(told))),
            dir: dir.path().to_owned(),
            queue: queue.clone(),
            progress: progress.clone(),
            wake: Box::new(|| ()),
            check_owner: Box::new(|| ()),
        };
        let thread = std::thread::spawn(|| run(setup));
        let began = Instant::now();
        let path = dir.path().join("x.ttlog");
        let header = SegmentHeader { logger: 7, ..SegmentHeader::default() };
        queue.push(Op::Begin { path: path.clone(), header: header.clone() });
        queue.push(Op::Sync);
        queue.push(Op::Check);
        queue.push(Op::End);
        assert!(queue.take_free().is_empty() && !queue.is_ended() && !queue.take_vanished());
        assert!(began.elapsed() < Duration::from_secs(5));
        go.send(()).unwrap();
        thread.join().unwrap();
        assert!(queue.is_ended());
        assert_eq!(std::fs::read(path).unwrap()[..100], header.encode()[..100]);
    }
}
