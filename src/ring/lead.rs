//! Lead: how long a consumer that has caught up lets producers go ahead before it looks again.
//!
//! At the producers' heels it takes from them the very lines they write, and both are slower for it:
//! each line goes to and fro for a few items, and so do those that its processor fetches ahead of
//! them. The faster items come, the longer it stays behind, up to some eight microseconds; where
//! they come slowly, or from this very thread, it does not wait for them.

use crate::sync::MODELLED;
use crate::sync::fixed::{AtomicU64, Ordering};
use crate::sync::thread::spin_loop;

/// The pauses of a consumer that has just caught up, about half a microsecond, and the most.
const PAUSES: (u16, u16) = if MODELLED { (0, 0) } else { (32, 512) };
/// A rest that brought no more items than this was in vain, and none is made for some looks.
const IN_VAIN: usize = 2;
const LOOKS_BETWEEN_VAIN_RESTS: u16 = 1024;

/// What a consumer has seen of its producers. A hint: whoever takes reads and writes it, and two
/// that do so at once make a rest too many.
#[derive(Debug)]
pub(super) struct Lead(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// 1 if the next take rests first, 0 if it need not, else looks until a rest may be tried again.
    looks: u16,
    /// How long a rest is.
    pauses: u16,
    /// Items since the last rest.
    items: u32,
}

impl Lead {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(State { looks: 0, pauses: PAUSES.0, items: 0 }.pack()))
    }

    /// Rests if the last take reached the newest item, and says so.
    #[inline]
    pub(super) fn rest(&self) -> bool {
        // ord: Relaxed, a hint.
        let state = State::unpack(self.0.load(Ordering::Relaxed));
        let is_due = state.looks == 1;
        if is_due {
            (0..state.pauses).for_each(|_| spin_loop());
        }
        is_due
    }

    /// Notes what a take of up to `max` items found, behind a rest or not; `room` slots may fill
    /// meanwhile.
    #[inline]
    pub(super) fn note(&self, count: usize, max: usize, room: usize, rested: bool) {
        // ord: Relaxed, a hint.
        let before = State::unpack(self.0.load(Ordering::Relaxed));
        let after = before.after(count, max, room, rested);
        // ord: Relaxed, as above.
        self.0.store(after.pack(), Ordering::Relaxed);
    }
}

impl State {
    fn pack(self) -> u64 {
        u64::from(self.looks) | u64::from(self.pauses) << 16 | u64::from(self.items) << 32
    }

    fn unpack(word: u64) -> Self {
        Self { looks: word as u16, pauses: (word >> 16) as u16, items: (word >> 32) as u32 }
    }

    #[inline]
    fn after(self, count: usize, max: usize, room: usize, rested: bool) -> Self {
        if rested && count <= IN_VAIN {
            return Self { looks: LOOKS_BETWEEN_VAIN_RESTS, pauses: PAUSES.0, items: 0 };
        }
        let before = if rested { 0 } else { self.items };
        let items = before.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.looks > 1 {
            return Self { looks: self.looks - 1, items, ..self };
        }
        if count == 0 || count >= max {
            return Self { looks: 0, items, ..self };
        }
        Self { looks: 1, pauses: self.pauses_after(items as usize, room), items }
    }

    /// How long the next rest is when so many items came since the last: longer while they come at
    /// one a pause or two, and leave most of the ring free.
    fn pauses_after(self, items: usize, room: usize) -> u16 {
        let pauses = usize::from(self.pauses);
        if items >= room / 2 || items * 4 < pauses {
            (self.pauses / 2).max(PAUSES.0)
        } else if items < room / 6 && items * 2 >= pauses {
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
    fn rests(room: usize, brings: impl Fn(u16) -> usize) -> State {
        let mut state = State { looks: 1, pauses: PAUSES.0, items: 0 };
        for _ in 0..20 {
            assert_eq!(State::unpack(state.pack()), state);
            state = state.after(brings(state.pauses), usize::MAX, room, state.looks == 1);
        }
        state
    }

    #[test]
    fn who_pushes_fast_is_left_alone_for_longer_and_never_until_the_ring_is_full() {
        assert_eq!(rests(1 << 16, |pauses| pauses.into()).pauses, PAUSES.1);
        assert_eq!(rests(1024, |pauses| pauses.into()).pauses, 256);
        assert_eq!(rests(64, |pauses| pauses.into()).pauses, PAUSES.0);
        assert_eq!(rests(0, |pauses| pauses.into()).pauses, PAUSES.0);
    }

    #[test]
    fn who_pushes_slowly_is_not_waited_for() {
        assert_eq!(rests(1 << 16, |pauses| usize::from(pauses) / 8).pauses, PAUSES.0);
        let vain = rests(1 << 16, |_| 0);
        assert!(vain.looks > 1000 && vain.pauses == PAUSES.0, "{vain:?}");
    }

    #[test]
    fn a_rest_comes_when_the_newest_item_was_reached() {
        let state = State { looks: 0, pauses: PAUSES.0, items: 0 };
        assert_eq!(state.after(8, 8, 1024, false).looks, 0, "there may be more");
        assert_eq!(state.after(0, 8, 1024, false).looks, 0, "nothing comes");
        assert_eq!(state.after(7, 8, 1024, false).looks, 1);
    }
}
