//! Detour: what makes each call of a statement take the cold way: a rate limit, keys to redact, a
//! filter that wants its events inside of some spans alone.
//!
//! # Invariants
//!
//! - **D1** Everything here is stored under the lock of the list of callsites, and before the word
//!   by which a call enters: who finds the word has the limit and the mask that belong to it.
//! - **D2** A masked callsite's kinds are no list's, and are stored before the word that lets calls
//!   in; so no call of a logger that asked for it writes a value that is to be redacted.

use super::args::KEY_NONE;
use super::limit::{Limiter, Rule};
use super::redact::Mask;
use crate::lane::{entered, handle};
use crate::record::Level;
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};

/// A callsite's cold state.
#[derive(Debug)]
pub(crate) struct Detour {
    /// What the callsite's word would be without the detour; 0 without one.
    word: AtomicU64,
    /// The scope of the filter that wants it inside of spans that grant it; 0 for one that wants it
    /// everywhere. What the word would be outside of them.
    scope: AtomicU32,
    outside: AtomicU64,
    /// The key of the kinds in the callsite's definition.
    key: AtomicU64,
    masks: [AtomicU64; 2],
    is_listed: AtomicU32,
    pub(crate) limiter: Limiter,
}

impl Detour {
    pub(super) const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            scope: AtomicU32::new(0),
            outside: AtomicU64::new(0),
            key: AtomicU64::new(KEY_NONE),
            masks: [const { AtomicU64::new(0) }; 2],
            is_listed: AtomicU32::new(0),
            limiter: Limiter::new(),
        }
    }

    /// The word of a callsite that takes the detour.
    pub(super) fn word(&self) -> Option<u64> {
        // ord: Acquire, partner of the Release in `set` (D1).
        Some(self.word.load(Ordering::Acquire)).filter(|word| *word != 0)
    }

    /// `scoped` has the scope and the word outside of it, for a callsite that is not wanted
    /// everywhere.
    pub(super) fn set(&self, word: Option<u64>, rule: Option<Rule>, scoped: Option<(u32, u64)>) {
        self.limiter.set_rule(rule);
        if word.is_some() {
            let (scope, outside) = scoped.unwrap_or((0, 0));
            // ord: Relaxed, published by the Release below (D1). Without a word they stay, for a
            // call that has found the one before.
            self.outside.store(outside, Ordering::Relaxed);
            // ord: Relaxed, as above.
            self.scope.store(scope, Ordering::Relaxed);
        }
        // ord: Release, partner of the Acquire in `word` (D1, D2).
        self.word.store(word.unwrap_or(0), Ordering::Release);
    }

    /// What the word is instead when this thread is in no span that grants events of this level.
    pub(super) fn outside(&self, level: Level) -> Option<u64> {
        // ord: Relaxed, acquired with the word (D1).
        let scope = self.scope.load(Ordering::Relaxed);
        (scope != 0 && !entered::grants(scope, level))
            // ord: Relaxed, as above.
            .then(|| self.outside.load(Ordering::Relaxed))
    }

    /// True when the limit, if there is one, lets another event of the global logger pass; says
    /// first what it kept back before.
    pub(super) fn passes(&self, word: u64) -> bool {
        let passes = self.limiter.passes();
        if passes && let Some(suppressed) = self.limiter.take_suppressed() {
            handle::write_global((word >> 32) as u32, suppressed);
        }
        passes
    }

    /// True for the first call.
    pub(super) fn list(&self) -> bool {
        // ord: Relaxed, under the lock of the list.
        self.is_listed.swap(1, Ordering::Relaxed) == 0
    }

    pub(super) fn key(&self) -> u64 {
        // ord: Acquire, partner of the Release in `set_key`.
        self.key.load(Ordering::Acquire)
    }

    pub(super) fn set_key(&self, key: u64) {
        // ord: Release: who finds the key finds the id and the mode stored before.
        self.key.store(key, Ordering::Release);
    }

    pub(super) fn set_mask(&self, mask: Mask) {
        for (word, mask) in self.masks.iter().zip([mask.deferred, mask.formatted]) {
            // ord: Relaxed, published by the Release of the kinds or the word (D1).
            word.store(mask, Ordering::Relaxed);
        }
    }

    pub(super) fn is_masked(&self) -> bool {
        let mask = self.mask();
        mask.deferred | mask.formatted != 0
    }

    /// Which values are to be redacted.
    pub(super) fn mask(&self) -> Mask {
        // ord: Relaxed, acquired with the kinds or the word (D1).
        let [deferred, formatted] =
            [&self.masks[0], &self.masks[1]].map(|m| m.load(Ordering::Relaxed));
        Mask { deferred, formatted }
    }
}
