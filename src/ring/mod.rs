//! Ring: a bounded queue between many producers and one consumer, with items inline.
//!
//! # Layout
//!
//! ```text
//! producers' line   tail · copy of the head · does a taker sleep?
//! consumer's line   head · busy · does a producer sleep?           written once per take
//!
//! position   0  1  2  3  4  5  6  7  8  9 …   capacity 6 in an array of 8: position n lies in
//! stamps     1  2  3  4  5  6  7  -           slot n % 8, and is claimed only while
//! values     a  b  c  d  e  f  g  .           tail - head < 6
//!                  ▲              ▲
//!                  head (a, b are taken)
//!                                 tail, 7 is the next to claim
//! ```
//!
//! A push claims a position by one CAS on the tail, writes the value, then its stamp, position + 1.
//! A batch has one claim, one copy and one stamp, which says how many values are behind it.
//! A take reads values as far as stamps are there, then publishes the head once. The consumer
//! writes nothing that a producer reads, but for the head, and that a producer looks at once a lap:
//! when the ring seems full by the copy. So a producer's first touch of a slot is a store, which
//! its processor need not wait for.
//!
//! (In memory positions count by four: the lowest bits of the tail say *closed* and *diverted*,
//! those of a stamp *committed* and *run*.)
//!
//! # Invariants
//!
//! - **I1** Only the producer whose CAS moved the tail over a position writes its slot, once, and
//!   no code of a user runs between the claim and the stamp.
//! - **I2** The stamp of a position is there only when its value is: stored with Release, after it.
//!   A run of positions that were claimed at once has one stamp, at the first, stored after all
//!   values and after the run's length, which lies in place of the second stamp and is none. Up to
//!   where stamps were seen is kept under the lock of the head, since inside a run there are none.
//! - **I3** A slot is claimed again only after its last value was read: the claim was made with
//!   tail − head < capacity ≤ slots, by a head that the consumer published with Release after its
//!   reads, and that the producer Acquired, from the head itself or from another's copy.
//! - **I4** One thread at a time moves the head and empties slots: the holder of `busy`.
//! - **I5** Closed is a bit of the tail, so each claim comes before it and is delivered, or after
//!   it and is refused.
//! - **I6** The array is a power of two, no less than the capacity; slots are found by masking.
//! - **I7** Who changes the ring and then reads a flag, and who sets the flag and then looks at the
//!   ring again, never both miss each other.
//! - **I8** Diverted is a bit of the tail: items in files are newer than those in slots, and while
//!   it is set they alone are put into slots, in their order, by the holder of the outlet. It is
//!   set, items go into files, and it is taken back when none is there, under the inlet's lock.
//! - **I9** A file is emptied or removed once each of its items was taken, or is known to be lost.
//! - **I10** Who moves the head while the outlet is locked leaves the files to its holder, who looks
//!   at the head again after it has let go.
//!
//! # Failure
//!
//! A producer that stops between claim and stamp holds up nobody until the ring is full; takes end
//! before its item. Then the policy applies; DropOldest cannot evict past it and gives the new item
//! back. (Who sleeps for room, or is just about to, takes a lock for a moment, and does hold up
//! others if it is stopped there.) A consumer that stops while it takes does the same to the head.
//!
//! Not here: reclamation. Nothing is ever freed while the ring lives, so no epoch is needed.

mod async_;
mod batch;
mod compat;
mod core;
mod handle;
mod head;
#[cfg(any(feature = "serde", test))]
mod inlet;
#[cfg(loom)]
mod items_loom;
mod lead;
#[cfg(all(test, loom))]
mod models;
#[cfg(any(feature = "serde", test))]
mod outlet;
#[cfg(any(feature = "serde", test))]
mod overflow;
mod policy;
mod position;
mod queue;
mod slot;
#[cfg(any(feature = "serde", test))]
mod spill;
mod stats;
#[cfg(all(test, not(loom)))]
mod tests;
mod values;
mod wait;

pub use async_::{PushFuture, TakeFuture};
pub use batch::{BatchPushError, Takes};
pub use compat::RingBuffer;
pub use handle::{ConsumerHandle, ProducerHandle};
pub use policy::{BackPressurePolicy, PushError, TakeError};
pub use queue::LockFreeRingBuffer;
#[cfg(any(feature = "serde", test))]
pub use spill::Spill;
pub use stats::{Latency, Stats};

/// An ordering that a mutant weakens, to show that a model tells the difference.
macro_rules! weaken {
    ($mutant:literal, $order:expr) => {
        // ord: Relaxed in the mutant; its user says what the other pairs with.
        if crate::sync::mutant($mutant) { Ordering::Relaxed } else { $order }
    };
}
use weaken;
