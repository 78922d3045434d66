//! Span: a period of time that events lie in, opened by ttlog's own macros.
//!
//! ```text
//! info_span!(…) ─► SpanSite ─► told::OpenSpan ─► Way ─► lane        its records
//! span.enter()  ─► lane::entered                                    what events ask for their span
//! ```
//!
//! A span that no logger wants is [`Span::none`] but for its name, and costs what a disabled event
//! does. One that is wanted is told when it is opened, when fields get values later, and when its
//! last handle is dropped, with the time that threads were in it. Nothing of tracing is needed for
//! that; where a layer of tracing writes to the same logger, its spans and these nest.
//!
//! # Failure
//!
//! What could not be taken is counted as lost, as for events; a span whose opening was lost is none.

mod instrument;
mod site;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

pub use self::instrument::{Instrument, Instrumented};
pub use self::site::{Fields, SpanSite};
use super::clock;
use super::route::{Route, Way};
use super::told::{OpenSpan, Step};
use super::value::Value;
use crate::lane::entered::{self, Entering};

/// Names a span of one logger while the process lives; `parent:` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    serial: u32,
    id: NonZeroU64,
}

impl Id {
    fn new(serial: u32, id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(|id| Self { serial, id })
    }

    /// The number under which the log knows the span.
    #[must_use]
    pub fn into_u64(self) -> u64 {
        self.id.get()
    }
}

/// A handle to a span, with the methods of tracing's. The span is open until the last handle is
/// dropped and no thread is in it.
///
/// # Examples
///
/// ```
/// let request = ttlog::info_span!("request", user.id = 42, status = ttlog::field::Empty);
/// let entered = request.enter();
/// ttlog::info!("in the request");
/// request.record("status", 200);
/// drop(entered);
///
/// request.in_scope(|| ttlog::info!("in it again"));
/// ```
#[derive(Clone, Default)]
#[must_use = "a span has no effect until it is entered"]
pub struct Span {
    id: Option<Id>,
    /// `None` for a span that another front end keeps open.
    own: Option<Arc<Own>>,
    site: Option<&'static SpanSite>,
}

/// A span that the macros opened; its end is told when it is dropped.
struct Own {
    open: OpenSpan,
    way: Way,
    site: &'static SpanSite,
}

impl Own {
    fn step(&self, step: Step) {
        self.open.step(step, |record| self.way.push(record));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.open.close(|record| self.way.push(record));
    }
}

/// Where a span or an event is to be.
#[derive(Debug, Clone, Copy)]
pub enum Parent {
    /// In the span that the thread is in.
    Contextual,
    /// In this one, or in none.
    Explicit(Option<Id>),
}

impl Parent {
    /// What follows `parent:`.
    #[inline]
    pub fn explicit(parent: impl Into<Option<Id>>) -> Self {
        Self::Explicit(parent.into())
    }

    /// The span's id as a logger knows it; 0 for none, and for a span of another logger.
    fn of(self, serial: u32) -> u64 {
        match self {
            Self::Contextual => entered::current(serial),
            Self::Explicit(id) => id.filter(|id| id.serial == serial).map_or(0, Id::into_u64),
        }
    }
}

/// The id of the span after `parent:`, as the logger of this way knows it.
#[inline]
pub(super) fn id_for(to: impl Route, parent: impl Into<Option<Id>>) -> u64 {
    Parent::explicit(parent).of(to.serial())
}

impl Span {
    /// Opens a span of this statement.
    pub fn open<R: Route>(
        site: &'static SpanSite,
        to: R,
        parent: Parent,
        fields: impl Fields,
    ) -> Self {
        let Some(way) = to.way() else { return Self::disabled(site) };
        let serial = to.serial();
        let n_fields = site.metadata().fields.len();
        let statement = site.statement();
        let hides_message = site.hides_message();
        let opened = OpenSpan::open(
            serial,
            statement,
            parent.of(serial),
            |values| {
                values.hide_field(hides_message.then_some(n_fields));
                fields.tell(values);
            },
            |record| way.push(record),
        );
        let Ok(open) = opened else {
            to.lose(site.metadata().level);
            return Self::disabled(site);
        };
        let id = Id::new(serial, open.id);
        Self { id, own: Some(Arc::new(Own { open, way, site })), site: Some(site) }
    }

    /// The span of a statement whose spans nobody wants.
    #[inline]
    pub const fn disabled(site: &'static SpanSite) -> Self {
        Self { id: None, own: None, site: Some(site) }
    }

    /// No span: it can be entered and given values, and nothing comes of it.
    #[inline]
    pub const fn none() -> Self {
        Self { id: None, own: None, site: None }
    }

    /// The span that this thread is in, kept open by the handle, or none.
    ///
    /// It may be one of tracing's, entered through a [`Layer`](crate::Layer): such a handle serves as
    /// a parent and can be entered, but neither keeps that span open nor gives it values.
    pub fn current() -> Self {
        let Some((serial, id, held)) = entered::innermost_held() else { return Self::none() };
        let own = held.and_then(|held| held.downcast::<Own>().ok());
        let site = own.as_ref().map(|own| own.site);
        Self { id: Id::new(serial, id), own, site }
    }

    /// This span, or the one that the thread is in when nobody wants this one.
    pub fn or_current(self) -> Self {
        if self.is_disabled() { Self::current() } else { self }
    }

    /// Its id; `None` when nobody wants it.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.id
    }

    /// True when nobody wants the span.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.id.is_none()
    }

    /// True when there is no span, not even one that nobody wants.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.is_disabled() && self.site.is_none()
    }

    /// True when its statement names a field so.
    #[must_use]
    pub fn has_field(&self, field: &str) -> bool {
        self.site.is_some_and(|site| site.metadata().has_field(field))
    }

    /// Enters the span until the guard is dropped. Not across an `.await`: another task would be in
    /// it; use [`Instrument::instrument`] there.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        self.do_enter();
        Entered { span: self, not_send: PhantomData }
    }

    /// Enters the span until the guard, which owns it, is dropped.
    #[inline]
    pub fn entered(self) -> EnteredSpan {
        self.do_enter();
        EnteredSpan { span: self, not_send: PhantomData }
    }

    /// Calls `job` within the span.
    pub fn in_scope<R>(&self, job: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        job()
    }

    /// Gives a field that the span was declared with a value, or another one. A name that it was not
    /// declared with changes nothing.
    pub fn record(&self, field: &str, value: impl Value) -> &Self {
        if let Some(own) = &self.own
            && let Some(at) = own.open.field(field)
        {
            own.open.record(|values| values.value(at, &value), |record| own.way.push(record));
        }
        self
    }

    /// Says that another span of the same logger led to this one, without being around it.
    pub fn follows_from(&self, other: impl Into<Option<Id>>) -> &Self {
        if let (Some(own), Some(other)) = (&self.own, other.into())
            && other.serial == own.open.serial
        {
            own.step(Step::Follows { other: other.into_u64() });
        }
        self
    }

    #[inline]
    fn do_enter(&self) {
        let Some(id) = self.id else { return };
        match &self.own {
            Some(own) => {
                if own.way.tells_enters() {
                    own.step(Step::Enter);
                }
                own.open.enter(own.clone());
            }
            None => entered::enter(Entering {
                serial: id.serial,
                id: id.into_u64(),
                key: 0,
                since: clock::ticks(),
                held: None,
                grant: None,
            }),
        }
    }

    #[inline]
    fn do_leave(&self) {
        let Some(id) = self.id else { return };
        match &self.own {
            Some(own) => {
                own.open.leave();
                if own.way.tells_enters() {
                    own.step(Step::Exit);
                }
            }
            None => drop(entered::leave(id.serial, id.into_u64())),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Span");
        match self.site {
            Some(site) => out.field("name", &site.metadata().name),
            None => out.field("name", &"none"),
        };
        if let Some(id) = self.id {
            out.field("id", &id.into_u64());
        }
        out.finish_non_exhaustive()
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("open", &self.open).finish_non_exhaustive()
    }
}

/// Two handles are equal when they are of the same span; of spans that nobody wants, when they are
/// of the same statement.
impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        match (self.id, other.id) {
            (Some(a), Some(b)) => a == b,
            (None, None) => match (self.site, other.site) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                (None, None) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

impl Hash for Span {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl From<&Id> for Option<Id> {
    fn from(id: &Id) -> Self {
        Some(*id)
    }
}

impl From<&Span> for Option<Id> {
    fn from(span: &Span) -> Self {
        span.id
    }
}

impl From<&EnteredSpan> for Option<Id> {
    fn from(span: &EnteredSpan) -> Self {
        span.id
    }
}

impl From<Span> for Option<Id> {
    fn from(span: Span) -> Self {
        span.id
    }
}

/// A thread in a span, until it is dropped: on the thread that entered.
#[derive(Debug)]
#[must_use = "the span is left at once unless the guard is kept"]
pub struct Entered<'s> {
    span: &'s Span,
    not_send: PhantomData<*mut ()>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.span.do_leave();
    }
}

/// A thread in a span that the guard owns; see [`Span::entered`].
#[derive(Debug)]
#[must_use = "the span is left at once unless the guard is kept"]
pub struct EnteredSpan {
    span: Span,
    not_send: PhantomData<*mut ()>,
}

impl EnteredSpan {
    /// Leaves the span, and gives it back.
    pub fn exit(mut self) -> Span {
        let span = std::mem::take(&mut self.span);
        span.do_leave();
        span // what is left to drop is no span
    }
}

impl Deref for EnteredSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.span
    }
}

impl Drop for EnteredSpan {
    #[inline]
    fn drop(&mut self) {
        self.span.do_leave();
    }
}
