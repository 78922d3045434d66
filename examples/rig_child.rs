//! The program that the fault rigs start, kill, fork and starve: `rig_child key=value …`.
//!
//! Every event that it logs carries `run`, `t` (the thread), `n` (its number) and `sum`, by which
//! the reader tells a true event from an invented one. How many calls began and returned stands in
//! a file that outlives the process (`counts=PATH`), one cache line a thread.
#![expect(clippy::print_stderr, reason = "whoever started it reads that")]
#![expect(unsafe_code, reason = "dies on purpose, in ways that need libc; a test program")]
#![expect(clippy::print_stdout, reason = "answers to the rig on stdout")]

#[path = "../tests/rig/child/mod.rs"]
mod child;

/// Logs when it is told to: an allocator that logs is one of the odd callers.
#[global_allocator]
static ALLOCATOR: child::odd::LoggingAllocator = child::odd::LoggingAllocator;

fn main() {
    child::main();
}
