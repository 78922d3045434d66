//! Open spans: which there are, so that each segment can tell them again.
//!
//! What a segment says of a span that was opened in an earlier one is gone once that one is removed.
//! So each begins with the open spans, told again as they were, in a lane that no thread has.
//!
//! The scribe takes one lane after another, and the spiller others beside it: a span may be closed
//! before it is opened here. Such a span is kept until both have been seen. One whose closing was
//! lost is open for ever: where events were lost, the oldest make room for others.

use std::collections::{BTreeMap, HashMap};

use super::{
    FLAG_RETOLD, FLAG_THREAD, HEAD_BYTES, Head, LANE_RETOLD, Prefix, RECORD_SPAN_CLOSE,
    RECORD_SPAN_OPEN, RECORD_SPAN_VALUES, RawRun, RunHead,
};

/// Bytes that are told again, at most, and so kept: of spans beyond that events show the id alone.
const BYTES_MAX: usize = 1 << 20;
/// Spans of which the opening was not seen yet, at most: one that was lost never is.
const UNSEEN_MAX: usize = 4096;

/// The spans that are open.
#[derive(Debug, Default)]
pub(crate) struct OpenSpans {
    by_id: HashMap<u64, Open>,
    /// Ids in the order in which the spans were opened, as far as that was seen.
    in_order: BTreeMap<u64, u64>,
    n_opened: u64,
    bytes: usize,
    /// Something was lost, perhaps the closing of spans.
    is_unsure: bool,
}

#[derive(Debug, Default)]
struct Open {
    /// Its place in the order, `None` while its opening was not seen.
    place: Option<u64>,
    closed: bool,
    /// The records that told its values, as they are told again, the opening first.
    records: Vec<u8>,
}

impl OpenSpans {
    /// Follows what records of spans tell, one behind another.
    pub(crate) fn note(&mut self, mut records: &[u8]) {
        while let Some(head) = Head::read(records) {
            let (record, rest) = records.split_at(head.len());
            records = rest;
            let mut payload = &record[HEAD_BYTES..];
            let mut behind = payload;
            let Some(prefix) = Prefix::take(&head, &mut behind) else { continue };
            if head.flags & FLAG_THREAD != 0 {
                payload = &payload[8..];
            }
            match head.kind {
                RECORD_SPAN_OPEN => self.open(&head, prefix.span, payload),
                RECORD_SPAN_VALUES => self.values(&head, prefix.span, payload),
                RECORD_SPAN_CLOSE => self.close(prefix.span),
                _ => {}
            }
        }
    }

    /// Notes that events were lost.
    pub(crate) fn lose(&mut self) {
        self.is_unsure = true;
    }

    /// Whether so many bytes more may be kept; makes room for them where that may be of spans that
    /// are closed.
    fn has_room(&mut self, len: usize) -> bool {
        while self.is_unsure
            && self.bytes + len > BYTES_MAX
            && let Some(&oldest) = self.in_order.values().next()
        {
            self.forget(oldest);
        }
        self.bytes + len <= BYTES_MAX
    }

    fn open(&mut self, head: &Head, id: u64, payload: &[u8]) {
        if self.by_id.get(&id).is_some_and(|span| span.closed) {
            return self.forget(id);
        }
        let place = self.n_opened;
        let record = retold(head, payload);
        if !self.has_room(record.len()) {
            return;
        }
        self.n_opened += 1;
        self.bytes += record.len();
        self.in_order.insert(place, id);
        let span = self.by_id.entry(id).or_default();
        span.place = Some(place);
        span.records.splice(0..0, record);
    }

    fn values(&mut self, head: &Head, id: u64, payload: &[u8]) {
        let record = retold(head, payload);
        if !self.has_room(record.len()) {
            return;
        }
        self.unless_too_many(id).records.extend_from_slice(&record);
        self.bytes += record.len();
    }

    fn close(&mut self, id: u64) {
        if self.by_id.get(&id).is_some_and(|span| span.place.is_some()) {
            self.forget(id);
        } else {
            self.unless_too_many(id).closed = true;
        }
    }

    /// The span with this id, whose opening was perhaps not seen yet.
    fn unless_too_many(&mut self, id: u64) -> &mut Open {
        if !self.by_id.contains_key(&id) && self.by_id.len() - self.in_order.len() >= UNSEEN_MAX {
            // They were not opened long ago, or never will be.
            let unseen = self.by_id.extract_if(|_, span| span.place.is_none());
            self.bytes -= unseen.map(|(_, span)| span.records.len()).sum::<usize>();
        }
        self.by_id.entry(id).or_default()
    }

    fn forget(&mut self, id: u64) {
        let Some(span) = self.by_id.remove(&id) else { return };
        self.bytes -= span.records.len();
        if let Some(place) = span.place {
            self.in_order.remove(&place);
        }
    }

    /// What is to be told again, parents before children; dated with these ticks.
    pub(crate) fn retell(&self, ticks: u64) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes);
        for id in self.in_order.values() {
            all.extend_from_slice(&self.by_id[id].records);
        }
        let mut at = 0;
        while let Some(head) = Head::read(&all[at..]) {
            all[at + 8..at + 16].copy_from_slice(&ticks.to_le_bytes());
            at += head.len();
        }
        all
    }

    /// The run in which they are told again, as if at the moment of the first record of these runs;
    /// `None` when none is open, or there is no record.
    pub(crate) fn as_run<'a>(
        &self,
        generation: u32,
        runs: impl Iterator<Item = &'a RawRun>,
    ) -> Option<RawRun> {
        let ticks = runs.filter_map(|run| Some(Head::read(&run.bytes)?.ticks)).min()?;
        let bytes = self.retell(ticks);
        let records = std::iter::successors(Some(&bytes[..]), |rest| {
            Head::read(rest).map(|head| &rest[head.len()..])
        });
        let count = records.count() as u32 - 1;
        let end = bytes.len() as u64;
        let head = RunHead { lane: LANE_RETOLD, generation, end, count, ..RunHead::default() };
        (count > 0).then_some(RawRun { head, bytes })
    }
}

/// A record as it is told again, with its ticks behind the span's id; without the word of a thread.
/// One that was told again before keeps those of the first time.
fn retold(head: &Head, payload: &[u8]) -> Vec<u8> {
    let is_again = head.flags & FLAG_RETOLD != 0;
    let words = payload.len() / 8 + usize::from(!is_again);
    let flags = head.flags & !FLAG_THREAD | FLAG_RETOLD;
    let Ok(words) = u16::try_from(words) else { return Vec::new() };
    let mut out = Head::encode(head.callsite, words, head.kind, flags, head.ticks).to_vec();
    let (span, values) = payload.split_at(8);
    out.extend_from_slice(span);
    if !is_again {
        out.extend_from_slice(&head.ticks.to_le_bytes());
    }
    out.extend_from_slice(values);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FLAG_SPAN;

    fn record(kind: u8, span: u64, ticks: u64, words: &[u64]) -> Vec<u8> {
        let n_words = words.len() as u16 + 1;
        let mut out = Head::encode(7, n_words, kind, FLAG_SPAN, ticks).to_vec();
        for word in std::iter::once(&span).chain(words) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn open(span: u64, ticks: u64) -> Vec<u8> {
        record(RECORD_SPAN_OPEN, span, ticks, &[0])
    }

    fn close(span: u64) -> Vec<u8> {
        record(RECORD_SPAN_CLOSE, span, 9, &[1, 2])
    }

    fn values(span: u64, ticks: u64) -> Vec<u8> {
        record(RECORD_SPAN_VALUES, span, ticks, &[5])
    }

    /// Span, ticks and kind of what would be told again.
    fn retold_of(spans: &OpenSpans) -> Vec<(u64, u64, u8)> {
        let all = spans.retell(100);
        let mut rest = &all[..];
        let mut out = Vec::new();
        while let Some(head) = Head::read(rest) {
            let prefix = Prefix::take(&head, &mut &rest[HEAD_BYTES..]).unwrap();
            assert_eq!(head.ticks, 100);
            out.push((prefix.span, prefix.retold.unwrap(), head.kind));
            rest = &rest[head.len()..];
        }
        assert!(rest.is_empty());
        out
    }

    #[test]
    fn open_spans_are_told_in_their_order_with_their_values_and_times() {
        let mut spans = OpenSpans::default();
        spans.note(&[open(1, 10), open(2, 11), values(1, 12), open(3, 13), close(2)].concat());
        let open = |span, ticks| (span, ticks, RECORD_SPAN_OPEN);
        assert_eq!(retold_of(&spans), [open(1, 10), (1, 12, RECORD_SPAN_VALUES), open(3, 13)]);
        spans.note(&[close(1), close(3)].concat());
        assert_eq!((spans.retell(0), spans.bytes, spans.by_id.len()), (vec![], 0, 0));
    }

    #[test]
    fn what_was_told_again_is_told_once_more_as_it_was_first() {
        let mut before = OpenSpans::default();
        before.note(&[open(1, 10), values(1, 12), open(2, 13)].concat());
        let mut spans = OpenSpans::default();
        spans.note(&[before.retell(50), close(2), open(3, 60)].concat());
        let open = |span, ticks| (span, ticks, RECORD_SPAN_OPEN);
        assert_eq!(retold_of(&spans), [open(1, 10), (1, 12, RECORD_SPAN_VALUES), open(3, 60)]);
        assert_eq!(spans.bytes, spans.retell(0).len());
    }

    #[test]
    fn what_another_lane_told_before_the_opening_counts() {
        let mut spans = OpenSpans::default();
        spans.note(&[close(1), values(2, 20), open(1, 10), open(2, 11)].concat());
        assert_eq!(retold_of(&spans), [(2, 11, RECORD_SPAN_OPEN), (2, 20, RECORD_SPAN_VALUES)]);
        spans.note(&close(2));
        assert_eq!((spans.bytes, spans.by_id.len(), spans.in_order.len()), (0, 0, 0));
    }

    #[test]
    fn where_closings_were_lost_the_oldest_make_room() {
        let mut spans = OpenSpans::default();
        let n_max = (BYTES_MAX / 40) as u64;
        (0..n_max + 10).for_each(|id| spans.note(&open(id, id)));
        let first_and_last = |spans: &OpenSpans| {
            let told = retold_of(spans);
            (told[0].0, told[told.len() - 1].0, told.len() as u64)
        };
        assert_eq!(first_and_last(&spans), (0, n_max - 1, n_max), "there was no room for ten");
        spans.lose();
        (0..10).for_each(|id| spans.note(&open(n_max + id, 7)));
        assert_eq!(first_and_last(&spans), (10, n_max + 9, n_max));
        assert_eq!(spans.by_id.len() as u64, n_max);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut spans = OpenSpans::default();
        for id in 0..100_000 {
            spans.note(&open(id, id));
            spans.note(&values(id + 1_000_000, id));
            spans.note(&close(id + 2_000_000));
        }
        assert!(spans.bytes <= BYTES_MAX && spans.retell(0).len() <= BYTES_MAX);
        assert!(spans.by_id.len() <= BYTES_MAX / 40 + UNSEEN_MAX);
        assert_eq!(spans.retell(0).len(), spans.in_order.len() * 40);
    }
}
