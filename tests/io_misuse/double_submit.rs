//! An operation is submitted once.
use ttlog::io::{Operation, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let operation = Operation::nop();
    let _first = operation.submit(&ring);
    let _second = operation.submit(&ring);
}
