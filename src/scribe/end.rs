//! End: how a scribe ends: everything that was accepted is handed over, and lanes that nobody will
//! write to any more are removed.

use std::time::Duration;

use super::Scribe;
use super::progress::{Ask, Ticket};
use super::queue::Op;
use crate::config::Durability;
use crate::lane::hand_out::Lane;
use crate::notice;

/// How long the end waits for spill files to become part of the log, and the process's end.
const SPILL_WAIT: Duration = Duration::from_secs(10);
const SPILL_WAIT_AT_EXIT: Duration = Duration::from_secs(1);

/// What an ended logger left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All lanes are gone with their place.
    Removed,
    /// Something is left for the next adopter.
    Left,
    /// The same, and a thread may still write into it: it is not to be taken up while the process
    /// lives.
    Busy,
}

impl Scribe {
    /// The end: drains what stragglers still wrote, seals the segment, waits for the disk, and
    /// removes the lanes that nobody will write to any more.
    pub(super) fn finish(&mut self, (ticket, ask): (Ticket, Ask)) -> End {
        self.setup.progress.refuse_asks();
        let stopped = self.stop_lanes(ask);
        self.meet_new_lanes();
        // Before the last look at the lanes, which nobody else takes from then.
        let patience = if ask == Ask::Shutdown { SPILL_WAIT } else { SPILL_WAIT_AT_EXIT };
        let spilled = self.setup.spill.as_ref().is_none_or(|spill| spill.end(patience));
        let stopped = stopped && spilled;
        while !self.drain(true) {
            self.wait_for_buffers();
            if self.setup.queue.is_ended() {
                break;
            }
        }
        self.tell_losses();
        if let Some(line) = self.loss_notice.end(&self.setup.plan.dir) {
            notice::say(&line);
        }
        self.seal();
        if let Some(end) = self.segments.roll(self.setup.durability) {
            self.setup.queue.push(end);
        }
        let durable = self.setup.durability != Durability::Never;
        if durable {
            self.sync_now();
        }
        let pending = self.pending.drain(..).map(|p| (p.ticket, p.ask)).chain([(ticket, ask)]);
        self.setup.progress.set_last_goals(pending, self.n_blocks, durable);
        self.setup.queue.push(Op::End);
        while !self.setup.queue.is_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_drained = self.setup.spill.as_ref().is_none_or(|spill| spill.is_drained());
        let all_written = self.setup.progress.written().blocks == self.n_blocks && is_drained;
        if !all_written {
            return if stopped { End::Left } else { End::Busy };
        }
        let closed = self.setup.lanes.close();
        self.meet_new_lanes();
        let removed = stopped && closed && self.remove_lanes(ask);
        if removed {
            self.setup.lanes.place.remove();
        } else if ask != Ask::Shutdown {
            self.setup.lanes.reopen();
        }
        match removed {
            true => End::Removed,
            false if stopped && closed => End::Left,
            false => End::Busy,
        }
    }

    /// Stops the producers of the lanes that are to go, so that what is drained from now on is all
    /// that was accepted; false when a thread stands inside a log call.
    fn stop_lanes(&mut self, ask: Ask) -> bool {
        let closed = ask != Ask::Shutdown || self.setup.lanes.close();
        self.meet_new_lanes();
        let goes = |lane: &Lane| match ask {
            Ask::Exit(tid) => lane.id != 0 && lane.tid == tid,
            _ => true,
        };
        let lanes = self.intakes.iter().map(|intake| &intake.lane).filter(|lane| goes(lane));
        self.setup.lanes.stop(&lanes.cloned().collect::<Vec<_>>()) && closed
    }

    fn wait_for_buffers(&mut self) {
        std::thread::sleep(Duration::from_millis(1));
        for buffer in self.setup.queue.take_free() {
            self.setup.staging.give_back(buffer);
        }
    }

    /// Removes lanes that are empty and whose threads have ended, or cannot log any more; true
    /// when none is left.
    fn remove_lanes(&mut self, ask: Ask) -> bool {
        let may_log = |lane: &Lane| match ask {
            Ask::Exit(_) if lane.id == 0 => self.setup.lanes.has_laneless(),
            _ => !(lane.is_ended() || lane.is_stopped()),
        };
        let (left, gone): (Vec<_>, Vec<_>) =
            self.intakes.iter().partition(|intake| may_log(&intake.lane) || !intake.is_emptied());
        for intake in gone.iter().filter(|intake| intake.lane.id != 0) {
            self.setup.lanes.remove(&intake.lane);
        }
        left.is_empty()
    }
}
