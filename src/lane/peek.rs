//! Peek: reads the file of a lane piece by piece, without mapping it (S5).
//!
//! A piece is believed only as far as head and identity, read again behind it, still cover it: what
//! the consumer took meanwhile may have been overwritten, and is in staging or a segment by now.

use std::fs::File;
use std::io;
use std::time::Duration;

use super::memory::HEADER_BYTES;
use super::ring::{LANE_MAGIC, LANE_VERSION, LOSS_WORDS, word};
use crate::record::{Cause, HEAD_BYTES, Head, LEVELS, Level, Losses, RECORD_PAD, RawRun, RunHead};

/// A lane is at most this long.
const LANE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a lane that are in memory at once; longer than any record.
const PIECE_BYTES: u64 = 1 << 20;
/// No lane comes so far: at a gigabyte a second it takes a century.
const POSITION_MAX: u64 = 1 << 62;
/// How often a lane that changes hands while it is read is read again.
pub(super) const TRIES: usize = 8;
/// The same for a lane of a flight recorder, which keeps nothing elsewhere: a thread that does nothing
/// but record goes once around a small one in about the time that it takes to copy.
const RECORDER_TRIES: usize = 200;
/// How often a lane's header is read until it stands still: two reads are a microsecond apart.
const HEADER_TRIES: usize = 1000;

/// How often a header that stands still may contradict itself, a millisecond apart.
const LIES_MAX: u32 = 10;

/// Something that can be read at an offset: a file, or a copy of one.
pub(super) trait Bytes {
    fn len(&self) -> io::Result<u64>;
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, offset)
    }
}

impl Bytes for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let from = from.and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Gives the runs of a lane to `each`, one at a time; at least one, which may tell losses alone.
pub(super) fn read_lane<B: Bytes + ?Sized>(
    file: &B,
    logger: u64,
    each: &mut dyn FnMut(RawRun),
) -> io::Result<()> {
    for _ in 0..TRIES {
        let Some(header) = LaneHeader::read_whole(file, logger)? else { return Ok(()) };
        if header.read(file, logger, each)? {
            return Ok(());
        }
    }
    // It changes hands faster than it is read: it is not the lane's content that is in danger.
    Ok(())
}

/// The runs of a flight recorder's lane: of a thread that overtakes every try, what the last one got.
pub(super) fn read_recorder<B: Bytes + ?Sized>(file: &B, logger: u64) -> io::Result<Vec<RawRun>> {
    let mut runs = Vec::new();
    for _ in 0..RECORDER_TRIES {
        let Some(header) = LaneHeader::read_whole(file, logger)? else { break };
        runs.clear();
        if header.read(file, logger, &mut |run| runs.push(run))? {
            break;
        }
    }
    Ok(runs)
}

/// A header page, copied.
pub(super) struct Words(Box<[u8; HEADER_BYTES]>);

impl Words {
    pub(super) fn read<B: Bytes + ?Sized>(file: &B) -> io::Result<Self> {
        let mut bytes = Box::new([0; HEADER_BYTES]);
        file.read_exact_at(&mut bytes[..], 0)?;
        Ok(Self(bytes))
    }

    /// True when no hand-out began and no head moved between two copies.
    fn stands_still(&self, later: &Self) -> bool {
        let fixed = [word::MAGIC, word::VERSION, word::LOGGER, word::CAPACITY];
        let words = fixed.into_iter().chain([word::GENERATION, word::HEAD]);
        words.into_iter().all(|at| self.get(at) == later.get(at))
    }

    pub(super) fn get(&self, index: usize) -> u64 {
        let bytes = self.0[index * 8..].first_chunk().expect("the index is within the page");
        u64::from_le_bytes(*bytes)
    }
}

pub(super) fn lie(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What a lane's header says, checked.
struct LaneHeader {
    lane: u32,
    generation: u32,
    capacity: u64,
    head: u64,
    tail: u64,
    n_taken: u64,
    /// One of the two slots belongs to the head.
    has_slot: bool,
    tid: u32,
    thread: String,
    losses: Losses,
    /// What of the losses runs have told by now.
    told: Losses,
    /// How far the lane was committed at the last loss.
    lost_at: u64,
}

impl LaneHeader {
    /// `Ok(None)`: nobody has this lane at the moment. An error may come of a page that changed while
    /// it was copied.
    fn parse<B: Bytes + ?Sized>(words: &Words, file: &B, logger: u64) -> io::Result<Option<Self>> {
        let generation = words.get(word::GENERATION);
        if generation == 0 {
            return Ok(None);
        }
        if words.get(word::MAGIC) != LANE_MAGIC
            || words.get(word::VERSION) & u64::from(u32::MAX) != LANE_VERSION
            || words.get(word::VERSION) >> 32 != HEADER_BYTES as u64
            || words.get(word::LOGGER) != logger
        {
            return Err(lie("not a lane of this logger"));
        }
        let capacity = words.get(word::CAPACITY);
        let sane = capacity.is_power_of_two() && (4096..=LANE_BYTES_MAX).contains(&capacity);
        if !sane || file.len()? < HEADER_BYTES as u64 + capacity {
            return Err(lie("a lane whose length is not what it says"));
        }
        let (head, tail) = (words.get(word::HEAD), words.get(word::TAIL));
        let sane = tail <= POSITION_MAX && head % 8 == 0 && tail % 8 == 0;
        if !sane || head > tail || tail - head > capacity {
            return Err(lie("a lane whose head and tail contradict each other"));
        }
        // S4: the slot whose head is the head. A slot is written before the head is.
        let slot = word::SLOTS.into_iter().find(|&slot| words.get(slot) == head);
        let n_taken = slot.map(|slot| words.get(slot + 1).min(POSITION_MAX));
        let evicted = |level: usize| slot.map_or(0, |slot| words.get(slot + 2 + level));
        let name_len = (words.get(word::NAME_LEN) as usize).min(64);
        let name = &words.0[word::NAME * 8..][..name_len];
        let losses = |from: usize| {
            let mut losses = Losses::NONE;
            for at in 0..LOSS_WORDS {
                let (cause, level) = (Cause::ALL[at / LEVELS], Level::ALL[at % LEVELS]);
                losses.set(cause, level, words.get(from + at));
            }
            for level in Level::ALL {
                losses.set(Cause::Evicted, level, evicted(level as usize));
            }
            losses
        };
        Ok(Some(Self {
            lane: words.get(word::LANE) as u32,
            generation: generation as u32,
            capacity,
            head,
            tail,
            n_taken: n_taken.unwrap_or(0),
            has_slot: n_taken.is_some(),
            tid: words.get(word::TID) as u32,
            thread: String::from_utf8_lossy(name).into_owned(),
            losses: losses(word::LOSSES),
            told: losses(word::TOLD),
            lost_at: words.get(word::LOST_AT),
        }))
    }

    /// Reads until the page did not change while it was copied: head, its slot and the identity
    /// belong together then (S4). `Ok(None)` as well when the lane changes hands all the time.
    fn read_whole<B: Bytes + ?Sized>(file: &B, logger: u64) -> io::Result<Option<Self>> {
        let first = Words::read(file)?;
        let mut words = Words::read(file)?;
        let mut n_lies = 0;
        for _ in 0..HEADER_TRIES {
            let again = Words::read(file)?;
            let stands_still = words.stands_still(&again);
            words = again;
            if !stands_still {
                continue;
            }
            let lie = match Self::parse(&words, file, logger) {
                Ok(Some(header)) if header.has_slot => return Ok(Some(header)),
                Ok(Some(_)) => lie("a lane whose header contradicts itself"),
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            // A hand-out is being written, by a thread that may have to wait for a processor.
            n_lies += 1;
            if n_lies == LIES_MAX {
                return Err(lie);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match words.get(word::GENERATION) == first.get(word::GENERATION) {
            true => Err(lie("a lane whose header never stands still")),
            false => Ok(None),
        }
    }

    /// True when `after` is the same hand-out, later.
    fn goes_on_as(&self, after: &Self) -> bool {
        after.generation == self.generation
            && after.capacity == self.capacity
            && after.head >= self.head
    }

    /// The bytes from `position` to `end`, which do not wrap.
    fn copy<B: Bytes + ?Sized>(&self, file: &B, position: u64, end: u64) -> io::Result<Vec<u8>> {
        let at = position & (self.capacity - 1);
        let mut bytes = vec![0; (end - position) as usize];
        file.read_exact_at(&mut bytes, HEADER_BYTES as u64 + at)?;
        Ok(bytes)
    }

    /// The head of a run that tells all losses, or those alone that other runs have told before.
    fn run_head(
        &self,
        (position, end): (u64, u64),
        (first_record, count): (u64, u32),
        all: bool,
    ) -> RunHead {
        RunHead {
            lane: self.lane,
            generation: self.generation,
            position,
            end,
            first_record,
            count,
            tid: self.tid,
            thread: self.thread.clone(),
            losses: if all { self.losses } else { self.told },
        }
    }

    /// Reads from head to tail; false when the lane changed hands meanwhile. What was given to
    /// `each` is right all the same. What was lost and not told stands where it happened: what found
    /// no room, behind the records that filled the lane.
    fn read<B: Bytes + ?Sized>(
        &self,
        file: &B,
        logger: u64,
        each: &mut dyn FnMut(RawRun),
    ) -> io::Result<bool> {
        let (mut position, mut number, mut told_all) = (self.head, self.n_taken, false);
        let is_news = !self.losses.since(&self.told).is_empty();
        let mut losses_at = if is_news { self.lost_at.min(self.tail) } else { 0 };
        while position < self.tail || !told_all {
            let buffer_end = (position | (self.capacity - 1)) + 1;
            let end = buffer_end.min(self.tail).min(position + PIECE_BYTES).max(position);
            let end = if position < losses_at { end.min(losses_at) } else { end };
            let bytes = self.copy(file, position, end)?;
            let Some(after) = Self::read_whole(file, logger)? else { return Ok(false) };
            if !self.goes_on_as(&after) || after.head > self.tail {
                return Ok(false);
            }
            let start = position;
            if after.head > position {
                (position, number) = (after.head, after.n_taken);
            }
            if position > end || position == end && end < self.tail {
                // All of the piece is gone, and there is another behind it.
                continue;
            }
            let piece = &bytes[(position - start) as usize..];
            let at_end = end == buffer_end;
            let (count, len) = whole_records(piece, at_end, !at_end && end < self.tail)?;
            // A pad belongs to the run before it.
            let run_end = if at_end { end } else { position + len as u64 };
            if run_end == position && position < losses_at {
                losses_at = 0; // within a record, where no loss can be
                continue;
            }
            if run_end == position && position < self.tail {
                return Err(lie("a lane with a record that is too long"));
            }
            told_all = position >= losses_at;
            let head = after.run_head((position, run_end), (number, count), told_all);
            each(RawRun { head, bytes: piece[..len].to_vec() });
            number += u64::from(count);
            position = run_end;
        }
        Ok(true)
    }
}

/// Number and length of the whole records at the start of a chunk. What is behind them is a pad,
/// allowed only at the buffer's end, or, in a chunk that was cut anywhere, the start of a record.
fn whole_records(chunk: &[u8], at_end: bool, is_cut: bool) -> io::Result<(u32, usize)> {
    let (mut count, mut len) = (0, 0);
    while len < chunk.len() {
        let rest = &chunk[len..];
        if at_end && rest.len() < HEAD_BYTES {
            break;
        }
        let Some(head) = Head::read(rest) else {
            if is_cut {
                break;
            }
            return Err(lie("a lane with a record that is too long"));
        };
        if head.kind == RECORD_PAD {
            if at_end && head.len() == rest.len() {
                break;
            }
            return Err(lie("a lane with a pad in the middle"));
        }
        len += head.len();
        count += 1;
    }
    Ok((count, len))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const CAPACITY: u64 = 4096;
    const RECORD: u64 = 16;

    /// A full lane whose consumer takes all up to here while its first piece is copied.
    struct Moving {
        head: Cell<u64>,
        moves_to: u64,
        tail: u64,
    }

    /// A full lane whose thread goes around it so many times, each while a piece is copied.
    struct Overtaking {
        head: Cell<u64>,
        rounds: Cell<u64>,
    }

    impl Bytes for Overtaking {
        fn len(&self) -> io::Result<u64> {
            Ok(HEADER_BYTES as u64 + CAPACITY)
        }

        fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            let head = self.head.get();
            Moving { head: Cell::new(head), moves_to: head, tail: head + CAPACITY }
                .read_exact_at(bytes, offset)?;
            if offset > 0 && self.rounds.get() > 0 {
                self.rounds.set(self.rounds.get() - 1);
                self.head.set(head + CAPACITY + RECORD);
            }
            Ok(())
        }
    }

    #[test]
    fn a_recorder_that_overtakes_its_reader_again_and_again_is_read_in_the_end() {
        for rounds in [0, 1, 50] {
            let lane = Overtaking { head: Cell::new(CAPACITY / 2), rounds: Cell::new(rounds) };
            let runs = read_recorder(&lane, 0).unwrap();
            let first = (CAPACITY / 2 + rounds * (CAPACITY + RECORD)) / RECORD;
            assert_eq!(runs.first().map(|run| run.head.first_record), Some(first));
            let count: u64 = runs.iter().map(|run| u64::from(run.head.count)).sum();
            assert_eq!(count, CAPACITY / RECORD, "all of it, once: {rounds}");
        }
    }

    impl Bytes for Moving {
        fn len(&self) -> io::Result<u64> {
            Ok(HEADER_BYTES as u64 + CAPACITY)
        }

        fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            if offset == 0 {
                let version = LANE_VERSION | (HEADER_BYTES as u64) << 32;
                let head = self.head.get();
                let words = [
                    (word::MAGIC, LANE_MAGIC),
                    (word::VERSION, version),
                    (word::CAPACITY, CAPACITY),
                    (word::GENERATION, 1),
                    (word::HEAD, head),
                    (word::TAIL, self.tail),
                    (word::SLOTS[0], head),
                    (word::SLOTS[0] + 1, head / RECORD),
                ];
                bytes.fill(0);
                for (at, word) in words {
                    bytes[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
                }
            } else {
                for record in bytes.chunks_mut(RECORD as usize) {
                    record[..8].copy_from_slice(&Head::word(1, 0, 0, 0).to_le_bytes());
                    record[8..].fill(0);
                }
                self.head.set(self.moves_to.max(self.head.get()));
            }
            Ok(())
        }
    }

    #[test]
    fn a_head_that_moves_to_any_place_while_a_lane_is_copied_leaves_what_is_behind_it() {
        // Across the buffer's end, where the head stands at its very end among others.
        let (head, tail) = (CAPACITY / 2, CAPACITY * 3 / 2);
        for moves_to in (head..=tail).step_by(RECORD as usize) {
            let lane = Moving { head: Cell::new(head), moves_to, tail };
            let mut found = Vec::new();
            read_lane(&lane, 0, &mut |run| {
                let first = run.head.first_record;
                found.extend(first..first + u64::from(run.head.count));
            })
            .unwrap();
            let left: Vec<u64> = (moves_to / RECORD..tail / RECORD).collect();
            assert_eq!(found, left, "the head at {moves_to}");
        }
    }
}
