//! `ttlog archive` where many short files cannot be synced by one call: RIG-SYS refuses it, by strace,
//! and each file is synced for itself before it gets its name.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;
use std::process::Command;

const FILES: usize = 300;

/// Calls that strace saw begin, and did not refuse.
fn calls(trace: &str, name: &str) -> usize {
    let with = format!("{name}(");
    trace.lines().filter(|line| line.contains(&with) && !line.contains("INJECTED")).count()
}

fn copy(from: &Path, to: &Path, way: &str, refused: &[&str]) -> String {
    let log = to.with_extension("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=syncfs,fsync,renameat,rename", "-o"]).arg(&log);
    for call in refused {
        command.args(["-e", call]);
    }
    command.arg(env!("CARGO_BIN_EXE_ttlog")).args(["archive", "--all", "--io", way]);
    let output = command.arg(from).arg(to).output().expect("strace is installed");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("300 files copied"), "{output:?}");
    for n in 0..FILES {
        let copy = std::fs::read_to_string(to.join(n.to_string())).unwrap();
        assert_eq!(copy, format!("file {n}"));
    }
    std::fs::read_to_string(log).unwrap()
}

#[test]
fn short_files_are_synced_by_one_call_and_each_alone_where_that_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    for n in 0..FILES {
        std::fs::write(from.join(n.to_string()), format!("file {n}")).unwrap();
    }
    let together = copy(&from, &dir.path().join("together"), "portable", &[]);
    assert_eq!(calls(&together, "syncfs"), 1);
    assert!(calls(&together, "fsync") < 10, "directories alone");
    let refused = ["inject=syncfs:error=EIO"];
    let alone = copy(&from, &dir.path().join("alone"), "portable", &refused);
    assert_eq!(calls(&alone, "syncfs"), 0);
    assert!(calls(&alone, "fsync") >= FILES, "each file: {}", calls(&alone, "fsync"));
}
