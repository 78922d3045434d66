//! Console: what is shown beside the log, in which order and colour, and that nobody waits for it.
#![expect(clippy::print_stdout, reason = "a rig that was not run says why")]

mod rig;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::read::read_back;
use rig::{Rig, outcome};

/// Runs a program that logs with a console; its outputs, and how many events the log has.
fn shown(args: &str, env: &[(&str, &str)]) -> (String, String, usize) {
    let mut rig = Rig::new();
    let (mut command, _) = rig.command(&format!("do=life how=console {args}"));
    command.env("TZ", "UTC-3").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.envs(env.iter().copied());
    let outcome = outcome(command);
    assert!(outcome.status.success(), "{outcome:?}");
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0], "{args}");
    (outcome.stdout, outcome.stderr, read.events.len() + read.others.len())
}

#[test]
fn events_are_lines_of_text_in_local_time_and_nothing_drives_the_terminal() {
    for (to, other) in [("stderr", "stdout"), ("stdout", "stderr")] {
        let (stdout, stderr, in_log) = shown(&format!("to={to} events=1"), &[]);
        let (out, silent) = if to == "stdout" { (stdout, stderr) } else { (stderr, stdout) };
        assert_eq!(silent.lines().filter(|line| line.contains("INFO")).count(), 0, "{other}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((lines.len(), in_log), (4, 4), "{out}");
        let behind = |line: &str| line["2026-11-21 10:00:00.123456 ".len()..].to_owned();
        assert_eq!(behind(lines[0]), "INFO  app::db: connected in 5 ms user.id=42 ok=true");
        assert!(
            behind(lines[1]).starts_with("WARN  rig_child::child::life: two\\nlines\\u{1b}[31m")
        );
        assert!(behind(lines[2]).starts_with("ERROR rig_child"), "{}", lines[2]);
        assert!(!out.contains('\x1b'), "no colour where it is no terminal: {out:?}");
        // Three hours ahead of UTC, which the child told.
        let hour = |text: &str| text[11..13].parse::<u32>().expect("an hour");
        let utc = out.lines().last().expect("a line").split("utc=").nth(1).expect("the hour");
        let utc: u32 = utc.trim().parse().expect("an hour");
        let ahead = (hour(lines[3]) + 24 - utc) % 24;
        assert!(ahead == 3 || ahead == 4, "{out}");
    }
    let (stdout, stderr, in_log) = shown("to=off events=1", &[]);
    assert!(!stdout.contains("connected") && !stderr.contains("connected"), "{stdout}{stderr}");
    assert_eq!(in_log, 4);
}

#[test]
fn events_are_shown_in_their_spans_as_these_were_known_then() {
    let (_, stderr, in_log) = shown("to=stderr spans=1", &[]);
    let behind_the_target =
        |line: &str| line.split_once("life: ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let lines: Vec<_> = stderr.lines().map(behind_the_target).collect();
    let expected = ["request{id=7}: begun", "request{id=7 status=200}:query: elsewhere", "outside"];
    assert_eq!((lines, in_log), (expected.map(str::to_owned).to_vec(), 3), "{stderr}");
}

#[test]
fn colours_follow_the_environment() {
    let coloured = |env: &[(&str, &str)]| shown("to=stderr events=1", env).1.contains('\x1b');
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "0")]));
    assert!(coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]));
}

#[test]
fn a_terminal_gets_colours_unless_it_is_dumb() {
    if Command::new("script").arg("--version").output().is_err() {
        return rig::not_run("`script` is not installed");
    }
    for (term, coloured) in [("xterm", true), ("dumb", false)] {
        let mut rig = Rig::new();
        let (command, _) = rig.command("do=life how=console to=stderr events=1");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        let line = format!("{} {}", command.get_program().to_string_lossy(), args.join(" "));
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", term)
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::null())
            .output()
            .expect("script");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("connected in 5 ms"), "{text}");
        assert_eq!(text.contains("\x1b[32mINFO"), coloured, "{term}: {text:?}");
    }
}

#[test]
fn threads_are_shown_in_the_order_of_time_and_every_event_once() {
    let (_, stderr, in_log) = shown("to=stderr threads=4 events=200 pause=1", &[]);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!((lines.len(), in_log), (800, 800));
    // What was logged while the scribe looked at the lanes may stand a little late.
    let late = lines.windows(2).filter(|pair| pair[1][..26] < pair[0][..26]).count();
    assert!(late < 80, "{late} lines stand behind later ones");
    for t in 0..4 {
        let of = format!(" t={t} ");
        let n = lines.iter().filter(|line| line.contains(&of)).count();
        assert_eq!(n, 200);
    }
}

#[test]
fn nobody_waits_for_a_terminal_that_blocks() {
    let mut rig = Rig::new();
    let (mut command, run) = rig.command("do=life how=console to=stdout threads=2 events=100000");
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    // Nobody reads its output while it logs, flushes and ends its logger: it says so on its exit.
    let status = child.wait().expect("it ends");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    assert!(status.success(), "{status:?}");
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    assert_eq!((read.events.len(), read.lost_total()), (200_000, 0), "run {run}");
    assert!(text.lines().count() < 200_000, "the pipe holds less");
}

#[test]
fn what_is_left_out_is_said() {
    let mut rig = Rig::new();
    let (mut command, _) =
        rig.command("do=life how=console to=stdout wait=1 threads=2 events=100000");
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let out = child.stdout.take().expect("piped");
    // A reader that is slow at first, so that more may gather than may wait.
    std::thread::sleep(Duration::from_millis(300));
    let skipped = |line: &str| -> Option<usize> {
        line.strip_prefix("ttlog: ")?.split_once(" events are not shown here")?.0.parse().ok()
    };
    let (mut n_shown, mut left_out) = (0, 0);
    for line in BufReader::new(out).lines() {
        let line = line.expect("text");
        left_out += skipped(&line).unwrap_or(0);
        n_shown += usize::from(line.contains("INFO"));
        if n_shown + left_out == 200_000 {
            drop(child.stdin.take());
        }
    }
    assert!(child.wait().expect("it ends").success());
    assert_eq!(n_shown + left_out, 200_000, "{n_shown} shown");
}
