//! Sync: how written blocks become durable, and what becomes of them when the disk says no
//! (rule S6).
//!
//! Where blocks fly a sync goes on beside the writes that follow. It is about the blocks that had
//! landed when it began, and says nothing of the others; when it fails all of them are written
//! again, since they are in the same file.

use std::io;
use std::time::Duration;

use super::kept::Kept;
use super::moved::parse;
use super::progress::Mark;
use super::writer::{Current, PAUSE, Writer};
use crate::config::Durability;

/// A segment whose file failed to sync, and how much of it is durable all the same.
struct Poisoned {
    current: Current,
    durable_end: u64,
}

/// A sync that goes on while blocks are written.
pub(super) struct Beside {
    /// What it is about: so much is written, up to there in the file, by these blocks.
    mark: Mark,
    end: u64,
    kept: Kept,
}

impl Writer {
    /// True where a sync may go on beside writes: blocks fly, and nothing but the current segment's
    /// contents has to be synced.
    pub(super) fn can_sync_beside(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.direct.is_some())
            && self.names_synced
            && self.unsynced.is_empty()
            && self.setup.durability != Durability::Never
    }

    /// Asks for a sync of the first `blocks` blocks, which may be in flight yet.
    pub(super) fn sync_when_written(&mut self, blocks: u64) {
        self.wanted = Some(self.wanted.unwrap_or_default().max(blocks));
        self.sync_beside_if_due();
    }

    /// Begins the sync that is wanted, once its blocks have landed and no other goes on.
    pub(super) fn sync_beside_if_due(&mut self) {
        let mark = self.setup.progress.written();
        if self.beside.is_some() || self.wanted.is_none_or(|blocks| mark.blocks < blocks) {
            return;
        }
        self.wanted = None;
        let (Some(current), Some(flight)) = (&self.current, &mut self.flight) else { return };
        let begun = match &current.direct {
            Some(fd) if self.names_synced && self.unsynced.is_empty() => flight.begin_sync(fd),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        if begun.is_err() {
            // Nothing was asked of the disk.
            self.land_all();
            return self.sync();
        }
        let end = current.end;
        self.beside = Some(Beside { mark, end, kept: std::mem::take(&mut self.kept) });
        self.land(Some(Duration::ZERO));
    }

    /// Goes on with what came of the sync beside.
    pub(super) fn end_beside(&mut self, result: io::Result<()>) {
        let Some(Beside { mark, end, mut kept }) = self.beside.take() else { return };
        if result.is_err() {
            // Blocks that landed meanwhile, and those in flight, are in that file too. What follows
            // makes all of them durable.
            self.wanted = None;
            self.land_all();
            kept.add(std::mem::take(&mut self.kept));
            self.kept = kept;
            return self.end_sync(result);
        }
        if let Some(current) = &mut self.current {
            current.durable_end = end;
        }
        if !self.suspect {
            self.setup.progress.set_durable(mark);
        }
        self.setup.queue.give_free(kept.release());
        (self.setup.wake)();
        self.sync_beside_if_due();
    }

    /// Syncs when much is kept for the case that a sync fails.
    pub(super) fn sync_if_much(&mut self) {
        if !self.kept.is_due() {
            return;
        }
        if self.can_sync_beside() {
            self.sync_when_written(0);
            // As much again was written meanwhile.
            while self.beside.is_some() && self.kept.is_due() {
                self.land(None);
            }
        } else {
            self.land_all();
            self.settle();
            self.sync();
        }
    }

    /// Waits for a sync whose file has no name any more.
    pub(super) fn forget_beside(&mut self) {
        let (Some(Beside { mut kept, .. }), Some(flight)) = (self.beside.take(), &mut self.flight)
        else {
            return;
        };
        while flight.take_synced().is_none() {
            if flight.reap(None).is_err() {
                std::thread::sleep(PAUSE.0);
            }
        }
        self.setup.queue.give_free(kept.release());
    }

    /// Waits until no sync goes on, and none is wanted.
    pub(super) fn settle(&mut self) {
        while self.beside.is_some() {
            self.land(None);
        }
    }

    /// Makes all that is written durable, with its names.
    ///
    /// The kernel reports a failed write-back once; a second sync that succeeds would say nothing
    /// about the first one's pages. So a file that failed to sync is never synced again: the blocks
    /// since its last sync are written to another, which is synced instead, until one agrees.
    pub(super) fn sync(&mut self) {
        let sealed = self.unsynced.drain(..).try_for_each(|file| file.sync());
        let result = sealed.and_then(|()| self.sync_current());
        self.end_sync(result);
    }

    /// Says what is durable now, or writes what is not elsewhere, until it is.
    fn end_sync(&mut self, mut result: io::Result<()>) {
        let mark = self.setup.progress.written();
        let mut poisoned: Vec<Poisoned> = Vec::new();
        let keeps = self.setup.durability != Durability::Never && self.current.is_some();
        if keeps && result.is_err() && self.kept.len() == 0 {
            // All events were durable before: it was about an index, or a name that is old. What
            // comes goes to another file.
            self.setup.progress.set_failing(result.err().map(|error| error.to_string()));
            self.setup.progress.set_failing(None);
            self.setup.queue.set_vanished();
            result = Ok(());
        }
        if keeps && result.is_err() {
            let path = self.setup.dir.clone();
            let mut failed = Some(result);
            result = Ok(());
            self.insist("could not sync a segment in", &path, |writer| {
                if let Some(failed) = failed.take() {
                    failed?;
                }
                poisoned.extend(writer.write_elsewhere());
                writer.sync_current()
            });
            let n = self.kept.len();
            let path = self.current.as_ref().map(|current| current.path.display().to_string());
            self.seldom.say(|| {
                format!(
                    "a sync failed; {n} blocks were written again, to {}",
                    path.unwrap_or_default()
                )
            });
        }
        if !poisoned.is_empty() {
            poisoned.iter().for_each(|poisoned| self.cut_poisoned(poisoned));
            // A name that comes back after a power cut is of a file without events.
            let _ = self.setup.disk.sync_dir(&self.setup.dir);
        }
        match result {
            Ok(()) if self.suspect => {}
            Ok(()) => self.setup.progress.set_durable(mark),
            Err(error) => {
                self.suspect = true;
                let dir = self.setup.dir.display();
                self.setup.progress.set_suspect(format!("could not sync {dir}: {error}"));
                self.seldom.say(|| format!("could not sync {dir}: {error}; see health()"));
            }
        }
        let freed = self.kept.release();
        self.setup.queue.give_free(freed);
        (self.setup.wake)();
    }

    /// Syncs the current segment, then the directory if there are new names in it.
    fn sync_current(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            let end = current.end;
            current.file.sync()?;
            current.durable_end = end;
        }
        if !self.names_synced {
            self.sync_names()?;
            self.names_synced = true;
        }
        Ok(())
    }

    /// Syncs the directory. That no descriptor is left to open it with says nothing of what lies on
    /// the disk: then it is tried again.
    fn sync_names(&mut self) -> io::Result<()> {
        let dir = self.setup.dir.clone();
        if self.current.is_none() {
            // A start that failed; nothing hangs on the answer.
            return self.setup.disk.sync_dir(&dir);
        }
        self.insist("could not open, to sync it,", &dir, |writer| {
            match writer.setup.disk.sync_dir(&dir) {
                Err(error) if is_without_descriptor(&error) => Err(error),
                result => Ok(result),
            }
        })
    }

    /// Begins the current segment again by another name, with the blocks that are not durable.
    fn write_elsewhere(&mut self) -> Option<Poisoned> {
        let current = self.current.take()?;
        let (header, path) = (current.header.clone(), current.path.clone());
        let durable_end = current.durable_end;
        self.make_like(header, path);
        let mut kept = std::mem::take(&mut self.kept);
        if let (Some(first), Some(current)) = (kept.blocks_mut().first_mut(), &self.current) {
            let (offset, was) = (first.offset, first.moved);
            if let Some(header) = parse(&current.header, first.bytes_mut(), was.place(offset)) {
                self.moved.restart(&current.header, offset, was.seq(&header));
            }
        }
        for block in kept.blocks_mut() {
            let (offset, was, moved) = (block.offset, block.moved, self.moved);
            let Some(current) = &self.current else { break };
            moved.seal(&current.header, block.bytes_mut(), was, offset);
            block.moved = moved;
            let (place, len) = (moved.place(offset), block.bytes_mut().len() as u64);
            self.write(block.bytes_mut(), place);
            if let Some(current) = &mut self.current {
                current.end = place + len;
            }
        }
        self.kept = kept;
        Some(Poisoned { current, durable_end })
    }

    /// Cuts what is not durable from a file that failed to sync, since it is elsewhere by now.
    fn cut_poisoned(&self, poisoned: &Poisoned) {
        let Poisoned { current, durable_end } = poisoned;
        // If that fails, readers find each event twice in the same place, and show it once.
        if *durable_end <= current.header.first_block() {
            let _ = self.setup.disk.unlink(&current.path);
        } else {
            let _ = current.file.truncate(*durable_end);
        }
    }
}

/// True when a call failed for want of a descriptor.
fn is_without_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
