//! Driver: one thread's event loop, and the way to it from others.
//!
//! ```text
//!  Remote ─ operation, reply ─► typed ring ─►┐ 1 messages     (256 a round)
//!  Remote ─ cancel, spawn ─────► typed ring ─►│ 2 completions  (max_batch_size a round)
//!  IoFuture ◄── result and buffer ── reply ◄─┘ 3 ready tasks  (256 a round)
//! ```
//!
//! Each round does a bounded part of each, so that none starves another. Without work a driver
//! looks a few rounds more, then sleeps in its backend until a completion or a message comes. One
//! backend and one pool a driver: drivers share nothing.
//!
//! # Invariants
//!
//! - **D1** A driver says that it sleeps before it looks at its inbox for the last time, and a
//!   sender looks whether it sleeps after its message is in: both by SeqCst fences, so that one of
//!   them sees the other.
//! - **D2** Each message has its reply: a completion, or the operation back with why not.

mod event_loop;
mod remote;
mod tasks;

pub use event_loop::Driver;
pub use remote::{IoFuture, Remote};
