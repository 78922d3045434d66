//! `ttlog doctor`: what it tells, in lines and in JSON, and its exit status.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::process::{Command, Output};

fn doctor(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.arg("doctor").args(args).env_remove("TTLOG_DIR").output().unwrap()
}

fn findings(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_part_is_told_with_its_state_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let output = doctor(&["-o", "json", dir.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let findings = findings(&output);
    let names: Vec<_> = findings.iter().map(|it| it["what"].as_str().unwrap()).collect();
    let expected =
        ["kernel", "io_uring", "io", "memlock", "/dev/shm", "directory", "file mode", "room"];
    assert_eq!(names, expected);
    for finding in &findings {
        let state = finding["state"].as_str().unwrap();
        assert!(["ok", "worse", "bad"].contains(&state), "{finding}");
        assert!(state == "ok" || !finding["why"].as_str().unwrap().is_empty(), "{finding}");
    }
    assert!(["io_uring", "portable"].contains(&findings[2]["value"].as_str().unwrap()));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn without_a_directory_the_system_alone_is_told() {
    let output = doctor(&[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("kernel"), "{text}");
    assert!(text.contains("\nio ") && !text.contains("\ndirectory"), "{text}");
}

#[test]
fn a_directory_that_cannot_be_used_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = doctor(&["-o", "json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let bad: Vec<_> = findings(&output).into_iter().filter(|it| it["state"] == "bad").collect();
    assert!(bad[0]["value"].as_str().unwrap().ends_with("no directory"), "{bad:?}");
    let missing = dir.path().join("not-yet");
    let output = doctor(&["-o", "json", missing.to_str().unwrap()]);
    assert!(output.status.success() && !missing.exists(), "{output:?}");
    // A logger makes those above it too.
    let deep = dir.path().join("not-yet/\x1b[2J/deep");
    for mode in ["json", "text"] {
        let output = doctor(&["-o", mode, deep.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("deep: will be made"), "{text}");
        let hidden = |c| c != '\n' && ttlog::render::escape::is_hidden(c);
        assert!(!text.contains(hidden) && !missing.exists(), "{text}");
    }
    assert_eq!(doctor(&["-o", "yaml"]).status.code(), Some(2));
}
