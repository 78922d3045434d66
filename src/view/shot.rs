//! Shot: what was found in lanes and staging, until the merge needs it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::lane::outside::Snapshot;
use crate::record::RunHead;

use super::item::Logger;

/// What lies in one logger's lanes and staging.
#[derive(Debug)]
pub(super) struct Shot {
    pub(super) logger: Arc<Logger>,
    pub(super) place: PathBuf,
    pub(super) snapshot: Snapshot,
    pub(super) runs: Vec<Run>,
}

/// A run of a lane or of staging until its time comes.
#[derive(Debug)]
pub(super) enum Run {
    Memory(RunHead, Vec<u8>),
    Spooled(RunHead, u64, usize),
    Taken,
}

impl Run {
    pub(super) fn head(&self) -> Option<&RunHead> {
        match self {
            Self::Memory(head, _) | Self::Spooled(head, ..) => Some(head),
            Self::Taken => None,
        }
    }

    pub(super) fn bytes_in_memory(&self) -> usize {
        if let Self::Memory(_, bytes) = self { bytes.len() } else { 0 }
    }
}
