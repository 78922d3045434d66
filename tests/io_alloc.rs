//! What operations ask of the allocator: bytes for each in flight, and nothing once it is warm.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use ttlog::io::{
    Batch, BufferPool, BufferPoolConfig, IoBackend, IoFd, IoOperation, OFFSET_NONE, Ring,
    UringBackend,
};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        LIVE.set(LIVE.get() + layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_operation_in_flight_takes_no_more_than_272_bytes() {
    let Ok(ring) = Ring::new(256) else { return println!("not run: no io_uring") };
    let pool = BufferPool::new(BufferPoolConfig { prealloc_count: 1100, ..Default::default() });
    let (reader, _writer) = std::io::pipe().unwrap();
    let pipe = IoFd::from(reader);
    drop(ring.read(&pipe, pool.allocate(64).unwrap(), OFFSET_NONE));
    // A power of two, so that a doubled vector is as full as it gets; the pool's buffers are there.
    const N: usize = 1024;
    let before = LIVE.get();
    let mut futures = Vec::with_capacity(N);
    let future = size_of_val(&ring.read(&pipe, pool.allocate(64).unwrap(), OFFSET_NONE));
    for _ in 0..N - 2 {
        futures.push(ring.read(&pipe, pool.allocate(64).unwrap(), OFFSET_NONE));
    }
    let held = LIVE.get() - before;
    let each = held as usize / N;
    println!("bytes an operation in flight: {each}, of which {future} are its future");
    assert!(each <= 272, "{each}");
}

#[test]
fn a_warm_backend_allocates_nothing() {
    let Ok(mut backend) = UringBackend::new(64) else { return println!("not run: no io_uring") };
    let pool = BufferPool::new(BufferPoolConfig { prealloc_count: 64, ..Default::default() });
    let zero = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let mut done = Vec::with_capacity(128);
    let mut turn = |backend: &mut UringBackend| {
        for _ in 0..32 {
            let buffer = pool.allocate(4096).unwrap();
            backend.submit(IoOperation::read(&zero, buffer, 0)).unwrap();
        }
        while backend.in_flight() > 0 {
            backend.poll_into(None, &mut done).unwrap();
            done.clear();
        }
    };
    turn(&mut backend);
    let before = CALLS.get();
    (0..100).for_each(|_| turn(&mut backend));
    assert_eq!(CALLS.get() - before, 0);
}

#[test]
fn a_completion_costs_the_same_in_every_batch() {
    let Ok(ring) = Ring::new(4096) else { return println!("not run: no io_uring") };
    let mut times = Vec::new();
    for size in [10, 100, 1000] {
        let mut best = f64::MAX;
        for _ in 0..40 {
            let mut batch = Batch::new();
            for _ in 0..size {
                batch.push(IoOperation::Nop);
            }
            let begin = Instant::now();
            let results = ring.block_on(ring.submit_batch(batch).unwrap());
            best = best.min(begin.elapsed().as_nanos() as f64 / size as f64);
            assert_eq!(results.len(), size);
        }
        times.push((size, best));
    }
    println!("ns an operation in batches of this size: {times:.0?}");
    // Three times is far from the hundred times of a search in each.
    assert!(times[2].1 < 3.0 * times[0].1, "{times:?}");
}
