//! Recorded: what becomes of events that the filter leaves out, where there is a flight recorder.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Inner, spawn};
use crate::dump::Dumped;
use crate::emit::callsite::{Callsite, Recorded};
use crate::emit::filter::Interest;
use crate::error::{Error, Kind};
use crate::lane::living;
use crate::record::Level;
use crate::recorder::{Keeper, Panicking};
use crate::scribe::progress::Ask;

/// How long an end waits for a dump that an event has asked for.
const LAST_WAIT: Duration = Duration::from_secs(2);

impl Inner {
    /// True when the log wants an event, or a span, of a statement from this thread now.
    pub(crate) fn logs(&self, site: &Callsite) -> bool {
        site.metadata().with_subject(|subject| self.filter.with(|filter| filter.wants_here(subject)))
    }

    /// True when the log or its recorder wants another event, or a span, of a statement. Remembers in
    /// the statement what holds for all its events.
    #[inline(never)]
    pub(crate) fn wants(&self, site: &'static Callsite) -> bool {
        let version = self.filter.version().now();
        // Known already, where the handle is that of the process before a fork.
        if site.verdict().logs_all(version) {
            return true;
        }
        if site.verdict().logs_none(version) || self.is_ended() {
            return false;
        }
        let metadata = site.metadata();
        let interest =
            metadata.with_subject(|subject| self.filter.with(|filter| filter.interest(subject)));
        let is_limited = !metadata.is_span && !self.limits.is_empty();
        let is_recorded = !metadata.is_span && self.records(metadata.level).is_some();
        let logs = match interest {
            Interest::Always => true,
            Interest::Sometimes => self.logs(site),
            Interest::Never => false,
        };
        if logs && is_limited {
            return self.limits.passes(site, &self.lanes);
        }
        if interest != Interest::Sometimes && (logs || !is_recorded) {
            site.verdict().note(version, logs);
        }
        logs || is_recorded
    }

    /// False for a level of which the log wants nothing, so that an event came for the recorder: its
    /// loss is none of the log.
    pub(crate) fn may_log(&self, level: Level) -> bool {
        let wants = || self.filter.with(|filter| filter.max_level().is_some_and(|max| level >= max));
        self.records(level).is_none() || wants()
    }

    /// The number of the recorder, if it keeps events of this level.
    #[inline]
    pub(crate) fn records(&self, level: Level) -> Option<u32> {
        let recorder = self.recorder.get()?.recorder();
        (level >= recorder.level).then(|| recorder.serial())
    }

    /// What statements without a logger need to know of the recorder.
    pub(super) fn recorded(&self) -> Option<Recorded> {
        let recorder = self.recorder.get()?.recorder();
        Some(Recorded { epoch: recorder.serial(), level: recorder.level })
    }

    /// Has a dump of the recorder written, and waits for it for so long.
    pub(crate) fn dump(&self, to: Option<PathBuf>, wait: Duration) -> Result<Dumped, Error> {
        let keeper = self.recorder.get().ok_or_else(|| Error::new(Kind::NoRecorder))?;
        keeper.dump(to, wait)
    }

    /// Says that a panic is about to be logged; `None` without a recorder.
    pub(super) fn begin_panic(&self) -> Option<Panicking> {
        self.recorder.get().filter(|_| !self.is_ended()).map(|keeper| keeper.begin_panic())
    }

    /// Makes the recorder, if there is to be one, lets threads find it, and starts its keeper.
    pub(super) fn start_recorder(&self) -> Result<(), Error> {
        let Some(keeper) = Keeper::new(&self.config, &self.lanes)? else { return Ok(()) };
        let keeper = self.recorder.get_or_init(|| keeper).clone();
        living::add(keeper.recorder().lanes.clone());
        let (lanes, owner) = (self.lanes.clone(), self.owner.clone());
        let run = move || keeper.run(&lanes, &|| owner.owner.lock().clone());
        spawn("ttlog-recorder", run).map(|_| ())
    }

    /// Ends the recorder, behind the dump that an event has asked for last.
    pub(super) fn end_recorder(&self, timeout: Duration) {
        let Some(keeper) = self.recorder.get() else { return };
        let until = Instant::now() + LAST_WAIT.min(timeout / 2);
        let left = || until.saturating_duration_since(Instant::now());
        if self.config.dump_on.is_some() {
            // What asks for it may not have been seen yet.
            let ticket = self.ask(Ask::Flush);
            if self.progress.wait(ticket, left()).is_ok() {
                keeper.dump_last(left());
            }
        }
        keeper.end();
        living::remove(keeper.recorder().serial());
    }
}
