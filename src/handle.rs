//! Handle: how a program holds its logger.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::emit::args::Args;
use crate::emit::callsite::Callsite;
use crate::emit::route::{LaneRecord, LoggerRef};
use crate::error::{Error, Kind};
use crate::lane::lanes::Lanes;
use crate::lane::{handle, process};
use crate::logger::Inner;
use crate::record::{Cause, Level};
use crate::scribe::progress::{Ask, Mark, Ticket, Unanswered};
use crate::stats::{Health, Stats};

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
        if process::is_forked() {
            return Err(Error::new(Kind::Forked));
        }
        match &self.0 {
            Some(inner) if inner.is_ended() => Err(Error::new(Kind::Ended)),
            inner => Ok(inner.as_ref()),
        }
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
    /// When the time runs out, or the logger has ended.
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

    /// What the logger has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        if process::is_forked() {
            // A thread that is not in this child may hold the locks behind the other numbers.
            return Stats { losses: process::unplaced(), ..Stats::default() };
        }
        let Some(inner) = &self.0 else { return Stats::default() };
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
        let Some(inner) = self.0.as_ref().filter(|_| !process::is_forked()) else { return ended };
        let lanes = inner.lanes.place.path().map(Path::to_owned);
        let gone = inner.lanes.place.gone();
        Health {
            crash_safe: lanes.is_some() && gone.is_none(),
            lanes,
            lanes_reason: gone.or_else(|| inner.lanes_reason.clone()),
            failing: inner.progress.failing().0,
            suspect: inner.progress.suspect(),
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
    fn wants(&self, target: &str, level: Level) -> bool {
        let Some(inner) = &self.0 else { return false };
        !inner.is_ended() && inner.filter.enabled(target, level)
    }

    fn push<A: Args>(&self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        if let Some(inner) = &self.0 {
            handle::write_local(&inner.lanes, &LaneRecord::new(site, id, flags, args));
        }
    }

    fn lose(&self, level: Level) {
        if let Some(inner) = &self.0 {
            inner.lanes.count_loss(Cause::Full, level);
        }
    }

    fn lose_interrupted(&self, level: Level) {
        if let Some(inner) = &self.0 {
            inner.lanes.count_loss(Cause::Reentrant, level);
        }
    }
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
        match inner.progress.poll(*ticket, context.waker()) {
            Some(answer) => Poll::Ready(answer.map(flushed).map_err(unanswered)),
            None => Poll::Pending,
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

