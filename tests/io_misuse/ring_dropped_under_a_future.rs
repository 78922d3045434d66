//! A future needs its ring.
use ttlog::io::Ring;

fn main() {
    let ring = Ring::new(8).unwrap();
    let future = ring.nop();
    drop(ring);
    drop(future);
}
