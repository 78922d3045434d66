//! Covered: which byte ranges of lanes are known already (rule S2).

use std::collections::{BTreeMap, HashMap};

use super::{HEAD_BYTES, Head, Losses, RawRun, RunHead};

/// Byte ranges by (lane, generation), and the losses told with them.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    /// Start to end; ranges do not touch.
    ranges: HashMap<(u32, u32), BTreeMap<u64, u64>>,
    losses: HashMap<(u32, u32), Losses>,
}

impl Covered {
    /// Adds the range of a run.
    pub(crate) fn add(&mut self, head: &RunHead) {
        let key = (head.lane, head.generation);
        let told = self.losses.entry(key).or_default();
        if head.losses.total() > told.total() {
            *told = head.losses;
        }
        let ranges = self.ranges.entry(key).or_default();
        let (mut start, mut end) = (head.position, head.end);
        while let Some((&from, &to)) = ranges.range(..=end).next_back() {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            ranges.remove(&from);
        }
        if start < end {
            ranges.insert(start, end);
        }
    }

    /// The last hand-out of a lane that segments hold something of; 0 for none.
    pub(crate) fn last_generation(&self, lane: u32) -> u32 {
        let of = self.ranges.keys().filter(|(other, _)| *other == lane);
        of.map(|(_, generation)| *generation).max().unwrap_or(0)
    }

    /// Losses told by all lanes together.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.values().map(Losses::total).sum()
    }

    /// What was told of losses, by lane and generation.
    pub(crate) fn losses(&self) -> HashMap<(u32, u32), Losses> {
        self.losses.clone()
    }

    /// The parts of these runs that are not covered, each byte range once; they are covered then.
    pub(crate) fn missing(&mut self, mut runs: Vec<RawRun>) -> Vec<RawRun> {
        runs.sort_by_key(|run| (run.head.generation, run.head.lane, run.head.position));
        let mut missing = Vec::new();
        for run in runs {
            for part in self.cut(&run) {
                self.add(&part.head);
                missing.push(part);
            }
        }
        missing
    }

    fn cut(&self, run: &RawRun) -> Vec<RawRun> {
        let key = (run.head.lane, run.head.generation);
        let ranges = self.ranges.get(&key);
        let is_covered = |position: u64, end: u64| {
            ranges
                .and_then(|ranges| ranges.range(..=position).next_back())
                .is_some_and(|(_, &to)| to >= end)
        };
        let told = self.losses.get(&key).copied().unwrap_or_default();
        let tells_losses = run.head.losses.total() > told.total();
        let mut parts: Vec<RawRun> = Vec::new();
        let (mut position, mut number, mut rest) =
            (run.head.position, run.head.first_record, &run.bytes[..]);
        let mut open = false;
        while let Some(head) = Head::read(rest).filter(|head| head.len() >= HEAD_BYTES) {
            let len = head.len();
            let end = position + len as u64;
            if is_covered(position, end) {
                open = false;
            } else {
                if !open {
                    let head = RunHead {
                        position,
                        end: position,
                        first_record: number,
                        count: 0,
                        ..run.head.clone()
                    };
                    parts.push(RawRun { head, bytes: Vec::new() });
                    open = true;
                }
                let part = parts.last_mut().expect("pushed above");
                part.head.end = end;
                part.head.count += 1;
                part.bytes.extend_from_slice(&rest[..len]);
            }
            (position, number, rest) = (end, number + 1, &rest[len..]);
        }
        if open && let Some(part) = parts.last_mut() {
            part.head.end = run.head.end;
        }
        if parts.is_empty() && tells_losses {
            let head = RunHead { position: run.head.end, count: 0, ..run.head.clone() };
            parts.push(RawRun { head, bytes: Vec::new() });
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of 24 bytes each from a position on.
    fn run(position: u64, n_records: u64) -> RawRun {
        let record = [Head::word(1, 1, 0, 0).to_le_bytes(), [0; 8], [7; 8]].concat();
        RawRun {
            head: RunHead {
                lane: 1,
                generation: 2,
                position,
                end: position + n_records * 24,
                first_record: position / 24,
                count: n_records as u32,
                ..RunHead::default()
            },
            bytes: record.repeat(n_records as usize),
        }
    }

    #[test]
    fn s2_a_partial_overlap_is_cut_at_records() {
        let mut covered = Covered::default();
        covered.add(&run(0, 2).head);
        covered.add(&run(96, 1).head);
        let missing = covered.missing(vec![run(24, 6), run(0, 3), run(24, 6)]);
        let found: Vec<_> =
            missing.iter().map(|r| (r.head.position, r.head.first_record, r.head.count)).collect();
        assert_eq!(found, [(48, 2, 1), (72, 3, 1), (120, 5, 2)]);
        assert!(missing.iter().all(|run| run.bytes.len() == run.head.count as usize * 24));
    }
}
