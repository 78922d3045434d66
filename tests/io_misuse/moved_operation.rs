//! What was waited for is gone.
use ttlog::io::{Operation, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let submitted = Operation::nop().submit(&ring).unwrap();
    let _completed = submitted.wait(&ring);
    let _handle = submitted.handle();
}
