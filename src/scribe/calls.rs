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
/// A lane where a look finds less than this part is looked at too often.
const FILLING_PART: u64 = 16;

/// The lanes that are looked at unasked, and how often.
#[derive(Debug)]
pub(super) struct Watch {
    /// Their bits, each once.
    bits: Vec<usize>,
    every: Duration,
    /// As often as that all lanes are looked at.
    longest: Duration,
    last: Instant,
}

impl Watch {
    pub(super) fn new(longest: Duration, now: Instant) -> Self {
        Self { bits: Vec::new(), every: longest, longest, last: now }
    }

    /// Adds lanes that called out of a sleep: half as long would have done.
    fn add(&mut self, bits: &[usize], now: Instant) {
        self.bits.extend(bits);
        self.bits.sort_unstable();
        self.bits.dedup();
        let half = now.saturating_duration_since(self.last) / 2;
        self.every = half.max(LOOK_EVERY_MIN).min(self.every);
        self.last = now;
    }

    /// When to look, if anything is watched.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.bits.is_empty()).then(|| self.last + self.every)
    }

    /// Looks half as often, at last not at all, since the lanes hardly fill.
    fn relax(&mut self) {
        self.every *= 2;
        if self.every >= self.longest {
            self.every = self.longest;
            self.bits.clear();
        }
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
            self.watch.last = now;
        } else if self.watch.next().is_some_and(|next| next <= now) {
            bits.extend(&self.watch.bits);
            let is_filling = |&bit: &usize| {
                self.intakes_at(bit).any(|at| self.intakes[at].holds_part(FILLING_PART))
            };
            if !self.watch.bits.iter().any(is_filling) {
                self.watch.relax();
            }
            self.watch.last = now;
        }
        for bit in bits {
            let at: Vec<usize> = self.intakes_at(bit).collect();
            self.called.extend(at);
        }
        self.called.sort_unstable();
        self.called.dedup();
    }

    /// Indices of the intakes whose producers call with this bit.
    fn intakes_at(&self, bit: usize) -> impl Iterator<Item = usize> {
        let first = self.by_bit.partition_point(|&(other, _)| other < bit);
        self.by_bit[first..].iter().take_while(move |it| it.0 == bit).map(|it| it.1)
    }

    /// Finds intakes by their bits again, after some came or went.
    pub(super) fn index_intakes(&mut self) {
        let bits = self.intakes.iter().map(|intake| intake.lane.id as usize % Ready::SLOTS);
        self.by_bit = bits.zip(0..).collect();
        self.by_bit.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::{scribe, write};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn lanes_are_looked_at_in_half_the_time_they_took_to_call_and_less_often_while_they_hardly_fill()
    {
        let began = Instant::now();
        let mut watch = Watch::new(50 * MS, began);
        assert_eq!(watch.next(), None);
        watch.add(&[3, 1], began + 12 * MS);
        assert_eq!(watch.next(), Some(began + 18 * MS));
        watch.add(&[1], began + 40 * MS);
        assert_eq!((watch.next(), &watch.bits[..]), (Some(began + 46 * MS), &[1, 3][..]));
        watch.add(&[1], began + 40 * MS);
        assert_eq!(watch.every, LOOK_EVERY_MIN);
        for n in 1..7 {
            watch.relax();
            assert_eq!(watch.next(), Some(began + 40 * MS + LOOK_EVERY_MIN * (1 << n)));
        }
        watch.relax();
        assert_eq!((watch.next(), watch.every), (None, 50 * MS), "nothing is watched");
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
            let quiet = scribe.quiet_turns;
            assert!(scribe.turn().is_none());
            assert_eq!(scribe.intakes[0].is_empty(), was_called, "looked at unasked");
            assert_eq!(scribe.quiet_turns, quiet + 1, "that keeps nobody awake");
        }
    }
}
