//! Sites: the callsites of tracing, each met once.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing_core::Metadata;

use super::level_of;
use crate::emit::table::{Table, hash};
use crate::emit::told::{SPAN_ID, Statement, Static, TRACE_ID};
use crate::record::Role;

/// A callsite of tracing as ttlog knows it.
#[derive(Debug)]
pub(super) struct Site {
    /// Address of its metadata.
    address: usize,
    /// True when it is one of tracing-log's, whose events tell where they come from in fields.
    pub(super) is_log: bool,
    pub(super) statement: Statement,
}

static SITES: Table<Site> = Table::new();
/// True once a layer asks for the ids of traces: spans met from then on have fields for them.
static HAS_TRACES: AtomicBool = AtomicBool::new(false);

/// Gives the spans that are met from now on fields for the ids of their traces.
pub(super) fn have_traces() {
    // ord: Relaxed, a setting; nothing else is read by it.
    HAS_TRACES.store(true, Ordering::Relaxed);
}

/// The site of a callsite; `None` on a thread that is inside the list of them.
#[inline]
pub(super) fn of(metadata: &'static Metadata<'static>) -> Option<&'static Site> {
    let address = std::ptr::from_ref(metadata).addr();
    let hash = hash(address as u64);
    let is_it = move |site: &Site| site.address == address;
    SITES
        .find(hash, is_it)
        .or_else(|| SITES.find_or_add(hash, usize::MAX, is_it, || Site::new(metadata)))
}

impl Site {
    fn new(metadata: &'static Metadata<'static>) -> Self {
        let field = |field: tracing_core::Field| {
            let role = match field.name() {
                "message" if metadata.is_event() => Role::Message,
                _ => Role::Field,
            };
            (field.name().to_owned(), role)
        };
        // ord: Relaxed, as above.
        let is_traced = metadata.is_span() && HAS_TRACES.load(Ordering::Relaxed);
        let has = |name: &&str| metadata.fields().field(*name).is_some();
        let ids = [TRACE_ID, SPAN_ID].into_iter().filter(|name| is_traced && !has(name));
        let ids = ids.map(|name| (name.to_owned(), Role::Field));
        let always = Static {
            level: level_of(metadata.level()),
            target: metadata.target().to_owned(),
            name: metadata.name().to_owned(),
            file: metadata.file().unwrap_or_default().to_owned(),
            line: metadata.line().unwrap_or_default(),
            module: metadata.module_path().unwrap_or_default().to_owned(),
            fields: metadata.fields().iter().map(field).chain(ids).collect(),
        };
        let is_log = metadata.target() == "log" && metadata.fields().field("log.target").is_some();
        let address = std::ptr::from_ref(metadata).addr();
        Self { address, is_log, statement: Statement::new(always) }
    }
}
