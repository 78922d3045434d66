//! Filter: which events are wanted, by target, level and names of fields, in the syntax of `RUST_LOG`.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::record::Level;

/// Directives such as `warn,app=trace,app::noisy=off,[{user}]=debug`.
///
/// A directive speaks of an event when its target is the event's target or one of its parents, and
/// the event has all the fields that it names. Of several the one with the longest target decides,
/// and of those with the same target the one that names more fields. Events that no directive
/// speaks of are not wanted. An empty filter means `info`.
///
/// # Where it differs from tracing's `EnvFilter`
///
/// | directive | `EnvFilter` | here |
/// | --- | --- | --- |
/// | `app=debug` | also `application` | `app` and `app::…` alone |
/// | (nothing) | `error` | `info` |
/// | `[span]`, `app[span]=debug` | events inside of the span | refused: a filter of events knows no spans |
/// | `[{user=ada}]` | events inside of spans with the value | refused: a filter knows names, not values |
/// | `7` | the target `7` | refused: neither a level nor a target |
/// | `[{a,b}]` | two halves, both refused | events with both fields |
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The one that decides stands before those that it overrules.
    directives: Vec<Directive>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    /// Empty for every target.
    target: String,
    /// Names of fields that an event must have, sorted.
    fields: Vec<String>,
    /// The least severe level; `None` for none at all.
    level: Option<Level>,
}

impl Default for Filter {
    fn default() -> Self {
        let level = Some(Level::Info);
        Self { directives: vec![Directive { target: String::new(), fields: Vec::new(), level }] }
    }
}

impl Filter {
    /// Reads directives separated by commas: a level (by name or as 0 to 5), `off`, a target,
    /// `target=level`, or `target[{field}]=level`. Empty parts are skipped.
    ///
    /// # Errors
    ///
    /// Names the first directive that cannot be read or applied, and why.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let (filter, mut errors) = Self::parse_lossy(text);
        if errors.is_empty() { Ok(filter) } else { Err(errors.swap_remove(0)) }
    }

    /// Reads what can be read, and returns the rest; `info` when nothing can.
    #[must_use]
    pub fn parse_lossy(text: &str) -> (Self, Vec<FilterError>) {
        let mut directives: Vec<Directive> = Vec::new();
        let mut errors = Vec::new();
        for part in parse::split(text) {
            match parse::directive(part) {
                Ok(new) => {
                    // Of two that speak of the same the later stands.
                    directives.retain(|old| old.target != new.target || old.fields != new.fields);
                    directives.push(new);
                }
                Err(reason) => errors.push(FilterError { directive: part.to_owned(), reason }),
            }
        }
        if directives.is_empty() {
            return (Self::default(), errors);
        }
        let weight = |it: &Directive| std::cmp::Reverse((it.target.len(), it.fields.len()));
        directives.sort_by_key(weight);
        (Self { directives }, errors)
    }

    /// The least severe level that is wanted from events of this target without fields; `None` when
    /// none is.
    #[must_use]
    pub fn level_for(&self, target: &str) -> Option<Level> {
        self.decides(target, |_| false)?.level
    }

    /// True when an event of this target and level, without fields, is wanted.
    #[must_use]
    pub fn enabled(&self, target: &str, level: Level) -> bool {
        self.enabled_with(target, level, |_| false)
    }

    /// True when an event of this target and level is wanted; `has` tells whether it has a field.
    #[must_use]
    pub fn enabled_with(&self, target: &str, level: Level, has: impl Fn(&str) -> bool) -> bool {
        let wanted = self.decides(target, has).and_then(|directive| directive.level);
        wanted.is_some_and(|wanted| level >= wanted)
    }

    /// The least severe level that any event may have to be wanted; `None` when none is.
    #[must_use]
    pub fn max_level(&self) -> Option<Level> {
        self.directives.iter().filter_map(|directive| directive.level).min()
    }

    /// Says whether an event is wanted, and why.
    ///
    /// # Examples
    ///
    /// ```
    /// use ttlog::{Filter, Level};
    ///
    /// let filter: Filter = "warn,app=info".parse()?;
    /// let why = filter.explain("app::db", Level::DEBUG, &[]);
    /// assert_eq!(
    ///     why.to_string(),
    ///     "not logged: `app=info` decides for the target app::db and wants INFO and above"
    /// );
    /// # Ok::<(), ttlog::FilterError>(())
    /// ```
    #[must_use]
    pub fn explain(&self, target: &str, level: Level, fields: &[&str]) -> Explanation {
        let has = |name: &str| fields.contains(&name);
        let decides = self.decides(target, has).cloned();
        let speaks = |it: &&Directive| it.speaks_of(target, has) && Some(*it) != decides.as_ref();
        let overruled = self.directives.iter().filter(speaks).map(ToString::to_string).collect();
        let near = |it: &&Directive| target.starts_with(&it.target) && !it.speaks_of(target, has);
        let near = self.directives.iter().filter(near).map(|it| it.why_not(target)).collect();
        Explanation { target: target.to_owned(), level, decides, overruled, near }
    }

    fn decides(&self, target: &str, has: impl Fn(&str) -> bool) -> Option<&Directive> {
        self.directives.iter().find(|directive| directive.speaks_of(target, &has))
    }
}

impl Directive {
    fn speaks_of(&self, target: &str, has: impl Fn(&str) -> bool) -> bool {
        is_within(target, &self.target) && self.fields.iter().all(|name| has(name))
    }

    /// Why it does not speak of a target that it nearly does.
    fn why_not(&self, target: &str) -> String {
        if !is_within(target, &self.target) {
            return format!("`{self}` speaks of {} and {}::…", self.target, self.target);
        }
        format!("`{self}` speaks of events with these fields alone: {}", self.fields.join(", "))
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        if !self.fields.is_empty() {
            write!(f, "[{{{}}}]", self.fields.join(","))?;
        }
        let is_bare = self.target.is_empty() && self.fields.is_empty();
        let level = self.level.map_or("off", Level::as_str).to_ascii_lowercase();
        write!(f, "{}{level}", if is_bare { "" } else { "=" })
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

/// Whether an event is wanted, and which directive says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    target: String,
    level: Level,
    decides: Option<Directive>,
    overruled: Vec<String>,
    near: Vec<String>,
}

impl Explanation {
    /// True when the event is logged.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        let wanted = self.decides.as_ref().and_then(|directive| directive.level);
        wanted.is_some_and(|wanted| self.level >= wanted)
    }

    /// The directive that decides, as it can be written; `None` when none speaks of the event.
    #[must_use]
    pub fn directive(&self) -> Option<String> {
        self.decides.as_ref().map(ToString::to_string)
    }

    /// Directives that speak of the event too and are overruled by a longer target or more fields.
    #[must_use]
    pub fn overruled(&self) -> &[String] {
        &self.overruled
    }

    /// Why directives that look as if they spoke of the event do not, a sentence each.
    #[must_use]
    pub fn near(&self) -> &[String] {
        &self.near
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        let Some(directive) = &self.decides else {
            return write!(f, "not logged: no directive speaks of the target {target}");
        };
        let logged = if self.is_logged() { "logged" } else { "not logged" };
        write!(f, "{logged}: `{directive}` decides for the target {target} and wants ")?;
        match directive.level {
            Some(Level::Error) => f.write_str("ERROR alone"),
            Some(Level::Trace) => f.write_str("every level"),
            Some(level) => write!(f, "{level} and above"),
            None => f.write_str("nothing"),
        }
    }
}

/// A directive that cannot be read or applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    directive: String,
    reason: &'static str,
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
        write!(f, "bad filter directive {:?}: {}", self.directive, self.reason)
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
