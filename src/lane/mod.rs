//! Lane: the byte rings in shared memory, read from outside.

pub mod outside;
