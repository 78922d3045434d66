//! Item: what a reader gets, one after another: events, losses, damage.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::record::{
    Anchor, HEAD_BYTES, Head, Level, Losses, Prefix, RECORD_SPAN_CLOSE, Timeline,
};
use crate::render::{self, Event, Shape, Span, Thread};

use super::Value;
use super::once::{LaneId, Skipped};

/// Something that stands in a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event.
    Record(Record),
    /// Events that were not accepted, at the place where they are missing.
    Lost(Lost),
    /// A part of a file that cannot be read; what follows goes on behind it.
    Damage(Damage),
    /// A span that was opened or closed; only where the query asks for them.
    Span(SpanChange),
}

/// One process's logger, as its files tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Logger {
    pub(super) id: u64,
    pub(super) boot: [u8; 16],
    pub(super) clock: u8,
    pub(super) pid: u32,
    pub(super) app: String,
    pub(super) host: String,
}

/// The thread of a run.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) tid: u32,
    pub(super) name: Box<str>,
}

/// What a stretch of decoded records has in common.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) logger: Arc<Logger>,
    pub(super) origins: Vec<Origin>,
    pub(super) shapes: Vec<Arc<Shape>>,
    pub(super) marks: Vec<Mark>,
    pub(super) timeline: Timeline,
    /// The number of the segment, `None` for lanes and staging.
    pub(super) segment: Option<u64>,
}

/// What stands between records.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    Lost { losses: Box<Losses>, origin: u32 },
    Damage(Damage),
    Gap { lane: LaneId, skipped: Skipped, damage: Damage },
}

impl Tables {
    pub(super) fn thread(&self, origin: u32) -> Thread<'_> {
        match self.origins.get(origin as usize) {
            Some(origin) => Thread { id: origin.tid, name: &origin.name },
            None => Thread::default(),
        }
    }

    pub(super) fn add_anchors(&mut self, anchors: impl IntoIterator<Item = Anchor>) {
        for anchor in anchors {
            self.timeline.add(anchor);
        }
    }
}

/// One event.
#[derive(Clone)]
pub struct Record {
    pub(super) tables: Arc<Tables>,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) at: u32,
    pub(super) origin: u32,
    pub(super) shape: u32,
    pub(super) time_ns: i64,
    pub(super) late: bool,
    pub(super) spans: Arc<[Span]>,
}

impl Record {
    /// When it was logged, in nanoseconds since 1970 UTC.
    #[must_use]
    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// How severe it is.
    #[must_use]
    pub fn level(&self) -> Level {
        self.shape().definition.level
    }

    /// What filters look at: the module path when none was given.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.shape().definition.target
    }

    /// The event's name, `event file:line` when none was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shape().definition.name
    }

    /// The module that it was logged in, empty when unknown.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.shape().definition.module
    }

    /// The source file, `None` when unknown.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        Some(&*self.shape().definition.file).filter(|file| !file.is_empty())
    }

    /// The line in the source file, `None` when unknown.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        Some(self.shape().definition.line).filter(|line| *line > 0)
    }

    /// The message, formatted; empty when there is none.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        let mut made = String::new();
        match self.event().borrowed_message() {
            Some(text) => Cow::Borrowed(text),
            None => {
                let _ = self.event().message(&mut made);
                Cow::Owned(made)
            }
        }
    }

    /// The value of a field by its name as written, `user.id`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        self.event().fields().find(|field| field.0 == name).and_then(|field| Value::of(field.1))
    }

    /// The fields in the order in which they were written.
    ///
    /// A name that occurs again is numbered, `name#2`, so that each field has its own.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Value)> {
        self.event().fields().filter_map(|(name, value)| Some((name, Value::of(value)?)))
    }

    /// The spans it was logged in, outermost first, with their fields as they were known then.
    ///
    /// Of a span that nothing tells of any more, such as one whose segment is gone, there is the id
    /// alone.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The operating system's id of the thread and its name, empty when it has none.
    #[must_use]
    pub fn thread(&self) -> (u32, &str) {
        let thread = self.event().thread();
        (thread.id, thread.name)
    }

    /// Id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.tables.logger.pid
    }

    /// Id of the logger: that of a process may be another's too, on another machine, in another
    /// container or at another time.
    #[must_use]
    pub fn logger(&self) -> u64 {
        self.tables.logger.id
    }

    /// Name of the program.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.tables.logger.app
    }

    /// Name of the machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.tables.logger.host
    }

    /// True when its longest value was cut to fit.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.event().is_truncated()
    }

    /// The event as [`render::Renderer`] takes it.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        let bytes = self.bytes.get(self.at as usize..).unwrap_or_default();
        Event {
            time_ns: self.time_ns,
            thread: self.tables.thread(self.origin),
            pid: self.tables.logger.pid,
            late: self.late,
            spans: &self.spans,
            ..Event::from_record(self.shape(), bytes)
        }
    }

    /// Head and payload.
    pub(super) fn parts(&self) -> (Head, &[u8]) {
        let bytes = self.bytes.get(self.at as usize..).unwrap_or_default();
        let head = Head::read(bytes).unwrap_or(Head::parse(0, 0));
        (head, bytes.get(HEAD_BYTES..head.len()).unwrap_or_default())
    }

    fn shape(&self) -> &Shape {
        &self.tables.shapes[self.shape as usize]
    }
}

/// What an event says, as a test that fails shows it.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Fields<'a>(&'a Record);
        impl fmt::Debug for Fields<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.0.fields()).finish()
            }
        }
        let mut spans = Vec::new();
        render::Renderer::spans(&self.spans, &mut spans);
        f.debug_struct("Record")
            .field("time_ns", &self.time_ns)
            .field("level", &self.level())
            .field("target", &self.target())
            .field("message", &self.message())
            .field("fields", &Fields(self))
            .field("spans", &String::from_utf8_lossy(&spans))
            .finish_non_exhaustive()
    }
}

/// A span that was opened or closed, as [`Query::spans`](super::Query::spans) asks for.
#[derive(Debug, Clone)]
pub struct SpanChange {
    pub(super) record: Record,
}

impl SpanChange {
    /// When, in nanoseconds since 1970 UTC.
    #[must_use]
    pub fn time_ns(&self) -> i64 {
        self.record.time_ns
    }

    /// The span's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// Id of the logger, within which ids of spans are unique.
    #[must_use]
    pub fn logger(&self) -> u64 {
        self.record.logger()
    }

    /// The span and those around it, outermost first, with their fields as they were known then.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.record.spans
    }

    /// For how long threads were in the span and for how long none was, in nanoseconds; `None` for
    /// one that was opened.
    #[must_use]
    pub fn times_ns(&self) -> Option<(u64, u64)> {
        let (head, payload) = self.record.parts();
        if head.kind != RECORD_SPAN_CLOSE {
            return None;
        }
        let mut payload = payload;
        Prefix::take(&head, &mut payload)?;
        let ticks = |at: usize| payload.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
        let timeline = &self.record.tables.timeline;
        let end_ns = timeline.wall_ns(head.ticks);
        let ns = |ticks: u64| {
            let before_ns = timeline.wall_ns(head.ticks.saturating_sub(ticks));
            end_ns.saturating_sub(before_ns).max(0).unsigned_abs()
        };
        Some((ns(ticks(0)?), ns(ticks(8)?)))
    }

    /// The statement that opened it, as an event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        self.record.event()
    }
}

/// Events that were not accepted.
#[derive(Debug, Clone)]
pub struct Lost {
    pub(super) tables: Arc<Tables>,
    pub(super) losses: Box<Losses>,
    pub(super) origin: u32,
    pub(super) time_ns: i64,
}

impl Lost {
    /// When they were found missing, in nanoseconds since 1970 UTC.
    #[must_use]
    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// How many, by cause and level.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// The operating system's id of the thread that lost them and its name.
    #[must_use]
    pub fn thread(&self) -> (u32, &str) {
        let thread = self.tables.thread(self.origin);
        (thread.id, thread.name)
    }

    /// Id of the logger, as [`Record::logger`].
    #[must_use]
    pub fn logger(&self) -> u64 {
        self.tables.logger.id
    }

    /// Id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.tables.logger.pid
    }

    /// The loss as [`render::Renderer`] takes it.
    #[must_use]
    pub fn event(&self) -> render::Lost<'_> {
        render::Lost {
            time_ns: self.time_ns,
            losses: &self.losses,
            thread: self.tables.thread(self.origin),
            pid: self.tables.logger.pid,
        }
    }
}

/// A part of a file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the damage begins in it.
    pub offset: u64,
    /// How many events it cost, `None` when that is not known here; then a later item of damage
    /// with [`Damage::is_gap`] tells what was found missing.
    pub records: Option<u64>,
    /// What is wrong.
    pub reason: String,
    /// True when it is known from the numbers of the records around it, not from its bytes.
    pub is_gap: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = render::escape::printable(&self.file.to_string_lossy());
        let place = if self.is_gap { "before" } else { "at" };
        write!(f, "{file}: damage {place} offset {}: {}; ", self.offset, self.reason)?;
        match self.records {
            Some(1) => f.write_str("1 event lost"),
            Some(records) => write!(f, "{records} events lost"),
            None => f.write_str("an unknown number of events lost"),
        }
    }
}
