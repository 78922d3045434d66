//! Lanes that are gone: what they held is missed where it may be missing, and only there.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ttlog::Builder;

const LONG: Duration = Duration::from_secs(60);

/// Standard output and error of `ttlog PATH`, and its exit code.
fn cat(dir: &Path) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(["--utc", "--color", "never"]).arg(dir).env_remove("TTLOG_DIR");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect()
}

#[test]
fn lanes_that_are_gone_are_told_unless_their_logger_had_ended() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logger = Builder::new(dir.path()).build().unwrap();
    ttlog::info!(logger: &logger, "the last one");
    logger.flush(LONG).unwrap();
    let [owner, segment] = [".owner", ".ttlog"].map(|suffix| files(dir.path(), suffix).remove(0));
    // As a machine would keep it that went down: the segment has no end, and lanes are lost.
    for file in [&owner, &segment] {
        std::fs::copy(file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let text = std::fs::read(&owner).unwrap();
    logger.shutdown(LONG).unwrap();
    let (out, err, code) = cat(copy.path());
    assert!(out.contains("the last one"), "{out}");
    assert_eq!(code, Some(1));
    assert_eq!(err.lines().count(), 1, "{err}");
    let pid = format!("lanes of process {} in ", std::process::id());
    assert!(err.contains(&pid) && err.contains("cannot be read"), "{err}");

    // It was killed between the removal of its lanes and that of its owner file.
    std::fs::write(&owner, text).unwrap();
    let (out, err, code) = cat(dir.path());
    assert!(out.contains("the last one"), "{out}");
    assert_eq!(code, Some(0));
    assert_eq!(err, "", "everything had been written by then");
}

#[test]
fn lanes_of_who_was_killed_in_its_start_are_missed_by_nobody() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = Builder::new(copy.path()).build().unwrap();
    ttlog::info!(logger: &other, "another's");
    other.shutdown(LONG).unwrap();
    let logger = Builder::new(dir.path()).build().unwrap();
    let owner = files(dir.path(), ".owner").remove(0);
    std::fs::copy(&owner, copy.path().join(owner.file_name().unwrap())).unwrap();
    logger.shutdown(LONG).unwrap();
    let (out, err, code) = cat(copy.path());
    assert!(out.contains("another's"), "{out}");
    assert_eq!((&*err, code), ("", Some(0)), "nobody had logged to it");

    // One that got further may have had something to say.
    let socket = copy.path().join(owner.with_extension("sock").file_name().unwrap());
    std::fs::write(socket, "").unwrap();
    let (_, err, code) = cat(copy.path());
    assert!(err.contains("cannot be read") && code == Some(1), "{err}");
}
