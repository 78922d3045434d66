//! Rotate: when a logger begins a new segment, by size and by time.

/// Boundaries at which a segment ends, as bits.
const HOUR_UTC: u8 = 1;
const DAY_UTC: u8 = 2;
#[cfg(feature = "local_time")]
const HOUR_LOCAL: u8 = 4;
#[cfg(feature = "local_time")]
const DAY_LOCAL: u8 = 8;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;
const DAY_NS: i64 = 24 * HOUR_NS;

/// When a logger begins a new segment: at a size, at a boundary of time, or at whichever comes
/// first.
///
/// A boundary ends a segment within a second of it, also while nothing is logged. An event is in the
/// segment that was open when it was written, up to [`write_within`](crate::Builder::write_within)
/// after the call.
///
/// ```
/// use ttlog::Rotate;
///
/// let rotate = Rotate::size(64 << 20).or(Rotate::daily());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotate {
    /// `u64::MAX` for any size.
    size: u64,
    boundaries: u8,
}

impl Rotate {
    /// When the segment has reached this many bytes. The default is 64 MiB.
    #[must_use]
    pub const fn size(bytes: u64) -> Self {
        Self { size: bytes, boundaries: 0 }
    }

    /// At midnight, UTC.
    #[must_use]
    pub const fn daily() -> Self {
        Self { size: u64::MAX, boundaries: DAY_UTC }
    }

    /// At each full hour, UTC.
    #[must_use]
    pub const fn hourly() -> Self {
        Self { size: u64::MAX, boundaries: HOUR_UTC }
    }

    /// At whichever of the two comes first.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        let size = if self.size < other.size { self.size } else { other.size };
        Self { size, boundaries: self.boundaries | other.boundaries }
    }

    /// At the boundaries of local time rather than of UTC. The first instant of a day counts where
    /// midnight is skipped, and a day has 23 or 25 hours where clocks change. The zone is that of
    /// `TZ` or of the system; without one it is UTC.
    #[cfg(feature = "local_time")]
    #[must_use]
    pub const fn local(self) -> Self {
        let utc = self.boundaries & (HOUR_UTC | DAY_UTC);
        Self { boundaries: self.boundaries & !utc | utc << 2, ..self }
    }

    /// The size at which a segment ends; `u64::MAX` for none.
    pub(crate) const fn size_max(self) -> u64 {
        self.size
    }

    /// The same with a smaller size.
    pub(crate) const fn at_most(self, bytes: u64) -> Self {
        self.or(Self::size(bytes))
    }

    /// The first boundary behind this time, both UTC in nanoseconds since 1970; `i64::MAX` for none.
    pub(crate) fn next_boundary(self, now_ns: i64) -> i64 {
        let next = |bit, period_ns: i64| match self.boundaries & bit {
            0 => i64::MAX,
            _ => now_ns.div_euclid(period_ns).saturating_add(1).saturating_mul(period_ns),
        };
        let utc = next(HOUR_UTC, HOUR_NS).min(next(DAY_UTC, DAY_NS));
        #[cfg(feature = "local_time")]
        if self.boundaries & (HOUR_LOCAL | DAY_LOCAL) != 0 {
            let local = local::next(self.boundaries, now_ns, jiff::tz::TimeZone::system());
            // A zone that cannot be computed with is taken for UTC.
            let local = local.unwrap_or_else(|| {
                Self { boundaries: self.boundaries >> 2, ..self }.next_boundary(now_ns)
            });
            return utc.min(local);
        }
        utc
    }
}

#[cfg(feature = "local_time")]
mod local {
    use jiff::tz::TimeZone;
    use jiff::{Timestamp, ToSpan as _, Unit, ZonedRound};

    use super::{DAY_LOCAL, HOUR_LOCAL};

    /// The first local boundary behind `now_ns`; `None` beyond the calendar.
    pub(super) fn next(boundaries: u8, now_ns: i64, zone: TimeZone) -> Option<i64> {
        let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone);
        let mut next = i64::MAX;
        if boundaries & DAY_LOCAL != 0 {
            let day = now.tomorrow().ok()?.start_of_day().ok()?;
            next = next.min(i64::try_from(day.timestamp().as_nanosecond()).ok()?);
        }
        if boundaries & HOUR_LOCAL != 0 {
            let trunc = ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc);
            // Where the clock is set back within an hour, that begins before `now` for good.
            let hour = now.round(trunc).ok()?.checked_add(1.hour()).ok()?;
            next = next.min(i64::try_from(hour.timestamp().as_nanosecond()).ok()?);
        }
        (next > now_ns).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T10:00:00Z.
    const TEN_NS: i64 = 1_795_255_200 * SECOND_NS;

    #[test]
    fn the_first_boundary_and_the_smaller_size_win() {
        let both = Rotate::size(9).or(Rotate::daily()).or(Rotate::size(7));
        assert_eq!((both.size_max(), Rotate::hourly().size_max()), (7, u64::MAX));
        assert_eq!(both.next_boundary(TEN_NS), TEN_NS + 14 * HOUR_NS);
        assert_eq!(both.or(Rotate::hourly()).next_boundary(TEN_NS), TEN_NS + HOUR_NS);
        assert_eq!(Rotate::size(9).next_boundary(TEN_NS), i64::MAX);
        assert_eq!(both.at_most(3).size_max(), 3);
    }

    #[test]
    fn a_boundary_lies_behind_every_time_and_at_most_one_period_away() {
        for now in [i64::MIN, -1, 0, 1, TEN_NS - 1, TEN_NS, TEN_NS + 1, i64::MAX - DAY_NS] {
            let next = Rotate::hourly().next_boundary(now);
            assert!(
                next > now && i128::from(next) - i128::from(now) <= i128::from(HOUR_NS),
                "{now}"
            );
        }
    }

    #[cfg(feature = "local_time")]
    #[test]
    fn local_days_have_23_and_25_hours_where_clocks_change() {
        use jiff::tz::TimeZone;
        let day = |zone: &str, text: &str| {
            let zone = TimeZone::posix(zone).unwrap();
            let now: jiff::Timestamp = text.parse().unwrap();
            let now = i64::try_from(now.as_nanosecond()).unwrap();
            (local::next(DAY_LOCAL, now, zone).unwrap() - now) / HOUR_NS
        };
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!(day(berlin, "2026-03-28T23:00:00Z"), 23);
        assert_eq!(day(berlin, "2026-10-24T22:00:00Z"), 25);
        assert_eq!(day(berlin, "2026-07-01T12:00:00Z"), 10);
        // Clocks go from midnight to one: the day begins at one, and the day before has 24 hours.
        assert_eq!(day("<-03>3<-02>,M10.3.0/0,M2.3.0/0", "2026-10-17T03:00:00Z"), 24);
    }

    #[cfg(feature = "local_time")]
    #[test]
    fn local_boundaries_always_lie_ahead_and_never_stand_still() {
        use jiff::tz::TimeZone;
        // Half an hour of summer time, on a zone of ten and a half hours.
        let zone = TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap();
        for boundaries in [DAY_LOCAL, HOUR_LOCAL, DAY_LOCAL | HOUR_LOCAL] {
            let mut now = TEN_NS;
            for _ in 0..2000 {
                let next = local::next(boundaries, now, zone.clone()).unwrap();
                assert!(next > now && next - now <= 25 * HOUR_NS + HOUR_NS / 2, "{now} {next}");
                now = next;
            }
        }
        let local = Rotate::daily().or(Rotate::hourly()).local();
        assert_eq!(local.boundaries, DAY_LOCAL | HOUR_LOCAL);
        assert!(local.next_boundary(TEN_NS) > TEN_NS);
    }
}
