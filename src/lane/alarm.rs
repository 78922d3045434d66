//! Alarm: how whoever seals a block tells that it holds an event which asks for a dump.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::record::Level;

/// Raised by events at and above a level; off until it is set.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// A bit for each level that raises it, as blocks have them.
    levels: AtomicU8,
    is_raised: AtomicBool,
}

impl Alarm {
    /// Lets events at this level and above raise it.
    pub(crate) fn set(&self, from: Level) {
        let levels = Level::ALL.into_iter().filter(|level| *level >= from);
        // ord: Relaxed, set before the threads start that seal blocks.
        self.levels.store(levels.fold(0, |bits, level| bits | 1 << level as u8), Ordering::Relaxed);
    }

    /// Looks at the levels of a block.
    pub(crate) fn look(&self, levels: u8) {
        // ord: Relaxed, as above.
        if levels & self.levels.load(Ordering::Relaxed) != 0 {
            // ord: Release, pairs with the Acquire in `take`: the block's records are in staging.
            self.is_raised.store(true, Ordering::Release);
        }
    }

    /// True once after it was raised.
    pub(crate) fn take(&self) -> bool {
        // ord: Acquire, pairs with the Release in `look`.
        self.is_raised.swap(false, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_raised_by_its_levels_alone_and_taken_once() {
        let alarm = Alarm::default();
        alarm.look(u8::MAX);
        assert!(!alarm.take(), "it was not set");
        alarm.set(Level::Warn);
        alarm.look(1 << Level::Info as u8 | 1 << Level::Trace as u8);
        assert!(!alarm.take());
        alarm.look(1 << Level::Error as u8 | 1 << Level::Info as u8);
        assert!(alarm.take() && !alarm.take());
    }
}
