//! Recorder: what a user says of the flight recorder, and the thread that looks after it.
//!
//! ```text
//!  snapshot, panic, ttlog ctl ──► asks ──┐
//!  an event at dump_on ──► scribe ──► alarm ──► keeper ──► dump
//!                                               │
//!                                               └─ each tick: lanes of threads that ended, spares
//! ```
//!
//! One thread of lower priority writes every dump of a logger, so that no caller's thread, nor the
//! scribe, meets the disk for one. The alarm is looked at each tick: raising it costs the scribe a
//! store, for a block, and wakes nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::config::Builder;
use crate::dump::{self, Dumped};
use crate::error::{Error, Kind};
use crate::lane::lanes::Lanes;
use crate::lane::owner::Owner;
use crate::lane::recorder::Recorder;
use crate::monitor::Mutex;
use crate::notice::{self, Seldom};
use crate::record::Level;

/// The smallest recorder: a lane for the threads that share one, and some of their own.
const BYTES_MIN: usize = 128 << 10;
/// Behind the program's own threads, yet in time for a panic on a machine that is busy.
const NICE: i32 = 5;
/// How often the keeper looks.
const TICK: Duration = Duration::from_millis(100);
/// Events that ask for a dump make one burst while they come closer together than this.
const BURST_GAP: Duration = Duration::from_secs(10);

impl Builder {
    /// Keeps the last events of each thread, from this level on, that the filter leaves out of the
    /// log: in memory, in `bytes` for the whole process, the oldest making room for new ones. By
    /// default nothing is kept.
    ///
    /// They come to a disk with a *dump* alone, a segment of its own: by [`Handle::snapshot`], when
    /// a thread panics, when an event asks for one ([`Builder::dump_on`]), or by `ttlog dump`, from
    /// outside and of a process that hangs or was killed too. Beside them stand the events of the
    /// log of the same time, so that `ttlog FILE` tells the whole story. A panic is logged as by
    /// [`Builder::log_panics`].
    ///
    /// Dumps that nobody named lie beside the log, as
    /// `<app>-<time>-<logger>-<ms>.ttdump`; of a program the newest ten are kept. `ttlog DIR` does
    /// not show them.
    ///
    /// A thread begins with 32 KiB. A busy one gets 256 KiB, then a quarter of all bytes, as long
    /// as three quarters are not in use. What threads kept that have ended makes room first, once
    /// lanes take more than half. An event in a span names it if that is in the log.
    ///
    /// What the recorder gives up is no loss of the log. A rate limit does not concern it, keys that
    /// are redacted are so there too, and what `max_level_…` features remove is not recorded either.
    ///
    /// Where lanes lie in private memory nobody could read what it keeps: with
    /// [`Builder::crash_safe`]`(false)` the logger does not start; where shared memory is not to be
    /// had it starts without the recorder, and says so.
    ///
    /// [`Handle::snapshot`]: crate::Handle::snapshot
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ttlog::Error> {
    /// use ttlog::Level;
    ///
    /// let logger = ttlog::Builder::new("logs")
    ///     .filter("info")
    ///     .flight_recorder(Level::TRACE, 16 << 20)
    ///     .dump_on(Level::ERROR)
    ///     .init()?;
    /// ttlog::trace!("kept in memory, and in the log's directory once something went wrong");
    /// # Ok(())
    /// # }
    /// ```
    pub fn flight_recorder(mut self, level: Level, bytes: usize) -> Self {
        self.recorder = Some((level, bytes));
        self
    }

    /// Makes events of the log at this level and above ask for a dump of the flight recorder, as a
    /// rule within a fifth of a second, by a thread of lower priority.
    ///
    /// A burst makes one: events that come within ten seconds of the one before ask for no other.
    /// When the logger ends, what an event has asked for and was not written yet is written first.
    pub fn dump_on(mut self, level: Level) -> Self {
        self.dump_on = Some(level);
        self
    }

    /// Refuses settings of the recorder that make no sense.
    pub(crate) fn check_recorder(&self) -> Result<(), Error> {
        use crate::lane::place::LanesChoice;
        let Some((_, bytes)) = self.recorder else {
            return match self.dump_on {
                Some(_) => Err(Error::config("dump_on needs a flight_recorder; set both")),
                None => Ok(()),
            };
        };
        if bytes < BYTES_MIN {
            let what = format!("flight_recorder with {bytes} bytes is too small; use 128 KiB or more");
            return Err(Error::config(what));
        }
        if self.lanes == Some(LanesChoice::Private) {
            let what = "flight_recorder needs lanes in shared memory; leave crash_safe(false) out";
            return Err(Error::config(what));
        }
        Ok(())
    }
}

/// What a logger has of its keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    recorder: Recorder,
    asks: Sender<Ask>,
    /// Until the thread takes it.
    asked: Mutex<Option<Receiver<Ask>>>,
    /// Panics that are being told: their events raise no alarm of their own.
    panics: AtomicU32,
}

type Answer = Sender<Result<Dumped, Error>>;

/// What the keeper is asked for.
#[derive(Debug)]
enum Ask {
    /// A dump, beside the log unless it says where.
    Dump(Option<PathBuf>, Answer),
    /// The same, unless one was written for a panic before, of the same burst.
    Panic(Answer),
    /// The last dump, if an event has asked for one.
    Last(Answer),
    End,
}

/// A panic that is being told, until it is dropped.
#[derive(Debug)]
pub(crate) struct Panicking(Arc<Keeper>);

impl Drop for Panicking {
    fn drop(&mut self) {
        // ord: Release, pairs with the Acquire in `tick`.
        self.0.panics.fetch_sub(1, Ordering::Release);
    }
}

impl Panicking {
    /// Dumps what led to it, for so long at most.
    pub(crate) fn dump(&self, wait: Duration) {
        // The keeper says what went wrong.
        let _ = self.0.ask(Ask::Panic, wait);
    }
}

impl Keeper {
    /// Makes the recorder of a logger, if it is to have one.
    pub(crate) fn new(config: &Builder, logger: &Lanes) -> Result<Option<Arc<Self>>, Error> {
        let Some((level, bytes)) = config.recorder else { return Ok(None) };
        if logger.place.path().is_none() {
            // Why, is said of the lanes.
            notice::say("there is no flight recorder: lanes lie in private memory");
            return Ok(None);
        }
        let refuse = |error| {
            Error::caused_by(Kind::Setting(format!("flight_recorder with {bytes} bytes")), error)
        };
        let recorder = Recorder::new(level, bytes, logger).map_err(refuse)?;
        if let Some(level) = config.dump_on {
            logger.alarm.set(level);
        }
        let (asks, asked) = channel();
        let (asked, panics) = (Mutex::new(Some(asked)), AtomicU32::new(0));
        Ok(Some(Arc::new(Self { recorder, asks, asked, panics })))
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Has a dump written, and waits for it for so long.
    pub(crate) fn dump(&self, to: Option<PathBuf>, wait: Duration) -> Result<Dumped, Error> {
        self.ask(|answer| Ask::Dump(to, answer), wait)
    }

    /// Has the last dump written if an event has asked for one.
    pub(crate) fn dump_last(&self, wait: Duration) {
        let _ = self.ask(Ask::Last, wait);
    }

    fn ask(&self, ask: impl FnOnce(Answer) -> Ask, wait: Duration) -> Result<Dumped, Error> {
        let (answer, answered) = channel();
        let ended = || Error::new(Kind::Ended);
        self.asks.send(ask(answer)).map_err(|_| ended())?;
        match answered.recv_timeout(wait) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(Error::new(Kind::Timeout)),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// Says that a panic is about to be logged, which asks for a dump of its own.
    pub(crate) fn begin_panic(self: &Arc<Self>) -> Panicking {
        // ord: Relaxed, before the event that would raise the alarm is logged.
        self.panics.fetch_add(1, Ordering::Relaxed);
        Panicking(self.clone())
    }

    /// Ends the recorder, at once; a dump that is being written is finished.
    pub(crate) fn end(&self) {
        let _ = self.asks.send(Ask::End);
        self.recorder.end();
    }

    /// The keeper's thread, which dumps when it is asked, or when the alarm was raised in `logger`.
    pub(crate) fn run(&self, logger: &Lanes, owner: &dyn Fn() -> Owner) {
        let Some(asked) = self.asked.lock().take() else { return };
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        let mut work = Work {
            logger,
            owner,
            burst: None,
            panic: None,
            notice: Seldom::new(BURST_GAP),
        };
        let mut next = Instant::now() + TICK;
        loop {
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Ask::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(ask) => work.answer(ask),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                self.recorder.tend();
                // ord: Acquire, pairs with the Release in `Panicking::drop`: its dump is known.
                if self.panics.load(Ordering::Acquire) == 0 {
                    let _ = work.look_at_alarm();
                }
            }
        }
    }
}

/// What the keeper's thread works with.
struct Work<'a> {
    logger: &'a Lanes,
    owner: &'a dyn Fn() -> Owner,
    /// When the burst that was dumped for last was last heard of.
    burst: Option<Instant>,
    /// When a panic was dumped last.
    panic: Option<Instant>,
    notice: Seldom,
}

impl Work<'_> {
    fn answer(&mut self, ask: Ask) {
        let (result, answer) = match ask {
            Ask::Dump(to, answer) => (self.dump(to.as_deref()), answer),
            Ask::Panic(answer) => (self.dump_panic(), answer),
            Ask::Last(answer) => (self.look_at_alarm(), answer),
            Ask::End => return,
        };
        // Who waited for it may have gone.
        let _ = answer.send(result);
    }

    fn dump(&mut self, to: Option<&Path>) -> Result<Dumped, Error> {
        let owner = (self.owner)();
        let dumped = dump::dump(&owner, &owner.log_dir, to);
        if let (Err(error), None) = (&dumped, to) {
            self.notice.say(|| format!("the flight recorder was not dumped: {error}"));
        }
        dumped
    }

    fn dump_panic(&mut self) -> Result<Dumped, Error> {
        let is_same = self.panic.is_some_and(|last| last.elapsed() < BURST_GAP);
        (self.burst, self.panic) = (Some(Instant::now()), Some(Instant::now()));
        if is_same { Err(Error::new(Kind::Timeout)) } else { self.dump(None) }
    }

    /// Dumps for events that have asked for it, unless they are of a burst that was dumped for.
    fn look_at_alarm(&mut self) -> Result<Dumped, Error> {
        if !self.logger.alarm.take() {
            return Err(Error::new(Kind::Ended));
        }
        let is_same = self.burst.is_some_and(|last| last.elapsed() < BURST_GAP);
        self.burst = Some(Instant::now());
        if is_same { Err(Error::new(Kind::Timeout)) } else { self.dump(None) }
    }
}
