//! Spans: what the layer keeps of a span while it is open, and which one a thread is in.
//!
//! # Layout
//!
//! ```text
//! registry's span ── extensions ── [(logger, Arc<State>)]     one for each layer
//! thread ── STACK: entered spans, outermost first             as the registry's own
//!        └─ CURRENT: (logger, id) of the innermost            read by every event
//! ```
//!
//! A span has an id of its own, since those of a registry are given again once a span is closed.
//!
//! # Invariants
//!
//! - **N1** `CURRENT` is the last entry of `STACK` that entered its span anew, or nothing.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_core::Subscriber;
use tracing_core::span::{Attributes, Id, Record};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{To, level_of, sites, visit};
use crate::emit::clock;
use crate::emit::told::{NoRoom, Statement, Step, What, with_values};

/// Ids that a thread takes at a time.
const IDS: u64 = 256;

/// The first id that no thread has taken.
static NEXT_IDS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The ids that this thread has left: the next one, and the first that is not its own.
    static OWN_IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The innermost span: its logger's number, 0 for none, and its id.
    static CURRENT: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    static STACK: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// An open span of one logger.
#[derive(Debug)]
struct State {
    id: u64,
    statement: &'static Statement,
    opened: u64,
    /// Ticks that threads spent in it, those of several at once added up.
    busy: AtomicU64,
}

/// A span that this thread is in.
#[derive(Debug)]
struct Entered {
    serial: u32,
    state: Arc<State>,
    since: u64,
    /// True when the thread was in it already.
    again: bool,
}

/// The states of a registry's span, by the number of the logger.
struct States {
    first: (u32, Arc<State>),
    others: Vec<(u32, Arc<State>)>,
}

impl States {
    fn of(&self, serial: u32) -> Option<&Arc<State>> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|(other, _)| *other == serial).map(|(_, state)| state)
    }
}

fn next_id() -> u64 {
    let take = || {
        // ord: counter.
        let first = NEXT_IDS.fetch_add(IDS, Ordering::Relaxed);
        (first, first + IDS)
    };
    OWN_IDS.with(|own| {
        let (mut next, mut end) = own.get();
        if next == end {
            (next, end) = take();
        }
        own.set((next + 1, end));
        next
    })
}

/// Id of the span that this thread is in, as this logger knows it; 0 for none.
#[inline]
pub(super) fn current(serial: u32) -> u64 {
    match CURRENT.get() {
        (0, _) => 0,
        (mine, id) if mine == serial => id,
        _ => innermost(|entered| entered.serial == serial).1,
    }
}

/// Logger and id of the innermost span of those that are wanted.
#[cold]
fn innermost(is_wanted: impl Fn(&Entered) -> bool) -> (u32, u64) {
    let found = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        let mut inner = stack.iter().rev().filter(|entered| !entered.again);
        inner.find(|entered| is_wanted(entered)).map(|entered| (entered.serial, entered.state.id))
    });
    found.ok().flatten().unwrap_or((0, 0))
}

/// The state of a span; `None` when the logger did not see it open.
fn state<S>(serial: u32, id: &Id, context: &Context<'_, S>) -> Option<Arc<State>>
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
            None if attributes.is_contextual() => current(serial),
            None => 0,
            Some(parent) => id_of(serial, parent, context),
        };
        let own = next_id();
        let statement = &site.statement;
        let what = What::Open { span: own, parent };
        let opened = with_values(statement, |values| {
            attributes.record(&mut visit::Visitor(values));
            statement.record(what, values, |record| self.push(record))
        });
        if opened == Err(NoRoom) {
            return self.lose(level_of(metadata.level()));
        }
        let busy = AtomicU64::new(0);
        let state = Arc::new(State { id: own, statement, opened: clock::ticks(), busy });
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<States>() {
            Some(states) => states.others.push((serial, state)),
            None => extensions.insert(States { first: (serial, state), others: Vec::new() }),
        }
    }

    fn with_open<S>(&self, id: &Id, context: &Context<'_, S>, job: impl FnOnce(&Arc<State>))
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(state) = state(self.serial, id, context) {
            job(&state);
        }
    }

    fn step(&self, state: &State, step: Step) {
        if !self.logger.is_ended() {
            state.statement.step(state.id, step, |record| self.push(record));
        }
    }

    pub(super) fn record<S>(&self, id: &Id, new: &Record<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_open(id, context, |state| {
            if self.logger.is_ended() {
                return;
            }
            let what = What::Values { span: state.id };
            let told = with_values(state.statement, |values| {
                new.record(&mut visit::Visitor(values));
                state.statement.record(what, values, |record| self.push(record))
            });
            debug_assert_eq!(told, Ok(()), "the span was defined when it was opened");
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
        self.with_open(id, context, |state| {
            if self.tells_enters {
                self.step(state, Step::Enter);
            }
            // A thread that ends has no stack any more: its last events are in no span.
            let _ = STACK.try_with(|stack| {
                let Ok(mut stack) = stack.try_borrow_mut() else { return };
                let again = stack.iter().any(|entered| Arc::ptr_eq(&entered.state, state));
                let (serial, state) = (self.serial, state.clone());
                if !again {
                    CURRENT.set((serial, state.id)); // (N1)
                }
                stack.push(Entered { serial, state, since: clock::ticks(), again });
            });
        });
    }

    pub(super) fn exit<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_open(id, context, |state| {
            let now = clock::ticks();
            let left = STACK.try_with(|stack| {
                let mut stack = stack.try_borrow_mut().ok()?;
                let at = stack.iter().rposition(|entered| Arc::ptr_eq(&entered.state, state))?;
                Some(stack.remove(at))
            });
            if let Ok(Some(Entered { since, again: false, .. })) = left {
                // ord: Relaxed, a sum; `close` reads it when the last reference is gone.
                state.busy.fetch_add(now.wrapping_sub(since), Ordering::Relaxed);
                CURRENT.set(innermost(|_| true)); // (N1)
            }
            if self.tells_enters {
                self.step(state, Step::Exit);
            }
        });
    }

    pub(super) fn close<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_open(id, context, |state| {
            // ord: Relaxed, tracing closes a span behind all that was done with it.
            let busy = state.busy.load(Ordering::Relaxed);
            let idle = clock::ticks().saturating_sub(state.opened).saturating_sub(busy);
            self.step(state, Step::Close { busy, idle });
        });
    }
}
