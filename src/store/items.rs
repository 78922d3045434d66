//! Items: spill files of typed rings, whose blocks hold items in place of events.
//!
//! # Layout
//!
//! ```text
//! 0                     1024   1088   1152
//! | header, with flag 8 | mark | mark | items | items | …
//!
//! mark    a block of kind 4 without payload; `sequence`: items before this number were taken
//! items   a block of kind 3; `sequence`: number of its first item; `events`: how many
//!         payload   | bytes u32 | item | bytes u32 | item | …
//! ```
//!
//! Items are numbered through all files of a ring, so that a number that is passed over tells what
//! damage cost. The marks are written in turn, each in place, and the greater one holds: of the
//! whole file they alone are ever changed. The header names the items' type in place of an app.
//!
//! # Failure
//!
//! A block is written with one call before the push of its items returns, so a killed process leaves
//! at most one that is cut, whose push did not return. Nothing is synced: after power loss the file
//! holds what the system had written back.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::block::{self, ALIGN, BlockHeader, HEADER_BYTES, KIND_ITEMS, KIND_MARK, Salt};
use super::name::{self, SPILL_SUFFIX};
use super::reader::read_at;
use super::scan::{Next, scan};
use super::segment::{self, COPY_BYTES, FLAG_ITEMS, SEGMENT_HEADER_BYTES, SegmentHeader};

/// What the file names of rings begin with.
const APP: &str = "ring";
const MARKS: u64 = 2;
/// Where the first block of items begins.
pub(crate) const FIRST_BLOCK: u64 = SEGMENT_HEADER_BYTES as u64 + MARKS * HEADER_BYTES as u64;
/// A draft that is this long takes no more items.
const DRAFT_BYTES: usize = 256 << 10;
const LEN_BYTES: usize = size_of::<u32>();
/// How often a file is made anew that another start took for a leftover.
const TRIES: usize = 5;

/// A block of items that is not in a file yet.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Room for the header, then the payload.
    bytes: Vec<u8>,
    pub(crate) count: u32,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0 }
    }

    /// Appends what `encode` writes as an item; nothing is left of one that is refused.
    pub(crate) fn push(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let begin = self.bytes.len();
        self.bytes.extend([0; LEN_BYTES]);
        let encoded = encode(&mut self.bytes).and_then(|()| {
            let payload_bytes = self.bytes.len() - HEADER_BYTES;
            if payload_bytes <= block::PAYLOAD_BYTES_MAX {
                return Ok((self.bytes.len() - begin - LEN_BYTES) as u32);
            }
            let what = format!("a spilled item has at most {} bytes", block::PAYLOAD_BYTES_MAX);
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        });
        match encoded {
            Ok(len) => {
                self.bytes[begin..begin + LEN_BYTES].copy_from_slice(&len.to_le_bytes());
                self.count += 1;
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(begin);
                Err(error)
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= DRAFT_BYTES
    }

    /// Bytes that it takes in a file.
    pub(crate) fn padded_len(&self) -> u64 {
        self.bytes.len().next_multiple_of(ALIGN) as u64
    }
}

/// Splits the payload of a block, whose checksum was right, into its items.
pub(crate) fn split_item(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = payload.split_first_chunk::<LEN_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// A file whose lock is let go with this: at once, though another thread may just be starting a
/// child, which has the descriptor until it runs its program. A forked child, which has a copy of
/// this, does not let go of its parent's lock.
#[derive(Debug)]
struct Locked {
    file: File,
    /// The process that locked it.
    pid: u32,
}

impl Locked {
    fn is_mine(&self) -> bool {
        self.pid == std::process::id()
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.is_mine() {
            let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// A spill file of a ring, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct ItemFile {
    file: Locked,
    path: PathBuf,
    salt: Salt,
    /// When it was made; later than every file that its ring has taken up, and its earlier ones.
    pub(crate) created_ns: i64,
}

/// What a dead ring left in a file.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) file: ItemFile,
    /// Number of the first item that was not taken.
    pub(crate) taken: u64,
    /// Number behind the last item.
    pub(crate) end_item: u64,
    /// Where the whole blocks end.
    pub(crate) end: u64,
}

/// A whole block of items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemBlock {
    /// Number of its first item.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Where the next block begins.
    pub(crate) next: u64,
}

impl ItemFile {
    /// Makes the file number `number` of a ring, whose first item will have the number `first`, at a
    /// time later than `after_ns`.
    pub(crate) fn create(
        dir: &Path,
        ring: u64,
        number: u64,
        of: &str,
        first: u64,
        after_ns: i64,
    ) -> io::Result<Self> {
        // What the file system's clock says is asked once the file is there.
        let header = SegmentHeader { number, logger: ring, created_ns: after_ns, ..header_of(of) };
        let mut tries = 0;
        loop {
            let made = Self::try_create(dir, header.clone(), first);
            if made.is_ok() || tries == TRIES {
                return made;
            }
            tries += 1;
        }
    }

    fn try_create(dir: &Path, header: SegmentHeader, first: u64) -> io::Result<Self> {
        let (ring, number) = (header.logger, header.number);
        let temporary = dir.join(format!(".{APP}-{ring:016x}-{number}{SPILL_SUFFIX}"));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o640).open(&temporary)?;
        Self::publish(file, &temporary, dir, header, first)
            .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }

    /// Gives the file its name, once it is locked and has its header (S8).
    fn publish(
        file: File,
        temporary: &Path,
        dir: &Path,
        mut header: SegmentHeader,
        first: u64,
    ) -> io::Result<Self> {
        let Some(file) = try_lock(file)? else { return Err(io::ErrorKind::WouldBlock.into()) };
        let metadata = file.metadata()?;
        let now_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        header.created_ns = now_ns.max(header.created_ns.saturating_add(1));
        file.write_all_at(&header.encode(), 0)?;
        let path = dir.join(name::spill(APP, header.created_ns, header.logger, header.number));
        let made = Self { file, path, salt: header.salt(), created_ns: header.created_ns };
        (0..MARKS).try_for_each(|slot| made.mark(slot, first))?;
        std::fs::rename(temporary, &made.path)?;
        Ok(made)
    }

    /// Takes the lock of a file that a ring of the same items left, and looks what is in it; `None`
    /// for one that is in use or another's.
    pub(crate) fn take_up(path: &Path, of: &str) -> io::Result<Option<Left>> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        let mut copy = [0; COPY_BYTES];
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let Some(file) = try_lock(file)?.filter(|file| is_named(file, path)) else {
            return Ok(None);
        };
        let mut header = None;
        for at in [0, COPY_BYTES as u64] {
            let whole = read_at(&file, &mut copy, at)? == COPY_BYTES;
            header = header.or_else(|| SegmentHeader::decode(&copy).ok().filter(|_| whole));
        }
        let wanted = header_of(of);
        let Some(header) = header.filter(|header| {
            header.flags & FLAG_ITEMS != 0
                && header.app == wanted.app
                && header.version == wanted.version
        }) else {
            return Ok(None);
        };
        let (salt, created_ns) = (header.salt(), header.created_ns);
        let file = Self { file, path: path.to_owned(), salt, created_ns };
        file.look().map(Some)
    }

    fn look(self) -> io::Result<Left> {
        let (mut taken, mut end) = (0, FIRST_BLOCK);
        for slot in 0..MARKS {
            if let Some(mark) = self.header_at(mark_at(slot))?.filter(|h| h.kind == KIND_MARK) {
                taken = taken.max(mark.seq);
            }
        }
        let mut end_item = taken;
        let len = self.file.metadata()?.len();
        while let Some((at, header)) = self.next_header(end, len)? {
            let (first, next) = (header.seq, at + header.padded_len(ALIGN));
            // A block that the file ends in was being written: its push did not return.
            if at + HEADER_BYTES as u64 + u64::from(header.stored_len) > len {
                return Ok(Left { file: self, taken, end_item, end: at });
            }
            end = next;
            if header.kind == KIND_ITEMS {
                end_item = end_item.max(first.saturating_add(u64::from(header.records)));
            }
        }
        // What follows is no whole header: one that is cut, zeros that were never written, or damage.
        let is_cut = len.saturating_sub(end) < HEADER_BYTES as u64;
        let damaged =
            !is_cut && scan(&self.file, end, len, ALIGN as u64, self.salt)? != Next::Zeros;
        end_item += u64::from(damaged);
        Ok(Left { file: self, taken, end_item, end })
    }

    /// Writes a block of items at `at`, where all blocks end, and says where they end now. When it
    /// fails, the file is as before.
    pub(crate) fn append(&self, draft: &mut Draft, first: u64, at: u64) -> io::Result<u64> {
        let header = BlockHeader {
            kind: KIND_ITEMS,
            stored_len: (draft.bytes.len() - HEADER_BYTES) as u32,
            seq: first,
            records: draft.count,
            ..BlockHeader::default()
        };
        let len = draft.bytes.len();
        draft.bytes.resize(draft.padded_len() as usize, 0);
        let sealed = block::seal(&mut draft.bytes, self.salt, at, &header);
        let written = match sealed {
            Some(padded) => self.file.write_all_at(&draft.bytes[..padded], at),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        draft.bytes.truncate(len);
        match (written, sealed) {
            (Ok(()), Some(padded)) => Ok(at + padded as u64),
            (written, _) => {
                // A part may be there; the next block goes to the same place.
                let _ = self.file.set_len(at);
                Err(written.err().unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
            }
        }
    }

    /// Notes that the items before the number `taken` were taken; `turn` counts these notes.
    pub(crate) fn mark(&self, turn: u64, taken: u64) -> io::Result<()> {
        let at = mark_at(turn % MARKS);
        let header = BlockHeader { kind: KIND_MARK, seq: taken, ..BlockHeader::default() };
        let mut bytes = [0; HEADER_BYTES];
        block::seal(&mut bytes, self.salt, at, &header).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.write_all_at(&bytes, at)
    }

    /// The next whole block of items at or behind `at` and before `end`, its payload in `payload`.
    /// What is no such block is stepped over, and so is what the system cannot read.
    pub(crate) fn next_block(
        &self,
        mut at: u64,
        end: u64,
        payload: &mut Vec<u8>,
    ) -> Option<ItemBlock> {
        while at < end {
            match self.next_header(at, end) {
                Ok(None) => return None,
                Ok(Some((found, header))) => {
                    at = found + header.padded_len(ALIGN);
                    if header.kind == KIND_ITEMS && self.read_payload(found, &header, payload) {
                        let count = u64::from(header.records);
                        return Some(ItemBlock { first: header.seq, count, next: at });
                    }
                }
                Err(_) => at += ALIGN as u64,
            }
        }
        None
    }

    fn read_payload(&self, at: u64, header: &BlockHeader, payload: &mut Vec<u8>) -> bool {
        payload.resize(header.padded_len(ALIGN) as usize - HEADER_BYTES, 0);
        let behind = at + HEADER_BYTES as u64;
        let Ok(read) = read_at(&self.file, payload, behind) else { return false };
        // Of the last block in a file the padding may be missing.
        payload.truncate(read);
        let whole = block::check_payload(payload, self.salt, at, header);
        payload.truncate(header.stored_len as usize);
        whole
    }

    /// The next block header at or behind `at`, and where it stands.
    fn next_header(&self, at: u64, end: u64) -> io::Result<Option<(u64, BlockHeader)>> {
        if at >= end {
            return Ok(None);
        }
        let at = match self.header_at(at)? {
            Some(header) => return Ok(Some((at, header))),
            None => match scan(&self.file, at, end, ALIGN as u64, self.salt)? {
                Next::Block { at, .. } => at,
                Next::Zeros | Next::Nothing { .. } => return Ok(None),
            },
        };
        Ok(self.header_at(at)?.map(|header| (at, header)))
    }

    fn header_at(&self, at: u64) -> io::Result<Option<BlockHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        let whole = read_at(&self.file, &mut bytes, at)? == HEADER_BYTES;
        Ok(block::parse_header(&bytes, self.salt, at).filter(|_| whole))
    }

    /// Empties the file, of which all was taken.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.file.set_len(FIRST_BLOCK)
    }

    /// True once somebody else has removed it.
    pub(crate) fn is_nameless(&self) -> bool {
        self.file.metadata().is_ok_and(|told| told.nlink() == 0)
    }

    /// Removes the file, if its name still is its own; a forked child lets its parent's be.
    pub(crate) fn remove(&self) {
        if self.file.is_mine() && is_named(&self.file, &self.path) {
            // One that cannot be removed is found empty, and removed, by the next ring.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An id for a new ring.
pub(crate) fn ring_id() -> io::Result<u64> {
    name::random_id()
}

/// The spill files of rings in a directory.
///
/// Files that a ring died over before it could name them are removed.
pub(crate) fn find(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.file_name();
        let Some(text) = file.to_str() else { continue };
        if text.starts_with(&format!(".{APP}-")) && text.ends_with(SPILL_SUFFIX) {
            remove_leftover(&dir.join(text));
        }
        if name::parse(text).is_some_and(|name| name.spill && name.app == APP) {
            found.push(dir.join(text));
        }
    }
    Ok(found)
}

fn remove_leftover(path: &Path) {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return };
    if let Ok(Some(file)) = try_lock(file)
        && is_named(&file, path)
    {
        let _ = std::fs::remove_file(path);
    }
}

/// Takes the lock, if nobody has it; then it is to be seen whether the path still names this file
/// (S8).
fn try_lock(file: File) -> io::Result<Option<Locked>> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Locked { file, pid: std::process::id() })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// The parts of a header that say whose items these are. A long name is cut, its checksum is not.
fn header_of(of: &str) -> SegmentHeader {
    let empty = SegmentHeader {
        clock: segment::CLOCK_UTC,
        app: of.into(),
        version: format!("{:08x}", crc32c::crc32c(of.as_bytes())),
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        flags: FLAG_ITEMS,
        ..SegmentHeader::default()
    };
    let cut = empty.encode().first_chunk().map(SegmentHeader::decode);
    cut.and_then(Result::ok).unwrap_or(empty)
}

fn mark_at(slot: u64) -> u64 {
    SEGMENT_HEADER_BYTES as u64 + slot * HEADER_BYTES as u64
}

#[cfg(all(test, not(loom)))]
#[path = "items_tests.rs"]
mod tests;
