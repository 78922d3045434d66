//! What was submitted is not changed any more.
use ttlog::io::{Operation, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let submitted = Operation::nop().submit(&ring).unwrap();
    let _changed = submitted.set_offset(7);
}
