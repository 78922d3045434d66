//! `ttlog info` and `ttlog verify`, and what the command says of files that it cannot read.

#![cfg(feature = "cli")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Lane, Writer};
use ttlog::record::{Cause, Level, Losses};

fn run(args: &[&str], paths: &[&Path]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).args(paths).env_remove("TTLOG_DIR").stdin(Stdio::null());
    let output = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn lane(len: u64) -> Lane {
    let mut lane = Lane::new(0, "main");
    (0..len).for_each(|n| lane.number(n * 1_000, n));
    lane
}

#[test]
fn a_sound_directory_verifies() {
    let dir = tempfile::tempdir().unwrap();
    Writer::new(1).write(dir.path(), &[vec![lane(100).all()]]);
    let (out, err, code) = run(&["verify"], &[dir.path()]);
    assert_eq!((out.as_str(), code), ("", Some(0)));
    assert!(err.contains("no damage"));
}

/// A segment of three blocks of a hundred events, and where the second begins, which is damaged.
fn damaged(dir: &Path) -> (PathBuf, usize) {
    let lane = lane(300);
    let mut writer = Writer::new(1);
    let blocks = [vec![lane.run(0, 100)], vec![lane.run(100, 200)], vec![lane.run(200, 300)]];
    let path = writer.write(dir, &blocks);
    let mut bytes = std::fs::read(&path).expect("the segment");
    let block = (1024..bytes.len()).step_by(64).filter(|at| bytes[*at..].starts_with(b"TTLB"));
    let second = block.collect::<Vec<_>>()[1];
    bytes[second + 70] ^= 4;
    std::fs::write(&path, &bytes).expect("room");
    (path, second)
}

#[test]
fn damage_is_a_line_with_file_offset_reason_and_cost() {
    let dir = tempfile::tempdir().unwrap();
    let (path, second) = damaged(dir.path());
    let (out, _, code) = run(&["verify"], &[dir.path()]);
    assert_eq!((out.lines().count(), code), (1, Some(1)), "{out}");
    for part in [path.to_str().unwrap(), &format!("offset {second}"), "100 events lost"] {
        assert!(out.contains(part), "{out}");
    }
    let (out, err, code) = run(&[], &[dir.path()]);
    assert_eq!((out.lines().count(), err.lines().count(), code), (200, 1, Some(1)), "{err}");
    let (out, _, code) = run(&["info"], &[dir.path()]);
    assert_eq!(code, Some(1));
    assert!(out.contains("damage"), "{out}");
}

#[test]
fn what_is_whole_in_a_damaged_file_is_recovered() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, second) = damaged(dir.path());
    let before = std::fs::read(&path).unwrap();
    let fixed = other.path().join("fixed.ttl");
    let (out, err, code) = run(&["recover"], &[&path, "-O".as_ref(), &fixed]);
    assert_eq!((out.lines().count(), code), (1, Some(1)), "{out}{err}");
    for part in [path.to_str().unwrap(), &format!("offset {second}"), "100 events lost"] {
        assert!(out.contains(part), "{out}");
    }
    let sum = "200 events in 2 whole blocks; 1 damaged places, which cost 100 events";
    assert!(err.contains(fixed.to_str().unwrap()) && err.contains(sum), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "it is only read");
    let (out, err, code) =
        run(&["recover"], &[dir.path(), "-O".as_ref(), &other.path().join("new.ttl")]);
    assert_eq!((out.as_str(), err.lines().count(), code), ("", 1, Some(2)), "{err}");
    assert!(err.contains("is a directory") && err.contains("leave -O out"), "{err}");

    // Nothing is wrong in it, and it goes on telling what is missing.
    let (out, _, code) = run(&["verify"], &[&fixed]);
    assert!(out.contains("missing by their numbers; 100 events lost"), "{out}");
    assert_eq!((out.lines().count(), code), (1, Some(1)), "{out}");
    assert_eq!(run(&["-o", "json"], &[&fixed]).0, run(&["-o", "json"], &[&path]).0);
    let (_, err, code) = run(&["recover"], &[&fixed, "-O".as_ref(), &other.path().join("again")]);
    assert!(code == Some(0) && err.contains("no damage"), "{err}");

    let refused = |args: &[&Path], with: i32, parts: &[&str]| {
        let (out, err, code) = run(&["recover"], args);
        assert_eq!((out.as_str(), code), ("", Some(with)), "{err}");
        parts.iter().for_each(|part| assert!(err.contains(part), "{part} in {err}"));
        assert_eq!(err.lines().count(), 1, "{err}");
    };
    let kept = fixed.to_str().unwrap();
    refused(&[&path, "-O".as_ref(), &fixed], 1, &[kept, "already", "a new file"]);
    refused(&[&path], 1, &[path.to_str().unwrap(), "-O NEW"]);
    refused(&[&path, &path, "-O".as_ref(), &fixed], 2, &["one file"]);
    let garbage = other.path().join("garbage");
    std::fs::write(&garbage, "no segment").unwrap();
    refused(
        &[&garbage, "-O".as_ref(), &dir.path().join("new")],
        1,
        &["garbage", "not a ttlog file"],
    );
}

#[test]
fn info_tells_what_a_segment_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 5);
    let mut lane = lane(99).losing(losses);
    lane.request(99_000, "done", 1);
    let path = Writer::new(255).write(dir.path(), &[vec![lane.all()]]);
    let (out, err, code) = run(&["info"], &[&path]);
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert!(out.starts_with(path.to_str().unwrap()));
    for part in [
        "sample 1",
        "4242 of user 0 on here",
        "00000000000000ff, segment 1, sealed",
        "100 (INFO WARN)",
        "callsites  2",
        "lost       5",
        "2026-11-21T10:00:00.000000000Z to 2026-11-21T10:00:00.000099000Z",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
}

#[test]
fn bad_input_is_one_clear_line_and_the_rest_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let good = Writer::new(1).write(dir.path(), &[vec![lane(3).all()]]);
    let whole = std::fs::read(&good).unwrap();
    let bad = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = bad.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut newer = whole.clone();
    newer[8] = 99;
    newer[512 + 8] = 99;
    let fifo = bad.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let empty_dir = bad.path().join("dir");
    std::fs::create_dir(&empty_dir).unwrap();
    let cases = [
        bad.path().join("missing"),
        file("empty.ttlog", b""),
        file("garbage.ttlog", &[0xa5; 5_000]),
        file("short.ttlog", &whole[..100]),
        file("foreign.ttlog", b"{\"level\":\"info\"}\n"),
        file("newer.ttlog", &newer),
        fifo,
        empty_dir,
        "/dev/zero".into(),
        "/proc/self/environ".into(),
    ];
    for path in &cases {
        let (out, err, code) = run(&[], &[path, &good]);
        assert_eq!((out.lines().count(), err.lines().count(), code), (3, 1, Some(1)), "{err}");
        assert!(err.starts_with("ttlog: ") && err.contains(path.to_str().unwrap()), "{err}");
    }
    let cut = file("cut.ttlog", &whole[..1024 + 64 + 10]);
    let (out, err, code) = run(&[], &[&cut]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(err.contains("the file ends inside a block; 3 events lost"), "{err}");
}

#[test]
fn any_flipped_bit_is_found_and_costs_no_more_than_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let lane = lane(30);
    let blocks = [vec![lane.run(0, 10)], vec![lane.run(10, 20)], vec![lane.run(20, 30)]];
    let path = Writer::new(1).write(dir.path(), &blocks);
    let bytes = std::fs::read(&path).unwrap();
    use ttlog::view::{Item, Query, Source};
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let source = Source::open(&path).unwrap();
        let (mut damages, mut events) = (0, 0);
        for item in source.query(&Query::new()) {
            match item {
                Ok(Item::Record(_)) => events += 1,
                Ok(Item::Damage(_)) => damages += 1,
                other => panic!("byte {at}: {other:?}"),
            }
        }
        assert!(damages > 0 && events >= 20, "byte {at}: {damages} damages, {events} events");
        assert!(source.verify().count() > 0, "byte {at}");
    }
}
