//! A ring belongs to one thread at a time.
use std::sync::Arc;
use ttlog::io::Ring;

fn main() {
    let ring = Arc::new(Ring::new(8).unwrap());
    std::thread::spawn(move || ring.submit());
}
