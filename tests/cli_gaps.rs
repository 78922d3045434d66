//! `ttlog gaps`: when, how long, who, how many and why.

#![cfg(feature = "cli")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Lane, Writer};
use ttlog::record::{Cause, Level, Losses};

fn gaps(args: &[&str], path: &Path) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.arg("gaps").args(args).arg(path).env_remove("TTLOG_DIR").stdin(Stdio::null());
    let output = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A thread that loses events of two levels and causes between its second and its third event, and
/// another that loses nothing.
fn sample(dir: &Path) {
    let mut lane = Lane::new(0, "worker-1");
    for n in 0..4 {
        lane.number(n * 1_000_000_000, n);
    }
    let mut other = Lane::new(1, "");
    (0..4).for_each(|n| other.request(n * 1_000_000_000 + 7, "a message", n));
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 1204);
    losses.add(Cause::Full, Level::Debug, 3);
    losses.add(Cause::Evicted, Level::Trace, 9);
    let mut alone = lane.clone().losing(losses).run(2, 2);
    alone.bytes.clear();
    let late = lane.clone().losing(losses).run(2, 4);
    Writer::new(1).write(dir, &[vec![lane.run(0, 2), alone, late, other.all()]]);
}

#[test]
fn a_gap_is_a_row_for_each_cause() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (out, err, code) = gaps(&["--utc"], dir.path());
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["FROM", "SECONDS", "LOST", "CAUSE", "LEVELS", "PROCESS/THREAD"]);
    let from = "2026-11-21T10:00:01.000000000Z";
    let full = [from, "1.000000", "1207", "full", "INFO", "1204,", "DEBUG", "3"];
    assert_eq!(rows[1], [&full[..], &["4242/100", "worker-1"]].concat());
    let evicted = [from, "1.000000", "9", "evicted", "TRACE", "9", "4242/100", "worker-1"];
    assert_eq!(rows[2], evicted);
    assert_eq!((rows.len(), err.as_str(), code), (3, "", Some(1)));
}

/// In containers every process may have the id 1, and its first thread too.
#[test]
fn events_of_another_process_with_the_same_ids_end_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (alone, ..) = gaps(&["--utc"], dir.path());
    let mut other = Lane::new(0, "worker-1");
    (0..40).for_each(|n| other.number(n * 100_000_000, n));
    Writer::new(2).write(dir.path(), &[vec![other.all()]]);
    assert_eq!(gaps(&["--utc"], dir.path()).0, alone);
}

#[test]
fn json_has_an_object_for_each_gap_and_cause() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (out, _, code) = gaps(&["-o", "json"], dir.path());
    let first = r#"{"from":"2026-11-21T10:00:01.000000000Z","to":"2026-11-21T10:00:02.000000000Z","seconds":1.000000000,"kind":"lost","lost":{"DEBUG":3,"INFO":1204},"cause":"full","thread":{"id":100,"name":"worker-1"},"pid":4242}"#;
    assert_eq!(out.lines().next(), Some(first));
    for line in out.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("strict JSON");
    }
    assert_eq!((out.lines().count(), code), (2, Some(1)));
}

#[test]
fn without_a_loss_there_is_no_row_and_the_exit_code_is_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    lane.number(0, 0);
    Writer::new(1).write(dir.path(), &[vec![lane.all()]]);
    let (out, err, code) = gaps(&[], dir.path());
    assert_eq!((out.as_str(), err.as_str(), code), ("", "ttlog: nothing was lost\n", Some(0)));
    let (_, err, code) = gaps(&["-S", "yesteryear"], dir.path());
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn times_bound_what_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (out, _, code) = gaps(&["-S", "2026-11-21T10:00:02.5Z"], dir.path());
    assert_eq!((out.as_str(), code), ("", Some(0)));
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "w\u{1b}[31m\n\u{202e}");
    lane.number(0, 0);
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 1);
    Writer::new(1).write(dir.path(), &[vec![lane.losing(losses).all()]]);
    for mode in ["text", "json"] {
        let (out, _, _) = gaps(&["-o", mode], dir.path());
        assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
        assert_eq!(out.lines().count(), if mode == "text" { 2 } else { 1 }, "{out:?}");
    }
}
