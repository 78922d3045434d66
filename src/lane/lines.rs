//! Lines: how dear it is that two processors pass a lane's bytes on, and what the consumer does
//! about it.
//!
//! A producer writes where the consumer has read a round before, and its processor first takes the
//! cache lines from the consumer's. Where both share a cache that is cheap. Where they do not, on
//! two sockets or two core complexes of one, each line costs several times as much, and a call with
//! it. There the consumer gives the lines that it has read back to memory itself (`clflushopt`), so
//! that nobody has to be asked for them: the consumer's turn becomes a little longer, the call
//! about as short as where a cache is shared (RFC.md, "Lines between processors"). No table tells
//! which is the case, since threads wander and a virtual machine hides it: the consumer times some
//! loads of what the producer wrote.
#![expect(unsafe_code, reason = "flushes cache lines; proof at each block")]

use std::hint::black_box;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use crate::sync::lines::LINE_BYTES;

/// Bytes that must be there for a look: the loads lie apart, so that none fetches for the next.
pub(crate) const LOOK_BYTES: usize = N_LOADS * STEP_BYTES;
/// Loads of one look, each of which waits for the one before.
const N_LOADS: usize = 8;
/// A page and some lines, which no prefetcher follows.
const STEP_BYTES: usize = 4096 + 5 * 64;
/// Dearer than this, on average, is far: 20 to 40 ns where a cache is shared, 150 and more where
/// none is, on the machine of RFC.md.
const FAR_NS: u128 = 80;
/// So many looks more of one kind than of the other settle it; a thread that lost its processor
/// while it looked does not.
const VOTES_MAX: u8 = 8;

/// What a lane's consumer knows of its producer's distance.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// 0 is near, [`VOTES_MAX`] far.
    votes: u8,
    is_far: bool,
}

impl Lines {
    /// Looks at bytes that the producer wrote and the consumer has not read yet, at least
    /// [`LOOK_BYTES`] of them; fewer tell nothing.
    pub(crate) fn look(&mut self, bytes: &[u8]) {
        if bytes.len() < LOOK_BYTES || !can_give_up() {
            return;
        }
        let begun = Instant::now();
        let mut at = 0;
        for _ in 0..N_LOADS {
            // A byte is below 256: the next place is known, but not to the compiler, and not to the
            // processor before the load is done.
            at += STEP_BYTES - 1 + usize::from(black_box(bytes[at]) < u8::MAX);
        }
        black_box(at);
        self.vote(begun.elapsed().as_nanos() / N_LOADS as u128);
    }

    fn vote(&mut self, load_ns: u128) {
        if load_ns > FAR_NS {
            self.votes = (self.votes + 1).min(VOTES_MAX);
        } else {
            self.votes = self.votes.saturating_sub(1);
        }
        match self.votes {
            0 => self.is_far = false,
            VOTES_MAX => self.is_far = true,
            _ => {}
        }
    }

    /// Gives the lines of bytes that were read back to memory, if the producer is far.
    pub(crate) fn give_up(&self, bytes: &[u8]) {
        if self.is_far {
            flush(bytes);
        }
    }
}

/// Writes the lines of these bytes back to memory and drops them from all caches.
#[cfg(target_arch = "x86_64")]
fn flush(bytes: &[u8]) {
    let first = bytes.as_ptr().addr() % LINE_BYTES;
    for at in (0..bytes.len() + first).step_by(LINE_BYTES) {
        let line = bytes.as_ptr().wrapping_sub(first).wrapping_add(at);
        // SAFETY: the processor has the instruction (`can_give_up`), the line holds a byte of the
        // slice and can be read, and no value changes: who reads or writes it fetches it again.
        unsafe {
            std::arch::asm!(
                "clflushopt [{line}]",
                line = in(reg) line,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn flush(_bytes: &[u8]) {}

/// True when the processor can give up single lines without waiting for each.
#[cfg(target_arch = "x86_64")]
fn can_give_up() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    static CAN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    const EXTENDED: u32 = 7;
    const CLFLUSHOPT: u32 = 1 << 23;
    #[expect(unused_unsafe, reason = "newer compilers hold the intrinsic for safe")]
    // SAFETY: every x86-64 processor has the instruction, and the leaf exists where it is asked for.
    *CAN.get_or_init(|| unsafe {
        __cpuid(0).eax >= EXTENDED && __cpuid_count(EXTENDED, 0).ebx & CLFLUSHOPT != 0
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn can_give_up() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_settled_by_many_looks_and_not_by_one() {
        let mut lines = Lines::default();
        for _ in 0..VOTES_MAX - 1 {
            lines.vote(FAR_NS + 1);
            assert!(!lines.is_far);
        }
        lines.vote(FAR_NS + 1);
        assert!(lines.is_far);
        for _ in 0..VOTES_MAX - 1 {
            lines.vote(FAR_NS);
            assert!(lines.is_far);
        }
        lines.vote(FAR_NS);
        assert!(!lines.is_far);
        // One in two, as when threads wander all the time, leaves it where it is.
        for _ in 0..100 {
            lines.vote(FAR_NS + 1);
            lines.vote(FAR_NS);
        }
        assert!(!lines.is_far);
    }

    #[test]
    fn a_look_needs_its_bytes_and_what_is_given_up_stays_what_it_was() {
        let bytes: Vec<u8> = (0..LOOK_BYTES + 77).map(|n| (n % 256) as u8).collect();
        let before = bytes.clone();
        let mut lines = Lines::default();
        lines.look(&bytes[..LOOK_BYTES - 1]);
        lines.look(&bytes[..LOOK_BYTES]);
        lines.look(&vec![u8::MAX; LOOK_BYTES]);
        lines.is_far = can_give_up();
        for (from, to) in [(0, 0), (0, 1), (1, 65), (63, 64), (64, 128), (7, bytes.len())] {
            lines.give_up(&bytes[from..to]);
        }
        assert_eq!(bytes, before);
    }
}
