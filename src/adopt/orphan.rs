//! Orphan: places in shared memory that no owner file in a log directory names (rule S10).

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::mount_namespace;
use crate::lane::outside;
use crate::lane::owner::{self, Owner, Taken};
use crate::lane::place;
use crate::store::name;

/// Removes places in shared memory that no owner file names: their lock is free, and they have no
/// committed byte, or their log directory is gone in this very mount namespace (S10).
pub(super) fn remove_all(base: &Path) {
    for (path, logger) in places(base) {
        let _ = remove_orphan(&path, logger);
    }
}

/// This user's places below `base`, with the ids of their loggers.
pub(super) fn places(base: &Path) -> Vec<(PathBuf, u64)> {
    let uid = rustix::process::getuid().as_raw();
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let parsed = entries.filter_map(|entry| {
        let name = entry.file_name();
        let (of, logger) = name::parse_place(name.to_str()?)?;
        (of == uid).then(|| (base.join(&name), logger))
    });
    parsed.collect()
}

/// Removes a place whose maker died before it put its owner file there, if it did.
pub(super) fn remove_unfinished(path: &Path) {
    let owner = path.join(place::OWNER_NAME);
    if std::fs::symlink_metadata(owner).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        let _ = place::remove_unfinished(path);
    }
}

fn remove_orphan(path: &Path, logger: u64) -> io::Result<()> {
    let lock = path.join(place::OWNER_NAME);
    let taken = match owner::try_take(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return place::remove_unfinished(path);
        }
        taken => taken?,
    };
    let Taken::Free(_held) = taken else { return Ok(()) };
    let Some(own) = Owner::read(&lock)?.filter(|own| own.logger == logger) else { return Ok(()) };
    let named = own.log_dir.join(name::owner(logger));
    if own.mount != mount_namespace() || named.try_exists()? {
        return Ok(());
    }
    let stat = std::fs::symlink_metadata(path)?;
    let hint = owner::LanesHint { path: path.into(), device: stat.dev(), inode: stat.ino() };
    let has_bytes = || -> io::Result<bool> {
        let snapshot = outside::snapshot(&Owner { lanes: Some(hint), ..own.clone() })?;
        Ok(snapshot.runs.iter().any(|run| run.head.count > 0))
    };
    if !own.log_dir.try_exists()? || !has_bytes()? {
        place::remove(path);
    }
    Ok(())
}
