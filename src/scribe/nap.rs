//! Nap: how long the scribe pauses between turns.

use std::time::Duration;

use super::Scribe;

/// Pause while lanes call: long enough that the scribe does not fight producers for their cache
/// lines, short enough that a lane of 1 MiB does not fill (SPIKE.md of the design).
const NAP: Duration = Duration::from_micros(100);
/// Where staging has run out, one such pause for each so many buffers: the disk has all of them to
/// write meanwhile, and those that come back together cost one waking of scribe and producer.
const BUFFERS_A_NAP: usize = 6;

impl Scribe {
    /// Pause before the next turn.
    pub(super) fn nap(&self) -> Duration {
        let is_short = self.batch.is_none() && !self.called.is_empty();
        let n_naps = self.setup.staging.n_made() / BUFFERS_A_NAP;
        if is_short { NAP * n_naps.max(1) as u32 } else { NAP }
    }
}
