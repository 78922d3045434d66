//! Anchor: one moment on three clocks, by which readers turn ticks into time.

/// One moment as ticks, monotonic time and wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anchor {
    /// Raw ticks of the logger's clock.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub mono_ns: u64,
    /// UTC in nanoseconds since 1970, negative before.
    pub wall_ns: i64,
}

impl Anchor {
    /// Bytes of an anchor in a file.
    pub const BYTES: usize = 24;

    /// The anchor as it stands in a file: ticks, monotonic, wall, eight bytes each.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0..8].copy_from_slice(&self.ticks.to_le_bytes());
        out[8..16].copy_from_slice(&self.mono_ns.to_le_bytes());
        out[16..24].copy_from_slice(&self.wall_ns.to_le_bytes());
        out
    }

    /// Reads what [`Anchor::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let [mut ticks, mut mono, mut wall] = [[0; 8]; 3];
        ticks.copy_from_slice(&bytes[0..8]);
        mono.copy_from_slice(&bytes[8..16]);
        wall.copy_from_slice(&bytes[16..24]);
        Self {
            ticks: u64::from_le_bytes(ticks),
            mono_ns: u64::from_le_bytes(mono),
            wall_ns: i64::from_le_bytes(wall),
        }
    }
}

/// Anchors of one logger in the order of their ticks; turns ticks into wall time.
///
/// Between two anchors the time is interpolated, before the first and behind the last it goes on
/// at the rate of the nearest two; with one anchor alone the rate is one tick a nanosecond.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    anchors: Vec<Anchor>,
}

impl Timeline {
    /// Adds an anchor at its place; one with the ticks of another is ignored.
    pub fn add(&mut self, anchor: Anchor) {
        if let Err(at) = self.anchors.binary_search_by_key(&anchor.ticks, |a| a.ticks) {
            self.anchors.insert(at, anchor);
        }
    }

    /// The anchors, in the order of their ticks.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// UTC in nanoseconds since 1970 at these ticks; 0 when there is no anchor.
    #[must_use]
    pub fn wall_ns(&self, ticks: u64) -> i64 {
        let (Some(first), Some(last)) = (self.anchors.first(), self.anchors.last()) else {
            return 0;
        };
        let behind = self.anchors.partition_point(|a| a.ticks <= ticks);
        let (from, a, b) = match behind {
            0 => (first, first, self.anchors.get(1).unwrap_or(first)),
            n if n == self.anchors.len() => {
                (last, self.anchors.get(n.wrapping_sub(2)).unwrap_or(last), last)
            }
            n => (&self.anchors[n - 1], &self.anchors[n - 1], &self.anchors[n]),
        };
        let span = i128::from(b.ticks) - i128::from(a.ticks);
        let passed = i128::from(ticks) - i128::from(from.ticks);
        // A step of the wall clock falls between two anchors; outside them only the monotonic
        // clock gives the rate.
        let inside = behind > 0 && behind < self.anchors.len();
        let rate = match (inside, span) {
            (_, 0) => return clamp(i128::from(from.wall_ns) + passed),
            (true, _) => i128::from(b.wall_ns) - i128::from(a.wall_ns),
            (false, _) => i128::from(b.mono_ns) - i128::from(a.mono_ns),
        };
        clamp(i128::from(from.wall_ns).saturating_add(passed.saturating_mul(rate).div_euclid(span)))
    }

    /// The earliest and the latest UTC from some ticks to others. Where the clock was set, that is
    /// the time at an anchor between them.
    #[must_use]
    pub fn span_ns(&self, first_ticks: u64, last_ticks: u64) -> (i64, i64) {
        let ends = [self.wall_ns(first_ticks), self.wall_ns(last_ticks)];
        let between = |anchor: &&Anchor| (first_ticks..=last_ticks).contains(&anchor.ticks);
        let times = self.anchors.iter().filter(between).map(|anchor| anchor.wall_ns);
        let spread = |(least, most): (i64, i64), ns: i64| (least.min(ns), most.max(ns));
        times.chain(ends).fold((i64::MAX, i64::MIN), spread)
    }
}

fn clamp(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(anchors: &[(u64, u64, i64)]) -> Timeline {
        let mut line = Timeline::default();
        for &(ticks, mono_ns, wall_ns) in anchors {
            line.add(Anchor { ticks, mono_ns, wall_ns });
        }
        line
    }

    #[test]
    fn time_between_anchors_is_interpolated() {
        let line = line(&[(2000, 1000, 51_000), (1000, 500, 50_500)]);
        assert_eq!(line.wall_ns(1500), 50_750);
        assert_eq!(line.wall_ns(1000), 50_500);
        assert_eq!(line.wall_ns(3000), 51_500);
        assert_eq!(line.wall_ns(0), 50_000);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_the_end_earlier_than_the_middle() {
        let line = line(&[(0, 0, 1_000), (100, 100, 1_100), (101, 101, 500), (200, 200, 599)]);
        assert_eq!(line.span_ns(50, 150), (500, 1_100));
        assert_eq!(line.span_ns(10, 20), (1_010, 1_020));
        assert_eq!(line.span_ns(120, 120), (519, 519));
        assert_eq!(Timeline::default().span_ns(1, 2), (0, 0));
    }

    #[test]
    fn no_and_odd_anchors_do_not_overflow() {
        assert_eq!(Timeline::default().wall_ns(5), 0);
        assert_eq!(line(&[(10, 0, 100)]).wall_ns(15), 105);
        let wild = line(&[(0, u64::MAX, i64::MAX), (1, 0, i64::MIN)]);
        for ticks in [0, 1, 2, u64::MAX] {
            let _ = wild.wall_ns(ticks);
        }
    }

    #[test]
    fn anchor_reads_back_equal() {
        let anchor = Anchor { ticks: 1, mono_ns: u64::MAX, wall_ns: -5 };
        assert_eq!(Anchor::decode(&anchor.encode()), anchor);
    }
}
