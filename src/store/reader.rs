//! Reader: walks the blocks of a segment, whatever became of the file.
//!
//! It reads by `pread` alone, keeps one block and the index in memory, and may be asked again when
//! the file has grown. The blocks are the truth (F4); the index only tells what damage cost.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::block::{self, BlockHeader, HEADER_BYTES, KIND_EVENTS, KIND_INDEX, Salt};
use super::scan::{Next, scan, tail_of};
use super::segment::{COPY_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{Damage, Error, Reason, index, zipped};
use crate::record::compact::Decoder;
use crate::record::{Definitions, OpenSpans};

/// Bytes at the end of an unsealed segment that a living writer may not have finished: so many
/// blocks of the usual size are written at a time at most.
pub(crate) const UNFINISHED_BYTES_MAX: u64 = 16 * (256 << 10);

/// The index of a segment of the usual size is not longer.
const INDEX_BYTES_USUAL: u64 = 32 << 10;

/// Where a block of events lies, and what its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its header, whose checksum was right.
    pub header: BlockHeader,
}

/// What stands next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A block of events.
    Block(BlockRef),
    /// A stretch that cannot be read; reading goes on behind it.
    Damage(Damage),
    /// Zeros before the last blocks of a segment that is not sealed: a write that is on its way
    /// where the writer lives, and one that never came where it is dead.
    Unfinished {
        /// Where the zeros begin.
        offset: u64,
        /// How many there are.
        len: u64,
    },
}

/// Walks the blocks of one segment.
#[derive(Debug)]
pub struct SegmentReader {
    file: File,
    header: SegmentHeader,
    /// Device and inode.
    identity: (u64, u64),
    salt: Salt,
    align: u64,
    at: u64,
    /// A damaged copy of the header, until it is told.
    header_damage: Option<Damage>,
    index: Option<Vec<index::Entry>>,
    index_at: Option<u64>,
    /// Entries of the index whose blocks were passed.
    n_passed: usize,
    /// False once a block is not as the index says.
    agrees: bool,
    /// True behind the index block.
    ended: bool,
}

impl SegmentReader {
    /// Opens a segment or a spill file.
    ///
    /// # Errors
    ///
    /// When the path is no file of a format that is known; see [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        // A pipe would make an ordinary open wait for its writer.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        Self::from_file(file)
    }

    /// Asks the system to fetch what [`SegmentReader::open`] will read: of many files that are
    /// opened in turn, each then waits for the disk once at most. Says nothing of a file that
    /// cannot be opened.
    pub fn prefetch(path: impl AsRef<Path>) {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return };
        let Ok(metadata) = file.metadata() else { return };
        let tail = metadata.len().saturating_sub(INDEX_BYTES_USUAL);
        for (offset, len) in [(0, SEGMENT_HEADER_BYTES as u64), (tail, INDEX_BYTES_USUAL)] {
            let _ = fadvise(&file, offset, NonZeroU64::new(len), Advice::WillNeed);
        }
    }

    /// Reads a file that is open.
    ///
    /// # Errors
    ///
    /// As [`SegmentReader::open`].
    pub fn from_file(file: File) -> Result<Self, Error> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::NotAFile);
        }
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let len = read_at(&file, &mut bytes, 0)?;
        let (header, damage) = read_header(&bytes, len)?;
        let mut reader = Self {
            salt: header.salt(),
            align: header.align() as u64,
            at: header.first_block(),
            header_damage: damage,
            identity: (metadata.dev(), metadata.ino()),
            header,
            file,
            index: None,
            index_at: None,
            n_passed: 0,
            agrees: true,
            ended: false,
        };
        reader.find_index()?;
        Ok(reader)
    }

    /// Who wrote the segment.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Bytes of the file.
    pub(super) fn file_len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Device and inode: a segment that was packed has its name and another inode.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// True when the segment has an index, whole or not: nothing will be added to it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.index_at.is_some()
    }

    /// The index of a sealed segment, unless it is damaged.
    #[must_use]
    pub fn index(&self) -> Option<&[index::Entry]> {
        self.index.as_deref()
    }

    /// Where the next entry will be looked for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Goes on at the block that begins at `offset`, as when an unfinished stretch is looked at
    /// again. The index is not compared from here on.
    pub fn seek(&mut self, offset: u64) {
        let first = self.header.first_block();
        self.at = offset.max(first).next_multiple_of(self.align);
        self.n_passed = usize::MAX;
        self.ended = false;
    }

    /// The next block or damage, `None` at the end; the end of a file that grows may move.
    ///
    /// # Errors
    ///
    /// When the system refuses to read; the same place is tried again next time.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        if let Some(damage) = self.header_damage.take() {
            return Ok(Some(Entry::Damage(damage)));
        }
        loop {
            let len = self.file.metadata()?.len();
            if self.at >= len {
                return Ok(None);
            }
            if self.ended {
                let damage = self.damage(self.at, len - self.at, Some(0), Reason::Trailing);
                self.at = len;
                return Ok(Some(Entry::Damage(damage)));
            }
            let mut bytes = [0; HEADER_BYTES];
            let whole = read_at(&self.file, &mut bytes, self.at)? == HEADER_BYTES;
            let header = block::parse_header(&bytes, self.salt, self.at).filter(|_| whole);
            let Some(header) = header else { return self.gap(len) };
            if let Some(entry) = self.block(header, len)? {
                return Ok(Some(entry));
            }
        }
    }

    /// Follows what a block tells of spans; one that is damaged tells nothing.
    pub(crate) fn note_spans(&self, block: &BlockRef, spans: &mut OpenSpans) {
        let (mut payload, mut records) = (Vec::new(), Vec::new());
        if block.header.kind != KIND_EVENTS || self.read_block(block, &mut payload).is_err() {
            return;
        }
        let Some(sections) = block::sections(&payload, &block.header) else { return };
        let mut definitions = Definitions::default();
        definitions.decode_all(sections.definitions);
        let mut decoder = Decoder::new(sections.runs, &definitions);
        while let Some(Ok(_)) = decoder.next_into(&mut records) {
            spans.note(&records);
        }
    }

    /// Reads the payload of a block into `payload`, out of its frame when it is in one.
    ///
    /// # Errors
    ///
    /// When it is not as the header says, with what that cost.
    pub fn read_block(&self, block: &BlockRef, payload: &mut Vec<u8>) -> Result<(), Damage> {
        let BlockRef { offset, header } = *block;
        let stored = header.padded_len(self.header.align()) - HEADER_BYTES as u64;
        payload.resize(stored as usize, 0);
        let damage = |reason| {
            let len = HEADER_BYTES as u64 + stored;
            self.damage(offset, len, Some(u64::from(header.records)), reason)
        };
        let read = read_at(&self.file, payload, offset + HEADER_BYTES as u64);
        payload.truncate(read.map_err(|_| damage(Reason::Unreadable))?);
        if payload.len() < header.stored_len as usize {
            return Err(damage(Reason::Cut));
        }
        if !block::check_payload(payload, self.salt, offset, &header) {
            return Err(damage(Reason::Payload));
        }
        payload.truncate(header.stored_len as usize);
        if header.is_known() && header.codec == block::CODEC_ZSTD {
            return zipped::unzip(payload).map_err(damage);
        }
        Ok(())
    }

    /// Takes the block whose header is whole; `None` when there is nothing to tell of it.
    fn block(&mut self, header: BlockHeader, len: u64) -> io::Result<Option<Entry>> {
        let offset = self.at;
        let block = BlockRef { offset, header };
        let end = offset + header.padded_len(self.header.align());
        let records = match header.kind {
            KIND_INDEX => 0,
            _ => u64::from(header.records),
        };
        let damage = |reader: &Self, reason| {
            let len = end.min(len) - offset;
            Ok(Some(Entry::Damage(reader.damage(offset, len, Some(records), reason))))
        };
        self.compare(offset, &header);
        self.at = end;
        if offset + HEADER_BYTES as u64 + u64::from(header.stored_len) > len {
            self.at = len;
            return damage(self, Reason::Cut);
        }
        match header.kind {
            KIND_INDEX => {
                self.ended = true;
                let mut payload = Vec::new();
                let whole = header.is_known() && self.read_block(&block, &mut payload).is_ok();
                if whole {
                    // Else its writer may be at it: only the trailer says that it is there.
                    self.index_at = Some(offset);
                }
                let entries = index::decode(&payload, self.salt, offset).filter(|_| whole);
                // Without a trailer at the file's end there was nothing to compare with.
                let whole = entries
                    .is_some_and(|entries| self.index.is_none() || self.n_passed >= entries.len());
                if whole && self.agrees { Ok(None) } else { damage(self, Reason::Index) }
            }
            KIND_EVENTS if header.is_known() => Ok(Some(Entry::Block(block))),
            KIND_EVENTS => damage(self, Reason::Newer),
            // A kind that is not known is stepped over, but a flipped bit in it is not.
            _ => match self.read_block(&block, &mut Vec::new()) {
                Ok(()) => Ok(None),
                Err(damage) => Ok(Some(Entry::Damage(damage))),
            },
        }
    }

    /// Steps over what is no block.
    fn gap(&mut self, len: u64) -> io::Result<Option<Entry>> {
        let offset = self.at;
        let found = scan(&self.file, offset, len, self.align, self.salt)?;
        let (end, zeros) = match found {
            Next::Zeros => return Ok(None),
            Next::Nothing { data_end } => (data_end, false),
            Next::Block { at, zeros } => (at, zeros),
        };
        self.at = end;
        let gap_len = end - offset;
        if zeros && tail_of(&self.file, offset, self.is_sealed())? {
            return Ok(Some(Entry::Unfinished { offset, len: gap_len }));
        }
        let records = self.pass(end);
        let reason = match self.index_at {
            Some(at) if at == offset => Reason::Index,
            _ if zeros => Reason::Zeros,
            _ => Reason::BlockHeader,
        };
        Ok(Some(Entry::Damage(self.damage(offset, gap_len, records, reason))))
    }

    fn damage(&self, offset: u64, len: u64, records: Option<u64>, reason: Reason) -> Damage {
        let tail = tail_of(&self.file, offset, self.is_sealed()).unwrap_or(false);
        Damage { offset, len, records, reason, tail }
    }

    /// Compares a block with what the index says of it.
    fn compare(&mut self, offset: u64, header: &BlockHeader) {
        if header.kind == KIND_INDEX {
            return;
        }
        let Some(index) = &self.index else { return };
        if let Some(entry) = index.get(self.n_passed) {
            self.agrees &= entry.agrees(offset, header);
        } else if self.n_passed != usize::MAX {
            self.agrees = false;
        }
        self.n_passed = self.n_passed.saturating_add(1);
    }

    /// Counts the events that the index knows of between here and `end`.
    fn pass(&mut self, end: u64) -> Option<u64> {
        let index = self.index.as_ref()?;
        let rest = index.get(self.n_passed..)?;
        let passed = rest.iter().take_while(|entry| entry.offset < end);
        let (n, records) =
            passed.fold((0, 0), |(n, sum), entry| (n + 1, sum + u64::from(entry.records)));
        self.n_passed += n;
        Some(records)
    }

    /// Looks for the index by the file's last bytes.
    fn find_index(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let Some(trailer_at) = len.checked_sub(index::TRAILER_BYTES as u64) else { return Ok(()) };
        let mut trailer = [0; index::TRAILER_BYTES];
        read_at(&self.file, &mut trailer, trailer_at)?;
        let Some(offset) = index::trailer_offset(&trailer) else { return Ok(()) };
        let payload_at = offset.saturating_add(HEADER_BYTES as u64);
        let payload_len = trailer_at.saturating_sub(payload_at) + index::TRAILER_BYTES as u64;
        if offset < self.at || payload_at > trailer_at || !offset.is_multiple_of(self.align) {
            return Ok(());
        }
        if payload_len > index::PAYLOAD_BYTES_MAX as u64 {
            return Ok(());
        }
        let mut payload = vec![0; payload_len as usize];
        read_at(&self.file, &mut payload, payload_at)?;
        let mut header = [0; HEADER_BYTES];
        read_at(&self.file, &mut header, offset)?;
        self.index = index::decode(&payload, self.salt, offset);
        let said = block::parse_header(&header, self.salt, offset)
            .is_some_and(|header| header.kind == KIND_INDEX);
        if said || self.index.is_some() {
            self.index_at = Some(offset);
        }
        Ok(())
    }
}

/// Reads until `buffer` is full or the file ends; returns how many bytes that were.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], offset.saturating_add(len as u64)) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The header that both copies, or one, hold, and the damage of the other.
fn read_header(
    bytes: &[u8; SEGMENT_HEADER_BYTES],
    len: usize,
) -> Result<(SegmentHeader, Option<Damage>), Error> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(Error::Empty);
    }
    let (first_bytes, second_bytes) = bytes.split_at(COPY_BYTES);
    let copy = |bytes: &[u8]| match bytes.first_chunk() {
        Some(copy) => SegmentHeader::decode(copy),
        None => Err(Error::DamagedHeader),
    };
    let damage = |offset: usize| Damage {
        offset: offset as u64,
        len: COPY_BYTES.min(len.saturating_sub(offset)) as u64,
        records: Some(0),
        reason: Reason::SegmentHeader,
        tail: false,
    };
    match (copy(first_bytes), copy(second_bytes)) {
        (Ok(first), Ok(_)) if first_bytes == second_bytes => Ok((first, None)),
        (Ok(first), _) => Ok((first, Some(damage(COPY_BYTES)))),
        (Err(Error::Newer { found, known }), _) => Err(Error::Newer { found, known }),
        (Err(_), Ok(second)) => Ok((second, Some(damage(0)))),
        (Err(Error::NotTtlog), Err(error)) => Err(error),
        (Err(error), Err(_)) => Err(error),
    }
}
