//! Trace: events of one trace, by the ids of W3C that spans and events carry in their fields.

use std::collections::HashSet;
use std::str::FromStr;

use ttlog::record::Value;
use ttlog::render::{self, Span};
use ttlog::view::{Item, Query, Record, Source};

/// The fields that name a trace.
const TRACE_IDS: [&str; 2] = ["trace_id", "trace.id"];
/// The field that names it as the header of HTTP does.
const TRACEPARENT: &str = "traceparent";
/// Hexadecimal digits of a trace id, and of the id of a span.
const TRACE_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 16;

/// A trace id or the first digits of one, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceId(String);

impl FromStr for TraceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let digits = of_traceparent(&text).unwrap_or(&text);
        let is_id = (1..=TRACE_DIGITS).contains(&digits.len()) && is_hex(digits);
        if !is_id {
            let what = "not a trace id: give its 32 hexadecimal digits, the first of them, or a \
                        whole traceparent";
            return Err(what.into());
        }
        if digits.len() == TRACE_DIGITS && digits.bytes().all(|digit| digit == b'0') {
            return Err("32 zeros stand for no trace".into());
        }
        Ok(Self(digits.to_owned()))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The trace id of `00-<trace>-<span>-<flags>`, of any version.
fn of_traceparent(text: &str) -> Option<&str> {
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let has = |part: &str, digits| part.len() == digits && is_hex(part);
    let is_whole = has(version, 2) && has(trace, TRACE_DIGITS) && has(span, SPAN_DIGITS);
    (is_whole && has(flags, 2)).then_some(trace)
}

/// What tells events of a trace from others.
#[derive(Debug)]
pub(crate) struct Trace {
    id: TraceId,
    /// Logger and number of each span that carries the id, whenever it got it.
    spans: HashSet<(u64, u64)>,
    text: String,
}

impl Trace {
    /// Looks through everything for the spans of a trace: an id may be given to a span behind its
    /// first events. What cannot be read is told by who shows it.
    pub(crate) fn find(id: TraceId, source: &Source) -> Self {
        let mut trace = Self { id, spans: HashSet::new(), text: String::new() };
        for item in source.query(&Query::new().spans()) {
            match item {
                Ok(Item::Record(record)) => trace.learn(record.logger(), record.spans()),
                Ok(Item::Span(change)) => trace.learn(change.logger(), change.spans()),
                _ => {}
            }
        }
        trace
    }

    fn learn(&mut self, logger: u64, spans: &[Span]) {
        for span in spans {
            if span.values().any(|(name, value)| self.is_mine(name, value)) {
                self.spans.insert((logger, span.id));
            }
        }
    }

    /// True when an event, or a span that it is in, carries the id.
    pub(crate) fn wants(&mut self, record: &Record) -> bool {
        // Of those that were logged since, the fields tell.
        self.learn(record.logger(), record.spans());
        self.has(record.logger(), record.spans())
            || record.event().fields().any(|(name, value)| self.is_mine(name, value))
    }

    /// True when one of a logger's spans carries the id.
    pub(crate) fn has(&self, logger: u64, spans: &[Span]) -> bool {
        spans.iter().any(|span| self.spans.contains(&(logger, span.id)))
    }

    fn is_mine(&mut self, name: &str, value: Value<'_>) -> bool {
        let is_parent = name == TRACEPARENT;
        if !is_parent && !TRACE_IDS.contains(&name) {
            return false;
        }
        self.text.clear();
        match value {
            Value::U128(number) => self.text = format!("{number:032x}"),
            // A string takes all that is written to it.
            value => drop(render::value::display(value, &mut self.text)),
        }
        // What `Debug` made of a text stands in quotes.
        let text = self.text.trim_matches('"').to_ascii_lowercase();
        let id = if is_parent { of_traceparent(&text) } else { Some(&*text) };
        id.is_some_and(|id| id.len() == TRACE_DIGITS && is_hex(id) && id.starts_with(&self.id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn ids_are_whole_the_first_digits_or_a_traceparent() {
        let id = |text: &str| text.parse::<TraceId>().map(|id| id.0);
        let parent = format!("00-{ID}-00f067aa0ba902b7-01");
        for (text, digits) in [
            (ID, ID),
            ("4BF92F", "4bf92f"),
            ("0", "0"),
            (&parent, ID),
            (&format!("cc-{ID}-00f067aa0ba902b7-01-what-the-future-brings"), ID),
        ] {
            assert_eq!(id(text).as_deref(), Ok(digits));
        }
        for bad in ["", "xyz", "4bf92f35-", &format!("{ID}0"), &format!("00-{ID}-00f067-01")] {
            assert!(id(bad).unwrap_err().contains("32 hexadecimal digits"), "{bad}");
        }
        assert!(id(&"0".repeat(32)).unwrap_err().contains("no trace"));
    }

    #[test]
    fn values_of_every_kind_that_can_hold_an_id_are_compared() {
        let mut trace =
            Trace { id: ID[..20].parse().unwrap(), spans: HashSet::new(), text: String::new() };
        let number = u128::from_str_radix(ID, 16).unwrap();
        let mut bytes = number.to_le_bytes();
        bytes.reverse();
        let upper = ID.to_uppercase();
        let quoted = format!("\"{ID}\"");
        let parent = format!("00-{ID}-00f067aa0ba902b7-01");
        for (name, value, is_mine) in [
            ("trace_id", Value::Str(ID), true),
            ("trace.id", Value::Str(&upper), true),
            ("trace_id", Value::Text(&quoted), true),
            ("trace_id", Value::U128(number), true),
            ("trace_id", Value::Bytes(&bytes), true),
            ("traceparent", Value::Str(&parent), true),
            ("traceparent", Value::Str(ID), false),
            ("trace_id", Value::Str(&ID[..31]), false),
            ("trace_id", Value::U128(number ^ (1 << 127)), false),
            ("span_id", Value::Str(ID), false),
        ] {
            assert_eq!(trace.is_mine(name, value), is_mine, "{name} {value:?}");
        }
    }
}
