//! Owner lock: a logger's owner file in the log directory, and what is done when names go (S8).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::identity::make_dir;
use crate::control;
use crate::lane::lanes::Lanes;
use crate::lane::owner::{self, Owner};
use crate::lane::process;
use crate::monitor::Mutex;
use crate::notice;

#[derive(Debug)]
pub(crate) struct OwnerLock {
    pub(super) owner: Mutex<Owner>,
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) file: Mutex<Option<File>>,
    /// It does not say yet where the place was made again.
    pub(super) is_stale: AtomicBool,
}

impl OwnerLock {
    /// The log directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Publishes owner file and place again when their names went away (S8).
    pub(super) fn check(&self, lanes: &Lanes) {
        let mut owner = self.owner.lock();
        let mut file = self.file.lock();
        if file.is_none() {
            return;
        }
        let moved = lanes.place.is_removed() && {
            let told = lanes.place.gone().is_some();
            let made = lanes.place.make_again(&mut owner);
            if !told {
                let again = if made.is_ok() { "made again" } else { "not made again" };
                notice::say(&format!("the place of the lanes was removed; it was {again}"));
            }
            made.is_ok()
        };
        if moved {
            // ord: Relaxed, under the locks.
            self.is_stale.store(true, Ordering::Relaxed);
        }
        let path = self.dir.join(&self.name);
        let named = file.as_ref().is_none_or(|file| owner::still_named(file, &path));
        // ord: Relaxed, as above.
        if named && !self.is_stale.load(Ordering::Relaxed) {
            return;
        }
        let _ = make_dir(&self.dir);
        if let Ok(new) = owner.publish(&self.dir, &self.name) {
            process::keep_from_children(&new);
            // ord: Relaxed, as above.
            self.is_stale.store(false, Ordering::Relaxed);
            if let Some(old) = file.replace(new) {
                process::close_kept(old);
            }
        }
    }

    /// Lets go of the lock, and removes the file when nothing is left to be adopted.
    pub(super) fn release(&self, remove: bool) {
        // Not below the other lock: `check` takes them the other way round.
        let logger = self.owner.lock().logger;
        if let Some(file) = self.file.lock().take() {
            let path = self.dir.join(&self.name);
            // Nobody listens any more.
            let _ = std::fs::remove_file(control::path(&self.dir, logger));
            if remove && owner::still_named(&file, &path) {
                let _ = std::fs::remove_file(path);
            }
            process::close_kept(file);
        }
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        self.release(false);
    }
}
