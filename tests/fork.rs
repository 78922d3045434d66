//! Fork: a child of a process in which another thread holds the list of callsites (R37).
#![cfg(all(feature = "tracing", feature = "log"))]
#![expect(unsafe_code, reason = "forks, and waits for the child")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing_subscriber::prelude::*;
use ttlog::__private::callsite::{self, DefinitionSink};
use ttlog::record::{Cause, Definition};
use ttlog::{Builder, Handle, Level};

const LONG: Duration = Duration::from_secs(60);

/// Holds the list of callsites while it learns a definition, until it is told to go on.
struct Slow(Mutex<(Sender<()>, Receiver<()>)>);

impl DefinitionSink for Slow {
    fn define(&self, definition: &Definition) -> bool {
        if definition.target == "slow" {
            let ends = self.0.lock().expect("one at a time");
            ends.0.send(()).expect("the test waits");
            ends.1.recv().expect("the test tells");
        }
        true
    }
}

/// Kept by the parent's recorder; a child that does not keep it has lost nothing of the log.
fn kept() {
    ttlog::trace!("kept");
}

/// What a child does: each line would wait for ever for the lock that nobody gives back.
fn child(handle: &Handle, layer: &tracing::Dispatch) -> bool {
    tracing::dispatcher::with_default(layer, || {
        let _span = tracing::info_span!("a span that nobody has met").entered();
        tracing::info!("through the layer");
    });
    log::info!(n = 1; "through the bridge");
    log::logger().flush();
    ttlog::info!("a statement that nobody has met");
    ttlog::info!(logger: handle, "another");
    ttlog::trace!("one that nobody wants");
    kept();
    let lost = handle.stats().lost_by(Cause::Forked, Level::INFO);
    let refused = handle.flush(LONG).is_err() && handle.shutdown(LONG).is_err();
    let starts = Builder::new("/nonexistent").init().is_err();
    // Of the statement that nobody has met: who wants it stands in the list that is held.
    let unknown = handle.stats().lost_by(Cause::Forked, Level::TRACE);
    lost == 5 && unknown == 1 && refused && starts && handle.health().ended
}

#[test]
fn r37_a_child_does_not_wait_for_the_list_of_callsites() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = Builder::new(dir.path()).filter("info").flight_recorder(Level::TRACE, 1 << 20);
    let handle = handle.init().expect("a logger");
    kept();
    ttlog::bridge::init().expect("log has no logger");
    let other = tempfile::tempdir().expect("a directory");
    let (layer, logger) = ttlog::layer(other.path()).build().expect("another logger");
    let layer = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let (inside, begins) = channel();
    let (go_on, told) = channel();
    callsite::add_sink(Arc::new(Slow(Mutex::new((inside, told))))).expect("a sink");
    let holder = std::thread::spawn(|| ttlog::info!(target: "slow", "held"));
    begins.recv().expect("it is inside");

    // SAFETY: the child makes calls of this process's one thread alone, then ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let right = child(&handle, &layer);
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let (mut status, began) = (0, Instant::now());
    // SAFETY: a child of this test, and a number of its own.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        if began.elapsed() > Duration::from_secs(20) {
            // SAFETY: the same child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status, 0, "9: it waited; 256: it was told something else");
    go_on.send(()).expect("it waits");
    holder.join().expect("it ends");
    assert_eq!(logger.shutdown(LONG).expect("the end").events, 0);
    assert_eq!(handle.shutdown(LONG).expect("the end").events, 1);
}
