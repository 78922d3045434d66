//! What a copy asks of the allocator: the same for each file, whatever its length.
#![expect(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ttlog::archive::{self, Counters, Options};
use ttlog::io::IoChoice;

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator, and bytes, to copy so many files of this length.
fn cost(n_files: usize, len: usize) -> (u64, u64) {
    let (from, to) = (tempfile::tempdir().expect("it"), tempfile::tempdir().expect("it"));
    let bytes = vec![7; len];
    for n in 0..n_files {
        std::fs::write(from.path().join(format!("{n:06}")), &bytes).expect("a file");
    }
    let options = Options { all: true, in_flight: 16, io: IoChoice::Auto, compress: None };
    let before = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let counters = Counters::default();
    let tell = |line: String| panic!("{line}");
    let sums = archive::run(from.path(), to.path(), &options, &counters, &tell).expect("a copy");
    let after = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    assert_eq!((sums.files, sums.bytes), (n_files as u64, (n_files * len) as u64));
    assert_eq!(sums, counters.sums());
    assert!(Path::exists(&to.path().join("000000")));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_file_costs_a_constant_number_of_allocations_and_no_memory_for_its_length() {
    let short = cost(1, 1000);
    // So long that it has all the buffers that a file may have.
    let (one, one_bytes) = cost(1, 8 << 20);
    let (long, long_bytes) = cost(1, 64 << 20);
    println!("one file, calls and bytes: {short:?}; of 8 MiB: {:?}", (one, one_bytes));
    println!("of 64 MiB: {:?}", (long, long_bytes));
    // Tables of the way of doing I/O may grow once.
    assert!(long <= one + 64, "{one} {long}");
    assert!(long_bytes <= one_bytes + (64 << 10), "{one_bytes} {long_bytes}");
    // Eight large buffers; those of short files are made as they are needed too.
    let buffers = (4 << 20) + (64 << 10);
    assert!(one <= short.0 + 64 && one_bytes <= short.1 + buffers, "{short:?} {one} {one_bytes}");
    assert!(short.1 <= 256 << 10, "{short:?}");
    let each = |len| (cost(220, len).0 - cost(20, len).0) / 200;
    let [short, small, long, large] = [100, 64 << 10, 1 << 20, 2 << 20].map(each);
    println!("each file: {short} calls, of 64 KiB {small}, of 1 MiB {long}, of 2 MiB {large}");
    assert!(
        short.abs_diff(small) <= 2 && long.abs_diff(large) <= 2,
        "{short} {small} {long} {large}"
    );
    assert!(small.abs_diff(large) <= 2 && large <= 40, "{small} {large}");
}
