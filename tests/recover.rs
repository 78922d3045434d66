//! `ttlog recover`: what killed processes left is taken up once, beside the living, beside another,
//! and whoever is killed at it.
#![cfg(feature = "cli")]
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::mounts::{in_namespace, mount, tmpfs};
use rig::read::{command, read_back};
use rig::{Random, Rig, Running, Tally, by_thread, compare, number, wait_until};
use ttlog::store::segment::{Entry, SegmentReader};

/// Two threads that log in bursts until they are killed.
const LOGS: &str = "do=end how=sigkill threads=2 events=0 burst=50 pause=500";
/// The same under lanes that overflow at once.
const SPILLS: &str = "do=log threads=2 events=15000 lane=32768 spill_wait=20000";

/// What `ttlog recover` said.
struct Told {
    /// A JSON object for each process.
    processes: Vec<serde_json::Value>,
    notes: String,
    code: Option<i32>,
}

impl Told {
    fn sum(&self, key: &str) -> u64 {
        self.processes.iter().map(|process| process[key].as_u64().expect("a count")).sum()
    }

    /// Took up so many processes and left nothing.
    fn took(self, n: usize) -> Self {
        assert_eq!((self.processes.len(), self.code), (n, Some(0)), "{}", self.notes);
        self
    }
}

fn recovering(dir: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(command());
    command.args(["recover", "-o", "json"]).args(options).arg(dir).env_remove("TTLOG_DIR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn recover(dir: &Path, options: &[&str]) -> Told {
    told(recovering(dir, options).output().expect("ttlog"))
}

fn told(output: std::process::Output) -> Told {
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let parse = |line| serde_json::from_str(line).expect("strict JSON");
    Told {
        processes: lines.lines().map(parse).collect(),
        notes: String::from_utf8(output.stderr).expect("UTF-8"),
        code: output.status.code(),
    }
}

/// Every file below a directory, by name, with its length and what it holds.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries =
        std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("it").path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.clone(), std::fs::read(&path).expect("a file"))).collect()
}

fn names(dir: &Path, suffix: &str) -> usize {
    files(dir).keys().filter(|path| path.to_string_lossy().ends_with(suffix)).count()
}

/// The places that the owner files of a directory lead to.
fn places(dir: &Path) -> Vec<PathBuf> {
    let owners =
        files(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|x| x == "owner"));
    let lanes = |text: Vec<u8>| {
        let text = String::from_utf8(text).expect("UTF-8");
        text.lines().find_map(|line| line.strip_prefix("lanes=")).map(PathBuf::from)
    };
    owners.filter_map(|(_, text)| lanes(text)).collect()
}

/// Starts so many programs, and kills them once all have logged: none takes up another.
fn kill(rig: &mut Rig, n: usize, micros: u64) -> Vec<u64> {
    let mut all: Vec<_> = (0..n).map(|_| rig.start(LOGS)).collect();
    for running in &all {
        let has_logged = || rig.counts(running.run).iter().any(|(_, returned)| *returned > 0);
        wait_until("a first event", has_logged);
    }
    std::thread::sleep(Duration::from_micros(micros));
    all.iter_mut().for_each(Running::kill);
    all.iter().map(|running| running.run).collect()
}

/// Everything that these runs logged is there, once and in order.
fn check(rig: &Rig, runs: impl IntoIterator<Item = u64>) -> Tally {
    let read = read_back(&rig.dir());
    assert_eq!((&read.wrong[..], read.lost_total()), (&[][..], 0));
    let (found, mut sums) = (by_thread(&read), Tally::default());
    for run in runs {
        sums += compare(&found, run, &rig.counts(run));
    }
    assert_eq!(sums.missing, 0, "{sums:?}");
    sums
}

/// How many events segments hold, copied away from where lanes would be found.
fn in_segments(rig: &Rig) -> u64 {
    let copy = tempfile::tempdir().expect("a directory");
    for (path, bytes) in files(&rig.dir()) {
        if path.extension().is_some_and(|x| x == "ttlog") {
            std::fs::write(copy.path().join(path.file_name().expect("a name")), bytes)
                .expect("a copy");
        }
    }
    read_back(copy.path()).events.len() as u64
}

#[test]
fn what_killed_processes_left_is_taken_up_and_a_dry_run_says_so_before_and_changes_nothing() {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let runs = kill(&mut rig, 3, random.range(1_000, 90_000));
    let (before, left) = (check(&rig, runs.clone()), places(&rig.dir()));
    assert_eq!(left.len(), 3);
    let (held, was) = (in_segments(&rig), files(&rig.dir()));
    let planned = recover(&rig.dir(), &["--dry-run"]).took(3);
    assert!(planned.notes.contains("would take up 3 processes"), "{}", planned.notes);
    assert!(files(&rig.dir()) == was && left.iter().all(|place| place.exists()), "nothing changed");
    let done = recover(&rig.dir(), &[]).took(3);
    for key in ["events", "lost", "spill_files", "cut_bytes", "damaged"] {
        assert_eq!(done.sum(key), planned.sum(key), "{key}");
    }
    assert_eq!(done.sum("events"), before.read - held, "what no segment had");
    assert!(left.iter().all(|place| !place.exists()), "{left:?}");
    assert_eq!(names(&rig.dir(), ".ttlog"), files(&rig.dir()).len(), "segments alone are left");
    assert_eq!(in_segments(&rig), before.read);
    assert_eq!(check(&rig, runs), before, "the same as before");
    // A second time there is nothing to do.
    let was = files(&rig.dir());
    let again = recover(&rig.dir(), &[]).took(0);
    assert_eq!(again.notes, "ttlog: nothing to take up\n");
    assert!(files(&rig.dir()) == was);
    println!("{before:?}, of which {held} were in segments");
}

/// Tears the last block of a segment, as a death in the middle of its write does, with zeros behind
/// that were preallocated; false when there is none.
fn tear_last_block(segment: &Path) -> bool {
    let mut reader = SegmentReader::open(segment).expect("a segment");
    let mut last = None;
    while let Ok(Some(entry)) = reader.next_entry() {
        last = if let Entry::Block(block) = entry { Some(block) } else { last };
    }
    let Some(last) = last else { return false };
    let end = last.offset + last.header.padded_len(reader.header().align());
    let file = std::fs::File::options().write(true).open(segment).expect("a file");
    let half = u64::from(last.header.stored_len) / 2;
    file.set_len(end - half).expect("cut");
    file.set_len(end + 100_000).expect("zeros");
    true
}

#[test]
fn a_dry_run_counts_a_torn_block_and_the_zeros_behind_it_once() {
    wait_until("a torn block of which staging has the whole", || {
        let mut rig = Rig::new();
        let runs = kill(&mut rig, 1, 20_000);
        let mut segments = files(&rig.dir()).into_keys();
        let segment = segments.rfind(|path| path.extension().is_some_and(|x| x == "ttlog"));
        if !segment.is_some_and(|segment| tear_last_block(&segment)) {
            return false;
        }
        let (planned, done) = (recover(&rig.dir(), &["--dry-run"]), recover(&rig.dir(), &[]));
        for key in ["events", "lost", "cut_bytes", "damaged"] {
            assert_eq!(done.sum(key), planned.sum(key), "{key}");
        }
        let was_whole = done.sum("damaged") == 0;
        if was_whole {
            assert!(done.sum("cut_bytes") > 100_000);
            check(&rig, runs);
        }
        was_whole
    });
}

#[test]
fn a_foreign_file_with_the_greatest_number_is_told_and_costs_nothing() {
    let mut rig = Rig::new();
    let runs = kill(&mut rig, 1, 5_000);
    let owner =
        files(&rig.dir()).into_keys().find(|path| path.extension().is_some_and(|x| x == "owner"));
    let owner = owner.expect("an owner file");
    let logger = owner.file_stem().expect("a name").to_string_lossy();
    let name = format!("x-20261121T100000Z-{logger}-{}.ttlog", u64::MAX);
    std::fs::write(rig.dir().join(&name), "not a segment").expect("a file");
    let told = recover(&rig.dir(), &[]);
    assert_eq!(told.code, Some(1), "{}", told.notes);
    assert!(told.notes.contains("greatest number") && told.notes.contains("move it away"));
    std::fs::remove_file(rig.dir().join(name)).expect("its removal");
    recover(&rig.dir(), &[]).took(1);
    check(&rig, runs);
}

#[test]
fn two_at_once_and_beside_a_living_logger_take_up_everything_once() {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let mut living = rig.start("do=asked threads=2");
    living.line();
    living.ask("log 1000");
    let mut sums = Tally::default();
    for round in 0..4 {
        let runs = kill(&mut rig, 4, random.range(1_000, 20_000));
        let both: Vec<_> =
            (0..2).map(|_| recovering(&rig.dir(), &[]).spawn().expect("ttlog")).collect();
        let both: Vec<_> = both
            .into_iter()
            .map(|child| told(child.wait_with_output().expect("it ends")))
            .collect();
        let taken: usize = both.iter().map(|told| told.processes.len()).sum();
        let notes: Vec<_> = both.iter().map(|told| &told.notes).collect();
        assert!(both.iter().all(|told| told.code == Some(0)), "{notes:?}");
        assert_eq!((taken, names(&rig.dir(), ".owner")), (4, 1), "round {round}: {notes:?}");
        assert_eq!(places(&rig.dir()).iter().filter(|place| place.exists()).count(), 1);
        sums += check(&rig, runs);
    }
    living.ask("log 1000");
    assert!(living.ask("quit").contains("lost=0"));
    let _ = living.child.wait();
    assert_eq!(check(&rig, [living.run]).read, 4_000, "it was left alone");
    println!("16 processes, two recoveries at a time: {sums:?}");
}

/// The child is killed before its first spill file becomes a segment.
fn killed_with_a_spill_file(rig: &mut Rig, spill: &Path) -> u64 {
    let (mut command, run) = rig.command(SPILLS);
    command.env("TTLOG_ON_FULL", format!("spill:{}", spill.display()));
    command.env("TTLOG_CRASH_AT", "spill.rename");
    let outcome = rig::outcome(command);
    assert_eq!(outcome.status.signal(), Some(9), "it never spilled: {outcome:?}");
    assert!(names(spill, ".ttspill") > 0);
    run
}

/// The child is killed with events that no segment has.
fn killed_with_events_in_memory(rig: &mut Rig) -> u64 {
    loop {
        let runs = kill(rig, 1, 20_000);
        if recover(&rig.dir(), &["-n"]).took(1).sum("events") > 0 {
            return runs[0];
        }
        recover(&rig.dir(), &[]).took(1);
    }
}

fn has_crash_points() -> bool {
    if !cfg!(debug_assertions) {
        println!("not run: crash points are in builds with debug assertions alone");
    }
    cfg!(debug_assertions)
}

#[test]
fn spill_files_become_segments_and_damage_in_them_is_told() {
    if !has_crash_points() {
        return;
    }
    let shm = tempfile::Builder::new().prefix("rig-").tempdir_in("/dev/shm").expect("a directory");
    for (is_far, is_damaged) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut rig = Rig::new();
        let spill = if is_far { shm.path().join("spill") } else { rig.dir() };
        let run = killed_with_a_spill_file(&mut rig, &spill);
        let n_spills = names(&spill, ".ttspill") as u64;
        if is_damaged {
            let (path, mut bytes) = files(&spill)
                .into_iter()
                .find(|(path, _)| path.extension().is_some_and(|x| x == "ttspill"))
                .expect("a spill file");
            bytes[1024 + 70] ^= 1;
            std::fs::write(path, bytes).expect("a file");
        }
        let planned = recover(&rig.dir(), &["--dry-run"]);
        let done = recover(&rig.dir(), &[]);
        for told in [&planned, &done] {
            assert_eq!(told.sum("spill_files"), n_spills, "{}", told.notes);
            assert_eq!(told.sum("damaged"), u64::from(is_damaged));
            assert_eq!(told.code, Some(i32::from(is_damaged)), "{}", told.notes);
        }
        assert_eq!((names(&spill, ".ttspill"), names(&rig.dir(), ".owner")), (0, 0));
        if is_damaged {
            // The rest is there, and the damage stays where a reader tells it.
            let read = read_back(&rig.dir());
            assert!(!read.wrong.is_empty() && !read.events.is_empty());
        } else {
            check(&rig, [run]);
        }
        recover(&rig.dir(), &[]).took(0);
    }
}

#[test]
fn r25_killed_at_each_point_of_recovery_the_next_one_goes_on() {
    if !has_crash_points() {
        return;
    }
    let points = [
        "adopt.create",
        "adopt.written",
        "adopt.rename",
        "adopt.renamed",
        "adopt.remove",
        "adopt.removed",
        "spill.rename",
        "spill.renamed",
    ];
    for point in points {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let run = if point.starts_with("spill") {
            killed_with_a_spill_file(&mut rig, &dir)
        } else {
            killed_with_events_in_memory(&mut rig)
        };
        let before = check(&rig, [run]);
        let mut command = recovering(&dir, &[]);
        let status = command.env("TTLOG_CRASH_AT", point).status().expect("ttlog");
        assert_eq!(status.signal(), Some(9), "{point} was never passed");
        assert_eq!(check(&rig, [run]), before, "{point}: killed");
        recover(&dir, &[]).took(1);
        assert_eq!(check(&rig, [run]), before, "{point}: taken up");
        assert_eq!(names(&dir, ".ttlog"), files(&dir).len(), "{point}: segments alone are left");
        recover(&dir, &[]).took(0);
    }
}

#[test]
fn a_directory_that_cannot_be_written_keeps_everything_and_that_is_told() {
    in_namespace(|| {
        let mut rig = Rig::new();
        let dir = rig.dir();
        let _mounted = tmpfs(&dir, "64m");
        let runs = kill(&mut rig, 1, 20_000);
        let before = check(&rig, runs.clone());
        assert!(mount(None, &dir, libc::MS_REMOUNT | libc::MS_RDONLY, "size=64m"), "read-only");
        let refused = recover(&dir, &[]);
        println!("{}", refused.notes);
        assert_eq!((refused.processes.len(), refused.code), (0, Some(1)), "{}", refused.notes);
        assert!(refused.notes.contains("Read-only file system"), "{}", refused.notes);
        assert!(refused.notes.contains(&*dir.to_string_lossy()), "{}", refused.notes);
        assert_eq!(check(&rig, runs.clone()), before);
        assert!(mount(None, &dir, libc::MS_REMOUNT, "size=64m"), "writable");
        recover(&dir, &[]).took(1);
        assert_eq!(check(&rig, runs.clone()), before);
    });
}

#[test]
fn a_directory_that_is_missing_or_none_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "mine").expect("a file");
    for path in [dir.path().join("missing"), file.clone()] {
        let told = recover(&path, &[]);
        assert_eq!((told.processes.len(), told.code), (0, Some(1)));
        assert!(told.notes.contains(&*path.to_string_lossy()), "{}", told.notes);
    }
    assert_eq!(files(dir.path()).len(), 1, "nothing was made or removed");
    recover(dir.path(), &[]).took(0);
}

/// Staging holds what was spilled long ago; retention removed the segments that this became.
#[test]
fn what_was_removed_does_not_come_back_from_the_staging_of_a_spiller() {
    let mut rig = Rig::new();
    let dir = rig.dir();
    let args = "do=asked threads=1 rotate=131072 keep=2 lane=32768 spill_wait=20000";
    let (mut command, run) = rig.command(args);
    command.env("TTLOG_ON_FULL", format!("spill:{}", dir.display()));
    let mut running = Running::new(command, run);
    running.line();
    let spilled = || {
        let staging = |place: &PathBuf| place.join("staging-1000000").exists();
        places(&dir).iter().any(staging)
    };
    wait_until("a spill file", || {
        running.ask("log 20000");
        spilled()
    });
    assert_eq!(running.ask("flush 20000"), "flushed=true");
    wait_until("drained", || names(&dir, ".ttspill") == 0);
    // Enough behind it, without spilling, for all of that to be removed.
    for _ in 0..400 {
        running.ask("log 300");
        assert_eq!(running.ask("flush 20000"), "flushed=true");
    }
    wait_until("the limit holds", || names(&dir, ".ttlog") <= 2);
    let lost = number(&running.ask("stats"), "lost");
    running.kill();
    let first = |rig: &Rig| {
        let read = read_back(&rig.dir());
        assert_eq!(read.wrong, [""; 0]);
        by_thread(&read)[&(run, 0)][0]
    };
    let owners: Vec<_> = files(&dir)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|x| x == "owner"))
        .collect();
    // Segments alone, as if nobody knew of lanes and staging.
    owners.iter().for_each(|(path, _)| std::fs::remove_file(path).expect("it"));
    let kept_from = first(&rig);
    owners.iter().for_each(|(path, text)| std::fs::write(path, text).expect("it"));
    assert!(kept_from > 0 && lost == 0, "from {kept_from}, {lost} lost");
    recover(&dir, &[]).took(1);
    assert_eq!(first(&rig), kept_from, "nothing came back");
    let numbers = &by_thread(&read_back(&dir))[&(run, 0)];
    let (_, returned) = rig.counts(run)[0];
    assert!(numbers.iter().copied().eq(kept_from..returned), "nothing else is missing");
    println!("kept from {kept_from} of {returned} on");
}
