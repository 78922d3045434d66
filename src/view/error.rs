//! Error: why a path of a log cannot be read.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::render::escape::printable;
use crate::store;

/// Why a path of a log cannot be read.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Store(store::Error),
    NoLogs,
}

impl Error {
    pub(super) fn new(path: &Path, error: store::Error) -> Self {
        Self { path: path.to_owned(), cause: Cause::Store(error) }
    }

    /// What the system said when it was to be opened; shown with what helps against it.
    #[must_use]
    pub fn io(path: &Path, error: std::io::Error) -> Self {
        Self::new(path, store::Error::Io(error))
    }

    pub(super) fn no_logs(path: &Path) -> Self {
        Self { path: path.to_owned(), cause: Cause::NoLogs }
    }

    /// True when the file is not there.
    pub(super) fn is_gone(&self) -> bool {
        let Cause::Store(store::Error::Io(error)) = &self.cause else { return false };
        error.kind() == std::io::ErrorKind::NotFound
    }

    /// The path that cannot be read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", printable(&self.path.to_string_lossy()))?;
        match &self.cause {
            Cause::Store(store::Error::Io(error)) => {
                use std::io::ErrorKind;
                write!(f, "{error}")?;
                match error.kind() {
                    ErrorKind::NotFound => {
                        f.write_str("; give the directory that the program was started with")
                    }
                    ErrorKind::PermissionDenied => {
                        f.write_str("; read it as the user that wrote it")
                    }
                    _ => Ok(()),
                }
            }
            Cause::Store(error) => write!(f, "{error}"),
            Cause::NoLogs => f.write_str(
                "no ttlog files in this directory; give the one that the program logs to",
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Store(error) => Some(error),
            Cause::NoLogs => None,
        }
    }
}
