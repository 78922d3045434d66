//! Measure: the four kinds of work, for any queue.
#![expect(unsafe_code, reason = "reads the tick counter and pins threads")]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{spawn, yield_now};
use std::time::{Duration, Instant};

use crate::queues::Queue;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Saturated,
    Batch,
    Evict,
    Latency,
    Single,
}

impl Kind {
    pub fn unit(self) -> &'static str {
        match self {
            Self::Saturated | Self::Batch => "million items/s at the consumer",
            Self::Evict => "million pushes/s into a full ring, % accepted",
            Self::Latency => "ns a push: p50, p99, p99.9",
            Self::Single => "ns: push, take, push + take",
        }
    }
}

#[derive(Clone)]
pub struct Options {
    pub kinds: Vec<Kind>,
    pub rounds: usize,
    pub time: Duration,
    pub only: String,
    pub items: Vec<usize>,
    pub capacity: usize,
}

impl Options {
    pub fn from_args() -> Self {
        let mut o = Self {
            kinds: vec![],
            rounds: 5,
            time: Duration::from_millis(100),
            only: String::new(),
            items: vec![8, 64, 256],
            capacity: 1024,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().expect("a value after the option");
            match &*arg {
                "saturated" => o.kinds.push(Kind::Saturated),
                "batch" => o.kinds.push(Kind::Batch),
                "evict" => o.kinds.push(Kind::Evict),
                "latency" => o.kinds.push(Kind::Latency),
                "single" => o.kinds.push(Kind::Single),
                "--rounds" => o.rounds = value().parse().expect("a number"),
                "--ms" => o.time = Duration::from_millis(value().parse().expect("a number")),
                "--only" => o.only = value(),
                "--capacity" => o.capacity = value().parse().expect("a number"),
                "--items" => {
                    o.items = value().split(',').map(|n| n.parse().expect("bytes")).collect();
                }
                other => panic!("{other}? see the head of src/main.rs"),
            }
        }
        if o.kinds.is_empty() {
            o.kinds = vec![Kind::Single, Kind::Saturated, Kind::Batch, Kind::Evict, Kind::Latency];
        }
        o
    }
}

/// Producers share the first processor, the consumer has the second.
pub fn pin(processor: usize) {
    // SAFETY: plain system calls on a set that lives here.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

pub fn saturated<T: Copy + Default + Send + 'static, Q: Queue<T>>(
    producers: usize,
    batch: usize,
    o: &Options,
) -> Vec<f64> {
    let queue = Arc::new(Q::new(o.capacity));
    let stop = Arc::new(AtomicBool::new(false));
    let start = Arc::new(Barrier::new(producers + 1));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (queue, stop, start) = (queue.clone(), stop.clone(), start.clone());
            spawn(move || {
                pin(0);
                start.wait();
                let mut items = Vec::with_capacity(batch);
                let mut misses = 0;
                while !stop.load(Ordering::Relaxed) {
                    let pushed = if batch == 1 {
                        queue.push(black_box(T::default()))
                    } else {
                        if items.is_empty() {
                            items.resize(batch, black_box(T::default()));
                        }
                        queue.push_some(&mut items);
                        items.is_empty()
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
    pin(1);
    let mut out = Vec::with_capacity(1024);
    start.wait();
    let (warm_up, began) = (o.time / 5, Instant::now());
    let mut count = 0;
    let mut from = None;
    loop {
        for _ in 0..64 {
            let taken = queue.take(&mut out);
            count += taken;
            black_box(&out);
            out.clear();
            if taken == 0 {
                spin_loop();
            }
        }
        let now = began.elapsed();
        match from {
            None if now > warm_up => from = Some((now, count)),
            Some((then, before)) if now > warm_up + o.time => {
                stop.store(true, Ordering::Relaxed);
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                return vec![(count - before) as f64 / (now - then).as_secs_f64() / 1e6];
            }
            _ => {}
        }
    }
}

/// Producers push into a full queue that nobody empties.
pub fn evict<T: Copy + Default + Send + 'static, Q: Queue<T>>(
    producers: usize,
    o: &Options,
) -> Vec<f64> {
    let queue = Arc::new(Q::new(o.capacity));
    let start = Arc::new(Barrier::new(producers));
    let threads: Vec<_> = (0..producers)
        .map(|n| {
            let (queue, start, time) = (queue.clone(), start.clone(), o.time);
            spawn(move || {
                pin(n % 2);
                start.wait();
                let began = Instant::now();
                let (mut pushes, mut accepted) = (0_u64, 0_u64);
                while began.elapsed() < time {
                    for _ in 0..256 {
                        accepted += u64::from(queue.push(black_box(T::default())));
                    }
                    pushes += 256;
                }
                (pushes, accepted, began.elapsed().as_secs_f64())
            })
        })
        .collect();
    let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let rate: f64 = done.iter().map(|(pushes, _, time)| *pushes as f64 / time / 1e6).sum();
    let pushes: u64 = done.iter().map(|done| done.0).sum();
    let accepted: u64 = done.iter().map(|done| done.1).sum();
    vec![rate, 100.0 * accepted as f64 / pushes as f64]
}

fn ticks() -> u64 {
    // SAFETY: both only read counters.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
}

/// Nanoseconds of one call, less those of timing nothing.
pub fn time_one<R>(call: impl FnOnce() -> R) -> f64 {
    static RATE: OnceLock<(f64, u64)> = OnceLock::new();
    let (rate, nothing) = *RATE.get_or_init(|| (ticks_per_ns(), ticks_of_nothing()));
    let before = ticks();
    let done = call();
    let after = ticks();
    black_box(done);
    (after - before).saturating_sub(nothing) as f64 / rate
}

fn ticks_of_nothing() -> u64 {
    let mut empty: Vec<u64> = (0..1000)
        .map(|_| {
            let before = ticks();
            ticks() - before
        })
        .collect();
    empty.sort_unstable();
    empty[500]
}

fn ticks_per_ns() -> f64 {
    let (began, first) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(20));
    (ticks() - first) as f64 / began.elapsed().as_nanos() as f64
}

/// One push a microsecond and producer, beside a consumer that never rests.
pub fn latency<T: Copy + Default + Send + 'static, Q: Queue<T>>(
    producers: usize,
    o: &Options,
) -> Vec<f64> {
    let rate = ticks_per_ns();
    let queue = Arc::new(Q::new(o.capacity));
    let stop = Arc::new(AtomicBool::new(false));
    let pushes = (o.time.as_micros() as usize).max(1000);
    let consumer = {
        let (queue, stop) = (queue.clone(), stop.clone());
        spawn(move || {
            pin(1);
            let mut out = Vec::with_capacity(1024);
            while !stop.load(Ordering::Relaxed) {
                if queue.take(&mut out) == 0 {
                    spin_loop();
                }
                black_box(&out);
                out.clear();
            }
        })
    };
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let queue = queue.clone();
            spawn(move || {
                pin(0);
                let mut times = Vec::with_capacity(pushes);
                let mut next = ticks();
                for _ in 0..pushes {
                    next += (1000.0 * rate) as u64;
                    while ticks() < next {
                        spin_loop();
                    }
                    let before = ticks();
                    let pushed = queue.push(black_box(T::default()));
                    let after = ticks();
                    black_box(pushed);
                    times.push(after - before);
                }
                times
            })
        })
        .collect();
    let mut times: Vec<u64> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    stop.store(true, Ordering::Relaxed);
    consumer.join().unwrap();
    let empty = ticks_of_nothing();
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times[index.min(times.len() - 1)].saturating_sub(empty) as f64 / rate
    };
    vec![at(0.5), at(0.99), at(0.999)]
}

/// One thread does both: fills half the queue and empties it; then push and take in turn.
pub fn single<T: Copy + Default + Send + 'static, Q: Queue<T>>(o: &Options) -> Vec<f64> {
    pin(1);
    let queue = Q::new(o.capacity);
    let mut out = Vec::with_capacity(o.capacity);
    let half = o.capacity / 2;
    let laps = 2_000_000 / half;
    let (mut pushing, mut taking) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..laps {
        let began = Instant::now();
        for _ in 0..half {
            black_box(queue.push(black_box(T::default())));
        }
        let between = Instant::now();
        while out.len() < half {
            queue.take(&mut out);
        }
        taking += between.elapsed();
        pushing += between - began;
        black_box(&out);
        out.clear();
    }
    let began = Instant::now();
    for _ in 0..1_000_000 {
        queue.push(black_box(T::default()));
        queue.take(&mut out);
        black_box(&out);
        out.clear();
    }
    let both = began.elapsed();
    let each = |time: Duration| time.as_nanos() as f64 / (laps * half) as f64;
    vec![each(pushing), each(taking), both.as_nanos() as f64 / 1e6]
}
