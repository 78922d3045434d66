//! `ttlog archive`: what arrives, what is left out, and what an interruption leaves.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ttlog::archive::PART_DIR;
use ttlog::store::segment::SegmentHeader;
use ttlog::store::{Builder as SegmentBuilder, name};
use ttlog::{Builder, Handle, Keep, info};

const LONG: Duration = Duration::from_secs(60);

fn archive(args: &[&str], from: &Path, to: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.arg("archive").args(args).arg(from).arg(to).stdin(Stdio::null());
    command
}

fn run(args: &[&str], from: &Path, to: &Path) -> (String, Option<i32>) {
    let output = archive(args, from, to).output().unwrap();
    assert_eq!(output.stdout, b"", "what is told goes to standard error");
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// What a tree holds: by path, everything that a copy is to have.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries.into_iter().chain([dir]) {
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let times = (meta.mtime(), meta.mtime_nsec());
            let owner = (meta.uid(), meta.gid());
            let what = if meta.is_symlink() {
                format!("to {:?} {times:?} {owner:?}", std::fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                if !found.contains_key(&relative) && path != root {
                    dirs.push(path.clone());
                }
                format!("dir {:o} {times:?} {owner:?}", meta.mode())
            } else {
                let crc = crc(&std::fs::read(&path).unwrap());
                let first = inodes.entry(meta.ino()).or_insert_with(|| relative.clone()).clone();
                let links = if meta.nlink() > 1 { Some(first) } else { None };
                format!("{} {crc:x} {:o} {times:?} {owner:?} {links:?}", meta.len(), meta.mode())
            };
            found.insert(relative, what);
        }
    }
    found
}

fn crc(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Bytes that no two places have in common.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn age(path: &Path, seconds: u64) {
    let time =
        std::time::SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000 + seconds, 123_456_789);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// A tree with all that trees have.
fn make_tree(root: &Path) {
    let dir = root.join("a/b/c");
    std::fs::create_dir_all(&dir).unwrap();
    for (n, len) in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 524_288, 524_289, 3 << 20]
        .into_iter()
        .enumerate()
    {
        let path = dir.join(format!("file-{n}"));
        std::fs::write(&path, bytes(len, n as u64)).unwrap();
        let mode = 0o600 + (n as u32 * 0o11) % 0o200;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        age(&path, n as u64);
    }
    for n in 0..160 {
        std::fs::write(root.join("a").join(format!("small-{n}")), format!("{n}")).unwrap();
    }
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&bytes(5000, 77), 1 << 20).unwrap();
    sparse.write_all_at(&bytes(5000, 78), 40 << 20).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::fs::hard_link(dir.join("file-9"), root.join("another-name")).unwrap();
    std::fs::hard_link(dir.join("file-9"), root.join("a/third-name")).unwrap();
    symlink("a/b/c/file-1", root.join("link")).unwrap();
    symlink("/nonexistent/\u{202e}", root.join("a/dangling")).unwrap();
    let name = "n".repeat(255);
    std::fs::write(root.join(name), "a name as long as they get").unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    age(&dir, 999);
    age(&root.join("a"), 998);
}

#[test]
fn a_tree_arrives_with_all_that_it_has() {
    for io in ["auto", "portable"] {
        for in_flight in ["1", "3", "64", "4096"] {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            make_tree(from.path());
            let to = to.path().join("new/target");
            let args = ["--all", "--io", io, "--in-flight", in_flight];
            let (err, code) = run(&args, from.path(), &to);
            assert_eq!(code, Some(0), "{err}");
            assert!(err.contains("172 files copied") && err.contains("4 links"), "{err}");
            assert_eq!(tree(from.path()), tree(&to), "{io} {in_flight}");
            let sparse = to.join("sparse").metadata().unwrap();
            assert!(sparse.blocks() * 512 < 2 << 20, "holes stay holes");
        }
    }
}

#[test]
fn a_second_run_copies_what_was_changed_alone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(from.path());
    run(&["--all"], from.path(), to.path());
    let (err, code) = run(&["--all"], from.path(), to.path());
    assert!(code == Some(0) && err.contains("0 files copied, 0 B"), "{err}");
    std::fs::write(from.path().join("a/small-7"), "changed").unwrap();
    std::fs::remove_file(to.path().join("link")).unwrap();
    let (err, _) = run(&["--all"], from.path(), to.path());
    assert!(err.contains("1 files copied, 7 B") && err.contains("1 links"), "{err}");
    assert_eq!(tree(from.path()), tree(to.path()));
}

#[test]
fn what_is_in_the_way_is_told_and_the_rest_arrives() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(from.path());
    std::fs::create_dir(to.path().join("sparse")).unwrap();
    assert!(Command::new("mkfifo").arg(from.path().join("fifo")).status().unwrap().success());
    let (err, code) = run(&["--all"], from.path(), to.path());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("sparse: Is a directory") && err.contains("1 errors"), "{err}");
    assert!(err.contains("fifo: neither a file"), "{err}");
    let (mut here, mut there) = (tree_without(from.path()), tree_without(to.path()));
    here.remove(Path::new("fifo"));
    // The directory of the fifo and of what was in the way has other times.
    for root in [&mut here, &mut there] {
        root.remove(Path::new(""));
    }
    assert_eq!(here, there);
}

/// A tree without its file with holes.
fn tree_without(root: &Path) -> BTreeMap<PathBuf, String> {
    let _ = std::fs::remove_file(root.join("fifo"));
    let mut tree = tree(root);
    tree.remove(Path::new("sparse"));
    tree
}

#[test]
fn senseless_commands_are_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let below = dir.path().join("below");
    let outside = tempfile::tempdir().unwrap();
    for (from, to, says) in [
        (dir.path().join("missing"), outside.path().to_owned(), "No such file"),
        (file.clone(), outside.path().to_owned(), "is no directory"),
        (dir.path().to_owned(), below, "lies in the source"),
        (dir.path().to_owned(), dir.path().to_owned(), "lies in the source"),
        (dir.path().to_owned(), file.join("x"), "Not a directory"),
    ] {
        let (err, code) = run(&["--all"], &from, &to);
        assert_eq!((err.lines().count(), code), (1, Some(1)), "{err}");
        assert!(err.contains(says), "{err}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the source is as it was");
    for bad in ["0", "4097", "many"] {
        assert_eq!(run(&["--in-flight", bad], dir.path(), outside.path()).1, Some(2));
    }
}

/// Retention removes segments while they are copied; that is no error.
#[test]
fn segments_that_go_meanwhile_are_left_out_and_not_told() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let put = |to: &Path, number: u64| {
        let header =
            SegmentHeader { logger: 7, number, app: "app".into(), ..SegmentHeader::default() };
        let path = to.join(name::segment("app", 0, 7, number));
        std::fs::write(&path, SegmentBuilder::new(header).finish().unwrap()).unwrap();
        path
    };
    let there: Vec<_> = (1..400).map(|number| put(dir.path(), number)).collect();
    let whole: Vec<_> = (1..400).map(|number| put(kept.path(), number)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // ord: Relaxed, a flag that publishes nothing.
            while !done.load(Ordering::Relaxed) {
                there.iter().for_each(|path| std::fs::remove_file(path).unwrap());
                let mut pairs = whole.iter().zip(&there);
                pairs.try_for_each(|(from, to)| std::fs::hard_link(from, to)).unwrap();
            }
        });
        let said: Vec<_> = [&[][..], &["--all"], &["--compress", "zstd"]]
            .into_iter()
            .flat_map(|args| [args; 3])
            .map(|args| {
                let to = tempfile::tempdir().unwrap();
                run(args, dir.path(), to.path())
            })
            .collect();
        // ord: Relaxed, as above.
        done.store(true, Ordering::Relaxed);
        assert!(said.iter().all(|(_, code)| *code == Some(0)), "{said:?}");
    });
}

fn logger(dir: &Path) -> Handle {
    Builder::new(dir).app("orders", "1").keep(Keep::everything()).build().unwrap()
}

fn segment_names(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string());
    names.map(Result::unwrap).filter(|name| name.ends_with(".ttlog")).collect()
}

fn shown(dir: &Path) -> usize {
    use ttlog::view::{Item, Query, Source};
    let items = Source::open(dir).unwrap().query(&Query::new());
    items.filter(|item| matches!(item.as_ref().unwrap(), Item::Record(_))).count()
}

#[test]
fn segments_arrive_when_they_are_complete_and_owner_files_never() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = tempfile::tempdir().unwrap();
    let logger = logger(from.path());
    for n in 0..5_u64 {
        info!(logger: &logger, n, "x");
        logger.flush(LONG).unwrap();
        logger.rotate().unwrap();
    }
    info!(logger: &logger, "in a segment that is being written");
    logger.flush(LONG).unwrap();
    let (err, code) = run(&[], from.path(), to.path());
    assert!(code == Some(0) && err.contains("5 files copied"), "{err}");
    assert_eq!(shown(to.path()), 5);
    let (err, code) = run(&["--all"], from.path(), all.path());
    assert!(code == Some(0) && err.contains("6 files copied"), "{err}");
    assert_eq!((segment_names(all.path()).len(), shown(all.path())), (6, 6));
    assert!(std::fs::read_dir(all.path()).unwrap().count() == 6, "no owner file");
    logger.shutdown(LONG).unwrap();
    let (err, _) = run(&[], from.path(), to.path());
    assert!(err.contains("1 files copied") && err.contains("5 there already"), "{err}");
    let (err, code) = run(&[], from.path(), all.path());
    assert!(code == Some(0) && err.contains("1 files copied"), "what was growing then: {err}");
    assert_eq!(shown(all.path()), 6);
}

#[test]
fn a_segment_that_is_damaged_is_told_and_copied_as_it_is() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logger = logger(from.path());
    (0..100_u64).for_each(|n| info!(logger: &logger, n, "x"));
    logger.shutdown(LONG).unwrap();
    let name = segment_names(from.path()).pop_first().unwrap();
    let mut bytes = std::fs::read(from.path().join(&name)).unwrap();
    bytes[1100] ^= 1;
    std::fs::write(from.path().join(&name), &bytes).unwrap();
    let (err, code) = run(&[], from.path(), to.path());
    assert_eq!(code, Some(1));
    assert!(err.contains("damaged, and copied as it is") && err.contains(&name), "{err}");
    assert_eq!(std::fs::read(to.path().join(&name)).unwrap(), bytes);
}

#[test]
fn a_kill_at_any_point_leaves_whole_files_and_the_next_run_the_rest() {
    let points = ["place", "copy", "batch", "stage"].map(|file| {
        let file = format!("{}/src/archive/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file);
        let text = text.unwrap();
        let after = text.split("crash_point!(\"").skip(1);
        after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let points: BTreeSet<_> = points.concat().into_iter().collect();
    assert!(points.len() >= 7, "{points:?}");
    let from = tempfile::tempdir().unwrap();
    make_tree(from.path());
    // Files in a directory that is there already, and many new directories.
    for n in 0..160 {
        std::fs::write(from.path().join(format!("flat-{n}")), format!("{n}")).unwrap();
        std::fs::create_dir(from.path().join(format!("dir-{n}"))).unwrap();
    }
    let whole = tree(from.path());
    for point in &points {
        for nth in [1, 2, 150] {
            let once = point == "archive.finish" && nth > 1;
            let to = tempfile::tempdir().unwrap();
            let at = format!("{point}:{nth}");
            let mut command = archive(&["--all"], from.path(), to.path());
            let status = command.env("TTLOG_CRASH_AT", &at).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.signal(), (!once).then_some(9), "{at}");
            for (path, what) in tree(to.path()) {
                let is_part = path.starts_with(PART_DIR);
                // Directories are dressed last, and links are made last.
                let is_dir = what.starts_with("dir");
                let cut = |what: &str| what.split(" Some").next().unwrap().replace(" None", "");
                if !is_part && !is_dir {
                    assert_eq!(cut(&what), cut(&whole[&path]), "{at} {}", path.display());
                }
            }
            let (err, code) = run(&["--all"], from.path(), to.path());
            assert_eq!((code, tree(to.path())), (Some(0), whole.clone()), "{at} {err}");
        }
    }
}

#[test]
fn two_runs_into_one_target_do_not_mix() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(from.path());
    let parts = to.path().join(PART_DIR);
    std::fs::create_dir(&parts).unwrap();
    let held = std::fs::File::open(&parts).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (err, code) = run(&["--all"], from.path(), to.path());
    assert!(code == Some(1) && err.contains("another run"), "{err}");
    drop(held);
    assert_eq!(run(&["--all"], from.path(), to.path()).1, Some(0));
}

/// Segments of blocks that are short, and too few for their logger to pack them itself.
fn segments(dir: &Path, n_segments: u64) -> u64 {
    let logger = logger(dir);
    for segment in 0..n_segments {
        for n in 0..300_u64 {
            info!(logger: &logger, segment, n, path = "/api/v1/orders", "request done");
            if n % 60 == 0 {
                logger.flush(LONG).unwrap();
            }
        }
        logger.rotate().unwrap();
    }
    logger.shutdown(LONG).unwrap();
    segment_names(dir).iter().map(|name| dir.join(name).metadata().unwrap().len()).sum()
}

/// What a directory of segments says, an event each, without times, which packing rounds.
fn events(dir: &Path) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    let output = command.args(["cat", "-o", "json"]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_once(",\"level\"").unwrap().1.to_owned()).collect()
}

fn is_packed(path: &Path) -> bool {
    use ttlog::store::segment::{FLAG_PACKED, SegmentReader};
    let reader = SegmentReader::open(path).unwrap();
    reader.is_sealed() && reader.header().flags & FLAG_PACKED != 0
}

#[test]
fn compressed_segments_are_smaller_and_say_the_same() {
    for (level, io) in [("zstd", "auto"), ("zstd:1", "portable"), ("zstd:19", "auto")] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = segments(from.path(), 4);
        std::fs::write(from.path().join("beside.txt"), bytes(9000, 5)).unwrap();
        let args = ["--all", "--compress", level, "--io", io];
        let (err, code) = run(&args, from.path(), to.path());
        assert!(code == Some(0) && err.contains("4 compressed"), "{err}");
        assert_eq!(segment_names(from.path()), segment_names(to.path()));
        let mut after = 0;
        for name in segment_names(to.path()) {
            let (here, there) = (from.path().join(&name), to.path().join(&name));
            assert!(is_packed(&there) && !is_packed(&here));
            let metadata = |path: &Path| {
                let meta = path.metadata().unwrap();
                (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.gid())
            };
            assert_eq!(metadata(&here), metadata(&there));
            after += there.metadata().unwrap().len();
        }
        assert!(after * 4 < before * 3, "{before} bytes became {after}");
        assert!(events(from.path()) == events(to.path()));
        let beside = |dir: &Path| std::fs::read(dir.join("beside.txt")).unwrap();
        assert_eq!(beside(from.path()), beside(to.path()));
        // What is packed stays so, and is copied as it is.
        let (err, _) = run(&args, from.path(), to.path());
        assert!(err.contains("0 files copied, 0 B, 5 there already"), "{err}");
        let third = tempfile::tempdir().unwrap();
        let (err, _) = run(&args, to.path(), third.path());
        assert!(err.contains("5 files copied") && !err.contains("compressed"), "{err}");
        assert_eq!(tree(to.path()), tree(third.path()));
    }
}

#[test]
fn what_was_copied_plainly_is_compressed_when_asked_and_what_changed_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    segments(from.path(), 3);
    let (err, _) = run(&[], from.path(), to.path());
    assert!(err.contains("3 files copied"), "{err}");
    let args = ["--compress", "zstd:3"];
    let (err, _) = run(&args, from.path(), to.path());
    assert!(err.contains("3 files copied") && err.contains("3 compressed"), "{err}");
    let first = segment_names(from.path()).pop_first().unwrap();
    age(&from.path().join(&first), 1);
    let (err, _) = run(&args, from.path(), to.path());
    assert!(err.contains("1 compressed") && err.contains("2 there already"), "{err}");
    assert!(events(from.path()) == events(to.path()));
}

#[test]
fn what_cannot_be_compressed_is_copied_as_it_is() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    segments(from.path(), 3);
    let names: Vec<_> = segment_names(from.path()).into_iter().collect();
    let damaged = from.path().join(&names[0]);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[1100] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    // Without its index: of a logger that died.
    let unsealed = from.path().join(&names[1]);
    let whole = std::fs::read(&unsealed).unwrap();
    std::fs::write(&unsealed, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(from.path().join("no-segment.ttlog"), "text").unwrap();
    let (err, code) = run(&["--all", "--compress", "zstd"], from.path(), to.path());
    assert!(code == Some(1) && err.contains("damaged, and copied as it is"), "{err}");
    assert!(err.contains("4 files copied") && err.contains("1 compressed"), "{err}");
    for name in [&names[0], &names[1], "no-segment.ttlog"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert_eq!(read(from.path()), read(to.path()), "{name}");
    }
    assert!(is_packed(&to.path().join(&names[2])));
}

#[test]
fn senseless_levels_are_refused() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for bad in ["zstd:0", "zstd:23", "zstd:x", "zstd:", "zstd3", "gzip", ""] {
        let (err, code) = run(&["--compress", bad], from.path(), to.path());
        assert!(code == Some(2) && err.contains("a level from 1 to 22"), "{bad}: {err}");
    }
    let options = ttlog::archive::Options {
        all: false,
        in_flight: 1,
        io: ttlog::io::IoChoice::Auto,
        compress: Some(23),
    };
    let counters = ttlog::archive::Counters::default();
    let error = ttlog::archive::run(from.path(), to.path(), &options, &counters, &|_| {});
    assert!(error.unwrap_err().to_string().contains("zstd has no level 23"));
}

#[test]
fn a_kill_while_segments_are_compressed_leaves_whole_ones_and_the_next_run_the_rest() {
    let from = tempfile::tempdir().unwrap();
    segments(from.path(), 6);
    let whole = events(from.path());
    for point in ["pack.write", "pack.sync", "archive.rename", "archive.renamed", "archive.finish"]
    {
        for nth in [1, 4] {
            let once = point == "archive.finish" && nth > 1;
            let (to, at) = (tempfile::tempdir().unwrap(), format!("{point}:{nth}"));
            let args = ["--compress", "zstd:1"];
            let mut command = archive(&args, from.path(), to.path());
            let status = command.env("TTLOG_CRASH_AT", &at).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.signal(), (!once).then_some(9), "{at}");
            for name in segment_names(to.path()) {
                assert!(is_packed(&to.path().join(&name)), "{at}: {name}");
            }
            let (err, code) = run(&args, from.path(), to.path());
            assert_eq!(code, Some(0), "{at}: {err}");
            assert!(segment_names(to.path()).iter().all(|name| is_packed(&to.path().join(name))));
            assert_eq!(
                (events(to.path()) == whole, to.path().join(PART_DIR).exists()),
                (true, false)
            );
        }
    }
}
