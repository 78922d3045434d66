//! Template: makes the message of an event from its format string and arguments.

use std::fmt::{self, Write};

use crate::record::{Role, Value};

use super::Event;
use super::value::display;

/// A format string, taken apart once.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Next,
    Named(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    literal.push(c);
                    rest.next();
                }
                '{' => {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    let inside: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    let name = inside.split(':').next().unwrap_or("").trim();
                    pieces.push(match name {
                        "" => Piece::Next,
                        name => Piece::Named(name.to_owned()),
                    });
                }
                c => literal.push(c),
            }
        }
        pieces.push(Piece::Text(literal));
        Self { pieces }
    }

    pub(super) fn write(&self, event: &Event<'_>, out: &mut dyn Write) -> fmt::Result {
        let mut next = 0;
        for piece in &self.pieces {
            let value = match piece {
                Piece::Text(text) => {
                    out.write_str(text)?;
                    continue;
                }
                Piece::Next => {
                    next += 1;
                    argument(event, next - 1)
                }
                Piece::Named(name) => match name.parse() {
                    Ok(index) => argument(event, index),
                    Err(_) => event.values().find(|(f, _)| f.name == *name).map(|(_, v)| v),
                },
            };
            match value {
                Some(value) => display(value, out)?,
                None => out.write_str("{?}")?,
            }
        }
        Ok(())
    }
}

fn argument<'a>(event: &Event<'a>, index: usize) -> Option<Value<'a>> {
    let arguments = event.values().filter(|(field, _)| field.role == Role::Argument);
    arguments.map(|(_, value)| value).nth(index)
}
