//! Error: why a file is not read, and what is damaged in one that is.

use std::{fmt, io};

/// Why a file is refused as a whole.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file has no byte.
    Empty,
    /// The file does not begin like a segment.
    NotTtlog,
    /// A directory, pipe or device.
    NotAFile,
    /// The file is of a format that this version cannot read.
    Newer {
        /// The format's number in the file.
        found: u16,
        /// The newest format that is known.
        known: u16,
    },
    /// Both copies of the segment's header are damaged.
    DamagedHeader,
    /// The system refused to open or read it.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty: nothing was written to it yet"),
            Self::NotTtlog => {
                f.write_str("not a ttlog file: give a directory of segments, or *.ttlog files")
            }
            Self::NotAFile => f.write_str("not a regular file: give a directory or *.ttlog files"),
            Self::Newer { found, known } => write!(
                f,
                "made by a newer ttlog: format {found}, this one reads up to {known}; update ttlog"
            ),
            Self::DamagedHeader => f.write_str(
                "the header and its copy are damaged: the blocks cannot be checked without it",
            ),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A stretch of a segment that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Events that it cost, `None` when neither a header nor the index says.
    pub records: Option<u64>,
    /// What is wrong.
    pub reason: Reason,
    /// True in the last megabytes of a segment that is not sealed: where its writer lives, the
    /// bytes may still be on their way.
    pub tail: bool,
}

/// What is wrong with a stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// One copy of the segment's header; the other is whole.
    SegmentHeader,
    /// Zeros where a block should be.
    Zeros,
    /// No block's header where one should be.
    BlockHeader,
    /// A block's payload, or the padding behind it.
    Payload,
    /// The file ends inside a block.
    Cut,
    /// A block that only a newer version can read.
    Newer,
    /// A block in a zstd frame, which only a build with the feature `zstd` can read.
    NoZstd,
    /// Numbers that contradict each other under a checksum that is right.
    Contradiction,
    /// The index; the blocks are not concerned.
    Index,
    /// Bytes behind the index.
    Trailing,
    /// The system refused to read it.
    Unreadable,
}

impl Reason {
    /// The reason as it stands in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SegmentHeader => "one of the two segment headers is damaged",
            Self::Zeros => "zeros where a block should be",
            Self::BlockHeader => "no whole block header",
            Self::Payload => "the block's checksum does not match",
            Self::Cut => "the file ends inside a block",
            Self::Newer => "a block of a newer ttlog",
            Self::NoZstd => "a block packed with zstd, which this build was made without",
            Self::Contradiction => "the block's numbers contradict each other",
            Self::Index => "the index is damaged, no event is concerned",
            Self::Trailing => "bytes behind the end of the segment",
            Self::Unreadable => "the system could not read it",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at offset {}: {}", self.len, self.offset, self.reason.as_str())?;
        match self.records {
            Some(records) => write!(f, ", {records} events lost"),
            None => f.write_str(", an unknown number of events lost"),
        }
    }
}
