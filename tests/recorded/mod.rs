//! Recorded: programs with a flight recorder, and what is read of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ttlog::view::{Item, Query, Source, Value};
use ttlog::{Builder, Level};

const LONG: Duration = Duration::from_secs(60);

/// An event as a reader shows it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) t: Option<u64>,
    pub(crate) n: Option<u64>,
    pub(crate) spans: Vec<String>,
}

/// The events in a file or directory, in the order shown.
pub(crate) fn read(path: &Path) -> Vec<Shown> {
    read_all(&[path])
}

pub(crate) fn read_all(paths: &[&Path]) -> Vec<Shown> {
    let (source, errors) = Source::open_all(paths);
    assert!(errors.is_empty(), "{errors:?}");
    let mut shown = Vec::new();
    let mut last_ns = i64::MIN;
    for item in source.query(&Query::new()) {
        let record = match item.expect("it can be read") {
            Item::Record(record) => record,
            Item::Lost(_) => continue,
            other => panic!("{other:?}"),
        };
        assert!(record.time_ns() >= last_ns, "in the order of time");
        last_ns = record.time_ns();
        let number = |name| match record.field(name) {
            Some(Value::U64(number)) => Some(number),
            _ => None,
        };
        shown.push(Shown {
            level: record.level(),
            message: record.message().into_owned(),
            t: number("t"),
            n: number("n"),
            spans: record.spans().iter().map(|span| span.name.to_string()).collect(),
        });
    }
    shown
}

/// How many events a log says are lost.
pub(crate) fn lost(dir: &Path) -> u64 {
    let mut lost = 0;
    for item in Source::open(dir).expect("a log").query(&Query::new()) {
        if let Item::Lost(told) = item.expect("it can be read") {
            lost += told.losses().total();
        }
    }
    lost
}

/// The dumps that lie beside a log, oldest first.
pub(crate) fn dumps(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let is_dump = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        ttlog::store::name::parse_dump(name).is_some()
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_dump).collect();
    found.sort();
    found
}

/// Waits until something is so, for as long as a slow machine may take.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The command that starts this test program as a child that logs into `dir`.
pub(crate) fn command(dir: &Path, what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["a_child", "--exact", "--nocapture"]);
    command.env("RECORDER_DIR", dir).env("RECORDER_DO", what).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a child.
pub(crate) fn start(dir: &Path, what: &str) -> Child {
    command(dir, what).spawn().expect("this program")
}

/// What a child does; nothing in a process that is none.
pub(crate) fn child() {
    let (Some(dir), Ok(what)) = (std::env::var_os("RECORDER_DIR"), std::env::var("RECORDER_DO"))
    else {
        return;
    };
    let dir = PathBuf::from(dir);
    let builder = Builder::new(&dir).app("rec", "1").filter("info");
    let logger = builder.flight_recorder(Level::TRACE, 1 << 20).init().expect("a logger");
    match what.as_str() {
        "panic" => {
            ttlog::bridge::init().expect("log has no logger");
            (0..3_u64).for_each(|n| ttlog::trace!(t = 0_u64, n, "kept"));
            log::trace!("of log");
            ttlog::info!("logged");
            assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        }
        "snapshots" => {
            for n in 0..2_u64 {
                ttlog::trace!(t = 0_u64, n, "kept");
                let _ = logger.snapshot(dir.join("what.ttdump"));
            }
        }
        // Logs, says so, and stays.
        "stay" => {
            for n in 0..100_u64 {
                ttlog::trace!(t = 0_u64, n, "kept");
                ttlog::info!(t = 0_u64, n, "logged");
            }
            std::fs::write(dir.join("ready"), "").expect("a file");
            std::thread::sleep(10 * LONG);
        }
        other => panic!("{other}"),
    }
}
