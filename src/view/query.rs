//! Query: which events to read, and in which order.

use crate::record::{Level, glob};

/// Which events to read, and in which order; matches all when new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub(super) levels: u8,
    pub(super) since_ns: i64,
    pub(super) until_ns: i64,
    pub(super) targets: Vec<String>,
    pub(super) reverse: bool,
    pub(super) spans: bool,
    /// Only looks for damage: everything is read, no event is shown.
    pub(super) check: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

impl Query {
    /// Matches every event, oldest first.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            levels: ALL_LEVELS,
            since_ns: i64::MIN,
            until_ns: i64::MAX,
            targets: Vec::new(),
            reverse: false,
            spans: false,
            check: false,
        }
    }

    /// Keeps events of this level and above.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        self.levels(level, Level::Error)
    }

    /// Keeps events from one level to another, both included.
    #[must_use]
    pub fn levels(mut self, from: Level, to: Level) -> Self {
        let kept = |level: &Level| (from..=to).contains(level);
        self.levels = Level::ALL.iter().filter(|l| kept(l)).fold(0, |mask, l| mask | bit(*l));
        self
    }

    /// Keeps events at and after this moment, in nanoseconds since 1970.
    #[must_use]
    pub const fn since_ns(mut self, time_ns: i64) -> Self {
        self.since_ns = time_ns;
        self
    }

    /// Keeps events before this moment, in nanoseconds since 1970.
    #[must_use]
    pub const fn until_ns(mut self, time_ns: i64) -> Self {
        self.until_ns = time_ns;
        self
    }

    /// Keeps events whose target matches this pattern, or one of several given so.
    ///
    /// `*` stands for any text and `?` for one character; a pattern with neither matches the
    /// target itself and those below it: `app::db` matches `app::db::pool`, not `app::dbx`.
    #[must_use]
    pub fn target(mut self, pattern: impl Into<String>) -> Self {
        self.targets.push(pattern.into());
        self
    }

    /// Newest first.
    #[must_use]
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Gives spans too, when they are opened and closed, as [`Item::Span`](super::Item::Span).
    #[must_use]
    pub const fn spans(mut self) -> Self {
        self.spans = true;
        self
    }

    /// True for the level and the target of an event that this query keeps.
    #[must_use]
    pub fn wants(&self, level: Level, target: &str) -> bool {
        let by_target = || self.targets.iter().any(|pattern| matches(pattern, target));
        !self.check && self.levels & bit(level) != 0 && (self.targets.is_empty() || by_target())
    }

    /// True when no block is passed over, so that numbers that are skipped mean damage.
    pub(super) fn is_gapless(&self) -> bool {
        let always = self.since_ns == i64::MIN && self.until_ns == i64::MAX;
        always && self.levels == ALL_LEVELS && !self.reverse
    }
}

const ALL_LEVELS: u8 = (1 << Level::ALL.len()) - 1;

/// The bit of a level in a mask.
pub(super) const fn bit(level: Level) -> u8 {
    1 << level as u8
}

fn matches(pattern: &str, target: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        let below = target.strip_prefix(pattern);
        return below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    }
    glob(pattern, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, target, expected) in [
            ("app::db", "app::db", true),
            ("app::db", "app::db::pool", true),
            ("app::db", "app::dbx", false),
            ("app::db*", "app::dbx", true),
            ("app::db*", "app::db::pool", true),
            ("*::db", "app::db", true),
            ("*::db", "app::db::x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, target), expected, "{pattern} {target}");
        }
    }

    #[test]
    fn levels_are_from_and_above() {
        let query = Query::new().level(Level::Warn);
        let wanted = |level| query.wants(level, "t");
        assert!(wanted(Level::Warn) && wanted(Level::Error) && !wanted(Level::Info));
        let query = Query::new().levels(Level::Debug, Level::Debug);
        assert!(query.wants(Level::Debug, "") && !query.wants(Level::Trace, ""));
        assert!(Query::new().is_gapless() && !query.is_gapless());
    }
}
