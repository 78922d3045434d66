//! Loss notice: what stderr is told while events are lost: one line when it begins, one when it is
//! over, and neither more often than once a minute.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Scribe;
use super::intake::Intake;
use crate::notice;

/// How often a loss is told to begin, at most.
const EVERY: Duration = Duration::from_secs(60);
/// A loss is over when nothing was lost for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// What was lost and told so far.
#[derive(Debug, Default)]
pub(super) struct LossNotice {
    /// When the last line about a beginning was written.
    told_at: Option<Instant>,
    /// When something was lost last, while a loss lasts.
    last_loss: Option<Instant>,
    /// Lost and not told as over yet.
    untold: u64,
    /// The beginning was told, so that the end is.
    is_told: bool,
}

impl LossNotice {
    /// Notes that this many were lost since the last call; the line that is due, if any.
    pub(super) fn note(&mut self, lost: u64, now: Instant, dir: &Path) -> Option<String> {
        self.untold += lost;
        if lost > 0 {
            self.last_loss = Some(now);
            let is_due = self.told_at.is_none_or(|at| now.duration_since(at) >= EVERY);
            if !self.is_told && is_due {
                (self.told_at, self.is_told) = (Some(now), true);
                let dir = dir.display();
                return Some(format!(
                    "events are being lost, {} so far; `ttlog gaps {dir}` shows where, stats() why",
                    self.untold
                ));
            }
            return None;
        }
        let since = self.last_loss.filter(|at| now.duration_since(*at) >= OVER_AFTER)?;
        debug_assert!(since <= now);
        self.last_loss = None;
        self.over(dir)
    }

    /// The line that is due when the logger ends.
    pub(super) fn end(&mut self, dir: &Path) -> Option<String> {
        (self.untold > 0).then_some(())?;
        self.is_told = true;
        self.over(dir)
    }

    fn over(&mut self, dir: &Path) -> Option<String> {
        if !std::mem::take(&mut self.is_told) {
            // Its beginning was not told, a minute after another's: the next line counts it.
            return None;
        }
        let (n, dir) = (std::mem::take(&mut self.untold), dir.display());
        Some(format!("no more events are lost; {n} were; `ttlog gaps {dir}` shows where"))
    }
}

impl Scribe {
    /// Says on stderr that events were lost; the stream says it where it happened.
    pub(super) fn tell_losses(&mut self) {
        let lost = self.intakes.iter_mut().map(Intake::take_lost).sum();
        if lost > 0 {
            self.setup.spans.lock().lose();
        }
        if let Some(line) = self.loss_notice.note(lost, Instant::now(), &self.setup.plan.dir) {
            notice::say(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_when_it_begins_and_when_it_is_over_and_seldom() {
        let (mut notice, dir, start) = (LossNotice::default(), Path::new("logs"), Instant::now());
        let mut note = |ms: u64, lost: u64| {
            notice.note(lost, start + Duration::from_millis(ms), dir).unwrap_or_default()
        };
        assert_eq!(note(0, 0), "");
        assert!(note(50, 3).contains("3 so far; `ttlog gaps logs`"));
        assert_eq!(note(100, 7), "");
        assert_eq!(note(1050, 0), "", "not over yet");
        assert!(note(1100, 0).contains("10 were"));
        // Again within the minute: nothing is said until the minute is over.
        assert_eq!(note(2000, 5), "");
        assert_eq!(note(4000, 0), "");
        assert!(note(61_000, 1).contains("6 so far"));
        assert!(note(62_000, 0).contains("6 were"));
        assert_eq!(note(63_000, 0), "");
    }

    #[test]
    fn the_end_tells_what_was_not_told() {
        let (mut notice, dir, now) = (LossNotice::default(), Path::new("logs"), Instant::now());
        assert_eq!(notice.end(dir), None);
        assert!(notice.note(2, now, dir).is_some());
        assert!(notice.end(dir).unwrap().contains("2 were"));
        assert_eq!(notice.end(dir), None);
        assert_eq!(notice.note(4, now, dir), None);
        assert!(notice.end(dir).unwrap().contains("4 were"));
    }
}
