//! Encode: writes runs into a block's payload, as small as the block's memory makes them.

use std::collections::HashMap;
use std::hint::black_box;

use super::plan::{Plan, Shape, read_told};
use super::short;
use super::site::Site;
use super::texts::Texts;
use super::varint::{copy, put, zigzag};
use super::walk::{Next, Walk};
use super::{
    ARGUMENTS_MAX, DEFINITIONS_BYTES_MAX, Form, Malformed, RAW_BYTES_MAX, SITES_MAX, Schemas,
};
use crate::record::{
    CODEC_COMPACT, CODEC_RAW, FLAG_DYNAMIC, HEAD_BYTES, Level, RECORD_EVENT, RECORD_PAD, RunHead,
    Sum,
};

/// Room that a record needs in the output beyond its own length: a varint of ticks, the number and
/// id of its callsite, what each argument may be longer than it lies, and the bytes that a store
/// of a fixed width changes behind the last one.
pub(super) const SLACK_BYTES: usize = 192;
/// Levels as bits, when nobody knows which.
const ALL_LEVELS: u8 = (1 << Level::ALL.len()) - 1;

/// What [`Encoder::run`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Bytes of records taken, a pad included.
    pub consumed: usize,
    /// Bytes written; 0 when not even the run's head and its first record fitted.
    pub written: usize,
    /// Records, pads left out.
    pub count: u32,
    /// Those of them that are no events but tell of spans.
    pub spans: u32,
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
    pub(super) sites: Vec<Site>,
    site_by_id: HashMap<u32, u16>,
    /// Sites by the low bits of their id: a guess that is checked.
    pub(super) site_guess: Box<[u16; GUESSES]>,
    ids: Vec<u32>,
    pub(super) texts: Texts,
    pub(super) ticks: u64,
    /// Callsites numbered since the state was last emptied.
    n_numbered: u32,
    /// Counts how often the state was emptied.
    pub(super) epoch: u32,
    raw_bytes: usize,
    /// Bytes of the definitions of the callsites seen.
    definitions_len: usize,
    /// Records of spans since they were last taken.
    spans: Vec<u8>,
    /// Of the payload, as far as it was summed up.
    sum: Sum,
}

pub(super) const GUESSES: usize = 256;
/// Entries that one callsite may have beside its first: records with other flags or kinds.
const VARIANTS_MAX: usize = 8;

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
            definitions_len: 0,
            spans: Vec::new(),
            sum: Sum::default(),
        }
    }

    /// Forgets everything: the next run is the first of a block.
    pub fn reset(&mut self) {
        self.sites.clear();
        self.site_by_id.clear();
        self.ids.clear();
        (self.raw_bytes, self.definitions_len) = (0, 0);
        self.spans.clear();
        self.sum = Sum::default();
        self.forget();
    }

    /// Calls `job` with the records of spans that were encoded since the last call or reset.
    pub fn take_spans(&mut self, job: impl FnOnce(&[u8])) {
        if !self.spans.is_empty() {
            job(&self.spans);
            self.spans.clear();
        }
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

    /// The checksum of a payload that begins with the runs since the last reset, as they were
    /// written: one whose run was given another end since (`set_end` of `store/builder.rs`) has to
    /// be summed up by itself.
    ///
    /// # Panics
    ///
    /// If the payload is shorter than what was summed up of it while it was written.
    #[must_use]
    pub fn sum(&self, payload: &[u8]) -> Sum {
        let mut sum = self.sum;
        sum.extend(payload);
        sum
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
            walk.at = body_at + raw_len;
            if raw_len > 0 {
                self.forget();
            }
        }
        head.count = walk.count;
        head.end = head.position.saturating_add(walk.consumed as u64);
        let head_len = head.encode(codec, (walk.at - body_at) as u32, &mut out[at..]);
        debug_assert_eq!(head_len, Some(body_at - at), "room for the head was left");
        if codec == CODEC_RAW {
            self.sum.copy(&records[..raw_len], out, body_at);
        }
        self.raw_bytes += raw_len;
        let (first_ticks, last_ticks) =
            if walk.count == 0 { (0, 0) } else { (walk.first, walk.last) };
        Ok(Encoded {
            consumed: walk.consumed,
            written: walk.at - at,
            count: walk.count,
            spans: walk.spans,
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
        loop {
            self.put_short(records, out, walk, &mut current);
            let Ok(Some(Next { head, record })) = walk.next(records) else { break };
            if head.kind == RECORD_PAD {
                walk.consumed += record.len();
                break;
            }
            if out.len() - walk.at < record.len() + SLACK_BYTES || walk.is_full(record.len()) {
                break;
            }
            let Some(base) = self.site(schemas, head.callsite, current) else { break };
            let payload = &record[HEAD_BYTES..];
            let ticks = head.ticks.wrapping_sub(self.ticks);
            let alike = if head.kind == RECORD_EVENT && ticks >> 63 == 0 {
                self.variant(base, head.flags, payload)
            } else {
                None
            };
            let site = &mut self.sites[alike.unwrap_or(base)];
            walk.see(head.ticks, site.level);
            let Some(index) = alike else {
                walk.at = put(out, walk.at, 0);
                walk.at = put(out, walk.at, 0);
                copy(record, 0, record.len(), out, walk.at);
                walk.at += record.len();
                walk.accept(1, record.len(), head.ticks);
                self.ticks = head.ticks;
                if head.kind != RECORD_EVENT {
                    self.note_span(record, walk);
                }
                continue;
            };
            if index == current {
                walk.at = put(out, walk.at, ticks << 1 | 1);
            } else {
                current = index;
                walk.at = put(out, walk.at, ticks << 1);
                walk.at = site.put_number(self.epoch, &mut self.n_numbered, out, walk.at);
            }
            self.ticks = site.put_records(&mut self.texts, records, out, walk);
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
        let (mut current, mut len) = (usize::MAX, 0);
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
            walk.see(head.ticks, self.sites[index].level);
            // Heads lie in another processor's cache, and records of one statement are often of one
            // length: with the length before, where it is the same, the next head is loaded without
            // waiting for this one.
            if record.len() != len {
                len = record.len();
            }
            walk.accept(1, black_box(len), head.ticks);
            if head.kind != RECORD_EVENT {
                self.note_span(record, walk);
            }
        }
        Ok(())
    }

    /// Keeps a record that is no event for who follows the spans.
    #[cold]
    fn note_span(&mut self, record: &[u8], walk: &mut Walk) {
        self.spans.extend_from_slice(record);
        walk.spans += 1;
    }

    /// Index of the first entry of the callsite, `None` when the block names too many, or too long ones.
    #[inline(always)]
    fn site(&mut self, schemas: &impl Schemas, id: u32, current: usize) -> Option<usize> {
        if let Some(site) = self.sites.get(current).filter(|site| site.id == id) {
            return Some(usize::from(site.base));
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
                let definitions_len = self.definitions_len + schemas.definition_len(id);
                if definitions_len > DEFINITIONS_BYTES_MAX && self.definitions_len > 0 {
                    return None;
                }
                self.definitions_len = definitions_len;
                let index = self.sites.len() as u16;
                let schema = schemas.schema(id);
                self.sites.push(Site {
                    id,
                    key: short::key(id, 0),
                    level: schema.map_or(ALL_LEVELS, |schema| 1 << schema.level() as u8),
                    base: index,
                    next: index,
                    schema,
                    plan: schema.map_or(Plan::RAW, |schema| Plan::defined(&schema, 0)),
                    ..Site::NONE
                });
                self.ids.push(id);
                self.site_by_id.insert(id, index);
                index
            }
        };
        self.site_guess[id as usize % GUESSES] = index;
        Some(usize::from(index))
    }

    /// Index of the entry of the callsite by which such a record can be coded, `None` when it is to
    /// be stored as it lies.
    #[inline(always)]
    fn variant(&mut self, base: usize, flags: u8, payload: &[u8]) -> Option<usize> {
        let site = &self.sites[base];
        if flags == 0 && site.plan.matches(payload) {
            return Some(base);
        }
        self.find_variant(base, flags, payload)
    }

    #[inline(never)]
    fn find_variant(&mut self, base: usize, flags: u8, payload: &[u8]) -> Option<usize> {
        let (mut index, mut n_variants) = (base, 0);
        loop {
            let next = usize::from(self.sites[index].next);
            if next == index {
                break;
            }
            index = next;
            n_variants += 1;
            let plan = &self.sites[index].plan;
            if plan.flags == flags && plan.matches(payload) {
                return Some(index);
            }
        }
        if n_variants == VARIANTS_MAX || self.sites.len() == SITES_MAX {
            return None;
        }
        let Site { id, level, schema, .. } = self.sites[base];
        let schema = schema?;
        let plan = if schema.form == Form::Told || flags & FLAG_DYNAMIC != 0 {
            let mut kinds = [0; ARGUMENTS_MAX];
            let n_kinds = read_told(payload, flags, &mut kinds)?;
            Plan::told(&kinds[..n_kinds], flags)
        } else {
            Plan::defined(&schema, flags)
        };
        if plan.shape == Shape::Raw || !plan.matches(payload) {
            return None;
        }
        let new = self.sites.len();
        self.sites[index].next = new as u16;
        self.sites.push(Site {
            id,
            key: short::key(id, flags),
            level,
            base: base as u16,
            next: new as u16,
            plan,
            ..Site::NONE
        });
        Some(new)
    }
}
