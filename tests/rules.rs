//! The rules about where a byte is safe, each with a test that names it; what only the crate sees
//! is tested beside the code (`s1_` … `s11_` there).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ttlog::lane::outside;
use ttlog::record::compact::Decoder;
use ttlog::record::{Definitions, HEAD_BYTES, Head, RawRun};
use ttlog::store::block;
use ttlog::store::segment::{Entry, SegmentReader};
use ttlog::{BackPressurePolicy, Fallback};

const LONG: Duration = Duration::from_secs(60);

/// What a child is told to do.
const ROLE: &str = "TTLOG_RULES_ROLE";
const DIR: &str = "TTLOG_RULES_DIR";

fn lanes_of(dir: &Path) -> PathBuf {
    let lanes = dir.join("lanes");
    std::fs::create_dir_all(&lanes).unwrap();
    lanes
}

fn builder(dir: &Path) -> ttlog::Builder {
    ttlog::Builder::new(dir.join("logs")).app("rules", "1").filter("trace").lanes_in(lanes_of(dir))
}

/// Runs in a child alone: logs 0..100, so that they stand in the lane, says so, and waits.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let within = if role == "lane" { Duration::from_secs(3600) } else { Duration::from_millis(2) };
    let handle = builder(&dir).write_within(within).init().unwrap();
    // Behind the scribe's first turn, so that the lane keeps them.
    std::thread::sleep(Duration::from_millis(50));
    (0..100_u64).for_each(|n| ttlog::info!(n));
    match role.as_str() {
        "written" => drop(handle.flush(LONG).unwrap()),
        "exit" => {
            // A thread that never ends, and logs until the last moment.
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                for n in 100_u64.. {
                    ttlog::info!(n);
                    if n == 200 {
                        tell.send(()).unwrap();
                    }
                    std::thread::sleep(Duration::from_micros(20));
                }
            });
            told.recv().unwrap();
            std::process::exit(0);
        }
        _ => {}
    }
    std::fs::write(dir.join("ready"), "").unwrap();
    std::thread::sleep(LONG);
}

fn spawn(role: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env(DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A directory in which a process that had logged 0..100 was killed.
fn killed(role: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(role, dir.path());
    until("the child is ready", || dir.path().join("ready").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    dir
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}: not so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn names(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    names.retain(|path: &PathBuf| path.to_string_lossy().ends_with(end));
    names.sort();
    names
}

fn owner_file(dir: &Path) -> PathBuf {
    names(&dir.join("logs"), ".owner").remove(0)
}

fn numbers_of(run: &RawRun, into: &mut Vec<u64>) {
    let mut rest = &run.bytes[..];
    while let Some(head) = Head::read(rest) {
        into.push(u64::from_le_bytes(rest[HEAD_BYTES..HEAD_BYTES + 8].try_into().unwrap()));
        rest = &rest[head.len()..];
    }
}

/// Every event in the segments as often as it stands there, in the order of lanes and positions.
fn numbers(dir: &Path) -> Vec<u64> {
    let mut runs = Vec::new();
    for path in names(&dir.join("logs"), ".ttlog") {
        // A segment that was begun this moment has no header yet.
        let Ok(mut reader) = SegmentReader::open(&path) else { continue };
        while let Some(entry) = reader.next_entry().unwrap() {
            let Entry::Block(at) = entry else { continue };
            let mut payload = Vec::new();
            reader.read_block(&at, &mut payload).unwrap();
            let sections = block::sections(&payload, &at.header).unwrap();
            let mut definitions = Definitions::default();
            definitions.decode_all(sections.definitions);
            runs.extend(Decoder::new(sections.runs, &definitions).map(Result::unwrap));
        }
    }
    runs.sort_by_key(|run| (run.head.generation, run.head.position));
    let mut numbers = Vec::new();
    runs.iter().for_each(|run| numbers_of(run, &mut numbers));
    numbers
}

fn hundred() -> Vec<u64> {
    (0..100).collect()
}

/// Starts a logger beside what is left, and waits until that was taken up.
fn adopt(dir: &Path) {
    let left = names(&dir.join("logs"), ".owner");
    let handle = builder(dir).build().unwrap();
    until("what was left is taken up", || left.iter().all(|path| !path.exists()));
    handle.shutdown(LONG).unwrap();
}

/// What `ttlog cat` would read beside the segments.
fn snapshot(dir: &Path) -> outside::Snapshot {
    let (found, notes) = outside::owners(&dir.join("logs")).unwrap();
    assert!(notes.is_empty() && found.len() == 1, "{notes:?}");
    assert!(!found[0].alive);
    outside::snapshot(&found[0].owner).unwrap()
}

#[test]
fn s9_what_a_killed_process_left_in_its_lane_is_taken_up_once() {
    let dir = killed("lane");
    assert_eq!(numbers(dir.path()), [0; 0]);
    let mut seen = Vec::new();
    snapshot(dir.path()).runs.iter().for_each(|run| numbers_of(run, &mut seen));
    assert_eq!(seen, hundred(), "readable before anybody takes it up");
    adopt(dir.path());
    assert_eq!(numbers(dir.path()), hundred());
    assert_eq!(names(&dir.path().join("lanes"), "").len(), 0, "lanes are removed");
    adopt(dir.path());
    assert_eq!(numbers(dir.path()), hundred());
}

#[test]
fn s9_what_is_in_segments_is_not_taken_up_again_and_zeros_are_trimmed() {
    let dir = killed("written");
    let segment = names(&dir.path().join("logs"), ".ttlog").remove(0);
    let reserved = segment.metadata().unwrap().len();
    assert_eq!(numbers(dir.path()), hundred());
    adopt(dir.path());
    assert_eq!(numbers(dir.path()), hundred());
    assert!(segment.metadata().unwrap().len() < reserved);
}

/// Puts back what an adopter removes last, as if it had been killed before.
fn restore(dir: &Path, owner: (&Path, &str), lanes: &[(PathBuf, Vec<u8>)]) {
    let place = lanes[0].0.parent().unwrap();
    std::fs::create_dir(place).unwrap();
    std::fs::set_permissions(place, PermissionsExt::from_mode(0o700)).unwrap();
    let inode = place.metadata().unwrap().ino();
    for (path, bytes) in lanes {
        std::fs::write(path, bytes).unwrap();
    }
    let text: String = owner
        .1
        .lines()
        .map(|line| {
            if line.starts_with("inode=") {
                format!("inode={inode}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(owner.0, &text).unwrap();
    assert!(dir.exists());
}

#[test]
fn s9_an_adopter_that_is_killed_at_any_step_is_followed_by_one_that_doubles_nothing() {
    let dir = killed("lane");
    let owner = owner_file(dir.path());
    let text = std::fs::read_to_string(&owner).unwrap();
    let place = names(&dir.path().join("lanes"), "").remove(0);
    let lanes: Vec<_> = names(&place, "")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    // Killed before the rename: a name that nobody reads is left.
    let logger = owner.file_stem().unwrap().to_str().unwrap().to_owned();
    let begun =
        dir.path().join("logs").join(format!(".rules-20260101T000000Z-{logger}-1.ttlog.4242"));
    std::fs::write(&begun, "half").unwrap();
    adopt(dir.path());
    assert!(!begun.exists());
    assert_eq!(numbers(dir.path()), hundred());
    // Killed before it removed anything: the segment is there, and so are lanes and owner file.
    restore(dir.path(), (&owner, &text), &lanes);
    adopt(dir.path());
    assert_eq!(numbers(dir.path()), hundred());
    // Killed when half of the place was gone.
    restore(dir.path(), (&owner, &text), &lanes[..lanes.len() / 2]);
    std::fs::remove_file(lanes[0].0.parent().unwrap().join("lane-0")).unwrap_or(());
    drop(builder(dir.path()).build().unwrap());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(numbers(dir.path()), hundred());
}

/// Starts a logger that must not take up what is left, and says whether the victim was touched.
fn is_refused(dir: &Path, victim: &Path) {
    let owner = owner_file(dir);
    let handle = builder(dir).build().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    handle.shutdown(LONG).unwrap();
    assert!(victim.exists(), "a file that is not ttlog's own was removed");
    assert!(owner.exists(), "what could not be taken up is kept");
    assert_eq!(numbers(dir), [0; 0]);
}

#[test]
fn s9_hints_that_lie_are_refused() {
    let change = |what: &dyn Fn(&Path, &Path)| {
        let dir = killed("lane");
        let place = names(&dir.path().join("lanes"), "").remove(0);
        what(dir.path(), &place);
        let victim = names(&place, "").into_iter().find(|path| path.ends_with("callsites"));
        is_refused(dir.path(), &victim.unwrap_or(place));
    };
    change(&|dir, place| {
        std::fs::rename(place, dir.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.join("elsewhere"), place).unwrap();
    });
    change(&|_, place| std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap());
    change(&|dir, _| {
        let owner = owner_file(dir);
        let text = std::fs::read_to_string(&owner).unwrap();
        std::fs::write(&owner, text.replace("inode=", "inode=9")).unwrap();
    });
    if rustix::process::getuid().is_root() {
        change(&|_, place| std::os::unix::fs::chown(place, Some(12345), None).unwrap());
    }
}

#[test]
fn s9_a_lane_of_another_logger_or_with_lengths_that_lie_is_told_and_not_believed() {
    let word = |at: usize, value: u64| {
        let dir = killed("lane");
        let place = names(&dir.path().join("lanes"), "").remove(0);
        for lane in names(&place, "").iter().filter(|path| path.to_string_lossy().contains("lane-"))
        {
            let mut bytes = std::fs::read(lane).unwrap();
            bytes[at * 8..at * 8 + 8].copy_from_slice(&value.to_le_bytes());
            std::fs::write(lane, bytes).unwrap();
        }
        let snapshot = snapshot(dir.path());
        assert!(snapshot.runs.iter().all(|run| run.head.count == 0), "{at} {value}");
        assert!(!snapshot.notes.is_empty(), "{at} {value}");
        adopt(dir.path());
        assert_eq!(numbers(dir.path()), [0; 0]);
    };
    word(2, 0xbad); // logger
    word(4, 1 << 40); // capacity
    word(16, u64::MAX - 7); // tail
    word(32, 1 << 61); // head
}

#[test]
fn s9_positions_at_the_end_of_the_numbers_are_refused() {
    let dir = killed("lane");
    let place = names(&dir.path().join("lanes"), "").remove(0);
    for lane in names(&place, "").iter().filter(|path| path.to_string_lossy().contains("lane-")) {
        let mut bytes = std::fs::read(lane).unwrap();
        for at in [16, 32, 64, 96] {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&(u64::MAX - 7).to_le_bytes());
        }
        std::fs::write(lane, bytes).unwrap();
    }
    assert!(snapshot(dir.path()).runs.is_empty());
}

#[test]
fn s10_lanes_of_another_boot_are_removed_and_never_decoded() {
    let dir = killed("lane");
    let owner = owner_file(dir.path());
    let text = std::fs::read_to_string(&owner).unwrap();
    let boot = text.lines().find(|line| line.starts_with("boot=")).unwrap();
    std::fs::write(&owner, text.replace(boot, &format!("boot={}", "0".repeat(32)))).unwrap();
    adopt(dir.path());
    assert_eq!(numbers(dir.path()), [0; 0]);
    assert_eq!(names(&dir.path().join("lanes"), "").len(), 0);
}

#[test]
fn s10_lanes_that_cannot_be_seen_from_here_are_left_alone_for_a_week() {
    let dir = killed("lane");
    let owner = owner_file(dir.path());
    let text = std::fs::read_to_string(&owner).unwrap();
    let set = |key: &str, value: &str, text: &str| -> String {
        let line = |line: &str| match line.split_once('=') {
            Some((found, _)) if found == key => format!("{key}={value}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    };
    let elsewhere = set("lanes", "/nonexistent/place", &set("mount", "1", &text));
    std::fs::write(&owner, &elsewhere).unwrap();
    let handle = builder(dir.path()).build().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(owner.exists());
    handle.shutdown(LONG).unwrap();
    std::fs::write(&owner, set("start", "1", &elsewhere)).unwrap();
    adopt(dir.path());
}

#[test]
fn s7_what_is_written_into_a_file_without_a_name_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let handle = builder(dir.path()).write_within(Duration::from_millis(10)).build().unwrap();
    let mut n = 0_u64;
    let mut log = |count: u64, flush: bool| {
        for _ in 0..count {
            ttlog::info!(logger: &handle, n);
            n += 1;
            if flush {
                handle.flush(LONG).unwrap();
            }
        }
    };
    log(20, true);
    // Once with the directory, once the file alone; several blocks come before anybody looks.
    std::fs::remove_dir_all(&logs).unwrap();
    log(20, true);
    std::fs::remove_file(names(&logs, ".ttlog").remove(0)).unwrap();
    log(30, true);
    let last = numbers(dir.path());
    assert!(last.iter().copied().eq(40..70), "{last:?}");
    handle.sync(LONG).unwrap();
    handle.shutdown(LONG).unwrap();
    assert!(numbers(dir.path()).iter().copied().eq(40..70));
    let damage = ttlog::view::Source::open(&logs).unwrap().verify().count();
    assert_eq!(damage, 0, "and it is whole");
}

#[test]
fn s8_a_living_logger_makes_its_place_again() {
    let dir = tempfile::tempdir().unwrap();
    let slow = builder(dir.path()).write_within(Duration::from_secs(3600));
    let handle = slow.build().unwrap();
    let log = |n: u64| ttlog::info!(logger: &handle, n);
    (0..10).for_each(log);
    handle.flush(LONG).unwrap();
    let place = handle.health().lanes.unwrap();
    for round in 1..=2_u64 {
        let inode = place.metadata().unwrap().ino();
        (round * 100..round * 100 + 10).for_each(log);
        std::fs::remove_dir_all(&place).unwrap();
        until("the place is there again", || {
            handle.flush(LONG).unwrap();
            place.join("owner").metadata().is_ok_and(|found| found.is_file())
                && place.metadata().is_ok_and(|found| found.ino() != inode)
                && place.join("lane-0").exists()
                && outside::owners(&dir.path().join("logs"))
                    .is_ok_and(|found| outside::snapshot(&found.0[0].owner).is_ok())
        });
        // What the same thread and a new one log now is in lanes that outlive the process.
        log(round * 100 + 10);
        std::thread::scope(|scope| {
            scope.spawn(|| ttlog::info!(logger: &handle, n = round * 100 + 11, "elsewhere"));
        });
        let found = outside::owners(&dir.path().join("logs")).unwrap().0.remove(0);
        assert!(found.alive);
        let seen = outside::snapshot(&found.owner).unwrap();
        assert_eq!(seen.notes, [""; 0]);
        let mut numbers = Vec::new();
        seen.runs.iter().for_each(|run| numbers_of(run, &mut numbers));
        numbers.sort_unstable();
        let new = [round * 100 + 10, round * 100 + 11];
        assert!(new.iter().all(|n| numbers.contains(n)), "{numbers:?}");
        let has = |level| seen.definitions.get(level).is_some();
        assert!((1..=2).all(has), "definitions from before, and new ones");
        assert!(handle.health().crash_safe && handle.health().lanes_reason.is_none());
    }
    let stats = handle.shutdown(LONG).unwrap();
    assert_eq!((stats.events, handle.stats().lost()), (34, 0));
    let mut all = numbers(dir.path());
    all.sort_unstable();
    let of = |round: u64| round * 100..round * 100 + 12;
    assert!(all.iter().copied().eq((0..10).chain(of(1)).chain(of(2))), "{all:?}");
    assert!(!place.exists(), "nothing is left of it");
}

#[test]
fn s8_a_living_logger_publishes_its_owner_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let handle = builder(dir.path()).build().unwrap();
    let owner = owner_file(dir.path());
    std::fs::remove_file(&owner).unwrap();
    until("the owner file is back", || owner.exists());
    std::fs::remove_dir_all(dir.path().join("logs")).unwrap();
    until("the directory is back with it", || owner.exists());
    let (found, _) = outside::owners(&dir.path().join("logs")).unwrap();
    assert!(found[0].alive, "locked as soon as it has its name");
    ttlog::info!(logger: &handle, n = 7_u64);
    handle.flush(LONG).unwrap();
    until("events are written again", || {
        ttlog::info!(logger: &handle, n = 7_u64);
        handle.flush(LONG).unwrap();
        !names(&dir.path().join("logs"), ".ttlog").is_empty()
    });
    handle.shutdown(LONG).unwrap();
}

#[test]
fn s1_names_headers_and_lanes_carry_one_logger_id() {
    let dir = killed("written");
    let logger = owner_file(dir.path()).file_stem().unwrap().to_str().unwrap().to_owned();
    let id = u64::from_str_radix(&logger, 16).unwrap();
    let place = names(&dir.path().join("lanes"), "").remove(0);
    assert!(place.to_string_lossy().ends_with(&logger));
    for file in names(&place, "") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("lane-") || name.starts_with("staging-") {
            let mut header = [0; 24];
            std::fs::File::open(&file).unwrap().read_exact(&mut header).unwrap();
            let spare = name.starts_with("lane-") && header == [0; 24];
            assert!(spare || header[16..] == id.to_le_bytes(), "{name}");
        }
    }
    let segment = names(&dir.path().join("logs"), ".ttlog").remove(0);
    assert!(segment.to_string_lossy().contains(&logger));
    assert_eq!(SegmentReader::open(&segment).unwrap().header().logger, id);
}

#[test]
fn s2_what_lies_in_lanes_staging_and_segments_is_one_event_each() {
    let dir = tempfile::tempdir().unwrap();
    let handle = builder(dir.path()).write_within(Duration::from_millis(2)).build().unwrap();
    for n in 0..20_000_u64 {
        ttlog::info!(logger: &handle, n);
        if n % 2_000 == 0 {
            let (found, _) = outside::owners(&dir.path().join("logs")).unwrap();
            let snapshot = outside::snapshot(&found[0].owner).unwrap();
            assert_eq!(snapshot.notes, [""; 0]);
            let mut keys = std::collections::HashMap::new();
            for run in &snapshot.runs {
                let (mut position, mut number, mut rest) =
                    (run.head.position, run.head.first_record, &run.bytes[..]);
                while let Some(head) = Head::read(rest) {
                    let key = (run.head.lane, run.head.generation, position);
                    let before = keys.insert(key, (number, rest[..head.len()].to_vec()));
                    assert!(before.is_none_or(|b| b == (number, rest[..head.len()].to_vec())));
                    position += head.len() as u64;
                    number += 1;
                    rest = &rest[head.len()..];
                }
            }
        }
    }
    handle.shutdown(LONG).unwrap();
    assert_eq!(numbers(dir.path()), (0..20_000).collect::<Vec<_>>());
}

/// Ends a test's thread, even when the test fails.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn s5_what_was_accepted_before_a_look_from_outside_is_found_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let handle = builder(dir.path()).write_within(Duration::from_millis(2)).build().unwrap();
    let accepted = std::sync::atomic::AtomicU64::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                ttlog::info!(logger: &handle, n);
                n += 1;
                accepted.store(n, std::sync::atomic::Ordering::Release);
                if n.is_multiple_of(8) {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..40 {
            let before = accepted.load(std::sync::atomic::Ordering::Acquire);
            let (found, _) = outside::owners(&dir.path().join("logs")).unwrap();
            let snapshot = outside::snapshot(&found[0].owner).unwrap();
            assert_eq!(snapshot.notes, [""; 0]);
            let mut seen: std::collections::BTreeSet<u64> =
                numbers(dir.path()).into_iter().collect();
            for run in &snapshot.runs {
                let mut found = Vec::new();
                numbers_of(run, &mut found);
                seen.extend(found);
            }
            let missing = (0..before).find(|n| !seen.contains(n));
            assert_eq!(missing, None, "of {before}");
        }
    });
    handle.shutdown(LONG).unwrap();
}

#[test]
fn s11_definitions_lie_in_the_place_before_an_id_is_used() {
    let dir = killed("lane");
    let snapshot = snapshot(dir.path());
    for run in &snapshot.runs {
        let mut rest = &run.bytes[..];
        while let Some(head) = Head::read(rest) {
            assert!(snapshot.definitions.get(head.callsite).is_some());
            rest = &rest[head.len()..];
        }
    }
    // A second logger knows the callsites that the first one met.
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = |handle: &ttlog::Handle, n: u64| ttlog::info!(logger: handle, n);
    let one = builder(first.path()).build().unwrap();
    log(&one, 1);
    let two = builder(second.path()).build().unwrap();
    log(&two, 2);
    one.shutdown(LONG).unwrap();
    two.shutdown(LONG).unwrap();
    assert_eq!((numbers(first.path()), numbers(second.path())), (vec![1], vec![2]));
}

#[test]
fn s9_a_thread_that_logs_to_the_last_moment_of_an_exit_is_taken_up_without_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    assert!(spawn("exit", dir.path()).wait().unwrap().success());
    adopt(dir.path());
    let numbers = numbers(dir.path());
    assert!(numbers.len() >= 201);
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn records_too_long_for_a_first_lane_are_taken_by_a_larger_or_the_common_one() {
    let dir = tempfile::tempdir().unwrap();
    let bound = 3 << 20;
    // A thread that waits for a head that stands loses its event, but far later.
    let handle = builder(dir.path())
        .lanes_bytes_max(bound)
        .back_pressure(BackPressurePolicy::Block)
        .block_timeout(LONG, Fallback::DropNewest)
        .build()
        .unwrap();
    let long = "x".repeat(20_000);
    std::thread::scope(|scope| {
        for n in 0..8_u64 {
            let (handle, long) = (&handle, &long);
            scope.spawn(move || ttlog::info!(logger: handle, n, long = long.as_str()));
        }
    });
    handle.flush(LONG).unwrap();
    assert_eq!((handle.stats().lost(), handle.stats().written), (0, 8), "{:?}", handle.stats());
    handle.shutdown(LONG).unwrap();
}
