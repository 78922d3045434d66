//! Verdict: what a logger that calls name wants of a statement, remembered in the statement.
//!
//! # Layout
//!
//! ```text
//! word    | version u32 | state u32 |   state 0: not known, 1: logs every event, 2: logs none
//! ```
//!
//! A version is a number that a logger has for its filter, and that no other has: what was found out
//! under it holds until the logger has another filter, or none. A statement remembers one verdict,
//! that of the youngest version: of several loggers that one call names in turn, one is fast, and
//! they do not take the word from each other with every call.
//!
//! # Invariants
//!
//! - **V1** A version is read before the filter that a verdict is found out with, and changed after
//!   the filter was stored: a verdict is never older than the version it stands under.

use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};

const LOGS_ALL: u64 = 1;
const LOGS_NONE: u64 = 2;

/// The last version that was given.
static LAST: AtomicU32 = AtomicU32::new(0);

/// A logger's version.
#[derive(Debug)]
pub(crate) struct Version(AtomicU32);

impl Version {
    pub(crate) fn new() -> Self {
        let version = Self(AtomicU32::new(0));
        version.renew();
        version
    }

    /// The number; 0 when nothing is to be remembered.
    #[inline(always)]
    pub(crate) fn now(&self) -> u32 {
        // ord: Acquire, partner of the Release in `renew` (V1).
        self.0.load(Ordering::Acquire)
    }

    /// Forgets all verdicts, behind a change of the filter.
    pub(crate) fn renew(&self) {
        // ord: Relaxed, a counter.
        let version = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // ord: Release, partner of the Acquire in `now` (V1).
        self.0.store(version, Ordering::Release);
    }

    /// From now on nothing is remembered.
    pub(crate) fn end(&self) {
        // ord: Relaxed, who misses it finds out by other means that the logger has ended.
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What a statement remembers.
#[derive(Debug)]
pub(crate) struct Verdict(AtomicU64);

impl Verdict {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// True when it is known that the logger with this version logs every event.
    #[inline(always)]
    pub(crate) fn logs_all(&self, version: u32) -> bool {
        self.is(version, LOGS_ALL)
    }

    /// True when it is known that the logger with this version logs none.
    pub(crate) fn logs_none(&self, version: u32) -> bool {
        self.is(version, LOGS_NONE)
    }

    #[inline(always)]
    fn is(&self, version: u32, state: u64) -> bool {
        // ord: Relaxed: the word decides alone.
        self.0.load(Ordering::Relaxed) == u64::from(version) << 32 | state
    }

    /// Remembers what was found out under a version, unless a younger one stands there.
    pub(crate) fn note(&self, version: u32, logs: bool) {
        let word = u64::from(version) << 32 | if logs { LOGS_ALL } else { LOGS_NONE };
        // ord: Relaxed, as in `is`. Of two notes at once either may stay.
        if version != 0 && self.0.load(Ordering::Relaxed) < word {
            // ord: Relaxed, as above.
            self.0.store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_its_version_alone() {
        let (first, second, verdict) = (Version::new(), Version::new(), Verdict::new());
        let of = |version: &Version| {
            let version = version.now();
            (verdict.logs_all(version), verdict.logs_none(version))
        };
        assert_ne!(first.now(), second.now());
        assert_eq!(of(&first), (false, false), "nothing is known yet");
        verdict.note(first.now(), true);
        assert_eq!((of(&first), of(&second)), ((true, false), (false, false)));
        verdict.note(second.now(), false);
        assert_eq!((of(&first), of(&second)), ((false, false), (false, true)));
        verdict.note(first.now(), true);
        assert_eq!(of(&second), (false, true), "the younger one stays");
        second.renew();
        assert_eq!(of(&second), (false, false), "another filter");
        verdict.note(second.now(), true);
        second.end();
        verdict.note(second.now(), true);
        assert_eq!(of(&second), (false, false), "it has ended");
    }
}
