//! Items for the model checker: what stands for spill files has no bytes on a disk.
//!
//! Positions in a file are counts of blocks. The lock here is one that no model looks into, as
//! none looks into the kernel's.

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

pub(super) const FIRST_BLOCK: u64 = 0;
const LEN_BYTES: usize = size_of::<u32>();

/// See `store::items::Draft`.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    pub(super) count: u32,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    pub(super) fn push(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut item = Vec::new();
        encode(&mut item)?;
        self.bytes.extend((item.len() as u32).to_le_bytes());
        self.bytes.extend(item);
        self.count += 1;
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        false
    }

    pub(super) fn padded_len(&self) -> u64 {
        1
    }
}

pub(super) fn split_item(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = payload.split_first_chunk::<LEN_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// See `store::items::ItemFile`.
#[derive(Debug, Default)]
pub(super) struct ItemFile {
    blocks: Mutex<Vec<(u64, u64, Vec<u8>)>>,
    pub(super) created_ns: i64,
}

/// See `store::items::Left`; a model begins with nothing.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) file: ItemFile,
    pub(super) taken: u64,
    pub(super) end_item: u64,
    pub(super) end: u64,
}

/// See `store::items::ItemBlock`.
#[derive(Debug)]
pub(super) struct ItemBlock {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) next: u64,
}

impl ItemFile {
    pub(super) fn create(_: &Path, _: u64, _: u64, _: &str, _: u64, _: i64) -> io::Result<Self> {
        Ok(Self::default())
    }

    pub(super) fn take_up(_: &Path, _: &str) -> io::Result<Option<Left>> {
        Ok(None)
    }

    pub(super) fn append(&self, draft: &mut Draft, first: u64, at: u64) -> io::Result<u64> {
        let mut blocks = self.blocks.lock();
        assert_eq!(blocks.len() as u64, at, "blocks are appended");
        blocks.push((first, u64::from(draft.count), draft.bytes.clone()));
        Ok(at + 1)
    }

    pub(super) fn mark(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn next_block(&self, at: u64, end: u64, payload: &mut Vec<u8>) -> Option<ItemBlock> {
        let blocks = self.blocks.lock();
        let (first, count, bytes) = blocks.get(at as usize).filter(|_| at < end)?;
        payload.clone_from(bytes);
        Some(ItemBlock { first: *first, count: *count, next: at + 1 })
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        self.blocks.lock().clear();
        Ok(())
    }

    pub(super) fn remove(&self) {}

    pub(super) fn is_nameless(&self) -> bool {
        false
    }
}

pub(super) fn find(_: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(Vec::new())
}

pub(super) fn ring_id() -> io::Result<u64> {
    Ok(1)
}
