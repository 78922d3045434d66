//! Open: a span while it is open, whichever front end opened it.

#[cfg(feature = "tracing")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::filter::{Filter, Subject};
use super::super::{clock, scope};
use super::{NoRoom, Statement, Step, ToldRecord, Values, What, with_values};
use crate::lane::entered::{self, Entering, Grant, Held};
use crate::record::Level;

/// Ids of W3C: of a trace and of a span in it; all zeros are none.
#[cfg(feature = "tracing")]
pub type TraceIds = ([u8; 16], [u8; 8]);

/// The fields that carry them.
#[cfg(feature = "tracing")]
pub(crate) const TRACE_ID: &str = "trace_id";
#[cfg(feature = "tracing")]
pub(crate) const SPAN_ID: &str = "span_id";

/// An open span of one logger.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    /// The logger's number within the process.
    pub(crate) serial: u32,
    /// Unique in the process: ids of a registry of tracing are given again, this one is not.
    pub(crate) id: u64,
    statement: &'static Statement,
    opened: u64,
    /// Ticks that threads spent in it, those of several at once added up.
    busy: AtomicU64,
    /// The filter that its values were looked at for, 0 for none, and those that it demands and
    /// that were there.
    scope: u32,
    values_met: AtomicU64,
    /// The ids of its trace are told.
    #[cfg(feature = "tracing")]
    traced: std::sync::atomic::AtomicBool,
}

impl OpenSpan {
    /// Tells that a span is open, with the values that `fill` puts.
    ///
    /// # Errors
    ///
    /// When there is no room for the definition: what was to be told is to be counted as lost.
    pub(crate) fn open(
        serial: u32,
        statement: &'static Statement,
        parent: u64,
        fill: impl FnOnce(&mut Values<'_>),
        push: impl FnOnce(ToldRecord<'_>),
    ) -> Result<Self, NoRoom> {
        let id = entered::next_id();
        let filter = scope::of(serial);
        let mut met = 0;
        with_values(statement, |values| {
            fill(values);
            met = filter.as_ref().map_or(0, |filter| values_met(filter, statement, values));
            statement.record(What::Open { span: id, parent }, values, push)
        })?;
        Ok(Self {
            serial,
            id,
            statement,
            opened: clock::ticks(),
            busy: AtomicU64::new(0),
            scope: filter.map_or(0, |filter| filter.scope()),
            values_met: AtomicU64::new(met),
            #[cfg(feature = "tracing")]
            traced: false.into(),
        })
    }

    /// The index of the field with this name.
    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        self.statement.always.fields.iter().position(|(other, _)| other == name)
    }

    /// Tells values that fields have got since.
    pub(crate) fn record(
        &self,
        fill: impl FnOnce(&mut Values<'_>),
        push: impl FnOnce(ToldRecord<'_>),
    ) {
        let told = with_values(self.statement, |values| {
            fill(values);
            if let Some(filter) = scope::of(self.serial).filter(|it| it.scope() == self.scope) {
                let met = values_met(&filter, self.statement, values);
                // ord: Relaxed, a sum of bits, which `grant` reads by itself.
                self.values_met.fetch_or(met, Ordering::Relaxed);
            }
            self.statement.record(What::Values { span: self.id }, values, push)
        });
        debug_assert_eq!(told, Ok(()), "the span was defined when it was opened");
    }

    /// Tells which trace it belongs to, once, when `ids` knows.
    #[cfg(feature = "tracing")]
    pub(crate) fn trace(&self, ids: fn() -> Option<TraceIds>, push: impl FnOnce(ToldRecord<'_>)) {
        // ord: Relaxed, a check: who comes at the same time tells the same.
        if self.traced.load(Ordering::Relaxed) {
            return;
        }
        let Some((trace, span)) = ids().filter(|(trace, _)| *trace != [0; 16]) else { return };
        // ord: Relaxed, as above.
        self.traced.store(true, Ordering::Relaxed);
        let values = [(TRACE_ID, hex(&trace)), (SPAN_ID, hex(&span))];
        let fill = |out: &mut Values<'_>| {
            for (name, value) in &values {
                self.field(name).into_iter().for_each(|field| out.str(field, value));
            }
        };
        self.record(fill, push);
    }

    /// Tells what it goes through.
    pub(crate) fn step(&self, step: Step, push: impl FnOnce(ToldRecord<'_>)) {
        self.statement.step(self.id, step, push);
    }

    /// From now on this thread is in it, which keeps `held`.
    pub(crate) fn enter(&self, held: Held) {
        entered::enter(self.entering(0, Some(held)));
    }

    /// The same for a front end that calls it by a name of its own, and leaves by that.
    #[cfg(feature = "tracing")]
    pub(crate) fn enter_by(self: Arc<Self>, key: u64) {
        let mut entering = self.entering(key, None);
        entering.held = Some(self);
        entered::enter(entering);
    }

    fn entering(&self, key: u64, held: Option<Held>) -> Entering {
        let (serial, id) = (self.serial, self.id);
        let grant = if scope::is_any() { self.grant() } else { None };
        Entering { serial, id, key, since: clock::ticks(), held, grant }
    }

    /// What a filter wants from a thread while that is in the span.
    #[cold]
    fn grant(&self) -> Option<Grant> {
        let filter = scope::of(self.serial)?;
        let met = match filter.scope() == self.scope {
            // ord: Relaxed, as in `record`.
            true => self.values_met.load(Ordering::Relaxed),
            false => 0, // another filter's
        };
        let of = &self.statement.always;
        let has = |name: &str| of.fields.iter().any(|(other, _)| other == name);
        let level = Level::Trace;
        let span = Subject { target: &of.target, name: &of.name, level, is_span: true, has: &has };
        let level = filter.grant(&span, met)?;
        Some(Grant { scope: filter.scope(), level })
    }

    /// This thread has left it.
    pub(crate) fn leave(&self) {
        let now = clock::ticks();
        self.left(now, entered::leave(self.serial, self.id));
    }

    /// This thread has left what it calls by this name; which span that is, if it was in one.
    #[cfg(feature = "tracing")]
    pub(crate) fn leave_by(serial: u32, key: u64) -> Option<Arc<Self>> {
        let now = clock::ticks();
        let (held, since) = entered::leave_key(serial, key)?;
        let span = held.downcast::<Self>().ok()?;
        span.left(now, since);
        Some(span)
    }

    fn left(&self, now: u64, since: Option<u64>) {
        if let Some(since) = since {
            // ord: Relaxed, a sum; `close` reads it when the last reference is gone.
            self.busy.fetch_add(now.wrapping_sub(since), Ordering::Relaxed);
        }
    }

    /// Tells that it is over, and for how long threads were in it.
    pub(crate) fn close(&self, push: impl FnOnce(ToldRecord<'_>)) {
        // ord: Relaxed, a span is closed behind all that was done with it.
        let busy = self.busy.load(Ordering::Relaxed);
        let idle = clock::ticks().saturating_sub(self.opened).saturating_sub(busy);
        self.step(Step::Close { busy, idle }, push);
    }
}

/// Which of the values that a filter demands are there.
#[cold]
fn values_met(filter: &Filter, statement: &Statement, values: &Values<'_>) -> u64 {
    let fields = &statement.always.fields;
    let named = values.each().filter_map(|(field, value)| Some((&*fields.get(field)?.0, value)));
    filter.values_met(named)
}

/// Bytes in hexadecimal digits.
#[cfg(feature = "tracing")]
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
