//! The four policies with a fast producer and a slow consumer, and what each of them lost.
//!
//! ```text
//! cargo run --release --features serde --example ring
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;
use std::time::Duration;

use ttlog::ring::BackPressurePolicy::{Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

const ITEMS: u64 = 20_000;

fn main() {
    println!("{ITEMS} items, a ring of 256, a consumer that takes 64 and rests\n");
    for policy in [Block, DropOldest, DropNewest] {
        show(&format!("{policy:?}"), &LockFreeRingBuffer::new(256, policy));
    }
    show_spill();
}

#[cfg(feature = "serde")]
fn show_spill() {
    let dir = std::env::temp_dir().join(format!("ttlog-example-ring-{}", std::process::id()));
    match LockFreeRingBuffer::with_spill(256, &dir) {
        Ok(ring) => show("SpillToDisk", &ring),
        Err(error) => println!("{:22} {error}", "SpillToDisk"),
    }
    // It is empty: all that was spilled has come back.
    let _ = std::fs::remove_dir(dir);
}

#[cfg(not(feature = "serde"))]
fn show_spill() {
    println!("{:22} asks for --features serde", "SpillToDisk");
}

fn show(name: &str, ring: &LockFreeRingBuffer<u64>) {
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
        "{name:22} delivered {:5}  evicted {:5}  returned {:5}  spilled {:5}  slept {:4} times, \
         {:.1?}",
        stats.delivered, stats.evicted, stats.returned, stats.spilled, stats.parked, stats.blocked,
    );
    if let (Some(push), Some(newest)) = (stats.push_latency, newest) {
        println!(
            "{:22} a push took {:?} (p50), {:?} (p99); the last item delivered was {newest}",
            "", push.p50, push.p99,
        );
    }
}
