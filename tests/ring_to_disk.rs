//! What `examples/ring_to_disk.rs` does, on each backend: every item arrives once and in order.

#[path = "../examples/ring_to_disk.rs"]
mod example;

use ttlog::io::{self, IoBackendKind, IoChoice};

#[test]
fn every_item_arrives_once_and_in_order_through_a_bounded_set_of_buffers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("items");
    for choice in [IoChoice::Auto, IoChoice::Portable] {
        for (producers, items) in [(1, 0), (1, 1), (1, 4095), (1, 4096), (4, 60_001), (16, 5_000)] {
            let report = example::ring_to_disk(&file, producers, items, choice).unwrap();
            assert_eq!(report.arrived, vec![items; producers as usize], "{report:?}");
            assert_eq!(report.delivered, producers * items, "{report:?}");
            assert!(report.buffers <= 8 && report.parked <= producers * items, "{report:?}");
            if choice == IoChoice::Portable || io::probe().uring.is_err() {
                assert_eq!(report.kind, IoBackendKind::Portable);
            }
        }
    }
}

#[test]
fn a_disk_without_room_is_an_error_and_no_hang() {
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    assert!(example::ring_to_disk(full, 4, 100_000, IoChoice::Auto).is_err());
}
