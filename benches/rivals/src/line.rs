//! Line: what it costs that two processors hand a cache line to each other and back.
//!
//! Threads that share no cache, on two sockets or on two core complexes of one, pay several times
//! as much as those that do, and a virtual machine may be moved from the one to the other between
//! two runs. So each sample says what it was just before; samples with unlike lines do not compare.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// There and back so often in a round, whose least time counts.
const HANDOVERS: u64 = 20_000;
const ROUNDS: u64 = 5;

/// Alone on its line, and on the one that is fetched with it.
#[repr(align(128))]
struct Line(AtomicU64);

/// Nanoseconds for there and back.
pub fn round_trip_ns() -> f64 {
    let line = Line(AtomicU64::new(0));
    let wait_for = |n| {
        let mut spins = 0;
        while line.0.load(Ordering::Acquire) != n {
            spins += 1;
            // Both may have to share one processor.
            if spins % 1_000 == 0 { thread::yield_now() } else { spin_loop() }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..ROUNDS * HANDOVERS {
                wait_for(2 * n + 1);
                line.0.store(2 * n + 2, Ordering::Release);
            }
        });
        let round = |round: u64| {
            let begun = Instant::now();
            for n in round * HANDOVERS..(round + 1) * HANDOVERS {
                line.0.store(2 * n + 1, Ordering::Release);
                wait_for(2 * n + 2);
            }
            begun.elapsed().as_secs_f64() * 1e9 / HANDOVERS as f64
        };
        (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
    })
}
