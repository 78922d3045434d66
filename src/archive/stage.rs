//! Stage: new directories that get their names together with the short files in them, so that no
//! such file is named twice.
//!
//! ```text
//! .ttlog-part/7/         becomes logs/2026/ once all in it is synced
//! .ttlog-part/7/11/      is logs/2026/11/, and moves along
//! ```
//!
//! Short files are made there under their own names, before their sync. Others are renamed into it
//! when they are synced. Nobody makes anything there while directories get their names.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Directories that have no name yet.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// Where each of them lies, by its place.
    lies: HashMap<PathBuf, PathBuf>,
    /// Those that lie in no other one.
    outer: Vec<(PathBuf, PathBuf)>,
}

impl Stage {
    /// Where something lies meanwhile whose directory has no name yet.
    pub(super) fn find(&self, place: &Path) -> Option<PathBuf> {
        if self.lies.is_empty() {
            return None;
        }
        Some(self.lies.get(place.parent()?)?.join(place.file_name()?))
    }

    /// Where a directory lies that has no name yet.
    pub(super) fn of(&self, place: &Path) -> Option<&Path> {
        self.lies.get(place).map(PathBuf::as_path)
    }

    /// Makes a directory whose name comes later, as `part` unless it lies in one that is here.
    pub(super) fn make(&mut self, place: &Path, part: impl FnOnce() -> PathBuf) -> io::Result<()> {
        let inner = self.find(place);
        let is_outer = inner.is_none();
        let lies = inner.unwrap_or_else(part);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&lies);
        let is_there = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if made.as_ref().is_err_and(|error| is_outer || !is_there(error)) {
            return made;
        }
        if is_outer {
            self.outer.push((lies.clone(), place.to_owned()));
        }
        // Also where it is another name of one that is here: there is no other way to it.
        self.lies.insert(place.to_owned(), lies);
        made
    }

    /// Gives all of them their names; everything in them is complete. Returns those that have none
    /// now, and why.
    pub(super) fn publish(&mut self) -> Vec<(PathBuf, io::Error)> {
        self.lies.clear();
        let mut failed = Vec::new();
        for (lies, place) in self.outer.drain(..) {
            crate::crash::crash_point!("archive.directory");
            if let Err(error) = put(&lies, &place) {
                let _ = std::fs::remove_dir_all(&lies);
                failed.push((place, error));
            }
            crate::crash::crash_point!("archive.directory_named");
        }
        failed
    }
}

/// Renames a directory; where somebody made one of its name meanwhile, or a file system takes two
/// names for one, what is in it, so far as no directory is in a file's way.
fn put(lies: &Path, place: &Path) -> io::Result<()> {
    let error = match std::fs::rename(lies, place) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // Nothing is followed (A4).
    if !std::fs::symlink_metadata(place).is_ok_and(|there| there.is_dir()) {
        return Err(error);
    }
    for entry in std::fs::read_dir(lies)? {
        let entry = entry?;
        let place = place.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => put(&entry.path(), &place)?,
            false => std::fs::rename(entry.path(), &place)?,
        }
    }
    std::fs::remove_dir(lies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_somebody_made_meanwhile_gets_what_is_in_the_stage() {
        let dir = tempfile::tempdir().unwrap();
        let (part, place) = (dir.path().join("part"), dir.path().join("place"));
        let mut stage = Stage::default();
        assert_eq!(stage.find(&place.join("file")), None);
        stage.make(&place, || part.clone()).unwrap();
        stage.make(&place.join("inner"), || unreachable!("it lies in the other")).unwrap();
        let again = stage.make(&place.join("inner"), || unreachable!("as before"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        for path in ["file", "inner/file"].map(|path| place.join(path)) {
            std::fs::write(stage.find(&path).unwrap(), "staged").unwrap();
        }
        assert!(!place.exists() && part.join("inner/file").exists());
        std::fs::create_dir_all(place.join("inner")).unwrap();
        std::fs::write(place.join("inner/other"), "theirs").unwrap();
        assert!(stage.publish().is_empty());
        assert_eq!(stage.find(&place.join("file")), None);
        for path in ["file", "inner/file", "inner/other"] {
            assert!(place.join(path).exists(), "{path}");
        }
        assert!(!part.exists());
    }

    #[test]
    fn what_is_in_the_way_is_told_and_nothing_is_left_in_the_stage() {
        let dir = tempfile::tempdir().unwrap();
        let (part, place) = (dir.path().join("part"), dir.path().join("place"));
        let mut stage = Stage::default();
        stage.make(&place, || part.clone()).unwrap();
        std::fs::write(&place, "a file").unwrap();
        let failed = stage.publish();
        assert_eq!(failed.iter().map(|(place, _)| place).collect::<Vec<_>>(), [&place]);
        assert!(place.is_file() && !part.exists());
    }
}
