//! Spill: lanes that fill faster than the scribe can write, emptied into spill files.
//!
//! ```text
//!  full lane ──► overflow ──► scribe starts ──► spiller ──► spill file      waits for its own disk
//!                                                  │ caught up
//!                                                  └──────► drainer ──► segment (rename, or copy)
//! ```
//!
//! The spiller is a lane's consumer of the moment, like the scribe, with staging of its own (S3): a
//! log disk that hangs does not starve it. It lives while lanes overflow, and for a moment longer. A
//! spill file is a segment under another name, whose runs carry positions: readers order by them,
//! so that the scribe goes on with a lane at once. Draining has a thread of its own again, so that a
//! log disk that hangs does not keep the next spiller from starting.
//!
//! # Failure
//!
//! A spill disk that refuses a block is asked again until the logger ends; meanwhile, and when the
//! quota is reached, full lanes are told so, and their calls take the next step of their policy at
//! once. What is not drained when the logger ends stays, with the owner file, for the next start.

mod file;
mod spiller;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::file::SpillPlan;
use self::spiller::Spiller;
use super::progress::Progress;
use super::tap::Tap;
use crate::io::FileDisk;
use crate::lane::catalog::Catalog;
use crate::lane::lanes::Lanes;
use crate::lane::staging::Staging;
use crate::monitor::Mutex;
use crate::notice::Seldom;
use crate::record::{Anchor, OpenSpans};
use crate::store::spill::drain;

/// How long a drainer pauses before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts a thread of the logger; false when the system refuses.
pub(crate) type Start = fn(&'static str, Box<dyn FnOnce() + Send>) -> bool;

/// What spilling needs from its logger.
#[derive(Debug)]
pub(crate) struct SpillSetup {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) plan: SpillPlan,
    pub(crate) start: Start,
    pub(crate) now: fn() -> Anchor,
    /// The spans that are open, as far as the scribe and the spiller have seen.
    pub(crate) spans: Arc<Mutex<OpenSpans>>,
    /// Takes copies for the console, if there is one.
    pub(crate) tap: Option<Arc<Tap>>,
}

/// Shared by scribe, spiller and drainer.
#[derive(Debug)]
pub(crate) struct Spill {
    setup: SpillSetup,
    state: Mutex<State>,
    /// Blocks that were begun, written, and made durable.
    begun: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    is_spilling: bool,
    is_draining: bool,
    is_ending: bool,
    sync_wanted: bool,
    /// Whole files that are not drained.
    files: Vec<(PathBuf, u64)>,
    /// Bytes in spill files.
    bytes: u64,
    /// The spiller's, between two of them.
    staging: Option<Staging>,
    /// There was no room for it: not before this moment again.
    retry_at: Option<Instant>,
}

impl Spill {
    pub(crate) fn new(setup: SpillSetup) -> Arc<Self> {
        let zero = AtomicU64::default;
        let state = Mutex::default();
        Arc::new(Self { setup, state, begun: zero(), written: zero(), durable: zero() })
    }

    /// Starts what is to be started; the scribe calls it each turn.
    pub(super) fn look(self: &Arc<Self>) {
        let overflow = &self.setup.lanes.overflow;
        if !overflow.take_wanted() {
            return;
        }
        let mut state = self.state.lock();
        if state.is_spilling || state.is_ending {
            return;
        }
        // Where the system refused it its thread, nobody else makes room within the quota.
        self.start_drainer(&mut state);
        let may_try = state.retry_at.is_none_or(|at| Instant::now() >= at);
        if !overflow.is_refused() && may_try {
            let this = self.clone();
            let run = Box::new(move || Spiller::run(this));
            state.is_spilling = (self.setup.start)("ttlog-spill", run);
        }
    }

    /// Starts the drainer if there is something for it.
    fn start_drainer(self: &Arc<Self>, state: &mut State) {
        if !state.files.is_empty() && !state.is_draining {
            let this = self.clone();
            let run = Box::new(move || this.drain_all());
            state.is_draining = (self.setup.start)("ttlog-drain", run);
        }
    }

    /// Blocks that were begun so far.
    pub(super) fn begun(&self) -> u64 {
        // ord: Acquire, pairs with the Release in `begin`: heads that the caller has seen move
        // belong to blocks that are counted.
        self.begun.load(Ordering::Acquire)
    }

    /// True when this many blocks are written, or durable; asks for it if they are not.
    pub(super) fn has(&self, blocks: u64, durable: bool) -> bool {
        let counter = if durable { &self.durable } else { &self.written };
        // ord: Acquire, pairs with the Release of the writer.
        let has = counter.load(Ordering::Acquire) >= blocks;
        if durable && !has {
            self.state.lock().sync_wanted = true;
        }
        has
    }

    /// True when nothing waits in a spill file or on its way to one.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        // ord: Acquire, as above.
        state.files.is_empty() && self.written.load(Ordering::Acquire) == self.begun()
    }

    /// Ends spiller and drainer, and waits for them; false when a disk holds them up for so long.
    pub(super) fn end(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        self.state.lock().is_ending = true;
        self.setup.lanes.overflow.set_refused(true);
        self.setup.lanes.overflow.want();
        loop {
            let state = self.state.lock();
            if !state.is_spilling && !state.is_draining {
                return true;
            }
            if began.elapsed() > timeout {
                return false;
            }
            drop(state);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_ending(&self) -> bool {
        self.state.lock().is_ending
    }

    /// The spiller is done: hands its staging and its files over.
    fn leave(self: &Arc<Self>, staging: Staging) {
        let mut state = self.state.lock();
        state.staging = Some(staging);
        state.is_spilling = false;
        self.start_drainer(&mut state);
        drop(state);
        self.setup.lanes.ready.wake();
    }

    /// The drainer: makes spill files segments until none is left.
    fn drain_all(&self) {
        crate::lane::process::lower_priority();
        let mut seldom = Seldom::new(Duration::from_secs(60));
        loop {
            let mut state = self.state.lock();
            let Some((path, len)) = state.files.first().cloned() else {
                state.is_draining = false;
                return;
            };
            drop(state);
            // Where it is gone somebody removed it: nothing is left to drain.
            if let Err(error) = drain(&FileDisk, &path, &self.setup.plan.log_dir)
                && path.exists()
            {
                let name = path.display();
                seldom.say(|| format!("could not move {name} into the log: {error}; trying again"));
                if !self.pause() {
                    self.state.lock().is_draining = false;
                    return;
                }
                continue;
            }
            let mut state = self.state.lock();
            state.files.remove(0);
            state.bytes -= len;
            // There is room within the quota again.
            if !state.is_ending {
                self.setup.lanes.overflow.set_refused(false);
            }
        }
    }

    /// Pauses before something is tried again; false when the logger ends.
    fn pause(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PAUSE {
            if self.is_ending() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn dir(&self) -> &Path {
        &self.setup.plan.dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::lane::full::OnFull;
    use crate::lane::lanes::{FIRST_BYTES, LanesSetup};
    use crate::lane::place::{LanesChoice, Place};
    use crate::store::segment::SegmentHeader;

    /// Spill files between two directories.
    fn spill(dir: &Path, log_dir: &Path) -> Arc<Spill> {
        let (place, _) = Place::create(&LanesChoice::Private, 5, 64 << 20, 0).unwrap();
        let on_full = OnFull::default();
        let lanes = LanesSetup { serial: 1, logger: 5, place, lane_bytes: FIRST_BYTES, on_full };
        let plan = SpillPlan {
            dir: dir.to_owned(),
            log_dir: log_dir.to_owned(),
            header: SegmentHeader::default(),
            quota: 1 << 20,
            numbers: Arc::default(),
            durability: Durability::Never,
        };
        Spill::new(SpillSetup {
            lanes: Arc::new(Lanes::new(lanes).unwrap().0),
            catalog: Arc::default(),
            progress: Arc::default(),
            plan,
            start: |_, work| {
                std::thread::spawn(work);
                true
            },
            now: Anchor::default,
            spans: Arc::default(),
            tap: None,
        })
    }

    #[test]
    fn the_quota_is_free_again_when_a_spill_file_is_drained_or_was_removed() {
        let (dir, log_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for is_removed in [false, true] {
            let spill = spill(dir.path(), log_dir.path());
            let path = dir.path().join("app-20261121T100000Z-0123456789abcdef-3.ttspill");
            if !is_removed {
                std::fs::write(&path, "it").unwrap();
            }
            {
                let mut state = spill.state.lock();
                (state.files, state.bytes) = (vec![(path, 1 << 20)], 1 << 20);
            }
            // As it is where the spiller has ended and the drainer got no thread.
            spill.setup.lanes.overflow.set_refused(true);
            spill.setup.lanes.overflow.want();
            spill.look();
            let began = Instant::now();
            while !spill.is_drained() || spill.state.lock().is_draining {
                assert!(began.elapsed() < Duration::from_secs(60), "nobody drains it");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(spill.state.lock().bytes, 0);
            assert!(!spill.setup.lanes.overflow.is_refused(), "removed {is_removed}");
        }
    }
}
