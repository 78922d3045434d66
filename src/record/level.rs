//! Level: how severe an event is.

use std::fmt;
use std::str::FromStr;

/// How severe an event is: `TRACE < DEBUG < INFO < WARN < ERROR`.
///
/// Note that tracing orders its levels the other way round, by verbosity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Very detailed, low value.
    Trace = 0,
    /// Of use to the developer.
    Debug = 1,
    /// Of use to the operator.
    Info = 2,
    /// Hazardous situations.
    Warn = 3,
    /// Serious errors.
    Error = 4,
}

impl Level {
    /// [`Level::Trace`], under the name that tracing gives it.
    pub const TRACE: Self = Self::Trace;
    /// [`Level::Debug`], under the name that tracing gives it.
    pub const DEBUG: Self = Self::Debug;
    /// [`Level::Info`], under the name that tracing gives it.
    pub const INFO: Self = Self::Info;
    /// [`Level::Warn`], under the name that tracing gives it.
    pub const WARN: Self = Self::Warn;
    /// [`Level::Error`], under the name that tracing gives it.
    pub const ERROR: Self = Self::Error;
    /// All levels, least severe first; a level's number is its index.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The level's name in capitals, as it stands in every output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    /// The level with this number, as it stands in files.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Trace),
            1 => Some(Self::Debug),
            2 => Some(Self::Info),
            3 => Some(Self::Warn),
            4 => Some(Self::Error),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLevelError;

impl fmt::Display for ParseLevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a level: use trace, debug, info, warn or error")
    }
}

impl std::error::Error for ParseLevelError {}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .or(match text {
                "1" => Some(Self::Error),
                "2" => Some(Self::Warn),
                "3" => Some(Self::Info),
                "4" => Some(Self::Debug),
                "5" => Some(Self::Trace),
                _ => None,
            })
            .ok_or(ParseLevelError)
    }
}
