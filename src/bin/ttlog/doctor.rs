//! `ttlog doctor`: what ttlog would use here, and why.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ttlog::io::{self, IoChoice};

use crate::args::{DoctorArgs, Report};
use crate::output::Output;
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure};

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As good as it gets.
    Ok,
    /// Works, but less well, and the text says what to change.
    Worse,
    /// Does not work.
    Bad,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Worse => "worse",
            Self::Bad => "bad",
        }
    }
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    state: State,
    value: String,
    /// What it means, and what to do.
    why: String,
}

impl Finding {
    fn new(
        what: &'static str,
        state: State,
        value: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { what, state, value: value.into(), why: why.into() }
    }

    fn json(&self) -> Value {
        json!({ "what": self.what, "state": self.state.name(), "value": self.value, "why": self.why })
    }
}

/// Looks at everything and tells it; exit status 1 when something does not work.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let mut findings = vec![kernel(), uring(), backend(), memlock(), shared_memory()];
    if let Some(dir) = args.dir.clone().or_else(|| std::env::var_os("TTLOG_DIR").map(PathBuf::from))
    {
        findings.extend([permissions(&dir), file_mode(&dir), room(&dir)]);
    }
    let mut out = Output::new();
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    for finding in &findings {
        match args.output {
            Report::Json => writeln!(out.buffer, "{}", finding.json())?,
            Report::Text => {
                let Finding { what, state, value, why } = finding;
                writeln!(out.buffer, "{what:width$}  {:5}  {value}", state.name())?;
                if !why.is_empty() {
                    writeln!(out.buffer, "{:width$}         {why}", "")?;
                }
            }
        }
    }
    out.flush()?;
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if is_bad { EXIT_ERROR } else { 0 })
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let value = format!(
        "{} {} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    );
    Finding::new("kernel", State::Ok, value, "")
}

fn uring() -> Finding {
    match io::probe().uring {
        Ok(flags) => Finding::new("io_uring", State::Ok, format!("works ({flags})"), ""),
        Err(why) => Finding::new("io_uring", State::Worse, "not to be had", why),
    }
}

/// What `IoChoice::Auto` takes.
fn backend() -> Finding {
    match io::backend(IoChoice::Auto).map(|backend| backend.stats()) {
        Ok(stats) => {
            let state = if stats.reason.is_some() { State::Worse } else { State::Ok };
            let why = match stats.reason {
                Some(_) => "everything works, at more system calls; the cause stands above",
                None => {
                    "for segments of a flood, written past the page cache; others go by pwrite, from the same thread"
                }
            };
            Finding::new("io", state, stats.kind.name(), why)
        }
        Err(error) => Finding::new("io", State::Bad, "none", error.to_string()),
    }
}

fn memlock() -> Finding {
    const WANTED: u64 = 4 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let uid = rustix::process::geteuid();
    let bytes = limit.map_or("unlimited".into(), |bytes| format!("{} KiB", bytes >> 10));
    if let Some(why) = register(WANTED as usize).err() {
        let why = format!("memory cannot be registered: {why}; it is used plainly");
        return Finding::new("memlock", State::Worse, bytes, why);
    }
    match limit {
        None => Finding::new("memlock", State::Ok, "unlimited", ""),
        Some(bytes) if bytes >= WANTED || uid.is_root() => {
            Finding::new("memlock", State::Ok, format!("{} KiB", bytes >> 10), "")
        }
        Some(bytes) => Finding::new(
            "memlock",
            State::Worse,
            format!("{} KiB", bytes >> 10),
            "registered buffers need up to 4096 KiB; raise it with ulimit -l or LimitMEMLOCK=",
        ),
    }
}

/// Tries to register memory; nothing to say where there is no io_uring.
fn register(bytes: usize) -> Result<(), io::Error> {
    #[cfg(target_os = "linux")]
    if let Ok(ring) = io::Ring::new(2) {
        let buffer = io::PinnedBuffer::with_capacity_aligned(bytes);
        io::Registry::new(&ring).register_buffer(buffer).map_err(|(_, error)| error)?;
    }
    let _ = bytes;
    Ok(())
}

fn shared_memory() -> Finding {
    const WANTED: u64 = 64 << 20;
    let path = Path::new("/dev/shm");
    let what = "/dev/shm";
    match tempfile_in(path).and_then(|()| Ok(rustix::fs::statvfs(path)?)) {
        Err(error) => Finding::new(
            what,
            State::Worse,
            "cannot be written",
            format!("{error}; lanes lie in private memory then, and a killed process loses them"),
        ),
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let value = format!("{} MiB free", free >> 20);
            if free >= 4 * WANTED {
                Finding::new(what, State::Ok, value, container())
            } else {
                let why = "lanes take a quarter of it; with docker, --shm-size=256m gives more";
                Finding::new(what, State::Worse, value, why)
            }
        }
    }
}

/// Says whether what lies there outlives this environment.
fn container() -> &'static str {
    let is_container =
        Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    if is_container { "a container's own: it goes when the container is removed" } else { "" }
}

/// Makes a file without a name there, or one that is removed at once.
fn tempfile_in(dir: &Path) -> std::io::Result<()> {
    let path = probe_path(dir);
    let made = std::fs::File::create_new(&path);
    // Whatever was made goes again.
    let _ = std::fs::remove_file(&path);
    made.map(|_| ())
}

fn probe_path(dir: &Path) -> PathBuf {
    dir.join(format!(".ttlog-doctor-{}", std::process::id()))
}

fn permissions(dir: &Path) -> Finding {
    let what = "directory";
    let shown = shown(dir);
    match dir.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A logger makes the directories above it too.
            match tempfile_in(existing(dir)) {
                Ok(()) => Finding::new(what, State::Ok, format!("{shown}: will be made"), ""),
                Err(error) => {
                    let why = format!("{error}; make it, or give its parent write permission");
                    Finding::new(what, State::Bad, format!("{shown}: cannot be made"), why)
                }
            }
        }
        Err(error) => {
            Finding::new(what, State::Bad, format!("{shown}: cannot be read"), error.to_string())
        }
        Ok(meta) if !meta.is_dir() => {
            Finding::new(what, State::Bad, format!("{shown}: no directory"), "choose another path")
        }
        Ok(meta) => match tempfile_in(dir) {
            Ok(()) => {
                let value = format!(
                    "{shown}: writable, mode {:04o}, uid {}",
                    meta.mode() & 0o7777,
                    meta.uid()
                );
                let is_open = meta.mode() & 0o002 != 0 && meta.mode() & 0o1000 == 0;
                let why =
                    if is_open { "anybody may replace files there; use mode 0750" } else { "" };
                Finding::new(what, if is_open { State::Worse } else { State::Ok }, value, why)
            }
            Err(error) => {
                let uid = rustix::process::geteuid().as_raw();
                let why = format!("{error}; uid {uid} needs write permission, and room");
                Finding::new(what, State::Bad, format!("{shown}: cannot be written"), why)
            }
        },
    }
}

/// The directory, or the nearest above it that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

/// How files of that directory can be written, by trying.
fn file_mode(dir: &Path) -> Finding {
    let what = "file mode";
    let path = probe_path(existing(dir));
    let tried = io::writes_uncached(&path);
    // Whatever was made goes again.
    let _ = std::fs::remove_file(&path);
    match tried {
        Ok(true) => Finding::new(
            what,
            State::Ok,
            "uncached",
            "long writes leave no pages in the page cache",
        ),
        Ok(false) => Finding::new(
            what,
            State::Worse,
            "page cache",
            "no RWF_DONTCACHE here (Linux 6.14 on ext4 or xfs): a busy log fills the page cache",
        ),
        Err(error) => Finding::new(what, State::Worse, "unknown", error.to_string()),
    }
}

fn room(dir: &Path) -> Finding {
    let what = "room";
    match rustix::fs::statvfs(existing(dir)) {
        Err(error) => Finding::new(what, State::Worse, "unknown", error.to_string()),
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let value = format!("{} MiB free", free >> 20);
            let is_small = free < 128 << 20;
            let why =
                if is_small { "less than two segments; free some, or log elsewhere" } else { "" };
            Finding::new(what, if is_small { State::Worse } else { State::Ok }, value, why)
        }
    }
}
