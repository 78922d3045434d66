//! Moved: a segment whose file was removed, or failed to sync, while it was written: begun again.
//!
//! A block that went into a file without a name is in no segment. The file thread looks at the
//! file before it gives a block's staging back: one that lost its last name is made again, with the
//! same header, and the block, whose checksums know where it lies, is sealed anew behind it. What
//! follows moves with it; the index, which knows the old places, is left out.

use std::io;
use std::path::{Path, PathBuf};

use super::writer::{Current, Writer};
use crate::store::block::{self, BlockHeader};
use crate::store::name;
use crate::store::segment::{FLAG_AGAIN, SegmentHeader};

/// How far the blocks of the current segment were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moved {
    bytes: u64,
    blocks: u64,
}

impl Moved {
    /// True when a block was moved.
    pub(super) fn is_any(&self) -> bool {
        self.bytes > 0
    }

    /// Where what was to lie at `offset` lies now.
    pub(super) fn place(&self, offset: u64) -> u64 {
        offset - self.bytes
    }

    /// Number that the scribe gave to a block whose header this is.
    pub(super) fn seq(&self, header: &BlockHeader) -> u64 {
        header.seq + self.blocks
    }

    /// Moves so that the block which was to lie at `offset` with this number is the first of this
    /// segment.
    pub(super) fn restart(&mut self, segment: &SegmentHeader, offset: u64, seq: u64) {
        (self.bytes, self.blocks) = (offset - segment.first_block(), seq);
    }

    /// Seals a block anew that was to lie at `offset`, and is sealed as it was moved then.
    pub(super) fn seal(&self, segment: &SegmentHeader, bytes: &mut [u8], was: Self, offset: u64) {
        let sealed = parse(segment, bytes, was.place(offset)).and_then(|header| {
            let header = BlockHeader { seq: was.seq(&header) - self.blocks, ..header };
            let (salt, place) = (segment.salt(), self.place(offset));
            block::seal_aligned(bytes, salt, place, &header, segment.align())
        });
        debug_assert!(sealed.is_some(), "it was sealed for the place that it is moved from");
    }
}

impl Writer {
    /// Makes the current segment again, whose file was removed, with its directory if need be.
    pub(super) fn make_again(&mut self) {
        let Some(Current { path, mut header, .. }) = self.current.take() else { return };
        header.flags |= FLAG_AGAIN;
        // They went with the file.
        self.forget_beside();
        let freed = self.kept.release();
        self.setup.queue.give_free(freed);
        (self.setup.check_owner)();
        self.make_like(header, path);
    }

    /// Makes a segment with this header the current one, by this name or a later one.
    pub(super) fn make_like(&mut self, mut header: SegmentHeader, mut path: PathBuf) {
        let what = path.clone();
        let file = self.insist("could not make a segment again", &what, |writer| {
            let made = writer.setup.disk.create(&path);
            match &made {
                // Somebody put a copy there, say.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = later(&mut header, &path);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (writer.setup.check_owner)();
                }
                _ => {}
            }
            made
        });
        self.set_current(file, path, header);
    }
}

/// The header of a block that lies at `offset`.
pub(super) fn parse(segment: &SegmentHeader, bytes: &[u8], offset: u64) -> Option<BlockHeader> {
    block::parse_header(bytes.first_chunk()?, segment.salt(), offset)
}

/// Another name for a segment whose own was taken meanwhile: a second later.
fn later(segment: &mut SegmentHeader, path: &Path) -> PathBuf {
    segment.created_ns += 1_000_000_000;
    let name = name::segment(&segment.app, segment.created_ns, segment.logger, segment.number);
    path.with_file_name(name)
}
