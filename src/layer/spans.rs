//! Spans: what the layer keeps of a span while it is open.
//!
//! # Layout
//!
//! ```text
//! registry's span ── extensions ── [(logger, Arc<OpenSpan>)]   one for each layer
//! ```
//!
//! A span has an id of its own, since those of a registry are given again once a span is closed.
//! Which span a thread is in `lane/entered` knows, for the layer as for ttlog's own macros.

use std::sync::Arc;

use tracing_core::Subscriber;
use tracing_core::span::{Attributes, Id, Record};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{To, level_of, sites};
use crate::emit::told::{NoRoom, OpenSpan, Step, ToldRecord, Values};
use crate::lane::entered;

/// The states of a registry's span, by the number of the logger.
struct States {
    first: Arc<OpenSpan>,
    others: Vec<Arc<OpenSpan>>,
}

impl States {
    fn of(&self, serial: u32) -> Option<&Arc<OpenSpan>> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|state| state.serial == serial)
    }
}

/// The state of a span; `None` when the logger did not see it open.
fn state<S>(serial: u32, id: &Id, context: &Context<'_, S>) -> Option<Arc<OpenSpan>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let span = context.span(id)?;
    let extensions = span.extensions();
    extensions.get::<States>()?.of(serial).cloned()
}

/// Id of a span as this logger knows it, or of the nearest around it that it knows; 0 for none.
#[cold]
pub(super) fn id_of<S>(serial: u32, id: &Id, context: &Context<'_, S>) -> u64
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(span) = context.span(id) else { return 0 };
    let known = span.scope().find_map(|span| {
        let extensions = span.extensions();
        Some(extensions.get::<States>()?.of(serial)?.id)
    });
    known.unwrap_or(0)
}

impl To {
    pub(super) fn open<S>(&self, attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = attributes.metadata();
        if !self.wants(metadata) {
            return;
        }
        let (Some(site), Some(span)) = (sites::of(metadata), context.span(id)) else {
            return self.lose(level_of(metadata.level()));
        };
        let serial = self.serial;
        let parent = match attributes.parent() {
            None if attributes.is_contextual() => entered::current(serial),
            None => 0,
            Some(parent) => id_of(serial, parent, context),
        };
        let fill = |values: &mut Values<'_>| attributes.record(values);
        let push = |record: ToldRecord<'_>| self.push(record);
        let state = match OpenSpan::open(serial, &site.statement, parent, fill, push) {
            Ok(state) => Arc::new(state),
            Err(NoRoom) => return self.lose(level_of(metadata.level())),
        };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<States>() {
            Some(states) => states.others.push(state),
            None => extensions.insert(States { first: state, others: Vec::new() }),
        }
    }

    fn with_open<S>(&self, id: &Id, context: &Context<'_, S>, job: impl FnOnce(&OpenSpan))
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(state) = state(self.serial, id, context) {
            job(&state);
        }
    }

    fn step(&self, state: &OpenSpan, step: Step) {
        if !self.logger.is_ended() {
            state.step(step, |record| self.push(record));
        }
    }

    pub(super) fn record<S>(&self, id: &Id, new: &Record<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_open(id, context, |state| {
            if !self.logger.is_ended() {
                let fill = |values: &mut Values<'_>| new.record(values);
                state.record(fill, |record| self.push(record));
            }
        });
    }

    pub(super) fn follows_from<S>(&self, id: &Id, other: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let other = id_of(self.serial, other, context);
        if other != 0 {
            self.with_open(id, context, |state| self.step(state, Step::Follows { other }));
        }
    }

    pub(super) fn enter<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(state) = state(self.serial, id, context) else { return };
        if self.tells_enters {
            self.step(&state, Step::Enter);
        }
        if let Some(ids) = self.trace_ids
            && !self.logger.is_ended()
        {
            state.trace(ids, |record| self.push(record));
        }
        // The registry keeps the span open, under this id, while a thread is in it.
        state.enter_by(id.into_u64());
    }

    pub(super) fn exit<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let left = OpenSpan::leave_by(self.serial, id.into_u64());
        if self.tells_enters {
            // A thread that ends has no list of its spans any more.
            let state = left.or_else(|| state(self.serial, id, context));
            state.iter().for_each(|state| self.step(state, Step::Exit));
        }
    }

    pub(super) fn close<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_open(id, context, |state| {
            if !self.logger.is_ended() {
                state.close(|record| self.push(record));
            }
        });
    }
}
