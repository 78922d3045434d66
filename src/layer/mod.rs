//! Layer: events of tracing become records in lanes.
//!
//! ```text
//! tracing::info!(…) ─► Registry and other layers ─► Layer::on_event
//!                                                     │ sites: the callsite's statement, one look
//!                                                     │ visit: values as they will lie in the lane
//!                                                     │ spans: the span it is in, by its own id
//!                                                     └─► lane
//! ```
//!
//! A callsite of tracing is met once and known from then on by the address of its metadata. (Its
//! `Identifier` will not do: it is the address of a callsite, and callsites without size, such as
//! those of tracing-log, may have the same.)
//!
//! # Failure
//!
//! Nothing here returns an error to tracing: what could not be taken is counted as lost and told in
//! the stream, as for ttlog's own macros.

mod builder;
mod sites;
mod spans;
mod subscriber;
mod visit;

use std::sync::{Arc, OnceLock};

use tracing_core::span::{self, Attributes, Id};
use tracing_core::{Event, Metadata, Subscriber as CoreSubscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::emit::filter::Subject;
use crate::emit::told::{NoRoom, ToldRecord, TraceIds, Values, What, with_values};
use crate::lane::{entered, handle, living, process, recorder};
use crate::logger::Inner;
use crate::record::{Cause, Level};

pub use builder::{LayerBuilder, layer};
pub use subscriber::Subscriber;

/// A [`tracing_subscriber::Layer`] that logs what a `Registry` sees; made by [`layer`].
///
/// It takes every event that reaches it: a filter is put on it like on any other layer, with
/// `with_filter`, or with [`LayerBuilder::filter`], which concerns this layer alone.
///
/// # Examples
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// # fn main() -> Result<(), ttlog::Error> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// let (layer, handle) = ttlog::layer(dir.path()).build()?;
/// let _default = tracing_subscriber::registry().with(layer).set_default();
/// tracing::info!(user.id = 42, "hello");
/// # handle.shutdown(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Layer {
    /// `None`: the environment has disabled the logger.
    to: Option<To>,
}

/// The way to a logger.
#[derive(Debug)]
struct To {
    logger: Arc<Inner>,
    /// The logger's number within the process.
    serial: u32,
    /// True when this logger has the way that needs no look at what the thread keeps.
    is_hot: bool,
    /// True when a filter was given: without one everything is taken.
    filters: bool,
    /// True when each time that a thread enters or leaves a span is told.
    tells_enters: bool,
    /// Knows the ids of the trace that a thread is in.
    trace_ids: Option<fn() -> Option<TraceIds>>,
    /// The way to the logger that a forked child started in this one's place.
    heir: OnceLock<Box<To>>,
}

impl Layer {
    #[inline(always)]
    fn to(&self) -> Option<&To> {
        self.to.as_ref().map(To::here)
    }
}

impl To {
    fn new(
        logger: Arc<Inner>,
        filters: bool,
        trace_ids: Option<fn() -> Option<TraceIds>>,
    ) -> Self {
        if trace_ids.is_some() {
            sites::have_traces();
        }
        let (serial, tells_enters) = (logger.lanes.serial, logger.tells_enters());
        let is_hot = living::claim_layer(serial);
        let heir = OnceLock::new();
        Self { logger, serial, is_hot, filters, tells_enters, trace_ids, heir }
    }

    /// The way to the logger that has this one's place in this process.
    #[inline(always)]
    fn here(&self) -> &Self {
        if self.logger.is_ended() { self.heir() } else { self }
    }

    #[cold]
    #[inline(never)]
    fn heir(&self) -> &Self {
        match self.logger.here() {
            Some(logger) if !Arc::ptr_eq(logger, &self.logger) => {
                let new = || Box::new(Self::new(logger.clone(), self.filters, self.trace_ids));
                self.heir.get_or_init(new).here()
            }
            _ => self,
        }
    }

    /// True when the log wants it from this thread now.
    #[inline(always)]
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        !self.logger.is_ended()
            && (!self.filters && !self.logger.filter.was_set() || self.filter_wants(metadata))
    }

    #[inline(never)]
    fn filter_wants(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.filter.with(|filter| {
            filter.wants_here(&Subject {
                target: metadata.target(),
                name: metadata.name(),
                level: level_of(metadata.level()),
                is_span: metadata.is_span(),
                has: &|name| metadata.fields().field(name).is_some(),
            })
        })
    }

    fn push(&self, record: ToldRecord<'_>) {
        if self.is_hot {
            handle::write_layer(self.serial, record);
        } else {
            handle::write_local(&self.logger.lanes, &record);
        }
    }

    /// Counts an event whose definition found no room.
    #[cold]
    fn lose(&self, level: Level) {
        match process::is_forked() {
            true => process::count_forked(level),
            false => self.logger.lanes.count_loss(Cause::Full, level),
        }
    }

    /// False for an event that is not wanted.
    #[inline(always)]
    fn event(&self, event: &Event<'_>, span: u64) -> bool {
        let metadata = event.metadata();
        if !self.wants(metadata) {
            return false;
        }
        let site = sites::of(metadata);
        let ready = site.and_then(|site| Some((&site.statement, site.statement.ready()?)));
        let told = match ready {
            Some((statement, defined)) if self.is_hot => {
                let fill = |values: &mut Values<'_>| event.record(values);
                statement.event(defined, span, self.serial, fill, |record| self.push(record))
            }
            _ => tell(event, site, span, |record| self.push(record)),
        };
        if told.is_err() {
            self.lose(level_of(metadata.level()));
        }
        true
    }

    /// Id of the span that an event is in.
    #[inline(always)]
    fn span_of<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> u64
    where
        S: CoreSubscriber + for<'a> LookupSpan<'a>,
    {
        match event.parent() {
            None if event.is_contextual() => entered::current(self.serial),
            None => 0,
            Some(parent) => spans::id_of(self.serial, parent, context),
        }
    }

    /// What becomes of an event that the log did not want: it may be its heir's.
    #[cold]
    #[inline(never)]
    fn unwanted<S>(&self, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: CoreSubscriber + for<'a> LookupSpan<'a>,
    {
        let here = self.here();
        let span = here.span_of(event, context);
        if std::ptr::eq(here, self) || !here.event(event, span) {
            here.record_unwanted(event, span);
        }
    }

    /// Hands an event that the log does not want to the recorder, if that does.
    #[inline(never)]
    fn record_unwanted(&self, event: &Event<'_>, span: u64) {
        let metadata = event.metadata();
        let recorder = self.logger.records(level_of(metadata.level()));
        if let Some(recorder) = recorder.filter(|_| !self.logger.is_ended()) {
            let push = |record: ToldRecord<'_>| recorder::write_now(recorder, record);
            // What is not recorded is no loss of the log.
            let _ = tell(event, sites::of(metadata), span, push);
        }
    }
}

/// Makes the record of an event, of one of tracing-log too, and hands it over.
#[cold]
#[inline(never)]
fn tell(
    event: &Event<'_>,
    site: Option<&'static sites::Site>,
    span: u64,
    push: impl FnOnce(ToldRecord<'_>),
) -> Result<(), NoRoom> {
    let what = What::Placed { span };
    match site {
        None => Err(NoRoom),
        Some(site) if site.is_log => {
            visit::with_log_record(event, |statement, values| statement.record(what, values, push))
        }
        Some(site) => with_values(&site.statement, |values| {
            event.record(values);
            site.statement.record(what, values, push)
        }),
    }
}

/// A level of tracing as ttlog's.
fn level_of(level: &tracing_core::Level) -> Level {
    match *level {
        tracing_core::Level::TRACE => Level::Trace,
        tracing_core::Level::DEBUG => Level::Debug,
        tracing_core::Level::INFO => Level::Info,
        tracing_core::Level::WARN => Level::Warn,
        tracing_core::Level::ERROR => Level::Error,
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: CoreSubscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.open(attributes, id, &context);
        }
    }

    fn on_record(&self, id: &Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.record(id, values, &context);
        }
    }

    fn on_follows_from(&self, id: &Id, other: &Id, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.follows_from(id, other, &context);
        }
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Not `to()`: a logger that has ended wants nothing, and that is looked at anyway.
        if let Some(to) = &self.to
            && !to.event(event, to.span_of(event, &context))
        {
            to.unwanted(event, &context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.enter(id, &context);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.exit(id, &context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(to) = self.to() {
            to.close(&id, &context);
        }
    }
}
