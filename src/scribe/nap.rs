//! Nap: how long the scribe pauses between turns.

use std::time::{Duration, Instant};

use super::Scribe;

/// Pause while lanes call: long enough that the scribe does not fight producers for their cache
/// lines, short enough that a lane of 1 MiB does not fill (SPIKE.md of the design).
const NAP: Duration = Duration::from_micros(100);
/// Where staging has run out: the disk has all of it to write meanwhile, and buffers that come back
/// together cost one waking of scribe and producer.
const SHORT_NAP: Duration = Duration::from_micros(800);
/// So few buffers are written in less; for each of these one pause.
const BUFFERS_A_NAP: usize = 3;

impl Scribe {
    /// Pause before the next turn.
    pub(super) fn nap(&self) -> Duration {
        let n_naps = self.setup.staging.n_made() / BUFFERS_A_NAP;
        if self.is_short { SHORT_NAP.min(NAP * n_naps.max(1) as u32) } else { NAP }
    }

    /// Sleeps until a lane calls, somebody asks for something, or it is time for the next turn.
    pub(super) fn sleep(&mut self) {
        let until = self.watch.next().map_or(self.next_timer, |next| next.min(self.next_timer));
        let timeout = until.saturating_duration_since(Instant::now());
        let (ready, progress) = (&self.setup.lanes.ready, &self.setup.progress);
        ready.sleep(&self.setup.parker, timeout, || progress.is_asked());
        self.was_called = ready.is_set();
    }
}
