//! When a statement is on: before start, by filter, after the end. One test, since it is about the
//! state of the process.

use std::sync::{Arc, Mutex};

use ttlog::__private::callsite::{self, DefinitionSink};
use ttlog::__private::capture::capture;
use ttlog::record::Definition;
use ttlog::{Filter, Level, enabled, event, info};

#[derive(Default)]
struct Ids(Mutex<Vec<u32>>);

impl DefinitionSink for Ids {
    fn define(&self, definition: &Definition) {
        self.0.lock().expect("no test panicked").push(definition.id);
    }
}

fn filter(text: &str) -> Arc<Filter> {
    Arc::new(text.parse().expect("the filter is good"))
}

fn statement() {
    info!(v = 1, "one");
    event!(target: "app::db", Level::DEBUG, "two");
    info!(target: "app", "three {}", 3);
}

/// Number of events of [`statement`].
fn count() -> usize {
    capture(statement).len()
}

fn never() -> u8 {
    panic!("a disabled call evaluates nothing")
}

#[test]
fn a_statement_follows_the_filter_from_start_to_end() {
    info!(v = never(), "{}", never());
    assert!(!enabled!(Level::ERROR));
    assert_eq!(count(), 0);

    let first = Arc::new(Ids::default());
    let id = callsite::add_sink(first.clone()).unwrap();
    callsite::install(1, Arc::new(Filter::default()));
    assert_eq!(count(), 2);
    assert!(!enabled!(Level::DEBUG));
    callsite::install(1, filter("off,app=info,app::db=trace"));
    assert_eq!(count(), 2);
    info!(v = never(), "{}", never());
    callsite::rebuild_interest();
    callsite::install(2, filter("debug"));
    let records = capture(statement);
    assert_eq!(records.len(), 3);
    // S11: each definition is told once, and before a record that uses it.
    let told = first.0.lock().unwrap().clone();
    for record in &records {
        assert_eq!(record.epoch, 2);
        assert_eq!(told.iter().filter(|id| **id == record.head.callsite).count(), 1);
    }
    // S11: a new logger is told all that were defined before it.
    let second = Arc::new(Ids::default());
    callsite::add_sink(second.clone()).unwrap();
    assert_eq!(*second.0.lock().unwrap(), told);
    callsite::remove_sink(id);
    assert_eq!(capture(|| info!("a new one")).len(), 1);
    assert_eq!(first.0.lock().unwrap().len() + 1, second.0.lock().unwrap().len());

    callsite::uninstall();
    info!(v = never(), "{}", never());
    assert_eq!(count(), 0);
    callsite::install(3, filter("warn,app=info"));
    assert_eq!(count(), 1);
    assert!(Level::ALL.iter().all(|level| callsite::reentrant_losses(*level) == 0));
}
