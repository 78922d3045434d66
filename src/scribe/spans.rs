//! Spans: the open ones are told again at the head of each segment.

use super::Scribe;
use super::batch::Batch;
use crate::record::{LANE_RETOLD, RunHead};

impl Scribe {
    /// Tells the open spans again, at the head of a segment; what does not fit one block goes into
    /// the next.
    pub(super) fn retell(&mut self) {
        self.retold = (self.segments.n_begun_next(), self.retold.1 + 1);
        let records = self.setup.spans.lock().retell((self.setup.now)().ticks);
        let mut head = RunHead { lane: LANE_RETOLD, generation: self.retold.1, ..Default::default() };
        let mut at = 0;
        while at < records.len() && self.has_batch() {
            let Some(batch) = &mut self.batch else { return };
            let (encoder, catalog, codec) = (&mut self.encoder, &self.catalog, self.setup.codec);
            let added = batch.add(encoder, catalog, head.clone(), &records[at..], 0, codec);
            self.encoder.take_spans(|_| ());
            let Ok(added) = added else { return };
            if added.written == 0 {
                if self.batch.as_ref().is_some_and(Batch::is_empty) {
                    return;
                }
                self.seal();
                continue;
            }
            at += added.consumed;
            head.position += added.consumed as u64;
            head.end = head.position;
            head.first_record += u64::from(added.count);
        }
    }
}
