//! Spans: what files tell of the spans around an event.
//!
//! Whatever is decoded leaves its records of spans here, in any order and any number of times. What
//! an event needs and nothing has told yet is looked for in the segment that it stands in, which
//! tells all spans that were open at its head, and in those beside it.

use std::collections::HashSet;
use std::path::Path;

use crate::record::compact::Decoder;
use crate::record::{Definitions, Head, Prefix, RECORD_EVENT};
use crate::render::{Span, ToldSpans};
use crate::store::block::sections;
use crate::store::segment::{Entry, SegmentReader};

use super::Value;
use super::item::{Item, Record, SpanChange};
use super::plan::FilePlan;
use super::weave::Shapes;

/// What the spans that were told of may take.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// All spans that were told of.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) told: ToldSpans,
    /// Indices of the files that were searched.
    searched: HashSet<usize>,
}

impl Default for Spans {
    fn default() -> Self {
        Self { told: ToldSpans::new(BYTES_MAX), searched: HashSet::new() }
    }
}

impl Spans {
    /// Puts an item into its spans.
    pub(super) fn complete(&mut self, item: Item, files: &[FilePlan], shapes: &mut Shapes) -> Item {
        let Item::Record(mut record) = item else { return item };
        let (head, mut payload) = record.parts();
        let span = Prefix::take(&head, &mut payload).map_or(0, |prefix| prefix.span);
        if span != 0 {
            let logger = record.tables.logger.id;
            record.spans = loop {
                match self.told.around(logger, span, head.ticks) {
                    Ok(spans) => break spans,
                    Err(spans) if !self.search(&record, files, shapes) => break spans,
                    Err(_) => {}
                }
            };
        }
        if head.kind == RECORD_EVENT {
            Item::Record(record)
        } else {
            Item::Span(SpanChange { record })
        }
    }

    /// Looks into the next file that may tell of a record's spans; false when there is none.
    fn search(&mut self, record: &Record, files: &[FilePlan], shapes: &mut Shapes) -> bool {
        let logger = record.tables.logger.id;
        let own = files.iter().enumerate().filter(|(_, file)| file.logger.id == logger);
        let newest = || own.clone().map(|(_, file)| file.number).max();
        let Some(number) = record.tables.segment.or_else(newest) else { return false };
        // What another thread told may stand a block later, what was not told again one earlier.
        let wanted = [number, number + 1, number.wrapping_sub(1)];
        let mut found =
            wanted.iter().filter_map(|wanted| own.clone().find(|(_, file)| file.number == *wanted));
        let Some((_, file)) = found.find(|(index, _)| self.searched.insert(*index)) else {
            return false;
        };
        self.look_into(&file.path, shapes);
        true
    }

    /// Takes in what a segment tells of spans. What cannot be read of it is told by who reads its
    /// events.
    fn look_into(&mut self, path: &Path, shapes: &mut Shapes) {
        let Ok(mut reader) = SegmentReader::open(path) else { return };
        let logger = reader.header().logger;
        let (mut payload, mut records) = (Vec::new(), Vec::new());
        while let Ok(Some(entry)) = reader.next_entry() {
            let Entry::Block(block) = entry else { continue };
            if reader.read_block(&block, &mut payload).is_err() {
                continue;
            }
            let Some(sections) = sections(&payload, &block.header) else { continue };
            let mut definitions = Definitions::default();
            definitions.decode_all(sections.definitions);
            let mut decoder = Decoder::new(sections.runs, &definitions);
            while let Some(Ok(_)) = decoder.next_into(&mut records) {
                self.note_all(logger, &records, &definitions, shapes);
            }
        }
    }

    /// Takes in the records of spans among these.
    pub(super) fn note_all(
        &mut self,
        logger: u64,
        records: &[u8],
        definitions: &Definitions,
        shapes: &mut Shapes,
    ) {
        let mut rest = records;
        while let Some(head) = Head::read(rest) {
            let (record, behind) = rest.split_at(head.len());
            rest = behind;
            if head.kind != RECORD_EVENT
                && let Some(definition) = definitions.get(head.callsite)
            {
                self.told.note(logger, record, || shapes.get(logger, definition));
            }
        }
    }
}

/// Appends the records that are no events.
pub(super) fn collect(records: &[u8], out: &mut Vec<u8>) {
    let mut rest = records;
    while let Some(head) = Head::read(rest) {
        let (record, behind) = rest.split_at(head.len());
        rest = behind;
        if head.kind != RECORD_EVENT {
            out.extend_from_slice(record);
        }
    }
}

impl Span {
    /// The value of a field by its name as written, `user.id`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        self.fields().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The fields that had a value, in the order in which they were declared.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Value)> {
        self.values().filter_map(|(name, value)| Some((name, Value::of(value)?)))
    }
}
