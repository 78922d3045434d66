//! Zipped: the payload of a block as one zstd frame ([`super::block::CODEC_ZSTD`]).
//!
//! A frame says how long its content is, is the whole of what is stored, and uses no dictionary:
//! anything else is refused before memory is asked for, so that a bomb costs no more than the
//! longest payload of the format. Without the feature `zstd` a zipped block is told as one that
//! cannot be read.

use super::Reason;
#[cfg(feature = "zstd")]
use super::block::PAYLOAD_BYTES_MAX;

/// Zips a payload; `None` when that makes it no shorter, or without the feature.
#[cfg(feature = "zstd")]
pub(super) fn zip(payload: &[u8], level: i32) -> Option<Vec<u8>> {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX, "no block has a longer one");
    let mut compressor = zstd::bulk::Compressor::new(level).ok()?;
    compressor.include_contentsize(true).ok()?;
    compressor.compress(payload).ok().filter(|zipped| zipped.len() < payload.len())
}

/// Without the feature nothing is zipped.
#[cfg(not(feature = "zstd"))]
pub(super) fn zip(_: &[u8], _: i32) -> Option<Vec<u8>> {
    None
}

/// Replaces a stored payload by its content.
#[cfg(feature = "zstd")]
pub(super) fn unzip(payload: &mut Vec<u8>) -> Result<(), Reason> {
    use zstd::zstd_safe::{
        find_frame_compressed_size, get_dict_id_from_frame, get_frame_content_size,
    };
    let content = get_frame_content_size(payload).ok().flatten();
    let content = content.and_then(|len| usize::try_from(len).ok());
    let len =
        content.filter(|len| (1..=PAYLOAD_BYTES_MAX).contains(len)).ok_or(Reason::Contradiction)?;
    let is_one = find_frame_compressed_size(payload) == Ok(payload.len());
    if !is_one || get_dict_id_from_frame(payload).is_some() {
        return Err(Reason::Contradiction);
    }
    let mut out = vec![0; len];
    let unzipped = zstd::bulk::decompress_to_buffer(payload, &mut out[..]);
    if !unzipped.is_ok_and(|unzipped| unzipped == len) {
        return Err(Reason::Contradiction);
    }
    *payload = out;
    Ok(())
}

/// Without the feature nothing can be unzipped.
#[cfg(not(feature = "zstd"))]
pub(super) fn unzip(_: &mut Vec<u8>) -> Result<(), Reason> {
    Err(Reason::NoZstd)
}

#[cfg(test)]
#[cfg(feature = "zstd")]
mod tests {
    use super::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 3).unwrap()
    }

    #[test]
    fn what_was_zipped_comes_back_and_nothing_grows() {
        let payload: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut zipped = zip(&payload, 1).unwrap();
        assert!(zipped.len() < payload.len() / 2);
        unzip(&mut zipped).unwrap();
        assert!(zipped == payload);
        assert_eq!(zip(&[1, 2, 3], 3), None);
    }

    #[test]
    fn r30_bombs_and_frames_that_are_not_one_are_refused() {
        let bomb = frame(&vec![0; PAYLOAD_BYTES_MAX + 1]);
        assert!(bomb.len() < 10_000, "{} bytes", bomb.len());
        let two = [frame(b"one"), frame(b"two")].concat();
        let mut trailing = frame(b"one");
        trailing.push(0);
        let mut without_size = Vec::new();
        let mut encoder = zstd::stream::Encoder::new(&mut without_size, 3).unwrap();
        std::io::Write::write_all(&mut encoder, &[7; 1000]).unwrap();
        encoder.finish().unwrap();
        let mut lies = frame(&[9; 300]);
        // Behind magic and descriptor: the content's length, less 256, in two bytes.
        lies[5] ^= 1;
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4].to_vec();
        for mut bad in [bomb, two, trailing, without_size, lies, skippable, Vec::new(), vec![0; 64]]
        {
            assert_eq!(unzip(&mut bad), Err(Reason::Contradiction));
        }
    }

    #[test]
    fn no_change_of_a_frame_is_a_panic_or_more_than_the_longest_payload() {
        let whole = frame(&[3; 2000]);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                if unzip(&mut bad).is_ok() {
                    assert!(bad.len() <= PAYLOAD_BYTES_MAX);
                }
            }
        }
    }
}
