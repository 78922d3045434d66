//! Stories: what users of a logger do, as they write it, and where it is tested.
//!
//! | what they do | proof |
//! | --- | --- |
//! | `init`, a statement, and `main` returns: nothing to hold, nothing to flush | `stories.rs::the_first_log_in_a_minute` |
//! | one more `.with(layer)` in a program that logs through tracing | `stories.rs::one_more_layer_beside_fmt` |
//! | never fill the disk: `rotate`, `keep`, `compress` | `retention.rs::r27_rotations_leave_bounded_files_descriptors_and_memory`, `together.rs` |
//! | choose what happens when lanes are full, keep warnings, see gaps | `policies.rs::saturated_with_warnings_kept_debug_is_lost_and_no_warning`, `cli_gaps.rs::a_gap_is_a_row_for_each_cause` |
//! | what happened just before it died | `rig_exit.rs::r35_every_exit_with_every_guard_policy_and_way_of_writing` |
//! | follow like journalctl, filter, `-o json` into a pipe | `cli_cat.rs::following_shows_what_is_written_later`, `cli_cat.rs::filters_by_level_target_text_and_time` |
//! | one request from end to end: `--trace ID --tree` | `stories.rs::one_request_from_end_to_end`, `trace.rs::events_of_a_trace_are_found_by_its_id_its_first_digits_or_a_traceparent`, `cli_spans.rs::a_tree_shows_events_below_their_spans` |
//! | debug for five minutes in production, without a restart | `stories.rs::debug_for_a_while_without_a_restart` |
//! | a flight recorder whose last events are there after an error, a panic, or when asked for | `stories.rs::what_led_to_an_error_is_in_the_dump_that_it_made`, `recorder.rs::a_panic_is_in_the_dump_that_it_makes_with_what_led_to_it`, `cli_recorder.rs::a_process_that_is_asked_dumps_itself` |
//! | assert in a test what was logged | `capture.rs::every_event_of_the_thread_is_there_with_all_that_it_says` |
#![cfg(all(feature = "cli", feature = "tracing"))]
#![expect(clippy::print_stdout, reason = "the child answers on stdout")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tracing_subscriber::prelude::*;

/// Says to the child which story it is in, and where to log.
const STORY: &str = "TTLOG_TEST_STORY";
const DIR: &str = "TTLOG_TEST_LOG";

/// The program of each story, in a process of its own. Does nothing in an ordinary run.
#[test]
fn child() {
    let (Ok(story), Ok(dir)) = (std::env::var(STORY), std::env::var(DIR)) else { return };
    let told = match story.as_str() {
        "first" => first(dir),
        "layer" => layer(dir),
        "live" => live(dir),
        "requests" => requests(dir),
        "recorder" => recorder(dir),
        other => panic!("{other}?"),
    };
    told.expect("a logger");
}

fn first(dir: String) -> Result<(), ttlog::Error> {
    ttlog::init(dir)?;
    ttlog::info!(user.id = 42, "hello {}", "world");
    ttlog::debug!("not wanted without RUST_LOG");
    Ok(())
}

fn layer(dir: String) -> Result<(), ttlog::Error> {
    let (layer, _guard) = ttlog::layer(dir).build()?;
    tracing_subscriber::registry().with(layer).with(tracing_subscriber::fmt::layer()).init();
    tracing::info!(user.id = 42, "hello");
    Ok(())
}

/// Logs a line of each level for every line that it reads, and answers.
fn live(dir: String) -> Result<(), ttlog::Error> {
    let logger = ttlog::init(dir)?;
    for (n, line) in std::io::stdin().lines().enumerate() {
        let line = line.expect("text");
        ttlog::info!(target: "app::db", n, line, "info");
        ttlog::debug!(target: "app::db", n, line, "debug");
        ttlog::debug!(target: "app::web", n, line, "elsewhere");
        logger.flush(std::time::Duration::from_secs(60))?;
        println!("did {n}");
    }
    Ok(())
}

const ONE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

/// Two requests, each of a trace that its caller began.
fn requests(dir: String) -> Result<(), ttlog::Error> {
    let (layer, _guard) = ttlog::layer(dir).build()?;
    tracing_subscriber::registry().with(layer).init();
    for (user, trace_id) in [(1, OTHER), (2, ONE)] {
        let _request = tracing::info_span!("request", trace_id, user).entered();
        tracing::info!("accepted");
        tracing::info_span!("query", table = "orders").in_scope(|| tracing::debug!(user, "found"));
        tracing::info!(status = 200, "answered");
    }
    tracing::info!("in no request");
    Ok(())
}

fn recorder(dir: String) -> Result<(), ttlog::Error> {
    let recorder = ttlog::Builder::new(dir).flight_recorder(ttlog::Level::TRACE, 16 << 20);
    let _logger = recorder.dump_on(ttlog::Level::ERROR).init()?;
    ttlog::info!("started");
    for step in 0..10 {
        ttlog::trace!(step, "not in the log");
    }
    ttlog::error!("out of luck");
    Ok(())
}

fn command(story: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", "child", "--nocapture"]).env(STORY, story).env(DIR, dir);
    command.env_remove("RUST_LOG").env_remove("TTLOG_LANES").env("NO_COLOR", "1");
    command
}

fn ttlog(args: &[&str], dir: &Path) -> String {
    let mut ttlog = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    let output = ttlog.args(args).arg(dir).output().expect("ttlog");
    text(output)
}

fn text(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_first_log_in_a_minute() {
    let dir = tempfile::tempdir().expect("a directory");
    text(command("first", dir.path()).output().expect("the child runs"));
    let shown = ttlog(&[], dir.path());
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.ends_with("INFO  stories: hello world user.id=42\n"), "{shown}");
}

#[test]
fn one_more_layer_beside_fmt() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = text(command("layer", dir.path()).output().expect("the child runs"));
    assert!(told.lines().any(|line| line.ends_with("INFO stories: hello user.id=42")), "{told}");
    let shown = ttlog(&[], dir.path());
    assert!(shown.ends_with("INFO  stories: hello user.id=42\n"), "{shown}");
}

#[test]
fn debug_for_a_while_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = command("live", dir.path());
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
    let mut stdin = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut go = |word: &str| {
        writeln!(stdin, "{word}").expect("it listens");
        let told = lines.by_ref().map(|line| line.expect("text"));
        told.into_iter().find(|line| line.contains("did ")).expect("an answer");
    };
    go("before");
    let pid = child.id().to_string();
    let ctl = |args: &[&str]| {
        let mut ctl = Command::new(env!("CARGO_BIN_EXE_ttlog"));
        ctl.arg("ctl").args(args).args(["--pid", &pid, "--dir"]).arg(dir.path());
        text(ctl.output().expect("ttlog"))
    };
    ctl(&["level", "info,app::db=debug", "--for", "5m"]);
    go("while");
    ctl(&["level", "info"]);
    go("behind");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    let shown = ttlog(&["-o", "json"], dir.path());
    let said: Vec<(String, String)> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("strict JSON"))
        .map(|line: serde_json::Value| {
            let word = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
            (word(&line["fields"]["line"]), word(&line["message"]))
        })
        .collect();
    let expected = [("before", "info"), ("while", "info"), ("while", "debug"), ("behind", "info")];
    assert_eq!(said, expected.map(|(line, message)| (line.to_owned(), message.to_owned())));
}

#[test]
fn one_request_from_end_to_end() {
    let dir = tempfile::tempdir().expect("a directory");
    text(command("requests", dir.path()).output().expect("the child runs"));
    let shown = ttlog(&["--trace", &ONE[..6], "--tree"], dir.path());
    let lines: Vec<&str> = shown.lines().collect();
    let place = |what: &str| {
        let found: Vec<_> = (0..lines.len()).filter(|n| lines[*n].contains(what)).collect();
        assert_eq!(found.len(), 1, "{what}: {shown}");
        (found[0], lines[found[0]].find(what).expect("it is there"))
    };
    let all =
        [place("request"), place("accepted"), place("query"), place("found"), place("answered")];
    assert!(all.is_sorted_by_key(|(line, _)| line), "{shown}");
    let depth = |n: usize| all[n].1;
    assert!(depth(0) < depth(2) && depth(2) < depth(3), "{shown}");
    assert!(shown.contains(ONE) && !shown.contains(OTHER) && !shown.contains("in no request"));
}

#[test]
fn what_led_to_an_error_is_in_the_dump_that_it_made() {
    let dir = tempfile::tempdir().expect("a directory");
    text(command("recorder", dir.path()).output().expect("the child runs"));
    let log = ttlog(&["-o", "json"], dir.path());
    assert!(log.lines().count() == 2 && !log.contains("not in the log"), "{log}");
    let files = dir.path().read_dir().expect("a directory");
    let files = files.map(|entry| entry.expect("an entry").path());
    let dumps: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "ttdump")).collect();
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    let shown = ttlog(&[], &dumps[0]);
    let said: Vec<&str> =
        shown.lines().filter_map(|line| line.split_once(" stories: ")).map(|it| it.1).collect();
    let steps = (0..10).map(|step| format!("not in the log step={step}"));
    let expected: Vec<_> = ["started".to_owned()].into_iter().chain(steps).collect();
    assert_eq!(said[..11], expected);
    assert_eq!(said[11..], ["out of luck"]);
}

/// The table above, whose proofs are in this directory.
#[test]
fn every_story_has_its_proof() {
    let rows = include_str!("stories.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    for row in rows.skip(2) {
        let proofs = row.rsplit(" | ").next().expect("a last column");
        let named: Vec<&str> = proofs.split('`').filter(|code| code.contains(".rs")).collect();
        assert!(!named.is_empty(), "no proof: {row}");
        for proof in named {
            let (file, name) = proof.split_once("::").unwrap_or((proof, ""));
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
            let source = std::fs::read_to_string(path).unwrap_or_default();
            assert!(source.contains(&format!("fn {name}")), "`{proof}` is not there");
        }
    }
}
