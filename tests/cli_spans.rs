//! `ttlog spans` and `ttlog --tree`.
#![cfg(all(feature = "cli", feature = "tracing"))]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tracing::{info, info_span, warn};
use tracing_subscriber::prelude::*;

fn output(args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).env_remove("TTLOG_DIR").env("TZ", "UTC").stdin(Stdio::null());
    let output = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// Two requests side by side, a span that stays open, and an event in none.
fn sample(dir: &Path) {
    let long = Duration::from_secs(60);
    let (layer, handle) = ttlog::layer(dir).build().expect("a logger");
    let default = tracing_subscriber::registry().with(layer).set_default();
    let open = info_span!("server", port = 80);
    info!(parent: &open, "listening");
    let requests = [1, 2].map(|id| info_span!(parent: None, "request", id));
    for request in &requests {
        request.in_scope(|| {
            info!("began");
            info_span!("query", table = "orders").in_scope(|| {
                std::thread::sleep(Duration::from_millis(3));
                warn!(rows = 7, "slow");
            });
        });
    }
    info!("in none");
    for request in &requests {
        request.in_scope(|| info!("ended"));
    }
    drop(requests);
    handle.flush(long).expect("a disk that answers");
    // The process does not end while the span is open: its logger does.
    handle.shutdown(long).expect("a disk that answers");
    drop(default);
    drop(open);
}

#[test]
fn spans_are_counted_by_name_with_their_times() {
    let dir = tempfile::tempdir().expect("a directory");
    sample(dir.path());
    let path = dir.path().to_str().expect("text");
    let (out, err, code) = output(&["spans", path]);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["closed", "open", "p50", "p99", "max", "span"]);
    // A request holds its query, so that it takes more time; a span that is open took none yet.
    let counts: Vec<_> = rows[1..].iter().map(|row| (row[0], row[1], row[5])).collect();
    assert_eq!(counts, [("2", "0", "request"), ("2", "0", "query"), ("0", "1", "server")]);
    assert_eq!(rows[3][2..5], ["-", "-", "-"]);

    let (out, _, code) = output(&["spans", "-o", "json", path]);
    assert_eq!(code, Some(0));
    let rows: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&rows[1]["span"], &rows[1]["closed"]), (&"query".into(), &2.into()));
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| rows[1]["busy_ns"][key].as_u64());
    assert!(p50 >= Some(3_000_000) && p50 <= p99 && p99 <= max, "{out}");
}

#[test]
fn a_tree_shows_events_below_their_spans() {
    let dir = tempfile::tempdir().expect("a directory");
    sample(dir.path());
    let path = dir.path().to_str().expect("text");
    let (out, err, code) = output(&["--tree", path]);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    // Times differ from run to run.
    let shape = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let rest = line.trim_start();
        let rest = match rest.split_once(" busy ") {
            Some((span, _)) => format!("{span} …"),
            None if rest.starts_with("20") => rest[27..].replace("cli_spans: ", ""),
            None => rest.to_owned(),
        };
        format!("{:indent$}{rest}", "")
    };
    let lines: Vec<_> = out.lines().map(shape).collect();
    let request = |id: u32| {
        [
            format!("request{{id={id}}} …"),
            "  INFO  began".into(),
            "  query{table=orders} …".into(),
            "    WARN  slow rows=7".into(),
            "  INFO  ended".into(),
        ]
    };
    let mut expected = vec!["INFO  in none".to_owned()];
    expected.extend(request(1));
    expected.extend(request(2));
    expected.extend(["server{port=80} open".to_owned(), "  INFO  listening".into()]);
    assert_eq!(lines, expected, "{out}");

    let (out, _, code) = output(&["--tree", "-g", "slow", "--exit-status", path]);
    assert_eq!((out.matches("slow").count(), out.contains("began"), code), (2, false, Some(0)));
    // Of spans that are not of the level themselves, the ends are known all the same, and spans
    // without an event that is asked for are not shown.
    for asked in [&["-l", "warn"][..], &["-g", "slow"], &["-l", "warn", "-t", "cli_spans"]] {
        let (out, _, code) = output(&[&["--tree", path][..], asked].concat());
        let shapes: Vec<_> = out.lines().map(shape).collect();
        let expected = [1, 2].map(|id| {
            let request = request(id);
            [request[0].clone(), request[2].clone(), request[3].clone()]
        });
        assert_eq!((shapes, code), (expected.concat(), Some(0)), "{asked:?}: {out}");
    }
    let (out, _, code) = output(&["--tree", "-t", "elsewhere", "--exit-status", path]);
    assert_eq!((out.as_str(), code), ("", Some(3)));
    let (_, err, code) = output(&["--tree", "-o", "json", path]);
    assert!(err.contains("--tree is for people") && code == Some(2), "{err}");
}

#[test]
fn a_pattern_finds_what_a_line_shows_of_spans() {
    let dir = tempfile::tempdir().expect("a directory");
    sample(dir.path());
    let path = dir.path().to_str().expect("text");
    for (pattern, events) in [("id=2", 3), ("table=orders", 2), ("^query$", 2), ("port=80", 1)] {
        let (out, err, code) = output(&["-g", pattern, path]);
        assert_eq!((out.lines().count(), code), (events, Some(0)), "{pattern}: {out}{err}");
    }
    let (out, _, _) = output(&["-g", "port|id=", "-v", path]);
    assert_eq!((out.lines().count(), out.contains("in none")), (1, true), "{out}");
}

#[test]
fn a_span_without_events_is_shown_unless_only_some_are_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let (layer, handle) = ttlog::layer(dir.path()).build().expect("a logger");
    let default = tracing_subscriber::registry().with(layer).set_default();
    drop(info_span!("idle"));
    handle.shutdown(Duration::from_secs(60)).expect("a disk that answers");
    drop(default);
    let path = dir.path().to_str().expect("text");
    let tree = |asked: &[&str]| output(&[&["--tree", path][..], asked].concat()).0;
    // A time that is told from now on is no choice of events.
    for asked in [&[][..], &["-S", "-1h"], &["-l", "trace"]] {
        assert!(tree(asked).starts_with("idle busy "), "{asked:?}: {}", tree(asked));
    }
    for asked in [["-l", "error"], ["-t", "nobody"], ["-g", "nothing"]] {
        assert_eq!(tree(&asked), "", "{asked:?}");
    }
}
