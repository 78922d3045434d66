//! Varint: integers in as few bytes as they need, and the loads and stores under them.

/// Bytes of the longest varint; so many are written for each, whatever its length.
pub(super) const BYTES_MAX: usize = 9;

/// Writes `value` at `at` and returns the offset behind it; up to [`BYTES_MAX`] bytes change.
#[inline(always)]
pub(super) fn put(out: &mut [u8], at: usize, value: u64) -> usize {
    let top = (value | 1).ilog2();
    if top < 56 {
        // The bytes behind the first: a division by seven that is exact for these numbers.
        let more = (top * 37 + 3) >> 8;
        store8(out, at, (value << 1 | 1) << more);
        at + 1 + more as usize
    } else {
        put_long(out, at, value)
    }
}

#[cold]
#[inline(never)]
fn put_long(out: &mut [u8], at: usize, value: u64) -> usize {
    store1(out, at, 0);
    store8(out, at + 1, value);
    at + BYTES_MAX
}

/// Reads the varint at `at` and returns it with the offset behind it. Bytes behind the input's end
/// count as zero: the caller compares the offset with the end.
#[inline(always)]
pub(super) fn get(bytes: &[u8], at: usize) -> (u64, usize) {
    let word = load8(bytes, at);
    let zeros = word.trailing_zeros();
    if zeros < 8 {
        let len = zeros + 1;
        let kept = word << (64 - 8 * len);
        (kept >> (64 - 8 * len) >> len, at + len as usize)
    } else {
        (load8(bytes, at + 1), at + BYTES_MAX)
    }
}

/// Folds the sign into the lowest bit, so that small negatives are small.
#[inline(always)]
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline(always)]
pub(super) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Eight bytes at `at`; those behind the end are zero.
#[inline(always)]
pub(super) fn load8(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load_tail(bytes, at),
    }
}

#[cold]
#[inline(never)]
fn load_tail(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or(&[]);
    rest.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Four bytes at `at`; those behind the end are zero.
#[inline(always)]
pub(super) fn load4(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => load_tail(bytes, at) as u32,
    }
}

/// One byte at `at`, zero behind the end.
#[inline(always)]
pub(super) fn load1(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Writes eight bytes at `at`; the caller has made sure that there is room.
#[inline(always)]
pub(super) fn store8(out: &mut [u8], at: usize, value: u64) {
    match out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        Some(chunk) => *chunk = value.to_le_bytes(),
        None => debug_assert!(false, "no room for 8 bytes at {at}"),
    }
}

/// Writes four bytes at `at`; the caller has made sure that there is room.
#[inline(always)]
pub(super) fn store4(out: &mut [u8], at: usize, value: u32) {
    match out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        Some(chunk) => *chunk = value.to_le_bytes(),
        None => debug_assert!(false, "no room for 4 bytes at {at}"),
    }
}

/// Writes one byte at `at`; the caller has made sure that there is room.
#[inline(always)]
pub(super) fn store1(out: &mut [u8], at: usize, value: u8) {
    match out.get_mut(at) {
        Some(byte) => *byte = value,
        None => debug_assert!(false, "no room for a byte at {at}"),
    }
}

/// Copies `len` bytes from `from` at `at` to `out` at `to`; short texts go as one block of a fixed
/// size, so up to [`SHORT_BYTES`] bytes of `out` change. False when either is too short.
#[inline(always)]
pub(super) fn copy(from: &[u8], at: usize, len: usize, out: &mut [u8], to: usize) -> bool {
    if len <= SHORT_BYTES
        && let Some(source) = from.get(at..).and_then(|rest| rest.first_chunk::<SHORT_BYTES>())
        && let Some(target) = out.get_mut(to..).and_then(|rest| rest.first_chunk_mut())
    {
        *target = *source;
        return true;
    }
    copy_long(from, at, len, out, to)
}

/// Bytes that a short text is copied as.
pub(super) const SHORT_BYTES: usize = 32;

#[inline(never)]
fn copy_long(from: &[u8], at: usize, len: usize, out: &mut [u8], to: usize) -> bool {
    let source = from.get(at..).and_then(|rest| rest.get(..len));
    let target = out.get_mut(to..).and_then(|rest| rest.get_mut(..len));
    let (Some(source), Some(target)) = (source, target) else { return false };
    target.copy_from_slice(source);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_reads_back_equal_in_the_fewest_bytes() {
        for bits in 0..=64u32 {
            for value in [0u64, 1, 2] {
                let value = (1u64.checked_shl(bits).unwrap_or(0)).wrapping_sub(value);
                let mut out = [0xaa; 16];
                let end = put(&mut out, 0, value);
                assert_eq!(get(&out, 0), (value, end), "{value:#x}");
                assert_eq!(get(&out[..end], 0), (value, end), "{value:#x}");
                let needed = (64 - (value | 1).leading_zeros()).div_ceil(7) as usize;
                assert_eq!(end, needed.min(BYTES_MAX), "{value:#x}");
            }
        }
    }

    #[test]
    fn zigzag_is_undone() {
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!((zigzag(-1), zigzag(1)), (1, 2));
    }
}
