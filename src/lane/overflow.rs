//! Overflow: how producers whose lanes are full ask for the spiller.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::sync::{Parker, Unparker};

use crate::monitor::Mutex;

/// What producers, scribe and spiller tell each other about full lanes.
#[derive(Debug, Default)]
pub(crate) struct Overflow {
    wanted: AtomicBool,
    /// There is no room in the spill directory, or its disk refuses: waiting is in vain.
    refused: AtomicBool,
    /// A spiller is at work.
    attended: AtomicBool,
    spiller: Mutex<Option<Unparker>>,
}

impl Overflow {
    /// Asks for the spiller; the caller tells the scribe, which starts it.
    pub(crate) fn want(&self) {
        // ord: Release, pairs with the Acquire in `take_wanted`: the lane's flag is there.
        self.wanted.store(true, Ordering::Release);
        if let Some(spiller) = self.spiller.try_lock().and_then(|spiller| spiller.clone()) {
            spiller.unpark();
        }
    }

    /// True while somebody asks.
    pub(crate) fn is_wanted(&self) -> bool {
        // ord: Relaxed, a check.
        self.wanted.load(Ordering::Relaxed)
    }

    /// True once after somebody asked.
    pub(crate) fn take_wanted(&self) -> bool {
        // ord: Acquire, pairs with the Release in `want`.
        self.is_wanted() && self.wanted.swap(false, Ordering::Acquire)
    }

    /// Where the spiller sleeps, from now on.
    pub(crate) fn attend(&self) -> Parker {
        let parker = Parker::new();
        *self.spiller.lock() = Some(parker.unparker().clone());
        // ord: Relaxed, a hint for producers.
        self.attended.store(true, Ordering::Relaxed);
        parker
    }

    /// No spiller sleeps there any more.
    pub(crate) fn leave(&self) {
        // ord: Relaxed, as above.
        self.attended.store(false, Ordering::Relaxed);
    }

    /// True while a spiller is at work, and its disk takes what it writes.
    pub(crate) fn is_served(&self) -> bool {
        // ord: Relaxed, as above.
        self.attended.load(Ordering::Relaxed) && !self.is_refused()
    }

    /// Says whether the spill directory takes nothing at the moment.
    pub(crate) fn set_refused(&self, refused: bool) {
        // ord: Relaxed, a hint for producers.
        self.refused.store(refused, Ordering::Relaxed);
    }

    /// True while the spill directory takes nothing.
    pub(crate) fn is_refused(&self) -> bool {
        // ord: Relaxed, as above.
        self.refused.load(Ordering::Relaxed)
    }
}
