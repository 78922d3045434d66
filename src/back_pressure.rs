//! Back-pressure: what a logger is told to do with events for which there is no room.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Builder;
use crate::error::{Error, Kind};
use crate::lane::full::{OnFull, Step};
use crate::record::Level;
use crate::ring::BackPressurePolicy;

/// How long the default waits for the scribe where it does not go on, before it spills.
const HESITATION: Duration = Duration::from_millis(50);
/// How long the default waits for the spiller: with what it waited before, one second. A spiller
/// that its disk does not hold up may still wait that long for its turn on a loaded machine.
const PATIENCE: Duration = Duration::from_millis(950);
/// How long a call waits for the spiller where the user asked for it.
const SPILL_WAIT: Duration = Duration::from_millis(50);

/// The smallest quota of spill files: room for a few blocks.
const SPILL_QUOTA_MIN: u64 = 1 << 20;

/// What happens when the time of [`BackPressurePolicy::Block`] has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The new event is lost.
    DropNewest,
    /// The oldest events of the thread make room.
    DropOldest,
    /// The lane is emptied into spill files in this directory.
    SpillToDisk(PathBuf),
}

impl Builder {
    /// Sets what a call does when its lane is full and cannot become larger.
    ///
    /// | policy | the call | what is lost |
    /// | --- | --- | --- |
    /// | not set | waits while its lane is being written; after 50 ms without, spills beside the log | the new event (`full`), when the spill files' quota is reached, or their disk refuses or does not answer for a second |
    /// | `Block` | waits for as long as it takes, or for [`Builder::block_timeout`] | nothing, or as the fallback says |
    /// | `DropNewest` | comes back at once | the new event (`full`) |
    /// | `DropOldest` | comes back at once | the oldest events of its thread that are not written yet (`evicted`); the new one (`full`) where another thread is reading the lane at this moment and is not done soon |
    /// | `SpillToDisk` | waits for at most [`Builder::spill_wait`] while a thread of the logger empties the lane into files in a directory of choice, which may be the log directory itself | the new event (`full`), when the spill files' quota is reached or their disk refuses |
    ///
    /// Spill files become segments of the log as soon as lanes overflow no more: by a rename on the
    /// same file system, else by a copy. `ttlog` reads them meanwhile, and the next start in the log
    /// directory takes up those of a process that was killed.
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

    /// Bounds the bytes that spill files take together, until they are part of the log; by default
    /// 1 GiB.
    pub fn spill_quota(mut self, bytes: u64) -> Self {
        self.spill_quota = bytes;
        self
    }

    /// Bounds how long a call waits until the spiller has made room; by default 50 ms, and a second
    /// altogether where no policy was chosen.
    pub fn spill_wait(mut self, wait: Duration) -> Self {
        self.spill_wait = Some(wait);
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
            Some("spill") => self.on_full = Some(BackPressurePolicy::SpillToDisk(self.dir.clone())),
            Some(text) if text.len() > 6 && text.starts_with("spill:") => {
                self.on_full = Some(BackPressurePolicy::SpillToDisk(text[6..].into()));
            }
            _ => self.warnings.push(format!(
                "{NAME}={}: use block, drop-oldest, drop-newest, spill or spill:DIR; the default \
                 stands",
                value.display()
            )),
        }
    }

    /// The policies as lanes take them.
    pub(crate) fn on_full(&self) -> OnFull {
        let steps = match &self.on_full {
            None => vec![
                Step::WaitForProgress(HESITATION),
                match self.spill_wait {
                    None => Step::SpillForProgress(PATIENCE),
                    Some(wait) => Step::Spill(wait),
                },
            ],
            Some(policy) => self.steps(policy),
        };
        let kept = self.on_full_at.as_ref().map(|(level, policy)| (*level, self.steps(policy)));
        OnFull { steps, kept }
    }

    fn steps(&self, policy: &BackPressurePolicy) -> Vec<Step> {
        let spill = Step::Spill(self.spill_wait.unwrap_or(SPILL_WAIT));
        match policy {
            BackPressurePolicy::Block => match &self.block_timeout {
                None => vec![Step::Wait(None)],
                Some((timeout, fallback)) => {
                    let then = match fallback {
                        Fallback::DropNewest => None,
                        Fallback::DropOldest => Some(Step::Evict),
                        Fallback::SpillToDisk(_) => Some(spill),
                    };
                    [Step::Wait(Some(*timeout))].into_iter().chain(then).collect()
                }
            },
            BackPressurePolicy::DropOldest => vec![Step::Evict],
            BackPressurePolicy::DropNewest => Vec::new(),
            BackPressurePolicy::SpillToDisk(_) => vec![spill],
        }
    }

    /// The directories that policies name for spill files, each once; what was not chosen spills
    /// beside the log, or where another policy does.
    fn spill_dirs(&self) -> Vec<&Path> {
        let policies = self.on_full.iter().chain(self.on_full_at.iter().map(|(_, policy)| policy));
        let mut dirs: Vec<&Path> = policies
            .filter_map(|policy| match policy {
                BackPressurePolicy::SpillToDisk(dir) => Some(dir.as_path()),
                _ => None,
            })
            .collect();
        if let Some((_, Fallback::SpillToDisk(dir))) = &self.block_timeout {
            dirs.push(dir);
        }
        dirs.sort_unstable();
        dirs.dedup();
        if dirs.is_empty() && self.on_full.is_none() {
            dirs.push(&self.dir);
        }
        dirs
    }

    /// Refuses policies that make no sense together.
    pub(crate) fn check_on_full(&self) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::new(Kind::Setting(what.into())));
        if self.spill_dirs().len() > 1 {
            return refuse("a logger spills into one directory; name the same in each policy");
        }
        if self.spill_quota < SPILL_QUOTA_MIN {
            return refuse("spill_quota is too small; use 1 MiB or more");
        }
        Ok(())
    }

    /// Where this logger spills; makes the directory.
    pub(crate) fn spill_dir(&self) -> Result<Option<PathBuf>, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        let Some(dir) = self.spill_dirs().first().copied() else { return Ok(None) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
        made.and_then(|()| std::fs::canonicalize(dir)).map(Some).map_err(|error| {
            let what = "the spill directory cannot be made; make it, or choose another";
            Error::at(Kind::Directory(what), dir, error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(builder: Builder) -> OnFull {
        builder.on_full()
    }

    #[test]
    fn policies_become_steps_and_a_timeout_belongs_to_block() {
        use BackPressurePolicy::{Block, DropNewest, DropOldest};
        let builder = || Builder::new("logs");
        let default = vec![Step::WaitForProgress(HESITATION), Step::SpillForProgress(PATIENCE)];
        assert_eq!(steps(builder()), OnFull { steps: default, kept: None });
        assert_eq!(HESITATION + PATIENCE, Duration::from_secs(1));
        assert_eq!(builder().spill_dirs(), [Path::new("logs")]);
        let elsewhere = BackPressurePolicy::SpillToDisk("away".into());
        let elsewhere = builder().back_pressure_at(Level::WARN, elsewhere);
        assert_eq!(elsewhere.spill_dirs(), [Path::new("away")]);
        let (empty, chosen) = ([""; 0].map(Path::new), builder().back_pressure(DropNewest));
        assert_eq!(chosen.spill_dirs(), empty);
        let waits = Duration::from_millis(7);
        assert_eq!(steps(builder().spill_wait(waits)).steps[1], Step::Spill(waits));
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
    fn a_logger_spills_into_one_directory() {
        use BackPressurePolicy::{Block, SpillToDisk};
        let limit = Duration::from_millis(50);
        let spills = |dir: &str| Builder::new("logs").back_pressure(SpillToDisk(dir.into()));
        let both = |dir: &str| {
            let builder = spills("a").back_pressure_at(Level::WARN, Block);
            builder.block_timeout(limit, Fallback::SpillToDisk(dir.into()))
        };
        assert!(both("a").check_on_full().is_ok());
        let kept = Some((Level::WARN, vec![Step::Wait(Some(limit)), Step::Spill(limit)]));
        assert_eq!(steps(both("a")), OnFull { steps: vec![Step::Spill(limit)], kept });
        let error = both("b").check_on_full().unwrap_err().to_string();
        assert!(error.contains("one directory"), "{error}");
        let error = spills("a").spill_quota(1).check_on_full().unwrap_err().to_string();
        assert!(error.contains("1 MiB"), "{error}");
    }
}
