//! Traced: events of tracing with 0, 4 and 16 fields in 0, 1 and 3 spans, a span, and the layer that
//! does the least with them.

use std::cell::RefCell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::clock::ticks;

pub(crate) const PATH: &str = "/api/v1/orders";
const BUFFER_BYTES: usize = 256 * 1024;

/// An event with a message alone.
#[inline(always)]
pub(crate) fn no_fields() {
    tracing::info!("request done");
}

/// An event with a message and four fields.
#[inline(always)]
pub(crate) fn four_fields(n: u64) {
    tracing::info!(user_id = n, path = PATH, latency = 0.25, ok = true, "request done");
}

/// An event with a message and sixteen fields.
#[inline(always)]
pub(crate) fn sixteen_fields(n: u64) {
    tracing::info!(
        a0 = n,
        b0 = PATH,
        c0 = 0.25,
        d0 = true,
        a1 = n,
        b1 = PATH,
        c1 = 0.25,
        d1 = true,
        a2 = n,
        b2 = PATH,
        c2 = 0.25,
        d2 = true,
        a3 = n,
        b3 = PATH,
        c3 = 0.25,
        d3 = true,
        "request done"
    );
}

/// A span with one field, opened, entered, left and closed.
#[inline(always)]
pub(crate) fn span(n: u64) {
    tracing::info_span!("request", id = n).in_scope(|| ());
}

/// Does something in no span, in one, or in three.
pub(crate) fn in_spans<R>(spans: u64, job: impl FnOnce() -> R) -> R {
    match spans {
        0 => job(),
        1 => tracing::info_span!("request", id = 7).in_scope(job),
        _ => tracing::info_span!("request", id = 7).in_scope(|| {
            tracing::info_span!("query", table = "orders")
                .in_scope(|| tracing::info_span!("row", n = 1).in_scope(job))
        }),
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(BUFFER_BYTES));
}

/// Reads the clock and copies the fields.
#[derive(Debug)]
pub(crate) struct Floor;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Floor {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() > BUFFER_BYTES / 2 {
                buffer.clear();
            }
            buffer.extend_from_slice(&ticks().to_le_bytes());
            event.record(&mut Copy(buffer));
        });
    }
}

struct Copy<'a>(&'a mut Vec<u8>);

impl Visit for Copy<'_> {
    #[inline]
    fn record_f64(&mut self, _: &Field, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    #[inline]
    fn record_i64(&mut self, _: &Field, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    #[inline]
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    #[inline]
    fn record_bool(&mut self, _: &Field, value: bool) {
        self.0.push(value.into());
    }
    #[inline]
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }
    #[inline]
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        use std::io::Write as _;
        // A vector takes all that is written to it.
        let _ = write!(self.0, "{value:?}");
    }
}
