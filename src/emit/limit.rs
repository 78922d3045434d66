//! Limit: at most so many events of a statement in a stretch of time, and how many were left out.
//!
//! Time is cut into windows of the rule's length. The first events of a window pass; the others are
//! counted, and a record that says how many stands before the next event of the statement, or is
//! written when the window is over. Nothing here locks on the way of a call but the first time that
//! a logger which is named leaves something out, and that only tries.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::callsite::{self, Callsite, Metadata};
use super::clock;
use super::filter::is_within;
use crate::lane::common::write_common;
use crate::lane::fill::Record;
use crate::lane::handle;
use crate::lane::lanes::Lanes;
use crate::record::{Definition, Field, HEAD_BYTES, Head, Kind, Level, RECORD_EVENT, Role};
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};

/// What the record of left-out events says; their number is its field.
const MESSAGE: &str = "events of this statement were left out by its rate limit";

/// How many events may pass in a window of how many nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    n: u32,
    per_ns: u64,
}

/// The limits of one logger.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Longest target first.
    rules: Vec<(String, Rule)>,
    /// Callsites that were limited, with what they had left out by then.
    sites: Mutex<Vec<(&'static Callsite, u64)>>,
}

impl Limits {
    pub(crate) fn new(rules: &[(String, u32, Duration)]) -> Self {
        let rule = |(target, n, per): &(String, u32, Duration)| {
            let per_ns = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX).max(1);
            (target.clone(), Rule { n: *n, per_ns })
        };
        let mut rules: Vec<_> = rules.iter().map(rule).collect();
        rules.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        Self { rules, sites: Mutex::default() }
    }

    /// True when nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The shortest window.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.rules.iter().map(|(_, rule)| Duration::from_nanos(rule.per_ns)).min()
    }

    /// The limit of a callsite, which is remembered when it has one.
    pub(super) fn rule(&self, site: &'static Callsite) -> Option<Rule> {
        let rule = self.rule_of(site.metadata().target)?;
        self.add(site, site.detour().limiter.left_out());
        Some(rule)
    }

    fn rule_of(&self, target: &str) -> Option<Rule> {
        self.rules.iter().find(|(prefix, _)| is_within(target, prefix)).map(|(_, rule)| *rule)
    }

    fn add(&self, site: &'static Callsite, left_out: u64) {
        // A signal handler may stand above who has the list: the next call tries again.
        let Some(mut sites) = self.sites.try_lock() else { return };
        if !sites.iter().any(|(other, _)| std::ptr::eq(*other, site)) {
            sites.push((site, left_out));
        }
    }

    /// True when an event for a logger that is named may pass.
    pub(crate) fn passes(&self, site: &'static Callsite, lanes: &Arc<Lanes>) -> bool {
        let Some(rule) = self.rule_of(site.metadata().target) else { return true };
        let limiter = &site.detour().limiter;
        let before = limiter.left_out();
        let passes = limiter.allows(rule, clock::monotonic_ns());
        if !passes {
            self.add(site, before);
        } else if limiter.has_pending() && callsite::define_suppressed(site) {
            let suppressed = limiter.take_suppressed();
            suppressed.iter().for_each(|suppressed| handle::write_local(lanes, suppressed));
        }
        passes
    }

    /// Events that were left out since the logger began.
    pub(crate) fn left_out(&self) -> u64 {
        let sites = self.sites.lock();
        sites.iter().map(|(site, before)| site.detour().limiter.left_out() - before).sum()
    }

    /// Says what was left out in windows that are over, or in all.
    pub(crate) fn tell(&self, all: bool, lanes: &Arc<Lanes>) {
        let sites: Vec<_> = self.sites.lock().iter().map(|(site, _)| *site).collect();
        for site in sites {
            let limiter = &site.detour().limiter;
            let Some(rule) = self.rule_of(site.metadata().target) else { continue };
            let is_over = all || limiter.is_over(rule, clock::monotonic_ns());
            if is_over && limiter.has_pending() && callsite::define_suppressed(site) {
                // The thread that tells it may be one of the logger's own, which has no lane.
                let suppressed = limiter.take_suppressed();
                suppressed.iter().for_each(|it| write_common(lanes, it.level(), it));
            }
        }
    }
}

/// One callsite's count.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The global logger's rule: how many, 0 without a rule, and in how many nanoseconds.
    n: AtomicU32,
    per_ns: AtomicU64,
    /// Number of the window in the upper half, events of it in the lower.
    window: AtomicU64,
    /// Left out and not told.
    pending: AtomicU64,
    /// Left out since the process began.
    left_out: AtomicU64,
    /// Id of the definition of the record that tells it; 0 until there is one.
    definition: AtomicU32,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self {
            n: AtomicU32::new(0),
            per_ns: AtomicU64::new(1),
            window: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            definition: AtomicU32::new(0),
        }
    }

    pub(super) fn set_rule(&self, rule: Option<Rule>) {
        let Rule { n, per_ns } = rule.unwrap_or(Rule { n: 0, per_ns: 1 });
        // ord: Relaxed: published by the detour's word (D1).
        self.per_ns.store(per_ns, Ordering::Relaxed);
        // ord: Relaxed, as above.
        self.n.store(n, Ordering::Relaxed);
    }

    /// True when the global logger's rule lets an event pass.
    pub(super) fn passes(&self) -> bool {
        // ord: Relaxed, acquired with the detour's word (D1).
        let (n, per_ns) = (self.n.load(Ordering::Relaxed), self.per_ns.load(Ordering::Relaxed));
        n == 0 || self.allows(Rule { n, per_ns: per_ns.max(1) }, clock::monotonic_ns())
    }

    fn allows(&self, rule: Rule, now_ns: u64) -> bool {
        let window = number(rule, now_ns);
        let count = |word: u64| if word >> 32 == window { word & u64::from(u32::MAX) } else { 0 };
        let more = |word| {
            let count = count(word);
            (count < u64::from(rule.n)).then_some(window << 32 | (count + 1))
        };
        // ord: Relaxed, a counter.
        let passes = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !passes {
            // ord: Relaxed, counters.
            self.pending.fetch_add(1, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed); // ord: counter
        }
        passes
    }

    fn is_over(&self, rule: Rule, now_ns: u64) -> bool {
        // ord: Relaxed, a check.
        self.window.load(Ordering::Relaxed) >> 32 != number(rule, now_ns)
    }

    fn has_pending(&self) -> bool {
        // ord: Relaxed, a check.
        self.pending.load(Ordering::Relaxed) > 0
    }

    fn left_out(&self) -> u64 {
        // ord: Relaxed, a counter.
        self.left_out.load(Ordering::Relaxed)
    }

    pub(super) fn definition(&self) -> u32 {
        // ord: Acquire, partner of the Release in `set_definition`.
        self.definition.load(Ordering::Acquire)
    }

    pub(super) fn set_definition(&self, id: u32) {
        // ord: Release: the sinks have the definition.
        self.definition.store(id, Ordering::Release);
    }

    /// The record of what was left out, which counts as told from now on.
    pub(super) fn take_suppressed(&self) -> Option<Suppressed> {
        let id = self.definition();
        if id == 0 || !self.has_pending() {
            return None;
        }
        // ord: Relaxed, a counter.
        let count = self.pending.swap(0, Ordering::Relaxed);
        (count > 0).then_some(Suppressed { id, count })
    }
}

/// Number of the window of a moment, in 32 bits.
fn number(rule: Rule, now_ns: u64) -> u64 {
    (now_ns / rule.per_ns) & u64::from(u32::MAX)
}

/// The definition of the record that tells what was left out of a statement.
pub(super) fn definition(id: u32, of: &Metadata) -> Definition {
    let suppressed = Field { name: "suppressed".into(), kind: Kind::U64 as u8, role: Role::Field };
    Definition {
        id,
        level: of.level,
        dynamic: false,
        target: of.target.to_owned(),
        name: "suppressed".into(),
        file: of.file.to_owned(),
        line: of.line,
        module: of.module.to_owned(),
        template: Some(MESSAGE.into()),
        fields: vec![suppressed],
    }
}

/// The record itself.
#[derive(Debug)]
pub(crate) struct Suppressed {
    id: u32,
    count: u64,
}

impl Record for Suppressed {
    fn payload_len(&self) -> usize {
        size_of::<u64>()
    }

    fn level(&self) -> Level {
        Level::Warn
    }

    fn fast_ticks() -> Option<u64> {
        clock::fast_ticks()
    }

    fn ticks(&self) -> u64 {
        clock::ticks()
    }

    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(self.id, words, RECORD_EVENT, flags, ticks)
    }

    fn payload(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.count.to_le_bytes());
    }

    fn cut(&self, _: usize) -> Vec<u8> {
        self.count.to_le_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pass_in_each_window_as_the_rule_says_and_the_rest_is_counted() {
        let (limiter, rule) = (Limiter::new(), Rule { n: 3, per_ns: 1_000 });
        let passed =
            |from: u64, n: u64| (from..from + n).filter(|t| limiter.allows(rule, *t)).count();
        assert_eq!(passed(5_000, 10), 3);
        assert!(limiter.take_suppressed().is_none(), "nobody has defined its record");
        limiter.set_definition(9);
        assert!(!limiter.is_over(rule, 5_999) && limiter.is_over(rule, 6_000));
        assert_eq!(passed(6_000, 2), 2);
        assert_eq!(limiter.take_suppressed().map(|it| (it.id, it.count)), Some((9, 7)));
        assert!(limiter.take_suppressed().is_none());
        assert_eq!((passed(6_002, 3), limiter.left_out()), (1, 9));
    }

    #[test]
    fn the_longest_target_sets_the_limit() {
        let second = Duration::from_secs(1);
        let limits = Limits::new(&[("a".into(), 1, second), ("a::b".into(), 2, second)]);
        let n = |target: &str| limits.rule_of(target).map(|rule| rule.n);
        assert_eq!([n("a"), n("a::b::c"), n("ab")], [Some(1), Some(2), None]);
        assert_eq!(limits.shortest(), Some(second));
    }
}
