//! Logger: puts the parts together, and takes them apart at the end.

mod owner_lock;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::owner_lock::OwnerLock;
use crate::adopt;
use crate::config::Builder;
use crate::emit::callsite::{self, DefinitionSink, SinkId};
use crate::emit::{Filter, clock};
use crate::error::{Error, Kind};
use crate::handle::{Flushed, Handle, flushed, unanswered};
use crate::io::FileDisk;
use crate::lane::catalog::Catalog;
use crate::lane::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use crate::lane::owner::{self, Owner};
use crate::lane::place::{self, LanesChoice, Place};
use crate::lane::staging::{BUFFER_BYTES, Staging};
use crate::lane::{handle, living, process};
use crate::record::Definition;
use crate::scribe::progress::{Ask, Progress, Ticket};
use crate::scribe::{End, Queue, Scribe, ScribeSetup, SegmentPlan, WriterSetup, run_writer};
use crate::store::name;
use crate::store::segment::{CLOCK_UTC, SegmentHeader};
use crate::upkeep::Upkeep;
use crate::{notice, pipe};

/// Memory that staging may take.
const STAGING_BYTES_MAX: usize = 4 << 20;
/// How long the end of the process waits for the disk.
const EXIT_WAIT: Duration = Duration::from_secs(3);

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
            callsite::install(inner.lanes.serial, inner.filter.clone());
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
        let filter = match &self.filter {
            None => Filter::parse(""),
            Some(text) if self.warnings.is_empty() => Filter::parse(text),
            // What was bad in the environment has been told above.
            Some(text) => Ok(Filter::parse_lossy(text).0),
        };
        let filter = filter.map_err(|error| Error::new(Kind::Filter(error.to_string())))?;
        let inner = Inner::start(&self, Arc::new(filter))?;
        process::install(at_exit);
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
    pub(crate) filter: Arc<Filter>,
    pub(crate) sink: SinkId,
    /// The owner file's name, and the file with its lock.
    pub(crate) owner: Arc<OwnerLock>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) lanes_reason: Option<String>,
    pub(crate) is_global: AtomicBool,
    pub(crate) ended: AtomicBool,
    /// The scribe's thread tells what it left.
    pub(crate) scribe: Mutex<Option<JoinHandle<End>>>,
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
        let logger =
            random_id().map_err(|e| Error::caused_by(Kind::Setting("no random id".into()), e))?;
        let choice = config.lanes.clone().unwrap_or(LanesChoice::Shared);
        if let Some(base) = choice.base() {
            adopt::keep_pace(&dir, base);
        }
        let bytes_min = (2 * BUFFER_BYTES + 4 * FIRST_BYTES) as u64;
        let memory = |error| Error::at(Kind::Directory("no memory for lanes"), &dir, error);
        let (place, mut reason) =
            Place::create(&choice, logger, config.lanes_bytes_max as u64, bytes_min)
                .map_err(memory)?;
        let owner = owner_of(config, &dir, logger, &place).map_err(memory)?;
        let guard = RemoveOnFailure(&place);
        let name = name::owner(logger);
        // Before the one in the place: who dies in between leaves a place that anybody may remove
        // without reading it.
        let file = owner.publish(&dir, &name).map_err(|error| {
            Error::at(Kind::Directory("the log directory cannot be written to"), &dir, error)
        })?;
        process::keep_from_children(&file);
        if let Err(error) = place.publish(&owner) {
            let _ = std::fs::remove_file(dir.join(&name));
            process::close_kept(file);
            return Err(memory(error));
        }
        std::mem::forget(guard);
        let header = segment_header(&owner);
        let owner =
            Arc::new(OwnerLock { owner: Mutex::new(owner), dir: dir.clone(), name, file: Mutex::new(Some(file)) });
        if choice == LanesChoice::Private {
            reason = None;
        } else if let Some(reason) = &reason {
            notice::say(&format!("{reason}; lanes lie in private memory, not safe from kill -9"));
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
        let (lanes, parker) = Lanes::new(LanesSetup {
            serial: living::next_serial(),
            logger: owner.owner.lock().logger,
            place,
            lane_bytes: config.lane_bytes_used(),
            patience: config.patience,
        })
        .map_err(memory)?;
        let lanes = Arc::new(lanes);
        let staging = Staging::new(&lanes, STAGING_BYTES_MAX).map_err(memory)?;
        let now = if config.utc_ticks { pipe::utc_anchor } else { clock::anchor };
        lanes.place.add_anchor(now());
        let catalog = Arc::new(Catalog::default());
        let sink = CatalogSink { catalog: catalog.clone(), lanes: lanes.clone() };
        let full = || memory(std::io::ErrorKind::StorageFull.into());
        let sink = callsite::add_sink(Arc::new(sink)).ok_or_else(full)?;
        let (progress, queue) = (Arc::new(Progress::default()), Arc::new(Queue::default()));
        let writer = writer_setup(owner, &queue, &progress, &lanes);
        let upkeep = Arc::new(Upkeep::new(&owner.dir, &header, config));
        upkeep.at_start();
        let scribe = Scribe::new(ScribeSetup {
            lanes: lanes.clone(),
            catalog,
            progress: progress.clone(),
            queue: queue.clone(),
            parker,
            staging,
            plan: SegmentPlan { dir: owner.dir.clone(), header, rotate: config.rotate_used() },
            durability: config.durability,
            write_within: config.write_within,
            codec: config.codec(),
            now,
        });
        let started = spawn("ttlog-files", move || run_writer(writer)).and_then(|_| {
            spawn("ttlog-scribe", move || scribe.run()).inspect_err(|_| queue.end())
        });
        let scribe = started.inspect_err(|_| callsite::remove_sink(sink))?;
        let (keeps, watched) = (upkeep.clone(), progress.clone());
        // Without the thread a start and an end still look.
        let _ = spawn("ttlog-upkeep", move || keeps.run(&watched));
        Ok(Arc::new(Self {
            lanes,
            progress,
            filter,
            sink,
            owner: owner.clone(),
            upkeep,
            lanes_reason,
            is_global: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            scribe: Mutex::new(Some(scribe)),
        }))
    }

    pub(crate) fn ask(&self, ask: Ask) -> Ticket {
        let ticket = self.progress.ask(ask);
        self.lanes.ready.wake();
        ticket
    }

    pub(crate) fn is_ended(&self) -> bool {
        // ord: Relaxed, a check.
        self.ended.load(Ordering::Relaxed)
    }

    /// Asks for the end, waits for it, and lets go of everything; `None` when the time ran out.
    fn finish(&self, ask: Ask, timeout: Duration) -> Result<Flushed, Error> {
        let deadline = Instant::now() + timeout.min(Duration::from_secs(86_400 * 365));
        let ticket = self.ask(ask);
        let answer = self.progress.wait(ticket, timeout).map_err(unanswered);
        let end = self.progress.wait_end(deadline.saturating_duration_since(Instant::now()));
        if !end {
            // The disk does not answer: what is left stays in lanes and staging for the next start.
            return answer.and(Err(Error::new(Kind::Timeout)));
        }
        self.upkeep.at_end(&self.progress, deadline.saturating_duration_since(Instant::now()));
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
        // ord: Relaxed, only elects one of several calls.
        if self.ended.swap(true, Ordering::Relaxed) {
            return Err(Error::new(Kind::Ended));
        }
        // ord: Relaxed, under the lock of the global logger when it matters.
        if self.is_global.load(Ordering::Relaxed) {
            callsite::uninstall();
        }
        let result = self.finish(Ask::Shutdown, timeout);
        living::remove(self.lanes.serial);
        callsite::remove_sink(self.sink);
        RUNNING.lock().retain(|other| !Arc::ptr_eq(other, self));
        let mut global = GLOBAL.lock();
        if global.as_ref().is_some_and(|global| Arc::ptr_eq(global, self)) {
            *global = None;
        }
        result
    }
}

struct RemoveOnFailure<'a>(&'a Place);

impl Drop for RemoveOnFailure<'_> {
    fn drop(&mut self) {
        self.0.unlock();
        self.0.remove();
    }
}

extern "C" fn at_exit() {
    if process::is_forked() {
        return;
    }
    let Some(running) = RUNNING.try_lock_for(EXIT_WAIT) else { return };
    let running = running.clone();
    for inner in running {
        // ord: Relaxed, only elects one of several calls.
        if !inner.ended.swap(true, Ordering::Relaxed) {
            let _ = inner.finish(Ask::Exit(handle::thread_id()), EXIT_WAIT);
        }
    }
}

fn spawn<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, Error> {
    #[cfg(test)]
    if tests::REFUSED.get() == name {
        let refused = std::io::ErrorKind::WouldBlock.into();
        return Err(Error::caused_by(Kind::Thread, refused));
    }
    let work = move || {
        handle::mark_internal();
        // Signals are for the program's own threads.
        process::block_signals();
        work()
    };
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(512 << 10)
        .spawn(work)
        .map_err(|error| Error::caused_by(Kind::Thread, error))
}

fn writer_setup(
    owner: &Arc<OwnerLock>,
    queue: &Arc<Queue>,
    progress: &Arc<Progress>,
    lanes: &Arc<Lanes>,
) -> WriterSetup {
    let (owner, lanes, dir) = (owner.clone(), lanes.clone(), owner.dir.clone());
    let check = lanes.clone();
    WriterSetup {
        disk: Box::new(FileDisk),
        dir,
        queue: queue.clone(),
        progress: progress.clone(),
        wake: Box::new(move || lanes.ready.wake()),
        check_owner: Box::new(move || owner.check(&check)),
    }
}

/// Makes the directory, with mode 0750, and returns its absolute path.
fn make_dir(dir: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let refuse = |what, error| Error::at(Kind::Directory(what), dir, error);
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return refuse("the log directory is a file; choose another name", error);
        }
        refuse("the log directory cannot be made; make it, or choose another", error)
    })?;
    std::fs::canonicalize(dir).map_err(|error| refuse("the log directory cannot be used", error))
}

fn random_id() -> std::io::Result<u64> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

fn owner_of(config: &Builder, dir: &Path, logger: u64, place: &Place) -> std::io::Result<Owner> {
    let (app, version) = config.app.clone().unwrap_or_else(|| (executable(), String::new()));
    Ok(Owner {
        logger,
        app,
        version,
        boot: owner::boot_id(),
        clock: if config.utc_ticks { CLOCK_UTC } else { clock::kind() },
        mount: adopt::mount_namespace(),
        pid: std::process::id(),
        start_ns: clock::wall_ns(),
        log_dir: dir.to_owned(),
        lanes: place.hint()?,
    })
}

fn executable() -> String {
    let path = std::env::current_exe().ok();
    let stem = path.as_deref().and_then(Path::file_stem);
    stem.map_or_else(|| "app".into(), |stem| stem.to_string_lossy().into_owned())
}

fn segment_header(owner: &Owner) -> SegmentHeader {
    SegmentHeader {
        logger: owner.logger,
        boot: owner.boot,
        clock: owner.clock,
        app: owner.app.clone(),
        version: owner.version.clone(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: owner.pid,
        uid: rustix::process::getuid().as_raw(),
        ..SegmentHeader::default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The thread that cannot be started.
        pub(super) static REFUSED: Cell<&'static str> = const { Cell::new("") };
    }

    #[test]
    fn a_start_whose_threads_cannot_be_started_leaves_nothing() {
        let (dir, lanes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let count = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        let files = || {
            let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let comm = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
            names.filter_map(|task| comm(task).ok()).filter(|n| n == "ttlog-files\n").count()
        };
        for name in ["ttlog-files", "ttlog-scribe"] {
            REFUSED.set(name);
            let before = files();
            let error = Builder::new(dir.path()).lanes_in(lanes.path()).build().unwrap_err();
            assert!(error.to_string().contains("ulimit -u"), "{error}");
            assert_eq!((count(dir.path()), count(lanes.path())), (0, 0), "{name}");
            let began = Instant::now();
            while files() > before {
                assert!(began.elapsed() < Duration::from_secs(10), "its file thread lives on");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        REFUSED.set("");
        let handle = Builder::new(dir.path()).lanes_in(lanes.path()).build().unwrap();
        handle.shutdown(Duration::from_secs(60)).unwrap();
    }
}
