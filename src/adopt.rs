//! Adopt: takes up what dead loggers left (rules S9 and S10).
//!
//! At a start, in the background, on a thread of low priority. With the dead logger's lock held:
//! sync and trim its segments, write what they lack from staging and lanes into a segment of the
//! dead logger's id, make that durable, then remove lanes and owner file. A crash in between adopts
//! again; nothing is doubled, since every reader and adopter keeps each byte range once (S2).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::emit::clock;
use crate::io::{Disk, FileDisk};
use crate::lane::outside::{self, Snapshot};
use crate::lane::owner::{self, Owner, Taken};
use crate::lane::place;
use crate::notice;
use crate::record::{Definitions, HEAD_BYTES, Head, RawRun, RunHead};
use crate::store::segment::{Entry, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentReader};
use crate::store::{Builder as SegmentBuilder, Reason, block, name};

/// An owner file whose lanes cannot be seen from here goes after this long (S10).
const UNSEEN_NS_MAX: i64 = 7 * 86_400 * 1_000_000_000;

/// Adopts what there is in a log directory, without anybody waiting for it.
pub(crate) fn in_background(dir: PathBuf, own: u64) {
    let work = move || {
        crate::lane::handle::mark_internal();
        crate::lane::process::block_signals();
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
        adopt_all(&dir, own);
        remove_orphans();
    };
    // Without the thread the next start tries again.
    let _ = std::thread::Builder::new().name("ttlog-adopt".into()).spawn(work);
}

/// Adopts every dead logger of a directory.
fn adopt_all(dir: &Path, own: u64) {
    owner::clear_leftovers(dir);
    let Ok((found, _)) = outside::owners(dir) else { return };
    for found in found {
        if found.owner.logger == own {
            continue;
        }
        // A reader that looks whether the lock is held has it for a moment: try again.
        let lock = (0..3).find_map(|nth| {
            if nth > 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            match owner::try_take(&found.path) {
                Ok(Taken::Free(lock)) => Some(lock),
                Ok(Taken::Held) | Err(_) => None,
            }
        });
        let Some(_lock) = lock else { continue };
        if let Err(error) = adopt(&FileDisk, dir, &found.owner, &found.path) {
            notice::say(&format!(
                "what {} left could not be taken up: {error}; the next start tries again",
                found.path.display()
            ));
        }
    }
}

/// Adopts one dead logger whose lock the caller holds.
fn adopt(disk: &dyn Disk, dir: &Path, owner: &Owner, owner_path: &Path) -> io::Result<()> {
    clear_leftovers(disk, dir, owner.logger)?;
    let mut segments = own_segments(dir, owner.logger)?;
    for segment in &mut segments {
        segment.mend(disk)?;
    }
    let Some(snapshot) = what_is_left(owner)? else { return Ok(()) };
    for note in &snapshot.notes {
        notice::say(&format!("{note}: what it held is gone"));
    }
    if !snapshot.runs.is_empty() {
        let covered = Covered::of(&segments)?;
        let missing = covered.missing(snapshot.runs.clone());
        if !missing.is_empty() {
            let number = segments.iter().map(|segment| segment.header.number).max().unwrap_or(0);
            write(disk, dir, owner, number + 1, missing, &snapshot)?;
        }
    }
    for segment in &segments {
        segment.cut_torn(disk, owner)?;
    }
    if let Some(hint) = &owner.lanes
        && let Ok(path) = place::open_hinted(hint)
        && holds(&path, owner.logger)
    {
        place::remove(&path);
    }
    disk.unlink(owner_path)
}

/// What lies in the dead logger's place; `None` when that cannot be seen from here, and may be
/// seen from elsewhere (S10).
fn what_is_left(owner: &Owner) -> io::Result<Option<Snapshot>> {
    if let Some(why) = outside::unseen(owner) {
        // Pages may be older than their header: never decoded.
        if owner.lanes.is_some() {
            notice::say(&format!("{} ({:016x}): {why}", owner.app, owner.logger));
        }
        return Ok(Some(Snapshot::default()));
    }
    match outside::snapshot(owner) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = clock::wall_ns().saturating_sub(owner.start_ns);
            let is_elsewhere = owner.mount != mount_namespace() && age < UNSEEN_NS_MAX;
            Ok((!is_elsewhere).then(Snapshot::default))
        }
        Err(error) => Err(error),
    }
}

/// True when the place says itself that it is this logger's.
fn holds(path: &Path, logger: u64) -> bool {
    let own = Owner::read(&path.join(place::OWNER_NAME));
    matches!(own, Ok(Some(own)) if own.logger == logger)
}

/// A segment of the dead logger.
struct Segment {
    path: PathBuf,
    header: SegmentHeader,
    /// Where the last block lies when it is not whole.
    torn: Option<u64>,
}

fn own_segments(dir: &Path, logger: u64) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let parsed = path.file_name().and_then(|name| name.to_str()).and_then(name::parse);
        if parsed.is_none_or(|parsed| parsed.logger != logger) {
            continue;
        }
        // One whose header is not whole holds nothing that is not in staging.
        if let Ok(reader) = SegmentReader::open(&path)
            && reader.header().logger == logger
        {
            segments.push(Segment { header: reader.header().clone(), path, torn: None });
        }
    }
    Ok(segments)
}

/// Removes what its scribe or an earlier adopter left unfinished (S12): segments that are not
/// renamed yet, and those whose header was never written.
fn clear_leftovers(disk: &dyn Disk, dir: &Path, logger: u64) -> io::Result<()> {
    let is_of_logger = |name: &str| name::parse(name).is_some_and(|name| name.logger == logger);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let temporary = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
        let is_temporary =
            temporary.is_some_and(|(name, pid)| is_of_logger(name) && pid.parse::<u32>().is_ok());
        if is_temporary || is_of_logger(name) && has_no_header(&path).unwrap_or(false) {
            disk.unlink(&path)?;
        }
    }
    Ok(())
}

/// True when nothing but zeros stands where a segment's header belongs.
fn has_no_header(path: &Path) -> io::Result<bool> {
    use std::io::Read as _;
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut header = Vec::new();
    std::fs::File::open(path)?.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok(header.iter().all(|&byte| byte == 0))
}

impl Segment {
    /// Cuts the zeros behind the last block and makes the rest durable.
    fn mend(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.open(&self.path)?;
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
            self.torn = last.filter(|(_, block)| !block.is_some_and(is_whole)).map(|(at, _)| at);
            if end < file.len()? {
                file.truncate(end)?;
            }
        }
        file.sync()
    }

    /// Cuts a last block that its writer died at, if the whole of it lies in staging: what it holds
    /// is durable elsewhere by now. A block that is torn for another reason stays, as damage.
    fn cut_torn(&self, disk: &dyn Disk, owner: &Owner) -> io::Result<()> {
        let Some(offset) = self.torn else { return Ok(()) };
        let salt = self.header.salt();
        let is_it = |bytes: &Vec<u8>| {
            let header = bytes.first_chunk().and_then(|b| block::parse_header(b, salt, offset));
            header.is_some_and(|header| {
                let stored = bytes[block::HEADER_BYTES..].get(..header.stored_len as usize);
                stored.is_some_and(|stored| block::check_payload(stored, salt, offset, &header))
            })
        };
        if outside::staged_blocks(owner).unwrap_or_default().iter().any(is_it) {
            let file = disk.open(&self.path)?;
            file.truncate(offset)?;
            file.sync()?;
        }
        Ok(())
    }

    fn open(&self) -> io::Result<SegmentReader> {
        SegmentReader::open(&self.path)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))
    }
}

/// Byte ranges that segments hold, by (lane, generation).
#[derive(Debug, Default)]
struct Covered {
    /// Start to end; ranges do not touch.
    ranges: HashMap<(u32, u32), BTreeMap<u64, u64>>,
    losses: HashMap<(u32, u32), crate::record::Losses>,
}

impl Covered {
    fn of(segments: &[Segment]) -> io::Result<Self> {
        let mut covered = Self::default();
        let mut payload = Vec::new();
        for segment in segments {
            let mut reader = segment.open()?;
            while let Some(entry) = reader.next_entry()? {
                let Entry::Block(found) = entry else { continue };
                if found.header.kind != block::KIND_EVENTS
                    || reader.read_block(&found, &mut payload).is_err()
                {
                    continue;
                }
                let Some(sections) = block::sections(&payload, &found.header) else { continue };
                let mut runs = sections.runs;
                while let Some((head, _, head_len, body_len)) = RunHead::decode(runs) {
                    covered.add(&head);
                    let Some(rest) = runs.get(head_len + body_len..) else { break };
                    runs = rest;
                }
            }
        }
        Ok(covered)
    }

    fn add(&mut self, head: &RunHead) {
        let key = (head.lane, head.generation);
        let told = self.losses.entry(key).or_default();
        if head.losses.total() > told.total() {
            *told = head.losses;
        }
        let ranges = self.ranges.entry(key).or_default();
        let (mut start, mut end) = (head.position, head.end);
        while let Some((&from, &to)) = ranges.range(..=end).next_back() {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            ranges.remove(&from);
        }
        if start < end {
            ranges.insert(start, end);
        }
    }

    /// The parts of these runs that are not covered, each byte range once.
    fn missing(mut self, mut runs: Vec<RawRun>) -> Vec<RawRun> {
        runs.sort_by_key(|run| (run.head.generation, run.head.lane, run.head.position));
        let mut missing = Vec::new();
        for run in runs {
            for part in self.cut(&run) {
                self.add(&part.head);
                missing.push(part);
            }
        }
        missing
    }

    fn cut(&self, run: &RawRun) -> Vec<RawRun> {
        let key = (run.head.lane, run.head.generation);
        let ranges = self.ranges.get(&key);
        let is_covered = |position: u64, end: u64| {
            ranges
                .and_then(|ranges| ranges.range(..=position).next_back())
                .is_some_and(|(_, &to)| to >= end)
        };
        let told = self.losses.get(&key).copied().unwrap_or_default();
        let tells_losses = run.head.losses.total() > told.total();
        let mut parts: Vec<RawRun> = Vec::new();
        let (mut position, mut number, mut rest) =
            (run.head.position, run.head.first_record, &run.bytes[..]);
        let mut open = false;
        while let Some(head) = Head::read(rest).filter(|head| head.len() >= HEAD_BYTES) {
            let len = head.len();
            let end = position + len as u64;
            if is_covered(position, end) {
                open = false;
            } else {
                if !open {
                    let head = RunHead {
                        position,
                        end: position,
                        first_record: number,
                        count: 0,
                        ..run.head.clone()
                    };
                    parts.push(RawRun { head, bytes: Vec::new() });
                    open = true;
                }
                let part = parts.last_mut().expect("pushed above");
                part.head.end = end;
                part.head.count += 1;
                part.bytes.extend_from_slice(&rest[..len]);
            }
            (position, number, rest) = (end, number + 1, &rest[len..]);
        }
        if open && let Some(part) = parts.last_mut() {
            part.head.end = run.head.end;
        }
        if parts.is_empty() && tells_losses {
            let head = RunHead { position: run.head.end, count: 0, ..run.head.clone() };
            parts.push(RawRun { head, bytes: Vec::new() });
        }
        parts
    }
}

/// Writes runs into a new segment of the dead logger: data, then name, then the directory.
fn write(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    number: u64,
    runs: Vec<RawRun>,
    snapshot: &Snapshot,
) -> io::Result<()> {
    let header = SegmentHeader {
        logger: owner.logger,
        number,
        boot: owner.boot,
        clock: owner.clock,
        app: owner.app.clone(),
        version: owner.version.clone(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: owner.pid,
        uid: rustix::process::getuid().as_raw(),
        created_ns: clock::wall_ns(),
        ..SegmentHeader::default()
    };
    let name = name::segment(&header.app, header.created_ns, owner.logger, number);
    let mut segment = SegmentBuilder::new(header);
    for definition in used(&snapshot.definitions, &runs) {
        segment.add_definition(definition);
    }
    for anchor in &snapshot.anchors {
        segment.add_anchor(*anchor);
    }
    // An adopter of the same boot adds its own, which brackets the newest records.
    segment.add_anchor(clock::anchor());
    for run in &runs {
        segment.push_run(run).map_err(|malformed| io::Error::other(malformed.to_string()))?;
    }
    let bytes = segment.finish().map_err(|malformed| io::Error::other(malformed.to_string()))?;
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let _ = disk.unlink(&temporary);
    let written = disk.create(&temporary).and_then(|file| {
        file.write_at(&bytes, 0).map_err(|(_, error)| error)?;
        file.sync()?;
        disk.rename(&temporary, &dir.join(&name))
    });
    if written.is_err() {
        let _ = disk.unlink(&temporary);
    }
    written?;
    disk.sync_dir(dir)
}

/// The definitions that these runs refer to.
fn used(definitions: &Definitions, runs: &[RawRun]) -> Vec<crate::record::Definition> {
    let mut ids = std::collections::BTreeSet::new();
    for run in runs {
        let mut rest = &run.bytes[..];
        while let Some(head) = Head::read(rest) {
            ids.insert(head.callsite);
            rest = &rest[head.len()..];
        }
    }
    ids.iter().filter_map(|&id| definitions.get(id)).map(|d| (**d).clone()).collect()
}

/// Inode of this process's mount namespace: paths mean the same only within one.
pub(crate) fn mount_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/mnt").map_or(0, |meta| meta.ino())
}

/// Removes places in shared memory that no owner file names: their lock is free, and they have no
/// committed byte, or their log directory is gone in this very mount namespace (S10).
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir(place::SHARED_MEMORY) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let parsed = path.file_name().and_then(|name| name.to_str()).and_then(name::parse_place);
        let Some((uid, logger)) = parsed else { continue };
        if uid != rustix::process::getuid().as_raw() {
            continue;
        }
        let _ = remove_orphan(&path, logger);
    }
}

fn remove_orphan(path: &Path, logger: u64) -> io::Result<()> {
    let lock = path.join(place::OWNER_NAME);
    let taken = match owner::try_take(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return place::remove_unfinished(path);
        }
        taken => taken?,
    };
    let Taken::Free(_held) = taken else { return Ok(()) };
    let Some(own) = Owner::read(&lock)?.filter(|own| own.logger == logger) else { return Ok(()) };
    let named = own.log_dir.join(name::owner(logger));
    if own.mount != mount_namespace() || named.try_exists()? {
        return Ok(());
    }
    let stat = std::fs::symlink_metadata(path)?;
    let hint = owner::LanesHint { path: path.into(), device: stat.dev(), inode: stat.ino() };
    let has_bytes = || -> io::Result<bool> {
        let snapshot = outside::snapshot(&Owner { lanes: Some(hint), ..own.clone() })?;
        Ok(snapshot.runs.iter().any(|run| run.head.count > 0))
    };
    if !own.log_dir.try_exists()? || !has_bytes()? {
        place::remove(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(position: u64, n_records: u64) -> RawRun {
        let record = [Head::word(1, 1, 0, 0).to_le_bytes(), [0; 8], [7; 8]].concat();
        RawRun {
            head: RunHead {
                lane: 1,
                generation: 2,
                position,
                end: position + n_records * 24,
                first_record: position / 24,
                count: n_records as u32,
                ..RunHead::default()
            },
            bytes: record.repeat(n_records as usize),
        }
    }

    #[test]
    fn s2_a_partial_overlap_is_cut_at_records() {
        let mut covered = Covered::default();
        covered.add(&run(0, 2).head);
        covered.add(&run(96, 1).head);
        let missing = covered.missing(vec![run(24, 6), run(0, 3), run(24, 6)]);
        let found: Vec<_> =
            missing.iter().map(|r| (r.head.position, r.head.first_record, r.head.count)).collect();
        assert_eq!(found, [(48, 2, 1), (72, 3, 1), (120, 5, 2)]);
        assert!(missing.iter().all(|run| run.bytes.len() == run.head.count as usize * 24));
    }
}
