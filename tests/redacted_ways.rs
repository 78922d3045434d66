//! What is redacted by its key stays out of the log by whatever way it comes: tracing and log (R34).
#![cfg(all(feature = "tracing", feature = "log"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use ttlog::view::{Item, Query, Source, Value};

const LONG: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-8d1f0c77";

/// True when a file below holds the canary.
fn holds(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        if entry.file_type().unwrap().is_dir() {
            return holds(&entry.path());
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    })
}

#[test]
fn values_of_tracing_and_of_log_are_redacted_by_their_keys() {
    let (dir, lanes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let builder = ttlog::layer(dir.path()).lanes_in(lanes.path()).redact(["password", "*token*"]);
    let (layer, handle) = builder.build().unwrap();
    let global = ttlog::Builder::new(dir.path()).lanes_in(lanes.path()).init().unwrap();
    ttlog::bridge::init().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let span = tracing::info_span!("login", user = "ada", password = CANARY, late_token = 0);
        let _entered = span.enter();
        span.record("late_token", CANARY);
        tracing::info!(user.password = CANARY, n = 7, "by str");
        tracing::info!(password = ?CANARY, n = 7, "by Debug");
        tracing::info!(password = %CANARY, n = 7, "by Display");
        tracing::info!(password = CANARY.as_bytes(), n = 7, "bytes");
        let error: &(dyn std::error::Error + 'static) = &std::io::Error::other(CANARY);
        tracing::info!(password = error, n = 7, "an error");
    });
    log::info!(password = CANARY, n = 7; "by log");
    log::info!(access_token:? = CANARY, n = 7; "by log and Debug");
    for logger in [&handle, &global] {
        logger.flush(LONG).unwrap();
    }
    assert!(!holds(lanes.path()), "in lanes or staging");
    handle.shutdown(LONG).unwrap();
    global.shutdown(LONG).unwrap();
    assert!(!holds(dir.path()), "in a segment");
    let items = Source::open(dir.path()).unwrap().query(&Query::new());
    let records: Vec<_> = items
        .filter_map(|item| match item.unwrap() {
            Item::Record(record) => Some(record),
            _ => None,
        })
        .collect();
    assert_eq!(records.len(), 7);
    for record in &records {
        assert_eq!(record.field("n"), Some(Value::from(7)), "{record:?}");
        let hidden = record.fields().filter(|(_, value)| *value == Value::from("[redacted]"));
        assert_eq!(hidden.count(), 1, "{record:?}");
        for span in record.spans() {
            let hidden = span.values().filter(|(_, it)| format!("{it:?}").contains("[redacted]"));
            assert_eq!(hidden.count(), 2, "{span:?}");
        }
    }
}
