//! Error: what opening, configuring and writing may answer, as one opaque type.

use std::fmt;

/// Says what could not be done and names the way out.
#[derive(Debug)]
pub struct Error {
    what: String,
}

impl Error {
    /// An error of configuration: `what` names the setting and what to do instead.
    pub(crate) fn config(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}
