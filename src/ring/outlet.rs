//! Outlet: the way of items out of spill files, and the notes of which were taken.

use std::collections::VecDeque;
use std::ops::Range;

use super::inlet::{Filled, Inlet};
use super::position::STEP;
use super::spill::items::{FIRST_BLOCK, ItemFile, split_item};
use crate::sync::Mutex;
use crate::sync::plain::Arc;

/// The file that is being read.
#[derive(Debug)]
struct Reading {
    filled: Filled,
    /// Where the next block begins.
    at: u64,
    /// Number of the next item.
    next_item: u64,
    /// How many of the block are left.
    left: u64,
}

/// Items with numbers in a row, in slots in a row.
#[derive(Debug)]
struct Run {
    file: Arc<ItemFile>,
    first_item: u64,
    /// Position of the first.
    position: u64,
    count: u64,
}

/// What is read from the files, and what of it lies in slots.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    reading: Option<Reading>,
    payload: Vec<u8>,
    /// How much of the payload was read.
    payload_at: usize,
    /// Files that were read to their end, whose last items may lie in slots.
    finished: VecDeque<Arc<ItemFile>>,
    runs: VecDeque<Run>,
    marks_made: u64,
}

/// An item that was found.
#[derive(Debug)]
pub(super) struct Found {
    file: Arc<ItemFile>,
    number: u64,
    bytes: Range<usize>,
}

impl Outlet {
    /// Finds the next item, and adds to `damaged` those that should stand before it.
    pub(super) fn next(&mut self, inlet: &Mutex<Inlet>, damaged: &mut u64) -> Option<Found> {
        loop {
            if let Some(found) = self.next_of_block() {
                return Some(found);
            }
            let reading = match &mut self.reading {
                Some(reading) => reading,
                none => none.insert(Reading::begin(inlet.lock().first()?)),
            };
            if reading.at < reading.filled.end {
                self.payload_at = reading.next_block(&mut self.payload, damaged);
                continue;
            }
            let (filled, next) = inlet.lock().look(&reading.filled.file)?;
            reading.filled = filled;
            if reading.at < reading.filled.end {
                continue;
            }
            *damaged += reading.filled.end_item - reading.next_item;
            reading.next_item = reading.filled.end_item;
            let finished = std::mem::replace(reading, Reading::begin(next?));
            self.finished.push_back(finished.filled.file);
        }
    }

    fn next_of_block(&mut self) -> Option<Found> {
        let reading = self.reading.as_mut().filter(|reading| reading.left > 0)?;
        let Some((item, rest)) = split_item(&self.payload[self.payload_at..]) else {
            // Fewer than the header says: the next block tells how many.
            reading.left = 0;
            return None;
        };
        let end = self.payload.len() - rest.len();
        let bytes = end - item.len()..end;
        self.payload_at = end;
        let number = reading.next_item;
        reading.next_item += 1;
        reading.left -= 1;
        Some(Found { file: Arc::clone(&reading.filled.file), number, bytes })
    }

    /// The bytes of the item that was found last.
    pub(super) fn bytes(&self, found: &Found) -> &[u8] {
        &self.payload[found.bytes.clone()]
    }

    /// Notes in which slot an item lies.
    pub(super) fn put(&mut self, found: Found, position: u64) {
        if let Some(run) = self.runs.back_mut()
            && Arc::ptr_eq(&run.file, &found.file)
            && run.first_item + run.count == found.number
            && run.position.wrapping_add(run.count * STEP) == position
        {
            run.count += 1;
            return;
        }
        let Found { file, number: first_item, .. } = found;
        self.runs.push_back(Run { file, first_item, position, count: 1 });
    }

    /// Notes in the files what was taken, now that the head is here, and removes those of which
    /// nothing is left.
    pub(super) fn settle(&mut self, head: u64, inlet: &Mutex<Inlet>) {
        let mut note = None;
        while let Some(run) = self.runs.front_mut() {
            let passed = head.wrapping_sub(run.position).cast_signed();
            let taken = (passed.max(0).cast_unsigned() / STEP).min(run.count);
            if taken == 0 {
                break;
            }
            run.first_item += taken;
            run.position = run.position.wrapping_add(taken * STEP);
            run.count -= taken;
            let is_used_up = run.count == 0;
            let before = note.replace((Arc::clone(&run.file), run.first_item));
            if is_used_up {
                self.runs.pop_front();
            }
            if let (Some(before), Some(now)) = (before, &note)
                && !Arc::ptr_eq(&before.0, &now.0)
            {
                self.mark(before);
            }
        }
        if let Some(note) = note {
            self.mark(note);
        }
        while let Some(file) = self.finished.front()
            && self.runs.front().is_none_or(|run| !Arc::ptr_eq(&run.file, file))
        {
            inlet.lock().remove(file);
            self.finished.pop_front();
        }
    }

    fn mark(&mut self, (file, taken): (Arc<ItemFile>, u64)) {
        self.marks_made += 1;
        // Without it, items come again if this process is killed: better than not at all.
        let _ = file.mark(self.marks_made, taken);
    }

    /// The position of the oldest item that was not taken, of those that lie in slots.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.runs.front().map(|run| run.position)
    }

    /// Begins again with the first file, after all was taken.
    pub(super) fn restart(&mut self) {
        debug_assert!(self.runs.is_empty(), "I9");
        self.finished.clear();
        self.reading = None;
    }
}

impl Reading {
    fn begin(filled: Filled) -> Self {
        Self { at: FIRST_BLOCK, next_item: filled.first_item, left: 0, filled }
    }

    /// Reads the next block, and says where in it the first item begins that is wanted.
    fn next_block(&mut self, payload: &mut Vec<u8>, damaged: &mut u64) -> usize {
        let Some(block) = self.filled.file.next_block(self.at, self.filled.end, payload) else {
            self.at = self.filled.end;
            return 0;
        };
        self.at = block.next;
        let end_item = block.first.saturating_add(block.count);
        if end_item <= self.next_item || end_item > self.filled.end_item {
            return 0;
        }
        *damaged += block.first.saturating_sub(self.next_item);
        self.next_item = self.next_item.max(block.first);
        self.left = end_item - self.next_item;
        let mut rest = payload.as_slice();
        for _ in block.first..self.next_item {
            rest = split_item(rest).map_or(&[], |(_, behind)| behind);
        }
        payload.len() - rest.len()
    }
}
