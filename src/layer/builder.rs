//! Builder: prepares a layer, with the setters of [`Builder`].

use std::path::Path;
use std::time::Duration;

use super::{Layer, Subscriber, To};
use crate::back_pressure::Fallback;
use crate::config::{Builder, Compression, Console, Direct, Durability};
use crate::emit::told::TraceIds;
use crate::error::Error;
use crate::handle::Handle;
use crate::io::IoChoice;
use crate::record::Level;
use crate::ring::BackPressurePolicy;
use crate::store::keep::Keep;
use crate::store::rotate::Rotate;

/// Prepares a layer that logs into `dir`.
///
/// # Examples
///
/// ```no_run
/// use tracing_subscriber::prelude::*;
///
/// # fn main() -> Result<(), ttlog::Error> {
/// let (layer, _handle) = ttlog::layer("/var/log/app").app("orders", "1.4.2").build()?;
/// tracing_subscriber::registry().with(layer).init();
/// # Ok(())
/// # }
/// ```
pub fn layer(dir: impl AsRef<Path>) -> LayerBuilder {
    LayerBuilder { config: Builder::new(dir), trace_ids: None }
}

/// Prepares a [`Layer`]; has the setters of [`Builder`]. Without a filter it takes everything.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct LayerBuilder {
    config: Builder,
    trace_ids: Option<fn() -> Option<TraceIds>>,
}

macro_rules! setters {
    ($($(#[$on:meta])? $name:ident($($argument:ident: $type:ty),*);)*) => {
        impl LayerBuilder { $(
            #[doc = concat!("As [`Builder::", stringify!($name), "`].")]
            $(#[$on])?
            pub fn $name(mut self, $($argument: $type),*) -> Self {
                self.config = self.config.$name($($argument),*);
                self
            }
        )* }
    };
}

// tests/layer_builder.rs compares them with those of `Builder`.
setters! {
    app(name: impl Into<String>, version: impl Into<String>);
    filter(directives: impl Into<String>);
    env_filter();
    env();
    lane_bytes(bytes: usize);
    lanes_bytes_max(bytes: usize);
    crash_safe(crash_safe: bool);
    lanes_in(dir: impl AsRef<Path>);
    write_within(within: Duration);
    durability(durability: Durability);
    rotate(rotate: Rotate);
    keep(keep: Keep);
    compress(compression: Compression);
    io(choice: IoChoice);
    #[doc(hidden)]
    direct(direct: Direct);
    console(console: Console);
    back_pressure(policy: BackPressurePolicy);
    back_pressure_at(level: Level, policy: BackPressurePolicy);
    block_timeout(timeout: Duration, fallback: Fallback);
    spill_quota(bytes: u64);
    spill_wait(wait: Duration);
    limit(target: impl Into<String>, n: u32, per: Duration);
    redact(keys: impl IntoIterator<Item = impl Into<String>>);
    log_panics();
    flush_on_signals();
    span_enters(told: bool);
    flight_recorder(level: Level, bytes: usize);
    dump_on(level: Level);
}

impl LayerBuilder {
    /// Lets spans carry the ids of W3C that another layer gives them: `ids` is asked when a thread
    /// has entered a span, until it answers, for the trace id and the span id of where the thread
    /// is then. They stand in the fields `trace_id` and `span_id`, in hexadecimal, and `ttlog
    /// --trace` finds them. A span that is never entered has none.
    ///
    /// The layer that is asked must enter before this one: add it to the stack first.
    ///
    /// # Examples
    ///
    /// With `tracing-opentelemetry` (0.32 and later, which makes the span that is entered the current
    /// one of OpenTelemetry):
    ///
    /// ```ignore
    /// use opentelemetry::trace::TraceContextExt as _;
    ///
    /// let (layer, _handle) = ttlog::layer("logs")
    ///     .trace_ids(|| {
    ///         let context = opentelemetry::Context::current();
    ///         let span = context.span().span_context().clone();
    ///         span.is_valid().then(|| (span.trace_id().to_bytes(), span.span_id().to_bytes()))
    ///     })
    ///     .build()?;
    /// let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    /// tracing_subscriber::registry().with(traces).with(layer).init();
    /// ```
    pub fn trace_ids(mut self, ids: fn() -> Option<TraceIds>) -> Self {
        self.trace_ids = Some(ids);
        self
    }

    /// Starts the logger. It is not the global one: ttlog's own macros reach it as
    /// `info!(logger: &handle, …)`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to, or when a setting makes no sense.
    pub fn build(self) -> Result<(Layer, Handle), Error> {
        let filters = self.config.filter.is_some();
        let config = if filters { self.config } else { self.config.filter("trace") };
        let handle = config.build()?;
        let to = handle.0.clone().map(|logger| To::new(logger, filters, self.trace_ids));
        Ok((Layer { to }, handle))
    }

    /// Starts the logger, and makes a subscriber that does nothing but log to it.
    ///
    /// # Errors
    ///
    /// As [`LayerBuilder::build`].
    pub fn subscriber(self) -> Result<(Subscriber, Handle), Error> {
        let (layer, handle) = self.build()?;
        Ok((Subscriber::new(layer), handle))
    }
}
