//! File: the spill file that is being written: header, blocks, index.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::batch::Block;
use crate::config::Durability;
use crate::crash::crash_point;
use crate::io::{Disk, DiskFile};
use crate::store::block::Salt;
use crate::store::segment::{FLAG_SPILL, SegmentHeader};
use crate::store::{index, name};

/// A spill file is ended when it would grow beyond this.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where spill files go, and what they have in common.
#[derive(Debug, Clone)]
pub(crate) struct SpillPlan {
    pub(crate) dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    /// The header; number and time are set for each file.
    pub(crate) header: SegmentHeader,
    /// Bytes that all spill files may take together.
    pub(crate) quota: u64,
    /// Number of the last segment or spill file of the logger.
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) durability: Durability,
}

/// A spill file that is not ended.
#[derive(Debug)]
pub(super) struct SpillFile {
    pub(super) path: PathBuf,
    number: u64,
    /// What its directory lies on.
    device: u64,
    file: Box<dyn DiskFile>,
    salt: Salt,
    align: usize,
    offset: u64,
    entries: Vec<index::Entry>,
    /// How much of the next block was written before the disk refused.
    partial: usize,
}

impl SpillFile {
    /// Makes a file and writes its header. What was made before an error goes again.
    pub(super) fn create(disk: &dyn Disk, plan: &SpillPlan, now_ns: i64) -> io::Result<Self> {
        // ord: Relaxed, a counter.
        let number = plan.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let header =
            SegmentHeader { number, created_ns: now_ns, flags: FLAG_SPILL, ..plan.header.clone() };
        let path = plan.dir.join(name::spill(&header.app, now_ns, header.logger, number));
        crash_point!("spill.create");
        let file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dir(plan)?;
                disk.create(&path)?
            }
            created => created?,
        };
        crash_point!("spill.created");
        if let Err((_, error)) = file.write_at(&header.encode(), 0) {
            let _ = disk.unlink(&path);
            return Err(error);
        }
        // Unknown, it is one that nobody can see.
        let device = std::fs::metadata(&plan.dir).map_or(u64::MAX, |meta| meta.dev());
        let (salt, align, offset) = (header.salt(), header.align(), header.first_block());
        Ok(Self {
            path,
            number,
            device,
            file,
            salt,
            align,
            offset,
            entries: Vec::new(),
            partial: 0,
        })
    }

    /// What its blocks are aligned to.
    pub(super) fn align(&self) -> usize {
        self.align
    }

    /// Salt, offset and number of the next block.
    pub(super) fn next_block(&self) -> (Salt, u64, u64) {
        (self.salt, self.offset, self.entries.len() as u64)
    }

    /// Writes the next block, or goes on where the disk refused it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        crash_point!("spill.append");
        let from = self.partial;
        self.file.write_at(&bytes[from..], self.offset + from as u64).map_err(|(n, error)| {
            self.partial += n;
            error
        })
    }

    /// Notes a block that was written.
    pub(super) fn add(&mut self, block: &Block, entry: index::Entry, len: usize) {
        crash_point!("spill.appended");
        block.set_held_by(self.number, self.device);
        self.entries.push(entry);
        self.offset += len as u64;
        self.partial = 0;
    }

    pub(super) fn len(&self) -> u64 {
        self.offset
    }

    pub(super) fn is_full(&self) -> bool {
        self.offset >= FILE_BYTES_MAX
    }

    /// Makes the bytes, and with `name` the name, survive a power cut.
    pub(super) fn sync(&self, disk: &dyn Disk, plan: &SpillPlan) -> io::Result<()> {
        self.file.sync()?;
        disk.sync_dir(&plan.dir)
    }

    /// Ends the file with its index. Without one, when the disk refuses, readers scan.
    pub(super) fn seal(&self) {
        crash_point!("spill.seal");
        let (salt, offset, seq) = self.next_block();
        let index = index::seal_aligned(&self.entries, salt, offset, seq, self.align).unwrap_or_default();
        if self.file.write_at(&index, offset).is_err() {
            let _ = self.file.truncate(offset);
        }
        crash_point!("spill.sealed");
    }
}

/// Makes the spill directory, with mode 0750.
fn make_dir(plan: &SpillPlan) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&plan.dir)
}
