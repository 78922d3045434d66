//! Slots: the values of a ring with a stamp each, and the rights to fill and to empty them.
#![expect(unsafe_code, reason = "moves values through shared cells; proof in super, I1 to I4")]
//!
//! All of it is safe to call: the right to fill slots is a [`Claim`], the right to empty them is a
//! [`Turn`], and neither can be made elsewhere. Invariants are numbered in the parent's docs.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::position::{Positions, Refusal, STEP};
use super::weaken;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;

/// Set in a stamp: the value of this position is there.
const COMMITTED: u64 = 1;
/// Values begin on a cache line, so that one of 64 bytes touches one line.
const VALUES_ALIGN: usize = 64;
/// How many slots ahead of its own a push asks for the lines it will write.
#[cfg(target_arch = "x86_64")]
const AHEAD: u64 = 8;

/// Of a longer value so many lines are asked for; those behind them come by themselves.
#[cfg(target_arch = "x86_64")]
const LINES_AHEAD: usize = 4;
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Asks for a line, to be written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask_for(line: *const u8) {
    // SAFETY: a hint; it reads and writes nothing, whatever the address.
    unsafe {
        std::arch::asm!(
            "prefetchw [{line}]",
            line = in(reg) line,
            options(nostack, preserves_flags, readonly)
        );
    }
}

/// A bounded array of values with a stamp each, and the positions that say who may touch them.
pub(super) struct Slots<T> {
    pub(super) at: Positions,
    stamps: Box<[AtomicU64]>,
    values: Values<T>,
    mask: usize,
}

impl<T> Slots<T> {
    /// Makes an empty ring whose first position has the number `start`; `None` if so many slots
    /// cannot be addressed.
    pub(super) fn new(capacity: usize, start: u64) -> Option<Self> {
        let len = capacity.checked_next_power_of_two()?;
        Layout::array::<AtomicU64>(len).ok()?;
        Some(Self {
            at: Positions::new(capacity, start),
            values: Values::new(len)?,
            // Zero is even, so no position takes it for a stamp of its own.
            stamps: (0..len).map(|_| AtomicU64::new(0)).collect(),
            mask: len - 1,
        })
    }

    #[inline(always)]
    fn index(&self, position: u64) -> usize {
        (position / STEP) as usize & self.mask
    }

    /// Claims up to `want` slots in a row, at least one.
    #[inline(always)]
    pub(super) fn claim(&self, want: usize) -> Result<Claim<'_, T>, Refusal> {
        let (position, count) = self.at.claim(want)?;
        Ok(Claim { slots: self, position, count })
    }

    /// Claims for a producer whose turn it is by order of waiting.
    pub(super) fn claim_in_turn(&self, want: usize) -> Result<Claim<'_, T>, Refusal> {
        let (position, count) = self.at.claim_in_turn(want)?;
        Ok(Claim { slots: self, position, count })
    }

    /// Claims `count` free slots for what comes out of files; says where they begin.
    #[cfg(any(feature = "serde", test))]
    pub(super) fn claim_diverted(&self, count: usize) -> (u64, Claim<'_, T>) {
        let position = self.at.claim_diverted(count);
        (position, Claim { slots: self, position, count })
    }

    /// Becomes the consumer of the moment, if nobody is.
    #[inline]
    pub(super) fn turn(&self) -> Option<Turn<'_, T>> {
        let head = self.at.lock_head()?;
        Some(Turn { slots: self, head })
    }

    /// Asks for the lines that the next pushes will write, and the consumer has copies of: the CAS
    /// of the next push waits for all stores before it, and would wait for these lines too.
    #[inline(always)]
    fn prefetch(&self, position: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            let index = self.index(position.wrapping_add(AHEAD * STEP));
            let stamp = self.stamps.as_ptr().wrapping_add(index);
            let value = self.values.cells.as_ptr().wrapping_add(index);
            ask_for(stamp.cast());
            for line in 0..size_of::<T>().div_ceil(LINE_BYTES).min(LINES_AHEAD) {
                ask_for(value.cast::<u8>().wrapping_add(line * LINE_BYTES));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }

    #[inline(always)]
    fn commit(&self, position: u64) {
        // ord: Release, so that the Acquire in `Turn::ready` sees the value before the stamp (I2).
        let order = weaken!("stamp_store", Ordering::Release);
        self.stamps[self.index(position)].store(position | COMMITTED, order);
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        /// Goes on when the destructor of an item panics.
        struct Rest<'a, 'b, T>(&'a mut Turn<'b, T>);
        impl<T> Drop for Rest<'_, '_, T> {
            fn drop(&mut self) {
                while self.0.take_one().is_some() {}
            }
        }
        // Nobody can hold the head now but one who leaked a turn, and with it what is left.
        if std::mem::needs_drop::<T>()
            && let Some(mut turn) = self.turn()
        {
            let rest = Rest(&mut turn);
            while rest.0.take_one().is_some() {}
        }
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("at", &self.at).finish_non_exhaustive()
    }
}

/// The right and the duty to fill `count` slots from `position` on (I1).
#[must_use = "slots that are claimed and never filled stop the ring"]
#[derive(Debug)]
pub(super) struct Claim<'a, T> {
    slots: &'a Slots<T>,
    position: u64,
    count: usize,
}

impl<T> Claim<'_, T> {
    /// Fills the one slot that was claimed.
    #[inline(always)]
    pub(super) fn fill(self, value: T) {
        debug_assert_eq!(self.count, 1, "I1");
        let slots = self.slots;
        // SAFETY: (I1, I3) the claim owns this slot, and the consumer has left it.
        unsafe { slots.values.write(slots.index(self.position), value) };
        slots.prefetch(self.position);
        slots.commit(self.position);
    }

    /// Fills the claimed slots with the next of `items`, which has enough.
    pub(super) fn fill_from(self, items: &mut Parcel<'_, T>) {
        let slots = self.slots;
        let first = slots.index(self.position);
        let until_end = (slots.mask + 1 - first).min(self.count);
        let (front, back) = items.give_up(self.count).split_at(until_end);
        // SAFETY: (I1, I3) the claim owns these slots; the parcel gave the items up.
        unsafe { slots.values.write_many(first, front.as_ptr().cast(), front.len()) };
        // SAFETY: as above, on from the beginning of the array.
        unsafe { slots.values.write_many(0, back.as_ptr().cast(), back.len()) };
        for n in 0..self.count as u64 {
            slots.commit(self.position.wrapping_add(n * STEP));
        }
    }
}

/// The items of a vector on their way into a ring; those that are not given up stay in it.
#[derive(Debug)]
pub(super) struct Parcel<'a, T> {
    /// Its length is 0 while the items `from..end` of its buffer are alive.
    items: &'a mut Vec<T>,
    from: usize,
    end: usize,
}

impl<'a, T> Parcel<'a, T> {
    pub(super) fn new(items: &'a mut Vec<T>) -> Self {
        let end = items.len();
        // SAFETY: shorter than before; from now on `from..end` says which items live.
        unsafe { items.set_len(0) };
        Self { items, from: 0, end }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.from
    }

    /// Parts with the next `count` items: whoever reads them owns them.
    fn give_up(&mut self, count: usize) -> &[MaybeUninit<T>] {
        assert!(count <= self.len(), "I1: every slot that is claimed is filled");
        let first = self.from;
        self.from += count;
        &self.items.spare_capacity_mut()[first..self.from]
    }
}

impl<T> Drop for Parcel<'_, T> {
    fn drop(&mut self) {
        let left = self.len();
        let start = self.items.as_mut_ptr();
        // SAFETY: `from` is within the buffer, or at its end.
        let first = unsafe { start.add(self.from) };
        // SAFETY: the `left` items at `first` are alive and within the buffer.
        unsafe { std::ptr::copy(first, start, left) };
        // SAFETY: the first `left` items are alive now, and no others.
        unsafe { self.items.set_len(left) };
    }
}

/// The right to empty slots and to move the head: there is one at a time (I4).
#[derive(Debug)]
pub(super) struct Turn<'a, T> {
    slots: &'a Slots<T>,
    head: u64,
}

impl<'a, T> Turn<'a, T> {
    /// How many of the oldest items, up to `max`, are committed without a gap (I2).
    #[inline]
    pub(super) fn ready(&self, max: usize) -> usize {
        let max = max.min(self.slots.at.capacity());
        let mut position = self.head;
        for count in 0..max {
            // ord: Acquire, pairs with the Release in `commit` (I2).
            let order = weaken!("stamp_load", Ordering::Acquire);
            let stamp = self.slots.stamps[self.slots.index(position)].load(order);
            if stamp != position | COMMITTED {
                return count;
            }
            position = position.wrapping_add(STEP);
        }
        max
    }

    /// Takes the oldest item, if it is committed.
    #[inline]
    pub(super) fn take_one(&mut self) -> Option<T> {
        if self.ready(1) == 0 {
            return None;
        }
        // SAFETY: (I2, I4) the slot is committed, and only this turn empties slots.
        let value = unsafe { self.slots.values.read(self.slots.index(self.head)) };
        self.publish(1);
        Some(value)
    }

    /// Moves the oldest items, `max` at most, behind those in `out`; one claim of room, no other
    /// allocation.
    #[inline]
    pub(super) fn take_into(&mut self, out: &mut Vec<T>, max: usize) -> usize {
        let paused = self.slots.at.let_pushes_lead();
        let count = self.ready(max);
        self.slots.at.note_lead(count, max, paused);
        out.reserve(count);
        let slots = self.slots;
        let first = slots.index(self.head);
        let until_end = (slots.mask + 1 - first).min(count);
        let (front, back) = out.spare_capacity_mut()[..count].split_at_mut(until_end);
        // SAFETY: (I2, I4) the slots are committed and only this turn empties them.
        unsafe { slots.values.read_many(first, front) };
        // SAFETY: as above, on from the beginning of the array.
        unsafe { slots.values.read_many(0, back) };
        // SAFETY: `count` more items lie there now, and their slots are given up below.
        unsafe { out.set_len(out.len() + count) };
        self.publish(count);
        count
    }

    /// Passes over the `count` oldest items, which `ready` has seen and which need no drop.
    pub(super) fn skip(&mut self, count: usize) {
        debug_assert!(!std::mem::needs_drop::<T>() && count <= self.ready(count), "I2");
        self.publish(count);
    }

    /// True if all slots are claimed.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.slots.at.claim_locked(self.head, 0) == Err(Refusal::Full)
    }

    /// Tells producers how far the slots are empty.
    #[inline(always)]
    pub(super) fn share_head(&self) {
        self.slots.at.share_head(self.head);
    }

    /// Claims up to `want` slots, at least one.
    #[inline(always)]
    pub(super) fn claim(&self, want: usize) -> Result<Claim<'a, T>, Refusal> {
        let slots = self.slots;
        let (position, count) = slots.at.claim_locked(self.head, want)?;
        Ok(Claim { slots, position, count })
    }

    #[inline(always)]
    fn publish(&mut self, count: usize) {
        self.head = self.head.wrapping_add(count as u64 * STEP);
        self.slots.at.publish(self.head);
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.slots.at.unlock_head();
    }
}

/// The cells of the values, on cache lines; which of them are alive is told by the stamps.
struct Values<T> {
    cells: NonNull<UnsafeCell<MaybeUninit<T>>>,
    len: usize,
}

// SAFETY: values go in on one thread and come out on another, which asks for `T: Send`; no two
// threads ever hold references to the same one (I1, I4).
unsafe impl<T: Send> Send for Values<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Values<T> {}

impl<T> Values<T> {
    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<UnsafeCell<MaybeUninit<T>>>(len).ok()?.align_to(VALUES_ALIGN).ok()
    }

    fn new(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        let cells = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the size is not zero.
            let memory = unsafe { alloc(layout) };
            NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
        };
        for n in 0..len {
            // SAFETY: `n` is within the allocation.
            let cell = unsafe { cells.add(n) };
            // SAFETY: the memory is ours and large enough; nobody reads it yet.
            unsafe { cell.write(UnsafeCell::new(MaybeUninit::uninit())) };
        }
        Some(Self { cells, len })
    }

    #[inline(always)]
    fn cell(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        debug_assert!(index < self.len);
        // SAFETY: every index is masked to below `len` (I6), and all cells were made in `new`.
        let cell = unsafe { self.cells.add(index) };
        // SAFETY: the cell lives as long as `self`.
        unsafe { cell.as_ref() }
    }

    /// # Safety
    ///
    /// The caller owns this slot, and it holds no value.
    #[inline(always)]
    unsafe fn write(&self, index: usize, value: T) {
        self.cell(index).with_mut(|cell| {
            // SAFETY: the caller owns the slot.
            unsafe { cell.write(MaybeUninit::new(value)) }
        });
    }

    /// # Safety
    ///
    /// The caller owns this slot, which holds a value, and gives the value up in it.
    #[inline(always)]
    unsafe fn read(&self, index: usize) -> T {
        self.cell(index).with(|cell| {
            // SAFETY: the caller owns the slot.
            let value = unsafe { cell.read() };
            // SAFETY: it holds a value.
            unsafe { value.assume_init() }
        })
    }

    /// # Safety
    ///
    /// As for [`write`](Self::write), for each of `count` slots, none beyond the array's end; the
    /// values at `from` are given up.
    #[inline]
    unsafe fn write_many(&self, index: usize, from: *const T, count: usize) {
        debug_assert!(index + count <= self.len, "I6");
        if cfg!(not(loom)) {
            let to = self.cells.as_ptr().cast::<T>().wrapping_add(index);
            // SAFETY: a cell is as its value in memory; the caller owns them all.
            unsafe { std::ptr::copy_nonoverlapping(from, to, count) };
            return;
        }
        for n in 0..count {
            // SAFETY: `from` has `count` values.
            let value = unsafe { from.wrapping_add(n).read() };
            // SAFETY: the caller owns the slot.
            unsafe { self.write(index + n, value) };
        }
    }

    /// # Safety
    ///
    /// As for [`read`](Self::read), for as many slots as `to` is long, none beyond the end.
    #[inline]
    unsafe fn read_many(&self, index: usize, to: &mut [MaybeUninit<T>]) {
        debug_assert!(index + to.len() <= self.len, "I6");
        if cfg!(not(loom)) {
            let from = self.cells.as_ptr().cast::<MaybeUninit<T>>().wrapping_add(index);
            // SAFETY: a cell is as its value in memory; the caller owns them all.
            unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
            return;
        }
        for (n, place) in to.iter_mut().enumerate() {
            // SAFETY: the caller owns the slot, which holds a value.
            place.write(unsafe { self.read(index + n) });
        }
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.len).expect("it was one when the cells were made");
        let cells = NonNull::slice_from_raw_parts(self.cells, self.len);
        // SAFETY: all cells were made in `new`; what they hold is not dropped with them.
        unsafe { cells.drop_in_place() };
        if layout.size() > 0 {
            // SAFETY: allocated with the same layout in `new`.
            unsafe { dealloc(self.cells.as_ptr().cast(), layout) };
        }
    }
}
