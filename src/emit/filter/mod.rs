//! Filter: which events are wanted, by target, level and names of fields, and by the spans that they
//! are in, in the syntax of `RUST_LOG`.

mod directive;
mod explain;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use self::directive::Directive;
pub use self::explain::Explanation;
use crate::lane::entered;
use crate::record::{Level, Value};

/// Values that the directives of one filter may demand.
const VALUES_MAX: usize = 64;

/// Directives such as `warn,app=trace,app::noisy=off,[{user}]=debug,app[request{id=7}]=trace`.
///
/// A directive *speaks* of an event when its target is the event's target or one of its parents, and
/// the event has all the fields that it names. Of several the one with the longest target decides,
/// and of those with the same target the one that names more fields. Events that no directive
/// speaks of are not wanted. An empty filter means `info`.
///
/// A directive with the name of a span, or with fields, also *grants*: what a thread logs inside of
/// a span that it speaks of (by target, name, and fields with their values) is wanted from its
/// level on, whatever its target; and so is each such span itself. A grant never takes anything
/// away. Statements that no directive could grant anything pay nothing for those that are there;
/// the others look at the spans that their thread is in.
///
/// # Values of fields
///
/// `true`, `false`, integers and decimal numbers are equal to such values alone. Anything else is a
/// regular expression, which has to match the end of a text: `[request{path=/api/.*}]`; text that
/// `Debug` made is one too. In quotes stands plain text: `[request{user="ada"}]`. A value counts
/// from when it is given, when the span is opened or later, and is looked at when a thread enters;
/// one that is [redacted](crate::Builder::redact) has none. Of spans that were open before the
/// filter was set no value is known.
///
/// # Where it differs from tracing's `EnvFilter`
///
/// | directive | `EnvFilter` | here |
/// | --- | --- | --- |
/// | `app=debug` | also `application` | `app` and `app::…` alone |
/// | (nothing) | `error` | `info` |
/// | `7` | the target `7` | refused: neither a level nor a target |
/// | `[{a,b}]`, `[span{a=1,b=2}]` | two halves, both refused | both fields |
/// | `[{a}]=debug` | also spans from DEBUG on without such a field | spans with the field |
/// | `[span{name="bob"}]` | what `Debug` makes of a text has quotes, a text has none | both |
/// | `[span{n=7}]` | not a value of 128 bits | such a value too |
/// | `[span]=debug` | not of spans below all levels, unless another layer wants those | of all |
/// | `[span]` set while the program runs | spans opened from then on | what enters from then on |
///
/// All else that `EnvFilter` documents means the same, the names and numbers of levels, `off`, a
/// bare level or target, and that the later of two equal directives stands.
///
/// # Examples
///
/// ```
/// use ttlog::{Filter, Level};
///
/// let filter: Filter = "warn,app::db=debug".parse()?;
/// assert!(filter.enabled("app::db::pool", Level::DEBUG));
/// assert!(!filter.enabled("app", Level::INFO));
/// # Ok::<(), ttlog::FilterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Filter {
    /// Of those that are static, the one that decides stands before those that it overrules.
    directives: Vec<Directive>,
    /// The least severe level that is granted inside of any span.
    grants: Option<Level>,
    /// Names the filter, from when it is used, in what threads keep of spans; 0 before, and for one
    /// that grants nothing.
    scope: u32,
}

/// What is known of a statement.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) target: &'a str,
    pub(crate) name: &'a str,
    pub(crate) level: Level,
    pub(crate) is_span: bool,
    /// Tells whether it has a field.
    pub(crate) has: &'a dyn Fn(&str) -> bool,
}

/// When a filter wants the events, or spans, of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Never,
    /// Inside of a span that grants it.
    Sometimes,
    Always,
}

impl Default for Filter {
    fn default() -> Self {
        Self::of(vec![Directive::of("", Some(Level::Info))])
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.directives == other.directives
    }
}

impl Eq for Filter {}

impl Filter {
    fn of(mut directives: Vec<Directive>) -> Self {
        let weight = |it: &Directive| {
            std::cmp::Reverse((it.target.len(), it.span.is_some(), it.fields.len()))
        };
        directives.sort_by_key(weight);
        let granting = directives.iter().filter(|directive| directive.grants());
        let grants = granting.filter_map(|directive| directive.level).min();
        Self { directives, grants, scope: 0 }
    }

    /// Reads directives separated by commas: a level (by name or as 0 to 5), `off`, a target,
    /// `target=level`, or `target[span{field=value}]=level`, of which each part may be left out.
    /// Empty parts are skipped.
    ///
    /// # Errors
    ///
    /// Names the first directive that cannot be read or applied, where it stands, and why.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let (filter, mut errors) = Self::parse_lossy(text);
        if errors.is_empty() { Ok(filter) } else { Err(errors.swap_remove(0)) }
    }

    /// Reads what can be read, and returns the rest; `info` when nothing can.
    #[must_use]
    pub fn parse_lossy(text: &str) -> (Self, Vec<FilterError>) {
        let mut directives: Vec<Directive> = Vec::new();
        let mut errors = Vec::new();
        for (at, part) in parse::split(text) {
            let mut fail = |reason| {
                let at = text[..at].chars().count() + 1;
                errors.push(FilterError { directive: part.to_owned(), at, reason });
            };
            match parse::directive(part) {
                Ok(new) => {
                    // Of two that speak of the same the later stands.
                    directives.retain(|old| !old.is_alike(&new));
                    let values: usize = directives.iter().map(|it| it.values().count()).sum();
                    if values + new.values().count() > VALUES_MAX {
                        fail(format!(
                            "more than {VALUES_MAX} values in one filter; leave some out"
                        ));
                    } else {
                        directives.push(new);
                    }
                }
                Err(reason) => fail(reason),
            }
        }
        let filter = if directives.is_empty() { Self::default() } else { Self::of(directives) };
        (filter, errors)
    }

    /// The filter as it is used from now on: what it grants inside of spans is told apart from what
    /// other filters do.
    pub(crate) fn in_use(self) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let scope = match self.grants {
            // ord: counter.
            Some(_) => NEXT.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        Self { scope, ..self }
    }

    /// The number by which threads know what it grants; 0 when it grants nothing.
    pub(crate) fn scope(&self) -> u32 {
        self.scope
    }

    /// When it wants the events, or spans, of a statement.
    pub(crate) fn interest(&self, of: &Subject<'_>) -> Interest {
        let cares = || self.directives.iter().any(|directive| directive.cares_about(of));
        if self.enabled_with(of.target, of.level, of.has) || of.is_span && cares() {
            return Interest::Always;
        }
        match self.grants {
            Some(granted) if of.level >= granted => Interest::Sometimes,
            _ => Interest::Never,
        }
    }

    /// True when it wants an event, or a span, that this thread is about to log.
    pub(crate) fn wants_here(&self, of: &Subject<'_>) -> bool {
        match self.interest(of) {
            Interest::Never => false,
            Interest::Sometimes => entered::grants(self.scope, of.level),
            Interest::Always => true,
        }
    }

    /// Which of the values that directives demand are among these of fields, a bit for each.
    pub(crate) fn values_met<'v>(&self, values: impl Iterator<Item = (&'v str, Value<'v>)>) -> u64 {
        let mut met = 0;
        for (name, value) in values {
            let wanted = self.directives.iter().flat_map(Directive::values).enumerate();
            let is_met = |(wanted_name, wanted): (&str, &value::Wanted)| {
                wanted_name == name && wanted.matches(value)
            };
            met |= wanted.filter(|(_, wanted)| is_met(*wanted)).map(|(n, _)| 1 << n).sum::<u64>();
        }
        met
    }

    /// The directive that grants most inside of a span with these values, and from which level on.
    fn granting(&self, span: &Subject<'_>, values_met: u64) -> Option<(&Directive, Level)> {
        let mut first = 0u32;
        let granting = self.directives.iter().filter_map(|directive| {
            let n_values = directive.values().count();
            let bits = u64::MAX.checked_shr(u64::BITS - n_values as u32).unwrap_or(0);
            let wanted = bits.checked_shl(first).unwrap_or(0); // behind the last there are none
            first += n_values as u32;
            let is_met = values_met & wanted == wanted && directive.cares_about(span);
            Some((directive, directive.level.filter(|_| is_met)?))
        });
        granting.min_by_key(|(_, level)| *level)
    }

    /// The least severe level that is wanted inside of a span with these values.
    pub(crate) fn grant(&self, span: &Subject<'_>, values_met: u64) -> Option<Level> {
        self.granting(span, values_met).map(|(_, level)| level)
    }

    /// The least severe level that is wanted from events of this target without fields; `None` when
    /// none is.
    #[must_use]
    pub fn level_for(&self, target: &str) -> Option<Level> {
        self.decides(target, |_| false)?.level
    }

    /// True when an event of this target and level, without fields, is wanted outside of all spans.
    #[must_use]
    pub fn enabled(&self, target: &str, level: Level) -> bool {
        self.enabled_with(target, level, |_| false)
    }

    /// True when an event of this target and level is wanted outside of all spans; `has` tells
    /// whether it has a field.
    #[must_use]
    pub fn enabled_with(&self, target: &str, level: Level, has: impl Fn(&str) -> bool) -> bool {
        let wanted = self.decides(target, has).and_then(|directive| directive.level);
        wanted.is_some_and(|wanted| level >= wanted)
    }

    /// The least severe level that any event may have to be wanted, inside of a span or not; `None`
    /// when none is.
    #[must_use]
    pub fn max_level(&self) -> Option<Level> {
        self.directives.iter().filter_map(|directive| directive.level).min()
    }

    fn decides(&self, target: &str, has: impl Fn(&str) -> bool) -> Option<&Directive> {
        self.directives.iter().find(|directive| directive.speaks_of(target, &has))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, directive) in self.directives.iter().rev().enumerate() {
            write!(f, "{}{directive}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A directive that cannot be read or applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    directive: String,
    /// The character that it begins at, counted from 1.
    at: usize,
    reason: String,
}

impl FilterError {
    /// The directive as it was written.
    #[must_use]
    pub fn directive(&self) -> &str {
        &self.directive
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directive, at, reason } = self;
        write!(f, "bad filter directive {directive:?} at character {at}: {reason}")
    }
}

impl std::error::Error for FilterError {}

/// True when `prefix` is the target itself or one of its parents.
pub(crate) fn is_within(target: &str, prefix: &str) -> bool {
    match target.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with("::"),
        None => false,
    }
}
