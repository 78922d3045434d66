//! Compress: segments that are packed on their way to the target, on threads of their own.
//!
//! What is packed and compared is what [`crate::store::pack`] says. A segment that is packed already,
//! is not sealed, has damage, or would not become smaller comes back, to be copied as it is.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::thread::Scope;

use super::place::{Dresser, Target};
use super::walk::Entry;
use super::{Counters, Done, Shared, add, at, open_source};
use crate::io::FileDisk;
use crate::store::name;
use crate::store::pack::{self, How, Packed};
use crate::store::segment::SegmentReader;

/// Threads that compress, each a segment.
pub(super) struct Compressor<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    how: Option<How>,
    counters: &'env Counters,
    /// Ends the copier's wait when a segment is through.
    waker: Waker,
    n_busy: usize,
    n_busy_max: usize,
    tell: Sender<Compressed>,
    told: Receiver<Compressed>,
}

/// A segment that a thread is through with.
struct Compressed {
    entry: Entry,
    part: PathBuf,
    result: io::Result<Packed>,
}

impl<'scope, 'env> Compressor<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        level: Option<i32>,
        counters: &'env Counters,
        waker: Waker,
    ) -> Self {
        let (tell, told) = channel();
        let n_busy_max = std::thread::available_parallelism().map_or(1, usize::from);
        let how = level.map(|level| How { level, only_small: false });
        Self { scope, how, counters, waker, n_busy: 0, n_busy_max, tell, told }
    }

    /// True for what may be compressed.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let file_name = entry.path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        self.how.is_some() && name::parse(file_name).is_some_and(|name| !name.spill)
    }

    pub(super) fn has_room(&self) -> bool {
        self.n_busy < self.n_busy_max
    }

    pub(super) fn is_busy(&self) -> bool {
        self.n_busy > 0
    }

    /// Begins with a segment.
    pub(super) fn begin(&mut self, entry: Entry, target: &mut Target) -> io::Result<Done> {
        let Some(how) = self.how else { return Err(io::Error::other("nothing is compressed")) };
        let (part, dresser, counters) = (target.part(), target.dresser, self.counters);
        let result = Err(io::Error::other("compressing it panicked"));
        let (tell, waker) = (self.tell.clone(), self.waker.clone());
        let mut job = Job { told: Some(Compressed { entry, part, result }), tell, waker };
        let work = move || {
            if let Some(Compressed { entry, part, result }) = &mut job.told {
                *result = compress(entry, part, how, dresser, counters);
            }
        };
        std::thread::Builder::new().name("ttlog-compress".into()).spawn_scoped(self.scope, work)?;
        self.n_busy += 1;
        Ok(Done::Begun)
    }

    /// Gives a segment that is through its name, waiting for one if `waits` says so; none when there
    /// is none. In it comes what is to be copied as it is.
    pub(super) fn settle(
        &mut self,
        waits: bool,
        target: &mut Target,
        shared: &Shared<'_>,
    ) -> Option<Option<Entry>> {
        let told = if waits { self.told.recv().ok() } else { self.told.try_recv().ok() };
        let Compressed { entry, part, result } = told?;
        self.n_busy -= 1;
        let place = target.place(&entry.relative);
        let named = match result {
            Ok(Packed::Done(before, after)) => {
                target.publish(&part, &place).map(|()| before - after)
            }
            Ok(Packed::Stays | Packed::Stopped) => {
                let _ = std::fs::remove_file(&part);
                return Some(Some(entry));
            }
            Err(error) => Err(error),
        };
        match named {
            Ok(saved) => {
                add(&self.counters.files, 1);
                add(&self.counters.compressed, 1);
                add(&self.counters.saved, saved);
            }
            Err(error) => {
                let _ = std::fs::remove_file(&part);
                shared.fail(&entry.path, error);
            }
        }
        Some(None)
    }
}

/// What a thread is at; told when it is through, even when it panicked.
struct Job {
    told: Option<Compressed>,
    tell: Sender<Compressed>,
    waker: Waker,
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            // Whoever listens does so until all threads have ended.
            let _ = self.tell.send(told);
            self.waker.wake_by_ref();
        }
    }
}

/// Packs a segment into a part, with all that its name needs (A1).
fn compress(
    entry: &Entry,
    part: &Path,
    how: How,
    dresser: Dresser,
    counters: &Counters,
) -> io::Result<Packed> {
    let Some((source, metadata)) = open_source(&entry.path)? else { return Ok(Packed::Stays) };
    let mut reader = match SegmentReader::from_file(source) {
        Ok(reader) => reader,
        Err(crate::store::Error::Io(error)) => return Err(error),
        // Copied as it is, and told.
        Err(_) => return Ok(Packed::Stays),
    };
    let told = Cell::new(0);
    let goes_on = |written| {
        add(&counters.bytes, written - told.replace(written));
        true
    };
    let packed = at(part, pack::pack_into(&FileDisk, part, &mut reader, how, &goes_on))?;
    if let Packed::Done(_, after) = packed {
        goes_on(after);
        let copy = at(part, std::fs::File::open(part))?;
        dresser.dress(std::os::fd::AsFd::as_fd(&copy), &metadata)?;
        at(part, copy.sync_all())?;
    }
    Ok(packed)
}
