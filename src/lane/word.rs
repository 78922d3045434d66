//! Word: where the words of a lane's header stand.

pub(crate) use indices::*;

/// Of a lane; [`super::ring`] draws them.
#[cfg(not(loom))]
mod indices {
    use super::super::memory::HEADER_WORDS;
    use super::super::ring::LOSS_WORDS;

    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const LOGGER: usize = 2;
    pub(crate) const LANE: usize = 3;
    pub(crate) const CAPACITY: usize = 4;
    pub(crate) const GENERATION: usize = 5;
    pub(crate) const TID: usize = 6;
    pub(crate) const NAME_LEN: usize = 7;
    pub(crate) const NAME: usize = 8;
    pub(crate) const TAIL: usize = 16;
    pub(crate) const HEAD: usize = 32;
    pub(crate) const SLOTS: [usize; 2] = [64, 96];
    pub(crate) const LOSSES: usize = 128;
    pub(crate) const LOSSES_VERSION: usize = LOSSES + LOSS_WORDS;
    pub(crate) const TRUNCATED: usize = LOSSES_VERSION + 1;
    pub(crate) const LOST_AT: usize = TRUNCATED + 1;
    /// What runs have told of the losses: what is above it came at `LOST_AT`.
    pub(crate) const TOLD: usize = LOST_AT + 1;
    pub(crate) const END: usize = TOLD + LOSS_WORDS;
    const _: () = assert!(END <= HEADER_WORDS);
}

/// The same for a model, which has no room for unused words.
#[cfg(loom)]
mod indices {
    pub(crate) const TAIL: usize = 0;
    pub(crate) const HEAD: usize = 1;
    pub(crate) const SLOTS: [usize; 2] = [2, 5];
    /// Words of a staging buffer stand here too, and one for its bytes.
    pub(crate) const WORDS: usize = 9;
}
