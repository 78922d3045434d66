//! Short: copies of short files that are complete but for a sync, which is one for many of them.

use std::path::PathBuf;

use super::batch::Item;

/// Copies that stay open: so few are synced one by one. A call for each waits for the disk's cache
/// each time, and one for the file system waits for what others wrote there.
pub(super) const OPEN_MAX: usize = 16;
/// Files and bytes that wait at most.
const FILES_MAX: usize = 4096;
const BYTES_MAX: u64 = 64 << 20;

/// Copies that were closed, so that any number of them takes no descriptors: a process with threads
/// waits for all of them each time when its table of descriptors grows.
#[derive(Debug, Default)]
pub(super) struct Closed {
    files: Vec<Short>,
    /// Those that were copied in batches.
    items: Vec<Item>,
    bytes: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Short {
    pub(super) path: PathBuf,
    pub(super) place: PathBuf,
    pub(super) part: PathBuf,
    /// What is to be told of it once it has its name.
    pub(super) damage: Option<String>,
}

impl Closed {
    pub(super) fn push(&mut self, file: Short, len: u64) {
        self.files.push(file);
        self.bytes += len;
    }

    pub(super) fn push_item(&mut self, item: Item, len: u64) {
        self.items.push(item);
        self.bytes += len;
    }

    /// Counts what was synced by itself, but has its name only with a directory in the stage.
    pub(super) fn add(&mut self, len: u64) {
        self.bytes += len;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.items.is_empty()
    }

    /// True when it is time to sync them.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() + self.items.len() >= FILES_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn take(&mut self) -> (Vec<Short>, Vec<Item>) {
        self.bytes = 0;
        (std::mem::take(&mut self.files), std::mem::take(&mut self.items))
    }
}
