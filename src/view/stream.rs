//! Stream: the records of one block in their order, in memory or set aside in a file.
//!
//! # Layout
//!
//! What is set aside lies in the spool one entry behind another, in the order of the stream:
//!
//! ```text
//! | key u64 | origin u32 | shape u32 | at u32 | length u32 | record |
//! ```
//!
//! A mark has length 0, and `at` is its index; the file never outlives the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::record::Head;

use super::item::Tables;

/// Shape of an entry that is no record: its `at` is the index of a mark.
pub(super) const MARK: u32 = u32::MAX;
const ENTRY_BYTES: usize = 24;
/// The largest piece that is written to a spool at once.
const PIECE_BYTES: usize = 256 << 10;

/// One record or mark of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Ticks, made to ascend within a lane.
    pub(super) key: u64,
    /// Where the record begins in the stream's bytes.
    pub(super) at: u32,
    /// Index of its thread.
    pub(super) origin: u32,
    /// Index of its shape, or [`MARK`].
    pub(super) shape: u32,
}

/// Records in order.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tables: Arc<Tables>,
    pub(super) bytes: Arc<Vec<u8>>,
    entries: Vec<Entry>,
    next: usize,
    /// Where the rest lies in the spool.
    rest: std::ops::Range<u64>,
}

impl Stream {
    /// A stream of entries that are in the order in which they will be read.
    pub(super) fn new(tables: Tables, bytes: Vec<u8>, entries: Vec<Entry>) -> Self {
        let (tables, bytes) = (Arc::new(tables), Arc::new(bytes));
        Self { tables, bytes, entries, next: 0, rest: 0..0 }
    }

    /// The entry to be read next.
    pub(super) fn head(&self) -> Option<Entry> {
        self.entries.get(self.next).copied()
    }

    /// Goes to the next entry; fetches a window of about `window` bytes when it is in the spool.
    pub(super) fn advance(&mut self, spool: Option<&Spool>, window: usize) -> io::Result<()> {
        self.next += 1;
        match spool {
            Some(spool) if self.next >= self.entries.len() && !self.rest.is_empty() => {
                self.fetch(spool, window)
            }
            _ => Ok(()),
        }
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// True when its rest lies in the spool.
    pub(super) fn is_set_aside(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Moves what was not read yet to the spool and keeps a window of it.
    pub(super) fn set_aside(&mut self, spool: &mut Spool, window: usize) -> io::Result<()> {
        if self.is_set_aside() || self.next >= self.entries.len() {
            return Ok(());
        }
        let start = spool.end;
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        for entry in &self.entries[self.next..] {
            let record = self.record(entry);
            piece.extend_from_slice(&entry.key.to_le_bytes());
            for number in [entry.origin, entry.shape, entry.at, record.len() as u32] {
                piece.extend_from_slice(&number.to_le_bytes());
            }
            piece.extend_from_slice(record);
            if piece.len() >= PIECE_BYTES {
                spool.append(&piece)?;
                piece.clear();
            }
        }
        spool.append(&piece)?;
        self.rest = start..spool.end;
        self.fetch(spool, window)
    }

    fn record(&self, entry: &Entry) -> &[u8] {
        if entry.shape == MARK {
            return &[];
        }
        let bytes = self.bytes.get(entry.at as usize..).unwrap_or_default();
        let len = Head::read(bytes).map_or(0, |head| head.len());
        &bytes[..len]
    }

    fn fetch(&mut self, spool: &Spool, window: usize) -> io::Result<()> {
        let left = self.rest.end - self.rest.start;
        let mut window = window as u64;
        loop {
            let mut bytes = vec![0; window.min(left) as usize];
            spool.file.read_exact_at(&mut bytes, self.rest.start)?;
            let (entries, len) = entries(&bytes);
            if entries.is_empty() {
                // Not even one record fits: it is longer than the window.
                window *= 2;
                continue;
            }
            spool.release(self.rest.start, len as u64);
            self.rest.start += len as u64;
            bytes.truncate(len);
            self.bytes = Arc::new(bytes);
            self.entries = entries;
            self.next = 0;
            return Ok(());
        }
    }
}

/// The whole entries at the start of a window, and their length.
fn entries(bytes: &[u8]) -> (Vec<Entry>, usize) {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(fixed) = bytes.get(at..).and_then(|rest| rest.first_chunk::<ENTRY_BYTES>()) {
        let number = |at: usize| fixed[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let (origin, shape, len) = (number(8), number(12), number(20) as usize);
        let start = at + ENTRY_BYTES;
        if start + len > bytes.len() {
            break;
        }
        let key = fixed.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let place = if shape == MARK { number(16) } else { start as u32 };
        entries.push(Entry { key, at: place, origin, shape });
        at = start + len;
    }
    (entries, at)
}

/// A file without a name, for what does not fit into memory.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    end: u64,
}

impl Spool {
    /// Makes the file in the directory for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        let dir = std::env::temp_dir();
        let explain = |error: io::Error| {
            let dir = dir.display();
            io::Error::new(error.kind(), format!("no temporary file in {dir}: {error}; set TMPDIR"))
        };
        Ok(Self { file: unnamed(&dir).map_err(explain)?, end: 0 })
    }

    /// Appends bytes and returns where they begin.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let start = self.end;
        self.file.write_all_at(bytes, start)?;
        self.end += bytes.len() as u64;
        Ok(start)
    }

    /// Reads back what was appended.
    pub(super) fn read(&self, start: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    /// Gives the room of what was read back to the file system, where that can be done.
    fn release(&self, start: u64, len: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Only room is saved by it; a file system without holes keeps it until the end.
        let _ = fallocate(&self.file, flags, start, len);
    }
}

fn unnamed(dir: &std::path::Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(fd) = rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        return Ok(File::from(fd));
    }
    let name = dir.join(format!(".ttlog-spool-{}-{:p}", std::process::id(), &flags));
    let fd = rustix::fs::open(&name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    std::fs::remove_file(&name)?;
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RECORD_EVENT;

    fn sample(n: u32) -> Stream {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for i in 0..n {
            let words = (i % 7) as u16;
            entries.push(Entry { key: i.into(), at: bytes.len() as u32, origin: i, shape: 0 });
            let word = Head::word(i, words, RECORD_EVENT, 0);
            bytes.extend_from_slice(&word.to_le_bytes());
            bytes.extend_from_slice(&u64::from(i).to_le_bytes());
            bytes.resize(bytes.len() + usize::from(words) * 8, i as u8);
            if i % 5 == 0 {
                entries.push(Entry { key: i.into(), at: i, origin: 0, shape: MARK });
            }
        }
        Stream::new(Tables::default(), bytes, entries)
    }

    fn drain(mut stream: Stream, spool: Option<&Spool>, window: usize) -> Vec<(u64, u32, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(entry) = stream.head() {
            let mark = if entry.shape == MARK { entry.at } else { entry.origin };
            all.push((entry.key, mark, stream.record(&entry).to_vec()));
            stream.advance(spool, window).unwrap();
        }
        all
    }

    #[test]
    fn what_is_set_aside_reads_back_equal_through_any_window() {
        let expected = drain(sample(300), None, 0);
        for window in [1, 24, 100, 4096, 1 << 20] {
            let mut spool = Spool::new().unwrap();
            spool.append(b"of another stream").unwrap();
            let mut stream = sample(300);
            let mut start = Vec::new();
            for _ in 0..17 {
                let entry = stream.head().unwrap();
                let mark = if entry.shape == MARK { entry.at } else { entry.origin };
                start.push((entry.key, mark, stream.record(&entry).to_vec()));
                stream.advance(None, window).unwrap();
            }
            stream.set_aside(&mut spool, window).unwrap();
            start.extend(drain(stream, Some(&spool), window));
            assert_eq!(start, expected, "window {window}");
        }
    }
}
