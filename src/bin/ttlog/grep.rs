//! Grep: events by a pattern in their message, fields or spans.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};
use ttlog::record::Value;
use ttlog::render::{self, Event};

use crate::Failure;
use crate::args::CatArgs;

/// A pattern, and whether events with it or those without are wanted.
#[derive(Debug)]
pub(crate) struct Grep {
    pattern: Regex,
    invert: bool,
    text: String,
}

impl Grep {
    pub(crate) fn new(args: &CatArgs) -> Result<Option<Self>, Failure> {
        let Some(pattern) = &args.grep else { return Ok(None) };
        let any_case = args.ignore_case || !has_capital(pattern);
        let pattern = RegexBuilder::new(pattern).case_insensitive(any_case).build();
        let explain = |error| Failure::Usage(format!("--grep: {error}; quote . * [ ( with \\"));
        Ok(Some(Self {
            pattern: pattern.map_err(explain)?,
            invert: args.invert_match,
            text: String::new(),
        }))
    }

    /// True when the event is wanted.
    pub(crate) fn wants(&mut self, event: &Event<'_>) -> bool {
        let found = self.pattern.is_match(event.message(&mut self.text))
            || self.in_pairs(event.fields())
            || event
                .spans
                .iter()
                .any(|span| self.pattern.is_match(&span.name) || self.in_pairs(span.values()));
        found != self.invert
    }

    fn in_pairs<'v>(&mut self, pairs: impl Iterator<Item = (&'v str, Value<'v>)>) -> bool {
        for (name, value) in pairs {
            self.text.clear();
            // A string takes all that is written to it.
            let _ = write!(self.text, "{name}=");
            let _ = render::value::display(value, &mut self.text);
            if self.pattern.is_match(&self.text) {
                return true;
            }
        }
        false
    }
}

/// True when a pattern has a capital that stands for itself: `\S` and `\W` do not.
fn has_capital(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c.is_uppercase() => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_capital_makes_case_count() {
        assert!(has_capital("Timeout"));
        assert!(!has_capital(r"time\Sout\W"));
        assert!(!has_capital("größe"));
        assert!(has_capital("GRÖSSE"));
    }
}
