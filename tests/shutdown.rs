//! Shutdown: what becomes of a call that began before it and comes to its lane behind it. Each event
//! is shown, or counted as lost.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ttlog::record::Cause;
use ttlog::view::{Item, Query, Source};
use ttlog::{Builder, Handle, Level};

const LONG: Duration = Duration::from_secs(60);

/// Says that a call has begun, and makes its text when it is told to.
struct Slow<'a>(&'a Sender<()>, &'a Receiver<()>);

impl fmt::Debug for Slow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.send(()).unwrap();
        self.1.recv().unwrap();
        f.write_str("made behind the end")
    }
}

fn shown(dir: &std::path::Path) -> u64 {
    let items = Source::open(dir).unwrap().query(&Query::new());
    items.filter(|item| matches!(item.as_ref().unwrap(), Item::Record(_))).count() as u64
}

/// Two threads log one event each, begin a second, and end it behind the shutdown.
fn stragglers(handle: &Handle, log: impl Fn(&dyn fmt::Debug) + Sync) {
    let (began, begins) = channel();
    std::thread::scope(|scope| {
        let mut go_on = Vec::new();
        for _ in 0..2 {
            let (go, told) = channel();
            let (began, log) = (began.clone(), &log);
            scope.spawn(move || {
                log(&"early");
                log(&Slow(&began, &told));
            });
            go_on.push(go);
        }
        begins.recv().unwrap();
        begins.recv().unwrap();
        handle.shutdown(LONG).unwrap();
        go_on.into_iter().for_each(|go| go.send(()).unwrap());
    });
}

#[test]
fn a_call_that_ends_behind_the_shutdown_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let handle = Builder::new(dir.path()).filter("trace").init().unwrap();
    let lanes = handle.health().lanes.unwrap();
    stragglers(&handle, |text| ttlog::info!(?text));
    let stats = handle.stats();
    assert_eq!((stats.written, stats.lost_by(Cause::Shutdown, Level::INFO)), (2, 2), "{stats:?}");
    assert_eq!(shown(dir.path()), 2);
    assert!(!lanes.exists(), "nothing is left");
}

#[test]
fn the_same_for_a_logger_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let handle = Builder::new(dir.path()).filter("trace").build().unwrap();
    stragglers(&handle, |text| ttlog::info!(logger: &handle, ?text));
    let stats = handle.stats();
    assert_eq!((stats.written, stats.lost_by(Cause::Shutdown, Level::INFO)), (2, 2), "{stats:?}");
    assert_eq!(shown(dir.path()), 2);
}

#[test]
fn threads_that_log_through_a_shutdown_are_accounted_for_to_the_last_event() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let handle = Builder::new(dir.path()).filter("trace").build().unwrap();
        let all_log = std::sync::Barrier::new(4);
        let calls: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        // A call behind the end is a no-op, which `health` tells from outside.
                        ttlog::info!(logger: &handle, "first");
                        all_log.wait();
                        let mut n = 1_u64;
                        while !handle.health().ended {
                            ttlog::info!(logger: &handle, n);
                            n += 1;
                        }
                        n
                    })
                })
                .collect();
            all_log.wait();
            std::thread::sleep(Duration::from_millis(5));
            handle.shutdown(LONG).unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let stats = handle.stats();
        // The last call of each thread may have found the logger ended.
        let accounted = stats.written + stats.lost();
        assert!((calls - 3..=calls).contains(&accounted), "{accounted} of {calls}: {stats:?}");
        assert_eq!(shown(dir.path()), stats.written);
    }
}
