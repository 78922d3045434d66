//! Source: the paths that a reader was given.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::lane::outside::{self, Owner};
use crate::store;

use super::error::Error;
use super::items::Items;
use super::plan::list;
use super::query::Query;

/// Logs to read: directories, segments and spill files.
#[derive(Debug, Default, Clone)]
pub struct Source {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

impl Source {
    /// Opens a directory of logs (not the directories in it), a segment or a spill file.
    ///
    /// # Errors
    ///
    /// When the path does not exist, cannot be read, or is a directory without logs.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut source = Self::default();
        source.add(path.as_ref())?;
        Ok(source)
    }

    /// Opens several paths as one source; those that cannot be opened are told and left out.
    pub fn open_all<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> (Self, Vec<Error>) {
        let mut source = Self::default();
        let paths = paths.into_iter();
        let errors = paths.filter_map(|path| source.add(path.as_ref()).err()).collect();
        (source, errors)
    }

    /// True when there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty() && self.files.is_empty()
    }

    /// True when a directory holds logs or the owner files of loggers.
    #[must_use]
    pub fn is_log_dir(dir: &Path) -> bool {
        list(dir).is_ok_and(|files| !files.is_empty())
            || outside::owners(dir).is_ok_and(|(owners, _)| !owners.is_empty())
    }

    /// The segments and spill files, as they are listed now.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.list().0.into_iter().map(|(path, _)| path).collect()
    }

    /// Reads what the query asks for.
    #[must_use]
    pub fn query(&self, query: &Query) -> Items {
        Items::new(self, query.clone(), None)
    }

    /// Reads everything, tells only damage.
    #[must_use]
    pub fn verify(&self) -> Items {
        let query = Query { check: true, ..Query::new() };
        Items::new(self, query, None)
    }

    /// Reads what the query asks for and goes on with what is logged from now on: see
    /// [`Items::refresh`]. What is there already is shown from `start_ns` on.
    #[must_use]
    pub fn follow(&self, query: &Query, start_ns: i64) -> Items {
        let query = Query { reverse: false, ..query.clone() };
        Items::new(self, query, Some(start_ns))
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let explain = |error: std::io::Error| Error::new(path, error.into());
        let metadata = std::fs::metadata(path).map_err(explain)?;
        if metadata.is_file() {
            self.files.push(path.to_owned());
        } else if metadata.is_dir() {
            list(path).map_err(explain)?;
            if !Self::is_log_dir(path) {
                return Err(Error::no_logs(path));
            }
            self.dirs.push(path.to_owned());
        } else {
            return Err(Error::new(path, store::Error::NotAFile));
        }
        Ok(())
    }

    /// The files as they are listed now; true beside those that come from a listing.
    pub(super) fn list(&self) -> (Vec<(PathBuf, bool)>, Vec<Error>) {
        let mut seen = HashSet::new();
        let mut files: Vec<(PathBuf, bool)> = Vec::new();
        let mut errors = Vec::new();
        for dir in &self.dirs {
            let (owners, _) = outside::owners(dir).unwrap_or_default();
            // What is renamed while names are listed may show under neither.
            let twice = owners.iter().any(|found| found.owner.spill.is_some());
            if let Some(paths) = twice.then(|| list(dir).ok()).flatten() {
                files.extend(paths.into_iter().map(|path| (path, true)));
            }
            let spills = |owner: Owner| {
                let spill = owner.spill.filter(|spill| spill != dir)?;
                // One that is gone held nothing, or what it held is in the log by now.
                store::spill::of(&spill, owner.logger).ok()
            };
            let spilled = owners.into_iter().filter_map(|found| spills(found.owner)).flatten();
            files.extend(spilled.map(|path| (path, true)));
            match list(dir) {
                Ok(paths) => files.extend(paths.into_iter().map(|path| (path, true))),
                Err(error) => errors.push(Error::new(dir, error.into())),
            }
        }
        files.extend(self.files.iter().map(|path| (path.clone(), false)));
        // A file that is also in a directory that was given is one file.
        let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        files.retain(|(path, _)| seen.insert(same(path)));
        (files, errors)
    }
}
