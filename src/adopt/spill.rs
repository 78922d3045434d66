//! Spill: the spill files of a dead logger, which become segments of its log directory.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::segment::{Segment, has_no_header};
use crate::io::Disk;
use crate::lane::owner::Owner;
use crate::store::spill::{drain, of};

/// The spill files of a logger that are not part of its log yet; none where there is no directory.
pub(super) fn files(owner: &Owner) -> io::Result<Vec<PathBuf>> {
    let Some(dir) = owner.spill.as_deref() else { return Ok(Vec::new()) };
    match of(dir, owner.logger) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// Takes up the spill files of a dead logger whose lock the caller holds; returns how many, and how
/// many bytes were cut from their ends. Those whose header is not whole hold nothing that is not in
/// staging.
pub(super) fn take_up(
    disk: Option<&dyn Disk>,
    log_dir: &Path,
    owner: &Owner,
) -> io::Result<(u64, u64)> {
    let (mut n_files, mut cut_bytes) = (0, 0);
    let Some(dir) = owner.spill.as_deref() else { return Ok((0, 0)) };
    let paths = files(owner)?;
    // Names in the log directory are trusted as those of segments are.
    if !paths.is_empty() && !is_beside(owner, log_dir) && !is_own(dir) {
        let dir = dir.display();
        let why =
            format!("others may put files into {dir}; give it to this user, and `chmod go-w` it");
        return Err(io::Error::other(why));
    }
    for path in paths {
        if has_no_header(&path).unwrap_or(false) {
            disk.map_or(Ok(()), |disk| disk.unlink(&path))?;
        } else if let Some(mut segment) = Segment::at(path.clone(), owner.logger) {
            n_files += 1;
            // Without a disk it is mended with the segments.
            if let Some(on) = disk {
                cut_bytes += segment.mend(disk)?;
                drain(on, &path, log_dir)?;
            }
        }
    }
    Ok((n_files, cut_bytes))
}

/// True when a logger's spill files lie in its log directory.
pub(super) fn is_beside(owner: &Owner, log_dir: &Path) -> bool {
    std::fs::canonicalize(log_dir).is_ok_and(|log_dir| owner.spill.as_ref() == Some(&log_dir))
}

/// True for a directory of this user, reached without a symlink at its end, in which nobody else
/// can put files (S9).
fn is_own(dir: &Path) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(dir) else { return false };
    meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::segment::SegmentHeader;
    use crate::store::{Builder, name};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_others_could_have_put_there_is_left_and_told() {
        use crate::io::FileDisk;
        let (log, spill) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let owner = |dir: &Path| Owner {
            spill: Some(dir.canonicalize().unwrap_or_else(|_| dir.into())),
            ..Owner::of_test(7, log.path())
        };
        let put = |dir: &Path| {
            let header =
                SegmentHeader { logger: 7, number: 1, app: "app".into(), ..Default::default() };
            let path = dir.join(name::spill("app", 0, 7, 1));
            std::fs::write(&path, Builder::new(header).finish().unwrap()).unwrap();
            path
        };
        let open_to_all = |dir: &Path| {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        };
        let path = put(spill.path());
        open_to_all(spill.path());
        let error = take_up(Some(&FileDisk), log.path(), &owner(spill.path())).unwrap_err();
        assert!(error.to_string().contains("chmod go-w") && path.exists(), "{error}");
        // Where there is nothing, or no directory, nothing is wrong.
        std::fs::remove_file(path).unwrap();
        take_up(Some(&FileDisk), log.path(), &owner(spill.path())).unwrap();
        take_up(Some(&FileDisk), log.path(), &owner(&spill.path().join("none"))).unwrap();
        // The log directory itself is as open as it is for segments.
        open_to_all(log.path());
        let path = put(log.path());
        take_up(Some(&FileDisk), log.path(), &owner(log.path())).unwrap();
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(log.path()).unwrap().count(), 1, "it is a segment now");
    }

    #[test]
    fn s9_a_spill_directory_of_others_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_own(dir.path()));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(!is_own(&link) && !is_own(&dir.path().join("none")));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_own(dir.path()));
    }
}
