//! Store: the file format, as bytes.
//!
//! ```text
//! segment   | header | block | block | … | index block |      FORMAT.md draws every byte
//! block     | header | runs | definitions | anchors | zeros |
//! ```
//!
//! # Invariants
//!
//! - **F1** Every byte of a file is covered: by a checksum, or by being zero where zero is demanded.
//! - **F2** A checksum is salted with logger, segment and offset, so that a block is whole only
//!   where it was written.
//! - **F3** No number from a file is used before it is compared with a constant.
//! - **F4** The blocks are the truth; the index is derived and may be lost.

pub mod block;
mod builder;
mod error;
pub mod index;
#[cfg(any(feature = "serde", test))]
pub(crate) mod items;
pub mod keep;
pub mod name;
pub(crate) mod pack;
pub(crate) mod reader;
pub mod retention;
pub mod rotate;
pub mod salvage;
mod scan;
mod zipped;
pub mod segment;
pub mod spill;

pub use builder::Builder;
pub use error::{Damage, Error, Reason};
