//! Told: what the records of spans told, so that an event can be shown in its spans.
//!
//! # Invariants
//!
//! - **P1** What is told twice counts once, so that retelling and reading again change nothing.
//! - **P2** Memory is bounded: beyond it the spans go that no event asked for lately. A span keeps
//!   no more than [`TOLD_MAX`] records, and an event has no more than [`DEPTH_MAX`] spans, whatever
//!   a file says.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Shape, Span};
use crate::record::{HEAD_BYTES, Head, Prefix, RECORD_SPAN_OPEN, RECORD_SPAN_VALUES};

const TOLD_MAX: usize = 4096;
const DEPTH_MAX: usize = 128;

/// A logger and a span's number in it.
type SpanId = (u64, u64);

/// All spans that were told of.
#[derive(Debug)]
pub struct ToldSpans {
    known: HashMap<SpanId, Known>,
    /// Those in `known`, the one that may go first in front.
    order: VecDeque<SpanId>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Known {
    /// `None` while only values were told.
    shape: Option<Arc<Shape>>,
    parent: u64,
    /// By time; the opening stands first.
    told: Vec<Told>,
    /// The last answer.
    answer: Option<Answer>,
    is_used: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Told {
    ticks: u64,
    head: Head,
    payload: Box<[u8]>,
}

#[derive(Debug)]
struct Answer {
    n_told: usize,
    outer: Option<Arc<[Span]>>,
    spans: Arc<[Span]>,
}

impl ToldSpans {
    /// None yet, and never more than take about so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Takes in one record that is no event.
    pub fn note(&mut self, logger: u64, record: &[u8], shape: impl FnOnce() -> Arc<Shape>) {
        let Some(head) = Head::read(record) else { return };
        let mut payload = &record[HEAD_BYTES..head.len()];
        let whole = payload;
        let Some(prefix) = Prefix::take(&head, &mut payload) else { return };
        let is_open = head.kind == RECORD_SPAN_OPEN;
        if !(is_open || head.kind == RECORD_SPAN_VALUES) || prefix.span == 0 {
            return;
        }
        let id = (logger, prefix.span);
        let span = self.known.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            let (told, bytes) = (Vec::new(), size_of::<Known>());
            self.bytes += bytes;
            Known { shape: None, parent: 0, told, answer: None, is_used: false, bytes }
        });
        let ticks = if is_open { 0 } else { prefix.retold.unwrap_or(head.ticks) };
        let is_same = |told: &Told| {
            let told_values = &told.payload[told.payload.len().saturating_sub(payload.len())..];
            told.ticks == ticks && told_values == payload
        };
        let is_news = if is_open { span.shape.is_none() } else { !span.told.iter().any(is_same) };
        if !is_news || span.told.len() >= TOLD_MAX {
            return; // (P1)
        }
        if is_open {
            (span.shape, span.parent) = (Some(shape()), prefix.parent);
        }
        let at = if is_open { 0 } else { span.told.partition_point(|told| told.ticks <= ticks) };
        span.told.insert(at, Told { ticks, head, payload: whole.into() });
        span.answer = None;
        span.bytes += size_of::<Told>() + whole.len();
        self.bytes += size_of::<Told>() + whole.len();
        self.hold();
    }

    /// Lets go of what nobody asked for lately (P2).
    fn hold(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(id) = self.order.pop_front() else { return };
            match self.known.get_mut(&id) {
                Some(span) if span.is_used => {
                    span.is_used = false;
                    self.order.push_back(id);
                }
                _ => self.bytes -= self.known.remove(&id).map_or(0, |span| span.bytes),
            }
        }
    }

    /// The span and those around it, outermost first, as they were at these ticks.
    ///
    /// # Errors
    ///
    /// The spans as far as they are known, when one of them is not.
    pub fn around(&mut self, logger: u64, id: u64, ticks: u64) -> Result<Arc<[Span]>, Arc<[Span]>> {
        // From the inside out, then answered from the outside in.
        let (mut ids, mut next) = (Vec::new(), id);
        let mut all_known = true;
        while next != 0 && ids.len() < DEPTH_MAX && !ids.contains(&next) {
            ids.push(next);
            let known = self.known.get(&(logger, next)).filter(|span| span.shape.is_some());
            all_known &= known.is_some();
            next = known.map_or(0, |span| span.parent);
        }
        let mut spans: Option<Arc<[Span]>> = None;
        for id in ids.into_iter().rev() {
            spans = Some(self.below(spans, logger, id, ticks));
        }
        let spans = spans.unwrap_or_default();
        if all_known { Ok(spans) } else { Err(spans) }
    }

    /// The spans `outer` and in them this one.
    fn below(
        &mut self,
        outer: Option<Arc<[Span]>>,
        logger: u64,
        id: u64,
        ticks: u64,
    ) -> Arc<[Span]> {
        let join = |outer: &Option<Arc<[Span]>>, span| {
            outer.iter().flat_map(|outer| outer.iter().cloned()).chain([span]).collect()
        };
        let Some(known) = self.known.get_mut(&(logger, id)) else {
            return join(&outer, Span::unknown(id));
        };
        known.is_used = true;
        let Some(shape) = &known.shape else { return join(&outer, Span::unknown(id)) };
        let n_told = known.told.partition_point(|told| told.ticks <= ticks);
        let is_same = |answer: &&Answer| {
            let outer_is = match (&answer.outer, &outer) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            answer.n_told == n_told && outer_is
        };
        if let Some(answer) = known.answer.as_ref().filter(is_same) {
            return Arc::clone(&answer.spans);
        }
        let told = known.told[..n_told].iter().map(|told| (&told.head, &*told.payload));
        let spans: Arc<[Span]> = join(&outer, Span::told(shape, id, told));
        known.answer = Some(Answer { n_told, outer, spans: Arc::clone(&spans) });
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Definition, FLAG_SPAN, Level};

    const BYTES_MAX: usize = 64 << 20;

    fn shape() -> Arc<Shape> {
        Arc::new(Shape::new(Arc::new(Definition {
            id: 7,
            level: Level::Info,
            dynamic: false,
            target: String::new(),
            name: "span".into(),
            file: String::new(),
            line: 0,
            module: String::new(),
            template: None,
            fields: Vec::new(),
        })))
    }

    fn record(kind: u8, ticks: u64, words: &[u64]) -> Vec<u8> {
        let mut out = Head::encode(7, words.len() as u16, kind, FLAG_SPAN, ticks).to_vec();
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out
    }

    fn open(spans: &mut ToldSpans, id: u64, parent: u64) {
        spans.note(1, &record(RECORD_SPAN_OPEN, 5, &[id, parent]), shape);
    }

    fn ids(spans: &Result<Arc<[Span]>, Arc<[Span]>>) -> Vec<u64> {
        let (Ok(spans) | Err(spans)) = spans;
        spans.iter().map(|span| span.id).collect()
    }

    #[test]
    fn parents_in_a_circle_or_without_end_are_shown_up_to_a_bound() {
        let mut spans = ToldSpans::new(BYTES_MAX);
        open(&mut spans, 1, 2);
        open(&mut spans, 2, 1);
        open(&mut spans, 3, 3);
        assert_eq!(ids(&spans.around(1, 1, 9)), [2, 1]);
        assert_eq!(ids(&spans.around(1, 3, 9)), [3]);
        (10..10_000).for_each(|id| open(&mut spans, id, id + 1));
        let deep = spans.around(1, 10, 9);
        assert_eq!(ids(&deep).len(), DEPTH_MAX);
        // What nothing tells of is shown by its id, and known to be missing.
        let lost = spans.around(1, 9_999, 9);
        assert!(lost.is_err());
        assert_eq!(ids(&lost), [10_000, 9_999]);
        // Another logger's spans are others.
        assert_eq!(ids(&spans.around(2, 1, 9)), [1]);
    }

    #[test]
    fn what_is_told_again_counts_once_and_memory_is_bounded() {
        let mut spans = ToldSpans::new(BYTES_MAX);
        for _ in 0..3 {
            open(&mut spans, 1, 0);
            spans.note(1, &record(RECORD_SPAN_VALUES, 6, &[1, 0]), shape);
        }
        assert_eq!(spans.known[&(1, 1)].told.len(), 2);
        for ticks in 0..2 * TOLD_MAX as u64 {
            spans.note(1, &record(RECORD_SPAN_VALUES, ticks, &[1, 0]), shape);
        }
        assert_eq!(spans.known[&(1, 1)].told.len(), TOLD_MAX);
        let long = vec![0; 4_000];
        for id in 2..10_000 {
            let words = [&[id, 0][..], &long].concat();
            spans.note(1, &record(RECORD_SPAN_OPEN, 5, &words), shape);
            // The one that events ask for stays.
            assert_eq!(
                spans.around(1, 1, 9).map(|spans| spans[0].name.clone()).ok().as_deref(),
                Some("span")
            );
        }
        assert!(spans.bytes <= BYTES_MAX && spans.known.len() < 3_000);
        assert_eq!(spans.known.len(), spans.order.len());
    }

    #[test]
    fn records_that_are_too_short_tell_nothing() {
        let mut spans = ToldSpans::new(BYTES_MAX);
        for kind in 0..=255 {
            for len in 0..4 {
                spans.note(1, &record(kind, 1, &vec![9; len]), shape);
                spans.note(1, &record(kind, 1, &vec![0; len]), shape);
            }
        }
        spans.note(1, &[1, 2, 3], shape);
        assert_eq!(spans.known.len(), 1);
    }
}
