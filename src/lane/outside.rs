//! Outside: reads the lanes and staging of any logger, living or dead, without mapping them (S5).
//!
//! Everything is copied with `pread` and believed only if identity, epoch and head, read again
//! afterwards, still cover it. Lanes are read before staging, and the caller reads segments after
//! both: what leaves one place meanwhile is found in the next. Nothing in these files is trusted.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::memory::HEADER_BYTES;
use super::owner;
pub use super::owner::Owner;
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
/// No lane comes so far: at a gigabyte a second it takes a century.
const POSITION_MAX: u64 = 1 << 62;
/// How often a lane that changes hands while it is read is read again.
const TRIES: usize = 8;
/// How often a lane's header is read until it stands still: two reads are a microsecond apart.
const HEADER_TRIES: usize = 1000;

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
    let mut tell = |name: &str, error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            snapshot.notes.push(format!("{}: {error}", path.join(name).display()));
        }
    };
    for name in names(&path, "lane-")? {
        match place.lane(&name) {
            Ok(runs) => snapshot.runs.extend(runs),
            Err(error) => tell(&name, error),
        }
    }
    // Listed behind the lanes: what left one meanwhile may be in a buffer that was made for it.
    let mut buffers = Vec::new();
    for name in names(&path, "staging-")? {
        match place.staging(&name) {
            Ok(bytes) => buffers.push((name, bytes)),
            Err(error) => tell(&name, error),
        }
    }
    // Behind both, so that every id in them is known.
    snapshot.definitions = place.definitions()?;
    for (name, bytes) in &buffers {
        for run in Decoder::new(bytes, &snapshot.definitions) {
            match run {
                Ok(run) => snapshot.runs.push(run),
                Err(_) => {
                    tell(name, lie("a staging buffer with a run that is no run"));
                    break;
                }
            }
        }
    }
    snapshot.anchors = place.anchors()?;
    Ok(snapshot)
}

/// The names in a place that begin like this.
fn names(path: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| name.starts_with(prefix)));
    }
    Ok(names)
}

/// The staging buffers of a logger, each as a block that was sealed in it would lie there.
pub(crate) fn staged_blocks(owner: &Owner) -> io::Result<Vec<Vec<u8>>> {
    let Some(hint) = &owner.lanes else { return Ok(Vec::new()) };
    let path = place::open_hinted(hint)?;
    let place = Place { path: &path, logger: owner.logger };
    let mut blocks = Vec::new();
    for name in names(&path, "staging-")? {
        let mut block = vec![0; staging::BUFFER_BYTES];
        if place.open(&name)?.read_exact_at(&mut block, HEADER_BYTES as u64).is_ok() {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

struct Place<'a> {
    path: &'a Path,
    logger: u64,
}

/// Something that can be read at an offset: a file, or a copy of one.
trait Bytes {
    fn len(&self) -> io::Result<u64>;
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, offset)
    }
}

impl Bytes for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let from = from.and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The runs in a copy of a lane's file.
///
/// # Errors
///
/// When the bytes are not a lane of this logger, or contradict themselves.
pub fn lane_runs(file: &[u8], logger: u64) -> io::Result<Vec<RawRun>> {
    read_lane(file, logger)
}

fn read_lane<B: Bytes + ?Sized>(file: &B, logger: u64) -> io::Result<Vec<RawRun>> {
    for _ in 0..TRIES {
        let before = LaneHeader::read_whole(file, logger)?;
        let Some(before) = before else { return Ok(Vec::new()) };
        let bytes = before.copy(file)?;
        let Some(after) = LaneHeader::read_whole(file, logger)? else { continue };
        if before.covers(&after) {
            return before.runs(&bytes, &after);
        }
    }
    // It changes hands faster than it is read: it is not the lane's content that is in danger.
    Ok(Vec::new())
}

/// A header page, copied.
struct Words(Box<[u8; HEADER_BYTES]>);

impl Words {
    fn read<B: Bytes + ?Sized>(file: &B) -> io::Result<Self> {
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

/// True for a file that has its name and no room yet.
fn is_being_made(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() == 0)
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
        if is_being_made(&file)? {
            return Ok(Vec::new());
        }
        read_lane(&file, self.logger)
    }

    /// The committed runs of a staging buffer, encoded.
    fn staging(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.open(name)?;
        if file.metadata()?.len() == 0 {
            return Ok(Vec::new()); // as for a lane
        }
        // The epoch comes first: who finds the new one finds the new length (B3 of staging).
        if is_being_made(&file)? {
            return Ok(Vec::new());
        }
        let epoch = Words::read(&file)?.get(staging::word::EPOCH);
        let words = Words::read(&file)?;
        if words.get(staging::word::MAGIC) == 0 && words.get(staging::word::COMMITTED) == 0 {
            return Ok(Vec::new());
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
        if Words::read(&file)?.get(staging::word::EPOCH) != epoch {
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
    /// One of the two slots belongs to the head.
    has_slot: bool,
    tid: u32,
    thread: String,
    losses: Losses,
}

impl LaneHeader {
    /// `Ok(None)`: nobody has this lane at the moment.
    fn read<B: Bytes + ?Sized>(file: &B, logger: u64) -> io::Result<Option<Self>> {
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
        if !sane || file.len()? < HEADER_BYTES as u64 + capacity {
            return Err(lie("a lane whose length is not what it says"));
        }
        let (head, tail) = (words.get(word::HEAD), words.get(word::TAIL));
        let sane = tail <= POSITION_MAX && head % 8 == 0 && tail % 8 == 0;
        if !sane || head > tail || tail - head > capacity {
            return Err(lie("a lane whose head and tail contradict each other"));
        }
        // S4: the slot whose head is the head. A slot is written before the head is.
        let slot = word::SLOTS.into_iter().find(|&slot| words.get(slot) == head);
        let n_taken = slot.map(|slot| words.get(slot + 1).min(POSITION_MAX));
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
            n_taken: n_taken.unwrap_or(0),
            has_slot: n_taken.is_some(),
            tid: words.get(word::TID) as u32,
            thread: String::from_utf8_lossy(name).into_owned(),
            losses,
        }))
    }

    /// The same, when the page did not change while it was copied: head, its slot and the identity
    /// belong together then (S4).
    fn read_whole<B: Bytes + ?Sized>(file: &B, logger: u64) -> io::Result<Option<Self>> {
        let mut read = Self::read(file, logger)?;
        for _ in 0..HEADER_TRIES {
            let again = Self::read(file, logger)?;
            match (&read, &again) {
                (Some(read), Some(again)) if read.is_same(again) && read.has_slot => {}
                (None, None) => return Ok(None),
                _ => {
                    read = again;
                    continue;
                }
            }
            return Ok(read);
        }
        Err(lie("a lane whose header contradicts itself"))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.generation == other.generation && self.head == other.head
    }

    /// True when the bytes that were copied between the two reads are what they say: bytes before
    /// the head as it is now may have been overwritten meanwhile.
    fn covers(&self, after: &Self) -> bool {
        after.generation == self.generation
            && after.capacity == self.capacity
            && (self.head..=self.tail).contains(&after.head)
    }

    /// The bytes from head to tail.
    fn copy<B: Bytes + ?Sized>(&self, file: &B) -> io::Result<Vec<u8>> {
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
