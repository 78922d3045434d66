//! Odd: callers that no logger likes: allocators, hooks, destructors, signals, forks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Args, Counts, init, log_one, mix, tell};

/// The system's allocator, which logs while `ALLOCATOR_LOGS` says so.
pub(crate) struct LoggingAllocator;

static ALLOCATOR_LOGS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static NESTED: Cell<u32> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for LoggingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ALLOCATOR_LOGS.load(Ordering::Relaxed) {
            let depth = NESTED.get();
            // An allocator that logs has to stop its own recursion somewhere; here at the second.
            if depth < 2 {
                NESTED.set(depth + 1);
                ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
                ttlog::info!(bytes = layout.size(), "allocated");
                NESTED.set(depth);
            }
        }
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

pub(crate) fn run(args: &Args) {
    let counts = Counts::open(args);
    match args.text("how").expect("how=CALLER") {
        "debug" => debug(args, counts),
        "hook" => hook(args, counts),
        "tls" => tls(args, counts),
        "atexit" => atexit(args, counts),
        "allocator" => allocator(args, counts),
        "signal" => signal(args, counts),
        "fork" => fork(args, counts),
        other => panic!("how={other}?"),
    }
}

/// Logs one event of thread `t` when it is shown.
struct Shown<'a>(&'a Counts, u64, u64, bool);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        log_one(self.0, 1, self.1, self.2);
        assert!(!self.3, "Debug panics on purpose");
        f.write_str("shown")
    }
}

/// A `Debug` that logs, and one that logs and panics.
fn debug(args: &Args, counts: Counts) {
    let handle = init(args);
    std::panic::set_hook(Box::new(|_| ()));
    for n in 0..args.number("events", 1000) {
        ttlog::info!(x = ?Shown(&counts, 0, n, false), "outer");
        let panics = std::panic::catch_unwind(|| {
            ttlog::info!(x = ?Shown(&counts, 1, n, true), "never");
        });
        assert!(panics.is_err());
        log_one(&counts, 1, 2, n);
    }
    end(&handle);
}

/// Logging in a panic hook, while threads panic.
fn hook(args: &Args, counts: Counts) {
    let handle = init(args);
    let (events, next) = (args.number("events", 100), AtomicU64::new(0));
    std::panic::set_hook(Box::new(move |_| {
        // One thread panics at a time.
        log_one(&counts, 1, 0, next.fetch_add(1, Ordering::Relaxed));
    }));
    for n in 0..events {
        assert!(
            std::thread::spawn(move || {
                log_one(&counts, 1, 1, n);
                panic!("on purpose");
            })
            .join()
            .is_err()
        );
    }
    end(&handle);
}

/// Logs when its thread ends, before and behind the logger's own destructor.
struct LastWords(Counts, u64);

impl Drop for LastWords {
    fn drop(&mut self) {
        log_one(&self.0, 1, self.1, 1);
    }
}

thread_local! {
    static EARLY: Cell<Option<LastWords>> = const { Cell::new(None) };
    static LATE: Cell<Option<LastWords>> = const { Cell::new(None) };
}

/// Events 0 of threads 0 and 1 are logged by a thread, events 1 by its destructors.
fn tls(args: &Args, counts: Counts) {
    let handle = init(args);
    let rounds = args.number("events", 20);
    for round in 0..rounds {
        let (a, b) = (round * 2, round * 2 + 1);
        std::thread::spawn(move || {
            // Registered before the logger's own destructor, so that it runs behind it.
            EARLY.set(Some(LastWords(counts, a)));
            log_one(&counts, 1, a, 0);
            log_one(&counts, 1, b, 0);
            LATE.set(Some(LastWords(counts, b)));
        })
        .join()
        .expect("a thread");
    }
    end(&handle);
}

static AT_EXIT: std::sync::OnceLock<Counts> = std::sync::OnceLock::new();

extern "C" fn logs_at_exit() {
    if let Some(counts) = AT_EXIT.get() {
        for n in 0..1000 {
            log_one(counts, 1, 1, n);
        }
    }
}

/// A handler of `exit` that logs, registered before the logger's start or after it.
fn atexit(args: &Args, counts: Counts) {
    let _ = AT_EXIT.set(counts);
    let early = args.text("when") == Some("before");
    if early {
        // SAFETY: the function is `extern "C"` and does not unwind.
        unsafe { libc::atexit(logs_at_exit) };
    }
    let _handle = init(args);
    if !early {
        // SAFETY: as above.
        unsafe { libc::atexit(logs_at_exit) };
    }
    if args.number("busy", 0) == 1 {
        // A thread that has a lane and lives on: the place stays for it.
        let (told, tells) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            log_one(&counts, 1, 2, 0);
            told.send(()).expect("main waits");
            std::thread::park();
        });
        tells.recv().expect("it logs");
    }
    for n in 0..1000 {
        log_one(&counts, 1, 0, n);
    }
}

/// Everything that allocates logs, the start of the logger and of threads included.
fn allocator(args: &Args, counts: Counts) {
    let handle = init(args);
    ALLOCATOR_LOGS.store(true, Ordering::Relaxed);
    let (threads, events) = (4, args.number("events", 1000));
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            std::thread::spawn(move || {
                for n in 0..events {
                    let kept = vec![n; 1 + (n % 50) as usize];
                    log_one(&counts, 1, t, n);
                    drop(kept);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
    let second = super::builder(args).build().expect("a second logger");
    second.shutdown(Duration::from_secs(20)).expect("its end");
    ALLOCATOR_LOGS.store(false, Ordering::Relaxed);
    let (before, began) = (handle.stats().written, Instant::now());
    std::thread::sleep(Duration::from_millis(300));
    let flushed = handle.flush(Duration::from_secs(20)).expect("a flush").events;
    let _ = (before, began);
    tell(&format!("allocations={} flushed={flushed}", ALLOCATIONS.load(Ordering::Relaxed)));
    end(&handle);
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static SIGNALLED: std::sync::OnceLock<Counts> = std::sync::OnceLock::new();
/// Starts a timer that sends SIGPROF to the calling thread every 20 µs.
fn interrupt_this_thread() -> libc::timer_t {
    // SAFETY: all zero is a valid value of the C type.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGPROF;
    // SAFETY: no precondition.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: both are this function's own.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    assert_eq!(made, 0, "a timer");
    let every = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    let spec = libc::itimerspec { it_interval: every, it_value: every };
    // SAFETY: the timer was made above.
    let set = unsafe { libc::timer_settime(timer, 0, &raw const spec, std::ptr::null_mut()) };
    assert_eq!(set, 0, "a timer");
    timer
}

extern "C" fn on_signal(_: libc::c_int) {
    let n = SIGNALS.fetch_add(1, Ordering::Relaxed);
    if let Some(counts) = SIGNALLED.get() {
        log_one(counts, 1, 1, n);
    }
}

/// A thread that logs is interrupted by signals whose handler logs too.
fn signal(args: &Args, counts: Counts) {
    let handle = init(args);
    let _ = SIGNALLED.set(counts);
    let wanted = args.number("events", 100_000);
    log_one(&counts, 1, 1, 0); // the callsite is known before the first signal
    SIGNALS.store(1, Ordering::Relaxed);
    // SAFETY: all zero is a valid value of the C type.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler keeps to atomics and the logger.
    unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) };
    let allocates = args.number("allocates", 0) == 1;
    let victim = std::thread::spawn(move || {
        let timer = interrupt_this_thread();
        let mut n = 0;
        while SIGNALS.load(Ordering::Relaxed) <= wanted {
            log_one(&counts, 1, 0, n);
            n += 1;
            if allocates {
                std::hint::black_box(vec![n; (n % 100) as usize]);
            }
            if n % 256 == 0 {
                // Lets the scribe keep up. No sleep: at this rate of signals it would begin anew
                // for ever.
                let began = Instant::now();
                while began.elapsed() < Duration::from_micros(100) {
                    std::hint::spin_loop();
                }
            }
        }
        // SAFETY: made above, deleted once.
        unsafe { libc::timer_delete(timer) };
    });
    victim.join().expect("the victim");
    tell(&format!("signals={}", SIGNALS.load(Ordering::Relaxed)));
    end(&handle);
}

/// Eight threads log while the process forks again and again.
fn fork(args: &Args, counts: Counts) {
    let handle = init(args);
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|t| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    log_one(&counts, 1, t, n);
                    if n % 256 == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    let (forks, mut stuck, mut wrong) = (args.number("forks", 100), 0, 0);
    for nth in 0..forks {
        // SAFETY: the child does what real children do, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            in_child(nth, &handle, args);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut status = 0;
        // SAFETY: `status` is this function's own.
        while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
            if Instant::now() > deadline {
                stuck += 1;
                // SAFETY: this process's own child.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                // SAFETY: as above.
                unsafe { libc::waitpid(pid, &raw mut status, 0) };
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let code = libc::WEXITSTATUS(status);
        let expected = if nth % 5 == 2 { 101 } else { 0 };
        wrong += u64::from(!libc::WIFEXITED(status) || code != expected);
    }
    if args.number("hold", 0) == 1 {
        // SAFETY: the child sleeps, logs nothing, and is killed by the rig.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        tell(&format!("held by {pid}"));
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a worker");
    }
    tell(&format!("forks={forks} stuck={stuck} wrong={wrong}"));
    end(&handle);
}

/// What children do: log, ask for stats, panic, exit, exec. Code 0 when all was as it should be.
fn in_child(nth: u64, handle: &ttlog::Handle, _args: &Args) -> ! {
    let forked = || {
        let cause = ttlog::record::Cause::Forked;
        ttlog::Level::ALL.iter().map(|&level| handle.stats().lost_by(cause, level)).sum::<u64>()
    };
    let log = |n: u64| {
        // A callsite that the parent never used: its registration takes the cold way.
        ttlog::info!(run = 9_u64, t = 9_u64, n, sum = mix::sum(9, 9, n), "from a child");
        ttlog::warn!(n, "and another {n}");
    };
    match nth % 5 {
        0 => {
            (0..10).for_each(log);
            let code = i32::from(forked() != 20);
            // SAFETY: ends the child without its parent's handlers.
            unsafe { libc::_exit(code) }
        }
        1 => {
            (0..10).for_each(log);
            std::process::exit(0);
        }
        2 => {
            std::panic::set_hook(Box::new(|_| ttlog::error!("in the hook of a child")));
            let _ = std::panic::catch_unwind(|| panic!("on purpose"));
            log(1);
            std::process::exit(101);
        }
        3 => {
            log(1);
            let path = c"/bin/true".as_ptr();
            // SAFETY: a list that ends with null.
            unsafe { libc::execl(path, path, std::ptr::null::<libc::c_char>()) };
            // SAFETY: ends the child.
            unsafe { libc::_exit(9) }
        }
        _ => {
            let thread = std::thread::spawn(move || log(5));
            let _ = thread.join();
            let refused = handle.flush(Duration::from_secs(1)).is_err();
            std::process::exit(i32::from(!refused));
        }
    }
}

fn end(handle: &ttlog::Handle) {
    let ended = handle.shutdown(Duration::from_secs(60)).is_ok();
    let stats = handle.stats();
    let lost = |cause| ttlog::Level::ALL.iter().map(|&l| stats.lost_by(cause, l)).sum::<u64>();
    tell(&format!(
        "ended={ended} written={} lost={} reentrant={} forked={}",
        stats.written,
        stats.lost(),
        lost(ttlog::record::Cause::Reentrant),
        lost(ttlog::record::Cause::Forked),
    ));
}
