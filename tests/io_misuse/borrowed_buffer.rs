//! A borrow is no buffer: leaking the future would end it.
use ttlog::io::{IoFd, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let file = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let mut bytes = [0; 64];
    let _future = ring.read(&file, &mut bytes[..], 0);
}
