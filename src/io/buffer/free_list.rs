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
//! - **L5** A holder keeps the list alive, and gives the node back to the list that made it; who has
//!   the list's [`Home`] keeps it alive, too.
//! - **L6** A home list is touched by the thread alone whose number it bears. A number is given to
//!   one thread for ever, and a thread writes no number but its own, when it makes the list: so
//!   whoever else reads it, however late, finds that it is not at home. Who has a [`Home`] need not
//!   look: it stays on the thread that made it, with the list.
//! - **L7** A held node has a value: `make` puts it there, and `retire` takes it with the hold.
//! - **L8** A node names the home of its list, which lives for as long as the list.
//! - **L9** An index is given out once its chunk is there, and heads hold no others.
#![expect(unsafe_code, reason = "values in shared cells; proof above, L1-L9")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::sync::plain::{Arc, OnceLock};
use crate::sync::{AtomicU32, mutant, thread, weaken};

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
    home: Arc<HomeList<T>>,
}

#[derive(Debug)]
struct Node<T> {
    index: u32,
    /// The index + 1 of the next node, 0 at the end.
    next: AtomicU32,
    /// The next node of a home list.
    next_home: UnsafeCell<Link<T>>,
    /// Of the list.
    home: NonNull<HomeList<T>>,
    value: UnsafeCell<Option<T>>,
}

type Link<T> = Option<NonNull<Node<T>>>;

/// A node and the right to its value; it is neither copied nor made up.
#[derive(Debug)]
pub(super) struct Held<T>(NonNull<Node<T>>);

/// Nodes of a list that one thread keeps for itself.
#[derive(Debug)]
struct HomeList<T> {
    thread: AtomicU64,
    head: UnsafeCell<Link<T>>,
}

/// A home list, for the thread that made it and is at home there.
#[derive(Debug)]
pub(super) struct Home<T> {
    list: Arc<HomeList<T>>,
    not_send: PhantomData<*const ()>,
}

// SAFETY: (L1, L2) a value is reached by one thread at a time, and handed on by L3.
unsafe impl<T: Send> Sync for FreeList<T> {}
// SAFETY: the list owns its values; (L6) those at home are reached by that thread alone.
unsafe impl<T: Send> Send for FreeList<T> {}
// SAFETY: (L2) the right to the value moves with it.
unsafe impl<T: Send> Send for Held<T> {}
// SAFETY: (L2) who shares it shares the value, and changes nothing.
unsafe impl<T: Sync> Sync for Held<T> {}

impl<T> FreeList<T> {
    /// A list that no thread keeps anything of for itself.
    pub(super) fn new() -> Self {
        Self::of(NOBODY)
    }

    /// A list of which the calling thread keeps some for itself.
    pub(super) fn at_home() -> (Self, Home<T>) {
        let list = Self::of(thread::take_number());
        let home = Home { list: Arc::clone(&list.home), not_send: PhantomData };
        (list, home)
    }

    fn of(thread: u64) -> Self {
        Self {
            full: AtomicU64::new(0),
            bare: AtomicU64::new(0),
            n_made: AtomicU64::new(0),
            chunks: std::array::from_fn(|_| OnceLock::new()),
            home: Arc::new(HomeList {
                thread: AtomicU64::new(thread),
                head: UnsafeCell::new(None),
            }),
        }
    }

    /// A node for this value, held by the caller; `None` when the numbers ran out.
    pub(super) fn make(&self, value: T) -> Option<Held<T>> {
        let node = self.bare_node()?;
        node.value.with_mut(|cell| {
            // SAFETY: (L2) nobody else has the node.
            unsafe { *cell = Some(value) };
        });
        Some(Held(NonNull::from(node)))
    }

    fn bare_node(&self) -> Option<&Node<T>> {
        if let Some(node) = self.pop_node(&self.bare) {
            return Some(node);
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
            let home = NonNull::from(&*self.home);
            (0..FIRST_CHUNK << chunk).map(|at| Node::new((first + at) as u32, home)).collect()
        });
        // SAFETY: (L9) it is given out here, and its chunk was made above.
        Some(unsafe { self.node(index as u32) })
    }

    /// The node of an index.
    ///
    /// # Safety
    ///
    /// `bare_node` has given the index out (L9).
    #[inline]
    unsafe fn node(&self, index: u32) -> &Node<T> {
        let (chunk, at) = place(index);
        // SAFETY: (L9) there are as many.
        let chunk = unsafe { self.chunks.get_unchecked(chunk) }.get();
        // SAFETY: (L9) it was made before its first index was given out.
        let chunk = unsafe { chunk.unwrap_unchecked() };
        // SAFETY: (L9) it has as many.
        unsafe { chunk.get_unchecked(at) }
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
        self.pop_node(&self.full).map(|node| Held(NonNull::from(node)))
    }

    /// Takes what lies uppermost at home; `None` elsewhere, too.
    pub(super) fn pop_home(&self) -> Option<Held<T>> {
        // SAFETY: (L6) only where that was found to be the home.
        if self.home.is_here() { unsafe { self.home.pop() } } else { None }
    }

    #[inline]
    fn push_node(&self, list: &AtomicU64, held: Held<T>) {
        // SAFETY: (L5) the list is alive, so its nodes are.
        let node = unsafe { held.0.as_ref() };
        // ord: Relaxed, a first guess that the exchange checks.
        let mut head = list.load(Ordering::Relaxed);
        loop {
            // ord: Relaxed, published by the exchange.
            node.next.store(head as u32, Ordering::Relaxed);
            let new = tag_after(head) | (u64::from(node.index) + 1);
            // ord: Release, as below.
            let released = weaken!("free_list_release", Ordering::Release);
            // ord: Release, pairs with the Acquire in `pop_node` (L3); Relaxed for another guess.
            match list.compare_exchange_weak(head, new, released, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn pop_node(&self, list: &AtomicU64) -> Option<&Node<T>> {
        // ord: Acquire, pairs with the Release in `push_node`: the node's next is there (L3).
        let mut head = list.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            // SAFETY: (L9) a head names what was pushed, and Acquire saw it made.
            let node = unsafe { self.node(index) };
            // ord: Relaxed, may be stale when another popped the node: the exchange fails (L4).
            let next = node.next.load(Ordering::Relaxed);
            let new = tag_after(head) | u64::from(next);
            // ord: Acquire, as above, also on failure, since the new head is looked into.
            match list.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(node),
                Err(now) => head = now,
            }
        }
    }
}

impl<T> Node<T> {
    fn new(index: u32, home: NonNull<HomeList<T>>) -> Self {
        Self {
            index,
            next: AtomicU32::new(0),
            next_home: UnsafeCell::new(None),
            home,
            value: UnsafeCell::new(None),
        }
    }
}

impl<T> Held<T> {
    #[inline]
    fn node(&self) -> &Node<T> {
        // SAFETY: (L5) the list is alive, so its nodes are.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn get(&self) -> &T {
        // SAFETY: (L2) this is the node's hold.
        let value = self.node().value.with(|cell| unsafe { &*cell });
        debug_assert!(value.is_some(), "L7");
        // SAFETY: (L7).
        unsafe { value.as_ref().unwrap_unchecked() }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut T {
        // SAFETY: (L2) this is the node's hold, and nobody else has it.
        let value = self.node().value.with_mut(|cell| unsafe { &mut *cell });
        debug_assert!(value.is_some(), "L7");
        // SAFETY: (L7).
        unsafe { value.as_mut().unwrap_unchecked() }
    }

    /// Puts it onto the home list; elsewhere than at home it stays held.
    #[inline]
    pub(super) fn go_home(self) -> Result<(), Self> {
        // SAFETY: (L8) the list is alive (L5).
        let home = unsafe { self.node().home.as_ref() };
        if !home.is_here() {
            return Err(self);
        }
        home.head.with_mut(|head| {
            // SAFETY: (L6) this is the home.
            let first = unsafe { head.replace(Some(self.0)) };
            // SAFETY: (L1, L6) the node is on the list from here on.
            self.node().next_home.with_mut(|next| unsafe { *next = first });
        });
        Ok(())
    }
}

impl<T> HomeList<T> {
    #[inline]
    fn is_here(&self) -> bool {
        // ord: Relaxed, a thread's own number is there only by its own hand (L6).
        self.thread.load(Ordering::Relaxed) == thread::number() || mutant("home_blind")
    }

    /// Takes what lies uppermost.
    ///
    /// # Safety
    ///
    /// This is the home (L6).
    #[inline]
    unsafe fn pop(&self) -> Option<Held<T>> {
        self.head.with_mut(|head| {
            // SAFETY: (L6) as the caller promised.
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
}

impl<T> Home<T> {
    /// Takes what lies uppermost.
    #[inline]
    pub(super) fn pop(&self) -> Option<Held<T>> {
        // SAFETY: (L6) this does not leave the home.
        unsafe { self.list.pop() }
    }

    /// How many lie here, counted by going through them.
    pub(super) fn len(&self) -> usize {
        // SAFETY: (L6) this is the home.
        let first = self.list.head.with(|head| unsafe { *head });
        let next = |node: &NonNull<Node<T>>| {
            // SAFETY: (L5) a node on the list, whose owner keeps both alive.
            let node = unsafe { node.as_ref() };
            // SAFETY: (L1, L6) it is on the list of this thread.
            node.next_home.with(|next| unsafe { *next })
        };
        std::iter::successors(first, next).count()
    }

    /// Ends the home: what is given back from here on goes elsewhere. The list is empty.
    pub(super) fn end(&self) {
        debug_assert_eq!(self.len(), 0);
        // ord: Relaxed, as in `is_here`: nobody took it for its own but this thread.
        self.list.thread.store(NOBODY, Ordering::Relaxed);
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
