//! Lines: asks the processor for cache lines before they are needed.
#![expect(unsafe_code, reason = "has instructions that are hints, and touch no memory")]
//!
//! A line that another processor wrote or read last takes a hundred nanoseconds to come. Lines that
//! are asked for come side by side.

/// As long as a cache line of most processors; on others the hints are too many or too few.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for a line, to be written.
#[inline(always)]
pub(crate) fn ask_to_write(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint; it reads and writes nothing, whatever the address.
    unsafe {
        std::arch::asm!(
            "prefetchw [{line}]",
            line = in(reg) line,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}

/// Asks for as many lines as `len` bytes at `data + at` have, but `AHEAD` bytes behind them, to be
/// written soon.
#[inline(always)]
pub(crate) fn ask_ahead<const AHEAD: usize>(data: *const u8, at: usize, len: usize) {
    // The first as one instruction: for `ask_to_write` two more would make its address.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint; it reads and writes nothing, whatever the address.
    unsafe {
        std::arch::asm!(
            "prefetchw [{data} + {at} + {ahead}]",
            data = in(reg) data,
            at = in(reg) at,
            ahead = const AHEAD,
            options(nostack, preserves_flags, readonly)
        );
    }
    let mut more = LINE_BYTES;
    while more < len {
        ask_to_write(data.wrapping_add(at + AHEAD + more));
        more += LINE_BYTES;
    }
}

/// Asks for a line, to be read.
#[inline(always)]
pub(crate) fn ask_to_read(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "prefetcht0 [{line}]",
            line = in(reg) line,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}

/// Asks for as many lines as this record has, so far behind its beginning and before `end`, to be
/// read soon.
#[inline(always)]
pub(crate) fn ask_ahead_to_read(record: *const u8, len: usize, ahead: usize, end: *const u8) {
    let first = record.wrapping_add(ahead);
    if first >= end {
        return;
    }
    ask_to_read(first);
    let mut more = LINE_BYTES;
    while more < len {
        ask_to_read(first.wrapping_add(more));
        more += LINE_BYTES;
    }
}
