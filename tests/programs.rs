//! Real programs, run as they stand, and every event of them counted through `ttlog -o json`.
#![cfg(all(feature = "tracing", feature = "log"))]
#![expect(clippy::print_stdout, reason = "the rig says what did not run")]

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rig::read::{command, each_line};
use serde_json::Value;

/// Runs an example with these arguments to its end; returns what it told.
fn run(example: &str, dir: &Path, n: u64) -> String {
    let program =
        rig::build(&["--features", "cli", "--example", example], &format!("examples/{example}"));
    let mut command = Command::new(program);
    command.arg(dir).arg(n.to_string()).env_remove("RUST_LOG").env_remove("TTLOG_LANES");
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Every line of `ttlog -o json DIR`.
fn lines(dir: &Path, mut take: impl FnMut(Value)) {
    let said = each_line(dir, |line| take(serde_json::from_str(line).expect("strict JSON")));
    assert_eq!(said, [""; 0]);
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value}"))
}

#[test]
fn ten_thousand_tasks_are_in_the_log_each_event_in_its_spans() {
    const TASKS: u64 = 10_000;
    let dir = tempfile::tempdir().expect("a directory");
    let told = run("tasks", dir.path(), TASKS);
    assert_eq!(rig::number(&told, "events"), TASKS * 6);
    // By task: what it said, in order.
    let mut said: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    lines(dir.path(), |line| {
        assert!(line.get("kind").is_none(), "nothing is lost: {line}");
        let spans = line["spans"].as_array().unwrap_or_else(|| panic!("in no span: {line}"));
        assert_eq!(spans[0]["name"], "task", "{line}");
        let id = number(&spans[0]["fields"]["id"]);
        let message = line["message"].as_str().expect("a message").to_owned();
        let n = match message.as_str() {
            "started" | "done" => {
                assert_eq!((spans.len(), number(&line["fields"]["id"])), (1, id), "{line}");
                assert_eq!(
                    line["fields"].get("sum").map(number),
                    (message == "done").then_some(id * 4 + 2)
                );
                id
            }
            _ => {
                let (step, n) = (&spans[1], number(&line["fields"]["n"]));
                assert_eq!((spans.len(), step["name"].as_str()), (2, Some("step")), "{line}");
                assert_eq!(
                    (number(&step["fields"]["task"]), number(&step["fields"]["n"])),
                    (id, n)
                );
                // As it was known when the event was logged.
                let doubled = step["fields"].get("doubled").map(number);
                assert_eq!(doubled, (message == "ends").then_some(n * 2), "{line}");
                n
            }
        };
        said.entry(id).or_default().push((message, n));
    });
    assert_eq!(said.len() as u64, TASKS);
    for (id, mut said) in said {
        // A task moves between threads, whose clocks agree but for reads at the same moment.
        said.sort();
        let mut expected = [
            ("started", id),
            ("begins", id),
            ("ends", id),
            ("begins", id + 1),
            ("ends", id + 1),
            ("done", id),
        ];
        expected.sort_unstable();
        let said: Vec<(&str, u64)> = said.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        assert_eq!(said, expected, "task {id}");
    }
    // Each span is there once, opened and closed.
    let mut spans = Command::new(command());
    let output = spans.args(["spans", "-o", "json"]).arg(dir.path()).output().expect("ttlog");
    let rows = String::from_utf8(output.stdout).expect("text");
    let mut rows: Vec<_> = rows
        .lines()
        .map(|row| serde_json::from_str(row).expect("strict JSON"))
        .map(|row: Value| (row["span"].to_string(), number(&row["closed"]), number(&row["open"])))
        .collect();
    rows.sort_unstable();
    let expected = [("\"step\"", 2 * TASKS), ("\"task\"", TASKS)];
    assert_eq!(rows, expected.map(|(name, count)| (name.to_owned(), count, 0)));
}

#[test]
fn a_program_that_uses_only_log_is_in_the_log_to_the_last_event() {
    const EVENTS: u64 = 10_000;
    let dir = tempfile::tempdir().expect("a directory");
    let told = run("log_only", dir.path(), EVENTS);
    assert_eq!(rig::number(&told, "calls"), 4 * EVENTS);
    let mut next = [0; 4];
    lines(dir.path(), |line| {
        let fields = &line["fields"];
        let (t, n) = (number(&fields["t"]) as usize, number(&fields["n"]));
        // In order, each once; those below INFO are not wanted.
        let after = |n: u64| if n % 10 == 8 { n + 2 } else { n + 1 };
        assert_eq!(n, std::mem::replace(&mut next[t], after(n)), "{line}");
        let (level, target, message) = match n % 10 {
            3 => ("WARN", "app::db", format!("slow, {} ms", n % 7)),
            7 => ("ERROR", "log_only", "failed".to_owned()),
            _ => ("INFO", "log_only", format!("request {n} done")),
        };
        assert_eq!((&line["level"], &line["target"]), (&level.into(), &target.into()), "{line}");
        assert_eq!(line["message"], message, "{line}");
        match level {
            "INFO" => {
                assert_eq!(fields["half"].as_f64(), Some(n as f64 / 2.0), "{line}");
                assert_eq!(fields["even"].as_bool(), Some(n % 2 == 0), "{line}");
            }
            "ERROR" => assert_eq!(fields["reason"], "on purpose", "{line}"),
            _ => {}
        }
        assert_eq!(line["file"], "examples/log_only.rs", "{line}");
    });
    assert_eq!(next, [EVENTS; 4]);
}
