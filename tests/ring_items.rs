//! Items of every kind: of no size, large, not Copy, with destructors that count or panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ttlog::ring::BackPressurePolicy::{Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

/// Counts how often it is dropped; number 13 panics then.
struct Item(u32, Arc<AtomicUsize>);

impl Drop for Item {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.0, 13, "the destructor of number 13 panics");
    }
}

fn items(from: u32, to: u32, drops: &Arc<AtomicUsize>) -> Vec<Item> {
    (from..to).map(|n| Item(n, drops.clone())).collect()
}

#[test]
fn items_of_no_size_are_counted() {
    for policy in [Block, DropOldest, DropNewest] {
        let ring = LockFreeRingBuffer::new(5, policy);
        (0..5).for_each(|_| ring.push(()).unwrap());
        assert_eq!((ring.len(), ring.take_batch(3).len(), ring.len()), (5, 3, 2));
        ring.push_batch(vec![(), ()]).unwrap();
        assert_eq!((ring.take_one(), ring.drain().len(), ring.take_one()), (Some(()), 3, None));
    }
}

#[test]
fn large_items_come_out_whole() {
    let ring = LockFreeRingBuffer::new(3, DropOldest);
    for n in 0..10_u8 {
        ring.push([n; 4096]).unwrap();
    }
    ring.push_batch(vec![[10; 4096]]).unwrap();
    assert_eq!(ring.drain(), [[8; 4096], [9; 4096], [10; 4096]]);
}

#[test]
fn aligned_items_stay_aligned() {
    #[repr(align(256))]
    struct Aligned(u8);
    let ring = LockFreeRingBuffer::new(3, Block);
    (0..3).for_each(|n| ring.push(Aligned(n)).unwrap());
    for (n, item) in ring.drain().iter().enumerate() {
        assert_eq!((std::ptr::from_ref(item) as usize % 256, usize::from(item.0)), (0, n));
    }
}

#[test]
fn a_dropped_ring_drops_exactly_what_is_left() {
    for capacity in [1, 3, 8] {
        let drops = Arc::new(AtomicUsize::new(0));
        let ring = LockFreeRingBuffer::new(capacity, DropNewest);
        let rest = ring.push_batch(items(20, 40, &drops)).unwrap_err().rest;
        assert_eq!((rest.len(), drops.load(Ordering::SeqCst)), (20 - capacity, 0));
        drop(rest);
        drop(ring.take_one());
        assert_eq!(drops.load(Ordering::SeqCst), 20 - capacity + 1);
        drop(ring);
        assert_eq!(drops.load(Ordering::SeqCst), 20);
    }
}

#[test]
fn what_is_evicted_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = LockFreeRingBuffer::new(4, DropOldest);
    for item in items(20, 120, &drops) {
        ring.push(item).unwrap();
    }
    assert_eq!((drops.load(Ordering::SeqCst), ring.stats().evicted), (96, 96));
    ring.push_batch(items(120, 220, &drops)).unwrap();
    assert_eq!((drops.load(Ordering::SeqCst), ring.stats().evicted), (196, 196));
    let left: Vec<_> = ring.drain().iter().map(|item| item.0).collect();
    assert_eq!(left, [216, 217, 218, 219]);
    assert_eq!(drops.load(Ordering::SeqCst), 200);
}

#[test]
fn a_destructor_that_panics_costs_no_other_item() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = LockFreeRingBuffer::new(8, DropNewest);
    ring.push_batch(items(10, 18, &drops)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(ring))).is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 8, "the others were dropped all the same");
}

#[test]
fn an_evicted_item_that_panics_leaves_the_ring_whole() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = LockFreeRingBuffer::new(2, DropOldest);
    ring.push_batch(items(13, 15, &drops)).unwrap();
    let push = AssertUnwindSafe(|| ring.push(Item(15, drops.clone())));
    assert!(catch_unwind(push).is_err(), "the panic comes out of the push that evicts");
    assert_eq!(ring.stats().evicted, 1);
    let left: Vec<_> = ring.drain().iter().map(|item| item.0).collect();
    assert_eq!(left, [14, 15], "which was done before");
    assert_eq!(drops.load(Ordering::SeqCst), 3);
}

#[test]
fn items_need_not_be_shareable() {
    let ring = LockFreeRingBuffer::new(2, Block);
    std::thread::scope(|scope| {
        scope.spawn(|| ring.push(std::cell::Cell::new(7)).unwrap());
    });
    assert_eq!(ring.take_one().unwrap().get(), 7);
}
