//! Stats: what went through a ring, and how long its calls lasted.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts what went through a ring. At rest, `delivered + evicted + returned + len = pushed`,
/// exactly; in a ring that [spills](super::Spill), `… + damaged + len = pushed + taken_up`.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
/// for n in 0..6 {
///     let _ = ring.push(n);
/// }
/// ring.take_batch(1);
/// let stats = ring.stats();
/// assert_eq!((stats.pushed, stats.delivered, stats.returned, stats.len), (6, 1, 2, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many items fit.
    pub capacity: usize,
    /// Items in the ring and its files, those included whose push is under way.
    pub len: usize,
    /// Items that were handed to a push, accepted or not.
    pub pushed: u64,
    /// Items that a consumer took.
    pub delivered: u64,
    /// Items that were dropped to make room for newer ones.
    pub evicted: u64,
    /// Items that came back with an error.
    pub returned: u64,
    /// Items that went to spill files.
    pub spilled: u64,
    /// Items that were found in spill files of rings before.
    pub taken_up: u64,
    /// Items that were in spill files and are lost, since these were damaged or the items could not
    /// be decoded. Where the last block of a file is damaged, its items count as one.
    pub damaged: u64,
    /// Takes that found something.
    pub takes: u64,
    /// How often a producer went to sleep.
    pub parked: u64,
    /// How long producers slept, all together.
    pub blocked: Duration,
    /// The most takes that a sleeping thread waited for until it could push. It stays below
    /// 64 + 2 × (capacity + the number of producers).
    pub longest_wait_takes: u64,
    /// How long pushes lasted, if that is measured.
    pub push_latency: Option<Latency>,
    /// How long takes lasted, if that is measured.
    pub drain_latency: Option<Latency>,
}

/// Tells how long calls lasted; each value is at most 7 % above the truth.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
/// ring.measure_latency();
/// ring.push(1).unwrap();
/// let push = ring.stats().push_latency.unwrap();
/// assert!(push.count == 1 && push.p50 <= push.max);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many calls were measured.
    pub count: u64,
    /// Half of them were this fast or faster.
    pub p50: Duration,
    /// 99 % were.
    pub p99: Duration,
    /// 99.9 % were.
    pub p999: Duration,
    /// The slowest one.
    pub max: Duration,
}

/// Both histograms of a ring.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    pub(super) push: Histogram,
    pub(super) drain: Histogram,
}

/// Steps within each power of two.
const STEPS: usize = 16;
const BUCKETS: usize = (64 - 3) * STEPS;

/// Counts durations in buckets that grow with the duration.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Histogram {
    pub(super) fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // ord: counter.
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn quantiles(&self) -> Latency {
        // ord: counters, each by itself; calls that end meanwhile are in some of them.
        let load = |bucket: &AtomicU64| bucket.load(Ordering::Relaxed);
        let counts: Vec<u64> = self.buckets.iter().map(load).collect();
        let count: u64 = counts.iter().sum();
        let at = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1000).max(1);
            let mut below = 0;
            let index = counts.iter().position(|n| {
                below += n;
                below >= rank
            });
            Duration::from_nanos(index.map_or(0, top_ns))
        };
        Latency { count, p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

/// The first 16 nanoseconds have a bucket each; then each power of two has 16.
fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let power = ns.ilog2() as usize;
    let step = (ns >> (power - 4)) as usize & (STEPS - 1);
    (power - 3) * STEPS + step
}

/// The largest duration that a bucket counts.
fn top_ns(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS + 3;
    let first = ((STEPS + bucket % STEPS) as u64) << (power - 4);
    first + ((1 << (power - 4)) - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_duration_lies_in_its_bucket_and_within_a_sixteenth_of_its_top() {
        let samples = (0..64).flat_map(|power| {
            let base = 1u64 << power;
            [base.wrapping_sub(1), base, base | (base >> 1), base | (base >> 3)]
        });
        for ns in samples.chain([u64::MAX]) {
            let top = top_ns(bucket(ns));
            assert!(top >= ns && top - ns <= ns / 16, "{ns}: {top}");
            assert!(bucket(ns) < BUCKETS);
        }
    }

    #[test]
    fn quantiles_of_a_thousand_calls_are_told() {
        let histogram = Histogram::default();
        (0..990).for_each(|_| histogram.record(Duration::from_nanos(10)));
        (0..10).for_each(|_| histogram.record(Duration::from_micros(1)));
        let latency = histogram.quantiles();
        assert_eq!(latency.count, 1000);
        assert_eq!(latency.p50, Duration::from_nanos(10));
        assert_eq!(latency.p99, Duration::from_nanos(10));
        assert!(latency.p999 >= Duration::from_micros(1));
        assert_eq!(latency.max, latency.p999);
    }
}
