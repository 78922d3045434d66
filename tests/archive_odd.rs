//! `ttlog archive` of odd trees, and into targets in which something stands in the way.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use ttlog::archive::PART_DIR;

/// The longest path that Linux takes, and its end.
const PATH_MAX: usize = 4096;

/// A new directory with one for the source.
fn dirs() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    (dir, from, to)
}

fn archive(from: &Path, to: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(["archive", "--all"]).arg(from).arg(to);
    command
}

/// What a run tells, and its exit code.
fn run(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_path_of_any_length_that_the_system_takes_arrives() {
    const FILES: usize = 40;
    let (_dir, from, to) = dirs();
    // A short first name, so that it lies deeper among the parts than by its name.
    let mut deep = PathBuf::from("a");
    let room = PATH_MAX - 1 - from.as_os_str().len().max(to.as_os_str().len()) - "/".len();
    while deep.as_os_str().len() + "/f00".len() + 2 <= room {
        let len = room - deep.as_os_str().len() - "/f00".len() - 1;
        deep.push("d".repeat(len.min(100)));
    }
    std::fs::create_dir_all(from.join(&deep)).unwrap();
    for n in 10..10 + FILES {
        std::fs::write(from.join(&deep).join(format!("f{n}")), format!("{n}")).unwrap();
    }
    let (err, code) = run(&mut archive(&from, &to));
    assert!(code == Some(0) && err.contains("40 files copied"), "{}", err.len());
    for n in 10..10 + FILES {
        let copy = std::fs::read_to_string(to.join(&deep).join(format!("f{n}")));
        assert_eq!(copy.unwrap(), format!("{n}"));
    }
    assert!(!to.join(PART_DIR).exists());
}

#[test]
fn a_run_that_was_killed_is_gone_on_with_however_deep_it_was() {
    const LEVELS: usize = 200;
    const DESCRIPTORS: u64 = 128;
    let (_dir, from, to) = dirs();
    let deep = PathBuf::from_iter(std::iter::repeat_n("d", LEVELS));
    std::fs::create_dir_all(from.join(&deep)).unwrap();
    std::fs::write(from.join(&deep).join("file"), "deep").unwrap();
    let mut killed = archive(&from, &to);
    let killed = killed.env("TTLOG_CRASH_AT", "archive.directory:1").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9));
    // What a shell gives at first, rather than what the system allows.
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -S -n {DESCRIPTORS}; exec \"$@\"")).arg("sh");
    limited.arg(env!("CARGO_BIN_EXE_ttlog")).args(["archive", "--all"]).arg(&from).arg(&to);
    let (err, code) = run(&mut limited);
    assert!(code == Some(0) && err.contains("1 files copied"), "{err}");
    assert_eq!(std::fs::read_to_string(to.join(&deep).join("file")).unwrap(), "deep");
}

#[test]
fn a_link_where_a_directory_goes_is_told_and_what_it_leads_to_is_left_alone() {
    let (dir, from, to) = dirs();
    let theirs = dir.path().join("theirs");
    for made in [&from.join("there"), &from.join("a/b"), &from.join("rest"), &to, &theirs] {
        std::fs::create_dir_all(made).unwrap();
    }
    for n in 0..40 {
        for place in ["there", "a/b", "rest"] {
            std::fs::write(from.join(place).join(format!("{n}")), "new").unwrap();
        }
    }
    set_mode(&theirs, 0o700);
    symlink(&theirs, to.join("there")).unwrap();
    std::fs::write(to.join("a"), "a file").unwrap();
    let (err, code) = run(&mut archive(&from, &to));
    assert!(code == Some(1) && err.contains("there is no directory"), "{err}");
    assert!(err.contains("a is no directory") && err.contains("2 errors"), "{err}");
    assert!(err.contains("40 files copied"), "{err}");
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 0, "nothing is followed");
    assert_eq!(mode(&theirs), 0o700);
    assert_eq!(std::fs::read_to_string(to.join("a")).unwrap(), "a file");
    assert_eq!(std::fs::read_dir(to.join("rest")).unwrap().count(), 40);
}

#[test]
fn a_tree_whose_root_is_read_only_is_gone_on_with() {
    let (dir, from, to) = dirs();
    std::fs::write(from.join("first"), "1").unwrap();
    std::fs::write(from.join("second"), "2").unwrap();
    std::fs::create_dir(&to).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    // Nobody of root's rights is kept out of a directory.
    let run_as_any = || {
        let mut command = archive(&from, &to);
        if is_root {
            command.uid(65534).gid(65534);
        }
        run(&mut command)
    };
    if is_root {
        set_mode(dir.path(), 0o755);
        for path in [&from, &to, &from.join("first"), &from.join("second")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    set_mode(&from, 0o555);
    assert_eq!(run_as_any().1, Some(0));
    assert_eq!(mode(&to), 0o555);
    std::fs::write(from.join("second"), "changed").unwrap();
    let (err, code) = run_as_any();
    assert!(code == Some(0) && err.contains("1 files copied"), "{err}");
    assert_eq!((mode(&to), to.join(PART_DIR).exists()), (0o555, false));
    set_mode(&from, 0o755);
    set_mode(&to, 0o755);
}

#[test]
fn a_run_that_gets_the_lock_of_a_directory_that_is_gone_leaves_the_next_ones_alone() {
    let (dir, from, to) = dirs();
    if !Command::new("strace").args(["-o/dev/null", "true"]).status().is_ok_and(|s| s.success()) {
        return;
    }
    std::fs::write(from.join("file"), "it").unwrap();
    let parts = to.join(PART_DIR);
    std::fs::create_dir_all(&parts).unwrap();
    let old = rustix::fs::open(&parts, OFlags::DIRECTORY, Mode::empty()).unwrap();
    // It stops behind opening the directory of parts.
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=flock", "-e", "inject=flock:delay_enter=2000000:when=1"]);
    command.arg("-o").arg(&trace).arg(env!("CARGO_BIN_EXE_ttlog"));
    let late = command.args(["archive", "--all"]).arg(&from).arg(&to);
    let late = late.stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !std::fs::read_to_string(&trace).is_ok_and(|text| text.contains("flock")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Meanwhile who had it ends, and another one begins.
    std::fs::remove_dir(&parts).unwrap();
    std::fs::create_dir(&parts).unwrap();
    let held = rustix::fs::open(&parts, OFlags::DIRECTORY, Mode::empty()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::fs::write(parts.join("1"), "a part of another run").unwrap();
    let output = late.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(parts.join("1").exists(), "{err}");
    assert!(err.contains("another run") && output.status.code() == Some(1), "{err}");
    drop(old);
}
