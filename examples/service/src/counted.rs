//! Counted: what the log says was served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use ttlog::view::{Item, Query, Source};

/// What was read from the log.
#[derive(Debug, Default)]
pub struct Counted {
    /// Events by message.
    pub messages: BTreeMap<String, u64>,
    /// Answers by status, as `TraceLayer` told them.
    pub statuses: BTreeMap<u64, u64>,
    /// Requests that were told apart by the number in their span.
    pub requests: u64,
    /// Events that stand in no request's span.
    pub outside: u64,
    /// Events of handlers that stand in `database` in `request`.
    pub nested: u64,
}

/// Reads every event of a log.
pub(crate) fn read(dir: &Path) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut ids = BTreeSet::new();
    for item in Source::open(dir)?.query(&Query::new()) {
        let record = match item? {
            Item::Record(record) => record,
            other => bail!("the log holds something else than events: {other:?}"),
        };
        *counted.messages.entry(record.message().into_owned()).or_default() += 1;
        // A number or its text, by the version of tower-http.
        if let Some(Ok(status)) = record.field("status").map(|status| status.to_string().parse()) {
            *counted.statuses.entry(status).or_default() += 1;
        }
        let spans = record.spans();
        let Some(request) = spans.first().filter(|span| span.name == "request") else {
            counted.outside += 1;
            continue;
        };
        if let Some((_, ttlog::record::Value::U64(id))) = request.values().find(|it| it.0 == "id") {
            ids.insert(id);
        }
        counted.nested += u64::from(spans.get(1).is_some_and(|span| span.name == "database"));
    }
    counted.requests = ids.len() as u64;
    Ok(counted)
}
