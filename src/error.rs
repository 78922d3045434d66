//! Error: what a caller of ttlog is told, with the path, the cause and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why ttlog could not do what was asked.
///
/// Opaque: its text names the path, the cause and the way out; [`Error::is_timeout`] and its
/// siblings tell the cases that a program may want to handle, [`std::error::Error::source`] gives
/// the cause. `Debug` gives the text too: it is what a `main` that returns the error shows.
pub struct Error {
    kind: Kind,
    path: Option<PathBuf>,
    source: Option<io::Error>,
}

/// The cases behind [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log directory cannot be used.
    Directory(&'static str),
    /// A thread could not be started.
    Thread,
    /// A global logger is there already.
    AlreadyInit,
    /// The time ran out before everything was there.
    Timeout,
    /// The logger has ended.
    Ended,
    /// This process is a forked child.
    Forked,
    /// The fork came while another thread changed what a child needs.
    ForkedAmid,
    /// A setting makes no sense.
    Setting(String),
    /// A directive of a filter is wrong.
    Filter(String),
    /// The disk failed what was asked for.
    Disk(&'static str),
    /// What a flight recorder keeps cannot be written down.
    Dump(&'static str),
    /// There is no flight recorder.
    NoRecorder,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, path: None, source: None }
    }

    /// A setting that makes no sense: `what` names it and what to do instead.
    pub(crate) fn config(what: impl Into<String>) -> Self {
        Self::new(Kind::Setting(what.into()))
    }

    pub(crate) fn at(kind: Kind, path: &Path, source: io::Error) -> Self {
        Self { kind, path: Some(path.to_owned()), source: Some(source) }
    }

    pub(crate) fn caused_by(kind: Kind, source: io::Error) -> Self {
        Self { kind, path: None, source: Some(source) }
    }

    /// True when the time ran out; what was asked for goes on, and may be asked for again.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// True when the process has a global logger already.
    #[must_use]
    pub fn is_already_init(&self) -> bool {
        self.kind == Kind::AlreadyInit
    }

    /// True when the logger has been shut down.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.kind == Kind::Ended
    }

    /// The file or directory that the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Directory(what) | Kind::Disk(what) | Kind::Dump(what) => f.write_str(what)?,
            Kind::Thread => f.write_str(
                "the logger's thread could not be started; see ulimit -u and the cgroup's pids.max",
            )?,
            Kind::AlreadyInit => f.write_str(
                "a global logger is there already; keep its handle, or shut it down before \
                 another init",
            )?,
            Kind::Timeout => f.write_str(
                "the time ran out before everything was written; nothing is lost, see health()",
            )?,
            Kind::Ended => {
                f.write_str("the logger has been shut down; init may be called again")?
            }
            Kind::Forked => {
                f.write_str(
                    "this is a forked child; call ttlog::reinit_after_fork, or exec a program",
                )?;
            }
            Kind::ForkedAmid => f.write_str(
                "the fork came while another thread was starting or ending a logger, which this \
                 child cannot finish; fork again, or exec a program",
            )?,
            Kind::NoRecorder => f.write_str(
                "the logger has no flight recorder; start it with Builder::flight_recorder, with \
                 lanes in shared memory",
            )?,
            Kind::Setting(what) | Kind::Filter(what) => f.write_str(what)?,
        }
        if let Some(path) = &self.path {
            write!(f, ": {}", path.display())?;
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
