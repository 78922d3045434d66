//! When a statement is on: before start, by filter, after the end, after another start. One test,
//! since it is about the state of the process.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ttlog::__private::callsite::{self, DefinitionSink};
use ttlog::record::Definition;
use ttlog::{Builder, Handle, Level, enabled, event, info};

const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Ids(Mutex<Vec<u32>>);

impl DefinitionSink for Ids {
    fn define(&self, definition: &Definition) -> bool {
        self.0.lock().expect("no test panicked").push(definition.id);
        true
    }
}

fn statement() {
    info!(v = 1, "one");
    event!(target: "app::db", Level::DEBUG, "two");
    info!(target: "app", "three {}", 3);
}

fn never() -> u8 {
    panic!("a disabled call evaluates nothing")
}

/// Events that `job` writes through the logger.
fn count(logger: &Handle, job: impl FnOnce()) -> u64 {
    let before = logger.flush(LONG).unwrap().events;
    job();
    logger.flush(LONG).unwrap().events - before
}

#[test]
fn a_statement_follows_the_filter_from_start_to_end() {
    let dir = tempfile::tempdir().unwrap();
    info!(v = never(), "{}", never());
    assert!(!enabled!(Level::ERROR));

    let first = Arc::new(Ids::default());
    let id = callsite::add_sink(first.clone()).unwrap();
    let cases = [("", 2), ("off,app=info,app::db=trace", 2), ("debug", 3), ("warn,app=info", 1)];
    for (filter, expected) in cases {
        let logger = Builder::new(dir.path()).filter(filter).init().unwrap();
        assert_eq!(count(&logger, statement), expected, "{filter}");
        let again = Builder::new(dir.path()).init().unwrap_err();
        assert!(again.is_already_init(), "{again}");
        logger.shutdown(LONG).unwrap();
        assert!(logger.flush(LONG).unwrap_err().is_ended());
        info!(v = never(), "{}", never());
        statement();
    }
    // S11: each definition is told once, and a sink that comes later is told all.
    let told = first.0.lock().unwrap().clone();
    let once = told.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(told.len(), once);
    let second = Arc::new(Ids::default());
    callsite::add_sink(second.clone()).unwrap();
    assert_eq!(*second.0.lock().unwrap(), told);
    callsite::remove_sink(id);
    let logger = Builder::new(dir.path()).init().unwrap();
    assert_eq!(count(&logger, || info!("a new one")), 1);
    assert_eq!(first.0.lock().unwrap().len() + 1, second.0.lock().unwrap().len());
    let stats = logger.stats();
    assert_eq!((stats.lost(), stats.written), (0, 1));
    logger.shutdown(LONG).unwrap();
}
