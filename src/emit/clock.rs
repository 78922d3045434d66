//! Clock: the only place where a clock is read.
#![expect(
    unsafe_code,
    reason = "the time stamp counter is read by an unsafe intrinsic; proof below"
)]
//!
//! Ticks are the processor's time stamp counter where it runs at one rate on all cores (the
//! processor says so and the kernel trusts it), and nanoseconds of `CLOCK_MONOTONIC` elsewhere.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::record::Anchor;
use crate::sync::fixed::{AtomicU8, Ordering};

/// Ticks are those of the time stamp counter.
pub const KIND_TSC: u8 = 1;
/// Ticks are nanoseconds of `CLOCK_MONOTONIC`.
pub const KIND_MONOTONIC: u8 = 2;

/// 0 until the first question.
static KIND: AtomicU8 = AtomicU8::new(0);

/// Reads the clock: raw ticks, which anchors turn into time.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // ord: Relaxed, the value decides alone and is the same whoever stores it.
    if KIND.load(Ordering::Relaxed) == KIND_TSC {
        return tsc();
    }
    slow_ticks()
}

/// Reads the time stamp counter where it is the clock; else, and before [`kind`] was first asked,
/// `None`. A hot path that leaves for a cold one on `None` needs no call of its own for the clock.
#[inline(always)]
#[must_use]
pub fn fast_ticks() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    // ord: Relaxed, as in `ticks`.
    if KIND.load(Ordering::Relaxed) == KIND_TSC {
        return Some(tsc());
    }
    None
}

/// The clock that [`ticks`] reads: [`KIND_TSC`] or [`KIND_MONOTONIC`].
#[must_use]
pub fn kind() -> u8 {
    // ord: Relaxed, as in `ticks`.
    match KIND.load(Ordering::Relaxed) {
        0 => {
            let kind = if is_tsc_trusted() { KIND_TSC } else { KIND_MONOTONIC };
            // ord: Relaxed, as in `ticks`; two threads store the same.
            KIND.store(kind, Ordering::Relaxed);
            kind
        }
        kind => kind,
    }
}

#[cold]
fn slow_ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if kind() == KIND_TSC {
        return tsc();
    }
    monotonic_ns()
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; where a process is forbidden to use it
    // the kernel does not list the counter as a clock source, and this is not called.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn is_tsc_trusted() -> bool {
    use std::arch::x86_64::__cpuid;
    const SOURCES: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    const INVARIANT: u32 = 1 << 8;
    const POWER: u32 = 0x8000_0007;
    #[expect(unused_unsafe, reason = "newer compilers hold the intrinsic for safe")]
    // SAFETY: every x86-64 processor has the instruction.
    let max = unsafe { __cpuid(0x8000_0000) }.eax;
    if max < POWER {
        return false;
    }
    #[expect(unused_unsafe, reason = "newer compilers hold the intrinsic for safe")]
    // SAFETY: as above, and the leaf exists.
    let power = unsafe { __cpuid(POWER) };
    power.edx & INVARIANT != 0
        && fs::read_to_string(SOURCES)
            .is_ok_and(|names| names.split_whitespace().any(|name| name == "tsc"))
}

#[cfg(not(target_arch = "x86_64"))]
fn is_tsc_trusted() -> bool {
    false
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// UTC in nanoseconds since 1970, negative before, held at the ends of the range.
#[must_use]
pub fn wall_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// Reads all three clocks as close together as a few attempts allow.
#[must_use]
pub fn anchor() -> Anchor {
    const ATTEMPTS: usize = 5;
    let mut best = (u64::MAX, Anchor::default());
    for _ in 0..ATTEMPTS {
        let before = monotonic_ns();
        let ticks = ticks();
        let wall_ns = wall_ns();
        let after = monotonic_ns();
        let gap = after.saturating_sub(before);
        if gap < best.0 {
            best = (gap, Anchor { ticks, mono_ns: before + gap / 2, wall_ns });
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timeline;

    #[test]
    fn fast_ticks_are_those_of_the_counter() {
        assert_eq!(kind() == KIND_TSC, fast_ticks().is_some());
    }

    #[test]
    fn ticks_do_not_go_back_on_a_thread() {
        let mut last = ticks();
        for _ in 0..10_000 {
            let now = ticks();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn two_anchors_turn_ticks_into_time() {
        let mut line = Timeline::default();
        line.add(anchor());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (ticks, wall) = (ticks(), wall_ns());
        std::thread::sleep(std::time::Duration::from_millis(20));
        line.add(anchor());
        let error = (line.wall_ns(ticks) - wall).abs();
        assert!(error < 5_000_000, "{error} ns off");
    }
}
