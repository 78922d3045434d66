//! Gather: what stands in a dump: all that the recorder keeps, and what the log has of that time.

use std::path::{Path, PathBuf};

use super::piece::newest;
use crate::emit::clock;
use crate::error::{Error, Kind};
use crate::lane::outside::{self, Snapshot};
use crate::lane::owner::Owner;
use crate::record::{Covered, Definitions, FLAG_SPAN, Head, OpenSpans, RawRun, Timeline};
use crate::store::block::{self, KIND_EVENTS};
use crate::store::index::Entry;
use crate::store::segment::{self, BlockRef, FLAG_SPILL, SegmentReader};
use crate::store::{name, spill};

/// Bytes of records of the log that stand in a dump; the newest of them.
const ORDINARY_BYTES_MAX: u64 = 16 << 20;
/// How far the times in a block's header may be off.
const SLACK_NS: i64 = 1_000_000;

/// What stands in a dump.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// What the recorder keeps.
    pub(super) recorded: Vec<RawRun>,
    /// What the log has.
    pub(super) ordinary: Vec<RawRun>,
    pub(super) definitions: Definitions,
    pub(super) timeline: Timeline,
    /// What could not be read, and why.
    pub(super) notes: Vec<String>,
}

impl Gathered {
    fn add(&mut self, snapshot: Snapshot) -> Vec<RawRun> {
        self.learn(&snapshot.definitions);
        snapshot.anchors.iter().for_each(|anchor| self.timeline.add(*anchor));
        self.notes.extend(snapshot.notes);
        snapshot.runs
    }

    fn runs(&self) -> impl Iterator<Item = &RawRun> {
        self.recorded.iter().chain(&self.ordinary)
    }

    /// True when a record names a span.
    fn is_in_spans(&self) -> bool {
        self.runs().any(|run| {
            let mut rest = &run.bytes[..];
            std::iter::from_fn(|| {
                let head = Head::read(rest)?;
                rest = rest.get(head.len()..)?;
                Some(head.flags & FLAG_SPAN != 0)
            })
            .any(|is_in_span| is_in_span)
        })
    }

    /// Tells spans again that were opened before all that is gathered.
    fn retell(&mut self, spans: &OpenSpans) {
        // Those of the log count from 1, and of two dumps none takes the other's for its own.
        let heads = self.runs().filter_map(|run| Head::read(&run.bytes));
        let first = heads.map(|head| head.ticks).min();
        let generation = 1 << 31 | first.unwrap_or_default() as u32;
        self.ordinary.extend(spans.as_run(generation, self.runs()));
    }

    fn learn(&mut self, definitions: &Definitions) {
        for definition in definitions.iter() {
            self.definitions.add((**definition).clone());
        }
    }
}

/// Reads lanes first, then staging, then files: what leaves one meanwhile is found in the next.
pub(super) fn gather(owner: &Owner, dir: &Path) -> Result<Gathered, Error> {
    let place = owner.lanes.as_ref().map_or(dir, |hint| &hint.path);
    let refuse = |what, error| Error::at(Kind::Dump(what), place, error);
    if let Some(why) = outside::unseen(owner) {
        return Err(refuse("there is nothing to dump", std::io::Error::other(why)));
    }
    let unread = |error| refuse("the lanes of the recorder cannot be read", error);
    let recorded = outside::recorded(owner).map_err(unread)?;
    let recorded = recorded.ok_or_else(|| Error::new(Kind::NoRecorder))?;
    let mut gathered = Gathered::default();
    gathered.recorded = gathered.add(recorded);
    let live = outside::snapshot(owner).map_err(unread)?;
    gathered.ordinary = gathered.add(live);
    if owner.clock == clock::kind() {
        // It brackets the newest records.
        gathered.timeline.add(clock::anchor());
    }
    let first =
        gathered.recorded.iter().filter_map(|run| Head::read(&run.bytes)).map(|head| head.ticks);
    let since_ns = first.min().map_or(i64::MIN, |ticks| gathered.timeline.wall_ns(ticks));
    add_files(owner, dir, since_ns.saturating_sub(SLACK_NS), &mut gathered);
    // What was on its way was read in two places.
    let once = |runs: &mut Vec<RawRun>| Covered::default().missing(std::mem::take(runs));
    gathered.recorded = once(&mut gathered.recorded);
    gathered.ordinary = newest(once(&mut gathered.ordinary));
    Ok(gathered)
}

/// Adds what segments and spill files have from this moment on, and the spans that were open then.
fn add_files(owner: &Owner, dir: &Path, since_ns: i64, gathered: &mut Gathered) {
    let mut left = ORDINARY_BYTES_MAX;
    let mut spans = OpenSpans::default();
    // Until a segment was met that told all open spans when it began.
    let mut is_newest = true;
    for path in files(owner, dir) {
        // One that is gone was removed, or has another name by now.
        let Ok(mut reader) = SegmentReader::open(&path) else { continue };
        let is_before = |index: &[Entry]| index.iter().all(|entry| entry.last_wall_ns < since_ns);
        if !is_newest && reader.index().is_some_and(is_before) {
            continue;
        }
        let blocks = blocks(&mut reader);
        let is_in = |block: &BlockRef| block.header.last_wall_ns >= since_ns;
        let mut first = blocks.len();
        let wanted = blocks.iter().position(is_in).unwrap_or(first);
        while first > wanted && left > 0 {
            first -= 1;
            left = left.saturating_sub(u64::from(blocks[first].header.raw_len));
            add_block(&reader, &blocks[first], gathered);
        }
        // Blocks are read for them alone: not where nobody asks.
        if (is_newest || first < blocks.len()) && gathered.is_in_spans() {
            blocks[..first].iter().for_each(|block| reader.note_spans(block, &mut spans));
        }
        is_newest &= blocks.is_empty() || reader.header().flags & FLAG_SPILL != 0;
        if left == 0 {
            break;
        }
    }
    gathered.retell(&spans);
}

/// Adds what a block holds.
fn add_block(reader: &SegmentReader, block: &BlockRef, gathered: &mut Gathered) {
    let mut payload = Vec::new();
    // Damage is the log's own affair, which `ttlog verify` tells.
    if reader.read_block(block, &mut payload).is_err() {
        return;
    }
    if let Ok(contents) = block::contents(&payload, &block.header) {
        gathered.learn(&contents.definitions);
        contents.anchors.iter().for_each(|anchor| gathered.timeline.add(*anchor));
        gathered.ordinary.extend(contents.runs);
    }
}

fn blocks(reader: &mut SegmentReader) -> Vec<BlockRef> {
    let mut blocks = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        if let segment::Entry::Block(block) = entry
            && block.header.kind == KIND_EVENTS
        {
            blocks.push(block);
        }
    }
    blocks
}

/// The segments and spill files of a logger, newest first.
fn files(owner: &Owner, dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = name::parse(entry.file_name().to_str()?)?;
            (name.logger == owner.logger).then(|| (name.number, entry.path()))
        })
        .collect();
    let spill = owner.spill.as_deref().filter(|spill| *spill != dir);
    let spilled = spill.and_then(|spill| spill::of(spill, owner.logger).ok()).unwrap_or_default();
    found.extend(spilled.into_iter().map(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(name::parse);
        (name.map_or(0, |name| name.number), path)
    }));
    found.sort_unstable();
    found.into_iter().rev().map(|(_, path)| path).collect()
}
