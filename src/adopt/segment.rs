//! Segment: the segments of a dead logger: mended, completed, and cut where they are torn.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::crash::crash_point;
use crate::dump::header_of;
use crate::emit::clock;
use crate::io::Disk;
use crate::lane::outside::{self, Snapshot};
use crate::lane::owner::Owner;
use crate::record::{Definition, Definitions, Head, Losses, OpenSpans, RawRun};
use crate::store::segment::{
    Entry, FLAG_SPILL, FLAG_SPILLED, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentReader,
};
use crate::store::{Builder as SegmentBuilder, Reason, block, name};

/// A segment of the dead logger.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Where the last block lies when it is not whole, and where the zeros behind it were cut.
    torn: Option<Range<u64>>,
}

/// The files that bear the names of some loggers, from one look at their directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    segments: HashMap<u64, Vec<PathBuf>>,
    /// Segments that were not renamed yet.
    temporary: HashMap<u64, Vec<PathBuf>>,
}

impl Listing {
    /// Looks at a directory, for the files of these loggers.
    pub(super) fn of(dir: &Path, loggers: &BTreeSet<u64>) -> io::Result<Self> {
        let mut listing = Self::default();
        let logger_of = |name: &str| name::parse(name).map(|name| name.logger);
        for entry in std::fs::read_dir(dir)? {
            let file = entry?.file_name();
            let Some(name) = file.to_str() else { continue };
            let temporary = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
            let (logger, names) = match temporary {
                Some((name, pid)) if pid.parse::<u32>().is_ok() => {
                    (logger_of(name), &mut listing.temporary)
                }
                _ => (logger_of(name), &mut listing.segments),
            };
            if let Some(logger) = logger.filter(|logger| loggers.contains(logger)) {
                names.entry(logger).or_default().push(dir.join(name));
            }
        }
        Ok(listing)
    }

    /// The numbers of a logger's segments.
    pub(super) fn numbers(&self, logger: u64) -> BTreeSet<u64> {
        let paths = self.segments.get(&logger).into_iter().flatten();
        paths.filter_map(|path| number(path)).collect()
    }

    /// The segments of a logger. Removes what its scribe or an earlier adopter left unfinished
    /// (S12): segments that are not renamed yet, and those whose header was never written.
    pub(super) fn segments(
        &mut self,
        disk: Option<&dyn Disk>,
        logger: u64,
    ) -> io::Result<Vec<Segment>> {
        let unlink = |path: &Path| disk.map_or(Ok(()), |disk| disk.unlink(path));
        for path in self.temporary.remove(&logger).unwrap_or_default() {
            unlink(&path)?;
        }
        let mut segments = Vec::new();
        for path in self.segments.remove(&logger).unwrap_or_default() {
            if has_no_header(&path).unwrap_or(false) {
                unlink(&path)?;
                continue;
            }
            // One whose header is not whole holds nothing that is not in staging.
            segments.extend(Segment::at(path, logger));
        }
        Ok(segments)
    }
}

/// The number in the name of a segment or spill file.
pub(super) fn number(path: &Path) -> Option<u64> {
    name::parse(path.file_name()?.to_str()?).map(|name| name.number)
}

/// True when nothing but zeros stands where a segment's header belongs.
pub(super) fn has_no_header(path: &Path) -> io::Result<bool> {
    use std::io::Read as _;
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut header = Vec::new();
    std::fs::File::open(path)?.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok(header.iter().all(|&byte| byte == 0))
}

impl Segment {
    /// The segment of this logger at `path`; `None` when it is another's, or its header is not whole.
    pub(super) fn at(path: PathBuf, logger: u64) -> Option<Self> {
        let reader = SegmentReader::open(&path).ok()?;
        let header = reader.header().clone();
        (header.logger == logger).then_some(Self { path, header, torn: None })
    }

    /// Cuts the zeros behind the last block and makes the rest durable; returns how many there were.
    pub(super) fn mend(&mut self, disk: Option<&dyn Disk>) -> io::Result<u64> {
        let file = disk.map(|disk| disk.open(&self.path)).transpose()?;
        let mut cut_bytes = 0;
        let mut reader = self.open()?;
        if !reader.is_sealed() {
            let mut end = self.header.first_block();
            let mut last = None;
            while let Some(entry) = reader.next_entry()? {
                (end, last) = match entry {
                    Entry::Block(found) => {
                        let len = found.header.padded_len(self.header.align());
                        (found.offset + len, Some((found.offset, Some(found))))
                    }
                    // An index tells nothing that the blocks do not: a torn one is cut at once.
                    Entry::Damage(damage) if damage.tail && damage.reason == Reason::Index => {
                        (damage.offset, None)
                    }
                    Entry::Damage(damage) => {
                        (damage.offset + damage.len, Some((damage.offset, None)))
                    }
                    Entry::Unfinished { .. } => (end, last),
                };
            }
            let is_whole = |block| reader.read_block(&block, &mut Vec::new()).is_ok();
            let torn = last.filter(|(_, block)| !block.is_some_and(is_whole));
            self.torn = torn.map(|(at, _)| at..end);
            cut_bytes = std::fs::metadata(&self.path)?.len().saturating_sub(end);
            if let Some(file) = file.as_ref().filter(|_| cut_bytes > 0) {
                file.truncate(end)?;
            }
        }
        file.map_or(Ok(()), |file| file.sync())?;
        Ok(cut_bytes)
    }

    /// Cuts a last block that its writer died at, if the whole of it lies in staging: what it holds
    /// is durable elsewhere by now. A block that is torn for another reason stays, as damage. Returns
    /// how many bytes went.
    pub(super) fn cut_torn(&self, disk: Option<&dyn Disk>, owner: &Owner) -> io::Result<u64> {
        let Some(Range { start: offset, end }) = self.torn else { return Ok(0) };
        let salt = self.header.salt();
        let is_it = |bytes: &Vec<u8>| {
            let header = bytes.first_chunk().and_then(|b| block::parse_header(b, salt, offset));
            header.is_some_and(|header| {
                let stored = bytes[block::HEADER_BYTES..].get(..header.stored_len as usize);
                stored.is_some_and(|stored| block::check_payload(stored, salt, offset, &header))
            })
        };
        if outside::staged_blocks(owner).unwrap_or_default().iter().any(is_it) {
            if let Some(disk) = disk {
                let file = disk.open(&self.path)?;
                file.truncate(offset)?;
                file.sync()?;
            }
            return Ok(end.saturating_sub(offset));
        }
        Ok(0)
    }

    pub(super) fn open(&self) -> io::Result<SegmentReader> {
        SegmentReader::open(&self.path)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))
    }
}

/// The spans that were open at the end of a logger's segments, which the next one tells again. What
/// is damaged tells nothing.
pub(super) fn open_spans(segments: &mut [Segment]) -> io::Result<OpenSpans> {
    let mut spans = OpenSpans::default();
    segments.sort_by_key(|segment| segment.header.number);
    // Each begins with those that were open then, but for one that was spilled.
    let is_whole = |segment: &Segment| segment.header.flags & FLAG_SPILL == 0;
    let from = segments.iter().rposition(is_whole).unwrap_or(0);
    for segment in &segments[from..] {
        let mut reader = segment.open()?;
        while let Some(entry) = reader.next_entry()? {
            if let Entry::Block(found) = entry {
                reader.note_spans(&found, &mut spans);
            }
        }
    }
    Ok(spans)
}

/// Writes runs into a new segment of the dead logger: data, then name. The caller syncs the
/// directory before anything is removed. Without a disk it only tells the name. `told` is what was
/// told of losses before, by lane and generation.
pub(super) fn write(
    disk: Option<&dyn Disk>,
    dir: &Path,
    owner: &Owner,
    number: u64,
    runs: Vec<RawRun>,
    told: HashMap<(u32, u32), Losses>,
    snapshot: &Snapshot,
) -> io::Result<PathBuf> {
    let header = SegmentHeader {
        number,
        flags: if snapshot.has_spilled { FLAG_SPILLED } else { 0 },
        created_ns: clock::wall_ns(),
        ..header_of(owner)
    };
    let name = name::segment(&header.app, header.created_ns, owner.logger, number);
    let path = dir.join(&name);
    let Some(disk) = disk else { return Ok(path) };
    let mut segment = SegmentBuilder::new(header).losses_told(told);
    for definition in used(&snapshot.definitions, &runs) {
        segment.add_definition(definition);
    }
    for anchor in &snapshot.anchors {
        segment.add_anchor(*anchor);
    }
    // An adopter of the same boot adds its own, which brackets the newest records, if their ticks are
    // its clock's: lines that are recorded tell their time themselves.
    if owner.clock == clock::kind() {
        segment.add_anchor(clock::anchor());
    }
    for run in &runs {
        segment.push_run(run).map_err(|malformed| io::Error::other(malformed.to_string()))?;
    }
    let bytes = segment.finish().map_err(|malformed| io::Error::other(malformed.to_string()))?;
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let _ = disk.unlink(&temporary);
    crash_point!("adopt.create");
    let written = disk.create(&temporary).and_then(|file| {
        file.write_at(&bytes, 0).map_err(|(_, error)| error)?;
        crash_point!("adopt.written");
        file.sync()?;
        crash_point!("adopt.rename");
        disk.rename(&temporary, &path)
    });
    if let Err(error) = written {
        let _ = disk.unlink(&temporary);
        return Err(error);
    }
    crash_point!("adopt.renamed");
    Ok(path)
}

/// The definitions that these runs refer to.
fn used(definitions: &Definitions, runs: &[RawRun]) -> Vec<Definition> {
    let mut ids = BTreeSet::new();
    for run in runs {
        let mut rest = &run.bytes[..];
        while let Some(head) = Head::read(rest) {
            ids.insert(head.callsite);
            rest = &rest[head.len()..];
        }
    }
    ids.iter().filter_map(|&id| definitions.get(id)).map(|d| (**d).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::FileDisk;
    use crate::record::{Anchor, Cause, HEAD_BYTES, Level, RECORD_EVENT, RunHead};
    use crate::store::segment::{BlockRef, CLOCK_UTC};

    fn block(owner: &Owner, anchors: Vec<Anchor>, ticks: u64, told: u64, lost: u64) -> BlockRef {
        let dir = tempfile::tempdir().unwrap();
        let losses = |count| {
            let mut losses = Losses::NONE;
            losses.add(Cause::Full, Level::Info, count);
            losses
        };
        let mut bytes = Head::word(1, 0, RECORD_EVENT, 0).to_le_bytes().to_vec();
        bytes.extend_from_slice(&ticks.to_le_bytes());
        let end = HEAD_BYTES as u64;
        let head = RunHead { count: 1, end, losses: losses(lost), ..RunHead::default() };
        let snapshot = Snapshot { anchors, ..Snapshot::default() };
        let told = [((0, 0), losses(told))].into();
        let runs = vec![RawRun { head, bytes }];
        let path = write(Some(&FileDisk), dir.path(), owner, 2, runs, told, &snapshot).unwrap();
        match SegmentReader::open(path).unwrap().next_entry().unwrap() {
            Some(Entry::Block(block)) => block,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_that_told_their_time_keep_it() {
        let owner = Owner { clock: CLOCK_UTC, ..Owner::of_test(7, Path::new("/none")) };
        let utc = |wall_ns: i64| wall_ns.cast_unsigned() ^ 1 << 63;
        let (began_ns, told_ns) = (clock::wall_ns(), 1_700_000_000_000_000_000);
        let ticks = utc(began_ns);
        let anchor = Anchor { ticks, mono_ns: ticks, wall_ns: began_ns };
        let block = block(&owner, vec![anchor], utc(told_ns), 0, 0);
        assert_eq!(block.header.first_wall_ns, told_ns);
    }

    #[test]
    fn losses_that_were_told_before_are_not_counted_again() {
        let owner = Owner::of_test(7, Path::new("/none"));
        assert_eq!(block(&owner, vec![clock::anchor()], 5, 1_000, 1_003).header.lost, 3);
    }
}
