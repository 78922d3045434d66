//! Uring: io_uring that safe code cannot misuse. Linux alone.
//!
//! # Who owns what
//!
//! ```text
//!  Operation ─ buffer, descriptor ─► slot of the slab ─ pointers ─► kernel
//!      ▲                                  │   ▲                        │
//!      └────── buffer and result ◄────────┘   └── index + generation ──┘
//! ```
//!
//! Buffer and descriptor move into a slot before the kernel hears of them, and leave it when the
//! kernel's last completion names that slot. A future holds a number, never memory: dropping,
//! leaking or cancelling it frees nothing.
//!
//! # Invariants
//!
//! - **U1** Pointers that the kernel has lead to heap memory (a buffer, an array of vectors, an
//!   address, a time, a path) which the operation in its slot owns. It moves with its owner only by
//!   the pointer to it.
//! - **U2** A slot is emptied only by its last completion, which its key (index and generation)
//!   names; a completion whose key finds nothing is counted and ignored.
//! - **U3** Ring and slab are freed only with nothing in flight; otherwise both are leaked, with
//!   all that the slots own, since closing a ring does not wait for the kernel.
//! - **U4** The queues are touched through `&mut Core` alone, so by one thread at a time.
//! - **U5** A registered buffer's index is used only for memory that lies within that registration.
//! - **U6** A descriptor that a completion brings is new, and wrapped once.
//! - **U7** Provided memory is lent to the kernel until the ring has ended; of it only what a
//!   completion named is read, and then provided again.
//! - **U8** The index of lasting memory ([`Region`](super::Region)) is used only for bytes that the
//!   same owner lends: the table has a weak pointer to it, so that its address cannot be that of
//!   another, and it lends from nothing else.
//!
//! # Failure
//!
//! A full queue is handed to the kernel; where the kernel has no room either, the operation comes
//! back with `Busy`. When handing over fails after an operation was queued, it stays queued (its
//! slot stays) and is handed over by the next call.

mod backend;
mod batch;
mod block;
mod builder;
mod core;
mod doorbell;
mod entry;
mod future;
mod multi;
mod probe;
mod registry;
mod ring;
mod settle;
mod typed;
mod waiters;
mod waiting;
mod wake;

pub use backend::UringBackend;
pub use batch::{Batch, BatchError, BatchFuture, MAX_BATCH_SIZE};
pub use future::{
    AcceptFuture, CloseFuture, ConnectFuture, FsyncFuture, OpenFuture, OperationFuture, Outcome,
    ReadFuture, ReadVectoredFuture, RecvFuture, SendFuture, TimeoutFuture, WriteAllFuture,
    WriteFuture, WriteVectoredFuture,
};
pub use multi::{AcceptMulti, RecvMulti};
pub use probe::leaked_operations;
pub(super) use probe::probe;
pub use registry::{RegisteredBuffer, RegisteredFd, Registry};
pub use builder::RingBuilder;
pub use ring::{OperationTracker, Ring};
pub use typed::{
    BufferState, Building, Completed, NotSubmitted, Operation, Pending, Submitted,
};
