//! Living: the loggers of this process that accept events, by serial number.
//!
//! A thread that has no lane of a logger yet finds the logger here, on the cold way.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::capture;
use super::lanes::Lanes;
use super::process;
use super::recorder::{self, RECORDER_SERIALS};
use super::thread::Raised;
use crate::monitor::{Guard, Mutex};
use crate::record::{Cause, LEVELS, Level};

static LIVING: Mutex<Vec<Arc<Lanes>>> = Mutex::new(Vec::new());
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

/// Keeps this thread out of the list, as a signal handler that interrupted its look at it.
pub(crate) fn stay_out() -> Raised {
    Raised::new(&INSIDE)
}

/// A number that no logger of this process has; never 0, nor with the bits of a mark or of a
/// recorder, nor one that would be the capture's with them.
pub(crate) fn next_serial() -> u32 {
    loop {
        // ord: Relaxed, a counter.
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed) % RECORDER_SERIALS;
        if serial != 0 && serial != capture::SERIAL % RECORDER_SERIALS {
            return serial;
        }
    }
}

/// Adds a logger's lanes.
pub(crate) fn add(lanes: Arc<Lanes>) {
    // Nobody starts a logger from inside the list.
    enter(|| LIVING.lock().push(lanes));
}

/// Removes a logger's lanes: threads that come now find none.
pub(crate) fn remove(serial: u32) {
    // The last of them is freed outside of the lock.
    let gone = enter(|| LIVING.lock().extract_if(.., |it| it.serial == serial).collect::<Vec<_>>());
    drop(gone);
}

/// The list, held by a thread that is about to fork, so that the child finds it whole.
#[derive(Debug)]
pub(crate) struct Held(
    #[expect(dead_code, reason = "for its destructor")] Guard<'static, Vec<Arc<Lanes>>>,
);

impl Drop for Held {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// Tries to hold the list until the time has come; not for a thread that is in it already.
pub(crate) fn hold(until: Instant) -> Option<Held> {
    if INSIDE.get() {
        return None;
    }
    let guard = LIVING.try_lock_until(until)?;
    INSIDE.set(true);
    Some(Held(guard))
}

/// In a child: forgets the parent's loggers. What they own is left as it is.
pub(crate) fn abandon() {
    enter(|| std::mem::forget(std::mem::take(&mut *LIVING.lock())));
}

/// The lanes of the logger with this number. The lock is held for moments alone, and never by the
/// caller's own thread below this call.
pub(crate) fn find(serial: u32) -> Living {
    let found = enter(|| LIVING.lock().iter().find(|it| it.serial == serial).cloned());
    match found {
        Some(Some(lanes)) => Living::Found(lanes),
        Some(None) => Living::Gone,
        None => Living::Inside,
    }
}

/// Counts an event of the global logger that came to no lane.
#[cold]
pub(crate) fn lose_global(serial: u32, cause: Cause, level: Level) {
    if recorder::is_recorder(serial) {
        return; // what is not recorded is no loss of the log
    }
    if process::is_forked() {
        return process::count_forked(level);
    }
    match find(serial) {
        Living::Found(lanes) => lanes.count_loss(cause, level),
        Living::Gone => process::count_unplaced(cause, level),
        Living::Inside => count_interrupted(serial, level),
    }
}

/// Serial number of the logger to which [`super::handle::write_layer`] writes.
#[cfg(feature = "tracing")]
static LAYER_OWNER: AtomicU32 = AtomicU32::new(0);

/// True when calls of this logger may take the way of [`super::handle::write_layer`]: one logger
/// has it until it has ended. It must not be the global one.
#[cfg(feature = "tracing")]
pub(crate) fn claim_layer(serial: u32) -> bool {
    let is_free = |owner| owner == 0 || matches!(find(owner), Living::Gone);
    let claim = |owner| is_free(owner).then_some(serial);
    // ord: Relaxed, only elects one of several loggers.
    LAYER_OWNER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
}

/// Events of signal handlers that came inside the list, by level: the logger's serial number in the
/// upper half, how many in the lower one. Their logger's scribe moves them to where losses are told.
static INTERRUPTED: [AtomicU64; LEVELS] = [const { AtomicU64::new(0) }; LEVELS];

/// Counts an event whose logger could not be looked for ([`Living::Inside`]). Callable from signal
/// handlers.
pub(crate) fn count_interrupted(serial: u32, level: Level) {
    let of_serial = u64::from(serial) << 32;
    let more = |value| {
        // What a logger before this one left has nobody to tell it.
        let n = if value >> 32 == u64::from(serial) { value } else { of_serial };
        Some(n + 1)
    };
    // ord: Relaxed, a counter.
    let _ = INTERRUPTED[level as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
}

/// How many events of a logger were counted so at this level since the last call.
pub(crate) fn take_interrupted(serial: u32, level: Level) -> u64 {
    let mine = |value: u64| (value >> 32 == u64::from(serial)).then_some(0);
    let counter = &INTERRUPTED[level as usize];
    // ord: Relaxed, a counter.
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mine);
    taken.map_or(0, |value| value & u64::from(u32::MAX))
}
