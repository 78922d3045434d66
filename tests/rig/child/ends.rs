//! Ends: every way in which a process that logs may end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: as at a login; whoever started the rig may have it ignored.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    if let Some(group) = args.text("cgroup") {
        std::fs::write(group, std::process::id().to_string()).expect("a member of the group");
    }
    let guard = Guard::new(args);
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
    match args.text("tell") {
        Some("1") => tell("ready"),
        Some("policy") => {
            let (lost, spilled) = guard.handle().map_or((0, 0), |it| wait_for_the_policy(it, args));
            tell(&format!("ready lost={lost} spilled={spilled}"));
        }
        _ => {}
    }
    end(&how, guard);
}

/// What a program does with the handle that `init` returns.
enum Guard {
    Kept(ttlog::Handle),
    Dropped,
    Leaked(&'static ttlog::Handle),
    Static,
}

static HANDLE: OnceLock<ttlog::Handle> = OnceLock::new();

impl Guard {
    fn new(args: &Args) -> Self {
        let handle = init(args);
        match args.text("guard").unwrap_or("kept") {
            "kept" => Self::Kept(handle),
            "dropped" => {
                drop(handle);
                Self::Dropped
            }
            "leaked" => Self::Leaked(Box::leak(Box::new(handle))),
            "static" => {
                HANDLE.set(handle).expect("set once");
                Self::Static
            }
            other => panic!("guard={other}?"),
        }
    }

    fn handle(&self) -> Option<&ttlog::Handle> {
        match self {
            Self::Kept(handle) => Some(handle),
            Self::Dropped => None,
            Self::Leaked(handle) => Some(handle),
            Self::Static => HANDLE.get(),
        }
    }
}

/// Waits until lanes have overflowed, where that can be seen; what was lost and spilled by then.
fn wait_for_the_policy(handle: &ttlog::Handle, args: &Args) -> (u64, u64) {
    let began = Instant::now();
    loop {
        let stats = handle.stats();
        let has_acted = match args.text("on_full") {
            Some("drop-oldest" | "drop-newest") => stats.lost() > 0,
            Some("spill") => stats.spilled > 0,
            _ => true,
        };
        if has_acted || began.elapsed() > Duration::from_secs(30) {
            return (stats.lost(), stats.spilled);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn end(how: &str, guard: Guard) {
    match how {
        // `main` returns, and drops what it kept.
        "return" => drop(guard),
        "shutdown" => drop(guard.handle().map(|it| it.shutdown(Duration::from_secs(20)))),
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
        "panic-twice" => {
            let _panics = Panics;
            panic!("on purpose");
        }
        "panic-in-drop" => drop(Panics),
        "abort" => std::process::abort(),
        "sigterm" => {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::TERM,
            );
        }
        // SAFETY: none; the fault is the point. Nothing is ever mapped so low.
        "segv" => unsafe {
            std::ptr::without_provenance_mut::<u32>(64).write_volatile(7);
        },
        "stack" => tell(&overflow(1).to_string()),
        "oom" => eat(),
        "exec" => {
            let path = c"/bin/true".as_ptr();
            // SAFETY: a list that ends with null.
            unsafe { libc::execl(path, path, std::ptr::null::<libc::c_char>()) };
        }
        "from-outside" | "sigkill" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        other => panic!("how={other}?"),
    }
}

struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("on purpose, in a destructor");
    }
}

/// Calls itself until the stack is at its end.
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { overflow(depth + 1) + frame[1] }
}

/// Takes memory until the kernel has none left for this process's group.
fn eat() {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}
