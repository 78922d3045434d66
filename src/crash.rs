//! Crash: named points between two steps that leave the disk in a state of its own, at which a test
//! ends the process as `kill -9` would.
//!
//! `TTLOG_CRASH_AT=NAME` ends it at the first passage of that point, `NAME:3` at the third. Only
//! builds with debug assertions look; in others [`crash_point!`] is nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ends the process here when a test asks for it.
macro_rules! crash_point {
    ($name:literal) => {
        if cfg!(debug_assertions) {
            $crate::crash::pass($name);
        }
    };
}
pub(crate) use crash_point;

/// What the environment asks for.
#[derive(Debug)]
struct Asked {
    name: String,
    /// Passages that are left.
    left: AtomicU64,
}

static ASKED: OnceLock<Option<Asked>> = OnceLock::new();

/// Passes the point with this name.
pub(crate) fn pass(name: &str) {
    let asked = ASKED.get_or_init(|| parse(&std::env::var("TTLOG_CRASH_AT").ok()?));
    let Some(asked) = asked.as_ref().filter(|asked| asked.name == name) else { return };
    // ord: Relaxed, elects one passage and publishes nothing.
    if asked.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

fn parse(text: &str) -> Option<Asked> {
    let (name, nth) = match text.split_once(':') {
        Some((name, nth)) => (name, nth.parse().ok().filter(|nth| *nth > 0)?),
        None => (text, 1),
    };
    Some(Asked { name: name.to_owned(), left: AtomicU64::new(nth) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_asked_for_by_name_and_number() {
        let asked = |text| parse(text).map(|asked| (asked.name, asked.left.into_inner()));
        assert_eq!(asked("retention.unlink"), Some(("retention.unlink".into(), 1)));
        assert_eq!(asked("a:3"), Some(("a".into(), 3)));
        assert_eq!((asked("a:0"), asked("a:b")), (None, None));
    }
}
