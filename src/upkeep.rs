//! Upkeep: what becomes of segments that are written: retention.
//!
//! ```text
//! start ─► a pass, which the start waits for a moment
//!      └─► thread: a pass when adoption is through, at each roll, and now and then
//! end   ─► a pass, if there was a roll since the last
//! ```
//!
//! A pass never runs on the scribe's thread, the file thread or a caller's (S7): who waits for one
//! waits for another thread, and not for long. It has the priority of any thread: at the lowest, on a
//! busy machine, it fell behind a logger that rolled 250 times a second.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::Builder;
use crate::emit::clock;
use crate::io::{Disk, FileDisk};
use crate::lane::owner;
use crate::lane::place::SHARED_MEMORY;
use crate::notice::Seldom;
use crate::scribe::progress::Progress;
use crate::store::keep::Keep;
use crate::store::name;
use crate::store::segment::SegmentHeader;
use crate::store::retention::{self, Applied, Scope, Stored};

/// How often limits are looked at that time or others can break.
const EVERY: Duration = Duration::from_secs(60);
/// The same while the disk refuses something, which free space may end.
const EVERY_WHILE_FAILING: Duration = Duration::from_secs(1);
/// How long a start waits for its pass: a disk that hangs holds up nobody.
const START_WAIT: Duration = Duration::from_millis(200);
/// How long an end waits for its pass.
const END_WAIT: Duration = Duration::from_secs(1);
/// How often, and how far apart, the directory's lock is tried while another process has it.
const LOCK_TRIES: (u32, Duration) = (50, Duration::from_millis(4));

/// The size of a block, as a rule.
const BLOCK_BYTES: u64 = 256 << 10;

/// What a logger's segments are kept by.
#[derive(Debug)]
pub(crate) struct Upkeep {
    dir: PathBuf,
    app: String,
    logger: u64,
    keep: Keep,
    /// What a segment may grow to.
    segment_bytes: u64,
    /// Segments that the logger had begun when the last pass began.
    passed: AtomicU64,
    seldom: Mutex<Seldom>,
}

impl Upkeep {
    pub(crate) fn new(dir: &Path, header: &SegmentHeader, config: &Builder) -> Self {
        // The last block may go beyond a segment's size.
        let segment_bytes = config.rotate_used().size_max().saturating_add(BLOCK_BYTES);
        Self {
            dir: dir.to_owned(),
            app: name::clean(&header.app),
            logger: header.logger,
            keep: config.keep_used(),
            segment_bytes,
            passed: AtomicU64::new(0),
            seldom: Mutex::new(Seldom::new(Duration::from_secs(60))),
        }
    }

    /// The pass of a start, so that one whose program lives shortly has its effect.
    pub(crate) fn at_start(self: &Arc<Self>) {
        self.pass_elsewhere(0, START_WAIT);
    }

    /// The pass of an end, unless nothing was begun since the last.
    pub(crate) fn at_end(self: &Arc<Self>, progress: &Progress, timeout: Duration) {
        let (_, segments) = progress.sums();
        // ord: Relaxed, a count; whoever comes late passes once more than needed.
        if self.passed.load(Ordering::Relaxed) != segments {
            self.pass_elsewhere(segments, timeout.min(END_WAIT));
        }
    }

    /// Makes passes until the logger ends.
    pub(crate) fn run(&self, progress: &Progress) {
        // ord: Relaxed, a count that this thread goes on with.
        let mut known = self.passed.load(Ordering::Relaxed);
        loop {
            let every = if progress.failing().0.is_some() { EVERY_WHILE_FAILING } else { EVERY };
            let Some(segments) = progress.wait_segment(known, every) else { return };
            known = segments;
            self.pass(segments);
        }
    }

    /// Removes what is beyond the limits; `segments` is how many the logger has begun.
    pub(crate) fn pass(&self, segments: u64) {
        let result = locked(&self.dir, || {
            let now_ns = clock::wall_ns();
            let writes = Some((self.logger, self.segment_bytes));
            let scope = Scope { app: Some(&self.app), now_ns, writes };
            retention::apply(Some(&FileDisk), &self.dir, &self.keep, scope, &is_owned)
        });
        let told = match result {
            // Somebody else is at it; the next pass looks again.
            Ok(None) => return,
            Ok(Some((_, refused))) => refused.into_iter().next(),
            Err(error) => Some((self.dir.clone(), error)),
        };
        // ord: Relaxed, a count that is compared and guards nothing.
        self.passed.store(segments, Ordering::Relaxed);
        if let Some((path, error)) = told.filter(|(_, error)| error.kind() != io::ErrorKind::NotFound)
        {
            let path = path.display();
            self.seldom.lock().say(|| format!("old segments stay: {path}: {error}"));
        }
    }

    /// A pass for what has changed in the directory rather than by this logger.
    pub(crate) fn pass_again(&self) {
        // ord: Relaxed, a count.
        self.pass(self.passed.load(Ordering::Relaxed));
    }

    fn pass_elsewhere(self: &Arc<Self>, segments: u64, wait: Duration) {
        let (upkeep, (busy, done)) = (self.clone(), channel::<()>());
        let work = move || {
            let _busy = busy;
            crate::lane::handle::mark_internal();
            crate::lane::process::block_signals();
            upkeep.pass(segments);
        };
        // Without the thread the next pass does it.
        if std::thread::Builder::new().name("ttlog-upkeep".into()).spawn(work).is_ok() {
            let _ = done.recv_timeout(wait);
        }
    }
}

/// Removes what is beyond the limits from a directory, or only tells it, for the command. The limits
/// are those of one app, or of all together.
///
/// # Errors
///
/// When the directory cannot be listed or locked, or another process holds its lock.
pub fn prune(
    dir: &Path,
    app: Option<&str>,
    keep: &Keep,
    apply: bool,
) -> io::Result<Applied> {
    let scope = Scope { app, now_ns: clock::wall_ns(), writes: None };
    let disk: Option<&dyn Disk> = if apply { Some(&FileDisk) } else { None };
    let pruned = locked(dir, || retention::apply(disk, dir, keep, scope, &is_owned))?;
    pruned.ok_or_else(|| io::Error::other("another process is removing segments there; try again"))
}

/// Does something under the directory's lock; `None` when that is not to be had.
fn locked<R>(dir: &Path, work: impl Fn() -> io::Result<R>) -> io::Result<Option<R>> {
    for _ in 0..LOCK_TRIES.0 {
        if let Some(_lock) = owner::try_take_dir(dir)? {
            return work().map(Some);
        }
        std::thread::sleep(LOCK_TRIES.1);
    }
    Ok(None)
}

/// True when somebody may still write to a segment, or take up what belongs to it: an owner file says
/// so, or, where that was removed under a living logger, the place of its lanes.
pub(crate) fn is_owned(segment: &Stored, uid: u32) -> bool {
    let logger = segment.name.logger;
    let owner = segment.path.with_file_name(name::owner(logger));
    let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    is_there(&owner) || is_there(&Path::new(SHARED_MEMORY).join(name::place(uid, logger)))
}
