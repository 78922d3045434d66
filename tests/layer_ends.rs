//! A process that logs through the layer and holds no guard: whatever ends it, what it logged is
//! there, in its spans.
#![cfg(feature = "tracing")]

mod shown;

use std::process::Command;

use shown::{LONG, records};
use tracing_subscriber::prelude::*;

/// Says to the child how to end and where to log.
const HOW: &str = "TTLOG_TEST_END";
const DIR: &str = "TTLOG_TEST_LOG";

/// The child: logs and ends as it is told, with two spans open. Does nothing in an ordinary run.
#[test]
fn child() {
    let (Ok(how), Ok(dir)) = (std::env::var(HOW), std::env::var(DIR)) else { return };
    let (layer, handle) = ttlog::layer(dir).app("ends", "1").build().expect("a logger");
    tracing_subscriber::registry().with(layer).init();
    handle.flush(LONG).expect("a disk that answers");
    let request = tracing::info_span!("request", id = 7, status = tracing::field::Empty).entered();
    for n in 0..10_000 {
        tracing::info!(n, "first");
    }
    request.record("status", 200);
    if how.ends_with("rolled") {
        handle.rotate().expect("a disk that answers");
        // Staging outlives a kill: what it has of the first segment is given back behind a sync.
        handle.sync(LONG).expect("a disk that answers");
    }
    let _query = tracing::info_span!("query").entered();
    for n in 0..10_000 {
        tracing::info!(n, "second");
        if how.ends_with("rolled") && n < 2 {
            // Behind the first write the sync is over, with the second turn its staging is free.
            handle.flush(LONG).expect("a disk that answers");
        }
    }
    match how.split(' ').next() {
        Some("kill") => {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("a signal");
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        Some("abort") => std::process::abort(),
        Some("panic") => panic!("on purpose"),
        _ => std::process::exit(0),
    }
}

#[test]
fn whatever_ends_it_nothing_is_lost_and_events_are_in_their_spans() {
    for how in ["exit", "kill", "abort", "panic", "exit rolled", "kill rolled"] {
        let dir = tempfile::tempdir().expect("a directory");
        let this = std::env::current_exe().expect("the test's own path");
        let output = Command::new(this)
            .args(["--exact", "child", "--nocapture"])
            .env(HOW, how)
            .env(DIR, dir.path())
            .output()
            .expect("the child runs");
        assert_eq!(output.status.success(), how.starts_with("exit"), "{how}: {output:?}");
        check(dir.path(), how, "status");
        if how.ends_with("rolled") {
            let mut segments: Vec<_> = std::fs::read_dir(dir.path())
                .expect("a directory")
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.to_string_lossy().ends_with("-1.ttlog"))
                .collect();
            std::fs::remove_file(segments.pop().expect("the first segment")).expect("a file");
            let records = records(dir.path());
            assert_eq!(records.len(), 10_000, "{how}");
            assert!(records.iter().all(|record| spans(record) == "request{7 200}:query"), "{how}");
        }
    }
}

fn spans(record: &ttlog::view::Record) -> String {
    let span = |span: &ttlog::view::Span| {
        let values: Vec<_> = span.fields().map(|(_, value)| value.to_string()).collect();
        let values =
            if values.is_empty() { String::new() } else { format!("{{{}}}", values.join(" ")) };
        format!("{}{values}", span.name)
    };
    record.spans().iter().map(span).collect::<Vec<_>>().join(":")
}

fn check(dir: &std::path::Path, how: &str, late: &str) {
    let records = records(dir);
    assert_eq!(records.len(), 20_000, "{how}");
    for (record, n) in records[..10_000].iter().zip(0..) {
        assert_eq!(
            (record.field("n"), spans(record)),
            (Some(n.into()), "request{7}".into()),
            "{how}"
        );
        assert_eq!(record.spans()[0].field(late), None);
    }
    for (record, n) in records[10_000..].iter().zip(0..) {
        assert_eq!(record.field("n"), Some(n.into()));
        assert_eq!(spans(record), "request{7 200}:query", "{how}");
    }
}
