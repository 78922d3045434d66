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
        let (own, mut any) = (Owner { lanes: Some(hint), ..own.clone() }, false);
        outside::each_run(&own, &mut |run| any |= run.head.count > 0)?;
        Ok(any)
    };
    if !own.log_dir.try_exists()? || !has_bytes()? {
        place::remove(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::outside::Owner;
    use crate::lane::place::{LanesChoice, Place};

    const LOGGER: u64 = 0xfeed;

    /// A place below a directory of its own, whose owner says what `change` made of the truth.
    struct Orphan {
        base: tempfile::TempDir,
        log_dir: tempfile::TempDir,
        path: PathBuf,
    }

    fn orphan(change: impl FnOnce(&mut Owner)) -> (Orphan, Place) {
        let (base, log_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let choice = LanesChoice::In(base.path().to_owned());
        let (place, why) = Place::create(&choice, LOGGER, 64 << 20, 1 << 20).unwrap();
        assert_eq!(why, None);
        let mut owner = Owner {
            logger: LOGGER,
            app: "orphan".into(),
            version: String::new(),
            boot: owner::boot_id(),
            clock: 1,
            mount: mount_namespace(),
            pid: 1,
            start_ns: 0,
            log_dir: log_dir.path().to_owned(),
            lanes: place.hint().unwrap(),
            spill: None,
        };
        change(&mut owner);
        place.publish(&owner).unwrap();
        let path = place.path().unwrap().to_owned();
        (Orphan { base, log_dir, path }, place)
    }

    /// The file of a lane with one committed record of 16 bytes, as FORMAT.md draws it.
    fn put_lane(path: &Path, tail: u64) {
        let mut words = vec![0_u64; (4096 + 4096) / 8];
        let header = [
            (0, u64::from_le_bytes(*b"TTLGLANE")),
            (1, 1 | 4096 << 32),
            (2, LOGGER),
            (4, 4096),
            (5, 1),
            (16, tail),
        ];
        header.into_iter().for_each(|(at, word)| words[at] = word);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(path.join("lane-1"), bytes).unwrap();
    }

    /// Whether a look for orphans leaves the place there.
    fn stays(orphan: &Orphan) -> bool {
        remove_all(orphan.base.path());
        orphan.path.exists()
    }

    #[test]
    fn s10_a_place_whose_lock_is_held_stays_and_goes_when_it_is_free_and_empty() {
        let (orphan, place) = orphan(|_| ());
        put_lane(&orphan.path, 0);
        assert!(stays(&orphan), "its logger lives");
        drop(place);
        assert!(!stays(&orphan));
    }

    #[test]
    fn s10_a_place_with_a_committed_byte_stays_while_its_log_directory_is_there() {
        let (mut orphan, place) = orphan(|_| ());
        drop(place);
        put_lane(&orphan.path, 16);
        assert!(stays(&orphan));
        orphan.log_dir = tempfile::tempdir().unwrap();
        assert!(!stays(&orphan), "its log directory is gone");
    }

    #[test]
    fn s10_a_place_that_an_owner_file_names_is_left_to_the_adopter() {
        let (orphan, place) = orphan(|_| ());
        drop(place);
        let named = orphan.log_dir.path().join(name::owner(LOGGER));
        std::fs::write(&named, "").unwrap();
        assert!(stays(&orphan));
        std::fs::remove_file(named).unwrap();
        assert!(!stays(&orphan));
    }

    #[test]
    fn s10_a_log_directory_of_another_mount_namespace_may_be_there() {
        let (orphan, place) = orphan(|owner| {
            owner.mount += 1;
            owner.log_dir = "/nonexistent/log".into();
        });
        drop(place);
        put_lane(&orphan.path, 16);
        assert!(stays(&orphan));
    }

    #[test]
    fn s10_what_is_not_a_place_of_this_logger_or_holds_other_files_is_not_touched() {
        let (other, place) = orphan(|owner| owner.logger += 1);
        drop(place);
        assert!(stays(&other), "its owner file is another logger's");
        let (open, place) = orphan(|_| ());
        drop(place);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&open.path, mode).unwrap();
        // Its lock is free and it is empty, but somebody else may have put it there.
        remove_all(open.base.path());
        assert!(open.path.join("owner").exists());
        let (with_more, place) = orphan(|_| ());
        drop(place);
        std::fs::write(with_more.path.join("notes.txt"), "mine").unwrap();
        assert!(stays(&with_more) && with_more.path.join("notes.txt").exists());
    }

    #[test]
    fn s10_a_place_without_an_owner_file_goes_when_its_maker_is_gone() {
        let base = tempfile::tempdir().unwrap();
        let choice = LanesChoice::In(base.path().to_owned());
        let (place, _) = Place::create(&choice, LOGGER, 64 << 20, 1 << 20).unwrap();
        let path = place.path().unwrap().to_owned();
        remove_all(base.path());
        assert!(path.exists(), "its maker is at it");
        drop(place);
        remove_unfinished(&path);
        assert!(!path.exists());
    }
}
