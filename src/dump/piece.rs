//! Piece: runs cut into pieces that stand in a dump by the time of their first records.

use std::collections::HashMap;

use crate::record::{HEAD_BYTES, Head, LANE_RETOLD, Losses, RawRun, RunHead};

/// Bytes of a piece, as a rule: small beside a block, so that blocks follow each other in time.
const PIECE_BYTES: usize = 16 << 10;

/// A piece of a run that was read.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// When its first record was logged.
    ticks: u64,
    head: RunHead,
    bytes: &'a [u8],
}

impl Piece<'_> {
    /// The piece as a run of its own.
    pub(super) fn into_run(self) -> RawRun {
        RawRun { head: self.head, bytes: self.bytes.to_vec() }
    }
}

/// The runs of a dump in the order in which they are written.
pub(super) fn in_order<'a>(recorded: &'a [RawRun], ordinary: &'a [RawRun]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut numbers: HashMap<(u32, u32), u64> = HashMap::new();
    for run in by_lane(recorded) {
        // What the recorder gave up is no loss of the log, and leaves no hole in the numbers.
        let number = numbers.entry((run.head.lane, run.head.generation)).or_default();
        *number = cut(run, *number, &Losses::NONE, &mut pieces);
    }
    let mut known: HashMap<(u32, u32), (Losses, u64)> = HashMap::new();
    for run in by_lane(ordinary) {
        // Losses that earlier runs told, which are not here, are not told again.
        let before = if run.head.first_record == 0 { Losses::NONE } else { run.head.losses };
        let (before, ticks) =
            known.entry((run.head.lane, run.head.generation)).or_insert((before, 0));
        let losses = run.head.losses.since(before);
        if run.bytes.is_empty() && !losses.is_empty() {
            // Losses alone stand where the lane was.
            let head = RunHead { losses, ..run.head.clone() };
            pieces.push(Piece { ticks: *ticks, head, bytes: &[] });
        }
        cut(run, run.head.first_record, &losses, &mut pieces);
        *ticks = pieces.last().map_or(0, |piece| piece.ticks).max(*ticks);
    }
    // Stable: what a lane has at one tick stays in its order. Spans are told before what is in them.
    pieces.sort_by_key(|piece| (piece.ticks, piece.head.lane != LANE_RETOLD));
    pieces
}

fn by_lane(runs: &[RawRun]) -> Vec<&RawRun> {
    let mut runs: Vec<&RawRun> = runs.iter().collect();
    runs.sort_by_key(|run| (run.head.lane, run.head.generation, run.head.position));
    runs
}

/// Cuts a run whose first record has this number; returns the number of the next.
fn cut<'a>(run: &'a RawRun, mut number: u64, losses: &Losses, pieces: &mut Vec<Piece<'a>>) -> u64 {
    let (mut position, mut rest) = (run.head.position, &run.bytes[..]);
    while let Some(first) = Head::read(rest).filter(|head| head.len() >= HEAD_BYTES) {
        let (mut len, mut count) = (0, 0);
        while len < PIECE_BYTES
            && let Some(head) = Head::read(&rest[len..]).filter(|head| head.len() >= HEAD_BYTES)
        {
            len += head.len();
            count += 1;
        }
        let (bytes, behind) = rest.split_at(len);
        rest = behind;
        // A pad belongs to the last one.
        let end = if rest.is_empty() { run.head.end } else { position + len as u64 };
        let head = RunHead {
            position,
            end,
            first_record: number,
            count,
            losses: *losses,
            ..run.head.clone()
        };
        pieces.push(Piece { ticks: first.ticks, head, bytes });
        (position, number) = (end, number + u64::from(count));
    }
    number
}

/// Of each lane the newest runs without a hole: what stands before one is of the time before.
pub(super) fn newest(mut runs: Vec<RawRun>) -> Vec<RawRun> {
    runs.sort_by_key(|run| (run.head.first_record, run.head.position));
    // The number of the first record that is kept, by lane; 0 behind a hole, before which none is.
    let mut firsts: HashMap<(u32, u32), u64> = HashMap::new();
    let mut kept = Vec::new();
    for run in runs.into_iter().rev() {
        let end = run.head.first_record + u64::from(run.head.count);
        let first = firsts.entry((run.head.lane, run.head.generation)).or_insert(end);
        if end < *first || *first == 0 && end > 0 {
            *first = 0;
            continue;
        }
        *first = run.head.first_record;
        kept.push(run);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, Level};

    fn run(generation: u32, ticks: impl Iterator<Item = u64>, losses: Losses) -> RawRun {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for tick in ticks {
            bytes.extend_from_slice(&Head::word(1, 0, 0, 0).to_le_bytes());
            bytes.extend_from_slice(&tick.to_le_bytes());
            count += 1;
        }
        let (position, end) = (4096, 4096 + bytes.len() as u64 + 8);
        let first_record = 7;
        let head = RunHead {
            generation,
            position,
            end,
            first_record,
            count,
            losses,
            ..RunHead::default()
        };
        RawRun { head, bytes }
    }

    #[test]
    fn pieces_stand_by_time_and_a_lane_stays_whole_and_in_order() {
        let (old, new) = (run(9, 0..5000, Losses::NONE), run(8, 2000..2010, Losses::NONE));
        let recorded = [new, old.clone()];
        let pieces = in_order(&recorded, &[]);
        let firsts: Vec<_> = pieces.iter().map(|piece| piece.head.generation).collect();
        assert_eq!(firsts, [9, 9, 8, 9, 9, 9], "five pieces of 1,024 records, and one between");
        let (mut position, mut number, mut bytes) = (4096, 0, Vec::new());
        for piece in pieces.iter().filter(|piece| piece.head.generation == 9) {
            assert_eq!((piece.head.position, piece.head.first_record), (position, number));
            (position, number) = (piece.head.end, number + u64::from(piece.head.count));
            bytes.extend_from_slice(piece.bytes);
        }
        assert_eq!((position, bytes), (old.head.end, old.bytes));
    }

    #[test]
    fn only_losses_of_the_log_between_its_runs_are_told() {
        let lost = |n| {
            let mut losses = Losses::NONE;
            losses.add(Cause::Full, Level::Info, n);
            losses
        };
        let behind = |mut run: RawRun, bytes: u64| {
            run.head.position += bytes;
            run.head.end += bytes;
            run
        };
        let first = run(1, 0..2, lost(5));
        let second = behind(run(1, 4..6, lost(8)), 1000);
        let alone = behind(run(1, 0..0, lost(9)), 2000);
        let (recorded, ordinary) = ([run(2, 1..2, lost(99))], [alone, second, first]);
        let pieces = in_order(&recorded, &ordinary);
        let told: Vec<_> = pieces.iter().map(|piece| piece.head.losses.total()).collect();
        assert_eq!(told, [0, 0, 3, 4]);
        assert_eq!(pieces[3].head.count, 0);
    }

    #[test]
    fn of_a_lane_the_newest_stay_that_have_no_hole() {
        let at = |generation: u32, first_record: u64| {
            let mut run = run(generation, 0..3, Losses::NONE);
            run.head.first_record = first_record;
            run.head.position = 24 * first_record;
            run
        };
        let runs = vec![at(1, 0), at(1, 3), at(1, 7), at(2, 0), at(1, 10), at(2, 3)];
        let mut kept: Vec<_> =
            newest(runs).iter().map(|run| (run.head.generation, run.head.first_record)).collect();
        kept.sort_unstable();
        assert_eq!(kept, [(1, 7), (1, 10), (2, 0), (2, 3)]);
    }
}
