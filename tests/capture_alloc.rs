//! Capture beside a global allocator that logs: what that logs is captured too, and ends.
#![expect(unsafe_code, reason = "an allocator that logs is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static LOGS: AtomicBool = AtomicBool::new(false);

struct Logging;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Logging {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if LOGS.load(Ordering::Relaxed) {
            ttlog::info!(size = layout.size(), "allocated");
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if LOGS.load(Ordering::Relaxed) {
            ttlog::info!(size = layout.size(), "freed");
        }
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Logging = Logging;

#[test]
fn what_an_allocator_logs_while_an_event_is_taken_is_left_out() {
    let logs = ttlog::test::capture(|| {
        LOGS.store(true, Ordering::Relaxed);
        for n in 0..100 {
            drop(std::hint::black_box(vec![0_u8; 1_000]));
            ttlog::warn!(n, "of the program");
        }
        LOGS.store(false, Ordering::Relaxed);
    });
    let of_program = logs.records().iter().filter(|r| r.message() == "of the program");
    assert_eq!(of_program.count(), 100);
    let of_the_size = |r: &&ttlog::view::Record| r.field("size") == Some(1_000_usize.into());
    assert_eq!(logs.records().iter().filter(of_the_size).count(), 200);
}
