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
    /// A block is missing before another: of blocks that were written at a time, the later may have
    /// come to the disk without the earlier.
    pub(super) has_holes: bool,
}

impl Held {
    pub(super) fn of(segments: &[Segment]) -> io::Result<Self> {
        let mut held = Self::default();
        let mut payload = Vec::new();
        for segment in segments {
            let mut reader = segment.open()?;
            let mut is_damaged = false;
            while let Some(entry) = reader.next_entry()? {
                let Entry::Block(found) = entry else {
                    is_damaged = true;
                    continue;
                };
                if found.header.kind != block::KIND_EVENTS {
                    continue;
                }
                if reader.read_block(&found, &mut payload).is_err() {
                    is_damaged = true;
                    continue;
                }
                held.has_holes |= is_damaged;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample_run as run;

    #[test]
    fn a_block_that_is_missing_before_another_is_a_hole_and_one_at_the_end_is_none() {
        use crate::store::segment::SegmentHeader;
        use crate::store::{Builder, name};
        let dir = tempfile::tempdir().unwrap();
        let header = SegmentHeader { logger: 7, number: 2, app: "app".into(), ..Default::default() };
        let path = dir.path().join(name::segment("app", 0, 7, 2));
        let mut builder = Builder::new(header.clone());
        builder.push_run(&run(0, 2)).unwrap();
        builder.seal_block().unwrap();
        let first = header.first_block() as usize;
        let mut bytes = builder.take();
        let second = bytes.len();
        builder.push_run(&run(48, 2)).unwrap();
        bytes.extend(builder.finish_unsealed().unwrap());
        let has_holes = |without: std::ops::Range<usize>| {
            let mut bytes = bytes.clone();
            bytes[without].fill(0);
            std::fs::write(&path, bytes).unwrap();
            Held::of(&[Segment::at(path.clone(), 7).unwrap()]).unwrap().has_holes
        };
        assert!(!has_holes(0..0), "nothing is missing");
        assert!(has_holes(first..second), "the first block");
        assert!(!has_holes(second..bytes.len()), "the last block");
    }
}
