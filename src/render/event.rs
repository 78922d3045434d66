//! Event: what one event looks like to the outputs, borrowed from where it was decoded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::record::{
    Definition, FLAG_TRUNCATED, Field, HEAD_BYTES, Head, Level, Losses, Role, Value, Values,
    template,
};

use super::{Span, escape};

/// A definition with what all its events have in common made once.
#[derive(Debug)]
pub struct Shape {
    /// The static half of the events.
    pub definition: Arc<Definition>,
    /// Index of the value that is the message, when no template makes it.
    pub(super) message: Option<usize>,
    /// The name to show for each value; `None` for those that are no fields.
    names: Vec<Option<String>>,
    /// `"user.id":` for each value.
    pub(super) json_keys: Vec<Vec<u8>>,
    /// ` user.id=` for each value.
    pub(super) text_keys: Vec<Vec<u8>>,
    /// From the quote behind the time to the target.
    pub(super) json_head: Vec<u8>,
    /// File, line and the brace behind them.
    pub(super) json_tail: Vec<u8>,
    /// The target, harmless.
    pub(super) text_target: Vec<u8>,
}

impl Shape {
    /// Prepares a definition.
    ///
    /// Where a field's name occurs again, the later one is shown as `name#2`, `name#3` and so on:
    /// nothing is hidden, and JSON has no key twice.
    #[must_use]
    pub fn new(definition: Arc<Definition>) -> Self {
        let message = match definition.template {
            Some(_) => None,
            None => message_of(&definition.fields),
        };
        let names = names(&definition.fields, message);
        let quoted = |name: &Option<String>| {
            let mut key = vec![b'"'];
            escape::json(name.as_deref().unwrap_or(""), &mut key);
            key.extend_from_slice(b"\":");
            key
        };
        let worded = |name: &Option<String>| {
            let mut key = vec![b' '];
            escape::key(name.as_deref().unwrap_or(""), &mut key);
            key.push(b'=');
            key
        };
        let mut text_target = Vec::new();
        escape::plain(&definition.target, &mut text_target);
        Self {
            json_keys: names.iter().map(quoted).collect(),
            text_keys: names.iter().map(worded).collect(),
            json_head: json_head(&definition),
            json_tail: json_tail(&definition),
            message,
            names,
            text_target,
            definition,
        }
    }

    /// The name under which the value at `index` is shown, `None` when it is part of the message.
    #[must_use]
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index)?.as_deref()
    }
}

fn message_of(fields: &[Field]) -> Option<usize> {
    let by_role = fields.iter().position(|field| field.role == Role::Message);
    by_role.or_else(|| {
        let named = |field: &Field| field.role == Role::Field && field.name == "message";
        fields.iter().position(named)
    })
}

fn names(fields: &[Field], message: Option<usize>) -> Vec<Option<String>> {
    let shown = |i: usize, field: &Field| field.role == Role::Field && Some(i) != message;
    let all = || fields.iter().enumerate().filter(|(i, field)| shown(*i, field));
    let mut taken: HashSet<String> = all().map(|(_, field)| field.name.clone()).collect();
    let mut counts = HashMap::<&str, usize>::new();
    let mut names = vec![None; fields.len()];
    for (i, field) in all() {
        let count = counts.entry(&field.name).or_insert(0);
        *count += 1;
        let mut name = field.name.clone();
        while *count > 1 {
            name = format!("{}#{count}", field.name);
            if taken.insert(name.clone()) {
                break;
            }
            *count += 1;
        }
        names[i] = Some(name);
    }
    names
}

fn json_head(definition: &Definition) -> Vec<u8> {
    let mut out = br#"","level":""#.to_vec();
    out.extend_from_slice(definition.level.as_str().as_bytes());
    out.push(b'"');
    if !definition.target.is_empty() {
        out.extend_from_slice(br#","target":""#);
        escape::json(&definition.target, &mut out);
        out.push(b'"');
    }
    out
}

fn json_tail(definition: &Definition) -> Vec<u8> {
    let mut out = Vec::new();
    if !definition.file.is_empty() {
        out.extend_from_slice(br#","file":""#);
        escape::json(&definition.file, &mut out);
        out.push(b'"');
    }
    if definition.line > 0 {
        out.extend_from_slice(format!(",\"line\":{}", definition.line).as_bytes());
    }
    out.extend_from_slice(b"}\n");
    out
}

/// The thread that logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thread<'a> {
    /// The operating system's id, 0 when unknown.
    pub id: u32,
    /// Its name, empty when it has none.
    pub name: &'a str,
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What it has in common with others of its callsite.
    pub shape: &'a Shape,
    /// The record's head.
    pub head: Head,
    /// The record's payload.
    pub payload: &'a [u8],
    /// UTC in nanoseconds since 1970.
    pub time_ns: i64,
    /// The thread of the lane; a record of the common lane names its own.
    pub thread: Thread<'a>,
    /// Id of the process.
    pub pid: u32,
    /// True when later events have been shown before it.
    pub late: bool,
    /// The spans it was logged in, outermost first.
    pub spans: &'a [Span],
}

impl<'a> Event<'a> {
    /// An event from a record at the start of `bytes`; one without values when they are none.
    #[must_use]
    pub fn from_record(shape: &'a Shape, bytes: &'a [u8]) -> Self {
        let head = Head::read(bytes).unwrap_or(Head::parse(0, 0));
        let payload = bytes.get(HEAD_BYTES..head.len()).unwrap_or_default();
        let thread = Thread::default();
        Self { shape, head, payload, time_ns: 0, thread, pid: 0, late: false, spans: &[] }
    }

    /// How severe it is.
    #[must_use]
    pub fn level(&self) -> Level {
        self.shape.definition.level
    }

    /// All values in the definition's order, those of the message too.
    #[must_use]
    pub fn values(&self) -> Values<'a> {
        Values::new(&self.shape.definition, &self.head, self.payload)
    }

    /// The named fields that have a value, duplicates renamed.
    pub fn fields(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let shape = self.shape;
        self.values().enumerate().filter_map(move |(i, (_, value))| {
            let name = shape.name(i)?;
            (value != Value::Empty).then_some((name, value))
        })
    }

    /// True when the longest value was cut to fit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.head.flags & FLAG_TRUNCATED != 0
    }

    /// The thread that logged it.
    #[must_use]
    pub fn thread(&self) -> Thread<'a> {
        match self.values().thread() {
            Some(id) => {
                Thread { id, name: if id == self.thread.id { self.thread.name } else { "" } }
            }
            None => self.thread,
        }
    }

    /// The message with nothing escaped, empty when there is none; `made` holds it when it has to
    /// be formatted.
    #[must_use]
    pub fn message<'m>(&self, made: &'m mut String) -> &'m str
    where
        'a: 'm,
    {
        if let Some(text) = self.borrowed_message() {
            return text;
        }
        made.clear();
        if let Some(template) = &self.shape.definition.template {
            self.format(template, made);
        } else if let Some((_, value)) = self.message_value() {
            // A string takes all that is written to it.
            let _ = super::value::display(value, made);
        }
        made
    }

    /// The message when it stands in the record or its definition as it is.
    #[must_use]
    pub fn borrowed_message(&self) -> Option<&'a str> {
        if let Some(template) = &self.shape.definition.template {
            let is_plain = !template.contains(['{', '}']);
            return is_plain.then_some(template);
        }
        match self.message_value() {
            Some((_, Value::Str(text) | Value::Text(text))) => Some(text),
            Some(_) => None,
            None => Some(""),
        }
    }

    fn message_value(&self) -> Option<(&'a Field, Value<'a>)> {
        self.shape.message.and_then(|index| self.values().nth(index))
    }

    fn format(&self, template: &str, out: &mut String) {
        let is_argument = |(field, _): &(&Field, Value<'_>)| field.role == Role::Argument;
        let mut few = [("", Value::Empty); ARGUMENTS_FEW];
        let mut n = 0;
        for (field, value) in self.values().filter(is_argument) {
            if n == few.len() {
                let all = self.values().filter(is_argument);
                let all: Vec<_> = all.map(|(field, value)| (&*field.name, value)).collect();
                return template::format(template, &all, out);
            }
            few[n] = (&field.name, value);
            n += 1;
        }
        template::format(template, &few[..n], out);
    }
}

/// Messages with no more arguments than this are formatted without an allocation.
const ARGUMENTS_FEW: usize = 8;

/// Events that were not accepted, at the place where they are missing.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'a> {
    /// UTC in nanoseconds since 1970 of what follows the loss.
    pub time_ns: i64,
    /// How many by cause and level.
    pub losses: &'a Losses,
    /// The thread that lost them.
    pub thread: Thread<'a>,
    /// Id of the process.
    pub pid: u32,
}
