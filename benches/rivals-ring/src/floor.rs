//! Floor: what no queue can go below, and the same work by one thread for valgrind to count.
#![expect(unsafe_code, reason = "touches one line in each of many")]

use std::hint::{black_box, spin_loop};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use disruptor::{BusySpin, Producer, build_multi_producer};
use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};

use crate::Item;
use crate::measure::{pin, time_one};
use crate::queues::TAKE_MAX;

const LINE_BYTES: usize = 64;
const BATCH: usize = 32;

/// Memory that two threads touch in turn.
#[derive(Clone, Copy)]
struct Lines(*mut u8, usize);

// SAFETY: the turns are handed on by an atomic.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    fn each(self, mut touch: impl FnMut(*mut u8)) {
        (0..self.1).step_by(LINE_BYTES).for_each(|at| touch(self.0.wrapping_add(at)));
    }

    fn write(self, value: u8) {
        // SAFETY: within the memory, and it is this thread's turn.
        self.each(|line| unsafe { line.write_volatile(value) });
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    fn read(self) {
        // SAFETY: as above.
        self.each(|line| _ = black_box(unsafe { line.read_volatile() }));
    }
}

/// Waits for `value`, does something, and says how long that took.
fn turn(turns: &AtomicU64, value: u64, act: impl FnOnce()) -> Duration {
    while turns.load(Ordering::Acquire) != value {
        spin_loop();
    }
    let began = Instant::now();
    act();
    let time = began.elapsed();
    turns.store(value + 1, Ordering::Release);
    time
}

/// What a line costs on its way from one processor to the other, alone and among others, and a copy.
pub fn lines() {
    const TURNS: u64 = 200_000;
    let turns = AtomicU64::new(0);
    let began = Instant::now();
    scope(|scope| {
        scope.spawn(|| {
            pin(1);
            (1..TURNS).step_by(2).for_each(|n| _ = turn(&turns, n, || {}));
        });
        scope.spawn(|| {
            pin(0);
            (0..TURNS).step_by(2).for_each(|n| _ = turn(&turns, n, || {}));
        });
    });
    println!("\na line handed on: {:.0} ns", began.elapsed().as_nanos() as f64 / TURNS as f64);
    for kib in [64, 256, 4096, 16384] {
        let rounds = (64 * 1024 / kib).clamp(4, 256) as u64;
        let mut memory = vec![0_u8; kib * 1024 + LINE_BYTES];
        let lines = Lines(memory.as_mut_ptr(), kib * 1024);
        let turns = AtomicU64::new(0);
        let count = (kib * 1024 / LINE_BYTES) as f64 * rounds as f64;
        let (wrote, read) = scope(|scope| {
            let writer = scope.spawn(|| {
                pin(0);
                let lines = black_box(lines);
                (0..=rounds).map(|n| turn(&turns, 2 * n, || lines.write(n as u8))).skip(1).sum()
            });
            let reader = scope.spawn(|| {
                pin(1);
                let lines = black_box(lines);
                (0..=rounds).map(|n| turn(&turns, 2 * n + 1, || lines.read())).skip(1).sum()
            });
            (writer.join().unwrap(), reader.join().unwrap())
        });
        let each = |time: Duration| time.as_nanos() as f64 / count;
        let mut to = vec![1_u8; kib * 1024];
        let began = Instant::now();
        for _ in 0..rounds {
            // SAFETY: both are as long as that.
            unsafe { ptr::copy_nonoverlapping(memory.as_ptr(), to.as_mut_ptr(), to.len()) };
            black_box(&mut to);
        }
        println!(
            "{kib:6} KiB, ns a line: written after the other read it {:.1}, read after the other \
             wrote it {:.1}, copied by one {:.1}",
            each(wrote),
            each(read),
            each(began.elapsed())
        );
    }
    let step = AtomicU64::new(0);
    let mut times: Vec<f64> = (0..10_001)
        .map(|n| time_one(|| step.compare_exchange(n, n + 1, Ordering::Release, Ordering::Relaxed)))
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    println!("a locked step timed as a push is: {:.1} ns", times[5_000]);
    println!("pushes that only step, write and stamp, at 65,536, ns each:");
    for (bytes, read, own) in [
        (8, floor_of_pushes::<1>(true), floor_of_pushes::<1>(false)),
        (64, floor_of_pushes::<8>(true), floor_of_pushes::<8>(false)),
    ] {
        println!("{bytes:6} bytes: {read:.1} where the other read them, {own:.1} where nobody did");
    }
}

/// Shares no line with anything.
#[repr(align(128))]
struct Apart<T>(T);

/// What pushes of `WORDS` words each cost that do nothing but what they must: a locked step of a
/// counter, a value and a stamp, in lines that the other processor has read since. The lines lie in
/// the other's caches, or one by one in this one's own.
fn floor_of_pushes<const WORDS: usize>(other_reads: bool) -> f64 {
    const SLOTS: usize = 65_536;
    const LAPS: u64 = 20;
    let values: Vec<[AtomicU64; WORDS]> =
        (0..SLOTS).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect();
    let stamps: Vec<AtomicU64> = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
    let (tail, turns) = (Apart(AtomicU64::new(0)), Apart(AtomicU64::new(0)));
    let (tail, turns) = (&tail.0, &turns.0);
    let push_lap = || {
        for slot in 0..SLOTS {
            let at = tail.load(Ordering::Relaxed);
            let _ = tail.compare_exchange(at, at + 1, Ordering::Release, Ordering::Relaxed);
            values[slot].iter().for_each(|word| word.store(at, Ordering::Relaxed));
            stamps[slot].store(at, Ordering::Release);
        }
    };
    let read_lap = || {
        for slot in 0..SLOTS {
            black_box(stamps[slot].load(Ordering::Acquire));
            values[slot].iter().for_each(|word| _ = black_box(word.load(Ordering::Relaxed)));
        }
    };
    let time: Duration = scope(|scope| {
        let pushes = scope.spawn(|| {
            pin(0);
            (0..=LAPS).map(|n| turn(turns, 2 * n, push_lap)).skip(1).sum()
        });
        scope.spawn(|| {
            pin(1);
            (0..=LAPS).for_each(|n| {
                turn(&turns, 2 * n + 1, || {
                    if other_reads {
                        read_lap()
                    }
                });
            });
        });
        pushes.join().unwrap()
    });
    time.as_nanos() as f64 / (SLOTS as u64 * LAPS) as f64
}

/// `times` pushes by one thread: `evict`, `force_push`, `single`, `concurrent`, `batch` or
/// `disruptor`.
pub fn count(what: &str, times: usize) {
    type Small = Item<8>;
    type Large = Item<32>;
    let items = |n: usize| vec![Large::default(); n];
    match what {
        "evict" => {
            let ring = LockFreeRingBuffer::new(1024, BackPressurePolicy::DropOldest);
            (0..times).for_each(|_| _ = black_box(ring.push(black_box(Small::default()))));
        }
        "force_push" => {
            let queue = ArrayQueue::new(1024);
            (0..times).for_each(|_| _ = black_box(queue.force_push(black_box(Small::default()))));
        }
        "single" => {
            let ring = LockFreeRingBuffer::new(65_536, BackPressurePolicy::DropNewest);
            let mut out = Vec::with_capacity(TAKE_MAX);
            for n in 1..=times {
                let _ = black_box(ring.push(black_box(n)));
                if n % TAKE_MAX == 0 {
                    ring.take_into(&mut out, TAKE_MAX);
                    black_box(&out);
                    out.clear();
                }
            }
        }
        "concurrent" => {
            let queue = concurrent_queue::ConcurrentQueue::bounded(65_536);
            for n in 1..=times {
                let _ = black_box(queue.push(black_box(n)));
                if n % TAKE_MAX == 0 {
                    while let Ok(item) = queue.pop() {
                        black_box(item);
                    }
                }
            }
        }
        "batch" => {
            let ring = LockFreeRingBuffer::new(65_536, BackPressurePolicy::DropNewest);
            let (mut batch, mut out) = (items(BATCH), Vec::with_capacity(TAKE_MAX));
            for n in 1..=times / BATCH {
                batch.resize(BATCH, black_box(Large::default()));
                ring.push_from(&mut batch);
                if n % (TAKE_MAX / BATCH) == 0 {
                    ring.take_into(&mut out, TAKE_MAX);
                    black_box(&out);
                    out.clear();
                }
            }
        }
        "disruptor" => {
            let builder = build_multi_producer(65_536, Large::default, BusySpin);
            let (mut poller, builder) = builder.new_event_poller();
            let mut producer = builder.build();
            for n in 1..=times / BATCH {
                let filled = producer.try_batch_publish(BATCH, |items| {
                    items.for_each(|item| *item = black_box(Large::default()));
                });
                black_box(filled.is_ok());
                if n % (TAKE_MAX / BATCH) == 0
                    && let Ok(mut events) = poller.poll()
                {
                    (&mut events).for_each(|item| _ = black_box(*item));
                }
            }
        }
        other => eprintln!("{other}? see the head of src/main.rs"),
    }
}
