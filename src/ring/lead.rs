//! Lead: how long a consumer that has caught up lets producers go ahead before it looks again.
//!
//! At the producers' heels it takes from them the very lines they write, and both are slower for it:
//! each line goes to and fro for a few items, and so do those that its processor fetches ahead of
//! them. The faster items come, the longer it stays behind, up to some eight microseconds; where
//! they come slowly, or from this very thread, it does not wait for them.

use crate::sync::MODELLED;
use crate::sync::fixed::{AtomicU64, Ordering};

/// The pauses of a consumer that has just caught up, about half a microsecond, and the most.
const PAUSES: (u32, u32) = if MODELLED { (0, 0) } else { (32, 512) };
/// A rest that brought no more items than this was in vain, and none is made for some looks.
const IN_VAIN: usize = 2;
const LOOKS_BETWEEN_VAIN_RESTS: u32 = 1024;

/// What a consumer has seen of its producers. A hint: whoever takes reads and writes it, and two
/// that do so at once make a rest too many.
#[derive(Debug)]
pub(super) struct Lead(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// 1 if the next take rests first, 0 if it need not, else looks until a rest may be tried again.
    looks: u32,
    /// How long a rest is.
    pauses: u32,
}

impl Lead {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(State { looks: 0, pauses: PAUSES.0 }.pack()))
    }

    /// How many pauses the next take rests for, if the last one reached the newest item.
    #[inline]
    pub(super) fn due(&self) -> Option<u32> {
        // ord: Relaxed, a hint.
        let state = State::unpack(self.0.load(Ordering::Relaxed));
        (state.looks == 1 && state.pauses > 0).then_some(state.pauses)
    }

    /// Notes that a take of up to `max` items found `count`, of which `arrived` came while it rested,
    /// if it did; `room` slots may fill meanwhile.
    #[inline]
    pub(super) fn note(&self, count: usize, max: usize, room: usize, arrived: Option<usize>) {
        // ord: Relaxed, a hint.
        let before = State::unpack(self.0.load(Ordering::Relaxed));
        let after = before.after(count, max, room, arrived);
        // ord: Relaxed, as above.
        self.0.store(after.pack(), Ordering::Relaxed);
    }
}

impl State {
    fn pack(self) -> u64 {
        u64::from(self.looks) | u64::from(self.pauses) << 32
    }

    fn unpack(word: u64) -> Self {
        Self { looks: word as u32, pauses: (word >> 32) as u32 }
    }

    #[inline]
    fn after(self, count: usize, max: usize, room: usize, arrived: Option<usize>) -> Self {
        let is_all = count < max;
        let pauses = match arrived {
            Some(..=IN_VAIN) if is_all => {
                return Self { looks: LOOKS_BETWEEN_VAIN_RESTS, pauses: PAUSES.0 };
            }
            Some(arrived) => self.pauses_after(arrived, is_all, room),
            None => self.pauses,
        };
        let looks = match self.looks {
            looks @ 2.. => looks - 1,
            _ => u32::from(count > 0 && is_all),
        };
        Self { looks, pauses }
    }

    /// How long the next rest is when so many items, or more, came in the last: longer while they
    /// come at one for two pauses and leave most of the ring free.
    fn pauses_after(self, arrived: usize, is_all: bool, room: usize) -> u32 {
        let pauses = self.pauses as usize;
        if arrived >= room / 2 || is_all && arrived * 4 < pauses {
            (self.pauses / 2).max(PAUSES.0)
        } else if arrived < room / 6 && arrived * 2 >= pauses {
            (self.pauses * 2).min(PAUSES.1)
        } else {
            self.pauses
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Takes behind rests, each of which brings as many items as the function says for its length.
    fn rests(room: usize, brings: impl Fn(u32) -> usize) -> State {
        let mut state = State { looks: 1, pauses: PAUSES.0 };
        for _ in 0..20 {
            assert_eq!(State::unpack(state.pack()), state);
            let arrived = (state.looks == 1).then(|| brings(state.pauses));
            state = state.after(300, usize::MAX, room, arrived);
        }
        state
    }

    #[test]
    fn who_pushes_fast_is_left_alone_for_longer_and_never_until_the_ring_is_full() {
        assert_eq!(rests(1 << 16, |pauses| pauses as usize).pauses, PAUSES.1);
        assert_eq!(rests(1024, |pauses| pauses as usize).pauses, 256);
        assert_eq!(rests(64, |pauses| pauses as usize).pauses, PAUSES.0);
        assert_eq!(rests(0, |pauses| pauses as usize).pauses, PAUSES.0);
    }

    #[test]
    fn who_pushes_slowly_or_is_who_takes_is_not_waited_for() {
        assert_eq!(rests(1 << 16, |pauses| pauses as usize / 8).pauses, PAUSES.0);
        let vain = rests(1 << 16, |_| 0);
        assert!(vain.looks > 1000 && vain.pauses == PAUSES.0, "{vain:?}");
    }

    #[test]
    fn a_rest_comes_when_the_newest_item_was_reached() {
        let state = State { looks: 0, pauses: PAUSES.0 };
        assert_eq!(state.after(8, 8, 1024, None).looks, 0, "there may be more");
        assert_eq!(state.after(0, 8, 1024, None).looks, 0, "nothing comes");
        assert_eq!(state.after(7, 8, 1024, None).looks, 1);
        let rested = State { looks: 1, pauses: 64 };
        assert_eq!(
            rested.after(8, 8, 1024, Some(0)),
            State { looks: 0, pauses: 64 },
            "not in vain"
        );
    }
}
