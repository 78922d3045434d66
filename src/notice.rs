//! Notice: the one line on stderr by which a logger says what its user should know.
//!
//! Never through the logger itself, never with `eprintln!`, which panics when stderr is closed.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Writes one line; what stderr refuses is dropped.
pub(crate) fn say(text: &str) {
    let line = format!("ttlog: {}\n", text.replace(['\n', '\r'], " "));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Says things at most once in a while.
#[derive(Debug)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    every: Duration,
}

impl Seldom {
    /// At most one line in `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self { last: None, every }
    }

    /// Writes the line that `text` makes, if the last one is long enough ago; true when it did.
    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= self.every);
        if is_due {
            self.last = Some(Instant::now());
            say(&text());
        }
        is_due
    }
}
