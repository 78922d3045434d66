//! Raw: the work through the `io-uring` crate as it is: no ownership, no checks.
#![expect(unsafe_code, reason = "the raw interface is unsafe")]

use std::cell::RefCell;
use std::hint::black_box;
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use io_uring::{IoUring, cqueue, opcode, types};

use crate::{BLOCK, DEPTH, N_BLOCKS, N_NOPS, N_READS, READS, ROW, file, spread, time};

thread_local! {
    static RING: RefCell<(IoUring, Vec<Vec<u8>>, std::fs::File)> = RefCell::new((
        IoUring::new(256).expect("io_uring"),
        (0..ROW).map(|_| vec![0; 4096]).collect(),
        std::fs::File::open("/dev/zero").expect("/dev/zero"),
    ));
}

pub fn with<R>(work: impl FnOnce(&mut IoUring, &mut Vec<Vec<u8>>, i32) -> R) -> R {
    RING.with_borrow_mut(|(ring, buffers, zero)| work(ring, buffers, zero.as_raw_fd()))
}

fn drain(ring: &mut IoUring, n: usize) {
    drain_each(ring, n, |_| {});
}

pub fn drain_each(ring: &mut IoUring, n: usize, mut each: impl FnMut(cqueue::Entry)) {
    let mut left = n;
    while left > 0 {
        ring.submit_and_wait(1).expect("enter");
        left -= ring.completion().map(&mut each).count();
    }
}

pub fn allocate() -> f64 {
    with(|_, free, _| {
        time(ROW, || {
            for _ in 0..ROW {
                let buffer = free.pop().expect("one is there");
                free.push(black_box(buffer));
            }
        })
    })
}

pub fn push() -> f64 {
    with(|ring, buffers, zero| {
        let pushed = time(ROW, || {
            for (n, buffer) in buffers.iter_mut().enumerate() {
                let read = opcode::Read::new(types::Fd(zero), buffer.as_mut_ptr(), 64).build();
                // SAFETY: the buffers outlive the drain below.
                unsafe { ring.submission().push(&read.user_data(n as u64)) }.expect("room");
            }
        });
        drain(ring, ROW);
        pushed
    })
}

pub fn set_up() -> f64 {
    with(|ring, free, zero| {
        let mut taken = Vec::with_capacity(ROW);
        let pushed = time(ROW, || {
            for n in 0..ROW {
                let mut buffer = free.pop().expect("one is there");
                let read = opcode::Read::new(types::Fd(zero), buffer.as_mut_ptr(), 64).build();
                // SAFETY: the buffers outlive the drain below.
                unsafe { ring.submission().push(&read.user_data(n as u64)) }.expect("room");
                taken.push(buffer);
            }
        });
        drain(ring, ROW);
        free.append(&mut taken);
        pushed
    })
}

pub fn empty_poll() -> f64 {
    with(|ring, _, _| {
        time(ROW, || {
            for _ in 0..ROW {
                black_box(ring.completion().next());
            }
        })
    })
}

fn push_nops(ring: &mut IoUring, n: usize) {
    for at in 0..n {
        let nop = opcode::Nop::new().build().user_data(at as u64);
        // SAFETY: it names no memory.
        unsafe { ring.submission().push(&nop) }.expect("room");
    }
}

pub fn reap() -> f64 {
    with(|ring, _, _| {
        push_nops(ring, ROW);
        ring.submit_and_wait(ROW).expect("enter");
        let mut out = Vec::with_capacity(ROW);
        time(ROW, || {
            out.extend(ring.completion().map(|entry| (entry.user_data(), entry.result())));
            assert_eq!(out.len(), ROW);
        })
    })
}

pub fn cancel() -> f64 {
    with(|ring, _, _| {
        let pushed = time(ROW, || {
            for n in 0..ROW {
                let cancel = opcode::AsyncCancel::new(n as u64).build().user_data(u64::MAX);
                // SAFETY: it names no memory.
                unsafe { ring.submission().push(&cancel) }.expect("room");
            }
        });
        drain(ring, ROW);
        pushed
    })
}

pub fn reap_reads() -> f64 {
    with(|ring, buffers, zero| {
        for (n, buffer) in buffers.iter_mut().enumerate() {
            let read = opcode::Read::new(types::Fd(zero), buffer.as_mut_ptr(), 64).build();
            // SAFETY: the buffers outlive the wait below.
            unsafe { ring.submission().push(&read.user_data(n as u64)) }.expect("room");
        }
        ring.submit_and_wait(ROW).expect("enter");
        let mut out = Vec::with_capacity(ROW);
        time(ROW, || {
            out.extend(ring.completion().map(|entry| (entry.user_data(), entry.result())));
            assert_eq!(out.len(), ROW);
        })
    })
}

pub fn nops(batch: usize) -> Vec<f64> {
    let mut ring = IoUring::new(256).expect("io_uring");
    let mut each = Vec::with_capacity(N_NOPS / batch);
    let mean = time(N_NOPS / batch * batch, || {
        for _ in 0..N_NOPS / batch {
            let begin = Instant::now();
            push_nops(&mut ring, batch);
            ring.submit_and_wait(batch).expect("enter");
            black_box(ring.completion().count());
            each.push(begin.elapsed().as_nanos() as f64);
        }
    });
    spread(mean, each)
}

pub fn reads() -> f64 {
    let mut ring = IoUring::new(64).expect("io_uring");
    let file = file(1 << 16, 0);
    let mut bytes = vec![0_u8; READS];
    let (mut begun, mut done) = (0, 0);
    time(N_READS, || {
        while done < N_READS {
            while begun < N_READS && begun - done < READS {
                let at = begun % READS;
                let start = &raw mut bytes[at];
                let read = opcode::Read::new(types::Fd(file.as_raw_fd()), start, 1)
                    .offset((begun % (1 << 16)) as u64)
                    .build();
                // SAFETY: `bytes` outlives the loop.
                unsafe { ring.submission().push(&read) }.expect("room");
                begun += 1;
            }
            ring.submit_and_wait(1).expect("enter");
            for entry in ring.completion() {
                assert_eq!(entry.result(), 1);
                done += 1;
            }
        }
    })
}

pub fn appends(flags: i32) -> f64 {
    let mut ring = IoUring::new(64).expect("io_uring");
    let file = file(BLOCK * N_BLOCKS, flags);
    let mut memory = ttlog::io::PinnedBuffer::with_capacity_aligned(BLOCK * DEPTH);
    memory.fill(9);
    let (mut begun, mut done, mut free) = (0, 0, (0..DEPTH).collect::<Vec<_>>());
    time(N_BLOCKS, || {
        while done < N_BLOCKS {
            while begun < N_BLOCKS
                && let Some(at) = free.pop()
            {
                let start = memory[at * BLOCK..].as_ptr();
                let write = opcode::Write::new(types::Fd(file.as_raw_fd()), start, BLOCK as u32)
                    .offset((begun * BLOCK) as u64)
                    .build()
                    .user_data(at as u64);
                // SAFETY: `memory` outlives the loop.
                unsafe { ring.submission().push(&write) }.expect("room");
                begun += 1;
            }
            ring.submit_and_wait(1).expect("enter");
            for entry in ring.completion() {
                assert_eq!(entry.result(), BLOCK as i32);
                free.push(entry.user_data() as usize);
                done += 1;
            }
        }
    })
}
