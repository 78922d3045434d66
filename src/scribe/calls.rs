//! Calls: which lanes a turn looks at: those whose producers called, and those that soon would.
//!
//! A producer that passes its mark while the scribe sleeps pays for waking it: some 20 µs where a
//! processor has to be woken too, as much as a thousand log calls. So lanes that called out of a
//! sleep are watched: looked at unasked, often enough that they do not come to their marks.

use std::time::{Duration, Instant};

use super::Scribe;
use crate::lane::ready::Ready;

/// Looks come no closer than that: a lane that fills faster calls, and keeps the scribe awake.
const LOOK_EVERY_MIN: Duration = Duration::from_micros(500);
/// A lane where a look finds less than this part hardly fills.
const FILLING_PART: u64 = 16;
/// So many looks in a row at a lane that hardly fills end its watch: a turn costs time for the lanes
/// that log, and each look at one that holds a little makes a run of its own.
const LIGHT_MAX: u8 = 3;

/// The lanes that are looked at unasked, and how often.
#[derive(Debug)]
pub(super) struct Watch {
    /// Their bits, each once, and how many looks in a row found that it hardly fills.
    lanes: Vec<(usize, u8)>,
    every: Duration,
    /// As often as that all lanes are looked at.
    longest: Duration,
    last: Instant,
}

impl Watch {
    pub(super) fn new(longest: Duration, now: Instant) -> Self {
        Self { lanes: Vec::new(), every: longest, longest, last: now }
    }

    /// Adds lanes that called out of a sleep: half as long would have done.
    fn add(&mut self, bits: &[usize], now: Instant) {
        self.lanes.retain(|(bit, _)| !bits.contains(bit));
        self.lanes.extend(bits.iter().map(|&bit| (bit, 0)));
        let half = now.saturating_duration_since(self.last) / 2;
        self.every = half.max(LOOK_EVERY_MIN).min(self.every);
        self.last = now;
    }

    /// When to look, if anything is watched.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.lanes.is_empty()).then(|| self.last + self.every)
    }

    /// Says that all lanes were looked at.
    pub(super) fn looked_at_all(&mut self, now: Instant) {
        self.last = now;
    }

    /// The bits of the lanes to look at now. Where none of them fills, the next look comes in twice
    /// the time, at last with the next one at all lanes.
    fn look(&mut self, now: Instant, fills: impl Fn(usize) -> bool) -> Vec<usize> {
        let bits = self.lanes.iter().map(|it| it.0).collect();
        let mut one_fills = false;
        self.lanes.retain_mut(|(bit, n_light)| {
            let fills = fills(*bit);
            one_fills |= fills;
            *n_light = if fills { 0 } else { *n_light + 1 };
            *n_light < LIGHT_MAX
        });
        if !one_fills {
            self.every *= 2;
        }
        if self.lanes.is_empty() || self.every >= self.longest {
            self.every = self.longest;
            self.lanes.clear();
        }
        self.last = now;
        bits
    }
}

impl Scribe {
    /// Notes the lanes whose producers passed their mark, and those that are watched when it is
    /// time; `all` when the turn looks at every lane anyway.
    pub(super) fn hear_ready(&mut self, now: Instant, all: bool) {
        let mut bits = Vec::new();
        self.setup.lanes.ready.take(|bit| bits.push(bit));
        if bits.is_empty() {
            self.quiet_turns += 1;
        } else {
            self.quiet_turns = 0;
            self.setup.lanes.prepare_spares(2);
            self.meet_new_lanes();
            if self.was_called {
                self.watch.add(&bits, now);
            }
        }
        self.was_called = false;
        if all {
            self.watch.looked_at_all(now);
        } else if self.watch.next().is_some_and(|next| next <= now) {
            let (by_bit, intakes) = (&self.by_bit, &self.intakes);
            let fills = |bit| at_bit(by_bit, bit).any(|at| intakes[at].holds_part(FILLING_PART));
            bits.extend(self.watch.look(now, fills));
        }
        for bit in bits {
            self.called.extend(at_bit(&self.by_bit, bit));
        }
        self.called.sort_unstable();
        self.called.dedup();
    }

    /// Finds intakes by their bits again, after some came or went.
    pub(super) fn index_intakes(&mut self) {
        let bits = self.intakes.iter().map(|intake| intake.lane.id as usize % Ready::SLOTS);
        self.by_bit = bits.zip(0..).collect();
        self.by_bit.sort_unstable();
    }
}

/// Indices of the intakes whose producers call with this bit.
fn at_bit(by_bit: &[(usize, usize)], bit: usize) -> impl Iterator<Item = usize> {
    let first = by_bit.partition_point(|&(other, _)| other < bit);
    by_bit[first..].iter().take_while(move |it| it.0 == bit).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::{scribe, write};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn lanes_are_looked_at_in_half_the_time_that_they_took_to_call() {
        let began = Instant::now();
        let mut watch = Watch::new(50 * MS, began);
        assert_eq!(watch.next(), None);
        watch.add(&[3, 1], began + 12 * MS);
        assert_eq!(watch.next(), Some(began + 18 * MS));
        watch.looked_at_all(began + 15 * MS);
        assert_eq!(watch.next(), Some(began + 21 * MS));
        assert_eq!(watch.look(began + 21 * MS, |_| true), [3, 1]);
        assert_eq!(watch.next(), Some(began + 27 * MS), "as long as they fill");
        watch.add(&[1], began + 40 * MS);
        assert_eq!(watch.next(), Some(began + 46 * MS), "not less often");
        watch.add(&[1], began + 40 * MS);
        assert_eq!((watch.every, watch.lanes.len()), (LOOK_EVERY_MIN, 2));
    }

    #[test]
    fn lanes_that_hardly_fill_are_looked_at_less_often_and_then_no_more() {
        let now = Instant::now();
        let mut watch = Watch::new(50 * MS, now);
        watch.add(&[1, 2], now + 4 * MS);
        let mut look = |fills: &[usize]| {
            let bits = watch.look(now, |bit| fills.contains(&bit));
            (bits, watch.every)
        };
        assert_eq!(look(&[1]), (vec![1, 2], 2 * MS));
        assert_eq!(look(&[2]), (vec![1, 2], 2 * MS), "light but once");
        assert_eq!(look(&[1]), (vec![1, 2], 2 * MS));
        assert_eq!(look(&[1]), (vec![1, 2], 2 * MS));
        assert_eq!(look(&[1]), (vec![1, 2], 2 * MS), "the third time in a row");
        assert_eq!(look(&[]), (vec![1], 4 * MS));
        assert_eq!(look(&[]), (vec![1], 8 * MS));
        assert_eq!(look(&[]), (vec![1], 50 * MS), "watched no more");
        assert_eq!(watch.next(), None);
        watch.add(&[1], now + 40 * MS);
        let mut look = || (watch.look(now, |_| false).len(), watch.next().is_some());
        assert_eq!([look(), look()], [(1, true), (1, false)], "as seldom as all lanes");
    }

    #[test]
    fn a_lane_that_called_out_of_a_sleep_is_emptied_unasked_and_another_is_not() {
        for was_called in [true, false] {
            let (mut scribe, lanes) = scribe(2);
            // The first turn looks at all lanes.
            assert!(scribe.turn().is_none());
            write(&lanes);
            lanes.ready.set(0);
            if was_called {
                scribe.sleep();
            }
            assert!(scribe.turn().is_none());
            assert!(scribe.intakes[0].is_empty(), "it has called");
            write(&lanes);
            assert!(scribe.turn().is_none());
            assert_eq!(scribe.watch.next().is_some(), was_called);
            std::thread::sleep(2 * LOOK_EVERY_MIN);
            while scribe.watch.next().is_some_and(|next| Instant::now() < next) {
                std::thread::sleep(MS);
            }
            let (quiet, n_blocks) = (scribe.quiet_turns, scribe.n_blocks);
            assert!(scribe.turn().is_none());
            assert_eq!(scribe.intakes[0].is_empty(), was_called, "looked at unasked");
            assert_eq!(scribe.quiet_turns, quiet + 1, "that keeps nobody awake");
            assert_eq!(scribe.n_blocks, n_blocks, "nor seals a block");
        }
    }
}
