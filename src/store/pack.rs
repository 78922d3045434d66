//! Pack: a sealed segment rewritten with fewer, larger and zipped blocks, under its own name (S12).
//!
//! ```text
//! read ─► groups of blocks ─► Builder ─► .<name>.<packer>.pack ─► sync ─► compare ─► rename
//! ```
//!
//! One segment becomes one: logger, number, name and runs stay, so that every rule about who holds
//! which bytes (S2) stands, and whoever dies at any step leaves the segment or its packed form. Each
//! step between is a crash point; a part that was left is removed when its packer has no owner file
//! any more.
//!
//! # Failure
//!
//! A segment with damage is left as it is. So is one that did not become smaller, that was removed
//! or replaced meanwhile, or whose packed form does not read back equal.

use std::collections::HashSet;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::block::{self, BlockHeader, Contents, KIND_EVENTS, PAYLOAD_BYTES_MAX};
use super::builder::Builder;
use super::name;
use super::retention::{self, Stored};
use super::segment::{BlockRef, Entry, FLAG_PACKED, SegmentReader};
use crate::crash::crash_point;
use crate::io::{Disk, DiskFile};
use crate::record::compact::{Malformed, RAW_BYTES_MAX};
use crate::record::{Anchor, Definition, RawRun};

/// What a part's name ends with.
const PART_SUFFIX: &str = ".pack";
/// Bytes of runs in a packed block.
const RUNS_BYTES: usize = PAYLOAD_BYTES_MAX / 2;
/// Blocks that are smaller than this on average are worth packing, where there are some.
const SMALL_BYTES: u64 = 32 << 10;
const SMALL_BLOCKS: usize = 8;
/// Anchors between two others go when those tell the same time to this many nanoseconds.
const ANCHOR_ERROR_NS: i128 = 500;

/// The levels of zstd.
pub(crate) const LEVELS: RangeInclusive<i32> = 1..=22;

/// How segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// The level of zstd.
    pub(crate) level: i32,
    /// Only segments whose blocks are small.
    pub(crate) only_small: bool,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    /// It is packed: bytes before and behind.
    Done(u64, u64),
    /// It stays as it is.
    Stays,
    /// The caller had it stopped.
    Stopped,
}

/// Publishes under the directory's lock; false when that was not to be had.
pub(crate) type Publish<'a> = dyn Fn(&dyn Fn() -> io::Result<()>) -> io::Result<bool> + 'a;

/// Whether a segment is not packed yet and worth it; `None` while it is not sealed.
fn is_due(path: &Path, how: How) -> Option<bool> {
    let reader = SegmentReader::open(path).ok()?;
    let index = reader.index()?;
    let bytes: u64 = index.iter().map(|entry| u64::from(entry.stored_len)).sum();
    let is_small = index.len() >= SMALL_BLOCKS && bytes < SMALL_BYTES * index.len() as u64;
    Some(!is_packed(&reader) && !index.is_empty() && (is_small || !how.only_small))
}

/// True for a segment that was packed.
pub(crate) fn is_packed(reader: &SegmentReader) -> bool {
    reader.header().flags & FLAG_PACKED != 0
}

/// Packs a segment. `goes_on` is asked before each block, with the bytes written so far; it may wait.
///
/// # Errors
///
/// When the disk refuses; the segment is as it was.
pub(crate) fn pack(
    disk: &dyn Disk,
    path: &Path,
    how: How,
    packer: u64,
    goes_on: &dyn Fn(u64) -> bool,
    publish: &Publish<'_>,
) -> io::Result<Packed> {
    let Some((dir, file_name)) = path.parent().zip(path.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Packed::Stays);
    };
    let original = disk.open(path)?;
    let Ok(mut reader) = SegmentReader::open(path) else { return Ok(Packed::Stays) };
    let part = dir.join(format!(".{file_name}.{packer:016x}{PART_SUFFIX}"));
    let _ = disk.unlink(&part);
    crash_point!("pack.create");
    let result = pack_into(disk, &part, &mut reader, how, goes_on).and_then(|packed| {
        if !matches!(packed, Packed::Done(..)) {
            return Ok(packed);
        }
        let mut is_published = std::cell::Cell::new(false);
        publish(&|| {
            // Removed or packed by another meanwhile: that one stands.
            if !original.is_named(path) {
                return Ok(());
            }
            crash_point!("pack.rename");
            disk.rename(&part, path)?;
            crash_point!("pack.renamed");
            disk.sync_dir(dir)?;
            crash_point!("pack.synced");
            is_published.set(true);
            Ok(())
        })?;
        Ok(if *is_published.get_mut() { packed } else { Packed::Stays })
    });
    if !matches!(result, Ok(Packed::Done(..))) {
        let _ = disk.unlink(&part);
    }
    result
}

/// Writes the packed form of a segment to a new file, synced, and compares the two. Unless it is
/// done, what became of the file is for the caller to remove.
///
/// # Errors
///
/// When one of the two cannot be read or written.
pub(crate) fn pack_into(
    disk: &dyn Disk,
    part: &Path,
    reader: &mut SegmentReader,
    how: How,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Packed> {
    let Some(blocks) = blocks(reader)? else { return Ok(Packed::Stays) };
    let file = disk.create(part)?;
    let digest = match write(file.as_ref(), reader, &blocks, how, goes_on)? {
        Ok(digest) => digest,
        Err(why) => return Ok(why),
    };
    let (before, after) = (reader.file_len()?, file.len()?);
    let is_equal = after <= before && digest_of(part)? == Some(digest);
    Ok(if is_equal { Packed::Done(before, after) } else { Packed::Stays })
}

/// Removes the parts of packers for which `is_dead` says so.
pub(crate) fn clear_leftovers(disk: &dyn Disk, dir: &Path, is_dead: &dyn Fn(u64) -> bool) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        if file_name.to_str().and_then(packer_of).is_some_and(is_dead) {
            let _ = disk.unlink(&entry.path());
        }
    }
}

/// The packer whose part has this name.
fn packer_of(file_name: &str) -> Option<u64> {
    let (segment, packer) =
        file_name.strip_prefix('.')?.strip_suffix(PART_SUFFIX)?.rsplit_once('.')?;
    name::parse(segment)?;
    u64::from_str_radix(packer, 16).ok()
}

/// The blocks of events; `None` when anything about the segment is not as it should be.
fn blocks(reader: &mut SegmentReader) -> io::Result<Option<Vec<BlockRef>>> {
    if reader.index().is_none() || is_packed(reader) {
        return Ok(None);
    }
    let mut blocks = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Block(block) if block.header.kind == KIND_EVENTS => blocks.push(block),
            _ => return Ok(None),
        }
    }
    Ok(Some(blocks))
}

/// What has to be the same in the segment and its packed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest {
    pub(super) records: u64,
    lost: u64,
    /// Of all records, as they lay in their lanes, and where they lay. A run that was split is one.
    crc: u32,
    /// Lane, generation, end and losses of the last run.
    last: (u64, u64, u64, u64),
}

impl Digest {
    pub(super) fn add(&mut self, header: &BlockHeader, contents: &Contents) {
        self.records += u64::from(header.records);
        self.lost += u64::from(header.lost);
        for RawRun { head, bytes } in &contents.runs {
            let (lane, generation) = (u64::from(head.lane), u64::from(head.generation));
            let lost = head.losses.total();
            if self.last != (lane, generation, head.position, lost) {
                for word in [self.last.0, self.last.1, self.last.2, self.last.3, head.position] {
                    self.crc = crc32c::crc32c_append(self.crc, &word.to_le_bytes());
                }
            }
            self.last = (lane, generation, head.end, lost);
            self.crc = crc32c::crc32c_append(self.crc, bytes);
        }
    }
}

/// Writes and syncs the packed form; the error says what becomes of the segment without one, since
/// it was stopped or a block is not whole.
fn write(
    file: &dyn DiskFile,
    reader: &SegmentReader,
    blocks: &[BlockRef],
    how: How,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Result<Digest, Packed>> {
    let mut header = reader.header().clone();
    header.flags |= FLAG_PACKED;
    header.align_log2 = 0;
    let mut builder =
        Builder::new(header).runs_bytes(RUNS_BYTES).zstd(how.level).losses_by_caller();
    let (mut digest, mut at, mut rest) = (Digest::default(), 0, blocks);
    let malformed = |error: Malformed| io::Error::other(error.to_string());
    while !rest.is_empty() {
        let group;
        (group, rest) = rest.split_at(group_len(rest));
        let mut all = Vec::new();
        for block in group {
            let mut payload = Vec::new();
            if !goes_on(at) {
                return Ok(Err(Packed::Stopped));
            }
            let is_whole = reader.read_block(block, &mut payload).is_ok();
            let contents = block::contents(&payload, &block.header);
            let Some(contents) = contents.ok().filter(|_| is_whole) else {
                return Ok(Err(Packed::Stays));
            };
            digest.add(&block.header, &contents);
            all.push(contents);
        }
        let anchors = all.iter().flat_map(|contents| contents.anchors.iter().copied());
        thin(anchors.collect()).into_iter().for_each(|anchor| builder.add_anchor(anchor));
        all.iter().try_for_each(|contents| push(&mut builder, contents)).map_err(malformed)?;
        builder.add_lost(group.iter().map(|block| block.header.lost).fold(0, u32::saturating_add));
        builder.seal_block().map_err(malformed)?;
        at = append(file, at, &builder.take())?;
        crash_point!("pack.write");
    }
    append(file, at, &builder.finish().map_err(malformed)?)?;
    crash_point!("pack.sync");
    file.sync()?;
    Ok(Ok(digest))
}

/// Adds what a block holds, but for its anchors.
pub(super) fn push(builder: &mut Builder, contents: &Contents) -> Result<(), Malformed> {
    let definitions = contents.definitions.iter().map(|one| Definition::clone(one));
    definitions.for_each(|one| builder.add_definition(one));
    contents.runs.iter().try_for_each(|run| builder.push_run(run))
}

pub(super) fn append(file: &dyn DiskFile, at: u64, bytes: &[u8]) -> io::Result<u64> {
    file.write_at(bytes, at).map_err(|(_, error)| error)?;
    Ok(at + bytes.len() as u64)
}

/// Blocks that become one: at least one, and as many as stay below the longest.
fn group_len(blocks: &[BlockRef]) -> usize {
    let (mut raw, mut stored) = (0, 0);
    let fits = blocks.iter().take_while(|block| {
        raw += block.header.raw_len as usize;
        stored += block.header.stored_len as usize;
        raw <= RAW_BYTES_MAX && stored <= RUNS_BYTES
    });
    fits.count().max(1)
}

/// What the packed form holds; `None` when it is not whole.
pub(super) fn digest_of(part: &Path) -> io::Result<Option<Digest>> {
    let Ok(mut reader) = SegmentReader::open(part) else { return Ok(None) };
    let (mut digest, mut payload) = (Digest::default(), Vec::new());
    while let Some(entry) = reader.next_entry()? {
        let Entry::Block(block) = entry else { return Ok(None) };
        if reader.read_block(&block, &mut payload).is_err() {
            return Ok(None);
        }
        let Ok(contents) = block::contents(&payload, &block.header) else { return Ok(None) };
        digest.add(&block.header, &contents);
    }
    Ok(reader.is_sealed().then_some(digest))
}

/// The anchors without those that the ones around them make superfluous.
fn thin(mut anchors: Vec<Anchor>) -> Vec<Anchor> {
    anchors.sort_by_key(|anchor| anchor.ticks);
    anchors.dedup_by_key(|anchor| anchor.ticks);
    let mut kept: Vec<Anchor> = Vec::new();
    // From the last that was kept, as far as a straight line passes all between.
    let mut between = 0..0;
    for (at, anchor) in anchors.iter().enumerate() {
        let Some(from) = kept.last() else {
            kept.push(*anchor);
            between = at + 1..at + 1;
            continue;
        };
        let is_straight = between.len() < 256
            && anchors[between.clone()].iter().all(|middle| lies_between(from, middle, anchor));
        if !is_straight {
            kept.push(anchors[at - 1]);
            between.start = at;
        }
        between.end = at + 1;
    }
    if let Some(last) = anchors.last().filter(|last| kept.last() != Some(last)) {
        kept.push(*last);
    }
    kept
}

/// True when a line from one anchor to another tells what the one between them tells.
fn lies_between(from: &Anchor, middle: &Anchor, to: &Anchor) -> bool {
    let span = i128::from(to.ticks - from.ticks);
    let at = i128::from(middle.ticks - from.ticks);
    let error = |from: i128, middle: i128, to: i128| {
        if span == 0 { 0 } else { (from + (to - from) * at / span - middle).abs() }
    };
    let wall = [from.wall_ns, middle.wall_ns, to.wall_ns].map(i128::from);
    let mono = [from.mono_ns, middle.mono_ns, to.mono_ns].map(i128::from);
    [wall, mono].iter().all(|[from, middle, to]| error(*from, *middle, *to) <= ANCHOR_ERROR_NS)
}

/// Segments of a directory that are to be packed, of those that the caller may touch. Adds to `stay`
/// what need not be looked at again.
pub(crate) fn due(
    dir: &Path,
    how: How,
    stay: &mut HashSet<PathBuf>,
    may: &dyn Fn(&Stored) -> bool,
) -> io::Result<Vec<PathBuf>> {
    let (mut due, stored) = (Vec::new(), retention::list(dir)?);
    let there: HashSet<&PathBuf> = stored.iter().map(|stored| &stored.path).collect();
    stay.retain(|path| there.contains(path));
    for stored in stored {
        if stored.name.spill || stay.contains(&stored.path) || !may(&stored) {
            continue;
        }
        match is_due(&stored.path, how) {
            Some(true) => due.push(stored.path),
            Some(false) => drop(stay.insert(stored.path)),
            None => {}
        }
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_on_a_line_go_and_a_step_of_the_clock_stays() {
        let anchor = |n: u64, step: i64| Anchor {
            ticks: n * 2_600_000_000,
            mono_ns: n * 1_000_000_000,
            wall_ns: n.cast_signed() * 1_000_000_000 + step,
        };
        let mut anchors: Vec<_> = (0..100).map(|n| anchor(n, 0)).collect();
        assert_eq!(thin(anchors.clone()), [anchors[0], anchors[99]]);
        anchors.extend((100..200).map(|n| anchor(n, 3_000_000)));
        let thinned = thin(anchors.clone());
        assert_eq!(thinned, [anchors[0], anchors[99], anchors[100], anchors[199]]);
        anchors.iter().filter(|one| !thinned.contains(one)).for_each(|one| {
            let behind = thinned.partition_point(|kept| kept.ticks < one.ticks);
            assert!(lies_between(&thinned[behind - 1], one, &thinned[behind]));
        });
        assert_eq!(thin(anchors[..1].to_vec()), anchors[..1]);
        assert!(thin(Vec::new()).is_empty());
    }

    #[test]
    fn parts_are_known_by_their_names() {
        let name = name::segment("orders", 0, 5, 1);
        assert_eq!(packer_of(&format!(".{name}.00000000000000ff.pack")), Some(255));
        for other in [&name, ".profile.00ff.pack", ".x.pack", ".pack", &format!("{name}.ff.pack")] {
            assert_eq!(packer_of(other), None, "{other}");
        }
    }
}
