//! Memory under the model checker: the surface of `memory.rs` over tracked cells.
#![expect(unsafe_code, reason = "lends out a buffer whose words loom tracks")]

use std::cell::UnsafeCell;

use crate::sync::AtomicU64;

/// Words in the header of a model.
pub(crate) const HEADER_WORDS: usize = super::ring::word::WORDS;

/// A header and data whose every access loom checks for races.
#[derive(Debug)]
pub(crate) struct Memory {
    header: Vec<AtomicU64>,
    data: UnsafeCell<Vec<u64>>,
    tracked: Vec<loom::cell::UnsafeCell<()>>,
}

// SAFETY: loom runs one thread at a time and tracks every access.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn private(data_len: usize) -> std::io::Result<Self> {
        let n_words = data_len / 8;
        Ok(Self {
            header: (0..HEADER_WORDS).map(|_| AtomicU64::new(0)).collect(),
            data: UnsafeCell::new(vec![0; n_words]),
            tracked: (0..n_words).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        })
    }

    pub(crate) fn data_len(&self) -> usize {
        self.tracked.len() * 8
    }

    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        &self.header[index]
    }

    pub(crate) fn data(&self) -> *mut u8 {
        // SAFETY: the vector never moves.
        unsafe { (*self.data.get()).as_mut_ptr().cast() }
    }

    pub(crate) unsafe fn published(&self, at: usize, len: usize) -> &[u8] {
        for cell in &self.tracked[at / 8..(at + len) / 8] {
            cell.with(|_| ());
        }
        // SAFETY: tracked above.
        unsafe { std::slice::from_raw_parts(self.data().add(at), len) }
    }

    #[expect(clippy::mut_from_ref, reason = "as in memory.rs")]
    pub(crate) unsafe fn owned(&self, at: usize, len: usize) -> &mut [u8] {
        for cell in &self.tracked[at / 8..(at + len) / 8] {
            cell.with_mut(|_| ());
        }
        // SAFETY: tracked above.
        unsafe { std::slice::from_raw_parts_mut(self.data().add(at), len) }
    }
}
