//! Sum: the CRC-32C of a block's payload, made as the payload grows.
#![expect(unsafe_code, reason = "calls code for processors that have an instruction; proof there")]
//!
//! Records that are stored as they lie come from the cache of another processor: while they are
//! copied there is time to sum them up, and later they have left the nearest cache. A checksum is as
//! fast as three at once are, of as many parts of what is copied, since the instruction takes three
//! cycles and one begins in each; products of polynomials put them together.
//!
//! ```text
//! from  | a            | b            | c            | rest |     each a multiple of 256 bytes
//! crc = (crc of a * x^|b| ^ crc of b) * x^|c| ^ crc of c           |b| in bits
//! ```
//!
//! # Invariants
//!
//! - **C1** A function for processors that have SSE 4.2 is called behind a look for it.

/// The checksum of a payload's first bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    crc: u32,
    /// How many bytes.
    at: usize,
}

/// Shorter pieces are copied, and summed up later with what is around them.
const TOGETHER_BYTES_MIN: usize = 12 << 10;
/// A part is so many bytes, or a multiple of it.
const PART_BYTES: usize = 256;
/// Multiples for which it is known how to shift by them.
const PARTS_MAX: usize = 128;
/// The polynomial, its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial `1`, in the same order.
const ONE: u32 = 1 << 31;

impl Sum {
    /// Copies records to `payload[at..]`; what lies before them is complete.
    pub fn copy(&mut self, records: &[u8], payload: &mut [u8], at: usize) {
        let to = &mut payload[at..at + records.len()];
        if records.len() < TOGETHER_BYTES_MIN || !can_sum_beside() {
            return to.copy_from_slice(records);
        }
        self.extend(&payload[..at]);
        *self = Self {
            crc: copy_summed(self.crc, records, &mut payload[at..]),
            at: at + records.len(),
        };
    }

    /// Goes on to the end of the payload so far, which begins with what was summed up before.
    pub fn extend(&mut self, payload: &[u8]) {
        debug_assert!(self.at <= payload.len(), "the payload grows");
        *self =
            Self { crc: crc32c::crc32c_append(self.crc, &payload[self.at..]), at: payload.len() };
    }

    /// The checksum of all bytes behind others whose checksum is `before`.
    #[must_use]
    pub fn behind(&self, before: u32) -> u32 {
        let (mut shifted, mut left) = (before, self.at);
        while left > 0 {
            shifted = times(shifted, BY_POWERS[left.trailing_zeros() as usize]);
            left &= left - 1;
        }
        shifted ^ self.crc
    }
}

/// The product of two polynomials modulo that of the checksum.
const fn times(a: u32, b: u32) -> u32 {
    let (mut product, mut shifted, mut n) = (0, b, 0);
    while n < u32::BITS {
        product ^= shifted & (a << n).cast_signed().wrapping_shr(31).cast_unsigned();
        shifted = shifted >> 1 ^ POLYNOMIAL & (shifted & 1).wrapping_neg();
        n += 1;
    }
    product
}

/// What a checksum is multiplied with when 1, 2, 4, 8, ... bytes come behind its bytes.
const BY_POWERS: [u32; usize::BITS as usize] = {
    let (mut table, mut n) = ([ONE >> 8; usize::BITS as usize], 1);
    while n < table.len() {
        table[n] = times(table[n - 1], table[n - 1]);
        n += 1;
    }
    table
};

/// What a checksum is multiplied with when so many parts come behind its bytes.
#[cfg(target_arch = "x86_64")]
const BY_PARTS: [u32; PARTS_MAX] = {
    let (mut table, mut n, mut part) = ([ONE; PARTS_MAX], 1, ONE >> 8);
    let mut bytes = 1;
    while bytes < PART_BYTES {
        (part, bytes) = (times(part, part), 2 * bytes);
    }
    while n < PARTS_MAX {
        table[n] = times(table[n - 1], part);
        n += 1;
    }
    table
};

#[cfg(target_arch = "x86_64")]
fn can_sum_beside() -> bool {
    std::arch::is_x86_feature_detected!("sse4.2")
}

/// Elsewhere nobody has measured it.
#[cfg(not(target_arch = "x86_64"))]
const fn can_sum_beside() -> bool {
    false
}

/// Copies `from` to the beginning of `to`; returns the checksum `crc` extended by it.
#[cfg(target_arch = "x86_64")]
fn copy_summed(crc: u32, from: &[u8], to: &mut [u8]) -> u32 {
    let (mut crc, mut at) = (crc, 0);
    while from.len() - at >= TOGETHER_BYTES_MIN && can_sum_beside() {
        let n_parts = ((from.len() - at) / (3 * PART_BYTES)).min(PARTS_MAX - 1);
        // SAFETY: (C1) the loop's condition.
        crc = unsafe { copy_thirds(crc, n_parts, &from[at..], &mut to[at..]) };
        at += 3 * n_parts * PART_BYTES;
    }
    to[at..from.len()].copy_from_slice(&from[at..]);
    crc32c::crc32c_append(crc, &from[at..])
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_summed(crc: u32, from: &[u8], to: &mut [u8]) -> u32 {
    to[..from.len()].copy_from_slice(from);
    crc32c::crc32c_append(crc, from)
}

/// Copies three times so many parts.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn copy_thirds(crc: u32, n_parts: usize, from: &[u8], to: &mut [u8]) -> u32 {
    use std::arch::x86_64::_mm_crc32_u64;
    const LINE: usize = 64;
    type Line = [[u8; 8]; LINE / 8];
    let lines = n_parts * PART_BYTES / LINE;
    let (from, _) = from.as_chunks::<8>().0.as_chunks::<{ LINE / 8 }>();
    let (to, _) = to.as_chunks_mut::<8>().0.as_chunks_mut::<{ LINE / 8 }>();
    let (a, from) = from.split_at(lines);
    let (b, from) = from.split_at(lines);
    let (to_a, to) = to.split_at_mut(lines);
    let (to_b, to) = to.split_at_mut(lines);
    let mut crcs = [u64::from(!crc), 0, 0];
    for i in 0..lines {
        let lines: [&Line; 3] = [&a[i], &b[i], &from[i]];
        (to_a[i], to_b[i], to[i]) = (*lines[0], *lines[1], *lines[2]);
        for word in 0..LINE / 8 {
            for (crc, line) in crcs.iter_mut().zip(lines) {
                *crc = _mm_crc32_u64(*crc, u64::from_le_bytes(line[word]));
            }
        }
    }
    let [a, b, c] = crcs.map(|crc| crc as u32);
    let by = BY_PARTS[n_parts];
    !(times(times(a, by) ^ b, by) ^ c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    #[test]
    fn what_is_summed_while_it_is_copied_has_the_sum_that_it_has_later() {
        let from = bytes(300_000);
        for len in [0, 1, 767, 768, 12_287, 12_288, 12_289, 64_320, 65_535, 98_000, 98_304, 250_001]
        {
            for at in [0, 5, 4097] {
                let mut payload = vec![0xaa; at + len + 99];
                let mut sum = Sum::default();
                sum.copy(&from[..len], &mut payload, at);
                assert!(payload[at..at + len] == from[..len], "{len} bytes at {at}");
                assert!(payload[at + len..].iter().all(|byte| *byte == 0xaa), "and no more");
                sum.extend(&payload[..at + len]);
                assert_eq!(sum.crc, crc32c::crc32c(&payload[..at + len]), "{len} bytes at {at}");
            }
        }
    }

    #[test]
    fn a_sum_goes_behind_another_as_if_it_had_been_begun_with_it() {
        let bytes = bytes(70_000);
        for len in [0, 1, 24, 255, 4096, 69_000] {
            let mut sum = Sum::default();
            sum.extend(&bytes[..len]);
            let together = crc32c::crc32c_append(crc32c::crc32c(b"before"), &bytes[..len]);
            assert_eq!(sum.behind(crc32c::crc32c(b"before")), together, "{len} bytes");
        }
    }
}
