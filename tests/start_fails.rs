//! A start for which descriptors run out, at any of its steps, says so and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ttlog::{Builder, Error, Handle, Level, info};

const LONG: Duration = Duration::from_secs(60);

/// Starts a logger with all that may need a descriptor, while only so many more may be opened.
fn start(dir: &Path, lanes: &Path, n_files: usize) -> Result<Handle, Error> {
    let free = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1000), ..free }).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - n_files);
    let builder = Builder::new(dir).lanes_in(lanes).flush_on_signals();
    let started = builder.flight_recorder(Level::TRACE, 1 << 20).dump_on(Level::ERROR).build();
    setrlimit(Resource::Nofile, free).unwrap();
    drop(taken);
    started
}

/// Threads of loggers, and mapped lanes.
fn left(lanes: &Path) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    // That of signals is the process's, and stays.
    let is_ours = |name: &String| name.starts_with("ttlog-") && !name.starts_with("ttlog-signals");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lanes = lanes.to_str().unwrap();
    let mapped = maps.lines().filter(|line| line.contains(lanes)).map(str::to_owned);
    names.filter(is_ours).chain(mapped).collect()
}

#[test]
fn a_start_without_descriptors_leaves_nothing_behind_and_the_next_one_works() {
    let (mut refused, mut started) = (0, 0);
    for n_files in 0.. {
        let (dir, lanes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        match start(dir.path(), lanes.path(), n_files) {
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(!said.is_empty());
                let began = Instant::now();
                while !left(lanes.path()).is_empty() {
                    let left = left(lanes.path());
                    assert!(began.elapsed() < LONG, "{n_files} more, {said}: {left:#?}");
                    std::thread::sleep(Duration::from_millis(5));
                }
                for dir in [&dir, &lanes] {
                    let names = fs::read_dir(dir.path()).unwrap().flatten();
                    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
                    assert!(names.is_empty(), "{n_files} more, {said}: {names:?}");
                }
            }
            Ok(logger) => {
                started += 1;
                info!(logger: &logger, n_files);
                assert_eq!(logger.shutdown(LONG).unwrap().events, 1);
            }
        }
        if started == 4 {
            break;
        }
    }
    assert!(refused >= 5, "descriptors ran out {refused} times only");
}
