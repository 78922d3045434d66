//! Portable: I/O without io_uring: readiness for sockets, a few threads for files.
//!
//! ```text
//!  read write fsync open close ─► queue ─► threads ─► done ─┐
//!  send recv accept connect ─► try ─ would block ─► poller ─┴─► completions
//!  timeout ─► heap by time ──────────────────────────────────┘
//! ```
//!
//! Regular files are always ready for `poll`, so readiness says nothing about them: threads do
//! their calls. What reads of pipes and sockets could block a thread for ever is waited for with
//! readiness first. Operations own buffer and descriptor here as they do with io_uring.
//!
//! # Failure
//!
//! Threads start as they are needed, up to four. Where not even one can be started, calls are made
//! by `submit` itself.

mod backend;
mod calls;
mod threads;
mod watch;

pub use backend::PortableBackend;
pub(super) use calls::{Outcome, call, would_block};
