//! Answer: requests that wait until the lanes are drained.

use super::Scribe;
use super::progress::{Ask, Ticket};

/// A request that waits until lanes are drained.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) ask: Ask,
    /// Lanes and the tails they had when it was asked.
    pub(super) tails: Vec<(u32, u64)>,
    /// Blocks of the spiller that have to be written too, once the heads have passed the tails.
    pub(super) spilled: Option<u64>,
}

impl Scribe {
    /// Notes what was asked for, and how far the lanes have come.
    pub(super) fn hear_asked(&mut self, asked: Vec<(Ticket, Ask)>) {
        if !asked.is_empty() {
            // Blocks before the last one are waited for, too.
            self.setup.queue.hurry();
        }
        for (ticket, ask) in asked {
            let tails = self.intakes.iter().map(|i| (i.lane.generation, i.lane.memory().tail()));
            self.pending.push(Pending { ticket, ask, tails: tails.collect(), spilled: None });
        }
    }

    /// Lets go of requests whose callers have: while a disk hangs more and more of them come.
    pub(super) fn forget_abandoned(&mut self) {
        let progress = &self.setup.progress;
        self.pending.retain(|pending| {
            let may_go = matches!(pending.ask, Ask::Flush | Ask::Sync);
            !(may_go && progress.take_abandoned(pending.ticket))
        });
    }

    /// Answers requests whose lanes are drained; returns the request for the end.
    pub(super) fn answer(&mut self) -> Option<(Ticket, Ask)> {
        let intakes = &self.intakes;
        let has_passed = |generation: u32, tail: u64| {
            let intake = intakes.iter().find(|intake| intake.lane.generation == generation);
            intake.is_none_or(|intake| intake.head() >= tail)
        };
        let spill = self.setup.spill.as_deref();
        let is_spilled = |pending: &mut Pending| {
            spill.is_none_or(|spill| {
                let blocks = *pending.spilled.get_or_insert_with(|| spill.begun());
                spill.has(blocks, pending.ask == Ask::Sync)
            })
        };
        let is_ready = |pending: &mut Pending| {
            pending.tails.iter().all(|&(generation, tail)| has_passed(generation, tail))
                && is_spilled(pending)
        };
        let ready: Vec<Pending> = self.pending.extract_if(.., is_ready).collect();
        let (mut end, is_any) = (None, !ready.is_empty());
        for Pending { ticket, ask, .. } in ready {
            self.seal();
            match ask {
                Ask::Flush => self.setup.progress.set_goal(ticket, self.n_blocks, false),
                Ask::Sync => {
                    self.sync_now();
                    self.setup.progress.set_goal(ticket, self.n_blocks, true);
                }
                Ask::Rotate => {
                    if let Some(end) = self.segments.roll(self.setup.durability) {
                        self.setup.queue.push(end);
                    }
                    self.setup.progress.set_goal(ticket, self.n_blocks, false);
                }
                Ask::Shutdown | Ask::Exit(_) => end = Some((ticket, ask)),
            }
        }
        if is_any {
            self.setup.queue.hurry();
        }
        end
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::progress::Progress;
    use super::super::{Queue, ScribeSetup, SegmentPlan};
    use super::*;
    use crate::config::{Direct, Durability};
    use crate::emit::clock;
    use crate::lane::full::OnFull;
    use crate::lane::lanes::{FIRST_BYTES, Lanes, LanesSetup};
    use crate::lane::place::{LanesChoice, Place};
    use crate::lane::ring::Room;
    use crate::lane::staging::Staging;
    use crate::record::{CODEC_COMPACT, HEAD_BYTES, Head, RECORD_EVENT};
    use crate::store::rotate::Rotate;
    use crate::store::segment::SegmentHeader;

    /// A scribe without a file thread, with so many staging buffers, and its lanes, of which there is
    /// the common one.
    pub(in super::super) fn scribe(n_buffers: usize) -> (Scribe, Arc<Lanes>) {
        let (place, _) = Place::create(&LanesChoice::Private, 5, 64 << 20, 0).unwrap();
        let on_full = OnFull::default();
        let setup = LanesSetup { serial: 1, logger: 5, place, lane_bytes: FIRST_BYTES, on_full };
        let (lanes, parker) = Lanes::new(setup).unwrap();
        let lanes = Arc::new(lanes);
        let setup = ScribeSetup {
            lanes: lanes.clone(),
            catalog: Arc::default(),
            progress: Arc::new(Progress::default()),
            queue: Arc::new(Queue::default()),
            parker,
            staging: Staging::new(&lanes, n_buffers).unwrap(),
            plan: SegmentPlan {
                dir: "unused".into(),
                header: SegmentHeader::default(),
                rotate: Rotate::size(64 << 20),
                direct: Direct::Auto,
                numbers: Arc::default(),
            },
            durability: Durability::Never,
            write_within: Duration::from_secs(3600),
            codec: CODEC_COMPACT,
            now: clock::anchor,
            tap: None,
            spill: None,
            spans: Arc::default(),
        };
        (Scribe::new(setup), lanes)
    }

    /// Writes a record into the common lane, without a call for the scribe.
    pub(in super::super) fn write(lanes: &Lanes) {
        lanes.common.with(|producer| {
            assert!(matches!(producer.refill(HEAD_BYTES), Room::Open { .. }));
            producer.write(lanes.serial, HEAD_BYTES, |out: &mut [u8]| {
                out.copy_from_slice(&Head::encode(1, 0, RECORD_EVENT, 0, 7));
            })
        });
    }

    #[test]
    fn a_rest_ends_for_a_flush_that_waits_for_staging() {
        let (mut scribe, lanes) = scribe(2);
        let with_disk = [(), ()].map(|()| scribe.setup.staging.take(&lanes).unwrap());
        write(&lanes);
        let (progress, queue) = (scribe.setup.progress.clone(), scribe.setup.queue.clone());
        let (rested, told) = channel();
        std::thread::spawn(move || {
            queue.rest(Duration::from_secs(3600));
            rested.send(()).unwrap();
        });
        progress.ask(Ask::Flush);
        assert!(scribe.turn().is_none());
        assert_eq!((scribe.pending.len(), scribe.is_short), (1, true), "no buffer is back");
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(()), "it rests on");
        drop(with_disk);
    }
}
