//! A buffer in flight can neither be read nor written.
use ttlog::io::{IoFd, PinnedBuffer, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let file = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let mut buffer = PinnedBuffer::with_capacity_aligned(64);
    let _future = ring.read(&file, buffer, 0);
    buffer[0] = 1;
}
