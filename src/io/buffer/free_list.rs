//! Free list: what is not in use, handed out without a lock and never twice.
//!
//! # Layout
//!
//! ```text
//! head   tag u32 | index + 1 u32 ──► node ──► node ──► 0
//! nodes  64 | 128 | 256 | …          made as they are needed, never moved or freed before the list
//! home   pointer ──► node ──► node   what one thread keeps for itself, by plain loads and stores
//! ```
//!
//! # Invariants
//!
//! - **L1** A node is on the list, on a home list, or has one holder: who popped it, or made it,
//!   until it is pushed.
//! - **L2** Only the holder of a node touches its value.
//! - **L3** A push publishes the value with Release on the head, a pop reads it after an Acquire.
//! - **L4** The tag changes with each pop and push, so that a pop whose head was popped and pushed
//!   again in between fails, instead of taking a next node that is in use (ABA).
//! - **L5** A holder keeps the list alive, and gives the node back to the list that made it.
//! - **L6** Home lists are touched by the thread alone whose number they bear. A number is given to
//!   one thread for ever, and a thread writes no number but its own, when it makes the lists: so
//!   whoever else reads it, however late, finds that it is not at home.
#![expect(unsafe_code, reason = "values in shared cells; proof above, L1-L6")]

use std::ptr::NonNull;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::sync::plain::OnceLock;
use crate::sync::{mutant, thread, weaken};

const FIRST_CHUNK: usize = if cfg!(loom) { 2 } else { 64 };
const N_CHUNKS: usize = 20;
const INDEX_MASK: u64 = 0xffff_ffff;
const TAG_ONE: u64 = 1 << 32;
/// The number of no thread.
const NOBODY: u64 = u64::MAX;

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
    index: u32,
    /// The index + 1 of the next node, 0 at the end.
    next: AtomicU64,
    /// The next node of a home list.
    next_home: UnsafeCell<Link<T>>,
    value: UnsafeCell<Option<T>>,
}

type Link<T> = Option<NonNull<Node<T>>>;

/// A node and the right to its value; it is neither copied nor made up.
#[derive(Debug)]
pub(super) struct Held<T>(NonNull<Node<T>>);

/// Lists of nodes that one thread keeps for itself.
#[derive(Debug)]
pub(super) struct HomeLists<T> {
    thread: AtomicU64,
    heads: Box<[UnsafeCell<Link<T>>]>,
}

// SAFETY: (L1, L2) a value is reached by one thread at a time, and handed on by L3.
unsafe impl<T: Send> Sync for FreeList<T> {}
// SAFETY: the list owns its values.
unsafe impl<T: Send> Send for FreeList<T> {}
// SAFETY: (L2) the right to the value moves with it.
unsafe impl<T: Send> Send for Held<T> {}
// SAFETY: (L2) who shares it shares the value, and changes nothing.
unsafe impl<T: Sync> Sync for Held<T> {}
// SAFETY: (L6) one thread alone reaches the nodes.
unsafe impl<T: Send> Sync for HomeLists<T> {}
// SAFETY: (L6) wherever it is, the thread whose number it bears alone reaches the nodes.
unsafe impl<T: Send> Send for HomeLists<T> {}

impl<T> FreeList<T> {
    pub(super) fn new() -> Self {
        Self {
            full: AtomicU64::new(0),
            bare: AtomicU64::new(0),
            n_made: AtomicU64::new(0),
            chunks: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// A node for this value, held by the caller; `None` when the numbers ran out.
    pub(super) fn make(&self, value: T) -> Option<Held<T>> {
        let index = self.bare_index()?;
        let node = self.node(index);
        node.value.with_mut(|cell| {
            // SAFETY: (L2) nobody else has the node.
            unsafe { *cell = Some(value) };
        });
        Some(Held(NonNull::from(node)))
    }

    fn bare_index(&self) -> Option<u32> {
        if let Some(index) = self.pop_index(&self.bare) {
            return Some(index);
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
            let first = (FIRST_CHUNK << chunk) - FIRST_CHUNK;
            (0..FIRST_CHUNK << chunk).map(|at| Node::new((first + at) as u32)).collect()
        });
        Some(index as u32)
    }

    #[inline]
    fn node(&self, index: u32) -> &Node<T> {
        let (chunk, at) = place(index);
        let chunk = self.chunks[chunk].get().expect("made before its first index was given out");
        &chunk[at]
    }

    /// Puts a value onto the list.
    #[inline]
    pub(super) fn push(&self, held: Held<T>) {
        self.push_node(&self.full, held);
    }

    /// Takes the value out of a node, which is given back.
    pub(super) fn retire(&self, held: Held<T>) -> Option<T> {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { held.0.as_ref() };
        // SAFETY: (L2) the caller holds the node.
        let value = node.value.with_mut(|cell| unsafe { (*cell).take() });
        self.push_node(&self.bare, held);
        value
    }

    /// Takes a value with its node; `None` when nothing is there.
    #[inline]
    pub(super) fn pop(&self) -> Option<Held<T>> {
        self.pop_index(&self.full).map(|index| Held(NonNull::from(self.node(index))))
    }

    #[inline]
    fn push_node(&self, list: &AtomicU64, held: Held<T>) {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { held.0.as_ref() };
        // ord: Relaxed, a first guess that the exchange checks.
        let mut head = list.load(Ordering::Relaxed);
        loop {
            // ord: Relaxed, published by the exchange.
            node.next.store(head & INDEX_MASK, Ordering::Relaxed);
            let new = tag_after(head) | (u64::from(node.index) + 1);
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
        // ord: Acquire, pairs with the Release in `push_node`: the node's next is there (L3).
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

impl<T> Node<T> {
    fn new(index: u32) -> Self {
        Self {
            index,
            next: AtomicU64::new(0),
            next_home: UnsafeCell::new(None),
            value: UnsafeCell::new(None),
        }
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// The caller holds the node (L2).
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: (L2) as the caller promised.
        let value = self.value.with(|cell| unsafe { &*cell });
        value.as_ref().expect("a held node has a value")
    }
}

impl<T> Held<T> {
    #[inline]
    pub(super) fn get(&self) -> &T {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { self.0.as_ref() };
        // SAFETY: (L2) this is the node's hold.
        unsafe { node.value() }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.try_get_mut().expect("a held node has a value")
    }

    #[inline(always)]
    pub(super) fn try_get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { self.0.as_ref() };
        // SAFETY: (L2) this is the node's hold, and nobody else has it.
        let value = node.value.with_mut(|cell| unsafe { &mut *cell });
        value.as_mut()
    }

    /// Puts it onto the home list `at` of the lists that its value names; elsewhere than at their
    /// home it stays held.
    #[inline]
    pub(super) fn go_home(
        self,
        at: usize,
        home: impl FnOnce(&T) -> Option<&HomeLists<T>>,
    ) -> Result<(), Self> {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { self.0.as_ref() };
        // SAFETY: (L2) this is the node's hold, which ends below, behind the last look.
        let value = unsafe { node.value() };
        let Some(head) = home(value).and_then(|lists| lists.head(at)) else { return Err(self) };
        head.with_mut(|head| {
            // SAFETY: (L6) this is the home.
            let first = unsafe { head.replace(Some(self.0)) };
            // SAFETY: (L1, L6) the node is on the list from here on.
            node.next_home.with_mut(|next| unsafe { *next = first });
        });
        Ok(())
    }
}

impl<T> HomeLists<T> {
    /// Lists of the calling thread.
    pub(super) fn here(n_lists: usize) -> Self {
        let heads = (0..n_lists).map(|_| UnsafeCell::new(None)).collect();
        Self { thread: AtomicU64::new(thread::take_number()), heads }
    }

    /// No lists, of no thread.
    pub(super) fn nowhere() -> Self {
        Self { thread: AtomicU64::new(NOBODY), heads: Box::default() }
    }

    /// A list, for the thread at home.
    #[inline]
    fn head(&self, at: usize) -> Option<&UnsafeCell<Link<T>>> {
        // ord: Relaxed, a thread's own number is there only by its own hand (L6).
        let is_here = self.thread.load(Ordering::Relaxed) == thread::number();
        if is_here || mutant("home_blind") { self.heads.get(at) } else { None }
    }

    /// Takes what lies uppermost; `None` when nothing is there, or elsewhere than at home.
    #[inline]
    pub(super) fn pop(&self, at: usize) -> Option<Held<T>> {
        self.head(at)?.with_mut(|head| {
            // SAFETY: (L6) this is the home.
            let first = unsafe { *head }?;
            // SAFETY: (L5) a node on the list, whose owner keeps both alive.
            let node = unsafe { first.as_ref() };
            // SAFETY: (L1, L6) it is on the list of this thread.
            let next = node.next_home.with(|next| unsafe { *next });
            // SAFETY: (L6) as above.
            unsafe { *head = next };
            Some(Held(first))
        })
    }

    /// How many lie here, counted by going through them; none elsewhere than at home.
    pub(super) fn len(&self) -> usize {
        (0..self.heads.len()).map(|at| self.len_of(at)).sum()
    }

    fn len_of(&self, at: usize) -> usize {
        let Some(head) = self.head(at) else { return 0 };
        // SAFETY: (L6) this is the home.
        let first = head.with(|head| unsafe { *head });
        let next = |node: &NonNull<Node<T>>| {
            // SAFETY: (L5) a node on the list, whose owner keeps both alive.
            let node = unsafe { node.as_ref() };
            // SAFETY: (L1, L6) it is on the list of this thread.
            node.next_home.with(|next| unsafe { *next })
        };
        std::iter::successors(first, next).count()
    }

    /// Ends the home: what is given back from here on goes elsewhere. The lists are empty.
    pub(super) fn end(&self) {
        debug_assert_eq!(self.len(), 0);
        // ord: Relaxed, as in `head`: nobody took it for its own but this thread.
        self.thread.store(NOBODY, Ordering::Relaxed);
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
        (0..8_u64).for_each(|n| list.push(list.make(n).unwrap()));
        let held: Vec<_> = (0..8).map(|_| std::sync::atomic::AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(value) = list.pop() else { continue };
                        let flag = &held[*value.get() as usize];
                        assert!(!flag.swap(true, Ordering::AcqRel));
                        assert!(flag.swap(false, Ordering::AcqRel));
                        list.push(value);
                    }
                });
            }
        });
        let mut left: Vec<_> =
            std::iter::from_fn(|| list.pop()).map(|value| *value.get()).collect();
        left.sort_unstable();
        assert_eq!(left, (0..8).collect::<Vec<_>>());
    }
}
