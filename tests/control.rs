//! Control: `ttlog ps` and `ttlog ctl` with living, killed and foreign loggers, and what stands
//! behind the socket.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ttlog::{Builder, Handle, debug, info};

const LONG: Duration = Duration::from_secs(60);

fn ttlog(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).env_remove("TTLOG_DIR").env_remove("RUST_LOG");
    command.output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The sockets in a directory.
fn sockets(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(dir: &Path) -> Handle {
    let before = sockets(dir);
    let logger = Builder::new(dir).app("orders", "1.4").filter("info").build().unwrap();
    wait_until("its socket", || sockets(dir).iter().any(|path| !before.contains(path)));
    logger
}

#[test]
fn a_living_logger_is_listed_and_does_what_it_is_asked() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    let logger = start(temp.path());
    let pid = std::process::id().to_string();
    let metadata = std::fs::symlink_metadata(&sockets(temp.path())[0]).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    debug!(logger: &logger, "not yet");
    info!(logger: &logger, "first");
    let (code, out, err) = told(&ttlog(&["ctl", "flush", "--pid", &pid, "--dir", dir]));
    assert_eq!((code, &*out, &*err), (0, "events=1\n", ""));
    let (code, out, _) = told(&ttlog(&["ps", dir]));
    let line = out.lines().nth(1).unwrap();
    assert!(code == 0 && line.contains(&pid) && line.contains("orders 1.4"), "{out}");
    assert!(line.ends_with("info") && line.contains("  1  "), "{out}");

    // A filter for a while, which stands at once and falls back by itself.
    let level = ["ctl", "level", "app=off,debug", "--for", "300ms", "--dir", dir];
    let (code, out, err) = told(&ttlog(&level));
    assert!(code == 0 && out.starts_with("filter=debug,app=off\n"), "{out} {err}");
    debug!(logger: &logger, "asked for");
    wait_until("the filter to fall back", || logger.filter().to_string() == "info");
    debug!(logger: &logger, "not any more");
    let (code, out, _) = told(&ttlog(&["ctl", "level", "warn", "--dir", dir]));
    assert_eq!((code, &*out), (0, "filter=warn\nfilter_left_ms=0\n"));
    info!(logger: &logger, "not any more");

    let segments = logger.stats().segments;
    ttlog::warn!(logger: &logger, "before");
    assert_eq!(told(&ttlog(&["ctl", "rotate", "--dir", dir])).0, 0);
    ttlog::warn!(logger: &logger, "behind");
    logger.flush(LONG).unwrap();
    assert_eq!(logger.stats().segments, segments + 1);
    let (code, out, _) = told(&ttlog(&["ctl", "stats", "--dir", dir]));
    for line in ["written=4", "lost=0", "suppressed=0", "crash_safe=true", "filter=warn"] {
        assert!(code == 0 && out.lines().any(|l| l == line), "{line} in {out}");
    }
    let (_, out, _) = told(&ttlog(&["ps", "-o", "json", dir]));
    let json: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&json["app"], &json["written"]), (&"orders".into(), &4.into()));

    logger.shutdown(LONG).unwrap();
    wait_until("its socket to go", || sockets(temp.path()).is_empty());
    let (code, out, _) = told(&ttlog(&["ps", "--exit-status", dir]));
    assert_eq!((code, &*out), (3, ""));
    let (code, _, err) = told(&ttlog(&["ctl", "stats", "--dir", dir]));
    assert!(code == 1 && err.contains("nobody logs into"), "{err}");
}

#[test]
fn a_level_can_be_set_for_what_is_inside_of_a_span() {
    let temp = tempfile::tempdir().unwrap();
    let logger = start(temp.path());
    let directives = "info,[request{user=\"ada l\"}]=debug";
    let dir = temp.path().to_str().unwrap();
    let (code, out, err) = told(&ttlog(&["ctl", "level", directives, "--dir", dir]));
    assert!(code == 0 && out.starts_with(&format!("filter={directives}\n")), "{out} {err}");
    for user in ["ada l", "bob"] {
        ttlog::info_span!(logger: &logger, "request", user)
            .in_scope(|| debug!(logger: &logger, "for {user}"));
    }
    logger.shutdown(LONG).unwrap();
    let (_, out, _) = told(&ttlog(&["-o", "json", dir]));
    assert!(out.lines().count() == 1 && out.contains("for ada l"), "{out}");
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    let logger = start(temp.path());
    for (args, code, part) in [
        (&["ctl", "level", "app=loud", "--dir", dir][..], 2, "not a level"),
        (&["ctl", "level", "[span", "--dir", dir], 2, "bracket is not closed"),
        (&["ctl", "level", "info", "--for", "-5m", "--dir", dir], 2, ""),
        (&["ctl", "level", "info", "--for", "soon", "--dir", dir], 2, "--for"),
        (&["ctl", "level", "info", "--for=-5m", "--dir", dir], 2, "30s, 5m, 2h"),
        (&["ctl", "flush", "--timeout", "0s", "--dir", dir], 2, "from 1 ms up"),
        (&["ctl", "stats", "--pid", "1", "--dir", dir], 1, "process 1 does not log into"),
        (&["ctl", "flush", "--dir", "/nonexistent"], 1, "/nonexistent"),
        (&["ps", "/nonexistent"], 1, "/nonexistent"),
        (&["ctl", "dance", "--dir", dir], 2, "dance"),
        (&["ctl", "dump", "--dir", dir], 1, "no flight recorder"),
    ] {
        let (got, out, err) = told(&ttlog(args));
        assert!(got == code && err.contains(part) && out.is_empty(), "{args:?}: {got} {err}");
    }
    let second = start(temp.path());
    // Two loggers of one process are both asked.
    let (code, out, _) = told(&ttlog(&["ctl", "level", "error", "--dir", dir]));
    assert_eq!((code, out.matches("filter=error").count()), (0, 2), "{out}");
    assert_eq!(second.filter().to_string(), "error");
    second.shutdown(LONG).unwrap();
    logger.shutdown(LONG).unwrap();
}

/// What a client may send, and what comes back.
fn raw(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // Whoever sends more than a request may find the door closed.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_client_that_says_nonsense_or_nothing_gets_an_error_and_holds_up_nobody_for_long() {
    let temp = tempfile::tempdir().unwrap();
    let logger = start(temp.path());
    let path = sockets(temp.path()).remove(0);
    for request in [
        &b"\n"[..],
        b"",
        b"dance\n",
        b"level\n",
        b"level x info\n",
        b"level 0 a=b=c\n",
        b"flush\n",
        b"flush -1\n",
        b"stats",
        b"\xff\xfe\n",
        b"level 99999999999999999999 info\n",
    ] {
        assert!(raw(&path, request).starts_with("error "), "{request:?}");
    }
    // Longer than any request, without an end.
    let answer = raw(&path, &vec![b'x'; 1 << 20]);
    assert!(answer.is_empty() || answer.starts_with("error "), "{answer}");
    // Many that say nothing stand before one that does.
    let silent: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert!(raw(&path, b"stats\n").starts_with("ok written="));
    // The program itself never waits for them.
    info!(logger: &logger, "goes on");
    assert_eq!(logger.flush(LONG).unwrap().events, 1);
    drop(silent);
    logger.shutdown(LONG).unwrap();
}

#[test]
fn a_client_that_never_ends_its_line_holds_up_nobody_for_long() {
    let temp = tempfile::tempdir().unwrap();
    let _logger = start(temp.path());
    let socket = sockets(temp.path()).remove(0);
    let (over, is_over) = channel::<()>();
    std::thread::scope(|scope| {
        // Goes with this closure, however it ends.
        let _over = over;
        let mut slow = UnixStream::connect(&socket).unwrap();
        scope.spawn(move || {
            // Each byte comes well within the time that one may take to come.
            let soon = Duration::from_millis(100);
            while slow.write_all(b"x").is_ok()
                && is_over.recv_timeout(soon) == Err(RecvTimeoutError::Timeout)
            {}
        });
        std::thread::sleep(Duration::from_millis(50));
        let answer = ttlog::control::ask(&socket, "stats", LONG).unwrap();
        assert!(matches!(answer, ttlog::control::Answer::Ok(text) if text.contains("written=")));
    });
}

#[test]
fn a_socket_that_was_removed_or_left_by_the_dead_is_made_anew_and_cleared() {
    let temp = tempfile::tempdir().unwrap();
    let logger = start(temp.path());
    let path = sockets(temp.path()).remove(0);
    std::fs::remove_file(&path).unwrap();
    wait_until("its socket to come again", || path.exists());
    assert!(raw(&path, b"stats\n").starts_with("ok "));
    logger.shutdown(LONG).unwrap();

    // What a killed logger left goes with its owner file, at the next start.
    let child = Command::new(env!("CARGO_BIN_EXE_ttlog"))
        .args(["record", temp.path().to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    wait_until("the child's socket", || sockets(temp.path()).len() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let left = sockets(temp.path()).remove(0);
    let (code, out, err) = told(&ttlog(&["ps", temp.path().to_str().unwrap()]));
    assert_eq!((code, &*out, &*err), (0, "", ""), "the dead are not listed");
    let logger = start(temp.path());
    wait_until("the dead one's socket to go", || !left.exists());
    logger.shutdown(LONG).unwrap();
}

#[test]
fn a_directory_without_room_for_a_socket_is_said_in_health_alone() {
    let temp = tempfile::tempdir().unwrap();
    let logger = Builder::new(temp.path()).build().unwrap();
    wait_until("its socket", || !sockets(temp.path()).is_empty());
    // A directory in the name's place can be neither removed as a file nor bound.
    let path = sockets(temp.path()).remove(0);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    wait_until("the reason", || logger.health().control_reason.is_some());
    let health = logger.health();
    assert!(health.is_ok() && health.control_reason.unwrap().contains("no socket in"));
    info!(logger: &logger, "goes on");
    logger.shutdown(LONG).unwrap();
    assert!(path.is_dir());
}

#[test]
fn a_filter_is_explained() {
    for (args, code, part) in [
        (&["a=debug", "a::b", "debug"][..], 0, "logged: `a=debug` decides for the target a::b"),
        (&["a=debug", "a::b", "trace"], 0, "not logged: `a=debug`"),
        (&["a=debug", "ab", "error"], 0, "no directive speaks of the target ab"),
        (&["a=debug", "ab", "error"], 0, "not meant: `a=debug` speaks of a and a::…"),
        (&["warn,a=off", "a", "error"], 0, "overruled: `warn`"),
        (&["[{user}]=info", "a", "info", "--field", "user"], 0, "logged: `[{user}]=info`"),
        (&["a=debug", "a", "trace", "--exit-status"], 3, "not logged"),
        (&["a=debug", "a", "4"], 0, "logged"),
        (&["[s{id=7}]", "a", "4", "--span", "s{id=7}"], 0, "logged: `[s{id=7}]=trace` grants"),
        (&["[s{id=7}]", "a", "4", "--span", "s{id=8}"], 0, "not meant: `[s{id=7}]=trace`"),
    ] {
        let (got, out, _) = told(&ttlog(&[&["filter", "explain"][..], args].concat()));
        assert!(got == code && out.contains(part), "{args:?}: {got} {out}");
    }
    let (code, _, err) = told(&ttlog(&["filter", "explain", "a,[span", "a", "info"]));
    assert!(code == 2 && err.contains("at character 3: a bracket is not closed"), "{err}");
    let unclosed = ["filter", "explain", "[span]", "a", "info", "--span", "s{"];
    let (code, _, err) = told(&ttlog(&unclosed));
    assert!(code == 2 && err.contains("a brace is not closed"), "{err}");
    assert_eq!(told(&ttlog(&["filter", "explain", "a", "b", "loud"])).0, 2);
}

#[test]
fn what_is_recorded_follows_the_level_that_is_set_and_goes_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ttlog"))
        .args(["record", dir])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut say = |line: &str| {
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    };
    let written = |n: u64| {
        let stats = format!("written={n}");
        let has = || told(&ttlog(&["ctl", "stats", "--dir", dir])).1.lines().any(|l| l == stats);
        wait_until("a line to be written", has);
    };
    wait_until("its socket", || sockets(temp.path()).len() == 1);
    say("level=debug msg=one");
    written(1);
    let (code, out, err) = told(&ttlog(&["ctl", "level", "warn,[{user}]=info", "--dir", dir]));
    assert_eq!(code, 0, "{out}{err}");
    say("level=info msg=left-out");
    say("level=info msg=two user=7");
    say("level=error msg=three");
    written(3);
    assert_eq!(told(&ttlog(&["ctl", "level", "trace", "--dir", dir])).0, 0);
    say("level=trace msg=four");
    drop(input);
    assert!(child.wait().unwrap().success());
    let (_, out, _) = told(&ttlog(&["-o", "json", dir]));
    let lines = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let messages: Vec<_> = lines.map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["one", "two", "three", "four"], "{out}");
}
