//! The files of ttlog's typed ring, built on shuttle's atomics, locks and threads, and the checker
//! of their histories. See `tests/linearizable.rs` for how to run it.

#[expect(dead_code, reason = "the ring makes one kind of error only")]
#[path = "../../../src/error.rs"]
mod error;
pub mod history;
#[path = "../../../src/ring/mod.rs"]
pub mod ring;
pub mod sync;
