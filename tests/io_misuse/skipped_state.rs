//! What was not submitted cannot be waited for.
use ttlog::io::{Operation, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let _completed = Operation::nop().wait(&ring);
}
