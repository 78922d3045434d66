//! View: reads logs back, from segments, spill files, lanes and staging, of living and dead
//! processes, in one order.
//!
//! ```text
//! Source ─► plan: files, block headers ─┐  due first
//!        └► lanes, staging (outside) ───┴► weave: decode, keep once ─► merge ─► Items
//! ```
//!
//! Nothing here writes, but for a file without a name that takes what does not fit into memory.

mod captured;
mod error;
mod gone;
mod item;
mod items;
mod merge;
mod once;
mod plan;
mod query;
mod shot;
mod source;
mod spans;
mod stream;
mod value;
mod weave;

pub(crate) use captured::{Captive, captured};
pub use error::Error;
pub use crate::render::Span;
pub use item::{Damage, Item, Lost, Record, SpanChange};
pub use items::Items;
pub use query::Query;
pub use source::Source;
pub use value::Value;
