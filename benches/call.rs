//! What a log call costs, beside its floor: a clock read and a copy of the same bytes.
//!
//! *Unsaturated*: bursts of 1,000 calls, and pauses, which are not timed, in which the scribe
//! catches up. *Saturated*: calls without a pause. Both are amortised: no timer between the calls.
//! `benches/rivals` has the percentiles and the other loggers.

#[path = "common/clock.rs"]
mod clock;
#[path = "common/floor.rs"]
mod floor;

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};

use crate::floor::Floor;

const BURST: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(1);
/// Kept awake after a pause, so that the burst does not pay for the processor's wake-up.
const AWAKE: Duration = Duration::from_micros(30);
const TEXT: &str = "hello world";
const PATH: &str = "/api/v1/orders";

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let handle = ttlog::Builder::new(dir.path())
        .app("bench", "1")
        .filter("info")
        .init()
        .expect("the logger starts in an empty directory");
    let mut criterion = Criterion::default().configure_from_args();
    for pace in [Pace::Unsaturated, Pace::Saturated] {
        one_u64(&mut criterion, pace);
        one_str(&mut criterion, pace);
        mixed(&mut criterion, pace);
        structured(&mut criterion, pace);
    }
    disabled(&mut criterion);
    criterion.final_summary();
    handle.shutdown(Duration::from_secs(60)).expect("the logger writes what it has and ends");
}

fn one_u64(criterion: &mut Criterion, pace: Pace) {
    let (mut floor, mut values) = (black_box(Floor::default()), Values::default());
    let mut group = pace.group(criterion, "one_u64");
    pace.bench(&mut group, "floor", || floor.one_u64(black_box(values.number())));
    pace.bench(&mut group, "ttlog", || ttlog::info!("x={}", black_box(values.number())));
    group.finish();
}

fn one_str(criterion: &mut Criterion, pace: Pace) {
    let mut floor = black_box(Floor::default());
    let mut group = pace.group(criterion, "one_str");
    pace.bench(&mut group, "floor", || floor.one_str(black_box(TEXT)));
    pace.bench(&mut group, "ttlog", || ttlog::info!("{}", black_box(TEXT)));
    group.finish();
}

fn mixed(criterion: &mut Criterion, pace: Pace) {
    let (mut floor, mut values) = (black_box(Floor::default()), Values::default());
    let mut group = pace.group(criterion, "mixed");
    pace.bench(&mut group, "floor", || {
        let x = values.number();
        floor.mixed(black_box(x), black_box(x as f64 * 0.125), black_box(TEXT));
    });
    pace.bench(&mut group, "ttlog", || {
        let x = values.number();
        ttlog::info!("{} {} {}", black_box(x), black_box(x as f64 * 0.125), black_box(TEXT));
    });
    group.finish();
}

fn structured(criterion: &mut Criterion, pace: Pace) {
    let (mut floor, mut values) = (black_box(Floor::default()), Values::default());
    let mut group = pace.group(criterion, "structured");
    pace.bench(&mut group, "floor", || {
        let x = values.number();
        let (path, latency, ok) = (black_box(PATH), x as f64 * 0.125, x & 1 == 0);
        floor.structured(black_box(x), path, black_box(latency), black_box(ok));
    });
    pace.bench(&mut group, "ttlog", || {
        let x = values.number();
        let (path, latency, ok) = (black_box(PATH), x as f64 * 0.125, x & 1 == 0);
        ttlog::info!(
            user_id = black_box(x),
            path,
            latency = black_box(latency),
            ok = black_box(ok),
            "request done"
        );
    });
    group.finish();
}

/// A level that is off, beside the loop that holds the call.
fn disabled(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("disabled");
    group.bench_function("empty loop", |b| b.iter(|| black_box(1_u64)));
    group.bench_function("ttlog", |b| {
        b.iter(|| {
            let x = black_box(1_u64);
            ttlog::debug!("x={}", x);
            x
        });
    });
    group.finish();
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    Unsaturated,
    Saturated,
}

impl Pace {
    fn group<'a>(self, criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
        let (pace, time) = match self {
            // Only the calls are timed, and they are a hundredth of the time that passes.
            Self::Unsaturated => ("unsaturated", Duration::from_millis(60)),
            Self::Saturated => ("saturated", Duration::from_secs(1)),
        };
        let mut group = criterion.benchmark_group(format!("{pace}/{name}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        group.warm_up_time(Duration::from_millis(250)).measurement_time(time);
        group
    }

    fn bench(self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut call: impl FnMut()) {
        group.bench_function(name, |b| {
            b.iter_custom(|calls| match self {
                Self::Saturated => timed(calls, &mut call),
                Self::Unsaturated => {
                    let mut passed = Duration::ZERO;
                    // Whole bursts only; the mean is what criterion asked for.
                    let bursts = calls.div_ceil(BURST);
                    for _ in 0..bursts {
                        passed += timed(BURST, &mut call);
                        rest();
                    }
                    passed.mul_f64(calls as f64 / (bursts * BURST) as f64)
                }
            });
        });
    }
}

#[inline(never)]
fn timed(calls: u64, call: &mut impl FnMut()) -> Duration {
    let from = Instant::now();
    for _ in 0..calls {
        call();
    }
    from.elapsed()
}

/// Lets the scribe catch up.
fn rest() {
    thread::sleep(PAUSE);
    let awake = Instant::now();
    while awake.elapsed() < AWAKE {
        std::hint::spin_loop();
    }
}

/// Pseudo-random numbers below a million.
#[derive(Debug)]
struct Values(u64);

impl Default for Values {
    fn default() -> Self {
        Self(black_box(0x2545_f491_4f6c_dd1d))
    }
}

impl Values {
    #[inline(always)]
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 32) * 1_000_000) >> 32
    }
}
