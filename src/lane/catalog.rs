//! Catalog: the definitions that a logger's records refer to, by id.
//!
//! A definition enters before the id of its callsite becomes visible (S11), so that every record in
//! a lane can be encoded; a copy lies in the place, for who takes up a dead logger's lanes.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;

use super::levels;
use super::place::Place;
use crate::record::Definition;
use crate::record::compact::{Schema, Schemas};

/// The longest definition: a block has room for it and for runs.
const DEFINITION_BYTES_MAX: usize = 3 << 20;

/// One definition as the scribe needs it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    schema: Schema,
    encoded: Arc<[u8]>,
}

/// All definitions of one logger.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: Mutex<Vec<Option<Entry>>>,
}

impl Catalog {
    /// Adds a definition; one whose id is known is ignored. False when the place has no room for it:
    /// what a record needs has to outlive the process as the record does. Callers take turns (they
    /// have the lock of the list of callsites).
    pub(crate) fn define(&self, definition: &Definition, place: &Place) -> bool {
        levels::note(definition.id, definition.level);
        let id = definition.id as usize;
        if self.entries.lock().get(id).is_some_and(Option::is_some) {
            return true;
        }
        let mut encoded = Vec::new();
        definition.encode(&mut encoded);
        // Not under the lock that the scribe takes: the place may lie on a disk. What no block has room
        // for is refused too.
        if encoded.len() > DEFINITION_BYTES_MAX || place.define(&encoded).is_err() {
            return false;
        }
        let mut entries = self.entries.lock();
        if entries.len() <= id {
            entries.resize(id + 1, None);
        }
        entries[id] = Some(Entry { schema: Schema::of(definition), encoded: encoded.into() });
        true
    }
}

/// The scribe's own copy of a catalog, which asks the original when it misses.
#[derive(Debug)]
pub(crate) struct CatalogView {
    original: Arc<Catalog>,
    known: RefCell<Vec<Option<Entry>>>,
}

impl CatalogView {
    pub(crate) fn new(original: Arc<Catalog>) -> Self {
        Self { original, known: RefCell::default() }
    }

    fn entry<R>(&self, id: u32, use_it: impl Fn(&Entry) -> R) -> Option<R> {
        let id = id as usize;
        if let Some(Some(entry)) = self.known.borrow().get(id) {
            return Some(use_it(entry));
        }
        self.known.borrow_mut().clone_from(&self.original.entries.lock());
        self.known.borrow().get(id)?.as_ref().map(use_it)
    }

    /// The definition as it stands in files.
    pub(crate) fn encoded(&self, id: u32) -> Option<Arc<[u8]>> {
        self.entry(id, |entry| entry.encoded.clone())
    }
}

impl Schemas for CatalogView {
    fn schema(&self, id: u32) -> Option<Schema> {
        self.entry(id, |entry| entry.schema)
    }

    fn definition_len(&self, id: u32) -> usize {
        self.entry(id, |entry| entry.encoded.len()).unwrap_or(0)
    }
}
