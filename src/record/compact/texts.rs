//! Texts: the encoder's memory of the texts that a block has spelled out.

use super::varint::{copy, load8, put, store1};
use super::{SLOTS, SPELLED};

/// Where in the payload the texts lie that the decoder keeps, by slot.
///
/// Two neighbouring slots may hold a text; the one used longer ago is given to the next.
#[derive(Debug)]
pub(super) struct Texts {
    slots: Box<[(u32, u32); SLOTS + 1]>,
    newest: Box<[u8; SLOTS.div_ceil(2)]>,
}

/// No text is as long.
const NO_TEXT: u32 = u32::MAX;
/// Pairs of slots; the last slot's number means "spelled out".
const PAIRS: u64 = SLOTS as u64 / 2;

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([(0, NO_TEXT); SLOTS + 1]),
            newest: Box::new([0; SLOTS.div_ceil(2)]),
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill((0, NO_TEXT));
    }

    #[inline(always)]
    pub(super) fn put(
        &mut self,
        from: &[u8],
        start: usize,
        len: usize,
        out: &mut [u8],
        at: usize,
    ) -> usize {
        let text = &from[start..start + len];
        let pair = (hash(text) * PAIRS / 128) as usize;
        let newest = self.newest[pair];
        for way in [newest, newest ^ 1] {
            let slot = (pair * 2) as u8 + way;
            let (kept_at, kept_len) = self.slots[usize::from(slot)];
            if kept_len as usize == len && is_at(out, kept_at as usize, text) {
                self.newest[pair] = way;
                store1(out, at, slot);
                return at + 1;
            }
        }
        let way = newest ^ 1;
        self.newest[pair] = way;
        let slot = (pair * 2) as u8 + way;
        store1(out, at, SPELLED);
        store1(out, at + 1, slot);
        let at = put(out, at + 2, len as u64);
        copy(from, start, len, out, at);
        self.slots[usize::from(slot)] = (at as u32, len as u32);
        at + len
    }
}

/// True when the text lies at `at` in `out`.
#[inline(always)]
fn is_at(out: &[u8], at: usize, text: &[u8]) -> bool {
    let Some(kept) = out.get(at..).and_then(|rest| rest.get(..text.len())) else { return false };
    if text.len() < 8 {
        return kept == text;
    }
    // The last eight bytes overlap those before: no loop over single bytes.
    let tail = text.len() - 8;
    load8(kept, tail) == load8(text, tail)
        && kept.chunks_exact(8).zip(text.chunks_exact(8)).all(|(a, b)| load8(a, 0) == load8(b, 0))
}

/// A number below 128 for the text from its length and its first, middle and last bytes. It is no part of
/// the format: the slot is told.
#[inline(always)]
fn hash(text: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let len = text.len();
    let mixed = if len >= 8 {
        let (first, middle, last) =
            (load8(text, 0), load8(text, len / 2 - 4), load8(text, len - 8));
        (first.wrapping_mul(ODD) ^ middle).wrapping_mul(ODD) ^ last
    } else {
        text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    (mixed ^ len as u64).wrapping_mul(ODD) >> 57
}
