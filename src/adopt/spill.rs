//! Spill: the spill files of a dead logger, which become segments of its log directory.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::segment::{Segment, has_no_header};
use crate::io::Disk;
use crate::lane::owner::Owner;
use crate::store::spill::{drain, of};

/// Takes up the spill files of a dead logger whose lock the caller holds. Those whose header is not
/// whole hold nothing that is not in staging.
pub(super) fn take_up(disk: &dyn Disk, log_dir: &Path, owner: &Owner) -> io::Result<()> {
    let Some(dir) = owner.spill.as_deref().filter(|dir| is_own(dir)) else { return Ok(()) };
    for path in of(dir, owner.logger)? {
        if has_no_header(&path).unwrap_or(false) {
            disk.unlink(&path)?;
        } else if let Some(mut segment) = Segment::at(path.clone(), owner.logger) {
            segment.mend(disk)?;
            drain(disk, &path, log_dir)?;
        }
    }
    Ok(())
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
    use std::os::unix::fs::PermissionsExt as _;

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
