//! The layer as a program's only subscriber: threads that end, and the end itself. One test, since
//! there is one global subscriber.
#![cfg(feature = "tracing")]

mod shown;

use shown::{LONG, records};
use tracing_subscriber::prelude::*;

/// Logs when its thread's locals are being destroyed.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        tracing::info!("from a destructor");
    }
}

thread_local! {
    static LAST: Last = const { Last };
}

#[test]
fn a_thread_logs_up_to_its_last_destructor() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    for _ in 0..3 {
        // Made before the thread's lane and after it: destructors run in the opposite order.
        for first in [true, false] {
            let log = move || {
                if first {
                    LAST.with(|_| ());
                }
                tracing::info!("from the thread");
                LAST.with(|_| ());
            };
            std::thread::spawn(log).join().unwrap();
        }
    }
    assert_eq!(handle.stats().lost(), 0);
    handle.shutdown(LONG).unwrap();
    tracing::info!("after the end");
    let records = records(dir.path());
    let count = |text: &str| records.iter().filter(|record| record.message() == text).count();
    assert_eq!((count("from the thread"), count("from a destructor")), (6, 6));
    assert_eq!(records.len(), 12);
}
