//! Logger: puts the parts together, and takes them apart at the end.

mod fork;
mod identity;
mod live;
mod owner_lock;
mod panics;
mod recorded;
mod signals;
mod threads;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::identity::{make_dir, owner_of};
pub use self::fork::reinit_after_fork;
use self::live::Live;
use self::owner_lock::OwnerLock;
use self::threads::{make_lanes, spawn, start_console, writer_setup};
use crate::adopt;
use crate::config::Builder;
use crate::control::{self, Control};
use crate::dump::header_of;
use crate::emit::callsite::{self, DefinitionSink, SinkId};
use crate::emit::limit::Limits;
use crate::emit::redact::Patterns;
use crate::emit::{Filter, clock, scope};
use crate::error::{Error, Kind};
use crate::handle::{Flushed, Handle, flushed, unanswered};
use crate::io::IoChoice;
use crate::lane::catalog::Catalog;
use crate::lane::lanes::Lanes;
use crate::lane::owner::Owner;
use crate::lane::place::{self, LanesChoice, Place};
use crate::lane::staging::LANES_BYTES_MIN;
use crate::lane::{entered, living, process, thread};
use crate::monitor::Mutex;
use crate::record::Definition;
use crate::recorder::Keeper;
use crate::scribe::progress::{Ask, Progress, Ticket};
use crate::scribe::spill::{Spill, SpillSetup};
use crate::scribe::tap::Tap;
use crate::scribe::{End, Queue, Scribe, ScribeSetup, SegmentPlan, run_writer};
use crate::store::name;
use crate::store::segment::SegmentHeader;
use crate::upkeep::Upkeep;
use crate::{notice, pipe};

/// How long the end of the process waits for the disk.
const EXIT_WAIT: Duration = Duration::from_secs(3);
/// How long an end waits for the console.
const CONSOLE_WAIT: Duration = Duration::from_secs(1);

/// Loggers that have not ended, for the end of the process.
static RUNNING: Mutex<Vec<Arc<Inner>>> = Mutex::new(Vec::new());
/// The global logger.
static GLOBAL: Mutex<Option<Arc<Inner>>> = Mutex::new(None);

/// Starts the process's logger with what the environment says, writing into `dir`.
///
/// Nothing has to be held: everything that a call accepted is written when the process ends, however
/// it ends.
///
/// # Errors
///
/// When the directory cannot be made or written to, or when the process has a global logger.
pub fn init(dir: impl AsRef<Path>) -> Result<Handle, Error> {
    Builder::new(dir).env().init()
}

/// The global logger, if there is one.
#[cfg(feature = "log")]
pub(crate) fn global() -> Option<Handle> {
    if process::is_forked() {
        return None;
    }
    GLOBAL.lock().clone().map(|inner| Handle(Some(inner)))
}

impl Builder {
    /// Starts the logger as the global one, to which macros without `logger:` go.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to, when a setting makes no sense, or when the
    /// process has a global logger already.
    pub fn init(self) -> Result<Handle, Error> {
        if process::is_forked() {
            return Err(Error::new(Kind::Forked));
        }
        let mut global = GLOBAL.lock();
        if global.is_some() {
            return Err(Error::new(Kind::AlreadyInit));
        }
        let handle = self.build()?;
        if let Some(inner) = &handle.0 {
            // ord: Relaxed, under the lock that every reader of it takes.
            inner.is_global.store(true, Ordering::Relaxed);
            entered::set_tells(inner.lanes.serial, inner.tells_enters());
            let filter = inner.filter.current();
            callsite::install(inner.lanes.serial, filter, inner.limits.clone(), inner.recorded());
            *global = Some(inner.clone());
        }
        Ok(handle)
    }

    /// Starts a logger that is not the global one, for `info!(logger: &handle, …)`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to, or when a setting makes no sense.
    pub fn build(self) -> Result<Handle, Error> {
        if process::is_forked() {
            return Err(Error::new(Kind::Forked));
        }
        for warning in &self.warnings {
            notice::say(warning);
        }
        self.check()?;
        if self.disabled {
            return Ok(Handle(None));
        }
        if self.io == Some(IoChoice::Uring)
            && let Err(reason) = crate::io::probe().uring
        {
            let what = format!("io_uring is not to be had: {reason}; use IoChoice::Auto");
            return Err(Error::new(Kind::Setting(what)));
        }
        let filter = match &self.filter {
            None => Filter::parse(""),
            Some(text) if self.warnings.is_empty() => Filter::parse(text),
            // What was bad in the environment has been told above.
            Some(text) => Ok(Filter::parse_lossy(text).0),
        };
        let filter = filter.map_err(|error| Error::new(Kind::Filter(error.to_string())))?;
        let inner = Inner::start(&self, Arc::new(filter))?;
        scope::set(inner.lanes.serial, Some(&inner.filter.current()));
        if !self.redact.is_empty() {
            callsite::redact(inner.lanes.serial, Patterns::new(&self.redact));
        }
        process::install(process::Hooks { at_exit, at_fork: fork::HOOKS });
        if self.log_panics || self.recorder.is_some() {
            panics::install();
        }
        if let Err(error) = inner.start_rest() {
            let _ = inner.end(EXIT_WAIT);
            return Err(error);
        }
        RUNNING.lock().push(inner.clone());
        living::add(inner.lanes.clone());
        let upkeep = inner.upkeep.clone();
        adopt::in_background(self.dir.clone(), move || upkeep.pass_again());
        Ok(Handle(Some(inner)))
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) filter: Live,
    pub(crate) limits: Arc<Limits>,
    pub(crate) control: Control,
    pub(crate) sink: SinkId,
    /// The owner file's name, and the file with its lock.
    pub(crate) owner: Arc<OwnerLock>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) lanes_reason: Option<String>,
    pub(crate) is_global: AtomicBool,
    ended: AtomicBool,
    /// The scribe's thread tells what it left.
    pub(crate) scribe: Mutex<Option<JoinHandle<End>>>,
    /// What it was started with, for a child that starts anew.
    config: Builder,
    /// What the console is fed by, if there is one.
    tap: Option<Arc<Tap>>,
    /// What looks after the flight recorder, if there is one.
    recorder: OnceLock<Arc<Keeper>>,
    /// The logger that took its place in a child.
    successor: OnceLock<Arc<Inner>>,
}

struct CatalogSink {
    catalog: Arc<Catalog>,
    lanes: Arc<Lanes>,
}

impl DefinitionSink for CatalogSink {
    fn define(&self, definition: &Definition) -> bool {
        self.catalog.define(definition, &self.lanes.place)
    }
}

impl Inner {
    fn start(config: &Builder, filter: Arc<Filter>) -> Result<Arc<Self>, Error> {
        let dir = make_dir(&config.dir)?;
        let spill = config.spill_dir()?;
        let logger =
            name::random_id().map_err(|e| Error::caused_by(Kind::Setting("no random id".into()), e))?;
        let choice = config.lanes.clone().unwrap_or(LanesChoice::Shared);
        if let Some(base) = choice.base() {
            adopt::keep_pace(&dir, base);
        }
        let memory = |error| Error::at(Kind::Directory("no memory for lanes"), &dir, error);
        let (place, mut reason) =
            Place::create(&choice, logger, config.lanes_bytes_max as u64, LANES_BYTES_MIN as u64)
                .map_err(memory)?;
        let name = name::owner(logger);
        let named = owner_of(config, &dir, logger, &place, spill)
            .map_err(memory)
            .and_then(|owner| publish(&owner, &dir, &name, &place).map(|file| (owner, file)));
        let (owner, file) = match named {
            Ok(named) => named,
            Err(error) => {
                let path = place.path().map(Path::to_owned);
                place.unlock();
                // Its descriptors may be the last ones that there were.
                drop(place);
                path.iter().for_each(|path| place::remove(path));
                return Err(error);
            }
        };
        let header = header_of(&owner);
        let owner = Arc::new(OwnerLock {
            owner: Mutex::new(owner),
            dir: dir.clone(),
            name,
            file: Mutex::new(Some(file)),
            is_stale: AtomicBool::new(false),
        });
        if choice == LanesChoice::Private {
            reason = None;
        } else if let Some(reason) = &reason {
            notice::say(&format!(
                "{reason}; lanes lie in private memory, not safe from kill -9; lanes_in or \
                 TTLOG_LANES names another place"
            ));
        }
        let path = place.path().map(Path::to_owned);
        let started = Self::start_threads(config, filter, place, &owner, header, reason);
        if started.is_err() {
            path.iter().for_each(|path| place::remove(path));
            owner.release(true);
        }
        started
    }

    fn start_threads(
        config: &Builder,
        filter: Arc<Filter>,
        place: Place,
        owner: &Arc<OwnerLock>,
        header: SegmentHeader,
        lanes_reason: Option<String>,
    ) -> Result<Arc<Self>, Error> {
        let memory = |error| Error::at(Kind::Directory("no memory for lanes"), &owner.dir, error);
        // First what may fail and leaves nothing.
        let control = Control::new().map_err(|error| Error::caused_by(Kind::Thread, error))?;
        let (lanes, parker, staging) = make_lanes(config, place, owner).map_err(memory)?;
        let now = if config.utc_ticks { pipe::utc_anchor } else { clock::anchor };
        lanes.place.add_anchor(now());
        let catalog = Arc::new(Catalog::default());
        let sink = CatalogSink { catalog: catalog.clone(), lanes: lanes.clone() };
        let full = || memory(std::io::ErrorKind::StorageFull.into());
        let sink = callsite::add_sink(Arc::new(sink)).ok_or_else(full)?;
        let (progress, queue) = (Arc::new(Progress::default()), Arc::new(Queue::default()));
        let writer = writer_setup(config, owner, &queue, &progress, &lanes);
        let tap = start_console(config.console, &catalog, now);
        let (numbers, spans) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::default()));
        let spill = threads::spill_plan(config, owner, &header, &numbers).map(|plan| {
            let (lanes, catalog, progress) = (lanes.clone(), catalog.clone(), progress.clone());
            let start = |name, work| spawn(name, work).is_ok();
            let (spans, tap) = (spans.clone(), tap.clone());
            Spill::new(SpillSetup { lanes, catalog, progress, plan, start, now, spans, tap })
        });
        let upkeep = Arc::new(Upkeep::new(&owner.dir, &header, config));
        upkeep.at_start();
        let scribe = Scribe::new(ScribeSetup {
            lanes: lanes.clone(),
            catalog,
            progress: progress.clone(),
            queue: queue.clone(),
            parker,
            staging,
            plan: SegmentPlan {
                dir: owner.dir.clone(),
                header,
                rotate: config.rotate_used(),
                direct: config.direct,
                numbers,
            },
            spill,
            durability: config.durability,
            write_within: config.write_within,
            codec: config.codec(),
            now,
            tap: tap.clone(),
            spans,
        });
        let started = spawn("ttlog-files", move || run_writer(writer)).and_then(|_| {
            spawn("ttlog-scribe", move || scribe.run()).inspect_err(|_| queue.end())
        });
        let scribe = started.inspect_err(|_| {
            callsite::remove_sink(sink);
            tap.iter().for_each(|tap| tap.end(Duration::ZERO));
        })?;
        let (keeps, watched) = (upkeep.clone(), progress.clone());
        // Without the thread a start and an end still look.
        let _ = spawn("ttlog-upkeep", move || keeps.run(&watched));
        Ok(Arc::new(Self {
            lanes,
            progress,
            filter: Live::new(&filter),
            limits: Arc::new(Limits::new(&config.limits)),
            control,
            sink,
            owner: owner.clone(),
            upkeep,
            lanes_reason,
            is_global: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            scribe: Mutex::new(Some(scribe)),
            config: config.clone(),
            successor: OnceLock::new(),
            tap,
            recorder: OnceLock::new(),
        }))
    }

    /// Starts what steers it, and its recorder.
    fn start_rest(self: &Arc<Self>) -> Result<(), Error> {
        if self.config.flush_on_signals {
            signals::install()?;
        }
        let thread = self.clone();
        spawn("ttlog-control", move || control::run(&thread))?;
        self.start_recorder()
    }

    pub(crate) fn ask(&self, ask: Ask) -> Ticket {
        let ticket = self.progress.ask(ask);
        self.lanes.ready.wake();
        ticket
    }

    /// True when each time that a thread enters or leaves a span is told.
    pub(crate) fn tells_enters(&self) -> bool {
        self.config.span_enters
    }

    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        // ord: Relaxed, a check.
        self.ended.load(Ordering::Relaxed)
    }

    /// Lets no more events in; true for the first call.
    fn set_ended(&self) -> bool {
        // ord: Relaxed, only elects one of several calls.
        let is_first = !self.ended.swap(true, Ordering::Relaxed);
        self.filter.version().end();
        is_first
    }

    /// The logger that has its place in this process: itself, unless a child started anew; `None` in
    /// a child that did not.
    pub(crate) fn here(self: &Arc<Self>) -> Option<&Arc<Self>> {
        let mut inner = self;
        while inner.lanes.is_parents() {
            inner = inner.successor.get()?;
        }
        Some(inner)
    }

    /// Sets the filter, for good or for a while.
    pub(crate) fn set_filter(&self, filter: Filter, ttl: Option<Duration>) -> bool {
        let done = self.filter.set(filter, ttl, |filter| self.apply_filter(filter));
        self.control.wake();
        done
    }

    /// Falls back to the filter that was set for good, when it is time.
    pub(crate) fn fall_back(&self, now: Instant) {
        self.filter.fall_back(now, |filter| self.apply_filter(filter));
    }

    fn apply_filter(&self, filter: &Arc<Filter>) -> bool {
        if !callsite::set_filter(self.lanes.serial, filter.clone()) {
            return false;
        }
        scope::set(self.lanes.serial, Some(filter));
        true
    }

    /// Asks for the end, waits for it, and lets go of everything; `None` when the time ran out.
    fn finish(&self, ask: Ask, timeout: Duration) -> Result<Flushed, Error> {
        let deadline = Instant::now() + timeout.min(Duration::from_secs(86_400 * 365));
        let left = || deadline.saturating_duration_since(Instant::now());
        self.end_recorder(timeout);
        let ticket = self.ask(ask);
        let answer = self.progress.wait(ticket, left()).map_err(unanswered);
        let end = self.progress.wait_end(left());
        self.tap.iter().for_each(|tap| tap.end(CONSOLE_WAIT));
        if !end {
            // The disk does not answer: what is left stays in lanes and staging for the next start.
            return answer.and(Err(Error::new(Kind::Timeout)));
        }
        self.upkeep.at_end(&self.progress, left());
        let scribe = self.scribe.lock().take();
        let end = scribe.and_then(|scribe| scribe.join().ok()).unwrap_or(End::Busy);
        if end == End::Removed || end == End::Left && ask == Ask::Shutdown {
            self.lanes.place.unlock();
            self.owner.release(end == End::Removed);
        } else {
            // The locks stay until the process is gone, whoever drops this logger.
            std::mem::forget((self.lanes.clone(), self.owner.clone()));
        }
        // At the end of the process other threads may go on to log: the locks stay until it is gone,
        // so that nobody takes up lanes that still fill.
        answer.map(flushed)
    }

    /// Ends the logger for good, unless that was done before.
    pub(crate) fn end(self: &Arc<Self>, timeout: Duration) -> Result<Flushed, Error> {
        if !self.set_ended() {
            return Err(Error::new(Kind::Ended));
        }
        self.control.stop();
        // ord: Relaxed, under the lock of the global logger when it matters.
        if self.is_global.load(Ordering::Relaxed) {
            callsite::uninstall();
        }
        self.limits.tell(true, &self.lanes);
        let result = self.finish(Ask::Shutdown, timeout);
        living::remove(self.lanes.serial);
        callsite::remove_sink(self.sink);
        callsite::end_redact(self.lanes.serial);
        scope::set(self.lanes.serial, None);
        RUNNING.lock().retain(|other| !Arc::ptr_eq(other, self));
        let mut global = GLOBAL.lock();
        if global.as_ref().is_some_and(|global| Arc::ptr_eq(global, self)) {
            *global = None;
        }
        result
    }
}

/// Writes the owner files, that in the log directory first: who dies in between leaves a place that
/// anybody may remove without reading it.
fn publish(owner: &Owner, dir: &Path, name: &str, place: &Place) -> Result<File, Error> {
    let file = owner.publish(dir, name).map_err(|error| {
        let what = "the log directory cannot be written to; make it writable, or choose another";
        Error::at(Kind::Directory(what), dir, error)
    })?;
    process::keep_from_children(&file);
    if let Err(error) = place.publish(owner) {
        let _ = std::fs::remove_file(dir.join(name));
        process::close_kept(file);
        return Err(Error::at(Kind::Directory("no memory for lanes"), dir, error));
    }
    Ok(file)
}

extern "C" fn at_exit() {
    if process::is_forked() {
        return;
    }
    let Some(running) = RUNNING.try_lock_until(Instant::now() + EXIT_WAIT) else { return };
    let running = running.clone();
    for inner in running {
        if inner.set_ended() {
            inner.control.stop();
            inner.limits.tell(true, &inner.lanes);
            let _ = inner.finish(Ask::Exit(thread::id()), EXIT_WAIT);
        }
    }
}
