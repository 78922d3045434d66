//! A buffer lies in one operation at a time.
use ttlog::io::{Operation, PinnedBuffer};

fn main() {
    let buffer = PinnedBuffer::with_capacity_aligned(64);
    let _first = Operation::read().set_buffer(buffer);
    let _second = Operation::read().set_buffer(buffer);
}
