//! Quickstart: reads every file of a directory tree with four threads, and logs each.
//!
//! ```console
//! $ cargo run --release --example quickstart -- [DIR [LOG_DIR]]
//! ```
//!
//! DIR is the current directory unless it is given, LOG_DIR is `logs`. Symlinks are logged and not
//! followed, what lies on another file system is left out, and so are the logs themselves.
#![expect(clippy::print_stdout, reason = "its report is its purpose")]

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

const THREADS: usize = 4;
const CHUNK_BYTES: usize = 256 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Walks the tree, prints the report, and returns the number of lost events.
fn run() -> Result<u64, String> {
    let mut arguments = std::env::args_os().skip(1);
    let root = PathBuf::from(arguments.next().unwrap_or_else(|| OsString::from(".")));
    let log_dir = PathBuf::from(arguments.next().unwrap_or_else(|| OsString::from("logs")));
    let about_root = fs::metadata(&root).map_err(|error| format!("{}: {error}", root.display()))?;

    // Nothing has to be held: what was logged is written when the process ends, however it ends.
    let logger = ttlog::init(&log_dir).map_err(|error| error.to_string())?;
    let walk = Walk {
        device: about_root.dev(),
        logs: fs::metadata(&log_dir).ok().map(|about| (about.dev(), about.ino())),
        // Through a symlink, if the root is one.
        queue: Queue::new(fs::canonicalize(&root).unwrap_or(root)),
    };

    let began = Instant::now();
    let done = std::thread::scope(|scope| -> io::Result<Done> {
        let mut readers = Vec::new();
        for n in 1..=THREADS {
            let reader = std::thread::Builder::new().name(format!("reader-{n}"));
            readers.push(reader.spawn_scoped(scope, || walk.work())?);
        }
        let mut sum = Done::default();
        for reader in readers {
            sum.add(reader.join().map_err(|_| io::Error::other("a reader panicked"))?);
        }
        Ok(sum)
    });
    let took = began.elapsed();
    let done = done.map_err(|error| error.to_string())?;
    let flushed = logger.flush(Duration::from_secs(60)).map_err(|error| error.to_string())?;
    Ok(report(&done, took, flushed.events, logger.stats().lost(), &log_dir))
}

fn report(done: &Done, took: Duration, written: u64, lost: u64, log_dir: &Path) -> u64 {
    let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
    println!("read     {} files, {} bytes, in {seconds:.3} s", done.files, done.bytes);
    println!("errors   {}", done.errors);
    println!("logged   {written} events, {:.0} per second", written as f64 / seconds);
    println!("a call   {} ns (median, the stopwatch taken off)", median(done.calls_ns.clone()));
    println!("lost     {lost}");
    println!("read it  cargo run --release --features cli -- -n 20 {}", quoted(log_dir));
    lost
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c)) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What all readers share.
struct Walk {
    device: u64,
    /// Device and inode of the log directory.
    logs: Option<(u64, u64)>,
    queue: Queue,
}

/// What one reader has done.
#[derive(Default)]
struct Done {
    files: u64,
    bytes: u64,
    errors: u64,
    calls_ns: Vec<u64>,
}

impl Walk {
    /// Takes paths from the queue until the whole tree is done.
    fn work(&self) -> Done {
        let mut done = Done::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        let stopwatch_ns = stopwatch_ns();
        while let Some(path) = self.queue.next() {
            let mut inside = Vec::new();
            let result = fs::symlink_metadata(&path).and_then(|about| {
                if about.is_dir() {
                    self.list(&path, &about, &mut inside)
                } else {
                    done.read(&path, &about, &mut chunk, stopwatch_ns)
                }
            });
            if let Err(error) = result {
                done.errors += 1;
                let error: &(dyn std::error::Error + 'static) = &error;
                ttlog::error!(path = path.to_string_lossy(), error, "cannot be read");
            }
            self.queue.put(inside);
        }
        done
    }

    /// Adds what lies in a directory.
    fn list(&self, path: &Path, about: &Metadata, inside: &mut Vec<PathBuf>) -> io::Result<()> {
        if about.dev() != self.device || self.logs == Some((about.dev(), about.ino())) {
            return Ok(());
        }
        for entry in fs::read_dir(path)? {
            inside.push(entry?.path());
        }
        Ok(())
    }
}

impl Done {
    /// Reads a file to its end and logs it.
    fn read(
        &mut self,
        path: &Path,
        about: &Metadata,
        chunk: &mut [u8],
        stopwatch_ns: u64,
    ) -> io::Result<()> {
        let began = Instant::now();
        let (size, kind) = match special(about.file_type()) {
            Some(kind) => (0, kind),
            None => contents(open(path)?, chunk)?,
        };
        let elapsed = began.elapsed();
        self.files += 1;
        self.bytes += size;

        let name = path.to_string_lossy();
        let before = Instant::now();
        ttlog::info!(path = name, size, kind, elapsed, "read");
        let call_ns = before.elapsed().as_nanos() as u64;
        self.calls_ns.push(call_ns.saturating_sub(stopwatch_ns));
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.calls_ns.extend(other.calls_ns);
    }
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// What measuring nothing takes.
fn stopwatch_ns() -> u64 {
    median((0..1_000).map(|_| Instant::now().elapsed().as_nanos() as u64).collect())
}

/// The kind of what is not to be opened.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_symlink() => Some("symlink"),
        _ if kind.is_fifo() => Some("pipe"),
        _ if kind.is_socket() => Some("socket"),
        _ => Some("device"),
    }
}

/// Opens without waiting, should the path be a pipe by now.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads to the end; returns how many bytes there were, and of which kind.
fn contents(mut file: File, chunk: &mut [u8]) -> io::Result<(u64, &'static str)> {
    let (mut size, mut kind) = (0, "empty");
    loop {
        let n = match file.read(chunk) {
            Ok(0) => return Ok((size, kind)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += n as u64;
        if chunk[..n].contains(&0) {
            kind = "binary";
        } else if kind == "empty" {
            kind = "text";
        }
    }
}

/// Paths that wait for a reader. The tree is done when none waits and no reader is at work.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    paths: Vec<PathBuf>,
    busy: usize,
}

impl Queue {
    fn new(first: PathBuf) -> Self {
        let state = QueueState { paths: vec![first], busy: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A path to look at; [`Queue::put`] has to follow.
    fn next(&self) -> Option<PathBuf> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(path) = state.paths.pop() {
                state.busy += 1;
                return Some(path);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the work on a path, with what was found inside.
    fn put(&self, found: Vec<PathBuf>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        state.paths.extend(found);
        self.changed.notify_all();
    }
}
