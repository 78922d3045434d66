//! The ring asks for memory when it is made, and never again on the way of an item.
#![expect(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ttlog::ring::BackPressurePolicy::{Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn no_push_and_no_take_into_a_buffer_allocates() {
    for policy in [Block, DropOldest, DropNewest] {
        let ring = LockFreeRingBuffer::new(64, policy.clone());
        let (mut out, mut batch) = (Vec::with_capacity(64), Vec::with_capacity(32));
        let made = calls(|| {
            for n in 0..1000_u64 {
                ring.push([n; 4]).unwrap();
                batch.extend([[n; 4]; 32]);
                assert_eq!(ring.push_from(&mut batch), 32);
                assert_eq!(ring.take_into(&mut out, 64), 33);
                out.clear();
            }
            if policy != Block {
                (0..1000_u64).for_each(|n| drop(ring.push([n; 4])));
            }
            let _ = (ring.take_one(), ring.len(), ring.stats());
        });
        assert_eq!(made, 0, "{policy:?}");
    }
}

#[test]
fn a_ring_that_evicts_boxes_allocates_nothing_of_its_own() {
    let ring = LockFreeRingBuffer::new(8, DropOldest);
    let made = calls(|| (0..1000).for_each(|n| ring.push(Box::new(n)).unwrap()));
    assert_eq!(made, 1000, "the boxes themselves");
}

/// The RFC's criterion: less than 10 MB beside the items at a million slots.
#[test]
fn a_million_slots_cost_less_than_ten_megabytes() {
    let before = BYTES.get();
    let ring = LockFreeRingBuffer::<u64>::new(1 << 20, Block);
    let bytes = BYTES.get() - before - (1 << 20) * size_of::<u64>();
    assert!(bytes < 10_000_000, "{bytes}");
    drop(ring);
}
