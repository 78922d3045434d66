//! Spill: how a spill file becomes a segment of the log directory.
//!
//! A spill file is a segment under another name: same header, same salt, a number that no segment of
//! its logger has. On the log's own file system a rename makes it one; elsewhere it is copied, and
//! removed when the copy is durable (S12). Killed between two steps, the same is done again: the
//! file is then under its old name, under both, or under the new one, and readers keep each byte
//! range of a lane once (S2).

use std::io;
use std::path::{Path, PathBuf};

use super::name::{self, SEGMENT_SUFFIX, SPILL_SUFFIX};
use crate::crash::crash_point;
use crate::io::{Disk, DiskFile};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// The name that a spill file has as a segment; `None` for a file that is none.
#[must_use]
pub fn segment_name(spill: &Path) -> Option<String> {
    let stem = spill.file_name()?.to_str()?.strip_suffix(SPILL_SUFFIX)?;
    Some(format!("{stem}{SEGMENT_SUFFIX}"))
}

/// The spill files of a logger in a directory, in the order in which they were made.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn of(dir: &Path, logger: u64) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.file_name();
        let name = file.to_str().and_then(name::parse);
        if let Some(name) = name.filter(|name| name.spill && name.logger == logger) {
            found.push((name.number, dir.join(&file)));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Makes a spill file whose bytes are synced a segment of `log_dir`; both names are durable when
/// this returns.
pub(crate) fn drain(disk: &dyn Disk, spill: &Path, log_dir: &Path) -> io::Result<PathBuf> {
    let name = segment_name(spill).ok_or(io::ErrorKind::InvalidInput)?;
    let segment = log_dir.join(&name);
    crash_point!("spill.rename");
    match disk.rename(spill, &segment) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let temporary = log_dir.join(format!(".{name}.{}", std::process::id()));
            let copied = copy(disk, spill, &temporary).and_then(|()| {
                crash_point!("spill.copied");
                disk.rename(&temporary, &segment)
            });
            if let Err(error) = copied {
                let _ = disk.unlink(&temporary);
                return Err(error);
            }
            disk.sync_dir(log_dir)?;
            crash_point!("spill.unlink");
            disk.unlink(spill)?;
        }
        renamed => {
            renamed?;
            crash_point!("spill.renamed");
            disk.sync_dir(log_dir)?;
        }
    }
    Ok(segment)
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let _ = disk.unlink(to);
    let (from, to): (_, Box<dyn DiskFile>) = (std::fs::File::open(from)?, disk.create(to)?);
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let n = from.read_at(&mut piece, at)?;
        if n == 0 {
            return to.sync();
        }
        to.write_at(&piece[..n], at).map_err(|(_, error)| error)?;
        at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::FileDisk;

    #[test]
    fn a_spill_file_becomes_a_segment_by_a_rename_or_a_copy() {
        let (log, near) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let far = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
        let name = "app-20261121T100000Z-0123456789abcdef-3";
        for dir in [near.path(), far.path()] {
            let spill = dir.join(format!("{name}{SPILL_SUFFIX}"));
            let bytes = vec![7; PIECE_BYTES + 5];
            std::fs::write(&spill, &bytes).unwrap();
            let segment = drain(&FileDisk, &spill, log.path()).unwrap();
            assert_eq!(segment, log.path().join(format!("{name}{SEGMENT_SUFFIX}")));
            assert!(!spill.exists());
            assert_eq!(std::fs::read(&segment).unwrap(), bytes);
            assert_eq!(std::fs::read_dir(log.path()).unwrap().count(), 1, "nothing beside it");
            std::fs::remove_file(segment).unwrap();
        }
        let other = near.path().join("notes.txt");
        std::fs::write(&other, "mine").unwrap();
        assert!(drain(&FileDisk, &other, log.path()).is_err() && other.exists());
    }
}
