//! Rest: the file thread leaves the disk alone while it has enough to do.
//!
//! A block of a flood lands each tenth of a millisecond, and to be woken for each costs more than
//! what is done with it. While nobody waits for blocks, the thread sleeps until about half of those
//! with the kernel should have landed, takes all of them in, and hands as many over, with one system
//! call each. Whatever is not a block ends a rest, and so does who asks for a flush.

use std::time::{Duration, Instant};

use super::writer::Writer;

/// So many blocks are to be left with the kernel at the end of a rest.
const LEFT: usize = 6;
/// A rest for fewer is not worth its system call.
const LANDED_MIN: usize = 3;
/// The longest rest: that of a disk that takes 2 GB a second. A slower one is waited for.
const REST_MAX: Duration = Duration::from_micros(800);

/// How long the disk takes for a block, as of the last rests.
#[derive(Debug)]
pub(super) struct Pace {
    block: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { block: Duration::from_micros(50) }
    }
}

impl Pace {
    /// How long a rest is in which so many blocks land.
    fn rest(&self, n_blocks: usize) -> Duration {
        self.block.saturating_mul(n_blocks.min(64) as u32).min(REST_MAX)
    }

    /// So many blocks have landed in that time. None counts as one, so that a disk that has become
    /// slower is given more time.
    fn note(&mut self, n_landed: usize, time: Duration) {
        let each = (time / n_landed.max(1) as u32).min(REST_MAX * 4);
        self.block = (self.block * 3 + each) / 4;
    }
}

impl Writer {
    /// Waits until another block may fly.
    pub(super) fn make_room(&mut self, offset: u64, len: usize) {
        let is_full = |writer: &Self| {
            writer.flight.as_ref().is_some_and(|flight| flight.is_full(offset, len))
        };
        if is_full(self) {
            self.rest();
        }
        while is_full(self) {
            self.land(None);
        }
    }

    /// Rests if that is worth it, and takes in what has landed.
    pub(super) fn rest(&mut self) {
        let n_with_kernel =
            |writer: &Self| writer.flight.as_ref().map_or(0, |flight| flight.n_with_kernel());
        let is_enough = |n: usize| n >= LEFT + LANDED_MIN;
        if !is_enough(n_with_kernel(self)) {
            return;
        }
        // Also hands over what the kernel does not have yet.
        self.land(Some(Duration::ZERO));
        let n_before = n_with_kernel(self);
        let is_awaited =
            self.wanted.is_some() || self.beside.is_some() || self.setup.progress.is_awaited();
        if !is_enough(n_before) || is_awaited {
            return;
        }
        let begun = Instant::now();
        self.setup.queue.rest(self.pace.rest(n_before - LEFT));
        self.land(Some(Duration::ZERO));
        self.pace.note(n_before.saturating_sub(n_with_kernel(self)), begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_follows_the_disk_and_has_an_end() {
        let mut pace = Pace::default();
        (0..40).for_each(|_| pace.note(4, Duration::from_micros(400)));
        let rest = pace.rest(4);
        let expected = Duration::from_micros(399)..=Duration::from_micros(400);
        assert!(expected.contains(&rest), "{rest:?} for four blocks of a tenth of a millisecond");
        pace.note(0, Duration::from_millis(100));
        assert_eq!(pace.rest(4), REST_MAX, "nothing has landed for long");
        (0..80).for_each(|_| pace.note(12, Duration::from_micros(12)));
        assert!(pace.rest(12) < Duration::from_micros(20), "and a quick disk is not kept waiting");
        (0..80).for_each(|_| pace.note(1, Duration::MAX));
        assert_eq!(pace.rest(usize::MAX), REST_MAX);
    }
}
