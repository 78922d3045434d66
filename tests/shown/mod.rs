//! Shown: what a directory's log holds, read back as users do.

use std::path::Path;
use std::time::Duration;

use ttlog::view::{Item, Query, Record, Source};

/// Longer than any test runs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The events of a log in their order; anything else in it is a failure.
pub(crate) fn records(dir: &Path) -> Vec<Record> {
    let source = Source::open(dir).expect("a log");
    let items = source.query(&Query::new());
    let records = items.map(|item| match item.expect("a log that can be read") {
        Item::Record(record) => record,
        other => panic!("not an event: {other:?}"),
    });
    records.collect()
}
