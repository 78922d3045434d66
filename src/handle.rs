//! Handle: how a program holds its logger.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::dump::Dumped;
use crate::emit::Filter;
use crate::emit::args::Args;
use crate::emit::callsite::Callsite;
use crate::emit::route::{LaneRecord, LoggerRef, Way};
use crate::error::{Error, Kind};
use crate::lane::lanes::Lanes;
use crate::lane::{handle, process, recorder};
use crate::logger::Inner;
use crate::record::{Cause, Level, Losses};
use crate::scribe::progress::{Ask, Mark, Ticket, Unanswered};
use crate::stats::{Health, Stats};

/// How long a snapshot waits for the disk.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);

/// A running logger, held by any number of threads.
///
/// Dropping it ends nothing; [`Handle::shutdown`] does, and so does the end of the process. Behind
/// the end, calls are no-ops and [`init`](crate::init) may be called again.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Option<Arc<Inner>>);

/// What a flush or sync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Events of this logger that are in segments (for a sync: on the disk for good).
    pub events: u64,
}

impl Handle {
    /// The lanes, unless the logger is disabled or has ended.
    pub(crate) fn lanes(&self) -> Option<&Arc<Lanes>> {
        self.inner().ok().flatten().map(|inner| &inner.lanes)
    }

    fn inner(&self) -> Result<Option<&Arc<Inner>>, Error> {
        let Some(inner) = &self.0 else { return Ok(None) };
        match inner.here() {
            None => Err(Error::new(Kind::Forked)),
            Some(inner) if inner.is_ended() => Err(Error::new(Kind::Ended)),
            inner => Ok(inner),
        }
    }

    /// The logger, also one that has ended; `None` for a disabled one and in a forked child.
    fn here(&self) -> Option<&Arc<Inner>> {
        self.0.as_ref()?.here()
    }

    fn wait(&self, ask: Ask, timeout: Duration) -> Result<Flushed, Error> {
        let Some(inner) = self.inner()? else { return Ok(Flushed { events: 0 }) };
        let ticket = inner.ask(ask);
        inner.progress.wait(ticket, timeout).map(flushed).map_err(unanswered)
    }

    /// Waits until everything that was accepted before the call is in a segment: readable by other
    /// processes, and safe from everything but a power cut.
    ///
    /// # Errors
    ///
    /// When the time runs out, or the logger has ended. Then nobody asks for it any more; what was
    /// accepted goes its way all the same.
    pub fn flush(&self, timeout: Duration) -> Result<Flushed, Error> {
        self.wait(Ask::Flush, timeout)
    }

    /// Like [`Handle::flush`], and safe from a power cut too.
    ///
    /// # Errors
    ///
    /// When the time runs out, the logger has ended, or the disk refused to sync.
    pub fn sync(&self, timeout: Duration) -> Result<Flushed, Error> {
        self.wait(Ask::Sync, timeout)
    }

    /// Like [`Handle::flush`], for async code; on any executor. Costs nothing while it waits.
    pub fn flush_async(&self) -> FlushFuture {
        match self.inner() {
            Ok(Some(inner)) => {
                let ticket = inner.ask(Ask::Flush);
                FlushFuture { waits: Some((inner.clone(), ticket)), error: None }
            }
            Ok(None) => FlushFuture { waits: None, error: None },
            Err(error) => FlushFuture { waits: None, error: Some(error) },
        }
    }

    /// Ends the current segment; the next event begins a new one.
    ///
    /// # Errors
    ///
    /// When the disk does not answer within five seconds, or the logger has ended.
    pub fn rotate(&self) -> Result<(), Error> {
        self.wait(Ask::Rotate, Duration::from_secs(5)).map(|_| ())
    }

    /// Changes which events are logged, at once in every statement, in `RUST_LOG`'s syntax.
    ///
    /// With a `ttl` the logger falls back by itself, to what was set for good: by the last call
    /// without one, or when the logger was started. A call takes the place of the one before.
    ///
    /// # Errors
    ///
    /// When a directive cannot be read or applied (see [`Filter`]), when the logger has ended, or
    /// when the caller interrupts the list of statements, as a signal handler may; then nothing is
    /// changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), ttlog::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # use std::time::{Duration, Instant};
    /// let logger = ttlog::Builder::new(dir.path()).filter("info").build()?;
    /// logger.set_filter("info,app::db=debug", Some(Duration::from_secs(300)))?;
    /// assert_eq!(logger.filter().to_string(), "info,app::db=debug");
    /// # logger.shutdown(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_filter(&self, directives: &str, ttl: Option<Duration>) -> Result<(), Error> {
        let filter = Filter::parse(directives)
            .map_err(|error| Error::new(Kind::Filter(error.to_string())))?;
        let Some(inner) = self.inner()? else { return Ok(()) };
        if inner.set_filter(filter, ttl) {
            return Ok(());
        }
        Err(Error::new(Kind::Filter("the list of statements is in use by this very thread".into())))
    }

    /// Which events are logged at the moment; a disabled logger logs none.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let off = || Filter::parse_lossy("off").0;
        self.here().map_or_else(off, |inner| Filter::clone(&inner.filter.current()))
    }

    /// Asks the filter of the moment, without a copy of it; false when the logger has ended.
    pub(crate) fn filter_now(&self, ask: impl FnOnce(&Filter) -> bool) -> bool {
        self.here().is_some_and(|inner| inner.filter.with(ask))
    }

    /// How long the filter of the moment stands before it falls back; `None` for good.
    #[must_use]
    pub fn filter_left(&self) -> Option<Duration> {
        let until = self.here()?.filter.until()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Writes what the [flight recorder](crate::Builder::flight_recorder) keeps into a segment of
    /// its own at `path`, with the events of the log of the same time beside it, and waits until it
    /// is on the disk. Until then a file that is there under the name stays as it is, and is whole;
    /// then the new one takes its place.
    ///
    /// Returns how many events the file holds. `ttlog FILE` shows them, in the order of time.
    ///
    /// # Errors
    ///
    /// When the logger has no flight recorder or has ended, when the path is a directory or cannot
    /// be written to, or when the disk does not answer within a minute; then the dump goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), ttlog::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// use ttlog::Level;
    ///
    /// let logger = ttlog::Builder::new(dir.path()).flight_recorder(Level::TRACE, 1 << 20).build()?;
    /// ttlog::trace!(logger: &logger, "not in the log");
    /// # if logger.health().crash_safe {
    /// assert_eq!(logger.snapshot(dir.path().join("what-was.ttdump"))?.events, 1);
    /// # }
    /// # logger.shutdown(std::time::Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self, path: impl AsRef<Path>) -> Result<Flushed, Error> {
        let Some(inner) = self.inner()? else { return Ok(Flushed { events: 0 }) };
        let dumped = inner.dump(Some(path.as_ref().to_owned()), SNAPSHOT_WAIT)?;
        Ok(Flushed { events: dumped.events })
    }

    /// The same into a file beside the log, for who asks from outside.
    pub(crate) fn dump(&self, timeout: Duration) -> Result<Option<Dumped>, Error> {
        let Some(inner) = self.inner()? else { return Ok(None) };
        inner.dump(None, timeout).map(Some)
    }

    /// What the logger has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Some(inner) = self.here() else {
            // In a child, a thread that is not there may hold the locks behind the other numbers.
            let losses = if self.0.is_some() { process::unplaced() } else { Losses::NONE };
            return Stats { losses, ..Stats::default() };
        };
        let (mut losses, truncated) = inner.lanes.losses();
        losses.add_all(&process::unplaced());
        let (bytes_written, segments) = inner.progress.sums();
        let (spilled, spilled_durable) = inner.progress.spilled();
        let mut lanes = 0;
        inner.lanes.registry.walk(|_| lanes += 1);
        Stats {
            written: inner.progress.written().events + spilled,
            durable: inner.progress.durable().events + spilled_durable,
            spilled,
            truncated,
            suppressed: inner.limits.left_out(),
            bytes_written,
            segments,
            lanes,
            lanes_bytes: inner.lanes.place.bytes_used(),
            disk_errors: inner.progress.failing().1,
            losses,
        }
    }

    /// How the logger is.
    #[must_use]
    pub fn health(&self) -> Health {
        let ended = Health { ended: true, ..Health::default() };
        let Some(inner) = self.here() else { return ended };
        let lanes = inner.lanes.place.path().map(Path::to_owned);
        let gone = inner.lanes.place.gone();
        Health {
            crash_safe: lanes.is_some() && gone.is_none(),
            lanes,
            lanes_reason: gone.or_else(|| inner.lanes_reason.clone()),
            failing: inner.progress.failing().0,
            suspect: inner.progress.suspect(),
            control_reason: inner.control.refused(),
            io_reason: inner.progress.io_reason(),
            ended: inner.is_ended(),
        }
    }

    /// Ends the logger: turns its callsites off, writes what was accepted, seals the segment, syncs
    /// unless the durability is `Never`, and removes its lanes.
    ///
    /// # Errors
    ///
    /// When the logger has ended before, or when the disk does not answer in time; then what is
    /// left stays in the lanes' place, where `ttlog` reads it and the next start takes it up.
    pub fn shutdown(&self, timeout: Duration) -> Result<Flushed, Error> {
        let Some(inner) = self.inner()? else { return Ok(Flushed { events: 0 }) };
        inner.end(timeout)
    }
}

impl LoggerRef for Handle {
    #[inline(always)]
    fn wants(&self, site: &'static Callsite) -> bool {
        let Some(inner) = &self.0 else { return false };
        site.verdict().logs_all(inner.filter.version().now())
            || inner.here().unwrap_or(inner).wants(site)
    }

    #[inline(always)]
    fn push<A: Args>(&self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        let Some(inner) = &self.0 else { return };
        if site.verdict().logs_all(inner.filter.version().now()) {
            handle::write_named(&inner.lanes, LaneRecord::new(site, id, flags, args));
        } else {
            push_slowly(inner, site, LaneRecord::new(site, id, flags, args));
        }
    }

    fn lose(&self, level: Level) {
        if let Some(inner) = self.here().filter(|inner| inner.may_log(level)) {
            inner.lanes.count_loss(Cause::Full, level);
        }
    }

    fn lose_interrupted(&self, level: Level) {
        if let Some(inner) = self.0.as_ref().filter(|inner| inner.may_log(level)) {
            inner.lanes.count_loss(Cause::Reentrant, level);
        }
    }

    fn serial(&self) -> u32 {
        self.here().map_or(0, |inner| inner.lanes.serial)
    }

    fn way(&self) -> Option<Way> {
        self.here().map(|inner| Way::named(inner.lanes.clone(), inner.tells_enters()))
    }
}

/// The way of an event of which it is not known that the logger logs every one.
#[inline(never)]
fn push_slowly<A: Args>(inner: &Arc<Inner>, site: &'static Callsite, record: LaneRecord<A>) {
    let inner = inner.here().unwrap_or(inner);
    if let Some(recorder) = inner.records(site.metadata().level)
        && !inner.logs(site)
    {
        return recorder::write_now(recorder, record);
    }
    handle::write_local(&inner.lanes, &record);
}

/// The future of [`Handle::flush_async`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FlushFuture {
    waits: Option<(Arc<Inner>, Ticket)>,
    error: Option<Error>,
}

impl Future for FlushFuture {
    type Output = Result<Flushed, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let Some((inner, ticket)) = &self.waits else {
            return Poll::Ready(Ok(Flushed { events: 0 }));
        };
        let answer = inner.progress.poll(*ticket, context.waker());
        let Some(answer) = answer else { return Poll::Pending };
        self.waits = None;
        Poll::Ready(answer.map(flushed).map_err(unanswered))
    }
}

impl Drop for FlushFuture {
    fn drop(&mut self) {
        // In a child, a thread that is not there may hold the lock.
        if let Some((inner, ticket)) = self.waits.take().filter(|it| !it.0.lanes.is_parents()) {
            inner.progress.abandon(ticket);
        }
    }
}

pub(crate) fn flushed(mark: Mark) -> Flushed {
    Flushed { events: mark.events }
}

pub(crate) fn unanswered(why: Unanswered) -> Error {
    Error::new(match why {
        Unanswered::Timeout => Kind::Timeout,
        Unanswered::Ended => Kind::Ended,
        Unanswered::Suspect => Kind::Disk(
            "an earlier sync failed, so that nothing can be called durable; see health()",
        ),
    })
}

