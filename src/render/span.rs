//! Span: a span as an event knew it, and how a line shows the spans around an event.

use crate::record::{Definition, Head, Kind, Value, Values, take_value};

use super::{Shape, escape, number, value};

/// A span that an event was logged in, with its fields as they were known then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The span's name, empty when nothing that was read tells it.
    pub name: String,
    /// Its number, unique within its logger.
    pub id: u64,
    /// Name, kind and bytes of each value.
    fields: Vec<(String, u8, Vec<u8>)>,
}

impl Span {
    /// A span that nothing tells of.
    #[must_use]
    pub fn unknown(id: u64) -> Self {
        Self { name: String::new(), id, fields: Vec::new() }
    }

    /// A span as the records told it that are given, head and payload of each, oldest first.
    #[must_use]
    pub fn told<'r>(
        shape: &Shape,
        id: u64,
        records: impl IntoIterator<Item = (&'r Head, &'r [u8])>,
    ) -> Self {
        let definition = &shape.definition;
        let mut known: Vec<Option<(u8, Vec<u8>)>> = vec![None; definition.fields.len()];
        for (head, payload) in records {
            for (place, new) in known.iter_mut().zip(encoded(definition, head, payload)) {
                if new.0 != Kind::Empty as u8 {
                    *place = Some(new);
                }
            }
        }
        // The message of a span is one field among others.
        let name = |index: usize| shape.name(index).unwrap_or(&definition.fields[index].name).to_owned();
        let known = known.into_iter().enumerate();
        let fields = known.filter_map(|(i, value)| value.map(|(kind, v)| (name(i), kind, v)));
        Self { name: definition.name.clone(), id, fields: fields.collect() }
    }

    /// Names and values in their order.
    pub fn values(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.fields.iter().filter_map(|(name, kind, bytes)| {
            let value = take_value(*kind, &mut &bytes[..])?;
            (value != Value::Empty).then_some((&**name, value))
        })
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let field = |(name, _, bytes): &(String, u8, Vec<u8>)| name.len() + bytes.len();
        size_of::<Self>() + self.fields.iter().map(|f| size_of_val(f) + field(f)).sum::<usize>()
    }
}

/// The values of a record as kind and bytes.
fn encoded<'r>(
    definition: &'r Definition,
    head: &Head,
    payload: &'r [u8],
) -> impl Iterator<Item = (u8, Vec<u8>)> {
    let mut values = Values::new(definition, head, payload);
    let tells = values.tells_kinds();
    std::iter::from_fn(move || {
        let before = values.rest();
        let (field, _) = values.next()?;
        let value = &before[..before.len() - values.rest().len()];
        match value.split_first() {
            Some((kind, value)) if tells => Some((*kind, value.to_vec())),
            _ => Some((field.kind, value.to_vec())),
        }
    })
}

/// Appends the spans around an event as a JSON list, outermost first; nothing when there is none.
pub(super) fn json(spans: &[Span], out: &mut Vec<u8>) {
    let mut before: &[u8] = br#","spans":[{"#;
    for span in spans {
        out.extend_from_slice(before);
        before = b",{";
        if !span.name.is_empty() {
            out.extend_from_slice(br#""name":""#);
            escape::json(&span.name, out);
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(br#""id":""#);
        out.extend_from_slice(id(span.id).as_bytes());
        out.push(b'"');
        if !span.name.is_empty() {
            out.extend_from_slice(br#","fields":{"#);
            for (i, (name, value)) in span.values().enumerate() {
                out.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
                escape::json(name, out);
                out.extend_from_slice(b"\":");
                value::json(value, out);
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
    if !spans.is_empty() {
        out.push(b']');
    }
}

/// Appends the spans as `outer{user=7}:inner`.
pub(super) fn text(spans: &[Span], out: &mut Vec<u8>) {
    for (i, span) in spans.iter().enumerate() {
        if i > 0 {
            out.push(b':');
        }
        if span.name.is_empty() {
            out.push(b'#');
            out.extend_from_slice(id(span.id).as_bytes());
        } else {
            escape::plain(&span.name, out);
        }
        for (i, (name, value)) in span.values().enumerate() {
            out.push(if i == 0 { b'{' } else { b' ' });
            escape::key(name, out);
            out.push(b'=');
            value::text(value, out);
        }
        if span.values().next().is_some() {
            out.push(b'}');
        }
    }
}

/// A span's number as it is shown.
fn id(id: u64) -> String {
    let mut out = Vec::new();
    number::hex(&id.swap_bytes().to_le_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
