//! Stencil: what the records of a callsite have in common beside their ticks and numbers.
//!
//! Most statements log the same texts again and again. A record whose texts, presences and padding
//! are those of the record from which the stencil was made is told by a few comparisons of whole
//! words; what is left to write are the numbers, from places that are known. It comes out as the
//! general way would write it (C1), and what differs goes that way before anything has changed (C2).
//!
//! # Invariants
//!
//! - **P1** Each slot of a stencil that is followed holds the text that it held when the stencil was
//!   made: its text lies at the same place in the payload, which is that of no other text of the
//!   block.
//! - **P2** All offsets are those of a record of at most [`SHORT_BYTES`].

use super::plan::{Op, Plan};
use super::short::{SHORT_BYTES, TEXTS_MAX, WINDOW_BYTES, Window, len_of, load, put, store};
use super::texts::Texts;
use super::varint::{load4, load8, zigzag};
use super::{AHEAD_BYTES, ARGUMENTS_MAX};
use crate::record::HEAD_BYTES;
use crate::sync::lines::ask_ahead_to_read;

/// Records that go the general way before a stencil is tried.
pub(super) const FIRST_TRY: u8 = 20;
/// The same, after a try that came to nothing or a stencil that was given up.
pub(super) const NEXT_TRY: u8 = 100;
/// Records that may not fit before it is asked whether enough of them did.
pub(super) const MISSES: u8 = 16;
/// So many have to fit meanwhile.
const HITS_MIN: u32 = 8 * MISSES as u32;

/// Words of a record's payload.
const CHECKS_MAX: usize = (SHORT_BYTES - HEAD_BYTES) / 8;
/// Steps beyond which there is no stencil.
const STEPS_MAX: usize = ARGUMENTS_MAX;
/// Bytes that a step copies at most.
const COPIED_MAX: u8 = 16;
/// Bytes that a step knows at most.
const KNOWN_MAX: u8 = 8;

/// What repeats in the records of a callsite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stencil {
    /// The first word of records that fit.
    word: u64,
    /// The number of texts told when it was certain that all slots hold what they held.
    certain_at: u32,
    hits: u32,
    n_checks: usize,
    n_steps: usize,
    n_texts: usize,
    checks: [Check; CHECKS_MAX],
    steps: [Step; STEPS_MAX],
    /// Slots, and where in the payload their texts lie.
    texts: [(u8, u32); TEXTS_MAX],
}

/// Bits that a word of the record has.
#[derive(Debug, Clone, Copy)]
struct Check {
    from: u8,
    mask: u64,
    bits: u64,
}

/// One piece of what is written: a number, bytes that are known, bytes that are copied, and known
/// ones again.
#[derive(Debug, Clone, Copy)]
struct Step {
    known: u64,
    known_behind: u64,
    n_known: u8,
    n_known_behind: u8,
    copy_from: u8,
    n_copied: u8,
    /// True when it begins with the number below.
    is_delta: bool,
    /// Which argument the number is, where it stands, and how many bits it lacks of 64.
    argument: u8,
    from: u8,
    shift: u8,
}

impl Step {
    const NOTHING: Self = Self {
        known: 0,
        known_behind: 0,
        n_known: 0,
        n_known_behind: 0,
        copy_from: 0,
        n_copied: 0,
        is_delta: false,
        argument: 0,
        from: 0,
        shift: 0,
    };

    /// Writes the piece of this record at `at`; returns the offset behind it.
    #[inline(always)]
    fn put(
        &self,
        last: &mut [u64; ARGUMENTS_MAX],
        record: &Window,
        open: &mut Window,
        at: usize,
    ) -> usize {
        let mut at = at;
        if self.is_delta {
            let value = load(record, usize::from(self.from));
            let last = &mut last[usize::from(self.argument) % ARGUMENTS_MAX];
            let shift = u32::from(self.shift);
            let delta = value.wrapping_sub(*last).wrapping_shl(shift) as i64;
            at = put(open, at, zigzag(delta.wrapping_shr(shift)));
            *last = value;
        }
        store(open, at, self.known);
        at += usize::from(self.n_known);
        let from = usize::from(self.copy_from);
        store(open, at, load(record, from));
        store(open, at + 8, load(record, from + 8));
        at += usize::from(self.n_copied);
        store(open, at, self.known_behind);
        at + usize::from(self.n_known_behind)
    }
}

/// How far records were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// How many records.
    pub(super) n: usize,
    /// The offset behind the last one, and its ticks.
    pub(super) at: usize,
    pub(super) ticks: u64,
}

impl Stencil {
    /// Nothing repeats yet.
    const NONE: Self = Self {
        word: 0,
        certain_at: 0,
        hits: 0,
        n_checks: 0,
        n_steps: 0,
        n_texts: 0,
        checks: [Check { from: 0, mask: 0, bits: 0 }; CHECKS_MAX],
        steps: [Step::NOTHING; STEPS_MAX],
        texts: [(0, 0); TEXTS_MAX],
    };

    /// True when a record that begins with `word` may fit.
    #[inline(always)]
    pub(super) fn is_for(&self, word: u64) -> bool {
        self.word == word
    }

    /// Writes records for as long as they differ by their ticks and numbers alone, and there is
    /// room. The record before was of the callsite too, whose values are `last`.
    #[inline(never)]
    pub(super) fn put_run(
        &mut self,
        last: &mut [u64; ARGUMENTS_MAX],
        texts: &Texts,
        records: &[u8],
        out: &mut [u8],
        from: Written,
    ) -> Written {
        let Written { n: n_before, mut at, mut ticks } = from;
        let (mut rest, mut n) = (records, 0);
        let (len, behind) = (len_of(self.word), records.as_ptr_range().end);
        let checks = &self.checks[..self.n_checks.min(CHECKS_MAX)];
        let steps = &self.steps[..self.n_steps.min(STEPS_MAX)];
        let n_told = texts.n_told();
        let is_certain = self.certain_at == n_told || self.is_certain(texts);
        while let Some(record) = rest.first_chunk::<WINDOW_BYTES>().filter(|_| is_certain) {
            let open = out.get_mut(at..).and_then(|open| open.first_chunk_mut::<WINDOW_BYTES>());
            let Some(open) = open else { break };
            ask_ahead_to_read(record.as_ptr(), len, AHEAD_BYTES, behind);
            let now = load(record, 8);
            let passed = now.wrapping_sub(ticks);
            let mut differ = (load(record, 0) ^ self.word) | passed >> 63;
            for check in checks {
                differ |= (load(record, usize::from(check.from)) ^ check.bits) & check.mask;
            }
            if differ != 0 {
                break;
            }
            let mut end = put(open, 0, passed << 1 | 1);
            for step in steps {
                end = step.put(last, record, open, end);
            }
            (at, ticks, n) = (at + end, now, n + 1);
            rest = rest.get(len..).unwrap_or(&[]);
        }
        if is_certain {
            self.certain_at = n_told;
        }
        self.hits = self.hits.wrapping_add(n);
        Written { n: n_before + n as usize, at, ticks }
    }

    /// Looks whether all slots hold what they held (P1).
    #[inline(never)]
    fn is_certain(&self, texts: &Texts) -> bool {
        let mut told = self.texts.iter().take(self.n_texts);
        told.all(|&(slot, at)| texts.place(slot) == at)
    }

    /// True when enough records fitted since the last call.
    pub(super) fn pays(&mut self) -> bool {
        std::mem::take(&mut self.hits) >= HITS_MIN
    }

    /// The stencil of a record that matches its plan; `slots` are those of its texts, as far as they
    /// do not change all the time. None where one would not pay or has no room.
    pub(super) fn of(
        plan: &Plan,
        slots: &[Option<u8>; ARGUMENTS_MAX],
        record: &[u8],
        texts: &Texts,
        out: &[u8],
    ) -> Option<Self> {
        if plan.is_words || record.len() > SHORT_BYTES {
            return None;
        }
        let mut stencil = Self { word: load8(record, 0), ..Self::NONE };
        debug_assert_eq!(len_of(stencil.word), record.len(), "the record is whole");
        let mut is_fixed = [0; SHORT_BYTES];
        let mut from = HEAD_BYTES;
        for (i, (&op, slot)) in plan.ops().iter().zip(slots).enumerate() {
            let before = plan.before(i);
            if before.kind.is_some() {
                *is_fixed.get_mut(from)? = u8::MAX;
                from += 1;
            }
            if before.optional {
                *is_fixed.get_mut(from)? = u8::MAX;
                let present = *record.get(from)?;
                stencil.know(present)?;
                from += 1;
                if present == 0 {
                    continue;
                }
            }
            match op {
                Op::Nothing => {}
                Op::Byte | Op::Copy4 | Op::Copy8 | Op::Copy16 => {
                    stencil.copy(from, op.fixed_len())?;
                }
                Op::Delta16 => stencil.delta(i, from, 48)?,
                Op::Delta32 => stencil.delta(i, from, 32)?,
                Op::Delta64 => stencil.delta(i, from, 0)?,
                Op::Duration => {
                    stencil.delta(i, from, 0)?;
                    stencil.copy(from + 8, 4)?;
                }
                Op::Text => {
                    let len = load4(record, from) as usize;
                    let text = record.get(from + 4..)?.get(..len)?;
                    let slot = slot.filter(|&slot| texts.holds(slot, text, out))?;
                    is_fixed[from..from + 4 + len].fill(u8::MAX);
                    stencil.know(slot)?;
                    let kept = stencil.texts.get_mut(stencil.n_texts)?;
                    *kept = (slot, texts.place(slot));
                    stencil.n_texts += 1;
                    from += len;
                }
            }
            from += op.fixed_len();
        }
        is_fixed.get_mut(from..record.len())?.fill(u8::MAX);
        for at in (HEAD_BYTES..record.len()).step_by(8) {
            let mask = load8(&is_fixed, at);
            if mask != 0 {
                let check = Check { from: at as u8, mask, bits: load8(record, at) & mask };
                stencil.checks[stencil.n_checks] = check;
                stencil.n_checks += 1;
            }
        }
        stencil.certain_at = texts.n_told();
        Some(stencil)
    }

    fn push(&mut self, step: Step) -> Option<()> {
        *self.steps.get_mut(self.n_steps)? = step;
        self.n_steps += 1;
        Some(())
    }

    fn newest(&mut self) -> Option<&mut Step> {
        self.steps[..self.n_steps].last_mut()
    }

    fn delta(&mut self, argument: usize, from: usize, shift: u8) -> Option<()> {
        let (argument, from) = (argument as u8, from as u8);
        self.push(Step { is_delta: true, argument, from, shift, ..Step::NOTHING })
    }

    fn know(&mut self, byte: u8) -> Option<()> {
        let (byte, at) = (u64::from(byte), |n: u8| 8 * u32::from(n));
        match self.newest() {
            Some(step) if step.n_copied == 0 && step.n_known < KNOWN_MAX => {
                step.known |= byte << at(step.n_known);
                step.n_known += 1;
                Some(())
            }
            Some(step) if step.n_copied > 0 && step.n_known_behind < KNOWN_MAX => {
                step.known_behind |= byte << at(step.n_known_behind);
                step.n_known_behind += 1;
                Some(())
            }
            _ => self.push(Step { known: byte, n_known: 1, ..Step::NOTHING }),
        }
    }

    fn copy(&mut self, from: usize, len: usize) -> Option<()> {
        let (from, len) = (from as u8, len as u8);
        match self.newest() {
            Some(step) if step.n_copied == 0 => {
                (step.copy_from, step.n_copied) = (from, len);
                Some(())
            }
            Some(step)
                if step.copy_from + step.n_copied == from
                    && step.n_copied + len <= COPIED_MAX
                    && step.n_known_behind == 0 =>
            {
                step.n_copied += len;
                Some(())
            }
            _ => self.push(Step { copy_from: from, n_copied: len, ..Step::NOTHING }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::compact::texts::{hash, pair};
    use crate::record::compact::{Decoder, Encoder, Schema, Schemas};
    use crate::record::{CODEC_COMPACT, Head, Kind, Level, RunHead};

    struct OneSite;

    impl Schemas for OneSite {
        fn definition_len(&self, _: u32) -> usize {
            0
        }

        fn schema(&self, _: u32) -> Option<Schema> {
            let kinds = [Kind::U64, Kind::Str, Kind::U64, Kind::Bool].map(|kind| kind as u8);
            Some(Schema::new(&kinds, Level::Info))
        }
    }

    /// Records each with a text, as they lie in a lane.
    fn records<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, text) in (0u64..).zip(texts) {
            let start = out.len();
            let words = (21 + text.len()).div_ceil(8);
            out.extend_from_slice(&Head::word(5, words as u16, 0, 0).to_le_bytes());
            out.extend_from_slice(&(1000 + n).to_le_bytes());
            out.extend_from_slice(&n.to_le_bytes());
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(&(n * n).to_le_bytes());
            out.push((n % 3) as u8);
            out.resize(start + HEAD_BYTES + 8 * words, 0);
        }
        out
    }

    fn stencil(records: &[u8]) -> Option<Stencil> {
        let (mut encoder, mut out) = (Encoder::new(), vec![0; 1 << 20]);
        let head = RunHead::default();
        let done = encoder.run(&OneSite, head, records, &mut out, 0, CODEC_COMPACT).unwrap();
        assert_eq!(done.consumed, records.len());
        encoder.sites[0].stencil.as_deref().copied()
    }

    #[test]
    fn a_text_that_stays_makes_a_stencil_that_fits_all_records_behind() {
        let made = stencil(&records(std::iter::repeat_n("/api/v1/orders", 1000))).unwrap();
        assert!(made.hits > 900, "{} of 1000 fitted", made.hits);
        assert_eq!((made.n_steps, made.n_texts), (2, 1), "two numbers begin what is written");
    }

    #[test]
    fn texts_that_change_make_none_and_a_new_habit_makes_a_new_one() {
        let turns = ["/login", "/logout", "/cart"].into_iter().cycle().take(2000);
        assert!(stencil(&records(turns)).is_none());
        let (old, new) = (std::iter::repeat_n("old", 500), std::iter::repeat_n("/new/one", 900));
        let made = stencil(&records(old.chain(new))).unwrap();
        assert_eq!(len_of(made.word), 48, "of the records with the newer text");
        assert!(made.hits > 500, "{} of 900 fitted", made.hits);
    }

    struct FourTexts;

    impl Schemas for FourTexts {
        fn definition_len(&self, _: u32) -> usize {
            0
        }

        fn schema(&self, _: u32) -> Option<Schema> {
            Some(Schema::new(&[Kind::Str as u8; 4], Level::Info))
        }
    }

    #[test]
    fn texts_that_take_each_others_slots_make_none() {
        // Four of one pair: each gets the slot that it had before, and none still holds it.
        let texts = (0..).map(|n| format!("text {n:04}"));
        let texts: Vec<String> =
            texts.filter(|text| pair(hash(text.as_bytes(), 0, text.len())) == 3).take(4).collect();
        let (mut records, words) = (Vec::new(), (4 * 13usize).div_ceil(8));
        for n in 0..200u64 {
            let start = records.len();
            records.extend_from_slice(&Head::word(5, words as u16, 0, 0).to_le_bytes());
            records.extend_from_slice(&n.to_le_bytes());
            for text in &texts {
                records.extend_from_slice(&(text.len() as u32).to_le_bytes());
                records.extend_from_slice(text.as_bytes());
            }
            records.resize(start + HEAD_BYTES + words * 8, 0);
        }
        let (mut encoder, mut out) = (Encoder::new(), vec![0; 1 << 16]);
        let head = RunHead::default();
        let done = encoder.run(&FourTexts, head, &records, &mut out, 0, CODEC_COMPACT).unwrap();
        assert!(encoder.sites[0].stencil.is_none());
        let back = Decoder::new(&out[..done.written], &FourTexts).next().unwrap().unwrap();
        assert!(back.bytes == records);
    }
}
