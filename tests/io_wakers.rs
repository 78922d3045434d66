//! Wakers and executors that a ring did not choose: some panic, some run one inside the other.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ttlog::io::{Batch, IoFd, IoOperation, OFFSET_NONE, Ring};

const LONG: Duration = Duration::from_secs(60);

/// Runs a test with a ring on a thread of its own, since what is wrong may hang.
fn with_ring(test: impl FnOnce(Ring) + Send + 'static) {
    let ring = match Ring::new(8) {
        Ok(ring) => ring,
        Err(error) => return println!("not run: {error}"),
    };
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || {
        test(ring);
        told.send(()).unwrap();
    });
    ended.recv_timeout(LONG).expect("it ends, and does not panic");
}

/// Counts how often it was rung, wakes its thread, and may panic then.
struct Bell {
    rung: AtomicUsize,
    panics: bool,
    thread: std::thread::Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
        assert!(!self.panics, "a waker that panics");
    }
}

fn bell(panics: bool) -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell { rung: 0.into(), panics, thread: std::thread::current() });
    (bell.clone(), Waker::from(bell))
}

fn is_pending<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending()
}

fn pipe() -> (IoFd, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (IoFd::from(reader), writer)
}

/// Polls them without the thread that watches rings.
fn pend_unwatched(ring: &Ring, mut poll: impl FnMut() -> bool) {
    assert!(ring.block_on(std::future::poll_fn(|_| Poll::Ready(poll()))));
}

#[test]
fn the_watcher_outlives_a_waker_that_panics() {
    with_ring(|ring| {
        let (reader, mut writer) = pipe();
        let (broken, waker) = bell(true);
        let mut read = ring.read(reader, vec![0; 4], OFFSET_NONE);
        assert!(is_pending(&mut read, &waker));
        writer.write_all(b"x").unwrap();
        while broken.rung.load(Ordering::SeqCst) == 0 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        // The panic came out there; here it comes out once more.
        let _ = catch_unwind(AssertUnwindSafe(|| ring.reap()));
        drop(read);
        let (good, waker) = bell(false);
        let mut wait = ring.timeout(Duration::from_millis(20));
        assert!(is_pending(&mut wait, &waker));
        while good.rung.load(Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        ring.block_on(wait).unwrap();
    });
}

#[test]
fn a_waker_that_panics_costs_no_other_its_completion() {
    with_ring(|ring| {
        let (broken, good) = (bell(true).1, bell(false));
        let ((first, mut to_first), (second, mut to_second)) = (pipe(), pipe());
        let mut first = ring.read(first, vec![0; 4], OFFSET_NONE);
        let mut second = ring.read(second, vec![0; 4], OFFSET_NONE);
        pend_unwatched(&ring, || {
            is_pending(&mut first, &broken) && is_pending(&mut second, &good.1)
        });
        to_first.write_all(b"x").unwrap();
        let mut batch = Batch::new();
        batch.push(IoOperation::Nop);
        batch.push(IoOperation::Nop);
        let batch = ring.submit_batch(batch).unwrap();
        to_second.write_all(b"x").unwrap();
        let reap = || {
            while good.0.rung.load(Ordering::SeqCst) == 0 {
                ring.submit().unwrap();
                ring.reap();
            }
        };
        assert!(catch_unwind(AssertUnwindSafe(reap)).is_err(), "it is told");
        assert_eq!(ring.block_on(batch).len(), 2);
        assert_eq!(ring.block_on(second).0.unwrap(), 1);
    });
}

#[test]
fn a_future_whose_poll_panicked_is_cancelled_when_it_is_dropped() {
    with_ring(|ring| {
        let (broken, good) = (bell(true).1, bell(false).1);
        let ((first, mut to_first), (second, _to_second)) = (pipe(), pipe());
        let mut first = ring.read(first, vec![0; 4], OFFSET_NONE);
        let mut second = ring.read(second, vec![0; 4], OFFSET_NONE);
        pend_unwatched(&ring, || is_pending(&mut first, &broken) && is_pending(&mut second, &good));
        to_first.write_all(b"x").unwrap();
        let poll = || while is_pending(&mut second, &good) {};
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err(), "the other's waker panics in it");
        drop(second);
        while ring.tracker().in_flight > 0 {
            ring.submit().unwrap();
            ring.reap();
        }
    });
}

#[test]
fn a_wake_that_comes_while_another_future_runs_inside_is_not_lost() {
    with_ring(|ring| {
        let mut is_first = true;
        ring.block_on(std::future::poll_fn(|context| {
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            ring.block_on(ring.nop()).unwrap();
            Poll::Pending
        }));
    });
}
