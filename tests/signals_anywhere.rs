//! A signal handler that logs by `in_signal_handler` (R36), wherever it comes: in a thread that just
//! starts, that never logged, that is inside the allocator. Each event is written, or counted.
#![expect(unsafe_code, reason = "installs a signal handler and sends signals to threads")]

use std::os::unix::thread::JoinHandleExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ttlog::{Cause, Level};

static HANDLED: AtomicU64 = AtomicU64::new(0);
/// Threads that have a lane of their own.
static LOGGED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: libc::c_int) {
    ttlog::in_signal_handler(|| {
        ttlog::warn!("first met in a handler");
        log();
    });
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn log() {
    ttlog::error!(n = 7_u64, "met before");
}

/// A thread that allocates what no cache of it holds until `handled` signals were handled.
fn victim(has_logged: bool, handled: u64) {
    if has_logged {
        ttlog::info!("it has a lane");
        LOGGED.fetch_add(1, Ordering::SeqCst);
    }
    while HANDLED.load(Ordering::SeqCst) < handled {
        let some: Vec<Vec<u8>> = (0..64).map(|n| Vec::with_capacity(2_000 + n * 501)).collect();
        std::hint::black_box(&some);
    }
}

#[test]
fn r36_a_handler_may_log_in_any_thread_at_any_moment() {
    const ROUNDS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let handle = ttlog::Builder::new(dir.path()).filter("trace").init().unwrap();
    log();
    let action = handler as extern "C" fn(libc::c_int);
    // SAFETY: all zero is a valid value of the C type.
    let mut how: libc::sigaction = unsafe { std::mem::zeroed() };
    how.sa_sigaction = action as libc::sighandler_t;
    how.sa_flags = libc::SA_RESTART;
    // SAFETY: what the handler does is what is tested.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const how, std::ptr::null_mut()) };

    for round in 0..ROUNDS {
        let has_logged = round % 2 == 1;
        let thread = std::thread::Builder::new().name("a victim with a long name".into());
        let thread = thread.spawn(move || victim(has_logged, round + 1)).unwrap();
        while has_logged && LOGGED.load(Ordering::SeqCst) <= round / 2 {
            std::thread::yield_now();
        }
        // From before the thread's first instruction to far behind it.
        std::thread::sleep(Duration::from_micros(round / 4 * 7));
        // SAFETY: the thread lives until the signal was handled.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
        thread.join().unwrap();
    }
    handle.flush(Duration::from_secs(60)).unwrap();
    let stats = handle.stats();
    let calls = 1 + ROUNDS / 2 + 2 * ROUNDS;
    assert_eq!(stats.written + stats.lost(), calls, "{stats:?}");
    let reentrant = |level| stats.lost_by(Cause::Reentrant, level);
    assert_eq!(reentrant(Level::WARN), ROUNDS, "a statement that nobody knew");
    assert_eq!(stats.lost(), reentrant(Level::WARN) + reentrant(Level::ERROR), "{stats:?}");
    assert_eq!(reentrant(Level::ERROR), ROUNDS / 2, "of threads that never logged");
    // Behind the handler all is as before.
    ttlog::warn!("met now");
    log();
    handle.shutdown(Duration::from_secs(60)).unwrap();
    assert_eq!(handle.stats().written, stats.written + 2);
}
