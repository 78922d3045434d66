//! Decode: brings back the records of a block's runs as they lay in their lanes.

use super::plan::{Op, Plan, Shape};
use super::varint::{copy, get, load1, load4, load8, store1, store4, store8, unzigzag};
use super::{
    ARGUMENTS_MAX, KINDS_DEFINED, Malformed, RAW_BYTES_MAX, SITES_MAX, SLOTS, SPELLED, Schemas,
};
use crate::record::{CODEC_COMPACT, CODEC_RAW, HEAD_BYTES, Head, RECORD_EVENT, RawRun, RunHead};

/// Room kept in front of what is written next, for stores of fixed width and all arguments but
/// texts.
const SLACK_BYTES: usize = 512;

/// Walks the runs of one block.
#[derive(Debug)]
pub struct Decoder<'a, S> {
    runs: &'a [u8],
    at: usize,
    schemas: &'a S,
    sites: Vec<Site>,
    texts: Box<[(u32, u32); SLOTS + 1]>,
    ticks: u64,
    raw_bytes: usize,
}

#[derive(Debug)]
struct Site {
    id: u32,
    plan: Plan,
    last: [u64; ARGUMENTS_MAX],
}

impl<S: Schemas> Iterator for Decoder<'_, S> {
    type Item = Result<RawRun, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        let head = self.next_into(&mut bytes)?;
        Some(head.map(|head| RawRun { head, bytes }))
    }
}

impl<'a, S: Schemas> Decoder<'a, S> {
    /// Decodes the runs section of a block's payload.
    #[must_use]
    pub fn new(runs: &'a [u8], schemas: &'a S) -> Self {
        let texts = Box::new([(0, 0); SLOTS + 1]);
        Self { runs, at: 0, schemas, sites: Vec::new(), texts, ticks: 0, raw_bytes: 0 }
    }

    /// Decodes the next run: returns its head and leaves its records in `bytes`, whose memory is
    /// used again. Behind an error there is no more.
    pub fn next_into(&mut self, bytes: &mut Vec<u8>) -> Option<Result<RunHead, Malformed>> {
        if self.at >= self.runs.len() {
            return None;
        }
        let result = self.decode_run(bytes);
        if result.is_err() {
            bytes.clear();
            self.at = self.runs.len();
        }
        Some(result)
    }

    fn decode_run(&mut self, bytes: &mut Vec<u8>) -> Result<RunHead, Malformed> {
        let at = self.at;
        let malformed = |what| Err(Malformed { at, what });
        let Some((head, codec, head_len, body_len)) = RunHead::decode(&self.runs[at..]) else {
            return malformed("expected a run's head");
        };
        let body_at = at + head_len;
        let Some(end) = body_at.checked_add(body_len).filter(|&end| end <= self.runs.len()) else {
            return malformed("expected a run within its block");
        };
        let span = usize::try_from(head.end - head.position).unwrap_or(usize::MAX);
        let limit = span.min(RAW_BYTES_MAX - self.raw_bytes);
        match codec {
            CODEC_RAW => {
                let body = &self.runs[body_at..end];
                if body.len() > limit || !is_framed(body, head.count) {
                    return malformed("expected whole records as many as the run says");
                }
                bytes.clear();
                bytes.extend_from_slice(body);
                if !body.is_empty() {
                    self.forget();
                }
            }
            CODEC_COMPACT => self.decode_body(head.count, body_at, end, limit, bytes)?,
            _ => return malformed("expected a run in a known encoding"),
        }
        self.raw_bytes += bytes.len();
        self.at = end;
        Ok(head)
    }

    fn forget(&mut self) {
        self.sites.clear();
        self.texts.fill((0, 0));
        self.ticks = 0;
    }

    fn decode_body(
        &mut self,
        count: u32,
        at: usize,
        end: usize,
        limit: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let data = &self.runs[..end];
        // What a lying span could cost is bounded by the body that came with it.
        let guess = limit.min((end - at).saturating_mul(16)) + SLACK_BYTES;
        if bytes.len() < guess {
            bytes.resize(guess, 0);
        }
        let (base, mut at) = get(data, at);
        self.ticks = self.ticks.wrapping_add(unzigzag(base) as u64);
        let mut to = 0;
        let mut current = usize::MAX;
        for _ in 0..count {
            if at >= end || to > limit {
                return Err(Malformed { at, what: "expected another record" });
            }
            make_room(bytes, to);
            let (head, behind) = get(data, at);
            at = behind;
            if head & 1 == 0 {
                let (number, behind) = get(data, at);
                if number == 0 {
                    (at, to) = self.raw_record(data, behind, bytes, to)?;
                    continue;
                }
                (current, at) = self.site(number, behind)?;
            }
            self.ticks = self.ticks.wrapping_add(head >> 1);
            let Some(site) = self.sites.get_mut(current) else {
                return Err(Malformed { at, what: "expected a callsite" });
            };
            (at, to) = site.arguments(&mut self.texts, data, at, bytes, to, self.ticks)?;
        }
        if at != end || to > limit {
            return Err(Malformed { at, what: "expected the end of the run" });
        }
        bytes.truncate(to);
        Ok(())
    }

    /// Copies a record that is stored as it lay.
    #[inline(never)]
    fn raw_record(
        &mut self,
        data: &[u8],
        at: usize,
        bytes: &mut Vec<u8>,
        to: usize,
    ) -> Result<(usize, usize), Malformed> {
        let Some(head) = data.get(at..).and_then(Head::read) else {
            return Err(Malformed { at, what: "expected a whole record" });
        };
        make_room(bytes, to + head.len());
        copy(data, at, head.len(), bytes, to);
        self.ticks = head.ticks;
        Ok((at + head.len(), to + head.len()))
    }

    /// Index of the callsite with this number, which may be new, and the offset behind it.
    #[inline(always)]
    fn site(&mut self, number: u64, at: usize) -> Result<(usize, usize), Malformed> {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        if index < self.sites.len() { Ok((index, at)) } else { self.new_site(index, at) }
    }

    #[inline(never)]
    fn new_site(&mut self, index: usize, at: usize) -> Result<(usize, usize), Malformed> {
        let id = load4(self.runs, at);
        let (flags, n_kinds) = (load1(self.runs, at + 4), load1(self.runs, at + 5));
        let mut end = at + 6;
        let plan = if n_kinds == KINDS_DEFINED {
            self.schemas.schema(id).map(|schema| Plan::defined(&schema, flags))
        } else {
            let kinds = &self.runs[end.min(self.runs.len())..];
            end += usize::from(n_kinds);
            kinds.get(..usize::from(n_kinds)).map(|kinds| Plan::told(kinds, flags))
        };
        let plan = plan.unwrap_or(Plan::RAW);
        if index != self.sites.len() || index >= SITES_MAX || plan.shape == Shape::Raw {
            return Err(Malformed { at, what: "expected a callsite that is defined" });
        }
        self.sites.push(Site { id, plan, last: [0; ARGUMENTS_MAX] });
        Ok((index, end))
    }
}

impl Site {
    /// Writes the record whose arguments stand at `at` and returns the offsets behind both.
    #[inline(always)]
    fn arguments(
        &mut self,
        texts: &mut [(u32, u32); SLOTS + 1],
        data: &[u8],
        at: usize,
        bytes: &mut Vec<u8>,
        to: usize,
        ticks: u64,
    ) -> Result<(usize, usize), Malformed> {
        let mut at = at;
        let end = if self.plan.shape == Shape::Words {
            let mut end = to + HEAD_BYTES;
            for last in self.last.iter_mut().take(self.plan.n_ops) {
                let (delta, behind) = get(data, at);
                at = behind;
                *last = last.wrapping_add(unzigzag(delta) as u64);
                store8(bytes, end, *last);
                end += 8;
            }
            end
        } else {
            let end;
            (at, end) = self.mixed(texts, data, at, bytes, to + HEAD_BYTES)?;
            store8(bytes, end, 0);
            end
        };
        let Ok(words) = u16::try_from((end - to - HEAD_BYTES).div_ceil(8)) else {
            return Err(Malformed { at, what: "expected a shorter record" });
        };
        store8(bytes, to, Head::word(self.id, words, RECORD_EVENT, self.plan.flags));
        store8(bytes, to + 8, ticks);
        Ok((at, to + HEAD_BYTES + usize::from(words) * 8))
    }

    fn mixed(
        &mut self,
        texts: &mut [(u32, u32); SLOTS + 1],
        data: &[u8],
        at: usize,
        bytes: &mut Vec<u8>,
        to: usize,
    ) -> Result<(usize, usize), Malformed> {
        let (mut at, mut to) = (at, to);
        for (i, (op, last)) in self.plan.ops().iter().zip(&mut self.last).enumerate() {
            let before = self.plan.before(i);
            if let Some(kind) = before.kind {
                store1(bytes, to, kind);
                to += 1;
            }
            if before.optional {
                let present = load1(data, at);
                if present > 1 {
                    return Err(Malformed { at, what: "expected a value or none" });
                }
                store1(bytes, to, present);
                (at, to) = (at + 1, to + 1);
                if present == 0 {
                    continue;
                }
            }
            match op {
                Op::Nothing => {}
                Op::Byte => {
                    store1(bytes, to, load1(data, at));
                    at += 1;
                }
                Op::Delta16 | Op::Delta32 | Op::Delta64 | Op::Duration => {
                    let (delta, behind) = get(data, at);
                    at = behind;
                    // Narrow values wrap within their width; what is above it is written over.
                    *last = last.wrapping_add(unzigzag(delta) as u64);
                    store8(bytes, to, *last);
                    if *op == Op::Duration {
                        store4(bytes, to + 8, load4(data, at));
                        at += 4;
                    }
                }
                Op::Copy4 => {
                    store4(bytes, to, load4(data, at));
                    at += 4;
                }
                Op::Copy8 | Op::Copy16 => {
                    store8(bytes, to, load8(data, at));
                    at += 8;
                    if *op == Op::Copy16 {
                        store8(bytes, to + 8, load8(data, at));
                        at += 8;
                    }
                }
                Op::Text => {
                    let len;
                    (at, len) = get_text(texts, data, at, bytes, to)?;
                    to += len;
                }
            }
            to += op.fixed_len();
        }
        Ok((at, to))
    }
}

/// Writes the text that stands at `at`, its length before it; returns the offset behind it in the
/// input, and its length.
#[inline(always)]
fn get_text(
    texts: &mut [(u32, u32); SLOTS + 1],
    data: &[u8],
    at: usize,
    bytes: &mut Vec<u8>,
    to: usize,
) -> Result<(usize, usize), Malformed> {
    let mut slot = load1(data, at);
    let mut behind = at + 1;
    if slot == SPELLED {
        slot = load1(data, at + 1);
        let (len, start) = get(data, at + 2);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(end) = start.checked_add(len).filter(|&end| end <= data.len()) else {
            return Err(Malformed { at, what: "expected a text within its run" });
        };
        texts[usize::from(slot)] = (start as u32, len as u32);
        behind = end;
    }
    let (start, len) = texts[usize::from(slot)];
    if to + len as usize > RAW_BYTES_MAX {
        return Err(Malformed { at, what: "expected a shorter text" });
    }
    make_room(bytes, to + len as usize);
    store4(bytes, to, len);
    if !copy(data, start as usize, len as usize, bytes, to + 4) {
        return Err(Malformed { at, what: "expected a text that was told" });
    }
    Ok((behind, len as usize))
}

/// Makes sure that [`SLACK_BYTES`] can be written from `to` on.
#[inline(always)]
fn make_room(bytes: &mut Vec<u8>, to: usize) {
    if bytes.len() < to + SLACK_BYTES {
        grow(bytes, to + SLACK_BYTES);
    }
}

#[cold]
#[inline(never)]
fn grow(bytes: &mut Vec<u8>, len: usize) {
    bytes.resize(len.max(bytes.len().saturating_mul(2)), 0);
}

/// True when the bytes are exactly so many records.
fn is_framed(mut bytes: &[u8], count: u32) -> bool {
    for _ in 0..count {
        match Head::read(bytes) {
            Some(head) => bytes = &bytes[head.len()..],
            None => return false,
        }
    }
    bytes.is_empty()
}
