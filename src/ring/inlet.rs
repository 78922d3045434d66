//! Inlet: the spill files of a ring in their order, and the way into them.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::spill::items::{self, Draft, FIRST_BLOCK, ItemFile};
use crate::sync::plain::Arc;

/// A file takes no block beyond this, so that what was taken leaves the disk; and no more than a
/// part of the quota.
const FILE_BYTES_MAX: u64 = 64 << 20;
const FILE_BYTES_MIN: u64 = 64 << 10;
const FILES_IN_QUOTA: u64 = 8;

/// A spill file, as far as it is filled.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    pub(super) file: Arc<ItemFile>,
    /// Where its blocks end.
    pub(super) end: u64,
    /// Number of the first item that is wanted.
    pub(super) first_item: u64,
    /// Number behind the last.
    pub(super) end_item: u64,
}

/// The files of a ring, first those that others left; its own last one is there always.
#[derive(Debug)]
pub(super) struct Inlet {
    dir: PathBuf,
    /// The type of the items.
    of: &'static str,
    ring: u64,
    quota_bytes: u64,
    files: VecDeque<Filled>,
    bytes: u64,
    files_made: u64,
    /// True while ordinary claims are diverted (I8).
    pub(super) diverted: bool,
    /// True while the flag of a waiting producer is up for what lies in files.
    pub(super) told: bool,
}

impl Inlet {
    /// Takes up what dead rings of these items left in the directory, and makes a file.
    pub(super) fn open(dir: &Path, of: &'static str, quota_bytes: u64) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let mut inlet = Self {
            dir: std::fs::canonicalize(dir)?,
            of,
            ring: items::ring_id()?,
            quota_bytes,
            files: VecDeque::new(),
            bytes: 0,
            files_made: 0,
            diverted: false,
            told: false,
        };
        for path in items::find(&inlet.dir)? {
            inlet.take_up(&path)?;
        }
        // Of rings that came one after another, and of each ring, in the order of their life.
        let files = inlet.files.make_contiguous();
        files.sort_by_key(|filled| filled.file.created_ns);
        inlet.begin_file(0)?;
        Ok(inlet)
    }

    fn take_up(&mut self, path: &Path) -> io::Result<()> {
        let left = match ItemFile::take_up(path, self.of) {
            Ok(Some(left)) => left,
            Ok(None) => return Ok(()),
            // Gone meanwhile, or another user's.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(());
            }
            Err(error) => {
                let what = format!("{}: {error}", path.display());
                return Err(io::Error::new(error.kind(), what));
            }
        };
        if left.taken >= left.end_item {
            left.file.remove();
            return Ok(());
        }
        self.bytes += left.end;
        let (first_item, end_item) = (left.taken, left.end_item);
        self.files.push_back(Filled {
            file: Arc::new(left.file),
            end: left.end,
            first_item,
            end_item,
        });
        Ok(())
    }

    /// How many items lie in the files, when none was read yet.
    pub(super) fn items(&self) -> u64 {
        let items = self.files.iter().map(|file| file.end_item - file.first_item);
        items.fold(0, u64::saturating_add)
    }

    fn begin_file(&mut self, first_item: u64) -> io::Result<()> {
        let after_ns = self.files.back().map_or(0, |filled| filled.file.created_ns);
        let Self { dir, ring, files_made, of, .. } = &*self;
        let file = ItemFile::create(dir, *ring, *files_made, of, first_item, after_ns)?;
        self.files_made += 1;
        self.bytes += FIRST_BLOCK;
        self.files.push_back(Filled {
            file: Arc::new(file),
            end: FIRST_BLOCK,
            first_item,
            end_item: first_item,
        });
        Ok(())
    }

    fn file_bytes_max(&self) -> u64 {
        (self.quota_bytes / FILES_IN_QUOTA).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX)
    }

    fn own(&mut self) -> &mut Filled {
        self.files.back_mut().expect("made with the inlet, and replaced by another only")
    }

    /// Writes items behind all others; when that fails, all is as before.
    pub(super) fn put(&mut self, draft: &mut Draft) -> io::Result<()> {
        let len = draft.padded_len();
        let limit = self.file_bytes_max();
        let own = self.own();
        let is_full = own.end > FIRST_BLOCK && own.end + len > limit;
        // What has no name any more ends with this process.
        let is_new = is_full || own.file.is_nameless();
        let first_item = own.end_item;
        let header = if is_new { FIRST_BLOCK } else { 0 };
        if self.bytes + header + len > self.quota_bytes {
            let what = format!(
                "the ring's spill files have reached their quota of {} bytes; take items, or allow \
                 more by Spill::quota",
                self.quota_bytes
            );
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
        if is_new {
            self.begin_file(first_item)?;
        }
        let own = self.own();
        let end = own.file.append(draft, first_item, own.end)?;
        own.end = end;
        own.end_item += u64::from(draft.count);
        self.bytes += len;
        Ok(())
    }

    pub(super) fn first(&self) -> Option<Filled> {
        self.files.front().cloned()
    }

    /// How far a file is filled by now, and the one behind it.
    pub(super) fn look(&self, file: &Arc<ItemFile>) -> Option<(Filled, Option<Filled>)> {
        let mut from = self.files.iter().skip_while(|filled| !Arc::ptr_eq(&filled.file, file));
        Some((from.next()?.clone(), from.next().cloned()))
    }

    /// Removes a file of which all was taken.
    pub(super) fn remove(&mut self, file: &Arc<ItemFile>) {
        let Some(at) = self.files.iter().position(|filled| Arc::ptr_eq(&filled.file, file)) else {
            return;
        };
        if let Some(filled) = self.files.remove(at) {
            self.bytes -= filled.end;
            filled.file.remove();
        }
    }

    /// Removes all files but the last and empties that, after all was taken (I9).
    pub(super) fn clear(&mut self) {
        while self.files.len() > 1
            && let Some(filled) = self.files.pop_front()
        {
            self.bytes -= filled.end;
            filled.file.remove();
        }
        let own = self.own();
        own.first_item = own.end_item;
        if own.end == FIRST_BLOCK || own.file.clear().is_err() {
            return;
        }
        let freed = own.end - FIRST_BLOCK;
        own.end = FIRST_BLOCK;
        self.bytes -= freed;
    }

    /// Removes all files, of which all was taken.
    pub(super) fn remove_all(&mut self) {
        self.files.drain(..).for_each(|filled| filled.file.remove());
    }
}
