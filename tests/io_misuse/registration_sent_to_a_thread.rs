//! A registered file stays on its thread.
use ttlog::io::{Registry, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let file = std::fs::File::open("/dev/zero").unwrap();
    let file = Registry::new(&ring).register_file(file).unwrap();
    std::thread::spawn(move || drop(file));
}
