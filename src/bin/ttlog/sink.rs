//! Sink: where `ttlog record` puts lines.

use std::path::Path;
use std::time::Duration;

use ttlog::pipe::{Line, Pipe, Value};

use crate::Failure;
use crate::parse::{FieldValue, ParsedLine};

/// How long the end waits for the disk.
const FINISH_WAIT: Duration = Duration::from_secs(60);

/// The logger of a recording.
#[derive(Debug)]
pub(crate) struct Sink(Pipe);

impl Sink {
    /// Starts a logger in a directory.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        Pipe::open(dir, "record").map(Self).map_err(failure)
    }

    /// Logs one line.
    pub(crate) fn push(&mut self, time_ns: i64, line: ParsedLine) {
        let value = |value| match value {
            FieldValue::U64(value) => Value::U64(value),
            FieldValue::I64(value) => Value::I64(value),
            FieldValue::F64(value) => Value::F64(value),
            FieldValue::Bool(value) => Value::Bool(value),
            FieldValue::Str(value) => Value::Str(value),
        };
        let fields = line.fields.into_iter().map(|(name, field)| (name, value(field)));
        self.0.push(Line {
            time_ns,
            level: line.level,
            message: line.message,
            fields: fields.collect(),
            truncated: line.truncated,
        });
    }

    /// Waits until all lines are stored.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.0.finish(FINISH_WAIT).map_err(failure)
    }
}

fn failure(error: ttlog::Error) -> Failure {
    Failure::Other(ttlog::render::escape::printable(&error.to_string()))
}
