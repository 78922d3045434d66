//! Render: one record as a line of text or JSON, for the command, the console and tests.
//!
//! Whatever a record holds, a line of output holds one event, cannot drive a terminal, and in JSON
//! mode is strict JSON: [`escape`] is the one door that foreign text passes.

pub mod escape;
mod event;
mod json;
mod number;
mod span;
mod text;
mod time;
mod told;
pub mod value;
mod zone;

pub use event::{Event, Lost, Shape, Thread};
pub use span::Span;
pub use time::{Calendar, Zone, civil};
pub use told::ToldSpans;
pub use zone::{is_coloured, local_offset};

/// How an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// Date and time to the microsecond, level, target, message, fields.
    #[default]
    Short,
    /// The same with ISO 8601 times to the nanosecond.
    ShortIso,
    /// The same with thread, process and place in the source.
    Verbose,
    /// One strict JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
}

/// Turns events into lines of one format.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    colour: bool,
    calendar: Calendar,
    message: String,
}

impl Renderer {
    /// Renders without colour; times are in UTC, as they always are in JSON and logfmt.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, colour: false, calendar: Calendar::new(None), message: String::new() }
    }

    /// Colours the formats for people with ANSI sequences.
    #[must_use]
    pub fn coloured(mut self) -> Self {
        self.colour = !matches!(self.format, Format::Json | Format::Logfmt);
        self
    }

    /// Shows times of the formats for people in this zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        if !matches!(self.format, Format::Json | Format::Logfmt) {
            self.calendar = Calendar::new(Some(zone));
        }
        self
    }

    /// Appends the event as one line.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => json::event(event, self, out),
            Format::Logfmt => text::logfmt(event, self, out),
            _ => text::event(event, self, out),
        }
    }

    /// Appends spans as they stand before a message: `request{id=7}:query`.
    pub fn spans(spans: &[Span], out: &mut Vec<u8>) {
        span::text(spans, out);
    }

    /// Appends lost events: one line in the formats for people, one for each cause in the others.
    pub fn lost(&mut self, lost: &Lost<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => json::lost(lost, &mut self.calendar, out),
            Format::Logfmt => text::lost_logfmt(lost, self, out),
            _ => text::lost(lost, self, out),
        }
    }
}

#[cfg(test)]
mod tests;
