//! Plan: the files of a log and the order in which the merge will need their blocks.
//!
//! A sealed segment is known by its index alone until its time comes; one that is not sealed is
//! walked by its block headers. Files are opened when they are read and few are kept open.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::block::BlockHeader;
use crate::store::segment::{
    BlockRef, Entry, FLAG_DUMP, FLAG_SPILL, FLAG_SPILLED, SegmentHeader, SegmentReader,
};
use crate::store::{self, name};

use super::error::Error;
use super::item::Logger;
use super::query::Query;
use super::source::Source;

/// How far the times in a block's header may be off, since its writer knew fewer anchors.
pub(super) const SLACK_NS: i64 = 1_000_000;
const OPEN_MAX: usize = 32;
/// A file that was written to so lately may belong to a writer whose owner file cannot be seen.
const FRESH: Duration = Duration::from_secs(5);

/// Something that has to be opened before the merge may pass a moment.
#[derive(Debug)]
pub(super) enum Unit {
    /// Walk the blocks of a file.
    File(usize),
    /// Decode a block of a file.
    Block(usize, BlockRef),
    /// Decode a run that was found in a lane or in staging.
    Run(usize, usize),
}

/// A unit with its place in the order of reading.
#[derive(Debug)]
pub(super) struct Planned {
    /// When it must be open, on the axis of reading: see [`Axis`].
    pub(super) due: i64,
    order: u64,
    pub(super) unit: Unit,
}

impl Ord for Planned {
    /// Reversed, since a heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

/// Time as it passes while reading: forward, or back from the newest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) reverse: bool,
}

impl Axis {
    /// A moment on the axis.
    pub(super) fn at(self, time_ns: i64) -> i64 {
        if self.reverse { time_ns.saturating_neg() } else { time_ns }
    }

    /// When something from `first_ns` to `last_ns` must be open.
    pub(super) fn due(self, first_ns: i64, last_ns: i64) -> i64 {
        let near = if self.reverse { last_ns.saturating_neg() } else { first_ns };
        near.saturating_sub(SLACK_NS)
    }

    /// The unit at its place; `number` counts the units of a logger as they were written.
    pub(super) fn plan(self, due: i64, number: u64, unit: Unit) -> Planned {
        Planned { due, order: if self.reverse { u64::MAX - number } else { number }, unit }
    }

    /// Makes the dues of things in the order in which they were written such that none is due
    /// before what holds earlier positions of the same lanes, whatever the wall clock did.
    pub(super) fn settle(self, dues: &mut [i64]) {
        let mut least = i64::MAX;
        let hold = |due: &mut i64| {
            least = least.min(*due);
            *due = least;
        };
        if self.reverse {
            dues.iter_mut().for_each(hold)
        } else {
            dues.iter_mut().rev().for_each(hold)
        }
    }
}

/// Files whose heads and indices are fetched at a time.
const FILES_PREFETCHED: usize = 64;

/// A segment or spill file.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) path: PathBuf,
    pub(super) logger: Arc<Logger>,
    pub(super) number: u64,
    /// The header's.
    pub(super) flags: u32,
    /// Device and inode of the file that was looked at.
    pub(super) identity: (u64, u64),
    pub(super) sealed: bool,
    /// True when it comes from the listing of a directory, and so may go by itself.
    pub(super) listed: bool,
    pub(super) bytes: u64,
    /// The blocks, when they are known already.
    pub(super) blocks: Option<Walk>,
    /// UTC of the oldest and newest event, from the index or the blocks.
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    /// Where a follower goes on.
    pub(super) at: u64,
    /// What a follower passed over when it began: of events before this time what there was.
    passed_ns: i64,
    /// True when it was there then, under another name or not packed.
    is_again: bool,
    seen: HashSet<u64>,
}

impl FilePlan {
    /// True for what was spilled, or dumped: in no order with segments of other numbers.
    pub(super) const fn is_apart(&self) -> bool {
        self.flags & (FLAG_SPILL | FLAG_DUMP) != 0
    }

    /// From when on events of this file are wanted.
    pub(super) fn since_ns(&self, query: &Query) -> i64 {
        if self.is_again { query.since_ns.max(self.passed_ns) } else { query.since_ns }
    }
}

/// What a walk through a file's headers found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) blocks: Vec<BlockRef>,
    pub(super) damages: Vec<store::Damage>,
}

/// How reading a block ended.
#[derive(Debug)]
pub(super) enum Read {
    Whole,
    Damaged(store::Damage),
    /// Its writer lives and has not finished it.
    Unfinished,
}

pub(super) fn is_spill(path: &Path) -> bool {
    store::spill::segment_name(path).is_some()
}

/// The logger that a file's name tells.
fn logger_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    store::name::parse(name).map(|name| name.logger)
}

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) files: Vec<FilePlan>,
    /// Loggers whose processes live.
    pub(super) alive: HashSet<u64>,
    /// Loggers whose staging was read, which holds what their last write may have torn.
    pub(super) staged: HashSet<u64>,
    /// Loggers that made spill files, which may have taken any number, and hold what lies between the
    /// runs of any other.
    pub(super) spilled: HashSet<u64>,
    pub(super) known: HashSet<PathBuf>,
    /// What a follower that begins passes over; afterwards `follows` is true.
    pub(super) passed_ns: i64,
    pub(super) follows: bool,
    /// Loggers of which a listed file had gone when it was to be opened.
    pub(super) gone: HashSet<u64>,
    loggers: HashMap<u64, Arc<Logger>>,
    open: VecDeque<(usize, SegmentReader)>,
}

impl Files {
    /// Takes in the files of a source that are not known yet. A spill file that becomes a segment
    /// after it was listed is found under its new name by the next listing.
    pub(super) fn take_in(&mut self, source: &Source) -> (Vec<usize>, Vec<Error>) {
        let (mut fresh, mut failed) = (Vec::new(), Vec::new());
        loop {
            let (paths, errors) = source.list();
            failed.extend(errors);
            for paths in paths.chunks(FILES_PREFETCHED) {
                self.prefetch(paths);
                for (path, listed) in paths {
                    match self.add(path, *listed) {
                        Ok(index) => fresh.extend(index),
                        Err(error) => failed.push(error),
                    }
                }
            }
            if !paths.iter().any(|(path, listed)| *listed && is_spill(path) && !path.exists()) {
                return (fresh, failed);
            }
        }
    }

    /// Has the system fetch what [`Files::add`] will read of these files, where it is more than one.
    pub(super) fn prefetch(&self, paths: &[(PathBuf, bool)]) {
        let unknown = || paths.iter().filter(|(path, _)| !self.known.contains(path));
        if unknown().nth(1).is_some() {
            unknown().for_each(|(path, _)| SegmentReader::prefetch(path));
        }
    }

    /// Takes a file in: opens it, and walks it when it has no index. A file that is in already is
    /// passed over, and so is one of a listing that has gone.
    pub(super) fn add(&mut self, path: &Path, listed: bool) -> Result<Option<usize>, Error> {
        if self.known.contains(path) {
            return Ok(None);
        }
        let reader = match SegmentReader::open(path) {
            Ok(reader) => reader,
            Err(store::Error::Io(error)) if listed && error.kind() == io::ErrorKind::NotFound => {
                // A spill file has become a segment.
                self.gone.extend(logger_of(path).filter(|_| !is_spill(path)));
                return Ok(None);
            }
            // Its writer has made the file and not yet written its header, or died before it could:
            // what was logged by then is in its lanes and staging.
            Err(store::Error::Empty) if listed && (is_fresh(path) || self.has_lanes(path)) => {
                return Ok(None);
            }
            Err(error) => {
                self.known.insert(path.to_owned());
                return Err(Error::new(path, error));
            }
        };
        self.known.insert(path.to_owned());
        let logger = self.logger(reader.header());
        if reader.header().flags & (FLAG_SPILL | FLAG_SPILLED) != 0 {
            self.spilled.insert(logger.id);
        }
        let times = reader.index().map(|entries| {
            let first = entries.iter().map(|entry| entry.first_wall_ns).min();
            let last = entries.iter().map(|entry| entry.last_wall_ns).max();
            // A sealed segment without blocks is due at once, to be checked.
            (first.unwrap_or(i64::MIN), last.unwrap_or(i64::MAX))
        });
        let number = reader.header().number;
        let same = |file: &&FilePlan| file.logger.id == logger.id && file.number == number;
        let again = self.follows.then(|| self.files.iter().rfind(same)).flatten();
        let plan = FilePlan {
            path: path.to_owned(),
            passed_ns: again.map_or(self.passed_ns, |file| file.passed_ns),
            is_again: again.is_some(),
            logger,
            number,
            flags: reader.header().flags,
            identity: reader.identity(),
            sealed: reader.is_sealed(),
            listed,
            bytes: std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            blocks: None,
            first_ns: times.map_or(i64::MAX, |times| times.0),
            last_ns: times.map_or(i64::MIN, |times| times.1),
            at: 0,
            seen: HashSet::new(),
        };
        let index = self.files.len();
        self.files.push(plan);
        self.keep_open(index, reader);
        if times.is_none() {
            let walk = self.walk(index)?;
            let file = &mut self.files[index];
            for block in &walk.blocks {
                file.first_ns = file.first_ns.min(block.header.first_wall_ns);
                file.last_ns = file.last_ns.max(block.header.last_wall_ns);
            }
            if walk.blocks.is_empty() {
                // Damage alone has no time: it is told at once.
                (file.first_ns, file.last_ns) = (i64::MIN, i64::MAX);
            }
            file.blocks = Some(walk);
        }
        Ok(Some(index))
    }

    /// True when the logger that this file's name tells lives, or its staging was read.
    fn has_lanes(&self, path: &Path) -> bool {
        logger_of(path)
            .is_some_and(|logger| self.alive.contains(&logger) || self.staged.contains(&logger))
    }

    /// The blocks of a file that were not walked before, and its damage.
    pub(super) fn walk(&mut self, index: usize) -> Result<Walk, Error> {
        let mut tries_left = 5;
        loop {
            let (walk, again) = self.walk_once(index)?;
            let file = &mut self.files[index];
            let in_flight = !file.sealed && again.is_some();
            let lives = self.alive.contains(&file.logger.id);
            if !in_flight || lives || tries_left == 0 || !is_fresh(&file.path) {
                if !(in_flight && lives) {
                    file.seen.clear();
                }
                return Ok(walk);
            }
            // Its writer cannot be seen, and bytes may be on their way: look once more.
            tries_left -= 1;
            file.at = 0;
            file.seen.clear();
            self.open.retain(|(open, _)| *open != index);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn walk_once(&mut self, index: usize) -> Result<(Walk, Option<u64>), Error> {
        let logger = self.files[index].logger.id;
        let lives = self.alive.contains(&logger) || self.staged.contains(&logger);
        let mut reader = self.take_reader(index)?;
        let file = &mut self.files[index];
        if file.at > 0 {
            reader.seek(file.at);
        }
        let mut walk = Walk::default();
        let mut again = None;
        let mut end = file.at;
        loop {
            let entry =
                reader.next_entry().map_err(|error| Error::new(&file.path, error.into()))?;
            match entry {
                None => break,
                Some(Entry::Block(block)) => {
                    if file.seen.insert(block.offset) {
                        walk.blocks.push(block);
                    }
                }
                Some(Entry::Unfinished { offset, .. }) => again = again.or(Some(offset)),
                Some(Entry::Damage(damage)) => {
                    if damage.tail {
                        again = again.or(Some(damage.offset));
                    }
                    if !(damage.tail && lives) {
                        walk.damages.push(damage);
                    }
                }
            }
            end = reader.position();
        }
        file.sealed = reader.is_sealed();
        file.at = again.unwrap_or(end);
        let from = file.at;
        file.seen.retain(|offset| *offset >= from);
        self.keep_open(index, reader);
        Ok((walk, again))
    }

    /// Reads a block; tries again while its writer may still be at it.
    pub(super) fn read(
        &mut self,
        index: usize,
        block: &BlockRef,
        payload: &mut Vec<u8>,
    ) -> Result<Read, Error> {
        let mut tries_left = 5;
        loop {
            let reader = self.take_reader(index)?;
            let result = reader.read_block(block, payload);
            self.keep_open(index, reader);
            let file = &mut self.files[index];
            let Err(damage) = result else { return Ok(Read::Whole) };
            let lives = self.alive.contains(&file.logger.id);
            if damage.tail && !file.sealed && !lives && self.staged.contains(&file.logger.id) {
                // Its writer died at it. What staging should hold and does not shows as a gap.
                return Ok(Read::Unfinished);
            }
            let on_its_way = damage.tail && !file.sealed && (lives || is_fresh(&file.path));
            if on_its_way && lives && tries_left == 0 {
                // A follower comes back to it.
                file.at = file.at.min(block.offset);
                file.seen.remove(&block.offset);
                return Ok(Read::Unfinished);
            }
            if !on_its_way || tries_left == 0 {
                return Ok(Read::Damaged(damage));
            }
            tries_left -= 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// True when a query can find something in a block with this header.
    pub(super) fn is_wanted(query: &Query, since_ns: i64, header: &BlockHeader) -> bool {
        let in_time = header.last_wall_ns.saturating_add(SLACK_NS) >= since_ns
            && header.first_wall_ns.saturating_sub(SLACK_NS) < query.until_ns;
        query.check || in_time && (query.levels & header.levels != 0 || header.lost > 0)
    }

    fn logger(&mut self, header: &SegmentHeader) -> Arc<Logger> {
        let logger = Logger {
            id: header.logger,
            boot: header.boot,
            clock: header.clock,
            pid: header.pid,
            app: header.app.clone(),
            host: header.host.clone(),
        };
        let known =
            self.loggers.entry(header.logger).or_insert_with(|| Arc::new(Logger::default()));
        if **known != logger {
            *known = Arc::new(logger);
        }
        Arc::clone(known)
    }

    fn take_reader(&mut self, index: usize) -> Result<SegmentReader, Error> {
        if let Some(at) = self.open.iter().position(|(file, _)| *file == index) {
            return Ok(self.open.remove(at).expect("its place was just found").1);
        }
        let file = &self.files[index];
        let reader = SegmentReader::open(&file.path);
        let reader = reader.map_err(|error| Error::new(&file.path, error))?;
        if reader.identity() == file.identity {
            return Ok(reader);
        }
        // It was packed meanwhile: what was planned is gone, and the file is a new one.
        self.known.remove(&file.path);
        let error = match file.listed {
            true => io::ErrorKind::NotFound.into(),
            false => io::Error::other("was replaced while it was read; read it again"),
        };
        Err(Error::new(&file.path, error.into()))
    }

    /// The plan of the file that has taken the name of this one, if one has. Others are not looked
    /// for: a new file beside one that has grown since it was walked would show a gap.
    pub(super) fn replaced(&mut self, index: usize) -> Option<usize> {
        let (path, listed) = (self.files[index].path.clone(), self.files[index].listed);
        let is_new = !self.known.contains(&path);
        is_new.then(|| self.add(&path, listed).ok().flatten()).flatten()
    }

    fn keep_open(&mut self, index: usize, reader: SegmentReader) {
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((index, reader));
    }
}

/// The segments and spill files in a directory.
///
/// # Errors
///
/// When it cannot be listed.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let suffixes = [name::SEGMENT_SUFFIX, name::SPILL_SUFFIX];
        let is_ours = |file: &str| suffixes.iter().any(|suffix| file.ends_with(suffix));
        if path.file_name().is_some_and(|file| is_ours(&file.to_string_lossy())) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < FRESH))
}
