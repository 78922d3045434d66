//! Gone: which numbers that no run has are damage, and which were removed; whose lanes are gone.
//!
//! A hole in the numbers of a lane is damage where nothing was removed that could have filled it.
//! Retention removes a logger's segments in the order of their numbers, so that of what is left only
//! the beginnings are missing; but a spill file holds what lies between the runs of segments with
//! other numbers. So where a logger has spilled, and a number is that of no file, no hole of its is
//! damage.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::store::name;
use crate::store::segment::{FLAG_AGAIN, FLAG_DUMP};

use super::plan::{FilePlan, Files, is_spill};
use super::weave::Gaps;

impl Files {
    /// True when files of this logger were removed: while they were written, since they were listed,
    /// before, while its staging may still hold some of what was in them, or when it had spilled. What
    /// they held is missing and not damaged.
    pub(super) fn has_gone(&self, logger: u64) -> bool {
        let own = || self.files.iter().filter(|file| file.logger.id == logger);
        let listed = || own().filter(|file| file.listed);
        let is_staged = self.alive.contains(&logger) || self.staged.contains(&logger);
        let is_staged = is_staged && !self.spilled.contains(&logger);
        let lowest = listed().map(|file| file.number).min();
        self.gone.contains(&logger)
            || is_staged && lowest.is_some_and(|lowest| lowest > 1)
            || own().any(|file| file.flags & FLAG_AGAIN != 0)
            || self.spilled.contains(&logger) && self.skips_a_number(logger)
            || listed()
                .any(|file| !is_spill(&file.path) && std::fs::symlink_metadata(&file.path).is_err())
    }

    /// Lets go of a file whose name another has by now, since it was removed while it was written: the
    /// next listing takes that one in.
    pub(super) fn let_go_replaced(&mut self, index: usize) {
        let file = &mut self.files[index];
        let now = std::fs::metadata(&file.path).map(|there| (there.dev(), there.ino()));
        if file.listed && now.is_ok_and(|now| now != file.identity) {
            file.sealed = true;
            self.known.remove(&file.path);
        }
    }

    /// True when a number of a listed logger is that of no file, below its last one, or perhaps
    /// behind it, as when there is nothing but what was spilled.
    fn skips_a_number(&self, logger: u64) -> bool {
        let is_there = |file: &&FilePlan| {
            file.listed
                && file.logger.id == logger
                && file.flags & FLAG_DUMP == 0
                && file.path.exists()
        };
        let there = || self.files.iter().filter(is_there);
        let numbers: BTreeSet<_> = there().map(|file| file.number).collect();
        there().all(FilePlan::is_apart)
            || numbers.iter().zip(1..).any(|(there, next)| *there != next)
    }

    /// True when the first segment of a listed logger is there: what is removed goes in order, so
    /// that then nothing was.
    pub(super) fn has_first(&self, logger: u64) -> bool {
        let listed = |file: &&FilePlan| file.listed && file.logger.id == logger;
        self.files.iter().filter(listed).any(|file| file.number == 1)
    }

    /// Which numbers mean damage when they are skipped in this file. What a living logger has not
    /// finished has gaps that will be filled, and what it spilled stands anywhere.
    pub(super) fn gaps(&self, file: &FilePlan, is_whole: bool) -> Gaps {
        match self.alive.contains(&file.logger.id) {
            false if is_whole && !file.is_apart() => Gaps::All,
            true if !file.sealed || self.spilled.contains(&file.logger.id) => Gaps::None,
            _ => Gaps::Between,
        }
    }
}

/// A logger that has an owner file, and whose lanes are gone.
#[derive(Debug)]
pub(super) struct GoneLanes {
    logger: u64,
    note: String,
    /// It left a socket. One that was killed in its start has none: its lanes were nobody's yet, and
    /// any other start may have cleared them away.
    has_listened: bool,
}

impl GoneLanes {
    pub(super) fn new(logger: u64, owner_file: &Path, note: String) -> Self {
        let socket = owner_file.with_file_name(name::control(logger));
        Self { logger, note, has_listened: std::fs::symlink_metadata(socket).is_ok() }
    }

    /// What is to be told of it: nothing when the last segment is sealed, since an end, or an adopter
    /// that was killed between lanes and owner file, had written everything by then; and nothing
    /// when its start never came to an end.
    pub(super) fn told(self, files: &Files) -> Option<String> {
        let own = files.files.iter().filter(|file| file.logger.id == self.logger);
        let last = own.max_by_key(|file| file.number);
        last.map_or(self.has_listened, |last| !last.sealed).then_some(self.note)
    }
}
