//! Mix: what an event of the rigs holds, computed by the writer and by the reader alike.

/// A checksum of an event's identity.
pub(crate) fn sum(run: u64, t: u64, n: u64) -> u64 {
    let mut x = run ^ t.rotate_left(21) ^ n.rotate_left(42) ^ 0x9e37_79b9_7f4a_7c15;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A text whose length differs from event to event.
pub(crate) fn text(n: u64) -> &'static str {
    const TEXT: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    &TEXT[..(n % 53) as usize]
}
