//! Places: directories of lanes found by their path, whoever made them.
//!
//! They are opened only as this user's own and closed to others, never through a symlink, and
//! removed file by file through one descriptor (S9, S10).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawDir, SeekFrom};

use super::owner::LanesHint;
use super::place::{LANE_PREFIX, OWNER_NAME, RECORDER_PREFIX};

/// Room for the names that one call of the kernel tells.
const NAMES_BYTES: usize = 8 << 10;

/// Opens a directory that is this user's own and closed to others, never through a symlink.
pub(super) fn open_own(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_uid != rustix::process::getuid().as_raw() || stat.st_mode & 0o777 != 0o700 {
        let what = "not a directory of this user alone";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(fd)
}

pub(super) fn still_named(fd: &OwnedFd, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (rustix::fs::fstat(fd), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (held.st_dev, held.st_ino) == (named.dev(), named.ino())
}

/// Names in a directory, read through its descriptor alone: the process may have no other left.
pub(super) fn names(fd: &OwnedFd) -> io::Result<Vec<String>> {
    rustix::fs::seek(fd, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(NAMES_BYTES);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

pub(super) fn is_empty(fd: &OwnedFd) -> io::Result<bool> {
    Ok(names(fd)?.is_empty())
}

/// Opens and locks a place that has just been made; `None` when somebody who took it for a leftover
/// has it, or has removed it.
pub(super) fn lock_empty(path: &Path) -> io::Result<Option<OwnedFd>> {
    let lock = || {
        let fd = open_own(path)?;
        let locked = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok();
        Ok((locked && still_named(&fd, path) && is_empty(&fd)?).then_some(fd))
    };
    match lock() {
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
        locked => locked,
    }
}

/// Removes a place: the files that ttlog makes, the owner file last, then the directory, which
/// stays when there is anything else in it. All through one descriptor, so that nobody can put
/// another directory in its place meanwhile.
pub(crate) fn remove(path: &Path) {
    if let Ok(fd) = open_own(path) {
        remove_opened(&fd, path);
    }
}

/// The same through a descriptor that is there already, unless the path names another by now.
pub(super) fn remove_by(fd: &OwnedFd, path: &Path) {
    if still_named(fd, path) {
        remove_opened(fd, path);
    } else {
        remove(path);
    }
}

pub(super) fn remove_opened(fd: &OwnedFd, path: &Path) {
    for name in names(fd).unwrap_or_default() {
        let ours = name.starts_with(LANE_PREFIX)
            || name.starts_with(RECORDER_PREFIX)
            || name.starts_with("staging-")
            || name == "anchors"
            || name == "callsites"
            || name.starts_with("..owner.")
            || name.starts_with(".owner.");
        if ours {
            let _ = rustix::fs::unlinkat(fd, name, AtFlags::empty());
        }
    }
    let _ = rustix::fs::unlinkat(fd, OWNER_NAME, AtFlags::empty());
    let _ = std::fs::remove_dir(path);
}

/// Removes the lanes of a place's flight recorder.
pub(super) fn remove_recorder(path: &Path) {
    let Ok(fd) = open_own(path) else { return };
    for name in names(&fd).unwrap_or_default() {
        if name.starts_with(RECORDER_PREFIX) {
            let _ = rustix::fs::unlinkat(&fd, name, AtFlags::empty());
        }
    }
}

/// Removes a place whose maker died before it could put its owner file there.
pub(crate) fn remove_unfinished(path: &Path) -> io::Result<()> {
    let fd = open_own(path)?;
    let locked = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok();
    let has_owner = rustix::fs::statat(&fd, OWNER_NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if locked && !has_owner && still_named(&fd, path) {
        remove_opened(&fd, path);
    }
    Ok(())
}

/// Opens the place that a hint names, if it is what the hint says: a directory of this user, mode
/// 0700, not reached through a symlink, with the same device and inode (S9).
pub(crate) fn open_hinted(hint: &LanesHint) -> io::Result<PathBuf> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    let found = std::fs::symlink_metadata(&hint.path)?;
    if !found.is_dir() {
        return refuse("not a directory");
    }
    if (found.dev(), found.ino()) != (hint.device, hint.inode) {
        return refuse("not the directory that the owner file means");
    }
    if found.uid() != rustix::process::getuid().as_raw() {
        return refuse("belongs to another user");
    }
    if found.mode() & 0o777 != 0o700 {
        return refuse("open to other users");
    }
    Ok(hint.path.clone())
}
