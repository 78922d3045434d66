//! Handler: what a signal handler logs, by the hot way or not at all.

use super::sites;
use crate::lane::{living, thread};

/// Runs `job` in a signal handler: what it logs takes no lock and allocates nothing, wherever the
/// handler interrupted its thread.
///
/// An event is written when its statement has logged before outside of a handler, and its thread
/// has; else, or when the thread's lane is full, it is counted as lost, with
/// [`Cause::Reentrant`](crate::Cause::Reentrant). Without this a handler's event may allocate, as
/// any thread's may, and stop the thread for good where that was inside the allocator.
///
/// This goes for events of ttlog's macros whose values are numbers, `bool`, `char`, strings or bytes;
/// not for `%` and `?`, nor for a message with other arguments, which allocate room for their text.
///
/// # Examples
///
/// ```
/// fn log(signal: i32) {
///     ttlog::warn!(signal, "caught");
/// }
///
/// extern "C" fn handler(signal: i32) {
///     ttlog::in_signal_handler(|| log(signal));
/// }
///
/// log(0); // so that the statement is known before the first signal
/// # handler(1);
/// ```
pub fn in_signal_handler<R>(job: impl FnOnce() -> R) -> R {
    let _raised = (thread::stay_warm(), living::stay_out(), sites::stay_out());
    job()
}
