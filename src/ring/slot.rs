//! Slots: the values of a ring with a stamp each, and the rights to fill and to empty them.
#![expect(unsafe_code, reason = "moves values through shared cells; proof in super, I1 to I4")]
//!
//! All of it is safe to call: the right to fill slots is a [`Claim`], the right to empty them is a
//! [`Turn`], and neither can be made elsewhere. Invariants are numbered in the parent's docs.

use std::fmt;
use std::mem::MaybeUninit;

use super::head::Held;
use super::position::{Positions, Refusal, STEP};
use super::values::Values;
use super::weaken;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lines::{LINE_BYTES, ask_to_write};
use crate::sync::mutant;
use crate::sync::thread::spin_loop;

/// Set in a stamp: the value of this position is there.
const COMMITTED: u64 = 1;
/// Set in a stamp: and those of a run behind it, whose length is in place of the next stamp.
const RUN: u64 = 2;
/// How many slots ahead of its own a push asks for the lines it will write.
const AHEAD: usize = 8;
/// Of a longer value so many lines are asked for; those behind them come by themselves.
const LINES_AHEAD: usize = 4;

/// A bounded array of values with a stamp each, and the positions that say who may touch them.
pub(super) struct Slots<T> {
    pub(super) at: Positions,
    stamps: Box<[AtomicU64]>,
    values: Values<T>,
    mask: usize,
}

impl<T> Slots<T> {
    /// Makes an empty ring whose first position has the number `start`; `None` if there is no memory
    /// for so many slots.
    pub(super) fn new(capacity: usize, start: u64) -> Option<Self> {
        let len = capacity.checked_next_power_of_two()?;
        let mut stamps = Vec::new();
        stamps.try_reserve_exact(len).ok()?;
        let values = Values::new(len)?;
        // Zero is even, so no position takes it for a stamp of its own.
        stamps.extend((0..len).map(|_| AtomicU64::new(0)));
        let at = Positions::new(capacity, start);
        Some(Self { at, stamps: stamps.into_boxed_slice(), values, mask: len - 1 })
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

    /// Stays behind producers for a moment, if the last take came close to them; says where their
    /// tail was then.
    #[inline]
    pub(super) fn rest(&self) -> Option<u64> {
        let pauses = self.at.consumer.lead().due()?;
        let tail = self.at.tail_hint();
        (0..pauses).for_each(|_| spin_loop());
        Some(tail)
    }

    /// How many slots may fill while a consumer stays behind: of values of several lines each line
    /// goes to and fro once, and nothing is won.
    #[inline(always)]
    fn room_for_lead(&self) -> usize {
        if size_of::<T>() > 2 * LINE_BYTES { 0 } else { self.at.capacity() }
    }

    /// Becomes the consumer of the moment, if nobody is.
    #[inline]
    pub(super) fn turn(&self) -> Option<Turn<'_, T>> {
        let held = self.at.consumer.lock()?;
        Some(Turn { slots: self, held })
    }

    /// Asks for the lines that the next pushes will write, and the consumer has copies of: the CAS
    /// of the next push waits for all stores before it, and would wait for these lines too.
    #[inline(always)]
    fn prefetch(&self, position: u64) {
        let value = self.values.address(self.ask_for_stamp(position, AHEAD));
        for line in 0..size_of::<T>().div_ceil(LINE_BYTES).min(LINES_AHEAD) {
            ask_to_write(value.wrapping_add(line * LINE_BYTES));
        }
    }

    /// Asks for the stamp of the slot that lies `ahead` of a position, and says which that is.
    #[inline(always)]
    fn ask_for_stamp(&self, position: u64, ahead: usize) -> usize {
        let index = self.index(position.wrapping_add(ahead as u64 * STEP));
        ask_to_write(self.stamps.as_ptr().wrapping_add(index).cast());
        index
    }

    #[inline(always)]
    fn commit(&self, position: u64) {
        self.stamp(position, position | COMMITTED);
    }

    /// Stamps a run of two or more at once: a stamp for all of them, and their number behind it.
    #[inline(always)]
    fn commit_run(&self, position: u64, count: usize) {
        let late = mutant("run_late");
        if late {
            self.stamp(position, position | COMMITTED | RUN);
        }
        let second = &self.stamps[self.index(position.wrapping_add(STEP))];
        // ord: Relaxed, the stamp behind it is a Release. A multiple of a step is no stamp.
        second.store(count as u64 * STEP, Ordering::Relaxed);
        if !late {
            self.stamp(position, position | COMMITTED | RUN);
        }
    }

    #[inline(always)]
    fn stamp(&self, position: u64, stamp: u64) {
        // ord: Release, so that the Acquire in `Turn::ready` sees the value before the stamp (I2).
        let order = weaken!("stamp_store", Ordering::Release);
        self.stamps[self.index(position)].store(stamp, order);
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
        let free = slots.at.known_free(self.position.wrapping_add(self.count as u64 * STEP));
        if free > 0 {
            slots.ask_for_stamp(self.position, (2 * self.count).max(AHEAD));
        }
        let (front, back) = items.give_up(self.count).split_at(until_end);
        let behind = back.len() + free;
        // SAFETY: (I1, I3) the claim owns these slots; the parcel gave the items up.
        unsafe { slots.values.write_many(first, front.as_ptr().cast(), front.len(), behind) };
        // SAFETY: as above, on from the beginning of the array.
        unsafe { slots.values.write_many(0, back.as_ptr().cast(), back.len(), free) };
        match self.count {
            1 => slots.commit(self.position),
            _ => slots.commit_run(self.position, self.count),
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
    held: Held,
}

impl<'a, T> Turn<'a, T> {
    /// How many of the oldest items, up to `max`, are committed without a gap (I2).
    #[inline]
    pub(super) fn ready(&mut self, max: usize) -> usize {
        let slots = self.slots;
        let head = self.held.head;
        let wanted = max.min(slots.at.capacity()) as u64 * STEP;
        // What is known may end before the head, by a take that found it so.
        let mut seen = self.held.known.wrapping_sub(head);
        if seen.cast_signed() < 0 {
            seen = 0;
        }
        while seen < wanted {
            let position = head.wrapping_add(seen);
            // ord: Acquire, pairs with the Release in `stamp` (I2).
            let order = weaken!("stamp_load", Ordering::Acquire);
            let stamp = slots.stamps[slots.index(position)].load(order);
            if stamp == position | COMMITTED {
                seen += STEP;
            } else if stamp == position | COMMITTED | RUN {
                let second = slots.index(position.wrapping_add(STEP));
                // ord: Relaxed, it was stored before the stamp that we have Acquired.
                seen += slots.stamps[second].load(Ordering::Relaxed);
            } else {
                break;
            }
        }
        self.held.known = head.wrapping_add(seen);
        (seen.min(wanted) / STEP) as usize
    }

    /// Takes the oldest item, if it is committed.
    #[inline]
    pub(super) fn take_one(&mut self) -> Option<T> {
        if self.ready(1) == 0 {
            return None;
        }
        // SAFETY: (I2, I4) the slot is committed, and only this turn empties slots.
        let value = unsafe { self.slots.values.read(self.slots.index(self.held.head)) };
        self.publish(1);
        Some(value)
    }

    /// Moves the oldest items, `max` at most, behind those in `out`; one claim of room, no other
    /// allocation. Whoever takes has rested before, since the tail was there, or not.
    #[inline]
    pub(super) fn take_into(&mut self, out: &mut Vec<T>, max: usize, rested: Option<u64>) -> usize {
        let count = self.ready(max);
        let end = self.held.head.wrapping_add(count as u64 * STEP);
        let arrived =
            rested.map(|tail| (end.wrapping_sub(tail).cast_signed().max(0) as u64 / STEP) as usize);
        self.slots.at.consumer.lead().note(count, max, self.slots.room_for_lead(), arrived);
        out.reserve(count);
        let slots = self.slots;
        let first = slots.index(self.held.head);
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
        debug_assert!(!std::mem::needs_drop::<T>(), "it would not be dropped");
        debug_assert!(count <= self.ready(count), "I2");
        self.publish(count);
    }

    /// True if all slots are claimed.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.slots.at.claim_locked(self.held.head, 0) == Err(Refusal::Full)
    }

    /// Tells producers how far the slots are empty.
    #[inline(always)]
    pub(super) fn share_head(&self) {
        self.slots.at.share_head(self.held.head);
    }

    /// Claims up to `want` slots, at least one.
    #[inline(always)]
    pub(super) fn claim(&self, want: usize) -> Result<Claim<'a, T>, Refusal> {
        let slots = self.slots;
        let (position, count) = slots.at.claim_locked(self.held.head, want)?;
        Ok(Claim { slots, position, count })
    }

    #[inline(always)]
    fn publish(&mut self, count: usize) {
        self.held.head = self.held.head.wrapping_add(count as u64 * STEP);
        self.slots.at.consumer.publish(self.held.head);
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.slots.at.consumer.unlock(self.held.known);
    }
}
