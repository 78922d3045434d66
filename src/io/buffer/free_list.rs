//! Free list: what is not in use, handed out without a lock and never twice.
//!
//! # Layout
//!
//! ```text
//! head   tag u32 | index + 1 u32 ──► node ──► node ──► 0
//! nodes  64 | 128 | 256 | …          made as they are needed, never moved or freed before the list
//! ```
//!
//! # Invariants
//!
//! - **L1** A node is on the list or has one holder: who popped it, or made it, until it is pushed.
//! - **L2** Only the holder of a node touches its value.
//! - **L3** A push publishes the value with Release on the head, a pop reads it after an Acquire.
//! - **L4** The tag changes with each pop and push, so that a pop whose head was popped and pushed
//!   again in between fails, instead of taking a next node that is in use (ABA).
#![expect(unsafe_code, reason = "values in shared cells; proof above, L1-L4")]

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::sync::plain::OnceLock;
use crate::sync::{mutant, weaken};

const FIRST_CHUNK: usize = if cfg!(loom) { 2 } else { 64 };
const N_CHUNKS: usize = 20;
const INDEX_MASK: u64 = 0xffff_ffff;
const TAG_ONE: u64 = 1 << 32;

/// A stack of values, each of which keeps its node for as long as it is there.
#[derive(Debug)]
pub(super) struct FreeList<T> {
    /// Nodes with a value.
    full: AtomicU64,
    /// Nodes whose value was given up.
    bare: AtomicU64,
    n_made: AtomicU64,
    chunks: [OnceLock<Box<[Node<T>]>>; N_CHUNKS],
}

#[derive(Debug)]
struct Node<T> {
    /// The index + 1 of the next node, 0 at the end.
    next: AtomicU64,
    value: UnsafeCell<Option<T>>,
}

/// The right to push a node; it is neither copied nor made up.
#[derive(Debug)]
pub(super) struct NodeId(u32);

// SAFETY: (L1, L2) a value is reached by one thread at a time, and handed on by L3.
unsafe impl<T: Send> Sync for FreeList<T> {}
// SAFETY: the list owns its values.
unsafe impl<T: Send> Send for FreeList<T> {}

impl<T> FreeList<T> {
    pub(super) fn new() -> Self {
        Self {
            full: AtomicU64::new(0),
            bare: AtomicU64::new(0),
            n_made: AtomicU64::new(0),
            chunks: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// A node without a value, held by the caller; `None` when the numbers ran out.
    pub(super) fn make(&self) -> Option<NodeId> {
        if let Some(index) = self.pop_index(&self.bare) {
            return Some(NodeId(index));
        }
        // ord: Relaxed, a counter; the chunk is published by its lock.
        let index = self.n_made.fetch_add(1, Ordering::Relaxed);
        let n_max = (FIRST_CHUNK << N_CHUNKS) - FIRST_CHUNK;
        if index >= n_max as u64 {
            // ord: Relaxed, takes back what was counted above.
            self.n_made.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (chunk, _) = place(index as u32);
        self.chunks[chunk].get_or_init(|| {
            let node = || Node { next: AtomicU64::new(0), value: UnsafeCell::new(None) };
            (0..FIRST_CHUNK << chunk).map(|_| node()).collect()
        });
        Some(NodeId(index as u32))
    }

    #[inline]
    fn node(&self, index: u32) -> &Node<T> {
        let (chunk, at) = place(index);
        let chunk = self.chunks[chunk].get().expect("made before its first index was given out");
        &chunk[at]
    }

    /// Puts a value onto the list.
    #[inline]
    pub(super) fn push(&self, id: NodeId, value: T) {
        self.node(id.0).value.with_mut(|cell| {
            // SAFETY: (L2) the caller holds the node until it is pushed below.
            let cell = unsafe { &mut *cell };
            debug_assert!(cell.is_none());
            *cell = Some(value);
        });
        self.push_index(&self.full, id.0);
    }

    /// Gives a node back whose value is not to come again.
    pub(super) fn retire(&self, id: NodeId) {
        self.push_index(&self.bare, id.0);
    }

    /// Takes a value with its node; `None` when nothing is there.
    #[inline]
    pub(super) fn pop(&self) -> Option<(NodeId, T)> {
        let index = self.pop_index(&self.full)?;
        self.node(index).value.with_mut(|cell| {
            // SAFETY: (L2) the pop made this thread the holder.
            let value = unsafe { (*cell).take() };
            Some((NodeId(index), value.expect("a listed node has a value")))
        })
    }

    #[inline]
    fn push_index(&self, list: &AtomicU64, index: u32) {
        let node = self.node(index);
        // ord: Relaxed, a first guess that the exchange checks.
        let mut head = list.load(Ordering::Relaxed);
        loop {
            // ord: Relaxed, published by the exchange.
            node.next.store(head & INDEX_MASK, Ordering::Relaxed);
            let new = tag_after(head) | (u64::from(index) + 1);
            // ord: Release, as below.
            let released = weaken!("free_list_release", Ordering::Release);
            // ord: Release, pairs with the Acquire in `pop_index` (L3); Relaxed for another guess.
            match list.compare_exchange_weak(head, new, released, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn pop_index(&self, list: &AtomicU64) -> Option<u32> {
        // ord: Acquire, pairs with the Release in `push_index`: the node's next is there (L3).
        let mut head = list.load(Ordering::Acquire);
        loop {
            let index = (head & INDEX_MASK).checked_sub(1)? as u32;
            // ord: Relaxed, may be stale when another popped the node: the exchange fails (L4).
            let next = self.node(index).next.load(Ordering::Relaxed);
            let new = tag_after(head) | next;
            // ord: Acquire, as above, also on failure, since the new head is looked into.
            match list.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }
}

/// The tag of the head that follows.
fn tag_after(head: u64) -> u64 {
    if mutant("free_list_tag") {
        return head & !INDEX_MASK;
    }
    head.wrapping_add(TAG_ONE) & !INDEX_MASK
}

/// Chunk and place of an index: chunks double.
fn place(index: u32) -> (usize, usize) {
    let at = index as usize + FIRST_CHUNK;
    let chunk = (at.ilog2() - FIRST_CHUNK.ilog2()) as usize;
    (chunk, at - (FIRST_CHUNK << chunk))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn threads_never_hold_one_value_twice() {
        let list = FreeList::new();
        (0..8_u64).for_each(|n| list.push(list.make().unwrap(), n));
        let held: Vec<_> = (0..8).map(|_| std::sync::atomic::AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some((id, n)) = list.pop() else { continue };
                        let flag = &held[n as usize];
                        assert!(!flag.swap(true, Ordering::AcqRel));
                        assert!(flag.swap(false, Ordering::AcqRel));
                        list.push(id, n);
                    }
                });
            }
        });
        let mut left: Vec<_> = std::iter::from_fn(|| list.pop()).map(|(_, n)| n).collect();
        left.sort_unstable();
        assert_eq!(left, (0..8).collect::<Vec<_>>());
    }
}
