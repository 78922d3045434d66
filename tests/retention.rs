//! Rotation and retention by running loggers and by the command: limits hold at a start, at a roll
//! and at the end, over earlier runs and other processes, and whatever a kill interrupts.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ttlog::store::name;
use ttlog::store::segment::SegmentReader;
use ttlog::view::{Item, Query, Source, Value};
use ttlog::{Builder, Handle, Keep, Rotate, info};

const LONG: Duration = Duration::from_secs(60);
/// A child does its part where this names a directory.
const CHILD_DIR: &str = "TTLOG_TEST_RETENTION_DIR";
/// It dies at its end where this is set.
const CHILD_DIES: &str = "TTLOG_TEST_RETENTION_DIES";

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let is_segment = |name: &str| name::parse(name).is_some();
    let found = entries.filter(|entry| is_segment(entry.file_name().to_str().unwrap()));
    found.map(|entry| entry.path()).collect()
}

fn numbers(dir: &Path) -> Vec<u64> {
    let mut numbers: Vec<u64> = Vec::new();
    for item in Source::open(dir).unwrap().query(&Query::new()) {
        match item.unwrap() {
            Item::Record(record) => match record.field("n") {
                Some(Value::U64(n)) => numbers.push(n),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    numbers
}

fn logger(dir: &Path, keep: Keep) -> Handle {
    Builder::new(dir).app("orders", "1").keep(keep).build().unwrap()
}

/// Logs a number and ends its segment.
fn one_segment(logger: &Handle, n: u64) {
    info!(logger: logger, n, "x");
    logger.flush(LONG).unwrap();
    logger.rotate().unwrap();
}

/// Waits for what happens in the background.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn rotate_ends_a_segment_and_the_next_event_begins_one() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), Keep::default());
    (0..3).for_each(|n| one_segment(&logger, n));
    // Without an event there is nothing to end.
    logger.rotate().unwrap();
    eventually("all are sealed", || {
        segments(dir.path()).iter().all(|path| SegmentReader::open(path).unwrap().is_sealed())
    });
    assert_eq!(segments(dir.path()).len(), 3);
    logger.shutdown(LONG).unwrap();
    assert_eq!((segments(dir.path()).len(), numbers(dir.path())), (3, vec![0, 1, 2]));
}

#[test]
fn a_size_ends_segments_and_a_budget_makes_them_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep::total(4 << 20);
    // A segment of 64 MiB would be all that is kept.
    let logger = Builder::new(dir.path()).app("orders", "1").keep(keep).build().unwrap();
    let text = "y".repeat(4000);
    let allocated = |path: &PathBuf| path.metadata().map_or(0, |meta| meta.blocks() * 512);
    for n in 0..6_000_u64 {
        info!(logger: &logger, n, text = format!("{n}{text}"), "x");
        if n % 64 == 0 {
            logger.flush(LONG).unwrap();
        }
    }
    logger.shutdown(LONG).unwrap();
    let kept: u64 = segments(dir.path()).iter().map(allocated).sum();
    assert!(kept <= 4 << 20, "{kept} bytes");
    let numbers = numbers(dir.path());
    assert!((500..1100).contains(&numbers.len()), "{} events are kept", numbers.len());
    assert_eq!(numbers, (6_000 - numbers.len() as u64..6_000).collect::<Vec<_>>());
}

#[test]
fn the_newest_stay_and_none_too_many_go() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), Keep::count(3));
    for n in 0..10 {
        one_segment(&logger, n);
        assert!(numbers(dir.path()).contains(&n));
    }
    logger.shutdown(LONG).unwrap();
    assert_eq!(numbers(dir.path()), [7, 8, 9]);
    for path in segments(dir.path()) {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn a_start_counts_the_segments_of_earlier_runs_and_of_its_app_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("orders-notes.txt");
    std::fs::write(&foreign, "mine").unwrap();
    for n in 0..5 {
        let one = logger(dir.path(), Keep::everything());
        one_segment(&one, n);
        one.shutdown(LONG).unwrap();
        // Names have seconds: runs that are to be told apart by them begin in different ones.
        if n == 1 {
            std::thread::sleep(Duration::from_millis(1100));
        }
    }
    let other = Builder::new(dir.path()).app("other", "1").build().unwrap();
    one_segment(&other, 99);
    other.shutdown(LONG).unwrap();
    assert_eq!(segments(dir.path()).len(), 6);
    let logger = logger(dir.path(), Keep::count(3));
    eventually("a start applies the limit", || segments(dir.path()).len() == 4);
    logger.shutdown(LONG).unwrap();
    let mut left = numbers(dir.path());
    left.retain(|n| *n != 99);
    assert!(left.len() == 3 && !left.contains(&0) && !left.contains(&1), "{left:?}");
    assert!(foreign.exists() && numbers(dir.path()).contains(&99));
}

#[test]
fn an_app_that_logs_and_ends_at_once_keeps_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..8 {
        let logger = logger(dir.path(), Keep::count(2));
        info!(logger: &logger, n, "x");
        logger.shutdown(LONG).unwrap();
        assert!(segments(dir.path()).len() <= 2);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for (keep, way_out) in [(Keep::total(1 << 19), "1 MiB"), (Keep::count(0), "of 1 or more")] {
        let error = Builder::new(dir.path()).keep(keep).build().unwrap_err();
        assert!(error.to_string().contains(way_out), "{error}");
    }
    let error = Builder::new(dir.path()).rotate(Rotate::size(1000)).build().unwrap_err();
    assert!(error.to_string().contains("64 KiB"), "{error}");
    // Else the lanes would lie in private memory, or nowhere, and free memory would be blamed.
    let error = Builder::new(dir.path()).lanes_bytes_max(700 << 10).build().unwrap_err();
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

/// Segments of dead and living loggers in one directory.
fn some_segments(dir: &Path, n_segments: u64) {
    let logger = logger(dir, Keep::everything());
    (0..n_segments).for_each(|n| one_segment(&logger, n));
    logger.shutdown(LONG).unwrap();
}

fn ttlog(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).arg(dir).env_remove("TTLOG_DIR").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str], dir: &Path) -> (String, String, Option<i32>) {
    let output = ttlog(args, dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn prune_says_what_would_go_and_removes_it_when_told() {
    let dir = tempfile::tempdir().unwrap();
    some_segments(dir.path(), 5);
    let (out, err, code) = run(&["prune", "--max-files", "2"], dir.path());
    assert_eq!((out.lines().count(), code), (3, Some(0)), "{out}");
    assert!(out.contains("max-files") && err.contains("would remove 3 segments"), "{err}");
    assert_eq!(segments(dir.path()).len(), 5);
    let (applied, err, _) = run(&["prune", "--max-files", "2", "--apply"], dir.path());
    assert_eq!(applied, out);
    assert!(err.contains("removed 3 segments"), "{err}");
    assert_eq!(numbers(dir.path()), [3, 4]);
    let (_, err, code) = run(&["prune", "--max-size", "1G", "--max-age", "1d"], dir.path());
    assert!(err.contains("within these limits") && code == Some(0), "{err}");
    let (_, err, code) = run(&["prune"], dir.path());
    assert!(err.contains("--max-size 2G") && code == Some(2), "{err}");
    let (_, err, code) = run(&["prune", "--max-size", "much"], dir.path());
    assert!(err.contains("500MiB") && code == Some(2), "{err}");
    let (_, err, code) = run(&["prune", "--max-files", "1"], &dir.path().join("missing"));
    assert!(err.contains("missing") && code == Some(1), "{err}");
    let (out, _, _) = run(&["prune", "--max-files", "1", "--app", "other"], dir.path());
    assert_eq!(out, "");
}

#[test]
fn prune_leaves_what_a_living_logger_writes() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), Keep::everything());
    one_segment(&logger, 0);
    info!(logger: &logger, n = 1_u64, "x");
    logger.flush(LONG).unwrap();
    let (out, _, code) = run(&["prune", "--max-files", "0", "--apply"], dir.path());
    assert_eq!((out.lines().count(), code), (1, Some(0)), "{out}");
    info!(logger: &logger, n = 2_u64, "x");
    logger.shutdown(LONG).unwrap();
    assert_eq!(numbers(dir.path()), [1, 2]);
}

#[test]
fn du_adds_up_what_each_app_takes() {
    let dir = tempfile::tempdir().unwrap();
    some_segments(dir.path(), 3);
    let bytes: u64 =
        segments(dir.path()).iter().map(|path| path.metadata().unwrap().blocks() * 512).sum();
    let (out, err, code) = run(&["du"], dir.path());
    assert_eq!((err.as_str(), code, out.lines().count()), ("", Some(0), 1));
    assert!(out.contains("orders") && out.contains("3 segments"), "{out}");
    let (out, _, _) = run(&["du", "-o", "json"], dir.path());
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((line["bytes"].as_u64(), line["segments"].as_u64()), (Some(bytes), Some(3)));
    let empty = tempfile::tempdir().unwrap();
    let (out, err, code) = run(&["du"], empty.path());
    assert_eq!((out.as_str(), err.lines().count(), code), ("", 1, Some(0)), "{err}");
    assert!(err.contains("no segments in this directory"), "{err}");
    let (_, err, code) = run(&["prune", "--max-age", "1d"], &dir.path().join("missing"));
    assert_eq!((err.lines().count(), code), (1, Some(1)), "{err}");
    let (_, err, code) = run(&["du"], &dir.path().join("missing"));
    assert!(err.contains("missing") && code == Some(1), "{err}");
}

/// The names of the crash points in a file of the source.
fn crash_points(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let after = text.split("crash_point!(\"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn r25_a_kill_at_any_point_of_retention_removes_no_file_too_many() {
    let points = crash_points("src/store/retention.rs");
    assert!(points.len() >= 3, "{points:?}");
    for point in points {
        for nth in 1..=3 {
            let dir = tempfile::tempdir().unwrap();
            some_segments(dir.path(), 6);
            let at = format!("{point}:{nth}");
            let mut command = ttlog(&["prune", "--max-files", "2", "--apply"], dir.path());
            let status = command.env("TTLOG_CRASH_AT", &at).status().unwrap();
            let once = point == "retention.list" && nth > 1;
            assert_eq!(status.signal(), (!once).then_some(9), "{at}");
            let left = numbers(dir.path());
            assert_eq!(left, (6 - left.len() as u64..6).collect::<Vec<_>>(), "{at}");
            assert!(left.len() >= 2, "{at}");
            let (_, _, code) = run(&["prune", "--max-files", "2", "--apply"], dir.path());
            assert_eq!((code, numbers(dir.path())), (Some(0), vec![4, 5]), "{at}");
        }
    }
}

#[test]
fn several_processes_that_remove_at_once_remove_what_one_would() {
    let dir = tempfile::tempdir().unwrap();
    some_segments(dir.path(), 40);
    let prune = || ttlog(&["prune", "--max-files", "7", "--apply"], dir.path()).spawn().unwrap();
    let children: Vec<_> = (0..6).map(|_| prune()).collect();
    let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap());
    let told: usize =
        outputs.map(|output| String::from_utf8_lossy(&output.stdout).lines().count()).sum();
    assert_eq!((told, segments(dir.path()).len()), (33, 7));
    assert_eq!(numbers(dir.path()), (33..40).collect::<Vec<_>>());
}

/// Parts of the next tests, in a process of their own.
#[test]
fn child_that_rolls() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let logger = Builder::new(&dir).app("orders", "1").keep(Keep::count(10)).build().unwrap();
    (0..30).for_each(|n| one_segment(&logger, n));
    if std::env::var_os(CHILD_DIES).is_some() {
        // The last segments are there, and staging holds what older ones held.
        eventually("the limit holds", || segments(dir.as_ref()).len() <= 10);
        std::process::abort();
    }
    std::process::exit(0);
}

fn child_that_rolls_in(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_rolls", "--test-threads", "1"]);
    command.env(CHILD_DIR, dir).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn what_was_removed_does_not_come_back_from_the_staging_of_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let status = child_that_rolls_in(dir.path()).env(CHILD_DIES, "1").status().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(numbers(dir.path()).ends_with(&[28, 29]));
    let logger = logger(dir.path(), Keep::everything());
    let owners = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|x| x == "owner")).count()
    };
    eventually("the dead is taken up", || owners() == 1);
    assert_eq!(numbers(dir.path()), (20..30).collect::<Vec<_>>());
    logger.shutdown(LONG).unwrap();
}

#[test]
fn several_processes_that_roll_keep_one_limit_together() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> =
        (0..3).map(|_| child_that_rolls_in(dir.path()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // What the last of them ended with, a start brings to the limit.
    logger(dir.path(), Keep::count(10)).shutdown(LONG).unwrap();
    assert_eq!(segments(dir.path()).len(), 10);
    assert!(numbers(dir.path()).contains(&29));
}

/// As many rotations as `TTLOG_TEST_ROTATIONS` says; 300 by default.
#[test]
fn r27_rotations_leave_bounded_files_descriptors_and_memory() {
    let rotations = std::env::var("TTLOG_TEST_ROTATIONS").ok();
    let rotations: u64 = rotations.map_or(300, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path())
        .app("orders", "1")
        .keep(Keep::count(5))
        .durability(ttlog::Durability::Never)
        .build()
        .unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut descriptors_max = 0;
    let before = descriptors();
    for n in 0..rotations {
        one_segment(&logger, n);
        if n % 50 == 0 {
            eventually("upkeep catches up", || segments(dir.path()).len() <= 5);
            descriptors_max = descriptors_max.max(descriptors());
        }
    }
    logger.shutdown(LONG).unwrap();
    let left = numbers(dir.path());
    assert_eq!((left.len(), left[0]), (5, rotations - 5));
    // Other tests of this process have files open as well.
    assert!(descriptors_max <= before + 200, "{descriptors_max} descriptors");
}
