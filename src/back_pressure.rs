//! Back-pressure: what a logger is told to do with events for which there is no room.

use std::time::Duration;

use crate::config::Builder;
use crate::error::{Error, Kind};
use crate::lane::full::{OnFull, Step};
use crate::record::Level;
use crate::ring::BackPressurePolicy;

/// How long the default waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens when the time of [`BackPressurePolicy::Block`] has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The new event is lost.
    DropNewest,
    /// The oldest events of the thread make room.
    DropOldest,
}

impl Builder {
    /// Sets what a call does when its lane is full and cannot become larger.
    ///
    /// | policy | the call | what is lost |
    /// | --- | --- | --- |
    /// | not set | waits while the disk makes progress, and a second without | the new event (`full`) |
    /// | `Block` | waits for as long as it takes, or for [`Builder::block_timeout`] | nothing, or as the fallback says |
    /// | `DropNewest` | comes back at once | the new event (`full`) |
    /// | `DropOldest` | comes back at once | the oldest events of its thread that are not written yet (`evicted`); the new one (`full`) where another thread is reading the lane at this moment and is not done soon |
    ///
    /// Every loss is counted by level and cause, and told in the log where it happened. A wait that
    /// ran out is not repeated until the disk has made progress, and nobody waits once the logger's
    /// thread is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use ttlog::{BackPressurePolicy, Level};
    /// # fn main() -> Result<(), ttlog::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let logger = ttlog::Builder::new(dir.path())
    ///     .back_pressure(BackPressurePolicy::DropOldest)
    ///     .back_pressure_at(Level::WARN, BackPressurePolicy::Block)
    ///     .build()?;
    /// # logger.shutdown(std::time::Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn back_pressure(mut self, policy: BackPressurePolicy) -> Self {
        self.on_full = Some(policy);
        self
    }

    /// Sets another policy for events at this level and above.
    ///
    /// Events below it never make them go: where one would have to be evicted, the new event is lost
    /// instead (`full`).
    pub fn back_pressure_at(mut self, level: Level, policy: BackPressurePolicy) -> Self {
        self.on_full_at = Some((level, policy));
        self
    }

    /// Bounds how long a call waits under [`BackPressurePolicy::Block`], and sets what it does then;
    /// by default it waits for as long as it takes.
    pub fn block_timeout(mut self, timeout: Duration, fallback: Fallback) -> Self {
        self.block_timeout = Some((timeout, fallback));
        self
    }

    /// Takes the policy from `TTLOG_ON_FULL`, if code set none.
    pub(crate) fn env_on_full(&mut self) {
        const NAME: &str = "TTLOG_ON_FULL";
        let Some(value) = std::env::var_os(NAME).filter(|text| !text.is_empty()) else { return };
        if self.on_full.is_some() {
            return;
        }
        match value.to_str() {
            Some("block") => self.on_full = Some(BackPressurePolicy::Block),
            Some("drop-oldest") => self.on_full = Some(BackPressurePolicy::DropOldest),
            Some("drop-newest") => self.on_full = Some(BackPressurePolicy::DropNewest),
            _ => self.warnings.push(format!(
                "{NAME}={}: use block, drop-oldest or drop-newest; the default stands",
                value.display()
            )),
        }
    }

    /// The policies as lanes take them.
    pub(crate) fn on_full(&self) -> Result<OnFull, Error> {
        let steps = match &self.on_full {
            None => OnFull::patient(PATIENCE).steps,
            Some(policy) => self.steps(policy)?,
        };
        let kept = match &self.on_full_at {
            None => None,
            Some((level, policy)) => Some((*level, self.steps(policy)?)),
        };
        Ok(OnFull { steps, kept })
    }

    fn steps(&self, policy: &BackPressurePolicy) -> Result<Vec<Step>, Error> {
        Ok(match policy {
            BackPressurePolicy::Block => match &self.block_timeout {
                None => vec![Step::Wait(None)],
                Some((timeout, Fallback::DropNewest)) => vec![Step::Wait(Some(*timeout))],
                Some((timeout, Fallback::DropOldest)) => {
                    vec![Step::Wait(Some(*timeout)), Step::Evict]
                }
            },
            BackPressurePolicy::DropOldest => vec![Step::Evict],
            BackPressurePolicy::DropNewest => Vec::new(),
            BackPressurePolicy::SpillToDisk(_) => {
                let what = "a logger does not spill in this version; use Block, DropOldest or \
                            DropNewest";
                return Err(Error::new(Kind::Setting(what.into())));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(builder: Builder) -> OnFull {
        builder.on_full().unwrap()
    }

    #[test]
    fn policies_become_steps_and_a_timeout_belongs_to_block() {
        use BackPressurePolicy::{Block, DropNewest, DropOldest};
        let builder = || Builder::new("logs");
        assert_eq!(steps(builder()), OnFull::patient(PATIENCE));
        assert_eq!(steps(builder().back_pressure(Block)).steps, [Step::Wait(None)]);
        let limit = Duration::from_millis(50);
        let both = builder()
            .back_pressure(DropOldest)
            .back_pressure_at(Level::WARN, Block)
            .block_timeout(limit, Fallback::DropOldest);
        let kept = Some((Level::WARN, vec![Step::Wait(Some(limit)), Step::Evict]));
        assert_eq!(steps(both), OnFull { steps: vec![Step::Evict], kept });
        let short = builder().back_pressure(Block).block_timeout(limit, Fallback::DropNewest);
        assert_eq!(steps(short).steps, [Step::Wait(Some(limit))]);
        assert_eq!(steps(builder().back_pressure(DropNewest)).steps, []);
    }

    #[test]
    fn what_cannot_be_done_is_one_clear_error() {
        let spills = BackPressurePolicy::SpillToDisk("spill".into());
        let error = Builder::new("logs").back_pressure(spills).on_full().unwrap_err();
        assert!(error.to_string().contains("use Block"), "{error}");
    }
}
