//! Plan: how the records of a callsite that look alike are coded.

use super::short::TEXTS_MAX;
use super::varint::{load4, load8};
use super::{ARGUMENTS_MAX, Form, Schema};
use crate::record::{FLAG_DYNAMIC, FLAG_SPAN, FLAG_THREAD, FLAG_TRUNCATED, Kind};

/// Flags that the encoding knows; a record with others is stored as it lies.
const KNOWN_FLAGS: u8 = FLAG_TRUNCATED | FLAG_THREAD | FLAG_DYNAMIC | FLAG_SPAN;

/// Words before the values that no kind tells: a thread's id, a span's.
const fn n_words(flags: u8) -> usize {
    (flags & (FLAG_THREAD | FLAG_SPAN)).count_ones() as usize
}

/// How one argument is coded: a [`Kind`] without the differences that coding does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Nothing = 0,
    Byte,
    Delta16,
    Delta32,
    Delta64,
    Copy4,
    Copy8,
    Copy16,
    Duration,
    Text,
}

/// Bits of an [`Op`] as a code.
pub(super) const OP_BITS: u32 = 4;

impl Op {
    /// The op whose number is in the lowest bits.
    #[inline(always)]
    pub(super) const fn of_code(codes: u64) -> Self {
        match codes & 15 {
            1 => Self::Byte,
            2 => Self::Delta16,
            3 => Self::Delta32,
            4 => Self::Delta64,
            5 => Self::Copy4,
            6 => Self::Copy8,
            7 => Self::Copy16,
            8 => Self::Duration,
            9 => Self::Text,
            _ => Self::Nothing,
        }
    }

    pub(super) const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Empty => Self::Nothing,
            Kind::U8 | Kind::I8 | Kind::Bool => Self::Byte,
            Kind::U16 | Kind::I16 => Self::Delta16,
            Kind::U32 | Kind::I32 | Kind::Char => Self::Delta32,
            Kind::U64 | Kind::I64 => Self::Delta64,
            Kind::F32 => Self::Copy4,
            Kind::F64 => Self::Copy8,
            Kind::U128 | Kind::I128 => Self::Copy16,
            Kind::Duration => Self::Duration,
            Kind::Str | Kind::Text | Kind::Bytes | Kind::Error | Kind::Nested => Self::Text,
        }
    }

    /// Bytes of the argument in a record, without those of a text.
    pub(super) const fn fixed_len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Byte => 1,
            Self::Delta16 => 2,
            Self::Delta32 | Self::Copy4 | Self::Text => 4,
            Self::Delta64 | Self::Copy8 => 8,
            Self::Copy16 => 16,
            Self::Duration => 12,
        }
    }
}

/// How records are coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    ops: [Op; ARGUMENTS_MAX],
    /// The kind of each argument, as told.
    kinds: [u8; ARGUMENTS_MAX],
    pub(super) n_ops: usize,
    /// Bit per argument: it may be absent.
    optional: u16,
    /// True when the records tell the kinds, and a bit per argument whose kind stands before it.
    tells: bool,
    told: u16,
    pub(super) flags: u8,
    /// Bytes of all arguments in a record, without those of texts and what is optional or told.
    pub(super) fixed_len: usize,
    pub(super) n_texts: usize,
    /// For each text but those beyond the room: bytes from where the one before ends.
    pub(super) text_gaps: [u8; TEXTS_MAX],
    /// The ops, each [`OP_BITS`] wide, the first one lowest.
    pub(super) codes: u64,
    pub(super) is_words: bool,
    /// True when its records may go the short way.
    pub(super) is_short: bool,
    /// Where the first text's length stands, when nothing is optional or told.
    text_at: usize,
    pub(super) shape: Shape,
}

/// What is before one argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) kind: Option<u8>,
    pub(super) optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Stored as it lies.
    Raw,
    /// 64-bit integers alone.
    Words,
    /// Anything else.
    Mixed,
}

impl Plan {
    pub(super) const RAW: Self = Self {
        ops: [Op::Nothing; ARGUMENTS_MAX],
        kinds: [0; ARGUMENTS_MAX],
        n_ops: 0,
        optional: 0,
        tells: false,
        told: 0,
        flags: 0,
        fixed_len: 0,
        n_texts: 0,
        text_gaps: [0; TEXTS_MAX],
        codes: 0,
        is_words: false,
        is_short: false,
        text_at: 0,
        shape: Shape::Raw,
    };

    /// The plan for records with these flags whose kinds are the definition's.
    pub(super) fn defined(schema: &Schema, flags: u8) -> Self {
        if schema.form != Form::Defined || flags & FLAG_DYNAMIC != 0 {
            return Self::RAW;
        }
        Self::new(schema.kinds(), flags, false)
    }

    /// The plan for records with these flags that tell these kinds.
    pub(super) fn told(kinds: &[u8], flags: u8) -> Self {
        Self::new(kinds, flags, true)
    }

    fn new(kinds: &[u8], flags: u8, told: bool) -> Self {
        if flags & !KNOWN_FLAGS != 0 || kinds.len() + n_words(flags) > ARGUMENTS_MAX {
            return Self::RAW;
        }
        let mut plan = Self { flags, tells: told, shape: Shape::Words, ..Self::RAW };
        for _ in 0..n_words(flags) {
            plan.push(Op::Delta64, 0);
        }
        for &kind in kinds {
            let Some(known) = Kind::from_u8(kind & !Kind::OPTIONAL) else { return Self::RAW };
            let bit = 1 << plan.n_ops;
            if kind & Kind::OPTIONAL != 0 {
                (plan.optional, plan.shape) = (plan.optional | bit, Shape::Mixed);
            }
            if told {
                (plan.told, plan.shape) = (plan.told | bit, Shape::Mixed);
            }
            plan.push(Op::of(known), kind);
        }
        plan.is_words = plan.shape == Shape::Words;
        plan.is_short = plan.is_plain() && plan.n_texts <= TEXTS_MAX;
        plan
    }

    fn push(&mut self, op: Op, kind: u8) {
        if op != Op::Delta64 {
            self.shape = Shape::Mixed;
        }
        if op == Op::Text {
            let gaps: usize = self.text_gaps.iter().map(|&gap| usize::from(gap)).sum();
            if let Some(gap) = self.text_gaps.get_mut(self.n_texts) {
                *gap = (self.fixed_len - gaps) as u8;
            }
            self.n_texts += 1;
            if self.n_texts == 1 {
                self.text_at = self.fixed_len;
            }
        }
        self.codes |= (op as u64) << (OP_BITS as usize * self.n_ops);
        self.fixed_len += op.fixed_len();
        self.ops[self.n_ops] = op;
        self.kinds[self.n_ops] = kind;
        self.n_ops += 1;
    }

    /// True when nothing stands before the arguments.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.optional | self.told == 0
    }

    #[inline(always)]
    pub(super) fn ops(&self) -> &[Op] {
        &self.ops[..self.n_ops.min(ARGUMENTS_MAX)]
    }

    /// What stands before the argument with this index.
    #[inline(always)]
    pub(super) fn before(&self, i: usize) -> Before {
        let told = self.told >> i & 1 != 0;
        Before {
            kind: if told { self.kinds.get(i).copied() } else { None },
            optional: self.optional >> i & 1 != 0,
        }
    }

    /// The kinds that the records tell, `None` when they are the definition's.
    pub(super) fn told_kinds(&self) -> Option<&[u8]> {
        self.tells.then(|| &self.kinds[n_words(self.flags)..self.n_ops])
    }

    /// True when the payload is exactly as the plan says, zero padding included.
    #[inline(always)]
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        let at = match self.shape {
            Shape::Words => return payload.len() == 8 * self.n_ops,
            Shape::Raw => return false,
            Shape::Mixed if !self.is_plain() || self.n_texts > 1 => self.measure(payload),
            Shape::Mixed if self.n_texts == 0 => self.fixed_len,
            Shape::Mixed => self.fixed_len + load4(payload, self.text_at) as usize,
        };
        let padding = payload.len().wrapping_sub(at);
        // The padding is the top of the last word; shifted in two steps, since there may be none.
        let last = load8(payload, payload.len().saturating_sub(8));
        padding < 8 && last >> (8 * (7 - padding)) >> 8 == 0
    }

    /// Bytes of the values that the payload begins with; beyond its end when there are none.
    #[inline(never)]
    fn measure(&self, payload: &[u8]) -> usize {
        const NONE: usize = usize::MAX / 2;
        let mut at = 0;
        for (i, &op) in self.ops().iter().enumerate() {
            let before = self.before(i);
            if let Some(kind) = before.kind {
                if payload.get(at) != Some(&kind) {
                    return NONE;
                }
                at += 1;
            }
            at = match take(op, before.optional, payload, at) {
                Some(at) => at,
                None => return NONE,
            };
        }
        at
    }
}

/// Reads the kinds that a payload tells into `kinds`; returns how many, or `None` when it does not
/// tell kinds up to its end.
pub(super) fn read_told(
    payload: &[u8],
    flags: u8,
    kinds: &mut [u8; ARGUMENTS_MAX],
) -> Option<usize> {
    let mut at = 8 * n_words(flags);
    let mut n = 0;
    // Behind the last value there is at most padding.
    while let Some(&kind) = payload.get(at).filter(|&&kind| kind != Kind::NONE) {
        *kinds.get_mut(n)? = kind;
        n += 1;
        let op = Op::of(Kind::from_u8(kind & !Kind::OPTIONAL)?);
        at = take(op, kind & Kind::OPTIONAL != 0, payload, at + 1)?;
    }
    Some(n)
}

/// The offset behind the value at `at`, which may lie behind the payload's end.
fn take(op: Op, optional: bool, payload: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    if optional {
        match payload.get(at)? {
            0 => return Some(at + 1),
            1 => at += 1,
            _ => return None,
        }
    }
    if op == Op::Text {
        at += load4(payload, at) as usize;
    }
    Some(at + op.fixed_len())
}
