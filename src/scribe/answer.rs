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
