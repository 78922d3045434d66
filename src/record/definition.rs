//! Definition: the static half of an event, told once and named by a number.
//!
//! # Layout
//!
//! ```text
//! 0            4        8        9         10            12          16
//! | length u32 | id u32 | level  | flags   | fields u16  | line u32  | target, name, file,
//! module, template: each | length u32 | bytes |, then each field: | kind u8 | role u8 | name |
//! ```
//!
//! The length covers all that follows it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Kind, Level};

const FLAG_DYNAMIC: u8 = 1;
const FLAG_TEMPLATE: u8 = 2;
/// The longest text kept in a definition; a longer one is cut.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What a value in a record is for. The number is part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A named field.
    Field = 0,
    /// An argument of the message's template; its name is empty when it is positional.
    Argument = 1,
    /// The whole message, formatted when it was logged.
    Message = 2,
}

/// One value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The field's name, as written: `user.id`.
    pub name: String,
    /// Number of the [`Kind`], [`Kind::OPTIONAL`] added where the value may be absent.
    pub kind: u8,
    /// What the value is for.
    pub role: Role,
}

/// The static half of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Number of the callsite in its process, from 1.
    pub id: u32,
    /// How severe its events are.
    pub level: Level,
    /// True when every record tells the kinds of its values, as under [`super::FLAG_DYNAMIC`].
    pub dynamic: bool,
    /// What the filter looks at, the module path when none was given.
    pub target: String,
    /// The event's name, `event file:line` when none was given.
    pub name: String,
    /// Source file, empty when unknown.
    pub file: String,
    /// Line in the source file, 0 when unknown.
    pub line: u32,
    /// Module path, empty when unknown.
    pub module: String,
    /// The message's format string; without it the message is the field `message`, or none.
    pub template: Option<String>,
    /// The values of a record in their order.
    pub fields: Vec<Field>,
}

impl Definition {
    /// Appends the definition as it stands in files.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.id.to_le_bytes());
        let template = if self.template.is_some() { FLAG_TEMPLATE } else { 0 };
        let dynamic = if self.dynamic { FLAG_DYNAMIC } else { 0 };
        out.extend_from_slice(&[self.level as u8, template | dynamic]);
        let n_fields = self.fields.len().min(usize::from(u16::MAX));
        out.extend_from_slice(&(n_fields as u16).to_le_bytes());
        out.extend_from_slice(&self.line.to_le_bytes());
        let template = self.template.as_deref().unwrap_or("");
        for text in [&self.target, &self.name, &self.file, &self.module, template] {
            put_text(text, out);
        }
        for field in &self.fields[..n_fields] {
            out.extend_from_slice(&[field.kind, field.role as u8]);
            put_text(&field.name, out);
        }
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Bytes that [`Definition::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let text = |text: &str| 4 + cut(text).len();
        let template = self.template.as_deref().unwrap_or("");
        let texts = [&self.target, &self.name, &self.file, &self.module, template];
        let fields = self.fields.iter().take(usize::from(u16::MAX));
        16 + texts.into_iter().map(text).sum::<usize>()
            + fields.map(|field| 2 + text(&field.name)).sum::<usize>()
    }

    /// Reads one definition from the start of `bytes`; returns it and its length, or `None` when
    /// the bytes are no whole definition.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let len = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let mut rest = bytes.get(4..4usize.checked_add(len)?)?;
        let head = take(&mut rest, 12)?;
        let id = u32::from_le_bytes(*head.first_chunk()?);
        let level = Level::from_u8(head[4])?;
        let flags = head[5];
        let n_fields = u16::from_le_bytes([head[6], head[7]]);
        let line = u32::from_le_bytes(*head[8..].first_chunk()?);
        let mut texts = [const { String::new() }; 5];
        for text in &mut texts {
            *text = take_text(&mut rest)?;
        }
        let [target, name, file, module, template] = texts;
        let mut fields = Vec::new();
        for _ in 0..n_fields {
            let head = take(&mut rest, 2)?;
            let role = match head[1] {
                0 => Role::Field,
                1 => Role::Argument,
                2 => Role::Message,
                _ => return None,
            };
            Kind::from_u8(head[0] & !Kind::OPTIONAL)?;
            fields.push(Field { kind: head[0], role, name: take_text(&mut rest)? });
        }
        let template = (flags & FLAG_TEMPLATE != 0).then_some(template);
        let dynamic = flags & FLAG_DYNAMIC != 0;
        let definition =
            Self { id, level, dynamic, target, name, file, line, module, template, fields };
        (rest.is_empty() && flags <= 3).then_some((definition, 4 + len))
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let text = cut(text);
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// As much of a text as is kept.
fn cut(text: &str) -> &str {
    let mut len = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let len = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?) as usize;
    if len > TEXT_BYTES_MAX {
        return None;
    }
    String::from_utf8(take(bytes, len)?.to_vec()).ok()
}

/// The definitions of one logger by id.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    by_id: HashMap<u32, Arc<Definition>>,
}

impl Definitions {
    /// Adds one; an id that is known keeps its first definition.
    pub fn add(&mut self, definition: Definition) {
        self.by_id.entry(definition.id).or_insert_with(|| Arc::new(definition));
    }

    /// The definition with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Arc<Definition>> {
        self.by_id.get(&id)
    }

    /// Adds all that stand one behind another in `bytes`; returns how many bytes were whole
    /// definitions.
    pub fn decode_all(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((definition, len)) = Definition::decode(&bytes[at..]) {
            self.add(definition);
            at += len;
        }
        at
    }

    /// Number of definitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All definitions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Definition {
        Definition {
            id: 7,
            level: Level::Warn,
            dynamic: false,
            target: "app::db".into(),
            name: "event src/db.rs:3".into(),
            file: "src/db.rs".into(),
            line: 3,
            module: "app::db".into(),
            template: Some("took {} ms".into()),
            fields: vec![
                Field { name: "user.id".into(), kind: Kind::U64 as u8, role: Role::Field },
                Field {
                    name: String::new(),
                    kind: Kind::Str as u8 | Kind::OPTIONAL,
                    role: Role::Argument,
                },
            ],
        }
    }

    #[test]
    fn definitions_read_back_equal() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        Definition { id: 8, template: None, ..sample() }.encode(&mut bytes);
        let mut all = Definitions::default();
        assert_eq!(all.decode_all(&bytes), bytes.len());
        let without = Definition { id: 8, template: None, ..sample() };
        assert_eq!(bytes.len(), sample().encoded_len() + without.encoded_len());
        assert_eq!(**all.get(7).unwrap(), sample());
        assert_eq!(all.get(8).unwrap().template, None);
    }

    #[test]
    fn every_cut_and_every_lie_is_refused_without_a_panic() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(Definition::decode(&bytes[..len]), None);
        }
        for at in 0..bytes.len() {
            for lie in [0, 1, 0x7f, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = lie;
                let _ = Definition::decode(&bad);
            }
        }
    }
}
