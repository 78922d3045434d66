//! Table: finds what was added once and stays, without a lock.
//!
//! # Invariants
//!
//! - **L1** A slot is set once and never emptied; a value lives as long as the process.
//! - **L2** A value is put into the first free slot of those that its hash may take, in the first
//!   part that has one. So a look that meets a free slot knows that the value is in no later part.
//! - **L3** Values are added under a lock, so that none is there twice. A thread that is inside (an
//!   allocator or signal handler that logs) adds nothing.
//!
//! Slots are `OnceLock`s of the standard library: whoever finds one set sees what it points to.

use std::cell::Cell;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::lane::process;

/// Slots of the first part; a further one has four times as many when that was full.
const SLOTS: usize = 1024;
/// Slots that a hash may take in a part.
const TRIES: usize = 8;

/// Values that are added and never removed.
#[derive(Debug)]
pub(crate) struct Table<T: 'static> {
    /// The first part lies in the table itself: most looks end there.
    first: [Slot<T>; SLOTS],
    next: OnceLock<Box<Part<T>>>,
    n_values: Mutex<usize>,
}

type Slot<T> = OnceLock<&'static T>;

#[derive(Debug)]
struct Part<T: 'static> {
    slots: Box<[Slot<T>]>,
    next: OnceLock<Box<Part<T>>>,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl<T: Send + Sync> Table<T> {
    pub(crate) const fn new() -> Self {
        let first = [const { OnceLock::new() }; SLOTS];
        Self { first, next: OnceLock::new(), n_values: Mutex::new(0) }
    }

    /// The value with this hash that is the one meant.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&'static T> {
        for slot in tries(&self.first, hash) {
            let value = slot.get()?; // (L2)
            if is_it(value) {
                return Some(value);
            }
        }
        self.find_behind(hash, is_it)
    }

    #[cold]
    fn find_behind(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&'static T> {
        let mut part = self.next.get();
        while let Some(here) = part {
            for slot in tries(&here.slots, hash) {
                let value = slot.get()?; // (L2)
                if is_it(value) {
                    return Some(value);
                }
            }
            part = here.next.get();
        }
        None
    }

    /// The value with this hash that is the one meant, made if it is not there; `None` when this
    /// thread is inside, in a forked child, or when there are `max` values.
    #[cold]
    pub(crate) fn find_or_add(
        &self,
        hash: u64,
        max: usize,
        is_it: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Option<&'static T> {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                let _ = INSIDE.try_with(|inside| inside.set(false));
            }
        }
        if process::is_forked() {
            return None; // who held the lock may not be there
        }
        if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true) {
            return None;
        }
        let _leave = Leave;
        let mut n_values = self.n_values.lock();
        if let Some(value) = self.find(hash, is_it) {
            return Some(value);
        }
        if *n_values >= max {
            return None;
        }
        *n_values += 1;
        let value: &'static T = Box::leak(Box::new(make()));
        let (mut slots, mut next) = (&self.first[..], &self.next);
        while !tries(slots, hash).any(|slot| slot.set(value).is_ok()) {
            // Hashes that meet too often, in a part with room elsewhere, do not make it larger.
            let len = slots.len() * if *n_values * 4 > slots.len() { 4 } else { 1 };
            let part = next.get_or_init(|| Box::new(Part::new(len)));
            (slots, next) = (&part.slots, &part.next);
        }
        Some(value)
    }
}

impl<T> Part<T> {
    fn new(len: usize) -> Self {
        Self { slots: (0..len).map(|_| OnceLock::new()).collect(), next: OnceLock::new() }
    }
}

/// The slots of a part that a value with this hash may take: its upper bits say where they begin.
#[inline]
fn tries<T>(slots: &[Slot<T>], hash: u64) -> impl Iterator<Item = &Slot<T>> {
    let mask = slots.len() - 1;
    let at = (hash >> (u64::BITS - slots.len().ilog2())) as usize;
    (0..TRIES).map(move |i| &slots[(at + i) & mask])
}

/// Spreads the bits of a number over the upper ones of a hash, which choose a slot.
#[cfg(any(feature = "tracing", test))]
#[inline]
pub(crate) const fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_added_once_and_found_by_every_thread() {
        static TABLE: Table<u64> = Table::new();
        let add = |n: u64| {
            let found = TABLE.find(hash(n), |value| *value == n);
            let made = || TABLE.find_or_add(hash(n), 9_000, |value| *value == n, || n);
            let value = found.or_else(made).expect("there is room");
            assert_eq!(*value, n);
            std::ptr::from_ref(value).addr()
        };
        let all: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let one = || (0..5_000).map(add).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| *one == all[0]), "all threads found the same values");
    }

    #[test]
    fn values_with_one_hash_go_on_into_further_parts_and_a_full_table_says_so() {
        static TABLE: Table<u32> = Table::new();
        for n in 0..100 {
            assert!(TABLE.find(7, |value| *value == n).is_none());
            assert_eq!(TABLE.find_or_add(7, 100, |value| *value == n, || n), Some(&n));
        }
        assert_eq!(TABLE.find_or_add(7, 100, |value| *value == 100, || 100), None);
        assert!((0..100).all(|n| TABLE.find(7, |value| *value == n) == Some(&n)));
    }

    #[test]
    fn who_is_inside_adds_nothing() {
        static TABLE: Table<u32> = Table::new();
        let inner = || {
            assert_eq!(TABLE.find_or_add(1, 9, |value| *value == 1, || 1), None);
            2
        };
        assert_eq!(TABLE.find_or_add(2, 9, |value| *value == 2, inner), Some(&2));
    }
}
