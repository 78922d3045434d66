//! Emit: turns a statement into a record on the caller's thread.
