//! Parse: one directive of a filter, in the whole grammar that tracing's `EnvFilter` documents.
//!
//! ```text
//! target[span{field=value, field}]=level      each part may be left out
//! ```
//!
//! Inside of the braces a text in quotes may hold anything; the braces end at a `}` with a `]`
//! behind it, so that a pattern may hold braces too.

use super::directive::{Demand, Directive};
use super::value::Wanted;
use crate::record::Level;

/// Splits at commas outside of brackets; each part with the place of its first byte.
pub(super) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start <= text.len() {
        let len = part_len(&text[start..]);
        let part = &text[start..start + len];
        let trimmed = part.trim();
        if !trimmed.is_empty() {
            parts.push((start + part.len() - part.trim_start().len(), trimmed));
        }
        start += len + 1;
    }
    parts
}

/// Bytes up to the comma that ends the first part.
fn part_len(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let Some(next) = rest.find([',', '[', '{']) else { return text.len() };
        at += next;
        at += match rest.as_bytes()[next] {
            b',' => return at,
            b'[' => match bracket(&rest[next + 1..]) {
                Ok(bracket) => 1 + bracket.len,
                Err(_) => return text.len(),
            },
            // A brace outside of brackets is refused as a whole.
            _ => rest[next..].find('}').unwrap_or(rest.len() - next),
        };
    }
}

/// What stands in a bracket.
pub(super) struct Bracket<'a> {
    pub(super) name: &'a str,
    /// The fields between braces.
    pub(super) fields: Option<&'a str>,
    /// Bytes up to and with the `]`.
    len: usize,
}

/// Reads what follows a `[`.
fn bracket(text: &str) -> Result<Bracket<'_>, &'static str> {
    let open = text.find(['{', ']']).ok_or("a bracket is not closed")?;
    let name = text[..open].trim();
    if text[open..].starts_with(']') {
        return Ok(Bracket { name, fields: None, len: open + 1 });
    }
    let inside = &text[open + 1..];
    let mut at = 0;
    let unclosed =
        if inside.contains('}') { "a bracket is not closed" } else { "a brace is not closed" };
    loop {
        at += inside[at..].find(['"', '}']).ok_or(unclosed)?;
        if inside[at..].starts_with('"') {
            at += quoted_len(&inside[at..]).ok_or("a quote is not closed")?;
            continue;
        }
        let behind = inside[at + 1..].trim_start();
        if behind.starts_with(']') {
            let len = text.len() - behind.len() + 1;
            return Ok(Bracket { name, fields: Some(&inside[..at]), len });
        }
        at += 1;
    }
}

/// Bytes of a text in quotes, with them.
fn quoted_len(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = text[1..].find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    Some(end? + 2)
}

/// Splits fields at commas outside of quotes, and of the brackets of a pattern.
fn split_fields(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (mut at, mut depth) = (0, 0u32);
        let end = loop {
            let Some(next) = text[at..].find(['"', ',', '{', '}', '[', ']', '(', ')']) else {
                break text.len();
            };
            at += next;
            match text.as_bytes()[at] {
                b',' if depth == 0 => break at,
                b'"' => at += quoted_len(&text[at..]).unwrap_or(1) - 1,
                b'{' | b'[' | b'(' => depth += 1,
                b',' => {}
                _ => depth = depth.saturating_sub(1),
            }
            at += 1;
        };
        let field = text[..end].trim();
        text = text.get(end + 1..).unwrap_or_default();
        Some(field)
    })
}

/// Reads one directive; why not, when it cannot be read or applied.
pub(super) fn directive(text: &str) -> Result<Directive, String> {
    let Some(open) = text.find(['[', '{']) else { return Ok(plain(text)?) };
    if text[open..].starts_with('{') {
        return Err("fields stand in brackets: [{name}]".into());
    }
    let target = text[..open].trim();
    let inside = bracket(&text[open + 1..])?;
    let behind = text[open + 1 + inside.len..].trim();
    if !target.is_empty() && !is_target(target) {
        return Err("no target before the bracket".into());
    }
    let level = match behind.strip_prefix('=') {
        Some(level) => level_or_all(level)?,
        None if behind.is_empty() => Some(Level::Trace),
        None => return Err("only =level may follow the bracket".into()),
    };
    let span = Some(inside.name).filter(|name| !name.is_empty()).map(str::to_owned);
    let fields = inside.fields.map_or_else(|| Ok(Vec::new()), demands)?;
    if span.is_none() && fields.is_empty() {
        return Err(
            "nothing stands in the brackets; write [span], [{field}] or [span{field=value}]".into(),
        );
    }
    Ok(Directive { target: target.to_owned(), span, fields, level })
}

fn demands(text: &str) -> Result<Vec<Demand>, String> {
    let mut demands = Vec::new();
    for field in split_fields(text).filter(|field| !field.is_empty()) {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.trim(), Some(Wanted::parse(value.trim())?)),
            None => (field, None),
        };
        if name.is_empty() {
            return Err("no name before the equals sign; write [{name=value}]".into());
        }
        let demand = Demand { name: name.to_owned(), value };
        if !demands.contains(&demand) {
            demands.push(demand);
        }
    }
    demands.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(demands)
}

/// A span as somebody describes it.
pub(super) struct Described<'a> {
    pub(super) text: &'a str,
    pub(super) target: Option<&'a str>,
    pub(super) name: &'a str,
    /// Names and values.
    pub(super) fields: Vec<(&'a str, &'a str)>,
}

/// Reads a span: a directive without its level, whose brackets may be left out. Fields have values.
pub(super) fn described(text: &str) -> Result<Described<'_>, &'static str> {
    let text = text.trim();
    let name = text.find(['[', '{']).unwrap_or(text.len());
    let whole;
    let (target, inside) = if text[name..].starts_with('[') {
        let inside = bracket(&text[name + 1..])?;
        if name + 1 + inside.len < text.len() {
            return Err("nothing may follow the bracket");
        }
        (Some(text[..name].trim()).filter(|target| !target.is_empty()), inside)
    } else {
        whole = Bracket {
            name: text[..name].trim(),
            fields: match text.get(name + 1..) {
                Some(fields) => Some(fields.strip_suffix('}').ok_or("a brace is not closed")?),
                None => None,
            },
            len: 0,
        };
        (None, whole)
    };
    if inside.name.is_empty() {
        return Err("a span has a name: name, name{field=value} or target[name{field=value}]");
    }
    let fields = split_fields(inside.fields.unwrap_or_default()).filter(|field| !field.is_empty());
    let fields = fields.map(|field| field.split_once('=').unwrap_or((field, "")));
    let fields = fields.map(|(name, value)| (name.trim(), value.trim())).collect();
    Ok(Described { text, target, name: inside.name, fields })
}

fn plain(text: &str) -> Result<Directive, &'static str> {
    let Some((target, level)) = text.split_once('=') else {
        return match level(text) {
            Some(level) => Ok(Directive::of("", level)),
            None if is_target(text) => Ok(Directive::of(text, Some(Level::Trace))),
            None => Err("neither a level (off, error … trace, 0 … 5) nor a target"),
        };
    };
    let target = target.trim();
    if !is_target(target) {
        return Err("no target before the equals sign");
    }
    Ok(Directive::of(target, level_or_all(level)?))
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
