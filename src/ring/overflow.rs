//! Overflow: the order between a ring's slots and its spill files.
//!
//! ```text
//! taker ◄── slots ◄── outlet ◄── spill files ◄── inlet ◄── push
//!             ▲                                              │
//!             └──────── while nothing is in files ───────────┘
//! ```
//!
//! A push that finds the ring full sets a bit in the tail, from which on every claim finds it full;
//! so it costs the way of an ordinary push nothing. Items go to files then. To takers the files are
//! like a producer that sleeps: its flag is up, and whoever makes room moves items from the files
//! into slots. When the last has moved, the bit is taken back.
//!
//! The outlet also notes in the files what was taken, before the take returns. Invariants (I8 to
//! I10) are numbered in the parent's docs. An encoder runs under no lock, a decoder under the
//! outlet's, for which nobody waits.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::{Core, Overflow, OverflowCounts};
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::policy::PushError;
use super::position::{Refusal, STEP};
use super::slot::Parcel;
use super::spill::{Codec, items::Draft};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Mutex, mutant};

/// So many items move into slots at once.
const MOVED_MAX: usize = 256;

/// The files of a ring, what goes in and what comes out.
pub(super) struct Files<T> {
    codec: Codec<T>,
    /// Locked for as long as a block is written: it makes the order of items in files (I8).
    inlet: Mutex<Inlet>,
    /// Whoever has it moves items into slots; nobody waits for it (I10).
    outlet: Mutex<Outlet>,
    /// Items that are in files alone.
    pending: AtomicU64,
    spilled: AtomicU64,
    moved: AtomicU64,
    damaged: AtomicU64,
    taken_up: u64,
}

impl<T> Files<T> {
    pub(super) fn new(codec: Codec<T>, inlet: Inlet) -> Self {
        let taken_up = inlet.items();
        Self {
            codec,
            inlet: Mutex::new(inlet),
            outlet: Mutex::new(Outlet::default()),
            pending: AtomicU64::new(taken_up),
            spilled: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            taken_up,
        }
    }

    /// Begins with what was taken up, if that is anything.
    pub(super) fn begin(&self, core: &Core<T>) {
        if self.taken_up > 0 {
            let mut inlet = self.inlet.lock();
            core.slots.at.divert_first();
            inlet.diverted = true;
            self.tell(core, &mut inlet);
            drop(inlet);
            self.refill(core);
        }
    }

    /// As many of the items, at least one, as make a block.
    fn draft(&self, items: &[T]) -> io::Result<Draft> {
        let mut draft = Draft::new();
        for item in items {
            match draft.push(|out| (self.codec.encode)(item, out)) {
                Err(error) if draft.count == 0 => return Err(error),
                Err(_) => break,
                Ok(()) if draft.is_full() => break,
                Ok(()) => {}
            }
        }
        Ok(draft)
    }

    /// Raises the flag of a waiting producer; true if it was not up.
    fn tell(&self, core: &Core<T>, inlet: &mut Inlet) -> bool {
        // ord: Relaxed, made known by `announce`; written under the inlet's lock only.
        core.slots.at.consumer.pusher_sleeps().store(true, Ordering::Relaxed);
        !std::mem::replace(&mut inlet.told, true)
    }

    /// Lets pushes go to the slots again, once nothing is in files alone (I8); true if it did.
    fn rejoin_if_empty(&self, core: &Core<T>, inlet: &mut Inlet) -> bool {
        // ord: Acquire, pairs with the Release in `step`: the claim for the last item came before.
        // It grows under this lock only.
        let is_empty = self.pending.load(Ordering::Acquire) == 0;
        let rejoins = inlet.diverted && (is_empty || mutant("rejoin_early"));
        if rejoins {
            inlet.diverted = false;
            core.slots.at.rejoin();
        }
        rejoins
    }

    /// Tells takers what has changed, outside of locks, since it runs code of users.
    fn tell_takers(core: &Core<T>, moved: bool, rejoined: bool) {
        if moved {
            core.committed();
        }
        if rejoined && core.slots.at.is_closed() {
            // Nothing will come any more, which nobody could know before.
            core.takers.wake_all(&core.slots.at);
        }
    }

    /// Settles and moves; says how many items, and whether pushes have gone back to the slots.
    fn run(&self, core: &Core<T>, outlet: &mut Outlet) -> (usize, bool) {
        let at = &core.slots.at;
        outlet.settle(at.consumer.get(), &self.inlet);
        let (mut moved, mut rejoined) = (0, false);
        loop {
            // ord: Acquire, pairs with the Release in `put`.
            let pending = self.pending.load(Ordering::Acquire);
            let room = at.free().min(MOVED_MAX);
            if pending == 0 || room == 0 {
                break;
            }
            moved += self.step(core, outlet, room);
        }
        // ord: Relaxed, the look that counts is under the inlet's lock.
        if self.pending.load(Ordering::Relaxed) == 0 {
            let mut inlet = self.inlet.lock();
            rejoined = self.rejoin_if_empty(core, &mut inlet);
            if !inlet.diverted && inlet.told && outlet.oldest().is_none() {
                outlet.restart();
                inlet.clear();
                inlet.told = false;
                // ord: Relaxed, as in `tell`.
                at.consumer.pusher_sleeps().store(false, Ordering::Relaxed);
            }
        }
        (moved, rejoined)
    }

    /// Moves up to `room` items.
    fn step(&self, core: &Core<T>, outlet: &mut Outlet, room: usize) -> usize {
        let (mut items, mut found, mut damaged) = (Vec::new(), Vec::new(), 0);
        while items.len() < room
            && let Some(next) = outlet.next(&self.inlet, &mut damaged)
        {
            // Code of a user, which runs before the claim (I1).
            let decode = AssertUnwindSafe(|| (self.codec.decode)(outlet.bytes(&next)));
            match catch_unwind(decode) {
                Ok(Ok(item)) => {
                    items.push(item);
                    found.push(next);
                }
                _ => damaged += 1,
            }
        }
        let count = items.len();
        if count > 0 {
            let (first, claim) = core.slots.claim_diverted(count);
            claim.fill_from(&mut Parcel::new(&mut items));
            for (n, found) in (0..).zip(found) {
                outlet.put(found, first.wrapping_add(n * STEP));
            }
        }
        // ord: Release, pairs with the Acquire in `counts`: the claim came before.
        self.moved.fetch_add(count as u64, Ordering::Release);
        // ord: counter.
        self.damaged.fetch_add(damaged, Ordering::Relaxed);
        let passed = count as u64 + damaged;
        debug_assert!(passed > 0, "what is pending lies in files");
        // ord: Release, pairs with the Acquire in `len`.
        self.pending.fetch_sub(passed, Ordering::Release);
        count
    }
}

impl<T> Overflow<T> for Files<T> {
    /// Pushes an item that found no room.
    fn push(&self, core: &Core<T>, item: T) -> Result<(), PushError<T>> {
        let error = loop {
            match self.put(core, std::slice::from_ref(&item)) {
                Ok(1..) => return Ok(()),
                Ok(0) | Err(PushError::BufferFull(())) => match core.slots.claim(1) {
                    Ok(claim) => {
                        claim.fill(item);
                        core.committed();
                        return Ok(());
                    }
                    Err(Refusal::Full) => {}
                    Err(Refusal::Closed) => break PushError::Closed(item),
                },
                Err(PushError::Closed(())) => break PushError::Closed(item),
                Err(PushError::Spill { source, .. }) => break PushError::Spill { item, source },
            }
        };
        core.add_returned(1);
        Err(error)
    }

    /// Writes items from the front on behind those in files, and says how many: none if there is
    /// room by now.
    fn put(&self, core: &Core<T>, items: &[T]) -> Result<usize, PushError<()>> {
        let at = &core.slots.at;
        let mut draft = self.draft(items).map_err(disk)?;
        let mut inlet = self.inlet.lock();
        if !at.divert().map_err(|refusal| PushError::new(refusal, ()))? {
            return Ok(0);
        }
        inlet.diverted = true;
        let written = inlet.put(&mut draft);
        // ord: Release, pairs with the Acquire in `len`: it is in files, or in slots, or in both.
        let count = u64::from(draft.count);
        if written.is_ok() {
            // ord: as above.
            self.pending.fetch_add(count, Ordering::Release);
            // ord: counter.
            self.spilled.fetch_add(count, Ordering::Relaxed);
        }
        let rejoined = self.rejoin_if_empty(core, &mut inlet);
        let is_news = written.is_ok() && self.tell(core, &mut inlet);
        drop(inlet);
        Self::tell_takers(core, false, rejoined);
        if is_news && !mutant("spill_unfenced") {
            core.fences.announce();
        }
        // Takers may have gone by before they could know of it.
        self.refill(core);
        written.map(|()| draft.count as usize).map_err(disk)
    }

    /// Moves items from the files into slots, as far as there is room, and notes what was taken.
    #[cold]
    fn refill(&self, core: &Core<T>) {
        loop {
            fence_before_look();
            let Some(mut outlet) = self.outlet.try_lock() else { return };
            let (moved, rejoined) = self.run(core, &mut outlet);
            let oldest = outlet.oldest();
            drop(outlet);
            Self::tell_takers(core, moved > 0, rejoined);
            if mutant("refill_once") {
                return;
            }
            fence_before_look();
            // ord: Acquire, as in `len`.
            let is_waiting = self.pending.load(Ordering::Acquire) > 0 && core.slots.at.free() > 0;
            let is_due = oldest.is_some_and(|oldest| {
                core.slots.at.consumer.get().wrapping_sub(oldest).cast_signed()
                    >= STEP.cast_signed()
            });
            if !is_waiting && !is_due {
                return;
            }
        }
    }

    /// Items that are in files alone.
    fn len(&self) -> usize {
        // ord: Acquire, pairs with the Releases above: who then looks at the slots misses none.
        self.pending.load(Ordering::Acquire) as usize
    }

    fn counts(&self) -> OverflowCounts {
        // ord: Acquire, pairs with the Release in `step`: the tail that is read next covers it.
        let moved = self.moved.load(Ordering::Acquire);
        OverflowCounts {
            moved,
            // ord: counter.
            spilled: self.spilled.load(Ordering::Relaxed),
            // ord: counter.
            damaged: self.damaged.load(Ordering::Relaxed),
            taken_up: self.taken_up,
            len: self.len() as u64,
        }
    }
}

fn disk(source: io::Error) -> PushError<()> {
    PushError::Spill { item: (), source }
}

/// Stands between a change (of the head, of what is in files, of the lock) and a look at the others.
fn fence_before_look() {
    if !mutant("spill_unfenced") {
        // ord: SeqCst, pairs with itself in another thread: with less, one may find the outlet
        // locked, and its holder, who lets go, not see the head that the other has moved (I10).
        fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Files<T> {
    fn drop(&mut self) {
        // What was not taken stays, for the next ring in this directory.
        if self.len() == 0 && self.outlet.lock().oldest().is_none() {
            self.inlet.lock().remove_all();
        }
    }
}

impl<T> fmt::Debug for Files<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("pending", &self.len()).finish_non_exhaustive()
    }
}
