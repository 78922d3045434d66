//! Thread: the calling thread, as the operating system knows it and as the logger does.

use std::cell::Cell;
use std::thread::LocalKey;

thread_local! {
    /// True on the logger's own threads: the logger never logs through itself.
    static INTERNAL: Cell<bool> = const { Cell::new(false) };
    /// True while this thread is on the cold way: what it calls there does not log.
    static COLD: Cell<bool> = const { Cell::new(false) };
}

/// Its id.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Its name; `main` for the first, empty when it has none of its own.
pub(super) fn name() -> String {
    let own = std::thread::current().name().map(str::to_owned);
    own.unwrap_or_default()
}

/// This thread on the cold way, until it is dropped.
pub(super) struct Cold;

impl Cold {
    /// `None` when the caller is a signal handler that interrupted the cold way.
    pub(super) fn enter() -> Option<Self> {
        if COLD.replace(true) { None } else { Some(Self) }
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        COLD.set(false);
    }
}

/// A flag of this thread, set until this is dropped; then it is what it was before.
#[derive(Debug)]
pub(crate) struct Raised {
    flag: &'static LocalKey<Cell<bool>>,
    before: bool,
}

impl Raised {
    pub(crate) fn new(flag: &'static LocalKey<Cell<bool>>) -> Self {
        Self { flag, before: flag.replace(true) }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.flag.set(self.before);
    }
}

/// Closes the cold way to this thread, as to a signal handler that interrupted it.
pub(crate) fn stay_warm() -> Raised {
    Raised::new(&COLD)
}

/// Says that this thread belongs to a logger: its own events go nowhere.
pub(crate) fn mark_internal() {
    INTERNAL.with(|internal| internal.set(true));
}

/// True on a logger's own threads.
pub(crate) fn is_internal() -> bool {
    INTERNAL.get()
}
