//! The four policies with a fast producer and a slow consumer, and what each of them lost.
//!
//! ```text
//! cargo run --release --example ring
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ttlog::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest, SpillToDisk};
use ttlog::ring::LockFreeRingBuffer;

const ITEMS: u64 = 20_000;

fn main() {
    println!("{ITEMS} items, a ring of 256, a consumer that takes 64 and rests\n");
    for policy in [Block, DropOldest, DropNewest, SpillToDisk(PathBuf::from("spill"))] {
        show(policy);
    }
}

fn show(policy: BackPressurePolicy) {
    let name = format!("{policy:?}");
    let ring = match LockFreeRingBuffer::try_new(256, policy) {
        Ok(ring) => ring,
        Err(error) => return println!("{name:22} {error}"),
    };
    ring.measure_latency();
    let newest = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..ITEMS {
                // What does not fit comes back; here it is let go, and counted.
                let _ = ring.push(n);
            }
            ring.close();
        });
        let mut newest = None;
        loop {
            let items = ring.take_batch_timeout(64, Duration::from_secs(1));
            let Some(last) = items.last() else { return newest };
            newest = Some(*last);
            thread::sleep(Duration::from_micros(50));
        }
    });
    let stats = ring.stats();
    assert_eq!(stats.delivered + stats.evicted + stats.returned, stats.pushed);
    println!(
        "{name:22} delivered {:5}  evicted {:5}  returned {:5}  slept {:4} times, {:.1?}",
        stats.delivered, stats.evicted, stats.returned, stats.parked, stats.blocked,
    );
    if let (Some(push), Some(newest)) = (stats.push_latency, newest) {
        println!(
            "{:22} a push took {:?} (p50), {:?} (p99); the last item delivered was {newest}",
            "", push.p50, push.p99,
        );
    }
}
