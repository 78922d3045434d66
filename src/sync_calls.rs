//! Calls: waits that may be for ever, and code of users that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// As long as for ever, and yet a time that every clock tells.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// When a wait ends that begins now.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + CENTURY)
}

/// Calls code of users with each, also behind one with which it panics: that goes on at the end.
pub(crate) fn call_each<T>(items: impl IntoIterator<Item = T>, mut call: impl FnMut(T)) {
    let (mut items, mut panic) = (items.into_iter(), None);
    // The one that panics was taken before: the next round goes on behind it.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| items.by_ref().for_each(&mut call))) {
        panic = Some(payload);
    }
    if let Some(payload) = panic
        && !std::thread::panicking()
    {
        resume_unwind(payload);
    }
}
