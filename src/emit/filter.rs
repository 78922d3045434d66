//! Filter: which events are wanted, by target and level, in the syntax of `RUST_LOG`.

use std::fmt;
use std::str::FromStr;

use crate::record::Level;

/// Directives such as `warn,app=trace,app::noisy=off`.
///
/// The directive with the longest target that is the event's target, or one of its parents, wins.
/// Events that no directive speaks of are not wanted. An empty filter means `info`.
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
    /// Longest target first; the one without target stands last under the empty name.
    directives: Vec<(String, Option<Level>)>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { directives: vec![(String::new(), Some(Level::Info))] }
    }
}

impl Filter {
    /// Reads directives separated by commas: a level (by name or as 1 to 5), `off`, a target, or
    /// `target=level`. Empty parts are skipped.
    ///
    /// # Errors
    ///
    /// Names the first directive that cannot be read.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let (filter, mut errors) = Self::parse_lossy(text);
        if errors.is_empty() { Ok(filter) } else { Err(errors.swap_remove(0)) }
    }

    /// Reads what can be read, and returns the rest; `info` when nothing can.
    #[must_use]
    pub fn parse_lossy(text: &str) -> (Self, Vec<FilterError>) {
        let mut directives = Vec::new();
        let mut errors = Vec::new();
        for part in split(text) {
            match parse_directive(part) {
                Ok((target, level)) => {
                    // Of two with the same target the later wins.
                    directives.retain(|(other, _)| *other != target);
                    directives.push((target, level));
                }
                Err(reason) => errors.push(FilterError { directive: part.to_owned(), reason }),
            }
        }
        if directives.is_empty() {
            return (Self::default(), errors);
        }
        directives.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        (Self { directives }, errors)
    }

    /// The least severe level that is wanted from this target; `None` when none is.
    #[must_use]
    pub fn level_for(&self, target: &str) -> Option<Level> {
        self.directives.iter().find(|(prefix, _)| is_within(target, prefix))?.1
    }

    /// The least severe level that is wanted from any target; `None` when none is.
    #[must_use]
    pub fn max_level(&self) -> Option<Level> {
        self.directives.iter().filter_map(|(_, level)| *level).min()
    }

    /// True when an event of this target and level is wanted.
    #[must_use]
    pub fn enabled(&self, target: &str, level: Level) -> bool {
        self.level_for(target).is_some_and(|wanted| level >= wanted)
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
        for (i, (target, level)) in self.directives.iter().rev().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let equals = if target.is_empty() { "" } else { "=" };
            let level = level.map_or("off", Level::as_str);
            write!(f, "{comma}{target}{equals}{}", level.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// A directive that cannot be read.
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
fn is_within(target: &str, prefix: &str) -> bool {
    match target.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with("::"),
        None => false,
    }
}

/// Splits at commas outside of brackets, so that an error names a whole directive.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth <= 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn parse_directive(text: &str) -> Result<(String, Option<Level>), &'static str> {
    if text.contains(['[', ']', '{', '}']) {
        return Err("filters by span or field are not supported yet, use target=level");
    }
    let Some((target, level)) = text.split_once('=') else {
        return Ok(match parse_level(text) {
            Some(level) => (String::new(), level),
            None if is_target(text) => (text.to_owned(), Some(Level::Trace)),
            None => return Err("neither a level (off, error … trace, 0 … 5) nor a target"),
        });
    };
    let (target, level) = (target.trim(), level.trim());
    if !is_target(target) {
        return Err("no target before the equals sign");
    }
    // As in tracing, nothing behind the sign means everything.
    if level.is_empty() {
        return Ok((target.to_owned(), Some(Level::Trace)));
    }
    let level =
        parse_level(level).ok_or("not a level: use off, error, warn, info, debug, trace")?;
    Ok((target.to_owned(), level))
}

fn parse_level(text: &str) -> Option<Option<Level>> {
    if text.eq_ignore_ascii_case("off") || text == "0" {
        return Some(None);
    }
    text.parse().ok().map(Some)
}

/// Targets are paths, or any name without blanks that a program chose.
fn is_target(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(filter: &str, target: &str) -> Option<Level> {
        Filter::parse(filter).unwrap().level_for(target)
    }

    #[test]
    fn the_longest_target_wins() {
        let filter = "app::noisy=off,warn,app=trace,app::db=debug";
        assert_eq!(level(filter, "other"), Some(Level::Warn));
        assert_eq!(level(filter, "app"), Some(Level::Trace));
        assert_eq!(level(filter, "app::db"), Some(Level::Debug));
        assert_eq!(level(filter, "app::db::pool"), Some(Level::Debug));
        assert_eq!(level(filter, "app::noisy::x"), None);
    }

    #[test]
    fn a_prefix_ends_at_a_path_boundary() {
        assert_eq!(level("app=debug", "application"), None);
        assert_eq!(level("app=debug", "app::x"), Some(Level::Debug));
        assert_eq!(level("info,app=debug", "app2"), Some(Level::Info));
    }

    #[test]
    fn levels_are_read_in_every_spelling() {
        for (text, wanted) in [
            ("info", Some(Level::Info)),
            ("WARN", Some(Level::Warn)),
            ("Off", None),
            ("0", None),
            ("1", Some(Level::Error)),
            ("5", Some(Level::Trace)),
            ("", Some(Level::Info)),
            (" , ,", Some(Level::Info)),
            (",debug,", Some(Level::Debug)),
            ("debug,error", Some(Level::Error)),
        ] {
            assert_eq!(level(text, "any"), wanted, "{text}");
        }
        assert_eq!(level("app", "app"), Some(Level::Trace));
        assert_eq!(level(" app = 4 ", "app"), Some(Level::Debug));
        assert_eq!(level("app=", "app"), Some(Level::Trace));
    }

    #[test]
    fn bad_directives_are_named_and_the_rest_stands() {
        for bad in
            ["[span]", "app[span{x=1,y=2}]=info", "{field=1}", "app=loud", "=info", "a b", "7"]
        {
            let error = Filter::parse(&format!("warn,{bad}")).unwrap_err();
            assert_eq!(error.directive(), bad);
            let (filter, errors) = Filter::parse_lossy(&format!("{bad},warn"));
            assert_eq!(filter.level_for("x"), Some(Level::Warn));
            assert_eq!(errors.len(), 1);
            assert_eq!(Filter::parse_lossy(bad).0, Filter::default());
        }
    }

    #[test]
    fn the_max_level_is_that_of_the_most_verbose_directive() {
        let max = |text: &str| Filter::parse(text).unwrap().max_level();
        assert_eq!(max(""), Some(Level::Info));
        assert_eq!(max("warn,app=debug,other=off"), Some(Level::Debug));
        assert_eq!(max("off"), None);
    }

    #[test]
    fn a_filter_is_shown_as_it_can_be_read() {
        let filter = Filter::parse("app::db=debug,WARN,app=off").unwrap();
        assert_eq!(filter.to_string(), "warn,app=off,app::db=debug");
        assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
    }
}
