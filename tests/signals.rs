//! A signal handler that logs, at any instruction of a log call that it interrupts (R36): each event
//! is written, or counted as lost.
#![expect(unsafe_code, reason = "installs a signal handler and sends signals to one thread")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: libc::c_int) {
    let n = HANDLED.fetch_add(1, Ordering::Relaxed);
    ttlog::warn!(n);
}

#[test]
fn events_of_a_handler_and_of_what_it_interrupts_are_all_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let handle = ttlog::Builder::new(dir.path()).filter("trace").init().unwrap();
    // Callsites are met outside a handler first.
    handler(0);
    let action = handler as extern "C" fn(libc::c_int);
    // SAFETY: all zero is a valid value of the C type.
    let mut how: libc::sigaction = unsafe { std::mem::zeroed() };
    how.sa_sigaction = action as libc::sighandler_t;
    how.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler keeps to raw arguments.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const how, std::ptr::null_mut()) };

    let (tell, told) = std::sync::mpsc::channel();
    let stop = AtomicBool::new(false);
    let mut logged = 0_u64;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            ttlog::info!(n = 0_u64);
            // SAFETY: no conditions.
            tell.send(unsafe { libc::pthread_self() }).unwrap();
            let mut n = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                ttlog::info!(n, a = n, b = n);
                n += 1;
            }
            n
        });
        let target = told.recv().unwrap();
        let began = Instant::now();
        // Two seconds, and longer where a loaded machine has not delivered enough by then.
        let is_through = |passed: Duration| {
            let enough = HANDLED.load(Ordering::Relaxed) > 1_000;
            passed > Duration::from_secs(if enough { 2 } else { 60 })
        };
        while !is_through(began.elapsed()) {
            // SAFETY: the thread lives until it is told to stop.
            unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
            std::hint::spin_loop();
        }
        stop.store(true, Ordering::Relaxed);
        logged = thread.join().unwrap();
    });
    handle.flush(Duration::from_secs(60)).unwrap();
    let stats = handle.stats();
    let handled = HANDLED.load(Ordering::Relaxed);
    assert!(handled > 1_000, "{handled}");
    assert_eq!(stats.written + stats.lost(), logged + handled, "{stats:?}");
    handle.shutdown(Duration::from_secs(60)).unwrap();
}
