//! Instrument: futures that are in a span whenever they are polled.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Span;

/// Puts a future into a span.
pub trait Instrument: Sized {
    /// The same future, in the span whenever it is polled, and when it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use ttlog::Instrument as _;
    ///
    /// # async fn handle() {}
    /// let request = async {
    ///     ttlog::info!("in the request");
    ///     handle().await;
    /// };
    /// let request = request.instrument(ttlog::info_span!("request", id = 7));
    /// # drop(request);
    /// ```
    fn instrument(self, span: Span) -> Instrumented<Self> {
        Instrumented { inner: Some(self), span }
    }

    /// The same future, in the span that this thread is in now.
    fn in_current_span(self) -> Instrumented<Self> {
        self.instrument(Span::current())
    }
}

impl<T> Instrument for T {}

pin_project! {
    /// A future in a span; see [`Instrument`].
    #[derive(Debug, Clone)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Instrumented<T> {
        #[pin]
        inner: Option<T>, // none while it is being dropped
        span: Span,
    }

    impl<T> PinnedDrop for Instrumented<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.span.enter();
            this.inner.set(None);
        }
    }
}

impl<T: Future> Future for Instrumented<T> {
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let inner = this.inner.as_pin_mut().expect("it is there until it is dropped");
        inner.poll(context)
    }
}

impl<T> Instrumented<T> {
    /// The span.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The future.
    ///
    /// # Panics
    ///
    /// Never: it is there until it is dropped.
    pub fn inner(&self) -> &T {
        self.inner.as_ref().expect("it is there until it is dropped")
    }
}
