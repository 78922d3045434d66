//! Clock: the tick counter that the benchmarks time with, and that the floor reads.
#![expect(unsafe_code, reason = "the tick counter is an intrinsic")]

/// Reads the tick counter, without waiting for the instructions before it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: rdtsc reads a counter that every x86-64 processor has, and touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Reads the tick counter, without waiting for the instructions before it.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: cntvct_el0 may be read from user mode, and the read touches no memory.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}
