//! `ttlog dump`: of a process that lives, hangs or was killed, and what it refuses.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use recorded::{Shown, child, dumps, lost, read, start, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use ttlog::{Builder, Level};

fn ttlog(args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).env_remove("TTLOG_DIR").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A child that has logged what it logs, and stays.
fn staying(dir: &Path) -> Child {
    let child = start(dir, "stay");
    assert!(wait_until(|| dir.join("ready").exists()));
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn is_whole(shown: &[Shown]) {
    let expected = (0..100).flat_map(|n| [(Level::TRACE, Some(n)), (Level::INFO, Some(n))]);
    assert!(shown.iter().map(|it| (it.level, it.n)).eq(expected), "{shown:?}");
    let is_it = |it: &Shown| it.t == Some(0) && it.spans.is_empty();
    let says = |it: &Shown| matches!(&*it.message, "kept" | "logged");
    assert!(shown.iter().all(|it| is_it(it) && says(it)), "{shown:?}");
}

#[test]
fn a_process_is_dumped_while_it_lives_while_it_hangs_and_when_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let mut child = staying(dir.path());
    let pid = child.id().to_string();
    let file = dir.path().join("what.ttdump");
    let file_text = file.to_str().unwrap();
    for state in ["lives", "hangs", "was killed"] {
        match state {
            "hangs" => signal(&child, Signal::STOP),
            "was killed" => {
                signal(&child, Signal::KILL);
                child.wait().unwrap();
            }
            _ => {}
        }
        for target in [&*pid, text] {
            let (out, err, code) = ttlog(&["dump", target, "-o", file_text]);
            assert_eq!((out.trim_end(), code), (file_text, Some(0)), "{state}: {err}");
            let said = format!("process {pid}: 200 events, 100 of them from the recorder alone");
            assert!(err.contains(&said), "{state}: {err}");
            is_whole(&read(&file));
            std::fs::remove_file(&file).unwrap();
        }
        // The log has none of it.
        let (out, _, code) = ttlog(&["cat", "-o", "json", text]);
        assert_eq!((out.lines().count(), code), (100, Some(0)), "{state}");
        assert!(!out.contains("TRACE"), "{state}: {out}");
    }
    // Beside the log, by a name of its own, which the directory does not show.
    let (out, err, code) = ttlog(&["dump", text]);
    assert_eq!(code, Some(0), "{err}");
    let beside = dumps(dir.path());
    assert_eq!(
        beside.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(),
        [out.trim_end()]
    );
    let (out, _, _) = ttlog(&["cat", out.trim_end()]);
    assert_eq!(out.lines().count(), 200);
    assert_eq!(read(dir.path()).len(), 100);
    // The next start takes the log up, and the recorder's lanes away, behind a last dump.
    let place = {
        let (owners, _) = ttlog::lane::outside::owners(dir.path()).unwrap();
        owners[0].owner.lanes.clone().unwrap().path
    };
    let next = Builder::new(dir.path()).app("rec", "1").build().unwrap();
    assert!(wait_until(|| !place.exists()));
    next.shutdown(std::time::Duration::from_secs(60)).unwrap();
    let last = dumps(dir.path());
    assert_eq!(last.len(), 2);
    is_whole(&read(last.iter().find(|path| **path != beside[0]).unwrap()));
    let shown = read(dir.path());
    assert!(shown.len() == 100 && shown.iter().all(|it| it.level == Level::INFO));
    assert_eq!(lost(dir.path()), 0);
    let (_, err, code) = ttlog(&["gaps", text]);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn a_process_that_is_asked_dumps_itself() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let mut child = staying(dir.path());
    let pid = child.id().to_string();
    let (out, err, code) = ttlog(&["ctl", "dump", "--pid", &pid, "--dir", text]);
    assert_eq!(code, Some(0), "{err}");
    let [dump] = &dumps(dir.path())[..] else { panic!("{out}") };
    assert_eq!(out, format!("file={}\nevents=200\nrecorded=100\n", dump.display()));
    is_whole(&read(dump));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_be_dumped_is_said_once_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let logger = Builder::new(dir.path()).build().unwrap();
    let without = std::process::id().to_string();
    for (target, said) in [
        ("4194305", "no process 4194305 has lanes"),
        (&*without, "nobody there has a flight recorder"),
        (text, "nobody there has a flight recorder"),
        ("/nonexistent", "/nonexistent: No such file"),
    ] {
        let (out, err, code) = ttlog(&["dump", target]);
        assert_eq!((out.as_str(), code, err.lines().count()), ("", Some(1), 1), "{target}: {err}");
        assert!(err.contains(said), "{target}: {err}");
    }
    let (_, err, code) = ttlog(&["ctl", "dump", "--dir", text]);
    assert!(code == Some(1) && err.contains("no flight recorder"), "{err}");
    logger.shutdown(std::time::Duration::from_secs(60)).unwrap();
    let recorders: Vec<_> = (0..2)
        .map(|_| Builder::new(dir.path()).flight_recorder(Level::TRACE, 1 << 20).build().unwrap())
        .collect();
    let (_, err, code) = ttlog(&["dump", text, "-o", "x"]);
    assert!(code == Some(2) && err.contains("several recorders"), "{err}");
    for recorder in recorders {
        recorder.shutdown(std::time::Duration::from_secs(60)).unwrap();
    }
}

/// Runs in a process of its own, which the tests above start.
#[test]
fn a_child() {
    child();
}
