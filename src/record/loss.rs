//! Loss: events that were not accepted, counted by cause and level.

use super::Level;

/// Why an event was not accepted. The number is part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Cause {
    /// The lane was full and the policy gave up.
    Full = 0,
    /// Accepted, then removed to make room for newer events (DropOldest).
    Evicted = 1,
    /// Logged while the same thread was inside a log call that could not be entered twice.
    Reentrant = 2,
    /// Logged in a forked child.
    Forked = 3,
    /// The disk refused it for good.
    Io = 4,
    /// Logged while the logger was ending.
    Shutdown = 5,
    /// Accepted, then overwritten in its lane by a stray write of the program itself. Told at
    /// `ERROR`, one for each place where records could not be told apart: their number and levels
    /// are not known.
    Damaged = 6,
}

/// Number of causes.
pub const CAUSES: usize = 7;
/// Number of levels.
pub const LEVELS: usize = 5;

impl Cause {
    /// All causes; a cause's number is its index.
    pub const ALL: [Self; CAUSES] = [
        Self::Full,
        Self::Evicted,
        Self::Reentrant,
        Self::Forked,
        Self::Io,
        Self::Shutdown,
        Self::Damaged,
    ];

    /// The cause's name as it stands in every output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Evicted => "evicted",
            Self::Reentrant => "reentrant",
            Self::Forked => "forked",
            Self::Io => "io",
            Self::Shutdown => "shutdown",
            Self::Damaged => "damaged",
        }
    }
}

/// Cumulative counts of lost events, since a lane was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Losses {
    counts: [[u64; LEVELS]; CAUSES],
}

impl Losses {
    /// Nothing lost.
    pub const NONE: Self = Self { counts: [[0; LEVELS]; CAUSES] };

    /// The count of one cause and level.
    #[must_use]
    pub const fn get(&self, cause: Cause, level: Level) -> u64 {
        self.counts[cause as usize][level as usize]
    }

    /// Sets the count of one cause and level.
    pub const fn set(&mut self, cause: Cause, level: Level, count: u64) {
        self.counts[cause as usize][level as usize] = count;
    }

    /// Adds to the count of one cause and level; stays at the largest number.
    pub const fn add(&mut self, cause: Cause, level: Level, count: u64) {
        let sum = self.get(cause, level).saturating_add(count);
        self.set(cause, level, sum);
    }

    /// Adds all counts of another.
    pub fn add_all(&mut self, other: &Self) {
        for (cause, level, count) in other.iter() {
            self.add(cause, level, count);
        }
    }

    /// The sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, _, count)| sum.saturating_add(count))
    }

    /// True when nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// What was lost since `earlier` was read from the same place.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = Self::NONE;
        for (cause, level, count) in self.iter() {
            difference.set(cause, level, count.saturating_sub(earlier.get(cause, level)));
        }
        difference
    }

    /// The same with the counts of one cause taken from another.
    #[must_use]
    pub(crate) fn with(mut self, cause: Cause, other: &Self) -> Self {
        self.counts[cause as usize] = other.counts[cause as usize];
        self
    }

    /// The same with no more than `events` in all, of the greatest counts first.
    #[must_use]
    pub(crate) fn at_most(&self, events: u64) -> Self {
        let mut counts: Vec<_> = self.iter().collect();
        counts.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        let (mut kept, mut left) = (Self::NONE, events);
        for (cause, level, count) in counts {
            kept.set(cause, level, count.min(left));
            left -= count.min(left);
        }
        kept
    }

    /// The counts above zero.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, Level, u64)> + '_ {
        Cause::ALL.into_iter().flat_map(move |cause| {
            Level::ALL
                .into_iter()
                .map(move |level| (cause, level, self.get(cause, level)))
                .filter(|&(_, _, count)| count > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_of_cumulative_counts_is_what_was_lost_between() {
        let mut earlier = Losses::NONE;
        earlier.add(Cause::Full, Level::Info, 3);
        let mut later = earlier;
        later.add(Cause::Full, Level::Info, 4);
        later.add(Cause::Io, Level::Error, 1);
        let between = later.since(&earlier);
        assert_eq!(between.get(Cause::Full, Level::Info), 4);
        assert_eq!(between.total(), 5);
        assert_eq!(later.at_most(9), later);
        assert_eq!(later.at_most(7).get(Cause::Full, Level::Info), 7);
        assert_eq!((later.at_most(7).total(), later.at_most(0)), (7, Losses::NONE));
    }
}
