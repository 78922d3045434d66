//! Capture: events of a thread that go to a test instead of a lane.
//!
//! While somebody captures, every statement takes the cold way, where this module tells whether its
//! thread is captured. Such an event is written under the serial number [`SERIAL`], which no logger
//! has, so that it comes past every lane to here.

use std::cell::RefCell;
use std::sync::Arc;

use super::fill::Record;
use super::thread;
use crate::monitor::Mutex;
use crate::record::{FLAG_TRUNCATED, HEAD_BYTES, RECORD_BYTES_MAX};
use crate::sync::fixed::{AtomicU32, Ordering};

/// Stands for the capture where a logger's serial number stands.
pub(crate) const SERIAL: u32 = u32::MAX;

/// One event: its bytes as a lane would hold them, and who logged it.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tid: u32,
    pub(crate) thread: String,
}

/// What was captured so far, in the order in which it came.
#[derive(Debug, Default)]
pub(crate) struct Sink(Mutex<Vec<Taken>>);

/// How many captures are under way. While there is none, the thread-local below, whose first use
/// may allocate, is not touched: a signal handler may ask.
static N_ACTIVE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Sink>>> = const { RefCell::new(None) };
}

impl Sink {
    /// Everything captured so far.
    pub(crate) fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Where this thread's events go, if it is captured.
pub(crate) fn current() -> Option<Arc<Sink>> {
    // ord: Relaxed, a check; a captured thread has stored it itself.
    if N_ACTIVE.load(Ordering::Relaxed) == 0 {
        return None;
    }
    CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok().flatten()
}

/// Says how many captures are under way.
pub(crate) fn set_active(n: u32) {
    // ord: Relaxed, as in `current`.
    N_ACTIVE.store(n, Ordering::Relaxed);
}

/// This thread captured, or not any more, until this is dropped.
#[derive(Debug)]
pub(crate) struct Redirected(Option<Arc<Sink>>);

/// Sends this thread's events to `sink`, or nowhere special.
pub(crate) fn redirect(sink: Option<Arc<Sink>>) -> Redirected {
    Redirected(CURRENT.with(|current| current.replace(sink)))
}

impl Drop for Redirected {
    fn drop(&mut self) {
        // An error means that the thread is ending: nothing is captured any more.
        let _ = CURRENT.try_with(|current| current.replace(self.0.take()));
    }
}

/// Takes an event of this thread.
pub(super) fn take(record: &dyn Record) {
    // An allocator that logs while one is taken would take others without end.
    let Some(_cold) = thread::Cold::enter() else { return };
    let Some(sink) = current() else { return };
    let limit = RECORD_BYTES_MAX - HEAD_BYTES;
    let (mut flags, len) = (0, record.payload_len());
    let payload = if len > limit {
        flags = FLAG_TRUNCATED;
        record.cut(limit)
    } else {
        let mut payload = vec![0; len];
        record.payload(&mut payload);
        payload
    };
    let words = payload.len().div_ceil(8);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 8 * words);
    bytes.extend_from_slice(&record.head(record.ticks(), words as u16, flags));
    bytes.extend_from_slice(&payload);
    bytes.resize(HEAD_BYTES + 8 * words, 0);
    let taken = Taken { bytes, tid: thread::id(), thread: thread::name() };
    sink.0.lock().push(taken);
}
