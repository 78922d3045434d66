//! R24, R33 and R39: files of a living directory, their modes, and several writers of it.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rig::read::read_back;
use rig::{Rig, Running, by_thread, compare, not_run, wait_until};

const LIVE_ROUNDS: u64 = if cfg!(debug_assertions) { 10 } else { 40 };

#[test]
fn r24_a_living_directory_is_never_called_damaged_and_shows_each_event_once() {
    let mut rig = Rig::new();
    // Segments of 256 KiB roll some times a second; the full rate would fill the disk.
    let args =
        "do=end how=sigkill threads=2 events=0 burst=100 pause=20000 rotate=65536 within=5 tell=1";
    let (mut command, number) = rig.command(args);
    // However long the machine keeps the logger from its turn, nothing may be missing at the end.
    command.env("TTLOG_ON_FULL", "block");
    let mut running = Running::new(command, number);
    assert_eq!(running.line(), "ready");
    let (mut n_shown, mut bad) = (0, Vec::new());
    for round in 0..LIVE_ROUNDS {
        let verify = Command::new(rig::read::command()).arg("verify").arg(rig.dir()).output();
        let verify = verify.expect("ttlog verify");
        let text = String::from_utf8_lossy(&verify.stderr).into_owned()
            + &String::from_utf8_lossy(&verify.stdout);
        if !verify.status.success() {
            bad.push(format!("verify {round}: {text}"));
        }
        let before = rig.counts(running.run);
        let read = read_back(&rig.dir());
        bad.extend(read.wrong.iter().map(|wrong| format!("cat {round}: {wrong}")));
        // Once, in order, none invented; `begun` is read after, so that it is never too small.
        compare(&by_thread(&read), running.run, &rig.counts(running.run));
        n_shown = read.events.len() as u64;
        let settled: u64 = before.iter().map(|(_, returned)| *returned).sum();
        if n_shown < settled {
            bad.push(format!("cat {round}: {n_shown} shown, {settled} had returned before"));
        }
    }
    running.kill();
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    let tally = compare(&by_thread(&read), running.run, &rig.counts(running.run));
    let n_segments = std::fs::read_dir(rig.dir()).expect("the directory").count();
    println!(
        "{LIVE_ROUNDS} verify and {LIVE_ROUNDS} cat beside two writers, {n_segments} files, \
         {n_shown} events shown while alive, at the end {tally:?}"
    );
    assert!(bad.is_empty(), "{} of {} runs: {bad:#?}", bad.len(), 2 * LIVE_ROUNDS);
    assert_eq!(tally.missing, 0);
}

/// Mode bits of everything below a directory.
fn modes(dir: &Path) -> Vec<(String, u32)> {
    let mut modes = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o7777;
        modes.push((entry.file_name().to_string_lossy().into_owned(), mode));
    }
    modes
}

fn lanes_of(dir: &Path) -> Option<String> {
    let owners = modes(dir).into_iter().filter(|(name, _)| name.ends_with(".owner"));
    let mut texts = owners.filter_map(|(name, _)| std::fs::read_to_string(dir.join(name)).ok());
    texts.find_map(|text| {
        text.lines().find_map(|line| line.strip_prefix("lanes=")).map(str::to_owned)
    })
}

#[test]
fn r33_every_file_has_its_mode_whatever_the_umask() {
    for umask in [0o000, 0o022, 0o077] {
        let mut rig = Rig::new();
        std::fs::remove_dir(rig.dir()).expect("the logger makes it");
        let (command, run) = rig.command("do=one events=2000 rotate=65536");
        let mut shell = Command::new("sh");
        let program = command.get_program().to_owned();
        shell.arg("-c").arg(format!("umask {umask:03o}; exec \"$0\" \"$@\"")).arg(program);
        shell.args(command.get_args());
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut running = Running::new(shell, run);
        assert_eq!(running.line(), "logged");
        wait_until("a segment", || modes(&rig.dir()).iter().any(|(n, _)| n.ends_with(".ttlog")));
        // Others never more than said; less where the umask says so.
        let dir = std::fs::metadata(rig.dir()).expect("a directory").permissions().mode() & 0o7777;
        assert_eq!(dir, 0o750 & !umask, "the log directory under {umask:03o}");
        for (name, mode) in modes(&rig.dir()) {
            let is_private = name.ends_with(".owner") || name.ends_with(".sock");
            let expected = if is_private { 0o600 } else { 0o640 & !umask };
            assert_eq!(mode, expected, "{name} under {umask:03o}");
        }
        let place = lanes_of(&rig.dir()).expect("lanes");
        let place = Path::new(&place);
        let mode = std::fs::metadata(place).expect("lanes").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "the place under {umask:03o}");
        for (name, mode) in modes(place) {
            assert_eq!(mode, 0o600, "{name} under {umask:03o}");
        }
        println!(
            "umask {umask:03o}: {} files in the directory, {} in the place",
            modes(&rig.dir()).len(),
            modes(place).len()
        );
        running.kill();
    }
}

#[test]
fn r39_two_writers_each_have_their_own_segments_and_the_owner_file_comes_back() {
    let mut rig = Rig::new();
    let mut first = rig.start("do=end how=sigkill threads=2 events=0 burst=50 tell=1");
    let mut second = rig.start("do=end how=sigkill threads=2 events=0 burst=50 tell=1");
    assert_eq!((first.line(), second.line()), ("ready".into(), "ready".into()));
    let owners = || -> Vec<String> {
        let names = modes(&rig.dir()).into_iter().map(|(name, _)| name);
        names.filter(|name| name.ends_with(".owner") && !name.starts_with('.')).collect()
    };
    wait_until("two owners", || owners().len() == 2);
    for name in owners() {
        std::fs::remove_file(rig.dir().join(name)).expect("an owner file");
    }
    let took = wait_until("the owner files again", || owners().len() == 2);
    println!("owner files were there again after {took:.1?}");
    std::thread::sleep(Duration::from_millis(100));
    first.kill();
    second.kill();
    let runs = [first.run, second.run];
    let loggers: std::collections::HashSet<String> = modes(&rig.dir())
        .into_iter()
        .filter_map(|(name, _)| Some(name.strip_suffix(".ttlog")?.rsplit('-').nth(1)?.to_owned()))
        .collect();
    assert_eq!(loggers.len(), 2, "two loggers, each its own segments");
    let check = |rig: &Rig| {
        let read = read_back(&rig.dir());
        assert_eq!(read.wrong, [""; 0]);
        for run in runs {
            let tally = compare(&by_thread(&read), run, &rig.counts(run));
            assert_eq!(tally.missing, 0, "{tally:?}");
            println!("run {run}: {tally:?}");
        }
    };
    check(&rig);
    let owners_before: Vec<String> = modes(&rig.dir())
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".owner"))
        .collect();
    assert_eq!(owners_before.len(), 2, "both are dead, and not yet taken up");
    let (_, outcome) = rig.run("do=log events=1 adopt=1");
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
    check(&rig);
}

#[test]
fn r39_a_pid_in_an_owner_file_decides_nothing() {
    let mut rig = Rig::new();
    let mut running = rig.start("do=end how=sigkill threads=1 events=0 burst=50 tell=1");
    assert_eq!(running.line(), "ready");
    std::thread::sleep(Duration::from_millis(50));
    running.kill();
    // The dead logger's pid is that of a living process now: this test's.
    let (name, _) = modes(&rig.dir()).into_iter().find(|(n, _)| n.ends_with(".owner")).expect("it");
    let path = rig.dir().join(name);
    let text = std::fs::read_to_string(&path).expect("an owner file");
    let reused = text
        .replace(&format!("pid={}", running.child.id()), &format!("pid={}", std::process::id()));
    assert_ne!(text, reused);
    std::fs::write(&path, reused).expect("an owner file");
    let (_, outcome) = rig.run("do=log events=1 adopt=1");
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
    assert!(!path.exists(), "it was taken up");
    let read = read_back(&rig.dir());
    let tally = compare(&by_thread(&read), running.run, &rig.counts(running.run));
    assert_eq!((tally.missing, read.wrong.len()), (0, 0), "{tally:?} {read:?}");
}

/// Runs the child and returns what it said on stderr.
fn said(rig: &mut Rig, args: &str, set: &[(&str, &[u8])], uid: Option<u32>) -> (bool, Vec<String>) {
    let (mut command, run) = rig.command(args);
    let set: Vec<_> = set.iter().map(|(key, value)| (*key, OsStr::from_bytes(value))).collect();
    command.envs(set.iter().copied());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let outcome = rig::outcome(command);
    let lines: Vec<String> = outcome.stderr.lines().map(str::to_owned).collect();
    println!("{args} {set:?} → {lines:?}");
    let _ = run;
    (outcome.status.success(), lines)
}

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_line_and_the_program_decides() {
    let mut rig = Rig::new();
    let file = rig.path("file");
    std::fs::write(&file, "x").expect("a file");
    for (dir, cause) in [
        (format!("{}", file.display()), "file"),
        (format!("{}/below", file.display()), "ot a directory"),
        ("/proc/ttlog".to_owned(), "No such file"),
        ("/sys/ttlog".to_owned(), ""),
    ] {
        let (ok, lines) = said(&mut rig, &format!("do=log logdir={dir}"), &[], None);
        assert!(!ok, "the child ends with the error of init");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&dir) && lines[0].contains(cause), "{lines:?}");
    }
}

#[test]
fn a_directory_without_permission_is_one_clear_line() {
    if !rustix::process::getuid().is_root() {
        return not_run("needs root, to become another user");
    }
    let mut rig = Rig::new();
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
    };
    set_mode(rig.dir().parent().expect("it has one"), 0o755);
    set_mode(&rig.dir(), 0o555);
    // Another user has to reach the child program and its counts.
    let program = rig.path("child");
    std::fs::copy(rig::child_program(), &program).expect("a copy");
    set_mode(&program, 0o755);
    for dir in [rig.dir(), rig.dir().join("below")] {
        let (command, _) = rig.command(&format!("do=log logdir={} nocounts=1", dir.display()));
        let mut own = Command::new(&program);
        own.args(command.get_args().filter(|a| !a.to_string_lossy().starts_with("counts=")));
        own.uid(65534).gid(65534).stdin(std::process::Stdio::null());
        own.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let outcome = rig::outcome(own);
        println!("{}", outcome.stderr.trim());
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("ermission denied"), "{outcome:?}");
        assert!(outcome.stderr.contains(&dir.display().to_string()), "{outcome:?}");
    }
}

#[test]
fn wrong_variables_are_one_line_each_and_the_default_stands() {
    let mut rig = Rig::new();
    let wrong = [
        ("RUST_LOG", &b"info,x=loud"[..]),
        ("RUST_LOG", b"\xff"),
        ("TTLOG_DISABLE", b"perhaps"),
        ("TTLOG_LANES", b"/nonexistent/lanes"),
        ("TTLOG_ON_FULL", b"explode"),
        ("TTLOG_KEEP", b"much"),
        ("TTLOG_IO", b"telepathy"),
    ];
    for (name, value) in wrong {
        let (ok, lines) = said(&mut rig, "do=log", &[(name, value)], None);
        assert!(ok);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(name), "{lines:?}");
    }
    let n_runs = wrong.len() as u64;
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    for run in 1..=n_runs {
        assert_eq!(compare(&by_thread(&read), run, &rig.counts(run)).missing, 0);
    }
    let (ok, lines) = said(&mut rig, "do=log", &[("TTLOG_DISABLE", b"1")], None);
    assert!(ok && lines.is_empty());
    assert_eq!(read_back(&rig.dir()).events.len(), read.events.len(), "a disabled logger is quiet");
}
