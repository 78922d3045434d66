//! Errors of a start: one line with the path, the cause and the way out, also where `main` returns
//! them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;

use ttlog::Builder;

fn refused(builder: Builder) -> String {
    let error = builder.build().unwrap_err();
    let text = error.to_string();
    assert_eq!(format!("{error:?}"), text, "what `main` shows");
    assert!(!text.contains('\n') && !text.contains(": :"), "{text}");
    text
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_path_cause_and_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (path, cause, way_out) in [
        (file.as_path(), "File exists", "choose another name"),
        (&file.join("below"), "Not a directory", "choose another"),
        (Path::new("/proc/none"), "No such file", "choose another"),
    ] {
        let text = refused(Builder::new(path));
        let parts = [&*path.to_string_lossy(), cause, way_out];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let text = refused(Builder::new(""));
    assert!(text.contains("no name; give one"), "{text}");
}

/// Runs in a process of its own, for what that says on stderr.
#[test]
#[ignore = "started by a_start_without_room_for_lanes_says_once_why_and_what_to_do"]
fn without_room() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).lanes_in("/proc/none").build().unwrap();
    assert!(!logger.health().crash_safe);
    logger.shutdown(std::time::Duration::from_secs(60)).unwrap();
}

#[test]
fn a_start_without_room_for_lanes_says_once_why_and_what_to_do() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--ignored", "--exact", "without_room", "--nocapture"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let notices: Vec<_> = text.lines().filter(|line| line.starts_with("ttlog: ")).collect();
    let [notice] = notices[..] else { panic!("one notice: {text}") };
    for part in ["/proc/none", "No such file", "kill -9", "TTLOG_LANES names another place"] {
        assert!(notice.contains(part), "{notice}");
    }
}

#[test]
fn a_bound_below_what_a_logger_needs_is_no_reason_to_go_without_shared_memory() {
    let dir = tempfile::tempdir().unwrap();
    let text = refused(Builder::new(dir.path()).lanes_bytes_max(3));
    assert!(text.contains("lanes_bytes_max") && text.contains("1 MiB"), "{text}");
    let least = Builder::new(dir.path()).lanes_bytes_max(1 << 20).build().unwrap();
    ttlog::info!(logger: &least, "it is enough");
    let second = std::time::Duration::from_secs(60);
    assert_eq!(least.flush(second).unwrap().events, 1);
    least.shutdown(second).unwrap();
}
