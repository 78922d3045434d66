//! `ttlog spill`: lists, shows, verifies and takes up what a killed process spilled.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Lane, Writer};
use ttlog::record::{Cause, Level, Losses};

fn spill(verb: &str, path: &Path) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(["spill", verb]).arg(path).env_remove("TTLOG_DIR").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A segment with ten events, and a spill file with five others.
fn sample(dir: &Path) -> PathBuf {
    let mut lane = Lane::new(0, "main");
    (0..10).for_each(|n| lane.number(n * 1_000, n));
    (10..15).for_each(|n| lane.request(n * 1_000, "spilled", n));
    let mut writer = Writer::new(1);
    writer.write(dir, &[vec![lane.run(0, 10)]]);
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 3);
    let len = lane.len();
    let spilled = lane.losing(losses);
    assert_eq!(spilled.all().head.count as usize, len);
    let path = writer.write(dir, &[vec![spilled.run(10, len)]]);
    let spill = path.with_extension("ttspill");
    std::fs::rename(path, &spill).unwrap();
    spill
}

#[test]
fn files_are_listed_and_their_events_alone_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let (out, err, code) = spill("ls", dir.path());
    assert_eq!((out.lines().count(), err.as_str(), code), (1, "", Some(0)), "{out}");
    for part in [path.to_str().unwrap(), " 5 events", "whole", "WARN", "sample/4242"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (out, _, code) = spill("cat", dir.path());
    assert_eq!((out.lines().count(), code), (6, Some(0)), "{out}");
    assert_eq!(out.matches("spilled").count(), 5, "and a loss: {out}");
}

#[test]
fn damage_in_a_spill_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let (out, err, code) = spill("verify", dir.path());
    assert_eq!((out.as_str(), code), ("", Some(0)), "{err}");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1024 + 70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (out, _, code) = spill("verify", dir.path());
    assert!(code == Some(1) && out.contains("5 events lost"), "{out}");
}

#[test]
fn without_spill_files_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::remove_file(sample(dir.path())).unwrap();
    for verb in ["ls", "cat", "verify"] {
        let (out, err, code) = spill(verb, dir.path());
        assert_eq!((out.as_str(), err.as_str()), ("", "ttlog: no spill files\n"), "{verb}");
        assert_eq!(code, Some(0));
    }
    // What cannot be read is one line, without a second one that says nothing was there.
    for verb in ["ls", "cat", "verify"] {
        let (out, err, code) = spill(verb, &dir.path().join("missing"));
        assert_eq!((out.as_str(), err.lines().count(), code), ("", 1, Some(1)), "{verb}: {err}");
    }
    assert_eq!(spill("replay", Path::new("/nowhere")).2, Some(2));
}

#[test]
fn replay_takes_the_directory_that_is_meant_without_any() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    sample(&dir.path().join("logs"));
    let replay = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
        command.args(["spill", "replay"]).current_dir(&dir).env_remove("TTLOG_DIR");
        command.stdin(Stdio::null()).output().unwrap()
    };
    let output = replay();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("1 spill files stay"), "no owner file names it: {err}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    std::fs::remove_dir_all(dir.path().join("logs")).unwrap();
    let output = replay();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && err.contains("give a path"), "{err}");
}
