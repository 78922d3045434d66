//! Child: the program's commands, and what they share.

mod ends;
mod life;
pub(crate) mod odd;
mod run;
#[cfg(all(feature = "tracing", feature = "log"))]
mod secrets;

#[path = "../mix.rs"]
pub(crate) mod mix;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The `key=value` arguments.
pub(crate) struct Args(HashMap<String, String>);

impl Args {
    fn of_process() -> Self {
        let pairs = std::env::args().skip(1);
        Self(
            pairs
                .map(|arg| {
                    let (key, value) = arg.split_once('=').expect("key=value");
                    (key.to_owned(), value.to_owned())
                })
                .collect(),
        )
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        self.text(key).map_or(default, |text| text.parse().expect("a number"))
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.text("logdir").or(self.text("dir")).expect("dir=PATH").into()
    }
}

/// Most threads that one run counts.
pub(crate) const THREADS_MAX: usize = 64;

/// Counters in a file that outlives the process: calls begun and calls returned, by thread.
#[derive(Clone, Copy)]
pub(crate) struct Counts(&'static [[AtomicU64; 8]; THREADS_MAX]);

impl Counts {
    /// Counters that nobody reads.
    pub(crate) fn nowhere() -> Self {
        let zeros: Vec<u64> = vec![0; THREADS_MAX * 8];
        // SAFETY: leaked, long enough, and aligned for u64.
        Self(unsafe { &*zeros.leak().as_ptr().cast() })
    }

    /// Maps the file `counts=PATH`; without one, memory of the process.
    pub(crate) fn open(args: &Args) -> Self {
        let len = THREADS_MAX * 64;
        let Some(path) = args.text("counts") else { return Self::nowhere() };
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("the counts");
        file.set_len(len as u64).expect("the counts");
        // SAFETY: a fresh shared mapping of a file that nobody shortens.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsRawFd::as_raw_fd(&file),
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "the counts");
        // SAFETY: page-aligned, `len` bytes, never unmapped.
        Self(unsafe { &*start.cast() })
    }

    pub(crate) fn begin(&self, t: u64, n: u64) {
        self.0[t as usize][0].store(n + 1, Ordering::Release);
    }

    pub(crate) fn end(&self, t: u64, n: u64) {
        self.0[t as usize][1].store(n + 1, Ordering::Release);
    }

    pub(crate) fn returned(&self, threads: u64) -> u64 {
        self.0[..threads as usize].iter().map(|t| t[1].load(Ordering::Acquire)).sum()
    }
}

/// Logs event `n` of thread `t`, and counts it before and behind.
#[inline]
pub(crate) fn log_one(counts: &Counts, run: u64, t: u64, n: u64) {
    counts.begin(t, n);
    ttlog::info!(run, t, n, sum = mix::sum(run, t, n), text = mix::text(n), "rig");
    counts.end(t, n);
}

/// Starts the global logger as the arguments say.
pub(crate) fn init(args: &Args) -> ttlog::Handle {
    match builder(args).env().init() {
        Ok(handle) => handle,
        Err(error) => {
            eprintln!("init: {error}");
            std::process::exit(3);
        }
    }
}

pub(crate) fn builder(args: &Args) -> ttlog::Builder {
    let mut builder = ttlog::Builder::new(args.dir()).app("rig", "1");
    if let Some(bytes) = args.text("rotate") {
        builder = builder.rotate(ttlog::Rotate::size(bytes.parse().expect("bytes")));
    }
    if let Some(keep) = args.text("keep") {
        builder = builder.keep(keep.parse().expect("limits"));
    }
    if let Some(ms) = args.text("within") {
        builder = builder.write_within(Duration::from_millis(ms.parse().expect("ms")));
    }
    builder = match args.text("durability") {
        Some("never") => builder.durability(ttlog::Durability::Never),
        Some("block") => builder.durability(ttlog::Durability::EveryBlock),
        _ => builder,
    };
    if let Some(choice) = args.text("io") {
        builder = builder.io(choice.parse().expect("a way of doing I/O"));
    }
    if args.text("direct") == Some("1") {
        builder = builder.direct(ttlog::__private::Direct::Always);
    }
    if let Some(bytes) = args.text("lane") {
        builder = builder.lane_bytes(bytes.parse().expect("bytes"));
    }
    if args.number("pack", 0) == 1 {
        builder = builder.compress(ttlog::Compression::Zstd(1));
    }
    builder = match args.text("on_full") {
        Some("block") => builder.back_pressure(ttlog::BackPressurePolicy::Block),
        Some("drop-oldest") => builder.back_pressure(ttlog::BackPressurePolicy::DropOldest),
        Some("drop-newest") => builder.back_pressure(ttlog::BackPressurePolicy::DropNewest),
        Some("spill") => {
            let dir = args.dir().join("spill");
            builder.back_pressure(ttlog::BackPressurePolicy::SpillToDisk(dir))
        }
        Some(other) => panic!("on_full={other}?"),
        None => builder,
    };
    if let Some(bytes) = args.text("lanes_max") {
        builder = builder.lanes_bytes_max(bytes.parse().expect("bytes"));
    }
    if let Some(bytes) = args.text("quota") {
        builder = builder.spill_quota(bytes.parse().expect("bytes"));
    }
    if let Some(ms) = args.text("timeout") {
        let fallback = match args.text("fallback") {
            Some("drop-newest") => ttlog::Fallback::DropNewest,
            Some("drop-oldest") => ttlog::Fallback::DropOldest,
            Some("spill") => ttlog::Fallback::SpillToDisk(args.dir()),
            other => panic!("fallback={other:?}?"),
        };
        let timeout = Duration::from_millis(ms.parse().expect("ms"));
        builder = builder.block_timeout(timeout, fallback);
    }
    if let Some(ms) = args.text("spill_wait") {
        builder = builder.spill_wait(Duration::from_millis(ms.parse().expect("ms")));
    }
    builder
}

/// Prints a line and makes sure that the rig sees it.
pub(crate) fn tell(line: &str) {
    use std::io::Write as _;
    println!("{line}");
    let _ = std::io::stdout().flush();
}

pub(crate) fn main() {
    let args = Args::of_process();
    match args.text("do").expect("do=COMMAND") {
        "end" => ends::run(&args),
        "odd" => odd::run(&args),
        "life" => life::run(&args),
        #[cfg(all(feature = "tracing", feature = "log"))]
        "secrets" => secrets::run(&args),
        _ => run::run(&args),
    }
}
