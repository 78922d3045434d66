//! Run: programs that log and go on living.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use super::{Args, Counts, builder, init, log_one, tell};

pub(crate) fn run(args: &Args) {
    match args.text("do").unwrap_or("") {
        "log" => log(args),
        "mixed" => mixed(args),
        "one" => one(args),
        "thousand" => thousand(args),
        "asked" => asked(args),
        "local" => local(args),
        other => panic!("do={other}?"),
    }
}

/// Threads log `events` each, then the logger ends.
fn log(args: &Args) {
    let (run, threads) = (args.number("run", 1), args.number("threads", 2));
    let (events, burst) = (args.number("events", 1000), args.number("burst", 0));
    let counts = Counts::open(args);
    let handle = init(args);
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            std::thread::spawn(move || {
                for n in 0..events {
                    log_one(&counts, run, t, n);
                    if burst > 0 && n % burst == burst - 1 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
    if args.number("adopt", 0) == 1 {
        wait_for_adoption(args);
    }
    let flushed = handle.shutdown(Duration::from_secs(60));
    tell(&format!("lost={} flushed={}", handle.stats().lost(), flushed.is_ok()));
}

/// Waits until no owner file but this process's own is left.
fn wait_for_adoption(args: &Args) {
    let began = Instant::now();
    let owners = || {
        let entries = std::fs::read_dir(args.dir()).expect("the directory").flatten();
        entries.filter(|e| e.path().extension().is_some_and(|x| x == "owner")).count()
    };
    while owners() > 1 && began.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The adopter removes orphans of /dev/shm last.
    let is_done = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
        !tasks
            .filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok())
            .any(|name| name.trim() == "ttlog-adopt")
    };
    while !is_done() && began.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// DESIGN's `mixed` kind: the number holds run, thread and number.
fn mixed(args: &Args) {
    let (run, threads, events) =
        (args.number("run", 1), args.number("threads", 4), args.number("events", 1000));
    let word = String::from("hello world");
    let id = move |t: u64, n: u64| run << 48 | t << 40 | n;
    let began = Instant::now();
    let mut handles = Vec::new();
    if args.number("loggers", 1) == 1 {
        handles.push(init(args));
        std::thread::scope(|scope| {
            for t in 0..threads {
                let word = &word;
                scope.spawn(move || {
                    for n in 0..events {
                        ttlog::info!("{} {} {}", id(t, n), n as f64 * 0.5, word);
                    }
                });
            }
        });
    } else {
        for _ in 0..2 {
            handles.push(builder(args).build().expect("a logger"));
        }
        std::thread::scope(|scope| {
            for t in 0..threads {
                let (word, handle) = (&word, &handles[(t % 2) as usize]);
                scope.spawn(move || {
                    for n in 0..events {
                        ttlog::info!(logger: handle, "{} {} {}", id(t, n), n as f64 * 0.5, word);
                    }
                });
            }
        });
    }
    let logged = began.elapsed();
    let mut lost = 0;
    for handle in handles {
        handle.shutdown(Duration::from_secs(120)).expect("the end");
        lost += handle.stats().lost();
    }
    tell(&format!("lost={lost} ns_per_event={}", logged.as_nanos() as u64 / (threads * events)));
}

/// Logs one event, then sleeps without another call.
fn one(args: &Args) {
    let counts = Counts::open(args);
    let _handle = init(args);
    let n = args.number("events", 1);
    for n in 0..n {
        log_one(&counts, args.number("run", 1), 0, n);
    }
    tell("logged");
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).is_ok_and(|n| n > 0) {
        for more in 0..args.number("more", 1) {
            log_one(&counts, args.number("run", 1), 0, n + more);
        }
        tell("logged");
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn field(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Microseconds of CPU that this process has used.
fn cpu_us() -> u64 {
    // SAFETY: all zero is a valid value of the C type.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is this function's own.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    us(usage.ru_utime) + us(usage.ru_stime)
}

/// `threads` threads log once (unless `ttlog=0`) and live on; tells memory and idle CPU.
fn thousand(args: &Args) {
    let threads = args.number("threads", 1000);
    let handle = (args.number("ttlog", 1) == 1).then(|| init(args));
    let logs = handle.is_some();
    let (ready, wait) = (
        std::sync::mpsc::channel(),
        std::sync::Arc::new(std::sync::Barrier::new(threads as usize + 1)),
    );
    for t in 0..threads {
        let (ready, wait) = (ready.0.clone(), wait.clone());
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || {
                if logs {
                    ttlog::info!(t, "once");
                }
                ready.send(()).expect("main");
                wait.wait();
            })
            .expect("a thread");
    }
    for _ in 0..threads {
        ready.1.recv().expect("a thread");
    }
    if let Some(handle) = &handle {
        handle.flush(Duration::from_secs(20)).expect("a flush");
    }
    let status = "/proc/self/status";
    tell(&format!("rss_kib={} shmem_kib={}", field(status, "VmRSS:"), field(status, "RssShmem:")));
    std::thread::sleep(Duration::from_millis(500));
    let (before, began, scribe_before) = (cpu_us(), Instant::now(), scribe_ns());
    let idle = Duration::from_millis(args.number("idle", 5000));
    std::thread::sleep(idle);
    let used = cpu_us() - before;
    let share = used as f64 / began.elapsed().as_micros() as f64 * 100.0;
    tell(&format!("idle_cpu_percent={share:.4} rss_kib={}", field(status, "VmRSS:")));
    if args.number("busy", 0) == 1 {
        // Each burst passes the mark of this thread's lane, and so is a turn of the scribe.
        let idle_ns = scribe_ns() - scribe_before;
        let (before, began, mut bursts) = (scribe_ns(), Instant::now(), 0_u64);
        while began.elapsed() < idle {
            (0..1000).for_each(|n| ttlog::info!(n, "busy"));
            std::thread::sleep(Duration::from_micros(500));
            bursts += 1;
        }
        let busy_ns = (scribe_ns() - before).saturating_sub(idle_ns);
        tell(&format!("scribe_ns_a_burst={} bursts={bursts}", busy_ns / bursts));
    }
    if let Some(handle) = &handle {
        tell(&format!(
            "lost={} lanes={} lanes_bytes={}",
            handle.stats().lost(),
            handle.stats().lanes,
            handle.stats().lanes_bytes
        ));
    }
    wait.wait();
}

/// Time that the scribe's thread has run.
fn scribe_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let is_scribe = |task: &std::path::Path| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "ttlog-scribe")
    };
    let scribe = tasks.map(|task| task.path()).find(|task| is_scribe(task));
    let text = scribe.and_then(|task| std::fs::read_to_string(task.join("schedstat")).ok());
    text.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Does what it is asked on stdin, line by line: `log N`, `stats`, `flush`, `quit`.
fn asked(args: &Args) {
    let counts = Counts::open(args);
    let (run, threads) = (args.number("run", 1), args.number("threads", 2));
    let handle = init(args);
    tell(&format!(
        "ready crash_safe={} lanes={:?}",
        handle.health().crash_safe,
        handle.health().lanes
    ));
    let mut next = vec![0_u64; threads as usize];
    let mut line = String::new();
    loop {
        line.clear();
        if std::io::stdin().lock().read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("log", number) => {
                let each: u64 = number.parse().expect("a number");
                let (slowest, longest) = log_each(&counts, run, &mut next, each);
                let longest = longest.as_secs_f64() * 1e3;
                tell(&format!("slowest_ms={slowest} longest_call_ms={longest:.1}"));
            }
            ("stats", _) => {
                let (stats, health) = (handle.stats(), handle.health());
                tell(&format!(
                    "written={} spilled={} lost={} errors={} lanes_bytes={} failing={:?} \
                     io_reason={:?}",
                    stats.written,
                    stats.spilled,
                    stats.lost(),
                    stats.disk_errors,
                    stats.lanes_bytes,
                    health.failing,
                    health.io_reason
                ));
            }
            ("flush", ms) => {
                let wait = Duration::from_millis(ms.parse().expect("a number"));
                tell(&format!("flushed={}", handle.flush(wait).is_ok()));
            }
            ("sync", ms) => {
                let wait = Duration::from_millis(ms.parse().expect("a number"));
                tell(&format!("synced={}", handle.sync(wait).is_ok()));
            }
            ("quit", _) => {
                let end = handle.shutdown(Duration::from_secs(20));
                tell(&format!("ended={:?} lost={}", end.is_ok(), handle.stats().lost()));
                return;
            }
            other => panic!("{other:?}?"),
        }
    }
}

/// Every thread logs `each` more; returns how many milliseconds the slowest thread was held up in
/// calls of a millisecond and more, and how long the longest call of all took. What it and the
/// logger's threads waited for a processor meanwhile is the machine's doing, and does not count in
/// the first.
fn log_each(counts: &Counts, run: u64, next: &mut [u64], each: u64) -> (u64, Duration) {
    let (mut slowest, mut longest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let workers: Vec<_> = next
            .iter_mut()
            .enumerate()
            .map(|(t, next)| {
                scope.spawn(move || {
                    let (mut held_up, before) = (Duration::ZERO, waited_for_a_processor());
                    let mut longest = Duration::ZERO;
                    for n in *next..*next + each {
                        let began = Instant::now();
                        log_one(counts, run, t as u64, n);
                        let took = began.elapsed();
                        longest = longest.max(took);
                        if took >= Duration::from_millis(1) {
                            held_up += took;
                        }
                    }
                    *next += each;
                    let of_the_machine = waited_for_a_processor().saturating_sub(before);
                    (held_up.saturating_sub(of_the_machine).as_millis() as u64, longest)
                })
            })
            .collect();
        for worker in workers {
            let of_one = worker.join().expect("a worker");
            (slowest, longest) = (slowest.max(of_one.0), longest.max(of_one.1));
        }
    });
    (slowest, longest)
}

/// How long this thread and those of the logger were able to run, and did not.
fn waited_for_a_processor() -> Duration {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let counts = |task: &std::path::Path| {
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.starts_with("ttlog") || task.ends_with(&own)
    };
    let waited = |task: std::path::PathBuf| -> Option<u64> {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    };
    let of_them = tasks.map(|task| task.path()).filter(|task| counts(task));
    Duration::from_nanos(of_them.filter_map(waited).sum())
}

/// A local logger; its owner file goes away meanwhile.
fn local(args: &Args) {
    let (run, events) = (args.number("run", 1), args.number("events", 1000));
    let logger = builder(args).build().expect("a logger");
    let counts = Counts::open(args);
    for n in 0..events {
        counts.begin(0, n);
        ttlog::info!(logger: &logger, run, t = 0_u64, n, sum = super::mix::sum(run, 0, n), text = super::mix::text(n), "rig");
        counts.end(0, n);
        if n % 10 == 9 {
            std::thread::sleep(Duration::from_millis(args.number("pause", 1)));
        }
    }
    tell(&format!("lost={}", logger.stats().lost()));
    logger.shutdown(Duration::from_secs(20)).expect("the end");
}
