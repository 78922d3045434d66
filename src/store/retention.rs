//! Retention: which segments of a directory go, so that the rest is within the limits.
//!
//! # Invariants
//!
//! - **K1** A file is looked at only by a name that [`super::name`] makes, and goes only when its
//!   header says the same: a foreign file under such a name stays.
//! - **K2** What is being written, or holds what is nowhere else yet, stays: an unsealed segment of a
//!   logger that has an owner, and every spill file.
//! - **K3** Of one logger's segments the earlier goes first, also where the clock was set back: while
//!   one stays that is being written, or is not old enough, those behind it do. Spill files stay
//!   until they are part of the log, and what was begun behind them may go before.
//! - **K4** What is listed, planned and removed happens under the directory's lock, so that several
//!   processes together remove what one alone would.
//!
//! # Failure
//!
//! Removing a file is one step of the file system, the oldest first: whoever dies in between leaves
//! fewer files, each of them whole. A file that cannot be removed is passed over and told.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::keep::Limits;
use super::name::{self, SegmentName};
use super::segment::SegmentReader;
use crate::crash::crash_point;
use crate::io::Disk;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// A segment or spill file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// What its name says.
    pub name: SegmentName,
    /// Bytes that the file system has given it.
    pub bytes: u64,
}

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its newest event is too old.
    Age,
    /// There are too many.
    Count,
    /// They are too large together.
    Total,
    /// Too little of the file system is free.
    Free,
}

/// A segment that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The file.
    pub stored: Stored,
    /// Why.
    pub why: Why,
}

/// What went, and what could not be removed.
pub type Applied = (Vec<Doomed>, Vec<(PathBuf, io::Error)>);

/// True when the logger of a segment of this user lives, or died and was not taken up yet: of its
/// segments only those that are sealed may go.
pub(crate) type IsOwned<'a> = dyn Fn(&Stored, u32) -> bool + 'a;

/// What the limits are applied to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Segments of this app alone, as [`name::clean`] writes it; of all without one.
    pub app: Option<&'a str>,
    /// The app's name as it stands in headers: others may be written the same in names of files.
    pub exact: Option<&'a str>,
    /// UTC in nanoseconds since 1970.
    pub now_ns: i64,
    /// A logger that writes here, and the size that its segments may grow to: what the current one
    /// may still take is kept free for it.
    pub writes: Option<(u64, u64)>,
}

/// The segments and spill files of a directory, the oldest first; of a logger in order.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn list(dir: &Path) -> io::Result<Vec<Stored>> {
    let mut loggers: BTreeMap<u64, Vec<Stored>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(name::parse) else { continue };
        // Of the name itself: a symbolic link is no segment. One may have gone meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            let bytes = metadata.blocks() * BLOCK_BYTES;
            loggers.entry(name.logger).or_default().push(Stored {
                path: entry.path(),
                name,
                bytes,
            });
        }
    }
    let mut dated = Vec::new();
    for mut segments in loggers.into_values() {
        segments.sort_by_key(|stored| (stored.name.number, stored.name.created_s));
        let mut latest = i64::MIN;
        for stored in segments {
            latest = latest.max(stored.name.created_s);
            dated.push((latest, stored));
        }
    }
    // Stable: what began in the same second stays in the order of its logger (K3).
    dated.sort_by_key(|(latest, _)| *latest);
    Ok(dated.into_iter().map(|(_, stored)| stored).collect())
}

/// Removes what is beyond the limits, under the directory's lock, which the caller holds (K4).
/// Returns what went, or would go without a disk, and what could not be removed.
///
/// # Errors
///
/// When the directory cannot be listed.
pub(crate) fn apply(
    disk: Option<&dyn Disk>,
    dir: &Path,
    limits: &Limits,
    scope: Scope<'_>,
    is_owned: &IsOwned<'_>,
) -> io::Result<Applied> {
    let (mut gone, mut refused) = (Vec::new(), Vec::new());
    if *limits == Limits::default() {
        return Ok((gone, refused));
    }
    crash_point!("retention.list");
    let mut stored = list(dir)?;
    stored.retain(|stored| scope.app.is_none_or(|app| stored.name.app == app));
    if let Some(exact) = scope.exact.filter(|app| name::is_shared(app)) {
        let is_other = |stored: &Stored| {
            SegmentReader::open(&stored.path).is_ok_and(|reader| reader.header().app != exact)
        };
        stored.retain(|stored| !is_other(stored));
    }
    let mut free = match limits.min_free {
        Some(_) => rustix::fs::statvfs(dir).map(|stat| stat.f_bavail * stat.f_frsize)?,
        None => u64::MAX,
    };
    let mut passed_over = HashSet::new();
    loop {
        let doomed = plan(&stored, limits, scope, free, &passed_over, is_owned);
        let mut failed = false;
        for Doomed { stored, why } in doomed {
            crash_point!("retention.unlink");
            match disk.map_or(Ok(()), |disk| disk.unlink(&stored.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = true;
                    passed_over.insert(stored.path.clone());
                    refused.push((stored.path, error));
                }
                _ => gone.push(Doomed { stored, why }),
            }
            crash_point!("retention.unlinked");
        }
        if !failed {
            return Ok((gone, refused));
        }
        // Others go instead of those that do not.
        let n_before = stored.len();
        stored.retain(|stored| gone.iter().all(|gone: &Doomed| gone.stored.path != stored.path));
        let freed = gone.iter().rev().take(n_before - stored.len()).map(|gone| gone.stored.bytes);
        free = free.saturating_add(freed.sum());
    }
}

/// What has to go of these files, which are in the order of [`list`].
fn plan(
    stored: &[Stored],
    limits: &Limits,
    scope: Scope<'_>,
    free: u64,
    passed_over: &HashSet<PathBuf>,
    is_owned: &IsOwned<'_>,
) -> Vec<Doomed> {
    let room = scope.writes.map_or(0, |(logger, size)| {
        let current = stored.iter().rfind(|s| s.name.logger == logger && !s.name.spill);
        size.saturating_sub(current.map_or(0, |current| current.bytes))
    });
    let bytes: u64 = stored.iter().map(|stored| stored.bytes).sum();
    let mut total = bytes.saturating_add(room);
    let mut count = stored.iter().filter(|stored| !stored.name.spill).count() as u64;
    let mut free = free;
    let oldest_ns = limits.age.map_or(i64::MIN, |age| {
        scope.now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    });
    let (mut doomed, mut stays) = (Vec::new(), HashSet::new());
    for stored in stored.iter().filter(|stored| !stored.name.spill) {
        if stays.contains(&stored.name.logger) {
            continue;
        }
        let over = if limits.total.is_some_and(|max| total > max) {
            Some(Why::Total)
        } else if limits.count.is_some_and(|max| count > max) {
            Some(Why::Count)
        } else if limits.min_free.is_some_and(|min| free < min) {
            Some(Why::Free)
        } else {
            None
        };
        let may_be_old = stored.name.created_s.saturating_mul(1_000_000_000) < oldest_ns;
        if passed_over.contains(&stored.path) {
            continue;
        }
        let why = match over.is_some() || may_be_old {
            false => None,
            true => match removable(stored, is_owned) {
                Removable::Foreign => continue,
                Removable::Written => None,
                Removable::Newest(newest_ns) => {
                    over.or((newest_ns < oldest_ns).then_some(Why::Age))
                }
            },
        };
        let Some(why) = why else {
            stays.insert(stored.name.logger);
            continue;
        };
        total -= stored.bytes;
        count -= 1;
        free = free.saturating_add(stored.bytes);
        doomed.push(Doomed { stored: stored.clone(), why });
    }
    doomed
}

/// Whether a segment may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removable {
    /// UTC of its newest event.
    Newest(i64),
    /// It is being written, or was not taken up yet (K2).
    Written,
    /// It is not what its name says (K1).
    Foreign,
}

fn removable(stored: &Stored, is_owned: &IsOwned<'_>) -> Removable {
    let Ok(reader) = SegmentReader::open(&stored.path) else { return Removable::Foreign };
    let header = reader.header();
    let is_it = header.logger == stored.name.logger
        && header.number == stored.name.number
        && name::clean(&header.app) == stored.name.app;
    if !is_it {
        return Removable::Foreign;
    }
    if !reader.is_sealed() && is_owned(stored, header.uid) {
        return Removable::Written;
    }
    let newest = reader.index().and_then(|index| index.iter().map(|e| e.last_wall_ns).max());
    let modified = || {
        let metadata = std::fs::symlink_metadata(&stored.path).ok()?;
        Some(metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()))
    };
    newest.or_else(modified).map_or(Removable::Foreign, Removable::Newest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::FileDisk;
    use crate::store::keep::Keep;
    use crate::store::segment::SegmentHeader;
    use crate::store::{Builder, block};

    const DAY_NS: i64 = 86_400_000_000_000;
    /// 2026-11-21T10:00:00Z.
    const NOW_NS: i64 = 1_795_255_200_000_000_000;

    /// A sealed or unsealed segment without events, `days` old.
    fn put(dir: &Path, app: &str, logger: u64, number: u64, days: i64, sealed: bool) -> PathBuf {
        let created_ns = NOW_NS - days * DAY_NS;
        let header =
            SegmentHeader { logger, number, app: app.into(), created_ns, ..Default::default() };
        let path = dir.join(name::segment(app, created_ns, logger, number));
        let builder = Builder::new(header);
        let bytes = if sealed { builder.finish() } else { builder.finish_unsealed() };
        std::fs::write(&path, bytes.unwrap()).unwrap();
        path
    }

    fn scope() -> Scope<'static> {
        Scope { app: Some("orders"), exact: Some("orders"), now_ns: NOW_NS, writes: None }
    }

    fn gone(dir: &Path, keep: Keep, scope: Scope<'_>, owned: &[u64]) -> Vec<(PathBuf, Why)> {
        let is_owned = |stored: &Stored, _| owned.contains(&stored.name.logger);
        let (planned, _) = apply(None, dir, &keep, scope, &is_owned).unwrap();
        let (gone, refused) = apply(Some(&FileDisk), dir, &keep, scope, &is_owned).unwrap();
        assert_eq!(planned, gone, "the plan is what is done");
        assert!(refused.is_empty() && gone.iter().all(|doomed| !doomed.stored.path.exists()));
        gone.into_iter().map(|doomed| (doomed.stored.path, doomed.why)).collect()
    }

    #[test]
    fn the_oldest_go_and_none_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> =
            (0..6).map(|n| put(dir.path(), "orders", n, 1, 6 - n as i64, true)).collect();
        assert_eq!(gone(dir.path(), Keep::count(6), scope(), &[]), []);
        assert_eq!(
            gone(dir.path(), Keep::count(5), scope(), &[]),
            [(paths[0].clone(), Why::Count)]
        );
        let each = list(dir.path()).unwrap()[0].bytes;
        assert_eq!(gone(dir.path(), Keep::total(5 * each), scope(), &[]), []);
        assert_eq!(gone(dir.path(), Keep::total(5 * each - 1), scope(), &[]).len(), 1);
        let writes = Scope { writes: Some((5, 2 * each)), ..scope() };
        assert_eq!(gone(dir.path(), Keep::total(4 * each), writes, &[]).len(), 1);
        assert_eq!(gone(dir.path(), Keep::everything(), scope(), &[]), []);
        assert_eq!(gone(dir.path(), Keep::min_free(u64::MAX), scope(), &[]).len(), 3);
    }

    #[test]
    fn k1_foreign_files_and_other_apps_stay() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "orders", 1, 1, 9, true);
        let other = put(dir.path(), "orders-db", 2, 1, 9, true);
        let lies = dir.path().join(name::segment("orders", NOW_NS, 3, 1));
        std::fs::copy(&other, &lies).unwrap();
        let text = dir.path().join(name::segment("orders", 0, 4, 1));
        std::fs::write(&text, "somebody's notes").unwrap();
        let link = dir.path().join(name::segment("orders", 0, 5, 1));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        std::fs::create_dir(dir.path().join(name::segment("orders", 0, 6, 1))).unwrap();
        std::fs::write(dir.path().join("orders.ttlog"), "x").unwrap();
        let keep = Keep::age(Duration::ZERO).count(0).total(0);
        assert_eq!(gone(dir.path(), keep, scope(), &[]).len(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 6);
        assert!(
            gone(dir.path(), Keep::count(0), Scope { app: None, exact: None, ..scope() }, &[])
                .len()
                == 1
        );
        assert!(!other.exists() && lies.exists());
    }

    #[test]
    fn k1_apps_whose_names_look_alike_in_names_of_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(70);
        let apps = ["a b".to_owned(), "a_b".into(), format!("{long}1"), format!("{long}2")];
        let put_both = |n: usize| {
            [9, 8].map(|days| put(dir.path(), &apps[n], n as u64, days, 9 - days as i64, true))
        };
        let paths: Vec<_> = (0..apps.len()).map(put_both).collect();
        for (app, paths) in apps.iter().zip(&paths) {
            let clean = name::clean(app);
            let scope = Scope { app: Some(&clean), exact: Some(app), ..scope() };
            let gone = gone(dir.path(), Keep::count(1), scope, &[]);
            assert_eq!(gone, [(paths[1].clone(), Why::Count)], "{app}");
        }
    }

    #[test]
    fn k2_what_is_written_or_not_taken_up_and_spill_stay() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = put(dir.path(), "orders", 1, 1, 9, true);
        let living = put(dir.path(), "orders", 1, 2, 8, false);
        let dead = put(dir.path(), "orders", 2, 1, 7, false);
        let spill = dir.path().join(name::spill("orders", 0, 2, 2));
        std::fs::rename(put(dir.path(), "orders", 2, 2, 9, true), &spill).unwrap();
        let none = Keep::count(0).total(0).age(Duration::ZERO);
        let found: Vec<_> =
            gone(dir.path(), none, scope(), &[1]).into_iter().map(|g| g.0).collect();
        assert_eq!(found, [sealed, dead]);
        assert!(living.exists() && spill.exists());
    }

    #[test]
    fn k3_what_was_spilled_behind_a_segment_that_is_written_stays_as_long() {
        let dir = tempfile::tempdir().unwrap();
        let first = put(dir.path(), "orders", 1, 1, 9, true);
        put(dir.path(), "orders", 1, 2, 8, false);
        let spilled = put(dir.path(), "orders", 1, 3, 9, true);
        let other = put(dir.path(), "orders", 2, 1, 1, true);
        for keep in [Keep::count(1), Keep::total(0)] {
            let is_owned = |stored: &Stored, _| stored.name.logger == 1;
            let (planned, _) = apply(None, dir.path(), &keep, scope(), &is_owned).unwrap();
            let planned: Vec<_> = planned.iter().map(|doomed| &doomed.stored.path).collect();
            assert!(planned.contains(&&first) && !planned.contains(&&spilled), "{planned:?}");
        }
        let gone: Vec<_> = gone(dir.path(), Keep::count(1), scope(), &[]);
        assert!(!spilled.exists() && other.exists() && gone.len() == 3, "none writes any more");
    }

    #[test]
    fn k3_a_clock_that_was_set_back_does_not_change_the_order_of_a_logger() {
        let dir = tempfile::tempdir().unwrap();
        let first = put(dir.path(), "orders", 1, 1, 1, true);
        let second = put(dir.path(), "orders", 1, 2, 30, true);
        let other = put(dir.path(), "orders", 2, 1, 10, true);
        let order: Vec<_> = list(dir.path()).unwrap().into_iter().map(|s| s.path).collect();
        assert_eq!(order, [other, first, second]);
    }

    #[test]
    fn age_is_that_of_the_newest_event() {
        let dir = tempfile::tempdir().unwrap();
        let header = SegmentHeader {
            logger: 1,
            number: 1,
            app: "orders".into(),
            created_ns: NOW_NS - 30 * DAY_NS,
            ..Default::default()
        };
        let entry = block::BlockHeader {
            kind: block::KIND_EVENTS,
            last_wall_ns: NOW_NS - 3 * DAY_NS,
            ..Default::default()
        };
        let mut bytes = header.encode().to_vec();
        let entries = [crate::store::index::Entry::new(1024, &entry, &[])];
        bytes.extend(crate::store::index::seal(&entries, header.salt(), 1024, 0).unwrap());
        let path = dir.path().join(name::segment("orders", header.created_ns, 1, 1));
        std::fs::write(&path, bytes).unwrap();
        let days = |n: u64| Keep::age(Duration::from_secs(n * 86_400));
        assert_eq!(gone(dir.path(), days(4), scope(), &[]), []);
        assert_eq!(gone(dir.path(), days(2), scope(), &[]), [(path, Why::Age)]);
    }

    /// A disk that does not let one file go.
    #[derive(Debug)]
    struct Refusing(PathBuf);

    impl Disk for Refusing {
        fn create(&self, path: &Path) -> io::Result<Box<dyn crate::io::DiskFile>> {
            FileDisk.create(path)
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn crate::io::DiskFile>> {
            FileDisk.open(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            FileDisk.rename(from, to)
        }
        fn unlink(&self, path: &Path) -> io::Result<()> {
            if path == self.0 {
                Err(io::ErrorKind::PermissionDenied.into())
            } else {
                FileDisk.unlink(path)
            }
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            FileDisk.sync_dir(path)
        }
    }

    #[test]
    fn a_file_that_cannot_be_removed_is_told_and_the_next_goes_instead() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> =
            (0..4).map(|n| put(dir.path(), "orders", n, 1, 6 - n as i64, true)).collect();
        let disk = Refusing(paths[0].clone());
        let (gone, refused) =
            apply(Some(&disk), dir.path(), &Keep::count(2), scope(), &|_, _| false).unwrap();
        assert_eq!(refused.iter().map(|r| &r.0).collect::<Vec<_>>(), [&paths[0]]);
        let gone: Vec<_> = gone.iter().map(|doomed| &doomed.stored.path).collect();
        assert_eq!(gone, [&paths[1], &paths[2]]);
    }
}
