//! Site: what the encoder remembers of a callsite, and how it writes the callsite's records.

use super::encode::SLACK_BYTES;
use super::plan::{Op, Plan, Shape};
use super::short;
use super::stencil::{self, Stencil};
use super::texts::Texts;
use super::varint::{BYTES_MAX, load1, load4, load8, put, store1, store4, store8, zigzag};
use super::walk::Walk;
use super::{AHEAD_BYTES, ASKED_MAX, KINDS_DEFINED, Schema};
use crate::record::{HEAD_BYTES, Head, RECORD_EVENT};
use crate::sync::lines::ask_ahead_to_read;

/// Room for one record of a few integers, so that it is checked once.
const WINDOW_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Site {
    pub(super) id: u32,
    /// The first word of its records, without their length.
    pub(super) key: u64,
    pub(super) number: u32,
    pub(super) epoch: u32,
    pub(super) level: u8,
    /// The entry of the callsite's records without flags.
    pub(super) base: u16,
    /// Another entry of the same callsite, itself when there is none.
    pub(super) next: u16,
    pub(super) schema: Option<Schema>,
    pub(super) plan: Plan,
    /// The last value of each argument; of a text its slot, and how often in a row it was that.
    pub(super) last: [u64; super::ARGUMENTS_MAX],
    /// Apart, so that callsites without one stay close together.
    pub(super) stencil: Option<Box<Stencil>>,
    /// Records that go the general way before the stencil is looked at again.
    pub(super) due: u8,
}

impl Site {
    /// The site of no record.
    pub(super) const NONE: Self = Self {
        id: 0,
        key: u64::MAX,
        number: 0,
        epoch: 0,
        level: 0,
        base: 0,
        next: 0,
        schema: None,
        plan: Plan::RAW,
        last: [0; super::ARGUMENTS_MAX],
        stencil: None,
        due: stencil::FIRST_TRY,
    };

    /// Writes the number, and what it stands for when it is new since the state was emptied.
    #[inline(always)]
    pub(super) fn put_number(
        &mut self,
        epoch: u32,
        n_numbered: &mut u32,
        out: &mut [u8],
        at: usize,
    ) -> usize {
        if self.epoch == epoch {
            return put(out, at, u64::from(self.number));
        }
        self.epoch = epoch;
        *n_numbered += 1;
        self.number = *n_numbered;
        self.last = [0; super::ARGUMENTS_MAX];
        let at = put(out, at, u64::from(self.number));
        self.put_declaration(out, at)
    }

    /// Writes what the number stands for.
    #[inline(never)]
    fn put_declaration(&self, out: &mut [u8], at: usize) -> usize {
        store4(out, at, self.id);
        store1(out, at + 4, self.plan.flags);
        let Some(kinds) = self.plan.told_kinds() else {
            store1(out, at + 5, KINDS_DEFINED);
            return at + 6;
        };
        store1(out, at + 5, kinds.len() as u8);
        for (i, &kind) in kinds.iter().enumerate() {
            store1(out, at + 6 + i, kind);
        }
        at + 6 + kinds.len()
    }

    #[inline(always)]
    fn put_arguments(
        &mut self,
        texts: &mut Texts,
        payload: &[u8],
        out: &mut [u8],
        at: usize,
    ) -> usize {
        let (mut at, mut from) = (at, 0);
        for (i, (op, last)) in self.plan.ops().iter().zip(&mut self.last).enumerate() {
            let before = self.plan.before(i);
            from += usize::from(before.kind.is_some());
            if before.optional {
                let present = load1(payload, from);
                store1(out, at, present);
                (at, from) = (at + 1, from + 1);
                if present == 0 {
                    continue;
                }
            }
            match op {
                Op::Nothing => {}
                Op::Byte => {
                    store1(out, at, load1(payload, from));
                    at += 1;
                }
                Op::Delta16 => {
                    let value = u64::from(load4(payload, from) as u16);
                    let delta = (value as u16).wrapping_sub(*last as u16) as i16;
                    at = put(out, at, zigzag(i64::from(delta)));
                    *last = value;
                }
                Op::Delta32 => {
                    let value = load4(payload, from);
                    let delta = value.wrapping_sub(*last as u32) as i32;
                    at = put(out, at, zigzag(i64::from(delta)));
                    *last = u64::from(value);
                }
                Op::Delta64 | Op::Duration => {
                    let value = load8(payload, from);
                    at = put(out, at, zigzag(value.wrapping_sub(*last) as i64));
                    *last = value;
                    if *op == Op::Duration {
                        store4(out, at, load4(payload, from + 8));
                        at += 4;
                    }
                }
                Op::Copy4 => {
                    store4(out, at, load4(payload, from));
                    at += 4;
                }
                Op::Copy8 | Op::Copy16 => {
                    store8(out, at, load8(payload, from));
                    at += 8;
                    if *op == Op::Copy16 {
                        store8(out, at, load8(payload, from + 8));
                        at += 8;
                    }
                }
                Op::Text => {
                    let len = load4(payload, from) as usize;
                    let slot;
                    (at, slot) = texts.put(payload, from + 4, len, out, at);
                    *last = short::again(*last, slot);
                    from += len;
                }
            }
            from += op.fixed_len();
        }
        at
    }

    /// Says that this record was written the general way; `out` is the payload so far.
    #[inline(always)]
    pub(super) fn note_general(&mut self, texts: &Texts, record: &[u8], out: &[u8]) {
        self.due = self.due.wrapping_sub(1);
        if self.due == 0 {
            self.reconsider(texts, record, out);
        }
    }

    /// Makes a stencil, gives it up, or leaves it.
    #[cold]
    #[inline(never)]
    fn reconsider(&mut self, texts: &Texts, record: &[u8], out: &[u8]) {
        let pays = self.stencil.as_mut().map(|stencil| stencil.pays());
        if pays.is_none() {
            let slots = self.last.map(short::steady_slot);
            self.stencil = Stencil::of(&self.plan, &slots, record, texts, out).map(Box::new);
        } else if pays == Some(false) {
            self.stencil = None;
        }
        self.due = if self.stencil.is_some() { stencil::MISSES } else { stencil::NEXT_TRY };
    }

    /// Writes the arguments of the next record, which matches and whose number is written, and then
    /// the records that follow as long as they are of this callsite and as it says, and fit; returns
    /// the ticks of the last one. What is no such record is left to the caller.
    #[inline(always)]
    pub(super) fn put_records(
        &mut self,
        texts: &mut Texts,
        records: &[u8],
        out: &mut [u8],
        walk: &mut Walk,
    ) -> u64 {
        match (self.plan.shape, self.plan.n_ops) {
            (Shape::Words, 1) => self.put_words::<1>(records, out, walk),
            (Shape::Words, 2) => self.put_words::<2>(records, out, walk),
            (Shape::Words, 3) => self.put_words::<3>(records, out, walk),
            (Shape::Words, 4) => self.put_words::<4>(records, out, walk),
            _ => self.put_others(texts, records, out, walk),
        }
    }

    /// Records of so many 64-bit integers: one comparison tells that all of a head is as before.
    #[inline(never)]
    fn put_words<const N: usize>(
        &mut self,
        records: &[u8],
        out: &mut [u8],
        walk: &mut Walk,
    ) -> u64 {
        const { assert!(BYTES_MAX * (N + 1) + 8 <= WINDOW_BYTES, "a record fits the window") };
        const { assert!(WINDOW_BYTES <= SLACK_BYTES, "the first record has a window") };
        let len = HEAD_BYTES + 8 * N;
        let word = Head::word(self.id, N as u16, 0, self.plan.flags);
        let mut last = [0; N];
        last.copy_from_slice(&self.last[..N]);
        let (mut at, mut before, mut n) = (walk.at, 0, 0);
        let n_max = (walk.raw_room - walk.raw_len) / len;
        let behind = records.as_ptr_range().end;
        for record in records[walk.consumed..].chunks_exact(len).take(n_max) {
            ask_ahead_to_read(record.as_ptr(), len, AHEAD_BYTES, behind);
            let ticks = load8(record, 8);
            let passed = ticks.wrapping_sub(before);
            let window = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<WINDOW_BYTES>());
            let Some(window) = window else { break };
            let mut end = 0;
            if n > 0 {
                if load8(record, 0) != word || passed >> 63 != 0 {
                    break;
                }
                end = put(window, 0, passed << 1 | 1);
            }
            for (i, last) in last.iter_mut().enumerate() {
                let value = load8(record, HEAD_BYTES + 8 * i);
                end = put(window, end, zigzag(value.wrapping_sub(*last) as i64));
                *last = value;
            }
            (at, before, n) = (at + end, ticks, n + 1);
        }
        debug_assert!(n > 0, "the caller has made sure of the first record");
        self.last[..N].copy_from_slice(&last);
        walk.at = at;
        walk.accept(n, n * len, before);
        before
    }

    #[inline(never)]
    fn put_others(
        &mut self,
        texts: &mut Texts,
        records: &[u8],
        out: &mut [u8],
        walk: &mut Walk,
    ) -> u64 {
        let (mut at, mut before, mut n) = (walk.at, 0, 0);
        let mut rest = &records[walk.consumed..];
        let mut raw_room = walk.raw_room - walk.raw_len;
        while let Some(head) = rest.first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(load8(head, 0), load8(head, 8));
            let Some((record, behind)) = rest.split_at_checked(head.len()) else { break };
            let asked = record.len().min(ASKED_MAX);
            ask_ahead_to_read(record.as_ptr(), asked, AHEAD_BYTES, rest.as_ptr_range().end);
            let payload = &record[HEAD_BYTES..];
            if n > 0 {
                let may_be_short = self.plan.is_short || self.stencil.is_some();
                if may_be_short && short::has_room(rest, out, at) {
                    break;
                }
                let passed = head.ticks.wrapping_sub(before);
                let fits = out.len() - at >= head.len() + SLACK_BYTES && raw_room >= head.len();
                let alike = head.callsite == self.id
                    && head.kind == RECORD_EVENT
                    && head.flags == self.plan.flags
                    && passed >> 63 == 0;
                if !(fits && alike && self.plan.matches(payload)) {
                    break;
                }
                at = put(out, at, passed << 1 | 1);
            }
            at = self.put_arguments(texts, payload, out, at);
            self.note_general(texts, record, out);
            (before, n, rest) = (head.ticks, n + 1, behind);
            raw_room -= record.len();
        }
        walk.at = at;
        walk.accept(n, records.len() - walk.consumed - rest.len(), before);
        before
    }
}
