//! What was unregistered is gone.
use ttlog::io::{Registry, Ring};

fn main() {
    let ring = Ring::new(8).unwrap();
    let registry = Registry::new(&ring);
    let file = registry.register_file(std::fs::File::open("/dev/zero").unwrap()).unwrap();
    let _ = registry.unregister_file(file);
    let _future = ring.read(&file, vec![0; 8], 0);
}
