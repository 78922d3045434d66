//! Parse: one directive of a filter, in the whole grammar that tracing's `EnvFilter` documents.
//!
//! ```text
//! target[span{field=value, field}]=level      each part may be left out
//! ```
//!
//! A filter of events decides when a statement is first met, from what the compiler knew: target,
//! level and names of fields. What can only be told later, spans and values, is read and refused,
//! so that the reason names it.

use super::Directive;
use crate::record::Level;

const NO_SPAN: &str = "a filter of events knows no spans; put tracing_subscriber::EnvFilter before \
                       the layer, or choose when reading";
const NO_VALUE: &str = "a filter knows the names of fields, not their values; write [{name}], or \
                        choose when reading";

/// Splits at commas outside of brackets, so that an error names a whole directive.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
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

/// Reads one directive; why not, when it cannot be read or applied.
pub(super) fn directive(text: &str) -> Result<Directive, &'static str> {
    let Some(open) = text.find(['[', '{']) else { return plain(text) };
    if text[open..].starts_with('{') {
        return Err("fields stand in brackets: [{name}]");
    }
    let (target, rest) = (text[..open].trim(), &text[open + 1..]);
    let Some(close) = rest.rfind(']') else { return Err("a bracket is not closed") };
    let (inside, behind) = (rest[..close].trim(), rest[close + 1..].trim());
    if !target.is_empty() && !is_target(target) {
        return Err("no target before the bracket");
    }
    let level = match behind.strip_prefix('=') {
        Some(level) => level_or_all(level)?,
        None if behind.is_empty() => Some(Level::Trace),
        None => return Err("only =level may follow the bracket"),
    };
    let (span, names) = match inside.find('{') {
        Some(at) => (inside[..at].trim(), inside[at + 1..].strip_suffix('}')),
        None => (inside, Some("")),
    };
    let names = names.ok_or("a brace is not closed")?;
    if !span.is_empty() {
        return Err(NO_SPAN);
    }
    let mut fields = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name.contains('=') {
            return Err(NO_VALUE);
        }
        if !fields.iter().any(|other| other == name) {
            fields.push(name.to_owned());
        }
    }
    if fields.is_empty() {
        return Err("nothing stands in the brackets");
    }
    fields.sort();
    Ok(Directive { target: target.to_owned(), fields, level })
}

fn plain(text: &str) -> Result<Directive, &'static str> {
    let of = |target: &str, level| {
        Ok(Directive { target: target.to_owned(), fields: Vec::new(), level })
    };
    let Some((target, level)) = text.split_once('=') else {
        return match level(text) {
            Some(level) => of("", level),
            None if is_target(text) => of(text, Some(Level::Trace)),
            None => Err("neither a level (off, error … trace, 0 … 5) nor a target"),
        };
    };
    let target = target.trim();
    if !is_target(target) {
        return Err("no target before the equals sign");
    }
    of(target, level_or_all(level)?)
}

/// As in tracing, nothing behind the sign means everything.
fn level_or_all(text: &str) -> Result<Option<Level>, &'static str> {
    match text.trim() {
        "" => Ok(Some(Level::Trace)),
        text => level(text).ok_or("not a level: use off, error, warn, info, debug, trace"),
    }
}

fn level(text: &str) -> Option<Option<Level>> {
    if text.eq_ignore_ascii_case("off") || text == "0" {
        return Some(None);
    }
    text.parse().ok().map(Some)
}

/// Targets are paths, or any name without blanks that a program chose.
fn is_target(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "=[]{}".contains(c))
}
