//! Life: children that start anew, panics that are logged, and signals that flush before they end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Args, Counts, builder, init, log_one, tell};

pub(crate) fn run(args: &Args) {
    match args.text("how").expect("how=WHAT") {
        "reinit" => reinit(args),
        "panic" => panics(args),
        "signal" => signals(args),
        "drop" => drops(args),
        "console" => console(args),
        other => panic!("how={other}?"),
    }
}

/// Events of a child: as many by its first thread as by another.
const EACH: u64 = 50;

/// Eight threads log while the process forks again and again; children log as runs of their own.
fn reinit(args: &Args) {
    let (counts, handle) = (Counts::open(args), init(args));
    let named = builder(args).app("named", "1").build().expect("a second logger");
    let stop = AtomicBool::new(false);
    let forks = args.number("forks", 20);
    let (mut stuck, mut wrong) = (0, Vec::new());
    std::thread::scope(|scope| {
        for t in 0..8 {
            let stop = &stop;
            scope.spawn(move || {
                for n in 0.. {
                    log_one(&counts, 1, t, n);
                    if n % 256 == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            });
        }
        for nth in 0..forks {
            // SAFETY: the child goes on with its one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                in_child(nth, &handle, &named);
            }
            match wait(pid) {
                None => stuck += 1,
                // 3 is killed by itself.
                Some(status) if nth % 4 == 3 && libc::WIFSIGNALED(status) => {}
                Some(0) => {}
                Some(status) => wrong.push((nth, status)),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let ended = named.shutdown(Duration::from_secs(60)).is_ok()
        && handle.shutdown(Duration::from_secs(60)).is_ok();
    tell(&format!("stuck={stuck} wrong={} ended={ended} {wrong:?}", wrong.len()));
}

/// The status of a child that ended within two minutes, which is no deadlock; else it is killed.
fn wait(pid: libc::pid_t) -> Option<i32> {
    let (mut status, deadline) = (0, Instant::now() + Duration::from_secs(120));
    // SAFETY: `status` is this function's own.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > deadline {
            // SAFETY: this process's own child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Some(status)
}

fn in_child(nth: u64, handle: &ttlog::Handle, named: &ttlog::Handle) -> ! {
    let nowhere = Counts::nowhere();
    let fail = |code: i32| -> ! {
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(code) }
    };
    ttlog::info!("lost: nobody has started anew");
    if handle.flush(Duration::from_secs(1)).is_ok() || !handle.health().ended {
        fail(2);
    }
    if let Err(error) = ttlog::reinit_after_fork() {
        eprintln!("child {nth}: {error}");
        fail(3);
    }
    if ttlog::reinit_after_fork().is_err() {
        fail(4);
    }
    let run = 100 + nth;
    (0..EACH).for_each(|n| log_one(&nowhere, run, 0, n));
    let other = std::thread::spawn(move || (0..EACH).for_each(|n| log_one(&nowhere, run, 1, n)));
    if other.join().is_err() {
        fail(5);
    }
    // The parent's handles lead to the child's loggers.
    ttlog::info!(logger: named, child = run, "named");
    let written = handle.flush(Duration::from_secs(9)).map(|flushed| flushed.events);
    let named_written = named.flush(Duration::from_secs(9)).map(|flushed| flushed.events);
    if !matches!(written, Ok(n) if n == 2 * EACH) || !matches!(named_written, Ok(1)) {
        eprintln!("child {nth}: {written:?} {named_written:?}");
        fail(6);
    }
    log_one(&nowhere, run, 0, EACH);
    match nth % 4 {
        // The end of the process drains.
        0 => std::process::exit(0),
        // Nobody does: what is in lanes stays there.
        1 => fail(0),
        2 => {
            let ended = handle.shutdown(Duration::from_secs(9)).is_ok();
            let again = builder_of(handle).is_err();
            fail(if ended && again { 0 } else { 7 })
        }
        _ => {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            fail(8)
        }
    }
}

/// What a handle says when its logger has ended.
fn builder_of(handle: &ttlog::Handle) -> Result<(), ttlog::Error> {
    handle.rotate()
}

/// Lanes that die with the process, and a scribe that writes late: what is read was flushed.
fn late(args: &Args) -> ttlog::Builder {
    // Nor is anything spilled where the scribe does not get a processor.
    let builder = builder(args).back_pressure(ttlog::BackPressurePolicy::Block);
    builder.crash_safe(false).write_within(Duration::from_secs(600))
}

/// A thread panics and is joined; then the process dies in the hook that was there before.
fn panics(args: &Args) {
    let dies = args.number("dies", 1) == 1;
    std::panic::set_hook(Box::new(move |info| {
        tell(&format!("before: {}", info.location().map_or(0, |at| at.line())));
        if dies && std::thread::current().name() == Some("last") {
            std::process::abort();
        }
    }));
    let logger = late(args).log_panics().init().expect("a logger");
    // A second logger of the process does not log them twice.
    let _ = builder(args).log_panics().build().expect("another");
    ttlog::info!("before all");
    let thread = |name: &str, work: fn()| {
        let started = std::thread::Builder::new().name(name.into()).spawn(work);
        started.expect("a thread").join()
    };
    assert!(thread("first", || panic!("on {}", "purpose")).is_err());
    assert!(thread("any", || std::panic::panic_any(7)).is_err());
    struct Nested;
    impl Drop for Nested {
        fn drop(&mut self) {
            let _ = std::panic::catch_unwind(|| panic!("inside of a panic"));
        }
    }
    assert!(
        thread("nested", || {
            let _nested = Nested;
            panic!("outside");
        })
        .is_err()
    );
    let _ = thread("last", || panic!("the last"));
    logger.shutdown(Duration::from_secs(60)).expect("the end");
    // Behind the end the hook is silent.
    assert!(thread("behind", || panic!("behind the end")).is_err());
}

static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn own_handler(_: libc::c_int) {
    HANDLED.store(true, Ordering::Relaxed);
}

fn set_handler(signal: libc::c_int, action: libc::sighandler_t) {
    // SAFETY: the handler only stores.
    unsafe { libc::signal(signal, action) };
}

/// Waits for a signal, with a handler `before` or `later`, or with none.
fn signals(args: &Args) {
    let signal = args.number("signal", libc::SIGTERM as u64) as libc::c_int;
    let own = own_handler as extern "C" fn(libc::c_int) as *const () as libc::sighandler_t;
    match args.text("before") {
        Some("handler") => set_handler(signal, own),
        Some("ignored") => set_handler(signal, libc::SIG_IGN),
        _ => {}
    }
    let logger = late(args).flush_on_signals().init().expect("a logger");
    let _second = late(args).flush_on_signals().build().expect("another");
    // The first turn of a scribe, whenever it gets a processor, writes what is there.
    logger.flush(Duration::from_secs(60)).expect("a disk that answers");
    if args.text("later") == Some("handler") {
        set_handler(signal, own);
    }
    if args.text("ended") == Some("1") {
        logger.shutdown(Duration::from_secs(9)).expect("the end");
    }
    let counts = Counts::open(args);
    (0..1000).for_each(|n| log_one(&counts, 1, 0, n));
    ttlog::info!(logger: &_second, "of the second");
    if args.number("fork", 0) == 1 {
        // SAFETY: the child waits for the signal alone.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        // SAFETY: this process's own child.
        unsafe { libc::kill(pid, signal) };
        let status = wait(pid);
        tell(&format!("child={}", status.map_or(-1, |status| libc::WTERMSIG(status))));
    }
    tell("ready");
    let began = Instant::now();
    while !HANDLED.load(Ordering::Relaxed) {
        if began.elapsed() > Duration::from_secs(args.number("patience", 30)) {
            tell("alive");
            // SAFETY: ends the process without the logger's end.
            unsafe { libc::_exit(4) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // As a program does that has work left: the flush runs meanwhile, if there is one.
    let (began, linger) = (Instant::now(), Duration::from_millis(args.number("linger", 500)));
    while began.elapsed() < linger && logger.stats().written < 1000 {
        std::thread::sleep(Duration::from_millis(2));
    }
    // SAFETY: as above.
    unsafe { libc::_exit(5) };
}

/// Logs in `Drop` of what a panic unwinds, of a thread's arguments, and of a static's value.
fn drops(args: &Args) {
    struct Logs(Counts, u64, u64);
    impl Drop for Logs {
        fn drop(&mut self) {
            log_one(&self.0, 1, self.1, self.2);
        }
    }
    let (counts, handle) = (Counts::open(args), init(args));
    std::panic::set_hook(Box::new(|_| ()));
    for n in 0..args.number("events", 200) {
        let unwound = std::panic::catch_unwind(|| {
            let _logs = Logs(counts, 0, n);
            ttlog::debug!("off");
            panic!("on purpose");
        });
        assert!(unwound.is_err());
        let moved = Logs(counts, 1, n);
        std::thread::spawn(move || drop(moved)).join().expect("a thread");
        // A value that is dropped between the making of a text and its record.
        ttlog::info!(shown = ?{
            let _logs = Logs(counts, 2, n);
            n
        });
    }
    let ended = handle.shutdown(Duration::from_secs(60)).is_ok();
    tell(&format!("ended={ended} lost={}", handle.stats().lost()));
}

/// Logs with a console: four events that are told apart, or many by several threads.
fn console(args: &Args) {
    let counts = Counts::open(args);
    let to = match args.text("to") {
        Some("stdout") => ttlog::Console::Stdout,
        Some("stderr") => ttlog::Console::Stderr,
        _ => ttlog::Console::Off,
    };
    let logger = builder(args).console(to).init().expect("a logger");
    let (threads, events) = (args.number("threads", 0), args.number("events", 1));
    if args.number("spans", 0) == 1 {
        let request = ttlog::info_span!("request", id = 7, status = ttlog::field::Empty);
        request.in_scope(|| ttlog::info!("begun"));
        // The console has shown this before the span is told more.
        logger.flush(Duration::from_secs(60)).expect("a flush");
        request.record("status", 200);
        let query = ttlog::info_span!(parent: &request, "query");
        std::thread::scope(|scope| {
            scope.spawn(|| query.in_scope(|| ttlog::info!("elsewhere")));
        });
        drop((query, request));
        ttlog::info!("outside");
    } else if threads == 0 {
        ttlog::info!(target: "app::db", user.id = 42, ok = true, "connected in {} ms", 5);
        ttlog::warn!("two\nlines\x1b[31m");
        ttlog::error!(error = "\u{202e}", "{}", "three");
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ttlog::info!(utc = seconds.expect("after 1970").as_secs() / 3600 % 24, "four");
    }
    std::thread::scope(|scope| {
        for t in 0..threads {
            scope.spawn(move || {
                for n in 0..events {
                    log_one(&counts, 1, t, n);
                    if args.number("pause", 0) == 1 && n % 20 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                }
            });
        }
    });
    logger.flush(Duration::from_secs(60)).expect("a flush waits for no terminal");
    if args.number("wait", 0) == 1 {
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    logger.shutdown(Duration::from_secs(60)).expect("nor does the end, for long");
}
