//! Subscriber: for programs that need nothing beside ttlog.

use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Event, Interest, LevelFilter, Metadata};
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::Layer;

/// A tracing subscriber that logs, and does nothing else; made by
/// [`LayerBuilder::subscriber`](super::LayerBuilder::subscriber).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), ttlog::Error> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// let (subscriber, handle) = ttlog::layer(dir.path()).subscriber()?;
/// tracing::subscriber::with_default(subscriber, || tracing::info!("hello"));
/// # handle.shutdown(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscriber(Layered<Layer, Registry>);

impl Subscriber {
    /// Puts a layer on a registry of its own.
    #[must_use]
    pub fn new(layer: Layer) -> Self {
        Self(Registry::default().with(layer))
    }
}

impl tracing_core::Subscriber for Subscriber {
    fn on_register_dispatch(&self, dispatch: &tracing_core::Dispatch) {
        self.0.on_register_dispatch(dispatch);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.max_level_hint()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.0.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.0.event_enabled(event)
    }

    #[inline]
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
    }

    fn enter(&self, span: &Id) {
        self.0.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.0.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.0.try_close(id)
    }

    fn current_span(&self) -> Current {
        self.0.current_span()
    }
}
