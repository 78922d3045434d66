//! Texts: the encoder's memory of the texts that a block has spelled out.

use super::varint::{copy, load8, put, store1};
use super::{SLOTS, SPELLED};

/// Where in the payload the texts lie that the decoder keeps, by slot.
///
/// Two neighbouring slots may hold a text; the one used longer ago is given to the next.
#[derive(Debug)]
pub(super) struct Texts {
    slots: Box<[Slot; SLOTS + 1]>,
    newest: Box<[u8; SLOTS.div_ceil(2)]>,
    /// Counts texts that were spelled out.
    n_told: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    at: u32,
    len: u32,
}

/// Holds no text: none is as long.
const EMPTY: Slot = Slot { hash: u64::MAX, at: 0, len: u32::MAX };
/// Pairs of slots; the last slot's number means "spelled out".
const PAIRS: u64 = SLOTS as u64 / 2;

impl Texts {
    pub(super) fn new() -> Self {
        let (slots, newest) = (Box::new([EMPTY; SLOTS + 1]), Box::new([0; SLOTS.div_ceil(2)]));
        Self { slots, newest, n_told: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(EMPTY);
    }

    /// Writes the text at `from[start..][..len]`, or its slot, at `at`; returns the offset behind it,
    /// and the slot.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        from: &[u8],
        start: usize,
        len: usize,
        out: &mut [u8],
        at: usize,
    ) -> (usize, u8) {
        let hash = hash(from, start, len);
        let (slot, is_held) = self.find(hash, &from[start..start + len], out);
        if is_held {
            store1(out, at, slot);
            return (at + 1, slot);
        }
        store1(out, at, SPELLED);
        store1(out, at + 1, slot);
        let at = put(out, at + 2, len as u64);
        copy(from, start, len, out, at);
        self.set(slot, hash, at, len);
        (at + len, slot)
    }

    /// The slot of the text with this hash, and whether it holds the text already; if not,
    /// [`Texts::set`] is to say where the text is. `out` is the payload so far.
    #[inline(always)]
    pub(super) fn find(&mut self, hash: u64, text: &[u8], out: &[u8]) -> (u8, bool) {
        // The choice between two slots is no branch: which one holds a text cannot be foreseen.
        let pair = pair(hash);
        let newest = self.newest[pair];
        let is_newest = self.slots[pair * 2 + usize::from(newest & 1)].hash == hash;
        let way = if is_newest { newest } else { newest ^ 1 };
        self.newest[pair] = way;
        let number = pair * 2 + usize::from(way & 1);
        let slot = self.slots[number];
        let is_held = slot.hash == hash
            && slot.len as usize == text.len()
            && is_at(out, slot.at as usize, text);
        (number as u8, is_held)
    }

    /// True when the slot holds the text.
    #[inline(always)]
    pub(super) fn holds(&self, slot: u8, text: &[u8], out: &[u8]) -> bool {
        let slot = self.slots[usize::from(slot)];
        slot.len as usize == text.len() && is_at(out, slot.at as usize, text)
    }

    /// Says where in the payload the slot's text lies.
    #[inline(always)]
    pub(super) fn set(&mut self, slot: u8, hash: u64, at: usize, len: usize) {
        self.slots[usize::from(slot)] = Slot { hash, at: at as u32, len: len as u32 };
        self.n_told = self.n_told.wrapping_add(1);
    }

    /// How many texts were spelled out: while that is the same, each slot holds what it held.
    #[inline(always)]
    pub(super) fn n_told(&self) -> u32 {
        self.n_told
    }

    /// Where in the payload the slot's text lies.
    pub(super) fn place(&self, slot: u8) -> u32 {
        self.slots[usize::from(slot)].at
    }
}

/// Which two slots may hold a text.
#[inline(always)]
pub(super) fn pair(hash: u64) -> usize {
    ((hash >> 57) * PAIRS / 128) as usize
}

/// True when the text lies at `at` in `out`.
#[inline(always)]
fn is_at(out: &[u8], at: usize, text: &[u8]) -> bool {
    let Some(kept) = out.get(at..).and_then(|rest| rest.get(..text.len())) else { return false };
    let len = text.len();
    if !(8..=32).contains(&len) {
        return kept == text;
    }
    // Four loads that may overlap: no loop, whatever the length.
    let differ = |at: usize| load8(kept, at) ^ load8(text, at);
    let middle = differ((len - 8).min(8)) | differ(len.max(16) - 16);
    differ(0) | middle | differ(len - 8) == 0
}

/// A number for the text from its length and its first, middle and last bytes; its highest bits are
/// the best. It is no part of the format: the slot is told.
#[inline(always)]
pub(super) fn hash(from: &[u8], start: usize, len: usize) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let first = load8(from, start);
    let mixed = if len >= 8 {
        let (middle, last) = (load8(from, start + len / 2 - 4), load8(from, start + len - 8));
        (first.wrapping_mul(ODD) ^ middle).wrapping_mul(ODD) ^ last
    } else {
        // What lies behind the text is no part of it.
        first.swap_bytes() >> 1 >> (63 - 8 * len)
    };
    (mixed ^ len as u64).wrapping_mul(ODD)
}
