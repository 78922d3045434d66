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
        if overflow.take_wanted() && !overflow.is_refused() {
            let mut state = self.state.lock();
            let may_try = state.retry_at.is_none_or(|at| Instant::now() >= at);
            if !state.is_spilling && !state.is_ending && may_try {
                let this = self.clone();
                let run = Box::new(move || Spiller::run(this));
                state.is_spilling = (self.setup.start)("ttlog-spill", run);
            }
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
        if !state.files.is_empty() && !state.is_draining {
            let this = self.clone();
            let run = Box::new(move || this.drain_all());
            state.is_draining = (self.setup.start)("ttlog-drain", run);
        }
        drop(state);
        self.setup.lanes.ready.wake();
    }

    /// The drainer: makes spill files segments until none is left.
    fn drain_all(&self) {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
        let mut seldom = Seldom::new(Duration::from_secs(60));
        loop {
            let mut state = self.state.lock();
            let Some((path, len)) = state.files.first().cloned() else {
                state.is_draining = false;
                return;
            };
            drop(state);
            match drain(&FileDisk, &path, &self.setup.plan.log_dir) {
                Ok(_) => {
                    let mut state = self.state.lock();
                    state.files.remove(0);
                    state.bytes -= len;
                    if !state.is_ending {
                        self.setup.lanes.overflow.set_refused(false);
                    }
                }
                // Somebody removed it: nothing is left to drain.
                Err(_) if !path.exists() => {
                    let mut state = self.state.lock();
                    state.files.remove(0);
                    state.bytes -= len;
                }
                Err(error) => {
                    let name = path.display();
                    seldom.say(|| {
                        format!("could not move {name} into the log: {error}; trying again")
                    });
                    if !self.pause() {
                        self.state.lock().is_draining = false;
                        return;
                    }
                }
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
