//! Walk: what there is to copy, found as it is asked for: directories before what they hold.

use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Dirs;
use super::verify::is_segment;
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

/// What comes next.
#[derive(Debug)]
pub(super) enum Found {
    Entry(Entry),
    /// A file of a directory that is [new](Walk::is_new), not looked at yet.
    Name(Arc<Dirs>, OsString),
}

/// Goes through the source; of a tree it holds one directory for each level open.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    all: bool,
    open: Vec<Open>,
    /// The root itself, until it was given.
    first: Option<Metadata>,
}

/// A directory, and where the copies of its files are made if it is new.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    dir: ReadDir,
    new: Option<Arc<Dirs>>,
}

impl Walk {
    pub(super) fn new(root: &Path, all: bool) -> io::Result<Self> {
        let dir = at(root, std::fs::read_dir(root))?;
        let open = vec![Open { path: root.to_owned(), dir, new: None }];
        let first = at(root, std::fs::symlink_metadata(root))?;
        Ok(Self { root: root.to_owned(), all, open, first: Some(first) })
    }

    /// Says of the directory that came last that nothing is in its copy yet.
    pub(super) fn is_new(&mut self, dirs: Dirs) {
        // One that cannot be listed is not open.
        if let Some(last) = self.open.last_mut().filter(|last| last.path == dirs.from) {
            last.new = Some(Arc::new(dirs));
        }
    }

    /// Passes over what is in the directory that came last: its copy cannot be made.
    pub(super) fn pass_over(&mut self, dir: &Path) {
        let _ = self.open.pop_if(|last| last.path == dir);
    }

    /// Says that directories which were new have got their names.
    pub(super) fn none_is_new(&mut self) {
        self.open.iter_mut().for_each(|open| open.new = None);
    }

    /// Looks at a file that came by its name alone; none if it is gone.
    pub(super) fn look_at(&self, dirs: &Dirs, name: &OsStr, shared: &Shared<'_>) -> Option<Entry> {
        let path = dirs.from.join(name);
        let relative = path.strip_prefix(&self.root).ok()?.to_owned();
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Some(Entry { path, relative, kind: Kind::File, metadata }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                shared.fail(&path, error);
                None
            }
        }
    }

    /// The next thing to copy; what cannot be looked at is told.
    pub(super) fn next(&mut self, shared: &Shared<'_>) -> Option<Found> {
        if let Some(metadata) = self.first.take() {
            let (path, relative) = (self.root.clone(), PathBuf::new());
            return Some(Found::Entry(Entry { path, relative, kind: Kind::Directory, metadata }));
        }
        while let Some(open) = self.open.last_mut() {
            let entry = match open.dir.next() {
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
            if let Some(dirs) = &open.new
                && let Some(name) = short_name(&entry)
            {
                return Some(Found::Name(dirs.clone(), name));
            }
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
                return Some(Found::Entry(entry));
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
                Ok(dir) => self.open.push(Open { path: path.clone(), dir, new: None }),
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

/// The name of a file of which nothing else need be known yet.
fn short_name(entry: &DirEntry) -> Option<OsString> {
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    let name = is_file.then(|| entry.file_name())?;
    let is_ours = is_owner(name.to_str().unwrap_or("")) || is_segment(Path::new(&name));
    (!is_ours).then_some(name)
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
