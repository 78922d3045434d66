//! There is no result before the operation has completed.
use ttlog::io::{Operation, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let submitted = Operation::nop().submit(&ring).unwrap();
    let _parts = submitted.into_parts();
}
