//! Disruptor: its consumer is a closure on a thread of its own, so it has a run of its own.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{spawn, yield_now};
use std::time::Instant;

use disruptor::{BusySpin, Producer, Sequence, build_multi_producer};

use crate::measure::{Options, pin};

pub fn saturated<T: Copy + Default + Send + Sync + 'static>(
    producers: usize,
    batch: usize,
    o: &Options,
) -> Vec<f64> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut since = 0;
    let mut pinned = false;
    let handler = move |item: &T, _: Sequence, end: bool| {
        if !pinned {
            pin(1);
            pinned = true;
        }
        black_box(*item);
        since += 1;
        if end || since == 256 {
            counted.store(counted.load(Ordering::Relaxed) + since, Ordering::Relaxed);
            since = 0;
        }
    };
    let producer =
        build_multi_producer(o.capacity, T::default, BusySpin).handle_events_with(handler).build();
    let stop = Arc::new(AtomicBool::new(false));
    let start = Arc::new(Barrier::new(producers + 1));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (mut producer, stop, start) = (producer.clone(), stop.clone(), start.clone());
            spawn(move || {
                pin(0);
                start.wait();
                let mut misses = 0;
                while !stop.load(Ordering::Relaxed) {
                    let pushed = if batch == 1 {
                        producer.try_publish(|item| *item = black_box(T::default())).is_ok()
                    } else {
                        producer
                            .try_batch_publish(batch, |items| {
                                items.for_each(|item| *item = black_box(T::default()));
                            })
                            .is_ok()
                    };
                    if pushed {
                        misses = 0;
                    } else {
                        misses += 1;
                        if misses % 64 == 0 { yield_now() } else { spin_loop() }
                    }
                }
            })
        })
        .collect();
    start.wait();
    std::thread::sleep(o.time / 5);
    let (began, before) = (Instant::now(), count.load(Ordering::Relaxed));
    std::thread::sleep(o.time);
    let (time, after) = (began.elapsed(), count.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(producer);
    vec![(after - before) as f64 / time.as_secs_f64() / 1e6]
}
