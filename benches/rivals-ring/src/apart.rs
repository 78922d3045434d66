//! Apart: what epochs would cost each push, and what a ring weighs beside its items.
#![expect(unsafe_code, reason = "gives memory to an epoch")]

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_epoch::{Atomic, Owned, pin};
use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};

const TIMES: u32 = 5_000_000;

fn each(what: &str, mut step: impl FnMut()) {
    let began = Instant::now();
    (0..TIMES).for_each(|_| step());
    println!("  {what:44}{:9.1}  ns", began.elapsed().as_nanos() as f64 / f64::from(TIMES));
}

/// A push and a take, a pin around nothing, and a slot that holds a pointer freed by epochs.
pub fn epoch() {
    println!("\nepochs, one thread, {TIMES} times");
    let ring = LockFreeRingBuffer::new(1024, BackPressurePolicy::DropNewest);
    let mut n = 0_u64;
    each("push and take of 8 bytes", || {
        n += 1;
        black_box(ring.push(black_box(n)).is_ok());
        black_box(ring.take_one());
    });
    each("pin and unpin", || drop(black_box(pin())));
    let slot = Atomic::new(0_u64);
    each("box, swap, and leave the old one to the epoch", || {
        n += 1;
        let guard = pin();
        let old = slot.swap(Owned::new(black_box(n)), Ordering::AcqRel, &guard);
        // SAFETY: it was swapped out, so nobody else finds it any more.
        unsafe { guard.defer_destroy(old) };
    });
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = status.split(' ').nth(1).expect("resident").parse().expect("a number");
    pages * 4096
}

/// The resident size of a ring of a million slots, less its items.
pub fn memory() {
    const SLOTS: usize = 1 << 20;
    let before = resident();
    let ring = LockFreeRingBuffer::new(SLOTS, BackPressurePolicy::DropNewest);
    (0..SLOTS as u64).for_each(|n| ring.push(n).expect("there is room"));
    let bytes = resident() - before - SLOTS * 8;
    println!("\na ring of {SLOTS} slots, full: {:.1} MB beside its items", bytes as f64 / 1e6);
}
