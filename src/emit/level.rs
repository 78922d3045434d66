//! Level: which calls are compiled at all, by the `max_level_*` features.

use crate::record::Level;

/// The least severe level that is compiled; `None` removes every call.
pub const STATIC_MAX_LEVEL: Option<Level> = {
    let everywhere = most_severe(&[
        (cfg!(feature = "max_level_off"), None),
        (cfg!(feature = "max_level_error"), Some(Level::Error)),
        (cfg!(feature = "max_level_warn"), Some(Level::Warn)),
        (cfg!(feature = "max_level_info"), Some(Level::Info)),
        (cfg!(feature = "max_level_debug"), Some(Level::Debug)),
    ]);
    let released = most_severe(&[
        (cfg!(feature = "release_max_level_off"), None),
        (cfg!(feature = "release_max_level_error"), Some(Level::Error)),
        (cfg!(feature = "release_max_level_warn"), Some(Level::Warn)),
        (cfg!(feature = "release_max_level_info"), Some(Level::Info)),
        (cfg!(feature = "release_max_level_debug"), Some(Level::Debug)),
        (cfg!(feature = "release_max_level_trace"), Some(Level::Trace)),
    ]);
    // As in tracing and log: in a release build the release features decide, if there is one.
    match (cfg!(debug_assertions), released) {
        (false, Some(level)) => level,
        _ => match everywhere {
            Some(level) => level,
            None => Some(Level::Trace),
        },
    }
};

/// The first feature that is on; features add up, and the strictest wins.
const fn most_severe(features: &[(bool, Option<Level>)]) -> Option<Option<Level>> {
    let mut i = 0;
    while i < features.len() {
        if features[i].0 {
            return Some(features[i].1);
        }
        i += 1;
    }
    None
}

/// True when calls of this level are compiled.
#[must_use]
pub const fn is_compiled(level: Level) -> bool {
    match STATIC_MAX_LEVEL {
        Some(least) => level as u8 >= least as u8,
        None => false,
    }
}
