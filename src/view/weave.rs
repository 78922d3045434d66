//! Weave: turns runs into one stream in order, keeping what a query wants and nothing twice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::record::compact::Decoder;
use crate::record::{
    Definitions, FLAG_RETOLD, Head, LANE_RETOLD, Losses, RECORD_EVENT, RECORD_SPAN_CLOSE,
    RECORD_SPAN_OPEN, RunHead,
};
use crate::render::Shape;
use crate::store::block::{BlockHeader, sections};

use super::item::{Damage, Logger, Mark, Origin, Tables};
use super::once::{Aside, Lane, LaneId, Lanes, Skipped, Told};
use super::query::{Query, bit};
use super::spans::Spans;
use super::stream::{Entry, MARK, Stream};

/// Definitions kept prepared, by logger and callsite; past this all are made again.
const SHAPES_MAX: usize = 1 << 16;

/// The prepared definitions of all loggers.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    shapes: HashMap<(u64, u32), Arc<Shape>>,
}

impl Shapes {
    /// The definition, prepared; the one that was prepared before when it is the same.
    pub(super) fn get(&mut self, logger: u64, definition: &Arc<crate::record::Definition>) -> Arc<Shape> {
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
        }
        let key = (logger, definition.id);
        match self.shapes.get(&key) {
            Some(shape) if shape.definition == *definition => Arc::clone(shape),
            _ => {
                let shape = Arc::new(Shape::new(Arc::clone(definition)));
                self.shapes.insert(key, Arc::clone(&shape));
                shape
            }
        }
    }
}

/// What weaving needs to know of the whole reading.
#[derive(Debug)]
pub(super) struct Loom<'a> {
    pub(super) query: &'a Query,
    pub(super) lanes: &'a mut Lanes,
    pub(super) shapes: &'a mut Shapes,
    pub(super) spans: &'a mut Spans,
}

/// Where runs come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) logger: &'a Arc<Logger>,
    pub(super) file: &'a Path,
    pub(super) offset: u64,
    /// The number of the segment, `None` for lanes and staging.
    pub(super) segment: Option<u64>,
    pub(super) gaps: Gaps,
}

/// Which numbers mean damage when they are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gaps {
    None,
    /// Those between two runs of a lane.
    Between,
    /// Those below a lane's first run, too.
    All,
}

/// What is to be done with the events of a callsite.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Shown(u32),
    Unwanted,
    Unknown,
}

/// A stream in the making.
#[derive(Debug)]
struct Weave<'l, 'a> {
    loom: &'l mut Loom<'a>,
    place: Place<'l>,
    tables: Tables,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    uses: HashMap<u32, Use>,
    last_use: (u32, Use),
    /// Events before this time are not wanted.
    since_ns: i64,
    /// True while records have to be compared with the query's times one by one.
    checks_time: bool,
    unknown: u64,
    sorted: bool,
    /// True when no losses are to wait any longer.
    is_last: bool,
    /// Of losses whose beginning was not read no more than this is news.
    counted: u64,
}

impl Loom<'_> {
    /// The stream of one block, from a time on; `payload` has passed its checksum.
    pub(super) fn block(
        &mut self,
        place: Place<'_>,
        since_ns: i64,
        header: &BlockHeader,
        payload: &[u8],
    ) -> Stream {
        let mut weave = Weave::new(self, place);
        (weave.counted, weave.since_ns) = (header.lost.into(), since_ns);
        let Some(sections) = sections(payload, header) else {
            weave.damage("the block's parts do not fit together", Some(header.records.into()));
            return weave.finish();
        };
        let mut definitions = Definitions::default();
        definitions.decode_all(sections.definitions);
        weave.tables.add_anchors(sections.anchors);
        weave.checks_time =
            header.first_wall_ns < since_ns || header.last_wall_ns >= weave.loom.query.until_ns;
        let mut decoder = Decoder::new(sections.runs, &definitions);
        let mut records = Vec::new();
        let mut decoded = 0;
        while let Some(head) = decoder.next_into(&mut records) {
            match head {
                Ok(head) => {
                    decoded += u64::from(head.count);
                    weave.run(&head, &records, &definitions);
                }
                Err(malformed) => {
                    let rest = u64::from(header.records).saturating_sub(decoded);
                    weave.damage(&malformed.to_string(), Some(rest));
                }
            }
        }
        weave.finish()
    }

    /// The stream of one run of a lane or of staging.
    pub(super) fn run(
        &mut self,
        place: Place<'_>,
        head: &RunHead,
        records: &[u8],
        definitions: &Definitions,
        anchors: &[crate::record::Anchor],
    ) -> Stream {
        let mut weave = Weave::new(self, place);
        weave.tables.add_anchors(anchors.iter().copied());
        weave.checks_time = true;
        weave.counted = weave.loom.lanes.news_max();
        weave.run(head, records, definitions);
        weave.finish()
    }

    /// The stream of a run of losses alone behind which nothing of its lane comes any more.
    pub(super) fn last_run(
        &mut self,
        place: Place<'_>,
        head: &RunHead,
        anchors: &[crate::record::Anchor],
    ) -> Stream {
        let mut weave = Weave::new(self, place);
        weave.tables.add_anchors(anchors.iter().copied());
        weave.is_last = true;
        weave.counted = weave.loom.lanes.news_max();
        weave.run(head, &[], &Definitions::default());
        weave.finish()
    }
}

impl<'l, 'a> Weave<'l, 'a> {
    fn new(loom: &'l mut Loom<'a>, place: Place<'l>) -> Self {
        let (logger, segment) = (Arc::clone(place.logger), place.segment);
        let tables = Tables { logger, segment, ..Tables::default() };
        Self {
            since_ns: loom.query.since_ns,
            loom,
            place,
            tables,
            bytes: Vec::new(),
            entries: Vec::new(),
            uses: HashMap::new(),
            last_use: (0, Use::Unknown),
            checks_time: false,
            unknown: 0,
            sorted: true,
            is_last: false,
            counted: 0,
        }
    }

    fn run(&mut self, head: &RunHead, records: &[u8], definitions: &Definitions) {
        let id = (self.place.logger.id, head.lane, head.generation);
        let reverse = self.loom.query.reverse;
        let mut lane = std::mem::take(self.loom.lanes.lane(id));
        if !reverse && !self.is_last && lane.is_early(head) {
            lane.set_aside(self.aside(head));
            *self.loom.lanes.lane(id) = lane;
            return;
        }
        let told = if reverse { lane.precede(head) } else { lane.follow(head, self.counted) };
        let news = told.lost.as_ref().map_or(0, |losses| losses.total());
        self.counted = self.counted.saturating_sub(news);
        let origin = self.tables.origins.len() as u32;
        let name = head.thread.as_str().into();
        self.tables.origins.push(Origin { tid: head.tid, name });
        let first_ticks = Head::read(records).map(|head| head.ticks);
        // A run of losses alone stands behind the lane's last record.
        let last = lane.key.filter(|_| !reverse).or(self.entries.last().map(|e| e.key));
        let key = first_ticks.or(last).unwrap_or_else(|| match self.place.segment {
            Some(_) => self.start(),
            None => self.end(),
        });
        if !reverse {
            let key = lane.key.map_or(key, |before| before.max(key));
            self.told_before(&told, id, key, origin);
        } else if let Some(losses) = told.first.filter(|losses| !losses.is_empty()) {
            self.lost(&losses, key, origin);
        }
        self.records(head, records, definitions, &mut lane, origin);
        if let (true, Some(losses)) = (reverse, &told.lost) {
            let key = self.entries.last().map_or(key, |entry| entry.key);
            self.lost(losses, key, origin);
        }
        lane.bytes.add(head.position, head.end);
        *self.loom.lanes.lane(id) = lane;
    }

    #[cold]
    fn aside(&self, head: &RunHead) -> Aside {
        Aside {
            head: head.clone(),
            logger: Arc::clone(self.place.logger),
            file: self.place.file.to_owned(),
            segment: self.place.segment,
            anchors: self.tables.timeline.anchors().to_vec(),
        }
    }

    fn told_before(&mut self, told: &Told, lane: LaneId, key: u64, origin: u32) {
        if let Some(losses) = &told.lost {
            self.lost(losses, key, origin);
        }
        let is_told = |skipped: &Skipped| match skipped.is_start {
            true => self.place.gaps == Gaps::All && lane.1 != LANE_RETOLD,
            false => self.place.gaps >= Gaps::Between,
        };
        if let Some(skipped) = told.skipped.filter(is_told) {
            let damage = Damage {
                file: self.place.file.to_owned(),
                offset: self.place.offset,
                records: None,
                reason: "events are missing by their numbers".into(),
                is_gap: true,
            };
            self.mark(Mark::Gap { lane, skipped, damage }, key);
        }
    }

    fn records(
        &mut self,
        head: &RunHead,
        records: &[u8],
        definitions: &Definitions,
        lane: &mut Lane,
        origin: u32,
    ) {
        let whole = !lane.bytes.overlaps(head.position, head.end);
        let reverse = self.loom.query.reverse;
        let from = self.entries.len();
        let mut at = 0;
        // Runs come in the order of their positions as a rule; one that does not has its own place.
        let in_order = match reverse {
            true => head.end <= lane.bytes.start(),
            false => head.position >= lane.bytes.end(),
        };
        let mut floor = if reverse || !in_order { None } else { lane.key };
        while let Some(record) = Head::read(&records[at..]) {
            let len = record.len();
            let position = head.position + at as u64;
            let bytes = &records[at..at + len];
            at += len;
            if !whole && lane.bytes.overlaps(position, position + len as u64) {
                continue;
            }
            let key = floor.map_or(record.ticks, |floor| floor.max(record.ticks));
            floor = Some(key);
            if record.kind != RECORD_EVENT {
                self.note_span(record.callsite, bytes, definitions);
                if !self.shows_span(&record) {
                    continue;
                }
            }
            let Use::Shown(shape) = self.use_of(record.callsite, definitions) else { continue };
            if self.checks_time && !self.is_in_time(record.ticks) {
                continue;
            }
            self.push(Entry { key, at: self.bytes.len() as u32, origin, shape });
            self.bytes.extend_from_slice(bytes);
        }
        match (reverse, in_order) {
            (true, true) => self.hold_below(lane, from),
            (false, true) => lane.key = floor.or(lane.key),
            _ => {}
        }
    }

    #[cold]
    fn note_span(&mut self, callsite: u32, record: &[u8], definitions: &Definitions) {
        let logger = self.place.logger.id;
        if let Some(definition) = definitions.get(callsite) {
            self.loom.spans.told.note(logger, record, || self.loom.shapes.get(logger, definition));
        }
    }

    /// True for a record that is no event and is shown all the same.
    fn shows_span(&self, head: &Head) -> bool {
        self.loom.query.spans
            && head.flags & FLAG_RETOLD == 0
            && matches!(head.kind, RECORD_SPAN_OPEN | RECORD_SPAN_CLOSE)
    }

    /// In reverse no key of a run may be above those of the run that was read before.
    fn hold_below(&mut self, lane: &mut Lane, from: usize) {
        if let Some(ceiling) = lane.key {
            for entry in &mut self.entries[from..] {
                entry.key = entry.key.min(ceiling);
            }
            self.sorted = false;
        }
        let lowest = self.entries.get(from).map(|entry| entry.key);
        lane.key = lowest.or(lane.key);
    }

    fn use_of(&mut self, callsite: u32, definitions: &Definitions) -> Use {
        if self.last_use.0 == callsite && callsite != 0 {
            self.unknown += u64::from(self.last_use.1 == Use::Unknown);
            return self.last_use.1;
        }
        let found = *self.uses.entry(callsite).or_insert_with(|| {
            let Some(definition) = definitions.get(callsite) else { return Use::Unknown };
            if !self.loom.query.wants(definition.level, &definition.target) {
                return Use::Unwanted;
            }
            self.tables.shapes.push(self.loom.shapes.get(self.place.logger.id, definition));
            Use::Shown(self.tables.shapes.len() as u32 - 1)
        });
        self.last_use = (callsite, found);
        self.unknown += u64::from(found == Use::Unknown);
        found
    }

    fn is_in_time(&self, ticks: u64) -> bool {
        let time = self.tables.timeline.wall_ns(ticks);
        time >= self.since_ns && time < self.loom.query.until_ns
    }

    fn push(&mut self, entry: Entry) {
        self.sorted &= self.entries.last().is_none_or(|last| last.key <= entry.key);
        self.entries.push(entry);
    }

    fn mark(&mut self, mark: Mark, key: u64) {
        let at = self.tables.marks.len() as u32;
        self.tables.marks.push(mark);
        self.push(Entry { key, at, origin: 0, shape: MARK });
    }

    /// Adds what the query wants to know of a loss.
    fn lost(&mut self, losses: &Losses, key: u64, origin: u32) {
        if !self.is_in_time(key) {
            return;
        }
        let mut wanted = Losses::NONE;
        for (cause, level, count) in losses.iter() {
            if self.loom.query.levels & bit(level) != 0 {
                wanted.set(cause, level, count);
            }
        }
        if !wanted.is_empty() {
            self.mark(Mark::Lost { losses: Box::new(wanted), origin }, key);
        }
    }

    fn damage(&mut self, reason: &str, records: Option<u64>) {
        let (file, offset) = (self.place.file.to_owned(), self.place.offset);
        let damage = Damage { file, offset, records, reason: reason.into(), is_gap: false };
        let key = self.entries.last().map_or_else(|| self.start(), |entry| entry.key);
        self.mark(Mark::Damage(damage), key);
    }

    /// The earliest ticks that the block knows of.
    fn start(&self) -> u64 {
        self.tables.timeline.anchors().first().map_or(0, |anchor| anchor.ticks)
    }

    /// The latest ticks that lanes and staging know of.
    fn end(&self) -> u64 {
        self.tables.timeline.anchors().last().map_or(0, |anchor| anchor.ticks)
    }

    fn finish(mut self) -> Stream {
        if self.unknown > 0 {
            self.damage("events whose callsite is not defined", Some(self.unknown));
        }
        if !self.sorted {
            // Stable, so that a lane's records stay by position where their ticks are equal.
            self.entries.sort_by_key(|entry| entry.key);
        }
        if self.loom.query.reverse {
            self.entries.reverse();
        }
        self.bytes.shrink_to_fit();
        Stream::new(self.tables, self.bytes, self.entries)
    }
}
