//! `ttlog cat`: what it shows, in which order, and how it ends.

#![cfg(feature = "cli")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Lane, Writer};
use ttlog::record::{Cause, Level, Losses};

fn ttlog(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).env_remove("TTLOG_DIR").env("TZ", "UTC").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (String, String, Option<i32>) {
    split(ttlog(args).output().expect("the command starts"))
}

fn split(output: Output) -> (String, String, Option<i32>) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// Ten numbers a microsecond apart, then ten requests.
fn sample(dir: &Path) {
    let mut lane = Lane::new(0, "main");
    for n in 0..10 {
        lane.number(n * 1_000, n);
    }
    for n in 10..20 {
        lane.request(n * 1_000, "request Done", n);
    }
    Writer::new(1).write(dir, &[vec![lane.all()]]);
}

#[test]
fn shows_events_in_every_mode() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap();
    let (out, err, code) = output(&[path]);
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert_eq!(out.lines().count(), 20);
    assert_eq!(out.lines().next(), Some("2026-11-21 10:00:00.000000 INFO  app::db: n=0"));
    let (same, _, _) = output(&["cat", path]);
    assert_eq!(same, out);
    let (iso, _, _) = output(&["-o", "short-iso", "--utc", "-n", "1", path]);
    assert_eq!(iso, "2026-11-21T10:00:00.000019000Z WARN  app::http: request Done user.id=19\n");
    let (json, _, _) = output(&["-o", "json", path]);
    for line in json.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(
        json.lines().last(),
        Some(concat!(
            r#"{"time":"2026-11-21T10:00:00.000019000Z","level":"WARN","target":"app::http","#,
            r#""message":"request Done","fields":{"user.id":19},"thread":{"id":100,"name":"main"},"#,
            r#""pid":4242,"file":"src/db.rs","line":17}"#
        ))
    );
    let (logfmt, _, _) = output(&["-o", "logfmt", "-n", "1", path]);
    assert!(logfmt.starts_with("time=2026-11-21T10:00:00.000019000Z level=warn "), "{logfmt}");
    let (verbose, _, _) = output(&["-o", "verbose", "-n", "1", path]);
    assert!(verbose.ends_with("| thread=main/100 pid=4242 at=src/db.rs:17\n"), "{verbose}");
}

#[test]
fn times_are_shown_in_the_local_zone() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap();
    let out = ttlog(&["-n", "1", "-o", "short-iso", path]).env("TZ", "<+0530>-5:30").output();
    assert!(split(out.unwrap()).0.starts_with("2026-11-21T15:30:00.000019000+05:30"));
    let out = ttlog(&["-n", "1", "--utc", path]).env("TZ", "<+0530>-5:30").output();
    assert!(split(out.unwrap()).0.starts_with("2026-11-21 10:00:00.000019"));
}

#[test]
fn takes_lines_from_either_end() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap();
    let (all, _, _) = output(&[path]);
    let all: Vec<&str> = all.lines().collect();
    let lines = |args: &[&str]| {
        let args = [args, &[path]].concat();
        output(&args).0.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&["-n", "3"]), all[17..]);
    assert_eq!(lines(&["-n", "+3"]), all[..3]);
    assert_eq!(lines(&["-n", "99"]), all);
    assert_eq!(lines(&["-n", "0"]), [""; 0]);
    let reversed: Vec<&str> = all.iter().rev().copied().collect();
    assert_eq!(lines(&["-r"]), reversed);
    assert_eq!(lines(&["-r", "-n", "3"]), reversed[..3]);
    assert_eq!(lines(&["-r", "-n", "+3"]), reversed[17..]);
}

#[test]
fn filters_by_level_target_text_and_time() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap();
    let count = |args: &[&str]| output(&[args, &[path]].concat()).0.lines().count();
    assert_eq!(count(&["-l", "warn"]), 10);
    assert_eq!(count(&["-p", "=info"]), 10);
    assert_eq!(count(&["-l", "trace..info"]), 10);
    assert_eq!(count(&["-l", "error"]), 0);
    assert_eq!(count(&["-t", "app::d*"]), 10);
    assert_eq!(count(&["-t", "app::db", "-t", "app::http"]), 20);
    assert_eq!(count(&["-g", "done"]), 10);
    assert_eq!(count(&["-g", "DONE"]), 0);
    assert_eq!(count(&["-g", "DONE", "-i"]), 10);
    assert_eq!(count(&["-g", "done", "-v"]), 10);
    assert_eq!(count(&["-g", "user.id=1[0-4]"]), 5);
    assert_eq!(count(&["-S", "2026-11-21T10:00:00.000005Z"]), 15);
    assert_eq!(count(&["-U", "2026-11-21T10:00:00.000005Z"]), 5);
    assert_eq!(count(&["-U", "@1795255200"]), 0);
    assert_eq!(count(&["-S", "2026-11-21 10:00", "-U", "2026-11-21 10:01"]), 20);
}

#[test]
fn tells_losses_where_they_happened() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    lane.number(1_000, 1);
    lane.number(2_000, 2);
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 1_204);
    let lost = lane.clone().losing(losses);
    Writer::new(1).write(dir.path(), &[vec![lane.run(0, 1)], vec![lost.run(1, 2)]]);
    let (json, _, code) = output(&["-o", "json", dir.path().to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(
        json.lines().nth(1),
        Some(concat!(
            r#"{"time":"2026-11-21T10:00:00.000002000Z","kind":"lost","lost":{"INFO":1204},"#,
            r#""cause":"full","thread":{"id":100,"name":"main"},"pid":4242}"#
        ))
    );
}

#[test]
fn exit_codes_are_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap();
    let code = |args: &[&str]| output(args).2;
    assert_eq!(code(&["-g", "nothing", path]), Some(0));
    assert_eq!(code(&["-g", "nothing", "--exit-status", path]), Some(3));
    assert_eq!(code(&["-l", "warn", "--exit-status", path]), Some(0));
    for usage in [
        &["-S", "soon", path][..],
        &["-l", "loud", path],
        &["-n", "-5", path],
        &["-g", "(", path],
        &["-i", path],
        &["--no-such-flag"],
    ] {
        let (out, err, code) = output(usage);
        assert_eq!((out.as_str(), code), ("", Some(2)), "{usage:?} {err}");
    }
    assert!(output(&["-S", "soon", path]).1.contains("examples"));
    let (_, err, code) = output(&["/no/such/path"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("/no/such/path") && err.lines().count() == 1, "{err}");
}

#[test]
fn the_default_path_is_where_logs_are() {
    let dir = tempfile::tempdir().unwrap();
    let run = |dir: &Path, env: Option<&Path>| {
        let mut command = ttlog(&[]);
        env.map(|path| command.env("TTLOG_DIR", path));
        split(command.current_dir(dir).output().unwrap())
    };
    let (_, err, code) = run(dir.path(), None);
    assert_eq!(code, Some(2));
    assert!(err.contains("ttlog /var/log/app"), "{err}");
    sample(dir.path());
    assert_eq!(run(dir.path(), None).0.lines().count(), 20);
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut lane = Lane::new(0, "");
    lane.number(0, 0);
    Writer::new(2).write(&logs, &[vec![lane.all()]]);
    assert_eq!(run(dir.path(), None).0.lines().count(), 1);
    assert_eq!(run(&logs, Some(dir.path())).0.lines().count(), 20);
}

#[test]
fn a_closed_pipe_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    (0..50_000).for_each(|n| lane.number(n * 1_000, n));
    Writer::new(1).write(dir.path(), &[vec![lane.all()]]);
    for args in [&[][..], &["-n", "40000"], &["-r"]] {
        let mut command = ttlog(args);
        command.arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stderr, b"");
    }
}

#[test]
fn colours_follow_flag_and_environment() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = ttlog(args);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(env.iter().copied());
        split(command.arg(dir.path()).output().unwrap()).0.contains('\x1b')
    };
    assert!(!coloured(&[], &[]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&["--color", "always", "-o", "json"], &[]));
}

#[test]
fn hostile_text_and_names_do_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "a\x1b]0;x\x07");
    lane.request(0, "two\nlines\u{202e}\x1b[31m", 1);
    Writer::new(1).write(dir.path(), &[vec![lane.all()]]);
    let bad = dir.path().join("evil\x1b[2J\n.ttlog");
    std::fs::write(&bad, "garbage").unwrap();
    for mode in ["short", "short-iso", "verbose", "json", "logfmt"] {
        let (out, err, code) = output(&["-o", mode, dir.path().to_str().unwrap()]);
        let hidden = |c: char| c != '\n' && ttlog::render::escape::is_hidden(c);
        assert!(!out.contains(hidden) && !err.contains(hidden), "{out} {err}");
        assert_eq!((out.lines().count(), err.lines().count(), code), (1, 1, Some(1)));
    }
}

#[test]
fn a_segment_is_read_from_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    lane.number(0, 77);
    let path = Writer::new(1).write(dir.path(), &[vec![lane.all()]]);
    let input = std::fs::File::open(&path).unwrap();
    let (out, _, code) = split(ttlog(&["-"]).stdin(input).output().unwrap());
    assert_eq!((out.contains("n=77"), code), (true, Some(0)));
    for (verb, part) in [("info", ""), ("verify", "no damage"), ("cat", "")] {
        let input = std::fs::File::open(&path).unwrap();
        let (out, err, code) = split(ttlog(&[verb, "-"]).stdin(input).output().unwrap());
        assert!(code == Some(0) && err.contains(part), "{verb}: {err}");
        assert!(!out.contains("/proc") && !err.contains("/proc"), "{verb}: {out}{err}");
    }
    let (_, err, code) = output(&["-"]);
    assert!(err.contains("standard input: the file is empty") && code == Some(1), "{err}");
}

#[test]
fn following_shows_what_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "main");
    (0..20).for_each(|n| lane.number(n * 1_000, n));
    let mut writer = Writer::new(1);
    writer.write(dir.path(), &[vec![lane.run(0, 15)]]);
    let mut child =
        ttlog(&["-f", "-n", "2"]).arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("n=13"));
    assert!(next().ends_with("n=14"));
    let path = writer.write(dir.path(), &[vec![lane.run(15, 18)]]);
    for n in 15..18 {
        assert!(next().ends_with(&format!("n={n}")));
    }
    // A segment that grows.
    std::fs::remove_file(path).unwrap();
    let whole = writer.bytes(&[vec![lane.run(18, 19)], vec![lane.run(19, 20)]], false);
    let blocks = (0..whole.len()).step_by(64).filter(|at| whole[*at..].starts_with(b"TTLB"));
    let second = blocks.collect::<Vec<_>>()[1];
    let path = dir.path().join("grows.ttlog");
    std::fs::write(&path, &whole[..second]).unwrap();
    assert!(next().ends_with("n=18"));
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(&whole[second..]).unwrap();
    assert!(next().ends_with("n=19"));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn following_ends_when_nobody_reads_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let mut child = ttlog(&["-f"]).arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut String::new()).unwrap();
    // Nothing is logged any more, so that no write could tell.
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_has_no_target_begins_where_targets_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = ttlog(&["record"]).arg(dir.path()).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"{\"level\":\"error\",\"msg\":\"boom\",\"n\":1}\n")
        .unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    let (out, _, code) = output(&[dir.path().to_str().unwrap()]);
    assert_eq!((&out[26..], code), (" ERROR boom n=1\n", Some(0)), "{out}");
}

#[test]
fn a_window_that_holds_no_time_is_a_wrong_command_line() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    for verb in ["cat", "gaps", "spans"] {
        let args = [verb, "-S", "-5m", "-U", "-10m", dir.path().to_str().unwrap()];
        let (out, err, code) = output(&args);
        assert_eq!((out.as_str(), err.lines().count(), code), ("", 1, Some(2)), "{verb}: {err}");
        assert!(err.contains("--since is not before --until"), "{verb}: {err}");
    }
}

#[test]
fn a_name_that_could_be_a_verb_s_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    for (name, is_told) in [("verfy", true), ("./verfy", false), ("logs/today", false)] {
        let output = ttlog(&[name]).current_dir(&dir).output().unwrap();
        let (_, err, code) = split(output);
        assert_eq!((err.lines().count(), code), (1, Some(1)), "{err}");
        assert_eq!(err.contains("`ttlog help` lists"), is_told, "{err}");
    }
}

/// A dead logger's place with lanes of 64 MiB each, all of it records.
fn huge_place(dir: &Path, n_lanes: u64) {
    use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
    const LOGGER: u64 = 0xfeed;
    let place = dir.join(format!("ttlog-0-{LOGGER:016x}"));
    std::fs::DirBuilder::new().mode(0o700).create(&place).expect("a file of the test");
    for n in 1..=n_lanes {
        let lane =
            std::fs::File::create(place.join(format!("lane-{n}"))).expect("a file of the test");
        lane.set_len(4096 + (64 << 20)).expect("a file of the test");
        let magic = u64::from_le_bytes(*b"TTLGLANE");
        let header = [(0, magic), (1, 1 | 4096 << 32), (2, LOGGER), (3, n), (4, 64 << 20), (5, n)];
        for (at, word) in header.into_iter().chain([(16, 64 << 20)]) {
            lane.write_all_at(&u64::to_le_bytes(word), at * 8).expect("a file of the test");
        }
    }
    for name in ["callsites", "anchors"] {
        std::fs::File::create(place.join(name))
            .expect("a file of the test")
            .set_len(4096)
            .expect("a file of the test");
    }
    std::fs::write(place.join("callsites"), "").expect("a file of the test");
    let boot =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a file of the test");
    let found = place.metadata().expect("a file of the test");
    let owner = format!(
        "ttlog owner 1\nlogger={LOGGER:016x}\napp=huge\nversion=1\nboot={}\nclock=1\nmount=1\n\
         pid=1\nstart=0\nlog={}\nlanes={}\ndevice={}\ninode={}\n",
        boot.trim().replace('-', ""),
        dir.display(),
        place.display(),
        found.dev(),
        found.ino(),
    );
    std::fs::write(dir.join(format!("{LOGGER:016x}.owner")), owner).expect("a file of the test");
}

#[test]
fn a_place_larger_than_the_reader_s_memory_is_read_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    huge_place(dir.path(), 3);
    let mut child = ttlog(&[dir.path().to_str().unwrap()]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut most_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        most_kib = most_kib.max(kib.unwrap_or(0_u64));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let (out, err, code) = split(child.wait_with_output().unwrap());
    // Records of a callsite that nobody defined: damage that is told, all of it.
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    assert!(err.contains("not defined"), "{err}");
    assert!((1..64 << 10).contains(&most_kib), "{most_kib} KiB for 192 MiB of lanes");
}
