//! Archive: what its counters cost beside a lock; `cargo bench --bench archive`.
//!
//! A step adds a file and its bytes, as copiers do while somebody draws their progress. Times are
//! for each step of all threads together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[derive(Default)]
struct Atomic {
    files: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Locked {
    files: u64,
    bytes: u64,
}

/// Lets so many threads make `steps` steps in all.
fn timed(threads: u64, steps: u64, step: impl Fn() + Sync) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let own = steps / threads + u64::from(thread < steps % threads);
            let step = &step;
            scope.spawn(move || (0..own).for_each(|_| step()));
        }
    });
    began.elapsed()
}

fn counters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a file and its bytes");
    for threads in [1, 4] {
        let atomic = Atomic::default();
        group.bench_function(BenchmarkId::new("atomic", threads), |bencher| {
            bencher.iter_custom(|steps| {
                timed(threads, steps, || {
                    atomic.files.fetch_add(1, Ordering::Relaxed);
                    atomic.bytes.fetch_add(4096, Ordering::Relaxed);
                })
            });
        });
        let locked = std::sync::Mutex::new(Locked::default());
        group.bench_function(BenchmarkId::new("mutex", threads), |bencher| {
            bencher.iter_custom(|steps| {
                timed(threads, steps, || {
                    let mut locked = locked.lock().expect("no step panics");
                    locked.files += 1;
                    locked.bytes += 4096;
                })
            });
        });
        let (files, bytes) = (atomic.files.into_inner(), atomic.bytes.into_inner());
        assert_eq!(bytes, files * 4096, "none was lost");
        let locked = locked.into_inner().expect("no step panics");
        assert_eq!(locked.bytes, locked.files * 4096, "none was lost");
    }
    group.finish();
}

criterion_group!(benches, counters);
criterion_main!(benches);
