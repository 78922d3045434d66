//! Living: the loggers of this process that accept events, by serial number.
//!
//! A thread that has no lane of a logger yet finds the logger here, on the cold way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::lanes::Lanes;

static LIVING: RwLock<Vec<Arc<Lanes>>> = RwLock::new(Vec::new());
static NEXT_SERIAL: AtomicU32 = AtomicU32::new(1);

/// A number that no logger of this process has; never 0.
pub(crate) fn next_serial() -> u32 {
    loop {
        // ord: Relaxed, a counter.
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        if serial != 0 {
            return serial;
        }
    }
}

/// Adds a logger's lanes.
pub(crate) fn add(lanes: Arc<Lanes>) {
    LIVING.write().push(lanes);
}

/// Removes a logger's lanes: threads that come now find none.
pub(crate) fn remove(serial: u32) {
    LIVING.write().retain(|lanes| lanes.serial != serial);
}

/// The lanes of the logger with this number. Does not wait for a lock, since the caller may be a
/// signal handler that interrupted its holder.
pub(crate) fn find(serial: u32) -> Option<Arc<Lanes>> {
    let living = (0..1000).find_map(|_| {
        let guard = LIVING.try_read();
        if guard.is_none() {
            std::hint::spin_loop();
        }
        guard
    })?;
    living.iter().find(|lanes| lanes.serial == serial).cloned()
}
