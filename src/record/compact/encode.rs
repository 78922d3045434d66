//! Encode: writes runs into a block's payload, as small as the block's memory makes them.

use std::collections::HashMap;

use super::varint::{copy, load1, load4, load8, put, store1, store4, store8, zigzag};
use super::{Malformed, Op, Plan, RAW_BYTES_MAX, SITES_MAX, SLOTS, SPELLED, Schemas, Shape};
use crate::record::{CODEC_COMPACT, CODEC_RAW, HEAD_BYTES, Head, Level, RECORD_PAD, RunHead};

/// Room that a record needs in the output beyond its own length: a varint of ticks, the number and
/// id of its callsite, what each argument may be longer than it lies, and the bytes that a store
/// of a fixed width changes behind the last one.
const SLACK_BYTES: usize = 192;
/// Levels as bits, when nobody knows which.
const ALL_LEVELS: u8 = (1 << Level::ALL.len()) - 1;

/// What [`Encoder::run`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Bytes of records taken, a pad included.
    pub consumed: usize,
    /// Bytes written; 0 when not even the run's head and its first record fitted.
    pub written: usize,
    /// Events among the records.
    pub count: u32,
    /// Lowest ticks of the records, 0 when there is none.
    pub first_ticks: u64,
    /// Highest ticks of the records, 0 when there is none.
    pub last_ticks: u64,
    /// A bit for each level that occurs, by the level's number.
    pub levels: u8,
}

/// Encodes the runs of one block.
#[derive(Debug)]
pub struct Encoder {
    sites: Vec<Site>,
    site_by_id: HashMap<u32, u16>,
    /// Sites by the low bits of their id: a guess that is checked.
    site_guess: Box<[u16; GUESSES]>,
    ids: Vec<u32>,
    texts: Texts,
    ticks: u64,
    /// Callsites numbered since the state was last emptied.
    n_numbered: u32,
    /// Counts how often the state was emptied.
    epoch: u32,
    raw_bytes: usize,
}

const GUESSES: usize = 256;

#[derive(Debug)]
struct Site {
    id: u32,
    number: u32,
    epoch: u32,
    level: u8,
    plan: Plan,
    last: [u64; super::ARGUMENTS_MAX],
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Makes an encoder for a block's start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sites: Vec::new(),
            site_by_id: HashMap::new(),
            site_guess: Box::new([0; GUESSES]),
            ids: Vec::new(),
            texts: Texts::new(),
            ticks: 0,
            n_numbered: 0,
            epoch: 1,
            raw_bytes: 0,
        }
    }

    /// Forgets everything: the next run is the first of a block.
    pub fn reset(&mut self) {
        self.sites.clear();
        self.site_by_id.clear();
        self.ids.clear();
        self.raw_bytes = 0;
        self.forget();
    }

    /// The callsites of the records since the last reset, each once.
    #[must_use]
    pub fn callsites(&self) -> &[u32] {
        &self.ids
    }

    /// Bytes of the records since the last reset, as they lay.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Writes one run at `out[at..]`, its end and count as found: whole records as they lie in a
    /// lane, up to and with a pad or up to the first that does not fit.
    ///
    /// `out` is the whole payload of the block, with the runs since [`Encoder::reset`] where they
    /// were written. With [`CODEC_RAW`], or when encoding would not shrink it, the body is stored
    /// raw.
    ///
    /// # Errors
    ///
    /// When the first record is longer than what there is of it.
    pub fn run(
        &mut self,
        schemas: &impl Schemas,
        mut head: RunHead,
        records: &[u8],
        out: &mut [u8],
        at: usize,
        codec: u8,
    ) -> Result<Encoded, Malformed> {
        let body_at = at + head.encoded_len();
        if body_at > out.len() {
            return Ok(Encoded::default());
        }
        let mut codec = codec;
        let mut walk = Walk::new(body_at, RAW_BYTES_MAX.saturating_sub(self.raw_bytes));
        if codec == CODEC_COMPACT {
            self.encode(schemas, records, out, &mut walk)?;
        } else {
            self.measure(schemas, records, out.len() - body_at, &mut walk)?;
        }
        if walk.consumed == 0 && !records.is_empty() {
            return Ok(Encoded::default());
        }
        let raw_len = walk.raw_len;
        if codec != CODEC_COMPACT || walk.at - body_at >= raw_len {
            codec = CODEC_RAW;
            out[body_at..body_at + raw_len].copy_from_slice(&records[..raw_len]);
            walk.at = body_at + raw_len;
            if raw_len > 0 {
                self.forget();
            }
        }
        head.count = walk.count;
        head.end = head.position.saturating_add(walk.consumed as u64);
        head.encode(codec, (walk.at - body_at) as u32, &mut out[at..])
            .expect("the body lies behind the room for the head");
        self.raw_bytes += raw_len;
        let (first_ticks, last_ticks) =
            if walk.count == 0 { (0, 0) } else { (walk.first, walk.last) };
        Ok(Encoded {
            consumed: walk.consumed,
            written: walk.at - at,
            count: walk.count,
            first_ticks,
            last_ticks,
            levels: walk.levels,
        })
    }

    /// Empties what encoding goes by; callsites seen stay known for [`Encoder::callsites`].
    fn forget(&mut self) {
        self.texts.clear();
        self.ticks = 0;
        self.n_numbered = 0;
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn encode(
        &mut self,
        schemas: &impl Schemas,
        records: &[u8],
        out: &mut [u8],
        walk: &mut Walk,
    ) -> Result<(), Malformed> {
        let Some(first) = walk.next(records)? else { return Ok(()) };
        if out.len() - walk.at < SLACK_BYTES {
            return Ok(());
        }
        let base_ticks = self.ticks;
        if first.head.kind != RECORD_PAD {
            self.ticks = first.head.ticks;
            let base = self.ticks.wrapping_sub(base_ticks) as i64;
            walk.at = put(out, walk.at, zigzag(base));
        }
        let mut current = usize::MAX;
        while let Ok(Some(Next { head, record })) = walk.next(records) {
            if head.kind == RECORD_PAD {
                walk.consumed += record.len();
                break;
            }
            if out.len() - walk.at < record.len() + SLACK_BYTES || walk.is_full(record.len()) {
                break;
            }
            let Some(index) = self.site(schemas, head.callsite, current) else { break };
            let site = &mut self.sites[index];
            let payload = &record[HEAD_BYTES..];
            let ticks = head.ticks.wrapping_sub(self.ticks);
            if head.flags | head.kind != 0 || ticks >> 63 != 0 || !site.fits(payload) {
                walk.at = put(out, walk.at, 0);
                walk.at = put(out, walk.at, 0);
                copy(record, 0, record.len(), out, walk.at);
                walk.at += record.len();
            } else {
                if index == current {
                    walk.at = put(out, walk.at, ticks << 1 | 1);
                } else {
                    current = index;
                    walk.at = put(out, walk.at, ticks << 1);
                    walk.at = site.put_number(self.epoch, &mut self.n_numbered, out, walk.at);
                }
                walk.at = site.put_arguments(&mut self.texts, payload, out, walk.at);
            }
            self.ticks = head.ticks;
            walk.accept(&head, record.len(), site.level);
        }
        if walk.count == 0 {
            self.ticks = base_ticks;
        }
        Ok(())
    }

    /// Walks records that are stored as they lie.
    fn measure(
        &mut self,
        schemas: &impl Schemas,
        records: &[u8],
        room: usize,
        walk: &mut Walk,
    ) -> Result<(), Malformed> {
        walk.next(records)?;
        let mut current = usize::MAX;
        while let Ok(Some(Next { head, record })) = walk.next(records) {
            if head.kind == RECORD_PAD {
                walk.consumed += record.len();
                break;
            }
            if room - walk.raw_len < record.len() || walk.is_full(record.len()) {
                break;
            }
            let Some(index) = self.site(schemas, head.callsite, current) else { break };
            current = index;
            walk.accept(&head, record.len(), self.sites[index].level);
        }
        Ok(())
    }

    /// Index of the callsite with this id, `None` when the block names too many.
    #[inline(always)]
    fn site(&mut self, schemas: &impl Schemas, id: u32, current: usize) -> Option<usize> {
        if self.sites.get(current).is_some_and(|site| site.id == id) {
            return Some(current);
        }
        let guess = usize::from(self.site_guess[id as usize % GUESSES]);
        if self.sites.get(guess).is_some_and(|site| site.id == id) {
            return Some(guess);
        }
        self.find_site(schemas, id)
    }

    #[inline(never)]
    fn find_site(&mut self, schemas: &impl Schemas, id: u32) -> Option<usize> {
        let index = match self.site_by_id.get(&id) {
            Some(&index) => index,
            None if self.sites.len() == SITES_MAX => return None,
            None => {
                let index = self.sites.len() as u16;
                let schema = schemas.schema(id);
                self.sites.push(Site {
                    id,
                    number: 0,
                    epoch: 0,
                    level: schema.map_or(ALL_LEVELS, |schema| 1 << schema.level() as u8),
                    plan: schema.map_or(Plan::RAW, |schema| Plan::of(&schema)),
                    last: [0; super::ARGUMENTS_MAX],
                });
                self.ids.push(id);
                self.site_by_id.insert(id, index);
                index
            }
        };
        self.site_guess[id as usize % GUESSES] = index;
        Some(usize::from(index))
    }
}

/// Progress through the records of one run.
struct Walk {
    at: usize,
    consumed: usize,
    /// Bytes taken without a pad.
    raw_len: usize,
    raw_room: usize,
    count: u32,
    first: u64,
    last: u64,
    levels: u8,
}

struct Next<'a> {
    head: Head,
    record: &'a [u8],
}

impl Walk {
    fn new(at: usize, raw_room: usize) -> Self {
        let (first, last) = (u64::MAX, 0);
        Self { at, consumed: 0, raw_len: 0, raw_room, count: 0, first, last, levels: 0 }
    }

    /// The record after those taken, `None` when there is no more.
    #[inline(always)]
    fn next<'a>(&self, records: &'a [u8]) -> Result<Option<Next<'a>>, Malformed> {
        let rest = &records[self.consumed.min(records.len())..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(head) = Head::read(rest) else {
            return Err(Malformed { at: self.consumed, what: "expected a whole record" });
        };
        Ok(Some(Next { head, record: &rest[..head.len()] }))
    }

    fn is_full(&self, len: usize) -> bool {
        self.raw_room - self.raw_len < len
    }

    #[inline(always)]
    fn accept(&mut self, head: &Head, len: usize, level: u8) {
        self.consumed += len;
        self.raw_len += len;
        self.count += 1;
        self.first = self.first.min(head.ticks);
        self.last = self.last.max(head.ticks);
        self.levels |= level;
    }
}

impl Site {
    /// True when the payload is exactly what the definition says, zero padding included.
    #[inline(always)]
    fn fits(&self, payload: &[u8]) -> bool {
        match self.plan.shape {
            Shape::Words => payload.len() == 8 * self.plan.n_ops,
            Shape::Mixed => self.plan.matches(payload),
            Shape::Raw => false,
        }
    }

    /// Writes the callsite's number, and its id when it has had none since the state was emptied.
    #[inline(always)]
    fn put_number(&mut self, epoch: u32, n_numbered: &mut u32, out: &mut [u8], at: usize) -> usize {
        if self.epoch == epoch {
            return put(out, at, u64::from(self.number));
        }
        self.epoch = epoch;
        *n_numbered += 1;
        self.number = *n_numbered;
        self.last = [0; super::ARGUMENTS_MAX];
        let at = put(out, at, u64::from(self.number));
        store4(out, at, self.id);
        at + 4
    }

    #[inline(always)]
    fn put_arguments(
        &mut self,
        texts: &mut Texts,
        payload: &[u8],
        out: &mut [u8],
        at: usize,
    ) -> usize {
        if self.plan.shape != Shape::Words {
            return self.put_mixed(texts, payload, out, at);
        }
        let mut at = at;
        for (word, last) in payload.chunks_exact(8).zip(&mut self.last) {
            let value = load8(word, 0);
            at = put(out, at, zigzag(value.wrapping_sub(*last) as i64));
            *last = value;
        }
        at
    }

    fn put_mixed(&mut self, texts: &mut Texts, payload: &[u8], out: &mut [u8], at: usize) -> usize {
        let (mut at, mut from) = (at, 0);
        for (i, (op, last)) in self.plan.ops().iter().zip(&mut self.last).enumerate() {
            if self.plan.optional >> i & 1 != 0 {
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
                    at = texts.put(payload, from + 4, len, out, at);
                    from += len;
                }
            }
            from += op.fixed_len();
        }
        at
    }
}

impl Plan {
    /// True when the payload's lengths and absent values are as the plan says and nothing but zero
    /// padding is left.
    #[inline(always)]
    fn matches(&self, payload: &[u8]) -> bool {
        let mut at = 0;
        for (i, op) in self.ops().iter().enumerate() {
            if self.optional >> i & 1 != 0 {
                match payload.get(at) {
                    Some(0) => {
                        at += 1;
                        continue;
                    }
                    Some(1) => at += 1,
                    _ => return false,
                }
            }
            if *op == Op::Text {
                at += load4(payload, at) as usize;
            }
            at += op.fixed_len();
        }
        let padding = payload.len().wrapping_sub(at);
        // The padding is the top of the last word; shifted in two steps, since there may be none.
        let last = load8(payload, payload.len().saturating_sub(8));
        padding < 8 && last >> (8 * (7 - padding)) >> 8 == 0
    }
}

/// Where in the payload the texts lie that the decoder keeps, by slot.
///
/// Two neighbouring slots may hold a text; the one used longer ago is given to the next.
#[derive(Debug)]
struct Texts {
    slots: Box<[(u32, u32); SLOTS + 1]>,
    newest: Box<[u8; (SLOTS + 1) / 2]>,
}

/// No text is as long.
const NO_TEXT: u32 = u32::MAX;
/// Pairs of slots; the last slot's number means "spelled out".
const PAIRS: u64 = SLOTS as u64 / 2;

impl Texts {
    fn new() -> Self {
        Self { slots: Box::new([(0, NO_TEXT); SLOTS + 1]), newest: Box::new([0; (SLOTS + 1) / 2]) }
    }

    fn clear(&mut self) {
        self.slots.fill((0, NO_TEXT));
    }

    #[inline(always)]
    fn put(&mut self, from: &[u8], start: usize, len: usize, out: &mut [u8], at: usize) -> usize {
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
