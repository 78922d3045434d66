//! Held: what a dead logger's segments hold already.

use std::io;

use super::segment::Segment;
use crate::record::{Covered, RunHead};
use crate::store::block;
use crate::store::segment::Entry;

/// What segments hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) covered: Covered,
    /// Places where blocks are damaged.
    pub(super) damaged: u64,
}

impl Held {
    pub(super) fn of(segments: &[Segment]) -> io::Result<Self> {
        let mut held = Self::default();
        let mut payload = Vec::new();
        for segment in segments {
            let mut reader = segment.open()?;
            while let Some(entry) = reader.next_entry()? {
                let found = match entry {
                    Entry::Block(found) => found,
                    Entry::Damage(_) => {
                        held.damaged += 1;
                        continue;
                    }
                    Entry::Unfinished { .. } => continue,
                };
                if found.header.kind != block::KIND_EVENTS {
                    continue;
                }
                if reader.read_block(&found, &mut payload).is_err() {
                    held.damaged += 1;
                    continue;
                }
                let Some(sections) = block::sections(&payload, &found.header) else { continue };
                let mut runs = sections.runs;
                while let Some((head, _, head_len, body_len)) = RunHead::decode(runs) {
                    held.covered.add(&head);
                    let Some(rest) = runs.get(head_len + body_len..) else { break };
                    runs = rest;
                }
            }
        }
        Ok(held)
    }
}
