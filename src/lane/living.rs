//! Living: the loggers of this process that accept events, by serial number.
//!
//! A thread that has no lane of a logger yet finds the logger here, on the cold way.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::lanes::Lanes;

static LIVING: RwLock<Vec<Arc<Lanes>>> = RwLock::new(Vec::new());
static NEXT_SERIAL: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// True while this thread has the list, or waits for it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What a look for a logger came to.
#[derive(Debug)]
pub(crate) enum Living {
    /// It accepts events.
    Found(Arc<Lanes>),
    /// It has ended.
    Gone,
    /// The caller is a signal handler that interrupted its own thread's look at the list.
    Inside,
}

/// Runs `look` unless this thread is inside the list already, whose lock it would wait for in vain.
fn enter<R>(look: impl FnOnce() -> R) -> Option<R> {
    if INSIDE.replace(true) {
        return None;
    }
    let result = look();
    INSIDE.set(false);
    Some(result)
}

/// A number that no logger of this process has; never 0.
pub(crate) fn next_serial() -> u32 {
    loop {
        // ord: Relaxed, a counter.
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        if serial != 0 {
            return serial;
        }
    }
}

/// Adds a logger's lanes.
pub(crate) fn add(lanes: Arc<Lanes>) {
    // Nobody starts a logger from inside the list.
    enter(|| LIVING.write().push(lanes));
}

/// Removes a logger's lanes: threads that come now find none.
pub(crate) fn remove(serial: u32) {
    // The last of them is freed outside of the lock.
    let gone = enter(|| LIVING.write().extract_if(.., |it| it.serial == serial).collect::<Vec<_>>());
    drop(gone);
}

/// The lanes of the logger with this number. The lock is held for moments alone, and never by the
/// caller's own thread below this call.
pub(crate) fn find(serial: u32) -> Living {
    let found = enter(|| LIVING.read().iter().find(|it| it.serial == serial).cloned());
    match found {
        Some(Some(lanes)) => Living::Found(lanes),
        Some(None) => Living::Gone,
        None => Living::Inside,
    }
}
