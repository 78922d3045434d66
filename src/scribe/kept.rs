//! Kept: the blocks of the current segment that are written and not durable yet (rule S6).
//!
//! A sync that fails says nothing of the pages that it was about, and the next one that succeeds
//! neither: what it covered is written again elsewhere, from here. A long block is kept where it
//! lies, in its staging buffer; a short one is copied, so that its buffer is free for the next.

use super::batch::Block;
use super::moved::Moved;
use crate::lane::staging::Buffer;

/// Blocks of up to so many bytes are copied.
const COPIED_BYTES_MAX: usize = 64 << 10;
/// A sync begins when so much is kept. As much again is written beside it, or fills up behind it,
/// and both lie in staging, whose memory costs more to touch first than a sync of so much.
const KEPT_BYTES_DUE: usize = 4 << 20;

/// Blocks that are written and not durable.
#[derive(Debug, Default)]
pub(super) struct Kept {
    blocks: Vec<KeptBlock>,
    bytes: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct KeptBlock {
    bytes: Bytes,
    /// Where the scribe meant it to lie.
    pub(super) offset: u64,
    /// How it is moved from there.
    pub(super) moved: Moved,
}

#[derive(Debug)]
enum Bytes {
    Copied(Vec<u8>),
    Held(Block),
}

impl KeptBlock {
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Copied(bytes) => bytes,
            Bytes::Held(block) => block.bytes_mut(),
        }
    }
}

impl Kept {
    /// Keeps a block; its buffer comes back at once when it is short.
    pub(super) fn keep(&mut self, block: Block, offset: u64, moved: Moved) -> Option<Buffer> {
        self.bytes += block.bytes().len();
        let (bytes, buffer) = if block.bytes().len() <= COPIED_BYTES_MAX {
            (Bytes::Copied(block.bytes().to_vec()), Some(block.into_buffer()))
        } else {
            (Bytes::Held(block), None)
        };
        self.blocks.push(KeptBlock { bytes, offset, moved });
        buffer
    }

    /// True when it is time to sync.
    pub(super) fn is_due(&self) -> bool {
        self.bytes >= KEPT_BYTES_DUE
    }

    /// Adds blocks that were written after these.
    pub(super) fn add(&mut self, later: Self) {
        self.bytes += later.bytes;
        self.blocks.extend(later.blocks);
    }

    /// True when staging buffers are among them.
    pub(super) fn holds(&self) -> bool {
        self.blocks.iter().any(|kept| matches!(kept.bytes, Bytes::Held(_)))
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks, oldest first.
    pub(super) fn blocks_mut(&mut self) -> &mut [KeptBlock] {
        &mut self.blocks
    }

    /// Lets all go, which are durable now; their buffers come back.
    pub(super) fn release(&mut self) -> impl Iterator<Item = Buffer> {
        self.bytes = 0;
        std::mem::take(&mut self.blocks).into_iter().filter_map(|kept| match kept.bytes {
            Bytes::Copied(_) => None,
            Bytes::Held(block) => Some(block.into_buffer()),
        })
    }
}
