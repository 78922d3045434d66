//! Short: the encoder's fast way for what most records are: short, plain, of a callsite known in
//! this block.
//!
//! It writes what [`Encoder::encode`]'s general way would write, only sooner: a record and its room
//! are windows of a fixed size, and offsets into them are masked, so that no access needs a check.
//! Whatever is not as it expects is left to the general way before anything has changed (C2).

use super::encode::{Encoder, GUESSES};
use super::plan::{OP_BITS, Op, Plan};
use super::site::Site;
use super::stencil::Written;
use super::texts::{Texts, hash};
use super::varint::{load8, store8, zigzag};
use super::walk::Walk;
use super::{AHEAD_BYTES, ARGUMENTS_MAX, SPELLED};
use crate::record::{HEAD_BYTES, Head, RECORD_EVENT};
use crate::sync::lines::ask_ahead_to_read;

/// Bytes of a window into the records, or into the output.
pub(super) const WINDOW_BYTES: usize = 512;
/// Offsets into a window are below this: what is loaded or stored there lies in the window.
const OFFSETS: usize = 256;
/// Bytes of the longest record that is short.
pub(super) const SHORT_BYTES: usize = 128;
/// Texts that a short record may hold.
pub(super) const TEXTS_MAX: usize = 4;
/// What a record's head says beside its length.
const KEY: u64 = !Head::word(0, u16::MAX, 0, 0);

/// Counts behind the slot in what is kept for a text.
const AGAIN: u64 = 1 << 8;
const STEADY: u64 = 16 * AGAIN;

pub(super) type Window = [u8; WINDOW_BYTES];

/// The longest a short record can become: ticks, number, and what each argument may be longer than
/// it lies.
const ENCODED_MAX: usize = 2 * 9 + SHORT_BYTES + 4 * ARGUMENTS_MAX;
const _: () = assert!(ENCODED_MAX < OFFSETS, "a short record is encoded within the offsets");
const _: () = assert!(OFFSETS + SHORT_BYTES + 32 <= WINDOW_BYTES, "so is its last store");

/// The first word of a callsite's records with these flags, without their length.
pub(super) const fn key(id: u32, flags: u8) -> u64 {
    Head::word(id, 0, RECORD_EVENT, flags)
}

/// What is kept for a text whose slot is this one now.
#[inline(always)]
pub(super) fn again(last: u64, slot: u8) -> u64 {
    if last as u8 == slot { last + AGAIN } else { u64::from(slot) }
}

/// The slot of a text that has not changed for long, by what is kept for it.
pub(super) fn steady_slot(last: u64) -> Option<u8> {
    (last >= STEADY).then_some(last as u8)
}

/// True when the next record may be short, as far as windows go.
#[inline(always)]
pub(super) fn has_room(rest: &[u8], out: &[u8], at: usize) -> bool {
    let len = load8(rest, 0) >> 32 & 0xffff;
    rest.len() >= WINDOW_BYTES
        && out.len() - at >= WINDOW_BYTES
        && len as usize <= (SHORT_BYTES - HEAD_BYTES) / 8
}

impl Encoder {
    /// Takes records up to the first that is not short, plain and of a known callsite, or does not
    /// fit. `current` is the index of the entry of the last record taken.
    #[inline(never)]
    pub(super) fn put_short(
        &mut self,
        records: &[u8],
        out: &mut [u8],
        walk: &mut Walk,
        current: &mut usize,
    ) {
        let (mut at, mut ticks, mut index) = (walk.at, self.ticks, *current);
        let rest = &records[walk.consumed..];
        let raw_max = rest.len().min(walk.raw_room - walk.raw_len);
        let mut rest = &rest[..raw_max];
        let (first, mut n) = (load8(rest, 8), 0);
        let mut none = Site::NONE;
        let mut site = self.sites.get_mut(index).unwrap_or(&mut none);
        while let Some(record) = rest.first_chunk::<WINDOW_BYTES>() {
            let (word, now) = (load(record, 0), load(record, 8));
            let asked = len_of(word).min(WINDOW_BYTES);
            ask_ahead_to_read(record.as_ptr(), asked, AHEAD_BYTES, rest.as_ptr_range().end);
            let passed = now.wrapping_sub(ticks);
            if passed >> 63 != 0 {
                break;
            }
            let (mut next, mut end) = (index, 0);
            if word & KEY != site.key {
                next = usize::from(self.site_guess[word as usize % GUESSES]);
                let Some(other) = self.sites.get_mut(next) else { break };
                if other.key != word & KEY || other.epoch != self.epoch {
                    break;
                }
                site = other;
                let open = out.get_mut(at..).and_then(|open| open.first_chunk_mut());
                let Some(open) = open else { break };
                end = put(open, 0, passed << 1);
                end = put(open, end, u64::from(site.number));
            } else if let Some(stencil) = site.stencil.as_deref_mut().filter(|s| s.is_for(word)) {
                let from = Written { n, at, ticks };
                let run = stencil.put_run(&mut site.last, &self.texts, rest, out, from);
                let n_run = run.n - n;
                Written { n, at, ticks } = run;
                if n_run > 0 {
                    rest = &rest[n_run * len_of(word)..];
                    continue;
                }
            }
            // A run of nothing but integers has a way of its own.
            if !site.plan.is_short_match(record, word) || end == 0 && site.plan.is_words {
                break;
            }
            let (done, open) = out.split_at_mut(at);
            let Some(open) = open.first_chunk_mut::<WINDOW_BYTES>() else { break };
            if end == 0 {
                end = put(open, 0, passed << 1 | 1);
            }
            end = put_arguments(site, &mut self.texts, record, done, open, end);
            site.note_general(&self.texts, &record[..len_of(word)], out);
            walk.levels |= site.level;
            (at, ticks, n, index) = (at + end, now, n + 1, next);
            rest = &rest[len_of(word)..];
        }
        if n > 0 {
            walk.first = walk.first.min(first);
            walk.at = at;
            walk.accept(n, raw_max - rest.len(), ticks);
            (self.ticks, *current) = (ticks, index);
        }
    }
}

/// Length of the record that begins with this word.
#[inline(always)]
pub(super) fn len_of(word: u64) -> usize {
    HEAD_BYTES + (word >> 29 & (u16::MAX as u64) << 3) as usize
}

impl Plan {
    /// True when the record that begins with `word` is short and exactly as the plan says.
    #[inline(always)]
    fn is_short_match(&self, record: &Window, word: u64) -> bool {
        let len = len_of(word);
        let mut end = HEAD_BYTES + self.fixed_len;
        if self.n_texts > 0 {
            let mut text_at = HEAD_BYTES;
            for &gap in &self.text_gaps[..self.n_texts.min(TEXTS_MAX)] {
                text_at += usize::from(gap);
                let text_len = load4(record, text_at) as usize;
                (text_at, end) = (text_at + text_len, end + text_len);
            }
        }
        // The padding is the top of the last word; shifted in two steps, since there may be none.
        let padding = len.wrapping_sub(end);
        let last = load(record, len - 8);
        self.is_short && len <= SHORT_BYTES && padding < 8 && last >> 1 >> (63 - 8 * padding) == 0
    }
}

/// Writes the arguments of a record that matches.
#[inline(always)]
fn put_arguments(
    site: &mut Site,
    texts: &mut Texts,
    record: &Window,
    done: &[u8],
    open: &mut Window,
    at: usize,
) -> usize {
    let (mut at, mut from) = (at, HEAD_BYTES);
    let mut codes = site.plan.codes;
    for last in &mut site.last {
        if codes == 0 {
            break;
        }
        let op = Op::of_code(codes);
        codes >>= OP_BITS;
        match op {
            Op::Nothing => {}
            Op::Byte => {
                open[at % OFFSETS] = record[from % OFFSETS];
                (at, from) = (at + 1, from + 1);
            }
            Op::Delta16 => {
                let value = load4(record, from) as u16;
                let delta = value.wrapping_sub(*last as u16) as i16;
                at = put(open, at, zigzag(i64::from(delta)));
                (*last, from) = (u64::from(value), from + 2);
            }
            Op::Delta32 => {
                let value = load4(record, from);
                let delta = value.wrapping_sub(*last as u32) as i32;
                at = put(open, at, zigzag(i64::from(delta)));
                (*last, from) = (u64::from(value), from + 4);
            }
            Op::Delta64 => {
                let value = load(record, from);
                at = put(open, at, zigzag(value.wrapping_sub(*last) as i64));
                (*last, from) = (value, from + 8);
            }
            Op::Duration => {
                let value = load(record, from);
                at = put(open, at, zigzag(value.wrapping_sub(*last) as i64));
                *last = value;
                store(open, at, load(record, from + 8));
                (at, from) = (at + 4, from + 12);
            }
            Op::Copy4 => {
                store(open, at, load(record, from));
                (at, from) = (at + 4, from + 4);
            }
            Op::Copy8 => {
                store(open, at, load(record, from));
                (at, from) = (at + 8, from + 8);
            }
            Op::Copy16 => {
                store(open, at, load(record, from));
                store(open, at + 8, load(record, from + 8));
                (at, from) = (at + 16, from + 16);
            }
            Op::Text => {
                let len = load4(record, from) as usize % SHORT_BYTES;
                at = put_text(texts, last, record, (from + 4, len), done, open, at);
                from += 4 + len;
            }
        }
    }
    at
}

/// Writes the slot of the text at `from`, and the text itself when the slot holds another one.
/// `last` is the argument's slot before, and how often in a row it was that: one that never changes
/// is not looked for.
#[inline(always)]
fn put_text(
    texts: &mut Texts,
    last: &mut u64,
    record: &Window,
    (from, len): (usize, usize),
    done: &[u8],
    open: &mut Window,
    at: usize,
) -> usize {
    let from = from % OFFSETS;
    let text = &record[from..][..len];
    if *last >= STEADY && texts.holds(*last as u8, text, done) {
        open[at % OFFSETS] = *last as u8;
        return at + 1;
    }
    let hash = hash(record, from, len);
    let (slot, is_held) = texts.find(hash, text, done);
    *last = again(*last, slot);
    if is_held {
        open[at % OFFSETS] = slot;
        return at + 1;
    }
    let at = spell(text, slot, open, at);
    texts.set(slot, hash, done.len() + at - len, len);
    at
}

/// Writes the slot and the text that it is to hold; returns the offset behind it.
#[cold]
#[inline(never)]
fn spell(text: &[u8], slot: u8, open: &mut Window, at: usize) -> usize {
    open[at % OFFSETS] = SPELLED;
    open[(at + 1) % OFFSETS] = slot;
    let at = put(open, at + 2, text.len() as u64);
    open[at % OFFSETS..][..text.len()].copy_from_slice(text);
    at + text.len()
}

/// Eight bytes of the window.
#[inline(always)]
pub(super) fn load(window: &Window, at: usize) -> u64 {
    load8(window, at % OFFSETS)
}

/// Four bytes of the window.
#[inline(always)]
fn load4(window: &Window, at: usize) -> u32 {
    load(window, at) as u32
}

/// Writes eight bytes into the window.
#[inline(always)]
pub(super) fn store(window: &mut Window, at: usize, value: u64) {
    store8(window, at % OFFSETS, value);
}

/// Writes a varint into the window and returns the offset behind it.
#[inline(always)]
pub(super) fn put(window: &mut Window, at: usize, value: u64) -> usize {
    let at = at % OFFSETS;
    super::varint::put(window, at, value)
}
