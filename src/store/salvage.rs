//! Salvage: what can be read of a damaged segment, written as a new one that is whole.
//!
//! ```text
//! read ─► each whole block ─► Builder ─► .<name>.<pid> ─► sync ─► compare ─► rename
//! ```
//!
//! # Failure
//!
//! The damaged file is only read. The new one has its name when it is complete, synced and reads
//! back equal; else nothing of it stays.

use std::io;
use std::path::Path;

use super::block::{self, Contents, KIND_EVENTS};
use super::builder::Builder;
use super::pack::{Digest, append, digest_of, push};
use super::segment::{BlockRef, Entry, FLAG_PACKED, SegmentReader};
use super::{Damage, Reason};
use crate::io::{Disk, FileDisk};
use crate::record::compact::Malformed;

/// What came out of a damaged segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Blocks that were whole.
    pub blocks: u64,
    /// Their records: events, and what is told of spans.
    pub records: u64,
    /// Bytes of the new segment.
    pub bytes: u64,
}

/// Writes every block of a segment or spill file that is whole into a new, sealed segment, and tells
/// each stretch that is not. Losses and callsites come along; what a damage cost is in `on_damage`
/// alone.
///
/// # Errors
///
/// When something has the new name already, or when one of the two cannot be read or written; then
/// there is no new file.
pub fn salvage(
    reader: &mut SegmentReader,
    to: &Path,
    on_damage: &mut dyn FnMut(Damage),
) -> io::Result<Salvaged> {
    salvage_on(&FileDisk, reader, to, on_damage)
}

fn salvage_on(
    disk: &dyn Disk,
    reader: &mut SegmentReader,
    to: &Path,
    on_damage: &mut dyn FnMut(Damage),
) -> io::Result<Salvaged> {
    let exists = std::fs::symlink_metadata(to).is_ok();
    let Some(file_name) = to.file_name().filter(|_| !exists) else {
        let why = "something is there already; choose the name of a new file";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    };
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = dir.join(format!(".{}.{}", file_name.to_string_lossy(), std::process::id()));
    let _ = disk.unlink(&part);
    let salvaged = write(disk, &part, reader, on_damage).and_then(|salvaged| {
        disk.rename(&part, to)?;
        disk.sync_dir(dir)?;
        Ok(salvaged)
    });
    if salvaged.is_err() {
        let _ = disk.unlink(&part);
    }
    salvaged
}

fn write(
    disk: &dyn Disk,
    part: &Path,
    reader: &mut SegmentReader,
    on_damage: &mut dyn FnMut(Damage),
) -> io::Result<Salvaged> {
    let mut header = reader.header().clone();
    // Its blocks are in no frames any more, so it may be packed again.
    header.flags &= !FLAG_PACKED;
    header.align_log2 = 0;
    let mut builder = Builder::new(header).losses_by_caller();
    let file = disk.create(part)?;
    let (mut digest, mut at, mut blocks) = (Digest::default(), 0, 0);
    let malformed = |error: Malformed| io::Error::other(error.to_string());
    while let Some(entry) = reader.next_entry()? {
        let block = match entry {
            Entry::Block(block) if block.header.kind == KIND_EVENTS => block,
            Entry::Block(_) | Entry::Unfinished { .. } => continue,
            Entry::Damage(damage) => {
                on_damage(damage);
                continue;
            }
        };
        let contents = match contents(reader, &block) {
            Ok(contents) => contents,
            Err(damage) => {
                on_damage(damage);
                continue;
            }
        };
        digest.add(&block.header, &contents);
        blocks += 1;
        contents.anchors.iter().for_each(|anchor| builder.add_anchor(*anchor));
        push(&mut builder, &contents).map_err(malformed)?;
        builder.add_lost(block.header.lost);
        builder.seal_block().map_err(malformed)?;
        at = append(file.as_ref(), at, &builder.take())?;
    }
    let bytes = append(file.as_ref(), at, &builder.finish().map_err(malformed)?)?;
    file.sync()?;
    if digest_of(part)? != Some(digest) {
        return Err(io::Error::other("what was written does not read back equal"));
    }
    Ok(Salvaged { blocks, records: digest.records, bytes })
}

fn contents(reader: &SegmentReader, block: &BlockRef) -> Result<Contents, Damage> {
    let mut payload = Vec::new();
    reader.read_block(block, &mut payload)?;
    block::contents(&payload, &block.header).map_err(|_| Damage {
        offset: block.offset,
        len: block.header.padded_len(reader.header().align()),
        records: Some(u64::from(block.header.records)),
        reason: Reason::Contradiction,
        tail: false,
    })
}
