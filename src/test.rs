//! Test: what a piece of code logs, for assertions.
//!
//! ```
//! use ttlog::Level;
//!
//! fn handler(user: u64) {
//!     ttlog::warn!(user.id = user, "denied");
//! }
//!
//! let logs = ttlog::test::capture(|| handler(42));
//! assert!(logs.any(|r| r.level() == Level::WARN && r.field("user.id") == Some(42.into())));
//! assert_eq!(logs.records()[0].message(), "denied");
//! ```

use std::collections::HashMap;

use crate::emit::{clock, sites};
use crate::lane::capture;
use crate::view::{self, Captive, Record};

/// What was logged while [`capture`] ran.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    records: Vec<Record>,
}

impl Captured {
    /// The events in the order in which they were logged.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// True when one of the events is as wanted.
    pub fn any(&self, is_wanted: impl FnMut(&Record) -> bool) -> bool {
        self.records.iter().any(is_wanted)
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when nothing was logged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl<'a> IntoIterator for &'a Captured {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}

/// Every statement takes the cold way until this is dropped.
struct Watching;

impl Watching {
    fn begin() -> Self {
        sites::begin_capture();
        Self
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        sites::end_capture();
    }
}

/// Runs `job` and returns what ttlog's macros logged on this thread meanwhile, at every level that
/// is compiled, whatever the filter says.
///
/// No logger has to be there. If there is a global one, the events come here instead of going to
/// it, and no rate limit counts; those of other threads go their way, so that tests that run beside
/// one another do not mix. Of captures inside of one another the innermost takes an event. Events
/// that name their logger (`logger: &handle`) go to that logger.
///
/// What the global allocator logs while an event is taken is left out, and so is what is logged
/// inside of [`in_signal_handler`](crate::in_signal_handler).
///
/// A thread that `job` starts is not captured by itself: wrap what it runs in [`carry`].
///
/// While anybody captures, every statement of the process takes a slower way; else this costs
/// nothing.
///
/// # Panics
///
/// When `job` does.
pub fn capture<R>(job: impl FnOnce() -> R) -> Captured {
    let sink = std::sync::Arc::new(capture::Sink::default());
    let mut anchors = vec![clock::anchor()];
    {
        let _watching = Watching::begin();
        let _redirected = capture::redirect(Some(sink.clone()));
        let _result = job();
    }
    anchors.push(clock::anchor());
    let captive = |it: capture::Taken| Captive { bytes: it.bytes, tid: it.tid, thread: it.thread };
    let captives: Vec<Captive> = sink.take().into_iter().map(captive).collect();
    let mut definitions = HashMap::new();
    sites::for_each_definition(|definition| {
        definitions.insert(definition.id, definition.clone());
    });
    Captured { records: view::captured(captives, &definitions, &anchors) }
}

/// Lets what this thread's [`capture`] takes include what another thread logs while it runs `job`.
///
/// Wrap what is given to a thread or a pool. Where nobody captures it is `job` alone. What is
/// logged behind the end of the capture goes nowhere.
///
/// # Examples
///
/// ```
/// let logs = ttlog::test::capture(|| {
///     let thread = std::thread::spawn(ttlog::test::carry(|| ttlog::info!("from a thread")));
///     thread.join().expect("it does not panic");
/// });
/// assert_eq!(logs.len(), 1);
/// ```
pub fn carry<R>(job: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let sink = capture::current();
    move || {
        let Some(sink) = sink else { return job() };
        // The capture may end before the job: its statements have to find this thread all the same.
        let _watching = Watching::begin();
        let _redirected = capture::redirect(Some(sink));
        job()
    }
}
