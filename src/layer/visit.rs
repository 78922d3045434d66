//! Visit: the values of an event or span, one by one.

use std::error::Error;
use std::fmt::Debug;

use tracing_core::field::{Field, Visit};
use tracing_core::Event;

use super::level_of;
use crate::emit::foreign::{self, Origin};
use crate::emit::told::{NoRoom, Statement, Values, with_values};

/// Puts each value behind the last.
impl Visit for Values<'_> {
    #[inline]
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.f64(field.index(), value);
    }

    #[inline]
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.i64(field.index(), value);
    }

    #[inline]
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.u64(field.index(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.i128(field.index(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.u128(field.index(), value);
    }

    #[inline]
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bool(field.index(), value);
    }

    #[inline]
    fn record_str(&mut self, field: &Field, value: &str) {
        self.str(field.index(), value);
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.bytes(field.index(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.error(field.index(), value);
    }

    #[inline]
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.index(), format_args!("{value:?}"));
    }
}

/// What an event of tracing-log says of the record of log that it was.
#[derive(Debug, Default)]
struct Told {
    message: String,
    target: String,
    module: String,
    file: String,
    line: u32,
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = u32::try_from(value).unwrap_or(0);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "log.target" => &mut self.target,
            "log.module_path" => &mut self.module,
            "log.file" => &mut self.file,
            _ => return,
        };
        value.clone_into(place);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

/// Calls `job` with the statement and values of the record of log that an event of tracing-log was.
///
/// # Errors
///
/// As `job`, and when there are too many places to tell them apart.
pub(super) fn with_log_record(
    event: &Event<'_>,
    job: impl FnOnce(&'static Statement, &Values<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    let mut told = Told::default();
    event.record(&mut told);
    let level = level_of(event.metadata().level());
    let Told { message, target, module, file, line } = &told;
    let origin = Origin { level, target, file, line: *line, module };
    let statement = foreign::statement(&origin, &[]).or_else(|| foreign::of_anywhere(level));
    let statement = &statement.ok_or(NoRoom)?.statement;
    with_values(statement, |values| {
        values.text(0, format_args!("{message}"));
        job(statement, values)
    })
}
