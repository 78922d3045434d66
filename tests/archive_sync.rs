//! `ttlog archive` where many short files cannot be synced by one call: RIG-SYS refuses it, by strace,
//! and each file is synced for itself before it gets its name; and new directories, which get theirs
//! together with what is in them.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![expect(clippy::print_stdout, reason = "says what was not run, and why")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: usize = 300;

/// What strace saw: which copies were made, synced and named.
const CALLS: &str = "trace=openat,syncfs,fsync,unlink,renameat,rename,preadv2";

/// Calls that strace saw begin, and did not refuse.
fn calls(trace: &str, name: &str) -> usize {
    let with = format!("{name}(");
    trace.lines().filter(|line| line.contains(&with) && !line.contains("INJECTED")).count()
}

/// True when programs of this machine can be started so; else it says that they were not.
fn can_run(program: &str, args: &[&str]) -> bool {
    let ran = Command::new(program).args(args).output();
    let can = ran.is_ok_and(|output| output.status.success());
    if !can {
        println!("not run: {program} is not there, or may not do its work");
    }
    can
}

fn can_trace() -> bool {
    can_run("strace", &["-f", "-o", "/dev/null", "true"])
}

/// A directory, and one in it to copy from.
fn source() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    (dir, from)
}

/// Copies under strace, which gets these arguments too; returns what it saw, and what was told.
fn traced(from: &Path, to: &Path, with: &[&str]) -> (String, String) {
    let log = to.with_extension("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", CALLS, "-o"]).arg(&log).args(with);
    command.arg(env!("CARGO_BIN_EXE_ttlog")).args(["archive", "--all", "--io", "portable"]);
    let output = command.arg(from).arg(to).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (std::fs::read_to_string(log).unwrap(), told)
}

fn copy(from: &Path, to: &Path, with: &[&str]) -> String {
    let (seen, told) = traced(from, to, with);
    assert!(told.contains("300 files copied") && !told.contains("error"), "{told}");
    for n in 0..FILES {
        let copy = std::fs::read_to_string(to.join(n.to_string())).unwrap();
        assert_eq!(copy, format!("file {n}"));
    }
    seen
}

#[test]
fn short_files_are_synced_by_one_call_and_each_alone_where_that_is_refused() {
    if !can_trace() {
        return;
    }
    let (dir, from) = source();
    for n in 0..FILES {
        std::fs::write(from.join(n.to_string()), format!("file {n}")).unwrap();
    }
    let together = copy(&from, &dir.path().join("together"), &[]);
    assert_eq!(calls(&together, "syncfs"), 1);
    assert!(calls(&together, "fsync") < 10, "directories alone");
    let refused = ["-e", "inject=syncfs:error=EIO"];
    let alone = copy(&from, &dir.path().join("alone"), &refused);
    assert_eq!(calls(&alone, "syncfs"), 0);
    assert!(calls(&alone, "fsync") >= FILES, "each file: {}", calls(&alone, "fsync"));
    // A kernel that would not tell: nothing is copied twice.
    if !can_run("setarch", &["--uname-2.6", "true"]) {
        return;
    }
    let old = copy(&from, &dir.path().join("old"), &["setarch", "--uname-2.6"]);
    assert_eq!(calls(&old, "syncfs"), 0);
    assert!(calls(&old, "fsync") >= FILES);
    assert!(calls(&old, "unlink") < 10, "{}", calls(&old, "unlink"));
}

#[test]
fn behind_a_sync_that_failed_each_file_is_synced_alone_also_one_in_flight() {
    if !can_trace() {
        return;
    }
    let (dir, from) = source();
    for n in 0..200 {
        // Long ones in all: they are synced twice on the way, or would be.
        std::fs::File::create(from.join(n.to_string())).unwrap().set_len(1_000_000).unwrap();
    }
    let first = ["-e", "inject=syncfs:error=EIO:when=1"];
    let (seen, told) = traced(&from, &dir.path().join("to"), &first);
    assert!(told.contains("200 files copied") && !told.contains("error"), "{told}");
    assert_eq!(calls(&seen, "syncfs"), 0, "no other is asked");
    assert!(calls(&seen, "fsync") >= 200, "{}", calls(&seen, "fsync"));
}

#[test]
fn a_damage_is_told_once_though_its_file_is_copied_twice() {
    if !can_trace() {
        return;
    }
    let (dir, from) = source();
    let mut segment = include_bytes!("golden/v1-raw.ttlog").to_vec();
    let middle = segment.len() / 2;
    segment[middle] ^= 0xff;
    for n in 1..=20 {
        let name = format!("app-20261121T100000Z-00000000deadbeef-{n}.ttlog");
        std::fs::write(from.join(name), &segment).unwrap();
    }
    let to = dir.path().join("to");
    let (_, told) = traced(&from, &to, &["-e", "inject=syncfs:error=EIO"]);
    assert_eq!(told.matches("damaged, and copied as it is").count(), 20, "{told}");
    assert!(told.contains("20 files copied") && told.contains("20 errors"), "{told}");
}

#[test]
fn new_directories_arrive_whole_also_where_the_sync_is_refused_or_what_is_cached_is_not_told() {
    if !can_trace() {
        return;
    }
    let (dir, from) = source();
    let path = |root: &Path, n: usize| root.join(format!("{}/inner/{n}", n % 10));
    for n in 0..FILES {
        std::fs::create_dir_all(path(&from, n).parent().unwrap()).unwrap();
        std::fs::write(path(&from, n), format!("file {n}")).unwrap();
    }
    std::fs::hard_link(path(&from, 250), from.join("9/inner/linked")).unwrap();
    let cases: [(&str, &[&str], usize); 3] = [
        ("together", &[], 1),
        ("alone", &["-e", "inject=syncfs:error=EIO"], 0),
        ("blind", &["-e", "inject=preadv2:error=EOPNOTSUPP"], 1),
    ];
    for (name, with, n_syncs) in cases {
        let to = dir.path().join(name);
        let (seen, told) = traced(&from, &to, with);
        assert!(told.contains("300 files copied") && !told.contains("error"), "{told}");
        assert!(told.contains("1 links") && told.contains("20 directories"), "{told}");
        for n in 0..FILES {
            assert_eq!(std::fs::read_to_string(path(&to, n)).unwrap(), format!("file {n}"));
        }
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        assert_eq!(inode(&path(&to, 250)), inode(&to.join("9/inner/linked")));
        assert_eq!(calls(&seen, "syncfs"), n_syncs, "{name}");
        // A name for each directory; what was met first is named one by one, as is what was lost.
        let few = calls(&seen, "rename") < 50;
        assert_eq!(few, n_syncs == 1, "{name}: {}", calls(&seen, "rename"));
    }
}

#[test]
fn a_new_directory_arrives_with_nothing_but_what_is_synced_alone() {
    for (io, len) in [("auto", 3 << 20), ("portable", 3 << 20), ("auto", 10), ("portable", 10)] {
        let (dir, from) = source();
        std::fs::create_dir_all(from.join("a/empty")).unwrap();
        std::fs::write(from.join("a/file"), vec![7; len]).unwrap();
        let to = dir.path().join("to");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
        command.args(["archive", "--all", "--io", io]).arg(&from).arg(&to);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("1 files copied"), "{told}");
        assert_eq!(std::fs::read(to.join("a/file")).unwrap(), vec![7; len], "{io}");
        assert!(to.join("a/empty").is_dir());
    }
}
