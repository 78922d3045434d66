//! R07: killed at random moments, in one directory, so that every start takes up the one before.
//!
//! CI runs 200 cycles; ten thousand:
//! `cargo test --release --test rig_kill -- --ignored --nocapture r07_ten_thousand`.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::read::read_back;
use rig::{Random, Rig, Running, Tally, by_thread, compare, places, wait_until};

const LOGS: &str = "do=end how=sigkill threads=2 events=0 burst=50 pause=500";

/// Bytes in files of a directory, as they are allocated.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Starts once more, lets it take up everything, and ends cleanly.
fn clean_start_and_end(rig: &mut Rig) -> u64 {
    let (run, outcome) = rig.run("do=log events=10 adopt=1");
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(outcome.stderr, "", "a clean start has nothing to say");
    run
}

/// Everything that was logged so far is there, once and in order; returns the sums.
fn check(rig: &Rig, runs: impl Iterator<Item = u64>) -> Tally {
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    assert_eq!(read.lost, BTreeMap::new());
    assert_eq!(read.others, [""; 0]);
    let found = by_thread(&read);
    let mut sums = Tally::default();
    let (mut n_known, mut bad) = (0, Vec::new());
    for run in runs {
        let tally = compare(&found, run, &rig.counts(run));
        n_known += tally.read;
        sums += tally;
        if tally.missing > 0 {
            bad.push((run, tally));
        }
    }
    assert!(bad.is_empty(), "missing: {bad:?}");
    assert_eq!(n_known, read.events.len() as u64, "events of runs that never were");
    sums
}

/// No owner file, no lanes, no temporary file is left, and disk use is in proportion.
fn check_leftovers(rig: &Rig, before: &[String], events: u64) {
    let left: Vec<_> = names(&rig.dir()).into_iter().filter(|n| !n.ends_with(".ttlog")).collect();
    assert_eq!(left, [""; 0]);
    // Other tests of this machine may have places of their own: these are the loggers' of this rig.
    let mine = |name: &String| {
        let owner = std::fs::read_to_string(format!("/dev/shm/{name}/owner")).unwrap_or_default();
        owner.contains(&*rig.dir().file_name().unwrap().to_string_lossy())
            && owner.contains(&*rig.dir().parent().unwrap().display().to_string())
    };
    let unowned = |name: &String| !Path::new(&format!("/dev/shm/{name}/owner")).exists();
    let left = || places().into_iter().filter(|n| !before.contains(n)).collect::<Vec<_>>();
    assert!(!left().iter().any(mine), "{:?}", left());
    // Places whose makers were killed at once belong to nobody: any start removes them, if its
    // thread of low priority gets that far before the program ends.
    for _ in 0..50 {
        if rig::others_run() || !left().iter().any(unowned) {
            break;
        }
        Rig::new().run("do=log events=1 adopt=1");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!left().iter().any(unowned) || rig::others_run(), "{:?}", left());
    let segments = names(&rig.dir()).len() as u64;
    let (bytes, most) = (disk_bytes(&rig.dir()), events * 40 + segments * 12_288);
    println!("{events} events, {segments} segments, {bytes} bytes on disk (at most {most})");
    assert!(bytes <= most, "{bytes} bytes for {events} events in {segments} segments");
}

/// Kills `n` programs in a row that live for `lives` milliseconds each, and checks now and then.
fn cycles(n: u64, check_every: u64, lives: (u64, u64), logs: &str) {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let (before, began) = (places(), Instant::now());
    let mut sums = Tally::default();
    let (mut places_max, mut shm_max) = (0, 0);
    // Lives in a row that ended before the start of the logger did.
    let (mut unborn, mut unborn_max) = (0, 0);
    for nth in 1..=n {
        let mut running = rig.start(logs);
        std::thread::sleep(Duration::from_micros(random.range(lives.0 * 1000, lives.1 * 1000)));
        running.kill();
        let has_logged = rig.counts(running.run).iter().any(|(begun, _)| *begun > 0);
        unborn = if has_logged { 0 } else { unborn + 1 };
        unborn_max = unborn_max.max(unborn);
        let left: Vec<_> = places().into_iter().filter(|name| !before.contains(name)).collect();
        if left.len() > places_max {
            places_max = left.len();
            shm_max = left.iter().map(|name| place_bytes(name)).sum();
        }
        if nth % check_every == 0 {
            println!("{nth} SIGKILLs in {:.1?}, at most {places_max} places", began.elapsed());
            sums = check(&rig, 1..=running.run);
        }
    }
    let last = clean_start_and_end(&mut rig);
    assert!(check(&rig, 1..=last).read >= sums.read);
    let sums = check(&rig, 1..=last);
    println!("{n} SIGKILLs in {:.1?}: {sums:?}", began.elapsed());
    println!("at most {places_max} places at once, of {} KiB", shm_max >> 10);
    println!("at most {unborn_max} lives in a row ended before their logger's start did");
    // Four that a start leaves alone, its own, and a margin for other tests of this machine; a
    // start that was killed has taken up nothing for sure, and may have left a place.
    let most = 8 + unborn_max;
    assert!(places_max <= most || rig::others_run(), "{places_max} places, at most {most}");
    check_leftovers(&rig, &before, sums.read);
}

/// Bytes of a place in shared memory; it may go meanwhile.
fn place_bytes(name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(format!("/dev/shm/{name}")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}

#[test]
fn r07_lives_of_a_few_milliseconds_leave_no_more_places_than_a_start_takes_up() {
    cycles(200, 100, (2, 15), LOGS);
}

#[test]
fn r07_two_hundred_kills_in_one_directory_lose_and_double_nothing() {
    cycles(200, 50, (5, 60), LOGS);
}

/// Killed while the kernel writes blocks past the page cache, by io_uring and by threads, and while
/// sealed segments are packed.
#[test]
fn r07_kills_while_blocks_are_in_flight_lose_and_double_nothing() {
    for io in ["uring", "portable"] {
        if io == "uring" && ttlog::io::probe().uring.is_err() {
            rig::not_run("needs io_uring");
            continue;
        }
        let logs = "do=end how=sigkill threads=2 events=0 burst=1000 pause=200 direct=1";
        for packs in ["", "pack=1 rotate=131072"] {
            cycles(20, 10, (10, 80), &format!("{logs} io={io} {packs}"));
        }
    }
}

#[test]
#[ignore = "ten thousand kills take some ten minutes"]
fn r07_ten_thousand() {
    // Fewer events each, so that all of them can be compared in memory.
    cycles(10_000, 2_500, (5, 60), "do=end how=sigkill threads=2 events=0 burst=10 pause=500");
}

#[test]
fn r07_an_adopter_that_is_killed_is_adopted_again() {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let before = places();
    for _ in 0..40 {
        // One that leaves much behind, then some that die while they take it up.
        let mut running = rig.start("do=end how=sigkill threads=2 events=0 burst=500 pause=200");
        std::thread::sleep(Duration::from_millis(random.range(20, 60)));
        running.kill();
        for _ in 0..random.range(1, 5) {
            let mut adopter = rig.start(LOGS);
            std::thread::sleep(Duration::from_millis(random.range(1, 30)));
            adopter.kill();
        }
    }
    let last = clean_start_and_end(&mut rig);
    let sums = check(&rig, 1..=last);
    println!("{last} starts, adopters killed within 30 ms: {sums:?}");
    check_leftovers(&rig, &before, sums.read);
}

#[test]
fn r07_segments_whose_header_was_never_written_are_no_news_and_go() {
    let mut rig = Rig::new();
    let before = places();
    let mut running = rig.start(LOGS);
    wait_until("a segment", || names(&rig.dir()).iter().any(|name| name.ends_with(".ttlog")));
    running.kill();
    let all = names(&rig.dir());
    let whole = all.iter().find(|name| name.ends_with("-1.ttlog")).expect("a segment");
    for (number, len) in [(8, 0), (9, 256 << 10)] {
        let name = whole.replace("-1.ttlog", &format!("-{number}.ttlog"));
        let file = std::fs::File::create(rig.dir().join(name)).expect("a file");
        file.set_len(len).expect("zeros");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("an old file");
    }
    check(&rig, 1..=running.run);
    let last = clean_start_and_end(&mut rig);
    let sums = check(&rig, 1..=last);
    check_leftovers(&rig, &before, sums.read);
    let left = names(&rig.dir());
    assert!(!left.iter().any(|n| n.ends_with("-8.ttlog") || n.ends_with("-9.ttlog")), "{left:?}");
}

#[test]
fn r07_three_loggers_that_start_die_and_adopt_at_once() {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let before = places();
    let mut last = 0;
    for _ in 0..40 {
        let mut three: Vec<Running> = (0..3).map(|_| rig.start(LOGS)).collect();
        for running in &mut three {
            std::thread::sleep(Duration::from_millis(random.range(1, 25)));
            running.kill();
            last = running.run;
        }
    }
    let read = check(&rig, 1..=last);
    last = clean_start_and_end(&mut rig);
    let sums = check(&rig, 1..=last);
    assert!(sums.read >= read.read);
    println!("120 loggers, three at a time: {sums:?}");
    check_leftovers(&rig, &before, sums.read);
}

#[test]
fn one_event_of_an_idle_process_gets_into_a_segment_without_any_further_call() {
    let mut rig = Rig::new();
    let mut running = rig.start("do=one");
    assert_eq!(running.line(), "logged");
    let logged = Instant::now();
    // Only segments, copied away from their owner file: no lane, no staging.
    let copy = rig.path("copy");
    wait_until("the event in a segment", || {
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir(&copy).expect("a directory");
        let mut any = false;
        for name in names(&rig.dir()).into_iter().filter(|name| name.ends_with(".ttlog")) {
            any = std::fs::copy(rig.dir().join(&name), copy.join(&name)).is_ok();
        }
        any && read_back(&copy).events.len() == 1
    });
    println!("found in a segment after {:?} (write_within 100 ms)", logged.elapsed());
    running.kill();
}

#[test]
fn killed_with_its_lanes_gone_only_the_last_write_within_is_missing() {
    let (mut rig, mut random) = (Rig::new(), Random::new());
    for _ in 0..10 {
        let mut running = rig.start("do=one events=100 more=50");
        let run = running.run;
        assert_eq!(running.line(), "logged");
        // The first 100 are old enough when the segment has them, which takes no further call.
        wait_until("the first events in a segment", || {
            let found = by_thread(&read_back(&rig.dir()));
            found.get(&(run, 0)).is_some_and(|n| n.len() == 100)
        });
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(running.ask("more"), "logged");
        std::thread::sleep(Duration::from_millis(random.range(0, 150)));
        let place = place_of(&rig.dir(), &mut running);
        running.kill();
        std::fs::remove_dir_all(place).expect("its lanes");
        let found = by_thread(&read_back(&rig.dir()));
        let read = found.get(&(run, 0)).map_or(0, Vec::len);
        assert!((100..=150).contains(&read), "{read} of 150");
        let numbers = &found[&(run, 0)];
        assert!(numbers.iter().copied().eq(0..read as u64), "not a prefix: {numbers:?}");
        print!("{read} of 150; ");
        // Its owner file names lanes that are gone: the next start says nothing and clears it.
        clean_start_and_end(&mut rig);
    }
    println!();
}

fn place_of(dir: &Path, running: &mut Running) -> String {
    let pid = format!("pid={}", running.child.id());
    let owners = names(dir).into_iter().filter(|name| name.ends_with(".owner"));
    let texts = owners.filter_map(|name| std::fs::read_to_string(dir.join(name)).ok());
    let text = texts.into_iter().find(|text| text.lines().any(|line| line == pid)).expect("owner");
    let lanes = text.lines().find_map(|line| line.strip_prefix("lanes=")).expect("lanes");
    lanes.to_owned()
}

/// R11: killed, and killed again while what the dead left is being taken up, up to three times; two
/// thousand: `RIG_CRASHES=2000 cargo test --release --test rig_kill r11 -- --nocapture`.
#[test]
fn r11_a_kill_while_the_dead_are_taken_up_loses_and_doubles_nothing_and_the_next_start_goes_on() {
    let wanted = std::env::var("RIG_CRASHES").ok().and_then(|text| text.parse().ok());
    let n_crashes = wanted.unwrap_or(20_u64);
    let (mut rig, mut random) = (Rig::new(), Random::new());
    let (mut n_second, mut last) = (0, 0);
    for nth in 1..=n_crashes {
        let mut running = rig.start(LOGS);
        std::thread::sleep(Duration::from_micros(random.range(5_000, 25_000)));
        running.kill();
        for _ in 0..random.range(1, 4) {
            let mut adopter = rig.start("do=log events=1 threads=1 adopt=1");
            std::thread::sleep(Duration::from_micros(random.range(500, 20_000)));
            adopter.kill();
            n_second += 1;
        }
        if nth % 10 == 0 || nth == n_crashes {
            last = clean_start_and_end(&mut rig);
            check(&rig, 1..=last);
        }
    }
    let before = by_thread(&read_back(&rig.dir()));
    let sums = check(&rig, 1..=last);
    // Taking up what is taken up changes nothing.
    let again = clean_start_and_end(&mut rig);
    let mut after = by_thread(&read_back(&rig.dir()));
    after.retain(|(run, _), _| *run < again);
    assert!(before == after, "a second recovery changed what the first had made");
    println!("{n_crashes} crashes, {n_second} more within recovery: {sums:?}");
}
