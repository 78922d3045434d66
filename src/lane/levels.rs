//! Levels: how severe the events of each callsite are, by id, for who counts records in a lane.
//!
//! Ids belong to the process, and so does the table. It grows by whole parts, each twice as long as
//! the one before, which never move: looking up costs two loads and no lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::record::Level;

/// Ids in the first part, as a power of two.
const FIRST_BITS: u32 = 8;
/// Parts enough for every id there can be.
const PARTS: usize = 32 - FIRST_BITS as usize;

static PARTS_OF_TABLE: [OnceLock<Box<[AtomicU8]>>; PARTS] = [const { OnceLock::new() }; PARTS];

/// Part, its length, and the index in it.
fn place(id: u32) -> (usize, usize, usize) {
    let number = u64::from(id) + (1 << FIRST_BITS);
    let bits = number.ilog2();
    let part = (bits - FIRST_BITS) as usize;
    (part.min(PARTS - 1), 1 << bits, (number - (1 << bits)) as usize)
}

/// Notes a callsite's level, before its id can stand in a record.
pub(super) fn note(id: u32, level: Level) {
    let (part, len, at) = place(id);
    let part = PARTS_OF_TABLE[part].get_or_init(|| (0..len).map(|_| AtomicU8::new(0)).collect());
    if let Some(slot) = part.get(at) {
        // ord: Relaxed, whoever reads it has the id from a record that came later.
        slot.store(level as u8, Ordering::Relaxed);
    }
}

/// The level of a callsite that was noted; TRACE for any other.
pub(super) fn of(id: u32) -> Level {
    let (part, _, at) = place(id);
    let slot = PARTS_OF_TABLE[part].get().and_then(|part| part.get(at));
    // ord: Relaxed, as above.
    slot.and_then(|slot| Level::from_u8(slot.load(Ordering::Relaxed))).unwrap_or(Level::Trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_its_own_place() {
        let (mut before, last) = (place(0), (1 << 31) - 1);
        assert_eq!((before.0, before.2), (0, 0));
        for id in (1..100_000).chain([1 << 20, last]) {
            let (part, len, at) = place(id);
            assert!(at < len && part < PARTS, "{id}");
            if id < 100_000 {
                let follows = part == before.0 && at == before.2 + 1;
                assert!(follows || part == before.0 + 1 && at == 0 && before.2 + 1 == before.1);
            }
            before = (part, len, at);
        }
    }

    #[test]
    fn a_level_that_was_noted_is_found() {
        let far = 70_000;
        assert_eq!(of(far), Level::Trace);
        for (id, level) in [(far, Level::Warn), (far + 1, Level::Error), (far + 2, Level::Debug)] {
            note(id, level);
            assert_eq!(of(id), level);
        }
        assert_eq!(of(u32::MAX), Level::Trace);
    }
}
