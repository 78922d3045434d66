//! Outside: reads the lanes and staging of any logger, living or dead, without mapping them (S5).
//!
//! Everything is copied with `pread` and believed only if identity, epoch and head, read again
//! afterwards, still cover it. Lanes are read before staging, and the caller reads segments after
//! both: what leaves one place meanwhile is found in the next. Nothing in these files is trusted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::memory::HEADER_BYTES;
use super::owner::{self, Owner};
use super::place::{self, anchors_word};
use super::ring::{LANE_MAGIC, LANE_VERSION, LOSS_WORDS, word};
use super::staging::{self, STAGING_MAGIC, STAGING_VERSION};
use crate::record::compact::Decoder;
use crate::record::{
    Anchor, Cause, Definitions, HEAD_BYTES, Head, LEVELS, Level, Losses, RECORD_PAD, RawRun,
    RunHead,
};

/// A lane is at most this long.
const LANE_BYTES_MAX: u64 = 64 << 20;
/// The table of definitions is read up to this length.
const CALLSITES_BYTES_MAX: u64 = 64 << 20;
/// How often a lane that changes hands while it is read is read again.
const TRIES: usize = 8;

/// A logger whose owner file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the file says.
    pub owner: Owner,
    /// The file.
    pub path: PathBuf,
    /// True while somebody holds its lock.
    pub alive: bool,
}

/// What lies in a logger's place.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Runs of lanes and staging, in no order; byte ranges may occur twice.
    pub runs: Vec<RawRun>,
    /// Definitions of the logger's callsites.
    pub definitions: Definitions,
    /// Moments on three clocks.
    pub anchors: Vec<Anchor>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// The owner files in a log directory; those that cannot be read are told as notes.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn owners(log_dir: &Path) -> io::Result<(Vec<Found>, Vec<String>)> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(log_dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let Some(logger) = crate::store::name::parse_owner(name) else { continue };
        let read = Owner::read(&path).and_then(|owner| Ok((owner, owner::is_held(&path)?)));
        match read {
            Ok((Some(owner), alive)) if owner.logger == logger => {
                found.push(Found { owner, path, alive });
            }
            Ok(_) => notes.push(format!("{}: not an owner file of ttlog", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => notes.push(format!("{}: {error}", path.display())),
        }
    }
    Ok((found, notes))
}

/// Why a logger's lanes are not to be looked at, if so (S10).
#[must_use]
pub fn unseen(owner: &Owner) -> Option<&'static str> {
    if owner.boot != owner::boot_id() {
        return Some("its lanes are of another boot: what was not written then is gone");
    }
    None
}

/// Reads everything in the place of a logger.
///
/// # Errors
///
/// When the place is not there, or not what the owner file says.
pub fn snapshot(owner: &Owner) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let Some(hint) = &owner.lanes else { return Ok(snapshot) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let mut lanes = Vec::new();
    let mut stagings = Vec::new();
    for entry in std::fs::read_dir(&path)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if name.starts_with("lane-") {
            lanes.push(name);
        } else if name.starts_with("staging-") {
            stagings.push(name);
        }
    }
    for name in &lanes {
        match place.lane(name) {
            Ok(runs) => snapshot.runs.extend(runs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => snapshot.notes.push(format!("{}: {error}", path.join(name).display())),
        }
    }
    // A buffer that was made after the list was read holds nothing that was not in a lane before.
    let copies: Vec<_> = stagings.iter().map(|name| (name, place.staging(name))).collect();
    // Definitions are read behind lanes and staging, so that every id in them is known.
    snapshot.definitions = place.definitions()?;
    for (name, copy) in copies {
        match copy.and_then(|bytes| decode(&bytes, &snapshot.definitions)) {
            Ok(runs) => snapshot.runs.extend(runs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => snapshot.notes.push(format!("{}: {error}", path.join(name).display())),
        }
    }
    snapshot.anchors = place.anchors()?;
    Ok(snapshot)
}

/// The staging buffers of a logger, each as a block that was sealed in it would lie there.
pub(crate) fn staged_blocks(owner: &Owner) -> io::Result<Vec<Vec<u8>>> {
    let Some(hint) = &owner.lanes else { return Ok(Vec::new()) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let mut blocks = Vec::new();
    for entry in std::fs::read_dir(&path)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if name.starts_with("staging-") {
            let mut block = vec![0; staging::BUFFER_BYTES];
            if place.open(&name)?.read_exact_at(&mut block, HEADER_BYTES as u64).is_ok() {
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

fn decode(bytes: &[u8], definitions: &Definitions) -> io::Result<Vec<RawRun>> {
    let runs = Decoder::new(bytes, definitions);
    runs.collect::<Result<_, _>>().map_err(|_| lie("a staging buffer whose runs cannot be decoded"))
}

struct Place<'a> {
    path: &'a Path,
    logger: u64,
}

/// A header page, copied.
struct Words(Box<[u8; HEADER_BYTES]>);

impl Words {
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = Box::new([0; HEADER_BYTES]);
        file.read_exact_at(&mut bytes[..], 0)?;
        Ok(Self(bytes))
    }

    fn get(&self, index: usize) -> u64 {
        let bytes = self.0[index * 8..].first_chunk().expect("the index is within the page");
        u64::from_le_bytes(*bytes)
    }
}

fn lie(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Place<'_> {
    fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(self.path.join(name), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(lie("not a regular file"));
        }
        Ok(file)
    }

    fn lane(&self, name: &str) -> io::Result<Vec<RawRun>> {
        let file = self.open(name)?;
        if file.metadata()?.len() == 0 {
            return Ok(Vec::new()); // its maker has not reserved it, and perhaps never will
        }
        for _ in 0..TRIES {
            let before = LaneHeader::read(&file, self.logger)?;
            let Some(before) = before else { return Ok(Vec::new()) };
            let bytes = before.copy(&file)?;
            let Some(after) = LaneHeader::read(&file, self.logger)? else { continue };
            // Bytes before the head as it is now may have been overwritten while they were copied.
            if after.generation == before.generation && after.head <= before.tail {
                return before.runs(&bytes, &after);
            }
        }
        // It changes hands faster than it is read: it is not the lane's content that is in danger.
        Ok(Vec::new())
    }

    /// The committed runs of a staging buffer, as they lie there.
    fn staging(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.open(name)?;
        if file.metadata()?.len() == 0 {
            return Ok(Vec::new()); // as for a lane
        }
        let words = Words::read(&file)?;
        if words.0.iter().all(|&byte| byte == 0) {
            return Ok(Vec::new()); // reserved, and not begun
        }
        if words.get(staging::word::MAGIC) != STAGING_MAGIC
            || words.get(staging::word::VERSION) != STAGING_VERSION
            || words.get(staging::word::LOGGER) != self.logger
        {
            return Err(lie("not a staging buffer of this logger"));
        }
        let committed = words.get(staging::word::COMMITTED) as usize;
        if committed > staging::BUFFER_BYTES - staging::BLOCK_HEADER_BYTES {
            return Err(lie("a staging buffer that says it is longer than it can be"));
        }
        let mut bytes = vec![0; committed];
        file.read_exact_at(&mut bytes, (HEADER_BYTES + staging::BLOCK_HEADER_BYTES) as u64)?;
        let again = Words::read(&file)?;
        if again.get(staging::word::EPOCH) != words.get(staging::word::EPOCH) {
            // Reused meanwhile, so that its block is Written: the caller finds it in a segment.
            return Ok(Vec::new());
        }
        Ok(bytes)
    }

    fn definitions(&self) -> io::Result<Definitions> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        self.open("callsites")?.take(CALLSITES_BYTES_MAX).read_to_end(&mut bytes)?;
        let mut definitions = Definitions::default();
        definitions.decode_all(&bytes);
        Ok(definitions)
    }

    fn anchors(&self) -> io::Result<Vec<Anchor>> {
        let file = self.open("anchors")?;
        for _ in 0..TRIES {
            let words = Words::read(&file)?;
            let sequence = words.get(anchors_word::SEQUENCE);
            let again = Words::read(&file)?.get(anchors_word::SEQUENCE);
            // A dead logger may have left an odd number: what is torn then is one anchor.
            if sequence == again {
                let max = (HEADER_BYTES / 8 - anchors_word::FIRST) / 3;
                let count = (words.get(anchors_word::COUNT) as usize).min(max);
                let anchor = |nth: usize| {
                    let at = anchors_word::FIRST + nth * 3;
                    let wall_ns = words.get(at + 2).cast_signed();
                    Anchor { ticks: words.get(at), mono_ns: words.get(at + 1), wall_ns }
                };
                return Ok((0..count).map(anchor).collect());
            }
        }
        Ok(Vec::new())
    }
}

/// What a lane's header says, checked.
struct LaneHeader {
    lane: u32,
    generation: u32,
    capacity: u64,
    head: u64,
    tail: u64,
    n_taken: u64,
    tid: u32,
    thread: String,
    losses: Losses,
}

impl LaneHeader {
    /// `Ok(None)`: nobody has this lane at the moment.
    fn read(file: &File, logger: u64) -> io::Result<Option<Self>> {
        let words = Words::read(file)?;
        let generation = words.get(word::GENERATION);
        if generation == 0 {
            return Ok(None);
        }
        if words.get(word::MAGIC) != LANE_MAGIC
            || words.get(word::VERSION) & u64::from(u32::MAX) != LANE_VERSION
            || words.get(word::VERSION) >> 32 != HEADER_BYTES as u64
            || words.get(word::LOGGER) != logger
        {
            return Err(lie("not a lane of this logger"));
        }
        let capacity = words.get(word::CAPACITY);
        let sane = capacity.is_power_of_two() && (4096..=LANE_BYTES_MAX).contains(&capacity);
        if !sane || file.metadata()?.len() < HEADER_BYTES as u64 + capacity {
            return Err(lie("a lane whose length is not what it says"));
        }
        let (head, tail) = (words.get(word::HEAD), words.get(word::TAIL));
        if head > tail || tail - head > capacity || head % 8 != 0 || tail % 8 != 0 {
            return Err(lie("a lane whose head and tail contradict each other"));
        }
        // S4: the slot whose head is the head. A slot is written before the head is.
        let slot = word::SLOTS.into_iter().find(|&slot| words.get(slot) == head);
        let n_taken = slot.map_or(0, |slot| words.get(slot + 1));
        let name_len = (words.get(word::NAME_LEN) as usize).min(64);
        let name = &words.0[word::NAME * 8..][..name_len];
        let mut losses = Losses::NONE;
        for at in 0..LOSS_WORDS {
            let count = words.get(word::LOSSES + at);
            losses.set(Cause::ALL[at / LEVELS], Level::ALL[at % LEVELS], count);
        }
        Ok(Some(Self {
            lane: words.get(word::LANE) as u32,
            generation: generation as u32,
            capacity,
            head,
            tail,
            n_taken,
            tid: words.get(word::TID) as u32,
            thread: String::from_utf8_lossy(name).into_owned(),
            losses,
        }))
    }

    /// The bytes from head to tail.
    fn copy(&self, file: &File) -> io::Result<Vec<u8>> {
        let len = (self.tail - self.head) as usize;
        let at = self.head & (self.capacity - 1);
        let first = len.min((self.capacity - at) as usize);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes[..first], HEADER_BYTES as u64 + at)?;
        file.read_exact_at(&mut bytes[first..], HEADER_BYTES as u64)?;
        Ok(bytes)
    }

    /// Cuts the copied bytes into runs, from the head that `after` found.
    fn runs(&self, bytes: &[u8], after: &Self) -> io::Result<Vec<RawRun>> {
        let mut runs = Vec::new();
        let mut position = after.head;
        let mut n_taken = after.n_taken;
        while position < self.tail || runs.is_empty() {
            let end = ((position | (self.capacity - 1)) + 1).min(self.tail);
            let chunk = &bytes[(position - self.head) as usize..(end - self.head) as usize];
            let (count, len) = whole_records(chunk, end.is_multiple_of(self.capacity))?;
            runs.push(RawRun {
                head: RunHead {
                    lane: self.lane,
                    generation: self.generation,
                    position,
                    end,
                    first_record: n_taken,
                    count,
                    tid: self.tid,
                    thread: self.thread.clone(),
                    losses: after.losses,
                },
                bytes: chunk[..len].to_vec(),
            });
            n_taken += u64::from(count);
            position = end;
        }
        Ok(runs)
    }
}

/// Number and length of the records in a chunk; what is behind them is a pad, allowed only at the
/// buffer's end.
fn whole_records(chunk: &[u8], at_end: bool) -> io::Result<(u32, usize)> {
    let (mut count, mut len) = (0, 0);
    while len < chunk.len() {
        let rest = &chunk[len..];
        if at_end && rest.len() < HEAD_BYTES {
            break;
        }
        let head = Head::read(rest).ok_or_else(|| lie("a lane with a record that is too long"))?;
        if head.kind == RECORD_PAD {
            if at_end && head.len() == rest.len() {
                break;
            }
            return Err(lie("a lane with a pad in the middle"));
        }
        len += head.len();
        count += 1;
    }
    Ok((count, len))
}
