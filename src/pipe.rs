//! Pipe: logs the lines of any program, with the times that they tell (`ttlog record`).
//!
//! The same lanes, scribe and segments as for a program's own events, so that a line that was taken
//! is safe from `kill -9` too. Its ticks are UTC instead of a processor's clock, and its definitions
//! are made from the names that lines bring, one for each set of names, up to a bound.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::config::Builder;
use crate::emit::route::LoggerRef as _;
use crate::emit::{callsite, clock};
use crate::error::Error;
use crate::lane::fill::Record;
use crate::lane::handle;
use crate::handle::Handle;
use crate::record::{
    Anchor, Definition, FLAG_DYNAMIC, FLAG_TRUNCATED, Field, HEAD_BYTES, Head, Kind, Level,
    RECORD_EVENT, Role,
};
use crate::ring::BackPressurePolicy;

/// Sets of names that get a definition of their own; the fields of others become part of the
/// message.
const SHAPES_MAX: usize = 4096;

/// A value as far as a line can tell.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is named for the Rust type that it holds")]
pub enum Value {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Str(String),
}

/// One event of another program.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// UTC in nanoseconds since 1970.
    pub time_ns: i64,
    /// How severe it is.
    pub level: Level,
    /// The message.
    pub message: String,
    /// Names and values, in their order.
    pub fields: Vec<(String, Value)>,
    /// True when something of it was cut before.
    pub truncated: bool,
}

/// A logger for lines.
#[derive(Debug)]
pub struct Pipe {
    logger: Handle,
    shapes: HashMap<(Level, Vec<String>), u32>,
}

/// UTC as ticks: in the same order, though before 1970 too.
fn ticks_of(time_ns: i64) -> u64 {
    time_ns.cast_unsigned() ^ 1 << 63
}

/// The three clocks of a logger whose ticks are UTC.
pub(crate) fn utc_anchor() -> Anchor {
    let wall_ns = clock::wall_ns();
    let ticks = ticks_of(wall_ns);
    Anchor { ticks, mono_ns: ticks, wall_ns }
}

impl Pipe {
    /// Starts a logger that writes into `dir`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to.
    pub fn open(dir: &Path, app: &str) -> Result<Self, Error> {
        // Every line is wanted, until somebody sets another filter from outside. And a pipe waits
        // for its disk as long as it takes: its writer waits with it.
        let config = Builder::new(dir).app(app, "").filter("trace");
        let mut config = config.back_pressure(BackPressurePolicy::Block).env();
        config.utc_ticks = true;
        Ok(Self { logger: config.build()?, shapes: HashMap::new() })
    }

    /// Logs one line, unless a filter that was set since leaves it out; waits while the disk does.
    pub fn push(&mut self, line: Line) {
        if self.logger.wants_line(&line) {
            self.store(line);
        }
    }

    fn store(&mut self, line: Line) {
        let names = line.fields.iter().map(|(name, _)| name.clone()).collect();
        let Some(id) = self.shape(line.level, names) else {
            return self.push_plain(line);
        };
        let mut values: Vec<Value> = line.fields.into_iter().map(|(_, value)| value).collect();
        values.push(Value::Str(line.message));
        let (ticks, level) = (ticks_of(line.time_ns), line.level);
        let flags = if line.truncated { FLAG_TRUNCATED } else { 0 };
        self.logger.push_record(&LineRecord { id, level, ticks, flags, values });
    }

    /// Waits until everything is in a segment, then ends the logger.
    ///
    /// # Errors
    ///
    /// When the disk does not answer in time; what is left stays readable in the lanes' place.
    pub fn finish(self, timeout: Duration) -> Result<(), Error> {
        self.logger.shutdown(timeout).map(|_| ())
    }

    /// A line with names beyond the bound: its fields as text behind the message.
    fn push_plain(&mut self, mut line: Line) {
        for (name, value) in std::mem::take(&mut line.fields) {
            let text = match value {
                Value::U64(value) => value.to_string(),
                Value::I64(value) => value.to_string(),
                Value::F64(value) => value.to_string(),
                Value::Bool(value) => value.to_string(),
                Value::Str(value) => format!("{value:?}"),
            };
            line.message += &format!(" {name}={text}");
        }
        if self.shape(line.level, Vec::new()).is_some() {
            self.store(line);
        } else {
            self.logger.lose(line.level);
        }
    }

    fn shape(&mut self, level: Level, names: Vec<String>) -> Option<u32> {
        let key = (level, names);
        if let Some(id) = self.shapes.get(&key) {
            return Some(*id);
        }
        if self.shapes.len() >= SHAPES_MAX && !key.1.is_empty() {
            return None;
        }
        let kind = Kind::Text as u8;
        let field = |name: &String| Field { name: name.clone(), kind, role: Role::Field };
        let mut fields: Vec<Field> = key.1.iter().map(field).collect();
        fields.push(Field { name: String::new(), kind, role: Role::Message });
        let id = callsite::define(Definition {
            id: 0,
            level,
            dynamic: true,
            target: String::new(),
            name: String::new(),
            file: String::new(),
            line: 0,
            module: String::new(),
            template: None,
            fields,
        })?;
        self.shapes.insert(key, id);
        Some(id)
    }
}

#[derive(Debug)]
struct LineRecord {
    id: u32,
    level: Level,
    ticks: u64,
    flags: u8,
    values: Vec<Value>,
}

impl Value {
    fn encoded_len(&self) -> usize {
        1 + match self {
            Self::Bool(_) => 1,
            Self::Str(text) => 4 + text.len(),
            _ => 8,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: Kind, bytes: &[u8]| {
            out.push(kind as u8);
            out.extend_from_slice(bytes);
        };
        match self {
            Self::U64(value) => put(Kind::U64, &value.to_le_bytes()),
            Self::I64(value) => put(Kind::I64, &value.to_le_bytes()),
            Self::F64(value) => put(Kind::F64, &value.to_le_bytes()),
            Self::Bool(value) => put(Kind::Bool, &[u8::from(*value)]),
            Self::Str(text) => {
                put(Kind::Str, &(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        value.encode(&mut out);
    }
    out
}

impl Record for LineRecord {
    fn payload_len(&self) -> usize {
        self.values.iter().map(Value::encoded_len).sum()
    }

    fn level(&self) -> Level {
        self.level
    }

    fn fast_ticks() -> Option<u64> {
        None
    }

    fn ticks(&self) -> u64 {
        self.ticks
    }

    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(self.id, words, RECORD_EVENT, self.flags | FLAG_DYNAMIC | flags, ticks)
    }

    fn payload(&self, out: &mut [u8]) {
        out.copy_from_slice(&encode(&self.values));
    }

    fn cut(&self, limit: usize) -> Vec<u8> {
        let mut values = self.values.clone();
        loop {
            let len: usize = values.iter().map(Value::encoded_len).sum();
            let Some(excess) = len.checked_sub(limit).filter(|excess| *excess > 0) else {
                return encode(&values);
            };
            let texts = values.iter_mut().filter_map(|value| match value {
                Value::Str(text) => Some(text),
                _ => None,
            });
            match texts.max_by_key(|text| text.len()).filter(|text| !text.is_empty()) {
                Some(longest) => {
                    let mut to = longest.len().saturating_sub(excess);
                    while !longest.is_char_boundary(to) {
                        to -= 1;
                    }
                    longest.truncate(to);
                }
                // More numbers than a record holds: the last ones go.
                None => drop(values.pop()),
            }
        }
    }
}

impl Handle {
    /// True when the filter of the moment keeps a line, which has no target.
    fn wants_line(&self, line: &Line) -> bool {
        let has = |name: &str| line.fields.iter().any(|(field, _)| field == name);
        self.filter_now(|filter| filter.enabled_with("", line.level, has))
    }

    fn push_record(&self, record: &LineRecord) {
        if let Some(lanes) = self.lanes() {
            handle::write_local(lanes, record);
        }
    }
}
