//! A ring whose overflow goes to files: order, accounts, processes that die, damage, full disks.
#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, yield_now};
use std::time::Duration;

use proptest::prelude::*;
use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer, PushError, Spill};

const LONG: Duration = Duration::from_secs(60);
/// Tells a test that it is the child of another, and in which directory.
const CHILD: &str = "TTLOG_TEST_RING_SPILL";

fn numbers(dir: &Path) -> Spill<u64> {
    let encode = |n: &u64, out: &mut Vec<u8>| {
        out.extend(n.to_le_bytes());
        Ok(())
    };
    let decode = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(io::Error::other);
    Spill::with_codec(dir, encode, decode)
}

fn texts(dir: &Path) -> Spill<String> {
    let encode = |text: &String, out: &mut Vec<u8>| {
        out.extend(text.as_bytes());
        Ok(())
    };
    let decode = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(io::Error::other);
    Spill::with_codec(dir, encode, decode)
}

fn ring(capacity: usize, dir: &Path) -> LockFreeRingBuffer<u64> {
    numbers(dir).ring(capacity).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn bytes_in(dir: &Path) -> u64 {
    files(dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

/// The law of the accounts, at rest.
fn assert_accounts<T>(ring: &LockFreeRingBuffer<T>) {
    let stats = ring.stats();
    let out = stats.delivered + stats.evicted + stats.returned + stats.damaged + stats.len as u64;
    assert_eq!(out, stats.pushed + stats.taken_up, "{stats:?}");
    assert_eq!(stats.len, ring.len());
}

/// What the RFC asked for: ten times the capacity while nobody takes, then all of it in order.
#[test]
fn items_beyond_the_capacity_come_back_in_order_before_newer_ones() {
    for capacity in [1, 2, 3, 64] {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(capacity, dir.path());
        let n = 10 * capacity as u64;
        (0..n).for_each(|i| ring.push(i).unwrap());
        assert_eq!((ring.len() as u64, ring.stats().spilled), (n, n - capacity as u64));
        let mut taken = Vec::new();
        while taken.len() < capacity * 5 {
            taken.extend(ring.take_batch(capacity));
            // Behind all that is in files, though there is room.
            ring.push(n + taken.len() as u64).unwrap();
        }
        taken.extend(ring.drain());
        assert!(taken.is_sorted(), "{taken:?}");
        assert_eq!(taken.len() as u64, ring.stats().pushed);
        assert_accounts(&ring);
        let spilled = ring.stats().spilled;
        ring.push(0).unwrap();
        assert_eq!(ring.stats().spilled, spilled, "nothing lies in files any more");
        assert_eq!(bytes_in(dir.path()), 1152, "an emptied file");
        drop(ring);
        assert!(files(dir.path()).is_empty());
    }
}

#[test]
fn a_ring_that_does_not_overflow_writes_nothing_and_its_policy_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(4, &dir.path().join("made/for it"));
    let before = bytes_in(&dir.path().join("made/for it"));
    for n in 0..100 {
        ring.push(n).unwrap();
        assert_eq!(ring.take_one(), Some(n));
    }
    assert_eq!(bytes_in(&dir.path().join("made/for it")), before);
    assert_eq!(ring.stats().spilled, 0);
    assert!(
        matches!(ring.policy(), BackPressurePolicy::SpillToDisk(dir) if dir.ends_with("for it"))
    );
}

#[test]
fn producers_and_a_consumer_at_once_keep_each_producers_order() {
    const EACH: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(8, dir.path());
    scope(|scope| {
        for producer in 0..4 {
            let ring = &ring;
            scope.spawn(move || {
                for n in (0..EACH).step_by(3) {
                    let item = |n| producer * EACH + n;
                    ring.push(item(n)).unwrap();
                    assert_eq!(ring.push_batch(vec![item(n + 1), item(n + 2)]).unwrap(), 2);
                }
            });
        }
        let mut next = [0; 4];
        let mut count = 0;
        while count < 4 * EACH {
            let items = ring.take_batch_timeout(1 + count as usize % 8, LONG);
            assert!(!items.is_empty(), "nobody slept over what is in files: {count}");
            for item in items {
                let place = &mut next[(item / EACH) as usize];
                assert_eq!(item % EACH, *place);
                *place += 1;
                count += 1;
            }
        }
    });
    assert_accounts(&ring);
    assert_eq!((ring.len(), ring.stats().delivered), (0, 4 * EACH));
    drop(ring);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_large_batch_is_spilled_in_blocks_and_a_handle_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let ring = std::sync::Arc::new(texts(dir.path()).ring(16).unwrap());
    let items: Vec<_> = (0..2000).map(|n| format!("{n:0500}")).collect();
    let producer = ring.clone_producer();
    assert_eq!(producer.push_batch(items.clone()).unwrap(), 2000);
    let mut more = vec!["last".to_owned()];
    assert_eq!(producer.push_from(&mut more), 1);
    let consumer = ring.clone_consumer().unwrap();
    assert_eq!(consumer.len(), 2001);
    assert!(ring.drain().is_empty(), "the handle has the role");
    let mut taken = consumer.hold().unwrap();
    let mut out = Vec::new();
    while taken.take_into(&mut out, 100) > 0 {}
    drop(taken);
    assert_eq!(out.pop().unwrap(), "last");
    assert_eq!(out, items);
    assert_accounts(&ring);
}

#[test]
fn async_pushes_spill_and_async_takes_wait_for_what_comes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ring = std::sync::Arc::new(ring(2, dir.path()));
    runtime.block_on(async {
        let producer = ring.clone_producer();
        let pushing = tokio::spawn(async move {
            for n in 0..1000 {
                producer.push_async(n).await.unwrap();
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            producer
        });
        let mut taken = Vec::new();
        while taken.len() < 1000 {
            taken.extend(ring.take_batch_async(2).await);
        }
        assert!(taken.into_iter().eq(0..1000));
        drop(pushing.await.unwrap());
        ring.close();
        assert!(ring.take_batch_async(2).await.is_empty());
    });
    assert_accounts(&ring);
}

#[test]
fn a_closed_ring_delivers_what_is_in_files_and_then_ends() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(2, dir.path());
    (0..9).for_each(|n| ring.push(n).unwrap());
    ring.close();
    assert!(matches!(ring.push(9), Err(PushError::Closed(9))));
    let error = ring.push_batch(vec![10]).unwrap_err();
    assert!(error.is_closed() && std::error::Error::source(&error).is_none());
    let mut taken = Vec::new();
    loop {
        let items = ring.take_batch_timeout(2, LONG);
        if items.is_empty() {
            break;
        }
        taken.extend(items);
    }
    assert!(taken.into_iter().eq(0..9));
    assert_accounts(&ring);
}

#[test]
fn a_ring_takes_up_what_others_left_and_leaves_the_living_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (ring(2, dir.path()), ring(2, dir.path()));
    let other = texts(dir.path()).ring(1).unwrap();
    (0..6).for_each(|n| first.push(n).unwrap());
    (10..16).for_each(|n| second.push(n).unwrap());
    ["a", "b", "c"].into_iter().for_each(|text| other.push(text.into()).unwrap());
    fs::write(dir.path().join("ring-notes.ttspill"), "a stranger's").unwrap();
    drop(other);
    // Two are taken by it and one lies in a slot, from a file: that one is not lost with the ring.
    assert_eq!(first.take_batch(2), [0, 1]);
    assert_eq!(first.take_one(), Some(2));
    drop(first);
    let third = ring(4, dir.path());
    assert_eq!((third.len(), third.stats().taken_up), (3, 3));
    third.push(99).unwrap();
    assert_eq!(third.drain(), [3, 4, 5, 99]);
    assert_accounts(&third);
    assert_eq!(second.drain(), (10..16).collect::<Vec<_>>());
    drop((second, third));
    assert_eq!(files(dir.path()).len(), 2, "the stranger's and that of another type");
    assert_eq!(texts(dir.path()).ring(4).unwrap().drain(), ["b", "c"]);
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Batch(usize),
    Take(usize),
    Drain,
    /// The process is killed; another goes on with its files as they are.
    Kill,
    /// The ring is dropped with what is in it.
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        3 => (0..12usize).prop_map(Step::Batch),
        6 => (0..9usize).prop_map(Step::Take),
        1 => Just(Step::Drain),
        1 => Just(Step::Kill),
        1 => Just(Step::Drop),
    ];
    prop::collection::vec(step, 0..120)
}

/// What a ring of so many slots holds, and which of it would survive.
#[derive(Debug, Default)]
struct Model {
    /// Each with whether it came from a file.
    slots: VecDeque<(u64, bool)>,
    files: VecDeque<u64>,
    capacity: usize,
}

impl Model {
    fn push(&mut self, item: u64) {
        if self.files.is_empty() && self.slots.len() < self.capacity {
            self.slots.push_back((item, false));
        } else {
            self.files.push_back(item);
        }
    }

    fn take(&mut self, max: usize) -> Vec<u64> {
        let count = max.min(self.slots.len());
        let taken = self.slots.drain(..count).map(|(item, _)| item).collect();
        self.refill();
        taken
    }

    fn refill(&mut self) {
        while self.slots.len() < self.capacity
            && let Some(item) = self.files.pop_front()
        {
            self.slots.push_back((item, true));
        }
    }

    fn die(&mut self) {
        let spilled = self.slots.drain(..).filter(|(_, from_file)| *from_file);
        let spilled: Vec<_> = spilled.map(|(item, _)| item).collect();
        spilled.into_iter().rev().for_each(|item| self.files.push_front(item));
        self.refill();
    }

    fn len(&self) -> usize {
        self.slots.len() + self.files.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rings_that_spill_die_and_come_back_are_as_the_model(
        capacity in 1..7usize,
        steps in steps(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        let mut live = ring(capacity, &dir);
        let mut model = Model { capacity, ..Model::default() };
        let mut next = 0;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push => {
                    live.push(next).unwrap();
                    model.push(next);
                    next += 1;
                }
                Step::Batch(count) => {
                    let items: Vec<_> = (next..next + count as u64).collect();
                    items.iter().for_each(|item| model.push(*item));
                    prop_assert_eq!(live.push_batch(items).unwrap(), count);
                    next += count as u64;
                }
                Step::Take(max) => prop_assert_eq!(live.take_batch(max), model.take(max)),
                Step::Drain => {
                    let all: Vec<_> = (0..model.len()).flat_map(|_| model.take(1)).collect();
                    prop_assert_eq!(live.drain(), all);
                }
                Step::Kill => {
                    let copy = root.path().join(n.to_string() + "-copy");
                    fs::create_dir(&copy).unwrap();
                    for file in files(&dir) {
                        fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
                    }
                    live = ring(capacity, &copy);
                    dir = copy;
                    model.die();
                }
                Step::Drop => {
                    drop(live);
                    live = ring(capacity, &dir);
                    model.die();
                }
            }
            prop_assert_eq!(live.len(), model.len());
            assert_accounts(&live);
        }
    }
}

/// Flips a bit in every byte of a file that a ring left: whatever it hits is told, and costs no
/// item of another block.
#[test]
fn damage_is_counted_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    {
        let ring = ring(1, dir.path());
        ring.push(0).unwrap();
        ring.push_batch(vec![1, 2, 3]).unwrap();
        ring.push(4).unwrap();
        ring.push_batch(vec![5, 6]).unwrap();
    }
    let blocks: [&[u64]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
    let [path] = files(dir.path()).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        let ring = ring(8, dir.path());
        let items = ring.drain();
        let hit = at.checked_sub(1152).map(|at| at / 128);
        let expected: Vec<_> = blocks
            .iter()
            .enumerate()
            .filter(|(n, _)| hit.is_none_or(|hit| hit != *n))
            .flat_map(|(_, items)| items.iter().copied())
            .collect();
        assert_eq!(items, expected, "a bit of byte {at}");
        let stats = ring.stats();
        assert_eq!(stats.damaged > 0, hit.is_some(), "a bit of byte {at}: {stats:?}");
        assert_accounts(&ring);
        drop(ring);
        assert!(files(dir.path()).is_empty(), "what was delivered or told is not told again");
    }
}

/// The process that reads is the one that wrote, and still has the file open.
#[test]
fn damage_in_a_living_rings_file_is_counted_to_the_item() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(1, dir.path());
    ring.push(0).unwrap();
    ring.push_batch(vec![1, 2, 3]).unwrap();
    ring.push_batch(vec![4, 5]).unwrap();
    let [path] = files(dir.path()).try_into().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let last_block = bytes.len() - 128;
    bytes[last_block + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    ring.push(6).unwrap();
    assert_eq!(ring.drain(), [0, 1, 2, 3, 6]);
    assert_eq!(ring.stats().damaged, 2);
    assert_accounts(&ring);
}

#[test]
fn items_that_a_decoder_refuses_or_dies_over_are_counted_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let encode = |n: &u8, out: &mut Vec<u8>| match n {
        13 => Err(io::Error::other("not this one")),
        n => {
            out.push(*n);
            Ok(())
        }
    };
    let decode = |bytes: &[u8]| match bytes[0] {
        2 => Err(ErrorKind::InvalidData.into()),
        3 => panic!("a decoder that dies"),
        n => Ok(n),
    };
    let ring = Spill::with_codec(dir.path(), encode, decode).ring(1).unwrap();
    (0..6).for_each(|n| ring.push(n).unwrap());
    match ring.push(13) {
        Err(PushError::Spill { item: 13, source }) => {
            assert_eq!(source.to_string(), "not this one")
        }
        other => panic!("{other:?}"),
    }
    let error = ring.push_batch(vec![6, 13, 7]).unwrap_err();
    assert_eq!((error.pushed, &error.rest[..]), (1, &[13, 7][..]));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("not this one"));
    assert_eq!(ring.drain(), [0, 1, 4, 5, 6]);
    assert_eq!(ring.stats().damaged, 2);
    assert_accounts(&ring);
}

#[test]
fn beyond_the_quota_items_come_back_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let ring = texts(dir.path()).quota(1 << 20).ring(2).unwrap();
    let item = |n: usize| format!("{n:010000}");
    let mut accepted = 0;
    let source = loop {
        match ring.push(item(accepted)) {
            Ok(()) => accepted += 1,
            Err(PushError::Spill { item: back, source }) => {
                assert_eq!(back, item(accepted));
                break source;
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(source.kind(), ErrorKind::QuotaExceeded);
    assert!(source.to_string().contains("Spill::quota"), "{source}");
    assert!((90..110).contains(&accepted), "{accepted}");
    let mut next = 0;
    // What was taken leaves the disk, file by file, so that there is room again and again.
    while next < 400 {
        for text in ring.take_batch(2) {
            assert_eq!(text, item(next));
            next += 1;
        }
        if ring.push(item(accepted)).is_ok() {
            accepted += 1;
        }
        assert!(bytes_in(dir.path()) <= 1 << 20);
        assert!(next > 0 || !ring.is_empty());
    }
    assert!(ring.drain().iter().zip(next..accepted).all(|(text, n)| *text == item(n)));
    assert_accounts(&ring);
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = numbers(&path).ring(1).unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()));
        assert!(error.to_string().contains("choose another"), "{error}");
    }
    assert!(numbers(dir.path()).ring(0).unwrap_err().to_string().contains("capacity 1"));
    assert_eq!(files(dir.path()), [file], "a ring that cannot be leaves nothing");
}

/// Starts this test program again as the child of a test.
fn child(test: &str, dir: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let run = format!("{before} exec \"$0\" --exact {test} --nocapture");
    command.args(["-c", &run]).arg(std::env::current_exe().unwrap());
    command.env(CHILD, dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Pushes and takes for ever, and tells of each when it has returned.
fn live_until_killed(dir: &Path) {
    let ring = ring(4, &dir.join("spill"));
    let mut log = fs::File::create(dir.join("told")).unwrap();
    for n in 0.. {
        ring.push(n).unwrap();
        writeln!(log, "p {n}").unwrap();
        if n % 3 == 0 {
            let taken = ring.take_one().unwrap();
            writeln!(log, "t {taken}").unwrap();
        }
    }
}

#[test]
fn what_a_killed_process_spilled_is_taken_up_once_and_in_order() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return live_until_killed(Path::new(&dir));
    }
    let name = "what_a_killed_process_spilled_is_taken_up_once_and_in_order";
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut running = child(name, dir.path(), "").spawn().unwrap();
        let told = || fs::read_to_string(dir.path().join("told")).unwrap_or_default();
        while told().lines().count() < 200 + 137 * round {
            assert!(running.try_wait().unwrap().is_none(), "it runs until it is killed");
            yield_now();
        }
        running.kill().unwrap();
        running.wait().unwrap();
        let told = told();
        let last = |what: &str| {
            let lines = told.lines().filter_map(|line| line.strip_prefix(what));
            lines.filter_map(|n| n.parse::<u64>().ok()).next_back().unwrap()
        };
        let (pushed, taken) = (last("p "), last("t "));
        let ring = ring(4, &dir.path().join("spill"));
        let items = ring.drain();
        assert_eq!(ring.stats().damaged, 0, "a cut block was not pushed");
        assert_eq!(items.len() as u64, ring.stats().taken_up);
        // A take or push that returned may not have been told of yet; all items in slots had come
        // from files by then.
        let first = items[0];
        assert!(first == taken + 1 || first == taken + 2, "{first} after {taken}");
        let end = first + items.len() as u64;
        assert!(end > pushed && end <= pushed + 3, "{end} after {pushed}");
        assert!(items.into_iter().eq(first..end), "none is missing or doubled");
    }
}

/// Fills a disk on which files have 64 KiB at most.
fn fill_the_disk(dir: &Path) {
    let ring = texts(dir).ring(2).unwrap();
    let item = |n: usize| format!("{n:03000}");
    for _ in 0..3 {
        let mut accepted = 0;
        let source = loop {
            match ring.push(item(accepted)) {
                Ok(()) => accepted += 1,
                Err(PushError::Spill { item: back, source }) if back == item(accepted) => {
                    break source;
                }
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(source.kind(), ErrorKind::FileTooLarge, "{source}");
        let batch = vec![item(accepted), item(accepted + 1)];
        let error = ring.push_batch(batch.clone()).unwrap_err();
        assert_eq!((error.pushed, error.rest), (0, batch));
        assert!(accepted > 15, "{accepted}");
        let taken = ring.drain();
        assert!(taken.len() == accepted && (0..).zip(&taken).all(|(n, text)| *text == item(n)));
        assert_eq!(ring.stats().damaged, 0);
        assert_accounts(&ring);
    }
}

#[test]
fn a_full_disk_gives_items_back_and_loses_none() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return fill_the_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    // The signal that says so would end the process. Blocks of `sh` have 512 bytes.
    let before = "trap '' XFSZ; ulimit -f 128;";
    let name = "a_full_disk_gives_items_back_and_loses_none";
    let output = child(name, dir.path(), before).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(files(dir.path()).is_empty());
}

/// What is spilled after that survives the ring as ever.
#[test]
fn a_file_that_somebody_removed_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let live = ring(1, dir.path());
    for round in 0..3 {
        (0..5).for_each(|n| live.push(n).unwrap());
        files(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
        (5..9).for_each(|n| live.push(n).unwrap());
        if round < 2 {
            assert_eq!(live.drain(), (0..9).collect::<Vec<_>>());
            assert_accounts(&live);
        }
    }
    drop(live);
    assert_eq!(ring(9, dir.path()).drain(), [5, 6, 7, 8]);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_directory_that_went_away_gives_items_back_and_later_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let spill = dir.path().join("spill");
    let ring = texts(&spill).quota(1 << 20).ring(1).unwrap();
    let item = || "x".repeat(100_000);
    // Its open file goes with it, and the next cannot be made.
    fs::remove_dir_all(&spill).unwrap();
    let mut accepted = 0;
    let error = loop {
        match ring.push(item()) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, PushError::Spill { source, .. } if source.kind() == ErrorKind::NotFound)
    );
    assert_eq!(error.into_inner(), item());
    fs::create_dir(&spill).unwrap();
    ring.push(item()).unwrap();
    assert_eq!(ring.drain().len(), accepted + 1);
    assert_accounts(&ring);
}

#[test]
fn a_producer_that_spills_beside_a_polling_consumer_loses_no_wake() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(1, dir.path());
    let done = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            (0..20_000).for_each(|n| ring.push(n).unwrap());
            done.store(true, Ordering::Release);
        });
        let mut next = 0;
        let mut idle_after_end = 0;
        while next < 20_000 {
            let ended = done.load(Ordering::Acquire);
            match ring.take_one() {
                Some(item) => {
                    assert_eq!(item, next);
                    next += 1;
                }
                None if ended => {
                    idle_after_end += 1;
                    assert!(idle_after_end < 2, "an item stayed in a file, and nobody moved it");
                }
                None => yield_now(),
            }
        }
    });
    assert_accounts(&ring);
}

mod with_serde {
    //! Items that serde knows.
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Nested {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, Either>,
        bytes: Vec<u8>,
        wide: u128,
        unit: (),
        pair: (char, f64),
    }

    #[test]
    fn types_that_describe_themselves_in_odd_ways_come_back_equal() {
        let dir = tempfile::tempdir().unwrap();
        let ring = LockFreeRingBuffer::with_spill(1, dir.path()).unwrap();
        let items: Vec<_> = (0..20)
            .map(|n| Nested {
                note: (n % 2 == 0).then(|| format!("note {n}")),
                rest: BTreeMap::from([
                    ("a".into(), Either::Number(-n)),
                    ("b".into(), Either::Text("t".into())),
                ]),
                bytes: vec![n as u8; n as usize],
                wide: u128::MAX - n as u128,
                unit: (),
                pair: ('ü', f64::INFINITY),
            })
            .collect();
        assert_eq!(ring.push_batch(items.clone()).unwrap(), 20);
        assert_eq!((ring.stats().spilled, ring.drain()), (19, items));
        assert_eq!(ring.stats().damaged, 0);
    }

    mod old {
        #[derive(serde::Serialize, serde::Deserialize)]
        pub(super) struct Order {
            pub(super) id: u64,
            pub(super) gone: bool,
        }
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Order {
        #[serde(default)]
        added: Option<u8>,
        id: u64,
    }

    /// The encoding is by name, so that a newer program reads what an older one spilled.
    #[test]
    fn an_item_of_an_older_program_is_read_where_serde_allows() {
        let bytes = rmp_of(&old::Order { id: 7, gone: true });
        let order: Order = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(order, Order { added: None, id: 7 });
    }

    /// What the ring writes for an item, found in its file.
    fn rmp_of(item: &old::Order) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let ring = LockFreeRingBuffer::with_spill(1, dir.path()).unwrap();
        for _ in 0..2 {
            ring.push(old::Order { ..*item }).unwrap();
        }
        let [path] = files(dir.path()).try_into().unwrap();
        let bytes = fs::read(path).unwrap();
        let len = u32::from_le_bytes(bytes[1152 + 64..][..4].try_into().unwrap()) as usize;
        bytes[1152 + 68..][..len].to_vec()
    }
}
