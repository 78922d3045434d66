//! Entered: the spans that a thread is in, whichever front end opened them.
//!
//! # Layout
//!
//! ```text
//! thread ── STACK: entered spans, outermost first
//!        ├─ CURRENT: (logger, id) of the innermost
//!        └─ its hot producers, marked while it is in a span of their logger
//! ```
//!
//! An event that is not told its span takes it from here: on the hot way only where the producer is
//! marked, so that one outside of all spans does not even look.
//!
//! # Invariants
//!
//! - **N1** `CURRENT` is the last entry of `STACK` that entered its span anew, or nothing.
//! - **N2** The thread's hot producers, for the global logger and for one that is named, are marked
//!   while `STACK` has an entry of their logger. (One that is marked without an entry costs time
//!   alone.)

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::hot;
use crate::record::Level;

/// Ids that a thread takes at a time.
const IDS: u64 = 256;

/// The first id that no thread has taken.
static NEXT_IDS: AtomicU64 = AtomicU64::new(1);
/// The global logger if it tells each time that a thread enters or leaves a span, else 0.
static TELLS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The ids that this thread has left: the next one, and the first that is not its own.
    static OWN_IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The innermost span: its logger's number, 0 for none, and its id.
    static CURRENT: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    static STACK: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// What keeps a span open while a thread is in it.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

/// A span that a thread enters.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) serial: u32,
    pub(crate) id: u64,
    /// What its front end calls it while a thread is in it; 0 for a front end that leaves by the id.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "the layer leaves by it"))]
    pub(crate) key: u64,
    /// When that is.
    pub(crate) since: u64,
    pub(crate) held: Option<Held>,
    pub(crate) grant: Option<Grant>,
}

/// A span that this thread is in.
#[derive(Debug)]
struct Entry {
    span: Entering,
    /// True when the thread was in it already.
    again: bool,
}

/// What a filter wants from a thread that is in a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Names the filter, in the process.
    pub(crate) scope: u32,
    /// Events from here on.
    pub(crate) level: Level,
}

/// The id of a new span, unique in the process.
pub(crate) fn next_id() -> u64 {
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

/// Id of the innermost span of this logger that the thread is in; 0 for none.
#[inline]
pub(crate) fn current(serial: u32) -> u64 {
    match CURRENT.get() {
        (0, _) => 0,
        (mine, id) if mine == serial => id,
        _ => innermost(move |span| span.serial == serial).1,
    }
}

/// Logger and id of the innermost span of those that are wanted.
#[cold]
fn innermost(is_wanted: impl Fn(&Entering) -> bool) -> (u32, u64) {
    let found = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        let mut inner = stack.iter().rev().filter(|entry| !entry.again).map(|entry| &entry.span);
        inner.find(|span| is_wanted(span)).map(|span| (span.serial, span.id))
    });
    found.ok().flatten().unwrap_or((0, 0))
}

/// Logger, id and what was given to keep it open, of the span that this thread is in.
pub(crate) fn innermost_held() -> Option<(u32, u64, Option<Held>)> {
    let found = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        let span = &stack.iter().rev().find(|entry| !entry.again)?.span;
        Some((span.serial, span.id, span.held.clone()))
    });
    found.ok().flatten()
}

/// True when the thread is in a span for which this filter wants events of this level.
pub(crate) fn grants(scope: u32, level: Level) -> bool {
    if CURRENT.get().0 == 0 {
        return false; // (N1)
    }
    let grants = |grant: Grant| grant.scope == scope && level >= grant.level;
    let found = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        Some(stack.iter().any(|entry| entry.span.grant.is_some_and(grants)))
    });
    found.ok().flatten().unwrap_or(false)
}

/// From now on this thread is in the span.
pub(crate) fn enter(span: Entering) {
    let (serial, id) = (span.serial, span.id);
    // A thread that ends has no stack any more: its last events are in no span.
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        let again = stack.iter().any(|entry| entry.span.id == id && entry.span.serial == serial);
        stack.push(Entry { span, again });
        if !again {
            CURRENT.set((serial, id)); // (N1)
            hot::mark(serial, true); // (N2)
        }
    });
}

/// This thread has left the span; since when it was in it, unless it is in it still.
pub(crate) fn leave(serial: u32, id: u64) -> Option<u64> {
    // It may be the last to hold the span, whose end is told when it is dropped: here, where nobody
    // looks at the stack.
    remove(|span| span.id == id && span.serial == serial)?.1
}

/// The same by what the span's front end calls it, with what was given to keep it open.
#[cfg(feature = "tracing")]
pub(crate) fn leave_key(serial: u32, key: u64) -> Option<(Held, Option<u64>)> {
    let (span, since) = remove(|span| span.key == key && span.serial == serial)?;
    Some((span.held?, since))
}

fn remove(is_it: impl Fn(&Entering) -> bool) -> Option<(Entering, Option<u64>)> {
    let left = STACK.try_with(|stack| {
        let mut stack = stack.try_borrow_mut().ok()?;
        let at = stack.iter().rposition(|entry| is_it(&entry.span))?;
        let Entry { span, again } = stack.remove(at);
        if !again {
            let inner = stack.iter().rev().find(|entry| !entry.again);
            CURRENT.set(inner.map_or((0, 0), |entry| (entry.span.serial, entry.span.id))); // (N1)
        }
        Some((span, again))
    });
    let (span, again) = left.ok().flatten()?;
    if again {
        return Some((span, None));
    }
    if current(span.serial) == 0 {
        hot::mark(span.serial, false); // (N2)
    }
    let since = span.since;
    Some((span, Some(since)))
}

/// Says whether the global logger, which has this number, tells of entering and leaving.
pub(crate) fn set_tells(serial: u32, tells: bool) {
    // ord: Relaxed, a setting; nothing else is read by it.
    TELLS.store(if tells { serial } else { 0 }, Ordering::Relaxed);
}

/// True when the global logger has this number and tells of entering and leaving.
pub(crate) fn tells(serial: u32) -> bool {
    // ord: Relaxed, as above.
    TELLS.load(Ordering::Relaxed) == serial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(serial: u32, id: u64, since: u64, held: Option<Held>, grant: Option<Grant>) {
        super::enter(Entering { serial, id, key: id + 1, since, held, grant });
    }

    /// Runs on a thread of its own, whose stack is empty.
    fn alone(job: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(job).join()).expect("the test's thread");
    }

    #[test]
    fn the_innermost_span_of_a_logger_is_the_one_entered_anew_last() {
        alone(|| {
            enter(1, 10, 5, None, None);
            enter(2, 20, 6, None, None);
            assert_eq!((current(1), current(2), current(3)), (10, 20, 0));
            enter(1, 10, 7, None, None);
            assert_eq!(CURRENT.get(), (2, 20), "entered again: it stays where it was");
            assert_eq!(leave(1, 10), None);
            assert_eq!(leave(2, 20), Some(6));
            assert_eq!((current(1), current(2)), (10, 0));
            assert_eq!(leave(1, 10), Some(5));
            assert_eq!((CURRENT.get(), leave(1, 10)), ((0, 0), None));
        });
    }

    #[test]
    fn what_is_granted_lasts_from_each_entering_until_it_is_left() {
        alone(|| {
            let grant = |scope, level| Some(Grant { scope, level });
            enter(1, 10, 5, None, grant(7, Level::Debug));
            enter(1, 20, 6, None, None);
            assert!(grants(7, Level::Debug) && grants(7, Level::Error));
            assert!(!grants(7, Level::Trace) && !grants(8, Level::Error));
            enter(1, 10, 7, None, grant(8, Level::Trace));
            assert!(grants(7, Level::Debug) && grants(8, Level::Trace));
            leave(1, 10);
            assert!(grants(7, Level::Debug) && !grants(8, Level::Error));
            leave(1, 20);
            leave(1, 10);
            assert!(!grants(7, Level::Error));
        });
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn a_front_end_leaves_by_its_own_name_and_gets_what_it_gave() {
        alone(|| {
            let held: Held = Arc::new(7);
            enter(1, 10, 5, Some(held.clone()), None);
            enter(2, 20, 6, Some(held), None);
            enter(1, 10, 7, Some(Arc::new(8)), None);
            assert!(leave_key(1, 21).is_none() && leave_key(3, 11).is_none());
            let left = |serial, key| {
                let (held, since) = leave_key(serial, key).expect("it is in there");
                (*held.downcast::<i32>().expect("a number"), since)
            };
            assert_eq!((left(1, 11), CURRENT.get()), ((8, None), (2, 20)));
            assert_eq!((left(1, 11), CURRENT.get()), ((7, Some(5)), (2, 20)));
            assert_eq!((left(2, 21), CURRENT.get()), ((7, Some(6)), (0, 0)));
        });
    }

    #[test]
    fn what_holds_a_span_is_let_go_where_the_stack_can_be_used() {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                // As the end of a span does, which is logged.
                enter(9, 90, 1, None, None);
                assert_eq!(leave(9, 90), Some(1));
            }
        }
        alone(|| {
            enter(1, 10, 5, Some(Arc::new(Last)), None);
            assert!(innermost_held().is_some_and(|(_, id, held)| id == 10 && held.is_some()));
            assert_eq!(leave(1, 10), Some(5));
            assert!(innermost_held().is_none());
        });
    }
}
