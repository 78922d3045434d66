//! Upkeep: what becomes of segments that are written: retention and packing.
//!
//! ```text
//! start ─► a pass, which the start waits for a moment
//!      └─► thread: a pass when adoption is through, at each roll, and now and then
//! end   ─► a pass, if there was a roll since the last
//!
//! pack: a thread of low priority, while there is something to pack and the logger is not busy
//! ```
//!
//! A pass never runs on the scribe's thread, the file thread or a caller's (S7): who waits for one
//! waits for another thread, and not for long. It has the priority of any thread: at the lowest, on a
//! busy machine, it fell behind a logger that rolled 250 times a second. An end waits for whoever packs
//! only while that one has a part to clear away.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::config::Builder;
use crate::emit::clock;
use crate::io::{Disk, FileDisk};
use crate::lane::owner;
use crate::lane::place::SHARED_MEMORY;
use crate::lane::process;
use crate::monitor::{Condvar, Mutex};
use crate::notice::Seldom;
use crate::scribe::progress::Progress;
use crate::store::keep::Keep;
use crate::store::name;
use crate::store::pack::{self, How, Packed};
use crate::store::retention::{self, Applied, Scope, Stored};
use crate::store::segment::{SegmentHeader, kept_app};

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

/// How often packing looks at how busy the logger is, and what is busy.
const PACE: Duration = Duration::from_millis(100);
const BUSY_BYTES_A_SECOND: f64 = (64 << 20) as f64;
/// The size of a block, as a rule.
const BLOCK_BYTES: u64 = 256 << 10;

/// What is done about packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packer {
    Nobody,
    /// A thread looks for what is to be packed: an end need not wait for it.
    Looks,
    /// It writes a part, and stops behind the block that it is at.
    Writes,
    /// The logger has ended, and nothing is packed any more.
    Ended,
}

/// What a logger's segments are kept by.
#[derive(Debug)]
pub(crate) struct Upkeep {
    dir: PathBuf,
    app: String,
    /// The app's name as headers have it.
    exact: String,
    logger: u64,
    keep: Keep,
    /// What a segment may grow to.
    segment_bytes: u64,
    /// Segments that the logger had begun when the last pass began.
    passed: AtomicU64,
    seldom: Mutex<Seldom>,
    packing: Option<How>,
    packer: Mutex<Packer>,
    packed: Condvar,
    /// Segments that were looked at and stay as they are.
    stay: Mutex<HashSet<PathBuf>>,
}

impl Upkeep {
    pub(crate) fn new(dir: &Path, header: &SegmentHeader, config: &Builder) -> Self {
        // The last block may go beyond a segment's size.
        let segment_bytes = config.rotate_used().size_max().saturating_add(BLOCK_BYTES);
        Self {
            dir: dir.to_owned(),
            app: name::clean(&header.app),
            exact: kept_app(&header.app).to_owned(),
            logger: header.logger,
            keep: config.keep_used(),
            segment_bytes,
            passed: AtomicU64::new(0),
            seldom: Mutex::new(Seldom::new(Duration::from_secs(60))),
            packing: config.packing(),
            packer: Mutex::new(Packer::Nobody),
            packed: Condvar::default(),
            stay: Mutex::default(),
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
        let mut packer = self.packer.lock();
        let until = Instant::now() + timeout.min(END_WAIT);
        self.packed.wait_while_until(&mut packer, |packer| *packer == Packer::Writes, until);
        *packer = Packer::Ended;
    }

    /// Goes from one state of packing to the next; false if another has come between.
    fn packer_goes(&self, from: Packer, to: Packer) -> bool {
        let mut packer = self.packer.lock();
        let is_so = *packer == from;
        if is_so {
            *packer = to;
            self.packed.notify_all();
        }
        is_so
    }

    /// Makes passes until the logger ends.
    pub(crate) fn run(self: &Arc<Self>, progress: &Arc<Progress>) {
        // ord: Relaxed, a count that this thread goes on with.
        let mut known = self.passed.load(Ordering::Relaxed);
        loop {
            self.pack_elsewhere(progress);
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
            let (app, exact) = (Some(&*self.app), Some(&*self.exact));
            let scope = Scope { app, exact, now_ns, writes };
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
        if let Some((path, error)) =
            told.filter(|(_, error)| error.kind() != io::ErrorKind::NotFound)
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

    /// Packs what is to be packed on a thread of its own, unless there is one.
    fn pack_elsewhere(self: &Arc<Self>, progress: &Arc<Progress>) {
        let Some(how) = self.packing else { return };
        if !self.packer_goes(Packer::Nobody, Packer::Looks) {
            return;
        }
        let (upkeep, progress) = (self.clone(), progress.clone());
        let packing = Packing(self.clone());
        let work = move || {
            let _packing = packing;
            crate::lane::thread::mark_internal();
            process::block_signals();
            process::lower_priority();
            if let Err(error) = upkeep.pack(how, &progress) {
                let dir = upkeep.dir.display();
                upkeep.seldom.lock().say(|| format!("segments stay unpacked: {dir}: {error}"));
            }
        };
        // Without the thread the next roll tries again.
        let _ = std::thread::Builder::new().name("ttlog-pack".into()).spawn(work);
    }

    /// Packs this logger's segments, and those that have no owner any more.
    fn pack(&self, how: How, progress: &Progress) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw();
        let is_dead = |packer: u64| {
            let owner = self.dir.join(name::owner(packer));
            packer != self.logger && std::fs::symlink_metadata(owner).is_err()
        };
        pack::clear_leftovers(&FileDisk, &self.dir, &is_dead);
        let pace = Pace::new(progress);
        loop {
            let may = |stored: &Stored| {
                stored.name.app == self.app
                    && (stored.name.logger == self.logger || !is_owned(stored, uid))
            };
            let due = pack::due(&self.dir, how, &mut self.stay.lock(), &may)?;
            if due.is_empty() {
                return Ok(());
            }
            for path in due {
                let publish = |work: &dyn Fn() -> io::Result<()>| {
                    locked(&self.dir, work).map(|done| done.is_some())
                };
                let goes_on = |_| pace.goes_on();
                if !self.packer_goes(Packer::Looks, Packer::Writes) {
                    return Ok(());
                }
                let packed = pack::pack(&FileDisk, &path, how, self.logger, &goes_on, &publish);
                self.packer_goes(Packer::Writes, Packer::Looks);
                match packed {
                    Ok(Packed::Done(..)) => {}
                    Ok(Packed::Stopped) => return Ok(()),
                    Ok(Packed::Stays) => drop(self.stay.lock().insert(path)),
                    // Retention was there first.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        self.stay.lock().insert(path);
                        return Err(error);
                    }
                }
            }
        }
    }

    fn pass_elsewhere(self: &Arc<Self>, segments: u64, wait: Duration) {
        let (upkeep, (busy, done)) = (self.clone(), channel::<()>());
        let work = move || {
            let _busy = busy;
            crate::lane::thread::mark_internal();
            process::block_signals();
            upkeep.pass(segments);
        };
        // Without the thread the next pass does it.
        if std::thread::Builder::new().name("ttlog-upkeep".into()).spawn(work).is_ok() {
            let _ = done.recv_timeout(wait);
        }
    }
}

/// Says that nobody packs any more, whatever became of the thread.
struct Packing(Arc<Upkeep>);

impl Drop for Packing {
    fn drop(&mut self) {
        let mut packer = self.0.packer.lock();
        if *packer != Packer::Ended {
            *packer = Packer::Nobody;
        }
        self.0.packed.notify_all();
    }
}

/// Has packing wait while the logger is busy, and end with it.
struct Pace<'a> {
    progress: &'a Progress,
    /// When it was looked last, and what was written by then.
    last: Cell<(Instant, u64)>,
}

impl<'a> Pace<'a> {
    fn new(progress: &'a Progress) -> Self {
        Self { progress, last: Cell::new((Instant::now(), progress.sums().0)) }
    }

    fn goes_on(&self) -> bool {
        loop {
            if self.progress.wait_end(Duration::ZERO) {
                return false;
            }
            let ((then, before), (now, bytes)) =
                (self.last.get(), (Instant::now(), self.progress.sums().0));
            let elapsed = now - then;
            if elapsed < PACE {
                return true;
            }
            self.last.set((now, bytes));
            let is_busy = (bytes - before) as f64 > BUSY_BYTES_A_SECOND * elapsed.as_secs_f64();
            if !is_busy && self.progress.failing().0.is_none() {
                return true;
            }
            std::thread::sleep(PACE);
        }
    }
}

/// Removes what is beyond the limits from a directory, or only tells it, for the command. The limits
/// are those of one app, or of all together.
///
/// # Errors
///
/// When the directory cannot be listed or locked, or another process holds its lock.
pub fn prune(dir: &Path, app: Option<&str>, keep: &Keep, apply: bool) -> io::Result<Applied> {
    let scope = Scope { app, exact: None, now_ns: clock::wall_ns(), writes: None };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_packed_for_a_logger_that_has_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Builder::new(dir.path());
        let upkeep = Arc::new(Upkeep::new(dir.path(), &SegmentHeader::default(), &config));
        assert!(upkeep.packer_goes(Packer::Nobody, Packer::Looks));
        assert!(!upkeep.packer_goes(Packer::Nobody, Packer::Looks), "one thread packs");
        let looks = Packing(upkeep.clone());
        assert!(upkeep.packer_goes(Packer::Looks, Packer::Writes));
        assert!(upkeep.packer_goes(Packer::Writes, Packer::Looks));
        upkeep.at_end(&Progress::default(), Duration::from_secs(60));
        assert!(!upkeep.packer_goes(Packer::Looks, Packer::Writes), "it would leave a part");
        drop(looks);
        assert!(!upkeep.packer_goes(Packer::Nobody, Packer::Looks), "another would begin");
    }
}
