//! Walk: what there is to copy, found as it is asked for: directories before what they hold.

use std::fs::{Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use super::{PART_DIR, Shared, at};
use crate::store::retention::Stored;
use crate::store::segment::SegmentReader;
use crate::store::{Error, name};
use crate::upkeep;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
}

/// Something to copy.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// The same below the source.
    pub(super) relative: PathBuf,
    pub(super) kind: Kind,
    pub(super) metadata: Metadata,
}

/// Goes through the source; of a tree it holds one directory for each level open.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    all: bool,
    open: Vec<ReadDir>,
    /// The root itself, until it was given.
    first: Option<Metadata>,
}

impl Walk {
    pub(super) fn new(root: &Path, all: bool) -> io::Result<Self> {
        let open = vec![at(root, std::fs::read_dir(root))?];
        let first = at(root, std::fs::symlink_metadata(root))?;
        Ok(Self { root: root.to_owned(), all, open, first: Some(first) })
    }

    /// The next thing to copy; what cannot be looked at is told.
    pub(super) fn next(&mut self, shared: &Shared<'_>) -> Option<Entry> {
        if let Some(metadata) = self.first.take() {
            let (path, relative) = (self.root.clone(), PathBuf::new());
            return Some(Entry { path, relative, kind: Kind::Directory, metadata });
        }
        while let Some(dir) = self.open.last_mut() {
            let entry = match dir.next() {
                None => {
                    self.open.pop();
                    continue;
                }
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    shared.fail(&self.root, error);
                    continue;
                }
            };
            let path = entry.path();
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed meanwhile, by retention say.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    shared.fail(&path, error);
                    continue;
                }
            };
            if let Some(entry) = self.look(path, metadata, shared) {
                return Some(entry);
            }
        }
        None
    }

    fn look(&mut self, path: PathBuf, metadata: Metadata, shared: &Shared<'_>) -> Option<Entry> {
        let relative = path.strip_prefix(&self.root).ok()?.to_owned();
        let kind = metadata.file_type();
        let kind = if kind.is_file() {
            Kind::File
        } else if !self.all {
            return None;
        } else if kind.is_symlink() {
            Kind::Symlink
        } else if kind.is_dir() {
            if path.file_name().is_some_and(|name| name == PART_DIR) {
                return None;
            }
            match std::fs::read_dir(&path) {
                Ok(dir) => self.open.push(dir),
                Err(error) => shared.fail(&path, error),
            }
            Kind::Directory
        } else {
            shared.note(&path, "neither a file, a directory nor a link; not copied");
            return None;
        };
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let is_wanted = match kind {
            // A copy of it would say that a logger had died whose lanes another one uses.
            Kind::File if self.all => !is_owner(file_name),
            Kind::File => is_complete(&path, file_name, shared),
            _ => true,
        };
        is_wanted.then_some(Entry { path, relative, kind, metadata })
    }
}

/// True for an owner file, under its own name or a temporary one.
fn is_owner(file_name: &str) -> bool {
    let temporary = file_name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
    let name = temporary.map_or(file_name, |(name, _)| name);
    name::parse_owner(name).is_some()
}

/// True for a segment to which nothing will be added.
fn is_complete(path: &Path, file_name: &str, shared: &Shared<'_>) -> bool {
    let Some(name) = name::parse(file_name).filter(|name| !name.spill) else { return false };
    match SegmentReader::open(path) {
        Ok(reader) => {
            let stored = Stored { path: path.to_owned(), name, bytes: 0 };
            reader.is_sealed() || !upkeep::is_owned(&stored, reader.header().uid)
        }
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            shared.fail(path, error);
            false
        }
    }
}
