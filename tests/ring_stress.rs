//! The ring under load: every item is accounted for, and every sleeper is woken (R03, R04).
//!
//! Small counts run always; the full ones on demand:
//!
//! ```text
//! cargo test --release --test ring_stress -- --ignored --nocapture
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, sleep, spawn, yield_now};
use std::time::{Duration, Instant};

use ttlog::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

const LONG: Duration = Duration::from_secs(60);

/// An item tells its producer, its number, and a sum of both that no half-written one has.
#[derive(Clone, Copy)]
struct Item {
    producer: u64,
    number: u64,
    filling: [u64; 5],
    sum: u64,
}

impl Item {
    fn new(producer: u64, number: u64) -> Self {
        Self { producer, number, filling: [number; 5], sum: producer ^ number.rotate_left(17) }
    }

    fn check(&self) {
        assert_eq!(self.sum, self.producer ^ self.number.rotate_left(17));
        assert_eq!(self.filling, [self.number; 5]);
    }
}

/// Pushes `each` items from each producer, singly and in batches, and accounts for all.
fn account(policy: BackPressurePolicy, producers: u64, capacity: usize, each: u64) {
    let ring = LockFreeRingBuffer::new(capacity, policy.clone());
    let returned = AtomicU64::new(0);
    let delivered = scope(|scope| {
        let threads: Vec<_> = (0..producers)
            .map(|producer| {
                let (ring, returned) = (&ring, &returned);
                scope.spawn(move || {
                    let mut number = 0;
                    while number < each {
                        let batch = 1 + if number % 5 == 0 { number % 37 } else { 0 };
                        let count = batch.min(each - number);
                        let back = if count == 1 {
                            u64::from(ring.push(Item::new(producer, number)).is_err())
                        } else {
                            let items = (number..number + count).map(|n| Item::new(producer, n));
                            let pushed = ring.push_batch(items.collect());
                            pushed.map_or_else(|error| error.rest.len() as u64, |_| 0)
                        };
                        returned.fetch_add(back, Ordering::Relaxed);
                        number += count;
                    }
                })
            })
            .collect();
        let mut next = vec![0; producers as usize];
        let mut delivered = 0;
        loop {
            let done = threads.iter().all(|thread| thread.is_finished());
            let items = ring.take_batch_timeout(64, Duration::from_millis(1));
            for item in &items {
                item.check();
                let place = &mut next[item.producer as usize];
                assert!(item.number >= *place, "a producer's items come in order, each once");
                *place = item.number + 1;
                delivered += 1;
            }
            if done && items.is_empty() && ring.is_empty() {
                return delivered;
            }
        }
    });
    let stats = ring.stats();
    assert_eq!(stats.delivered, delivered, "{policy:?}");
    assert_eq!(stats.returned, returned.into_inner(), "{policy:?}");
    assert_eq!(stats.delivered + stats.evicted + stats.returned, stats.pushed, "{policy:?}");
    assert!(policy != Block || stats.delivered == stats.pushed);
}

#[test]
fn each_item_is_accounted_for_under_every_policy() {
    for policy in [Block, DropOldest, DropNewest] {
        for producers in [1, 2, 4, 8] {
            account(policy.clone(), producers, 64, 100_000 / producers);
        }
        account(policy, 4, 1, 2_000);
    }
}

#[test]
#[ignore = "R03 at full count, ten minutes; the command is at the file's head"]
fn a_billion_items_are_accounted_for() {
    for policy in [Block, DropOldest, DropNewest] {
        for producers in [1, 2, 4, 8] {
            account(policy.clone(), producers, 1024, 84_000_000 / producers);
        }
    }
}

/// R04: producers on a ring of one, a consumer that rests now and then.
fn park(producers: u64, each: u64) {
    let ring = LockFreeRingBuffer::new(1, Block);
    let count = scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| (0..each).for_each(|n| ring.push(n).expect("nobody closes it")));
        }
        let mut count = 0;
        while count < producers * each {
            let taken = ring.take_batch_timeout(1, LONG).len() as u64;
            assert!(taken > 0, "a wake-up was lost");
            count += taken;
            if count % 1000 == 0 {
                sleep(Duration::from_micros(count / 1000 % 300));
            }
        }
        count
    });
    assert_eq!((count, ring.stats().parked > 0), (producers * each, true));
}

#[test]
fn no_wake_up_is_lost() {
    park(16, 200);
    park(100, 10);
}

#[test]
#[ignore = "R04 at full count, some minutes; the command is at the file's head"]
fn no_wake_up_is_lost_among_a_thousand_producers() {
    park(1000, 1000);
}

#[test]
fn a_shutdown_frees_parked_producers() {
    let ring = Arc::new(LockFreeRingBuffer::new(1, Block));
    ring.push(0).unwrap();
    let threads: Vec<_> = (0..64)
        .map(|n| {
            let ring = ring.clone();
            spawn(move || ring.push(n).unwrap_err().is_closed())
        })
        .collect();
    while ring.stats().parked < 64 {
        yield_now();
    }
    let began = Instant::now();
    ring.close();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    eprintln!("64 producers freed in {:?}", began.elapsed());
}
