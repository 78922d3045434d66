//! Ends: every way in which a process that logs may end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Args, Counts, init, log_one, tell};

/// `threads` threads log `events` each (0: without end), then the process ends by `how`; with
/// `busy=1` it ends as soon as `events` calls have returned, while the threads go on.
pub(crate) fn run(args: &Args) {
    let (run, threads) = (args.number("run", 1), args.number("threads", 4));
    let (events, busy) = (args.number("events", 1000), args.number("busy", 0) == 1);
    let (burst, pause_us) = (args.number("burst", 0), args.number("pause", 1000));
    let how = args.text("how").expect("how=END").to_owned();
    let counts = Counts::open(args);
    if how == "panic-abort" {
        // What a build with `panic = "abort"` does: the hook, then abort.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            hook(info);
            std::process::abort();
        }));
    }
    let handle = init(args);
    if args.number("tell", 0) == 1 {
        tell("ready");
    }
    let each = if busy || events == 0 { u64::MAX } else { events.div_ceil(threads) };
    let stop = Arc::new(AtomicBool::new(false));
    // The last thread may be the one that ends the process.
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                for n in 0..each {
                    log_one(&counts, run, t, n);
                    if burst > 0 && n % burst == burst - 1 {
                        std::thread::sleep(Duration::from_micros(pause_us));
                    }
                    if n % 64 == 0 && stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            })
        })
        .collect();
    if busy {
        while counts.returned(threads) < events {
            std::thread::sleep(Duration::from_micros(200));
        }
    } else if events > 0 {
        for worker in workers {
            worker.join().expect("a worker");
        }
    }
    end(&how, &handle);
}

fn end(how: &str, handle: &ttlog::Handle) {
    match how {
        "return" => {}
        "shutdown" => drop(handle.shutdown(Duration::from_secs(20))),
        "exit" => std::process::exit(0),
        "exit-thread" => {
            let _ = std::thread::spawn(|| std::process::exit(0)).join();
        }
        "panic-main" | "panic-abort" => panic!("on purpose"),
        "panic-joined" => {
            assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        }
        "panic-detached" => {
            drop(std::thread::spawn(|| panic!("on purpose")));
            std::thread::sleep(Duration::from_millis(5));
        }
        "abort" => std::process::abort(),
        // SAFETY: ends the process, as wanted.
        "sigterm" => unsafe {
            libc::raise(libc::SIGTERM);
        },
        // SAFETY: none; the fault is the point.
        "segv" => unsafe {
            std::ptr::null_mut::<u32>().write_volatile(7);
        },
        "sigkill" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        other => panic!("how={other}?"),
    }
}
