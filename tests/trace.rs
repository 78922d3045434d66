//! `ttlog --trace`: events by the ids of W3C that spans carry.
#![cfg(all(feature = "cli", feature = "tracing"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tracing_subscriber::prelude::*;
use ttlog::record::{
    Definition, FLAG_SPAN, Field, Head, Kind, Level, RECORD_EVENT, RECORD_SPAN_OPEN, RawRun, Role,
    RunHead,
};
use ttlog::store::segment::SegmentHeader;
use ttlog::store::{Builder as SegmentBuilder, name};
use ttlog::{Builder, Handle, field, info, info_span};

const LONG: Duration = Duration::from_secs(60);
const ONE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TWO: &str = "4bf92f3577b34da6ffffffffffffffff";

fn output(args: &[&str], dir: &Path) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).arg(dir).env_remove("TTLOG_DIR").env("TZ", "UTC").stdin(Stdio::null());
    let output = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The messages of the events that are shown.
fn messages(args: &[&str], dir: &Path) -> Vec<String> {
    let (out, err, code) = output(&[args, &["-o", "json"]].concat(), dir);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{args:?}");
    let message = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["message"].as_str().expect("a message").to_owned()
    };
    out.lines().map(message).collect()
}

/// Two processes' worth of traces, as two loggers in one directory have them.
fn sample(dir: &Path) {
    let start = || Builder::new(dir).filter("trace").build().unwrap();
    let (front, back): (Handle, Handle) = (start(), start());
    let parent = format!("00-{ONE}-00f067aa0ba902b7-01");
    let request =
        info_span!(logger: &front, "request", trace_id = ONE, span_id = "00f067aa0ba902b7");
    request.in_scope(|| {
        info!(logger: &front, "in front");
        info_span!(logger: &front, "inner").in_scope(|| info!(logger: &front, "deep"));
        info_span!(logger: &back, "call", traceparent = parent).in_scope(|| {
            info!(logger: &back, "behind");
        });
    });
    // An id that is known only behind the first event.
    let late = info_span!(logger: &back, "late", trace_id = field::Empty);
    late.in_scope(|| {
        info!(logger: &back, "before it is known");
        late.record("trace_id", u128::from_str_radix(TWO, 16).unwrap());
        info!(logger: &back, "behind it");
    });
    info!(logger: &front, "trace.id" = TWO.to_uppercase(), "without a span");
    info_span!(logger: &front, "other", id = ONE).in_scope(|| info!(logger: &front, "no trace"));
    for logger in [front, back] {
        logger.shutdown(LONG).unwrap();
    }
    drop((request, late));
}

#[test]
fn events_of_a_trace_are_found_by_its_id_its_first_digits_or_a_traceparent() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let one = ["in front", "deep", "behind"];
    assert_eq!(messages(&["--trace", ONE], dir.path()), one);
    let parent = format!("00-{}-ffffffffffffffff-00", ONE.to_uppercase());
    assert_eq!(messages(&["--trace", &parent], dir.path()), one);
    let two = ["before it is known", "behind it", "without a span"];
    assert_eq!(messages(&["--trace", &TWO[..20]], dir.path()), two);
    assert_eq!(messages(&["--trace", &TWO[..10]], dir.path()), [one, two].concat());
    assert_eq!(messages(&["--trace", TWO, "-n", "1"], dir.path()), two[2..]);
    assert_eq!(messages(&["--trace", TWO, "-r", "-g", "it"], dir.path()), [two[2], two[1], two[0]]);
    let (out, err, code) = output(&["--exit-status", "--trace", &"f".repeat(32)], dir.path());
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(3)));
    let (out, _, code) = output(&["--tree", "--trace", ONE], dir.path());
    assert!(code == Some(0) && out.contains("deep") && !out.contains("late"), "{out}");
}

#[test]
fn what_is_no_trace_id_is_a_usage_error_that_says_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_, err, code) = output(&["--trace", "not-hex"], dir.path());
    assert_eq!(code, Some(2));
    assert!(err.contains("32 hexadecimal digits") && err.contains("traceparent"), "{err}");
}

#[test]
fn ids_stand_in_the_fields_of_their_span_in_json() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (out, _, _) = output(&["--trace", ONE, "-g", "deep", "-o", "json"], dir.path());
    let event: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = event["spans"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["request", "inner"]);
    let fields = &event["spans"][0]["fields"];
    assert_eq!(
        (&fields["trace_id"], &fields["span_id"]),
        (&ONE.into(), &"00f067aa0ba902b7".into())
    );
    let keys: Vec<_> = event.as_object().unwrap().keys().collect();
    let order = ["time", "level", "target", "message", "spans", "thread", "pid", "file", "line"];
    assert_eq!(keys, order);
}

thread_local! {
    /// Where another layer says that this thread is.
    static HERE: Cell<Option<([u8; 16], [u8; 8])>> = const { Cell::new(None) };
}

/// Stands for a layer that gives ids to spans when they are entered.
struct Tracer;

impl<S> tracing_subscriber::Layer<S> for Tracer
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_enter(&self, id: &tracing::Id, context: tracing_subscriber::layer::Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut trace = u128::from_str_radix(ONE, 16).unwrap().to_le_bytes();
        trace.reverse();
        let trace = if span.name() == "none" { [0; 16] } else { trace };
        HERE.set(Some((trace, id.into_u64().to_le_bytes())));
    }

    fn on_exit(&self, _: &tracing::Id, _: tracing_subscriber::layer::Context<'_, S>) {
        HERE.set(None);
    }
}

#[test]
fn ids_of_another_layer_are_carried_from_the_first_time_that_a_span_is_entered() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).trace_ids(|| HERE.get()).build().unwrap();
    let default = tracing_subscriber::registry().with(Tracer).with(layer).set_default();
    let span = tracing::info_span!("span", n = 1, span_id = tracing::field::Empty);
    tracing::info!(parent: &span, "not entered");
    for _ in 0..2 {
        span.in_scope(|| tracing::info!("entered"));
    }
    tracing::info_span!("none").in_scope(|| tracing::info!("a layer that knows no trace"));
    drop(span);
    drop(default);
    handle.shutdown(LONG).unwrap();
    let expected = ["not entered", "entered", "entered"];
    assert_eq!(messages(&["--trace", ONE], dir.path()), expected);
    let (out, _, _) = output(&["-o", "json"], dir.path());
    let fields: Vec<serde_json::Value> = out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["spans"][0]["fields"].take()
        })
        .collect();
    assert_eq!(fields[0], serde_json::json!({ "n": 1 }));
    assert_eq!(fields[1], fields[2]);
    assert_eq!((&fields[1]["n"], &fields[1]["trace_id"]), (&1.into(), &ONE.into()));
    assert_eq!(fields[1]["span_id"].as_str().map(str::len), Some(16));
    assert_eq!(fields[3], serde_json::json!({}));
}

#[test]
fn following_a_trace_begins_with_its_own_last_events() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(["-f", "-n", "2", "--trace", ONE]).arg(dir.path()).env_remove("TTLOG_DIR");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    for message in ["deep", "behind"] {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert!(line.contains(&format!(": {message}")), "{line}");
    }
    // It ends when nobody reads any more.
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// In containers every process may have the id 1; spans are counted from 1 in each.
#[test]
fn processes_of_the_same_id_do_not_share_traces_and_trees() {
    let dir = tempfile::tempdir().unwrap();
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let define = |id, name: &str, role| {
        let field = Field { name: name.into(), kind: Kind::Str as u8, role };
        let (target, module) = ("app".to_owned(), "app".to_owned());
        let (file, template, line, dynamic) = (String::new(), None, 0, false);
        let (name, level, fields) = (name.to_owned(), Level::Info, vec![field]);
        Definition { id, level, dynamic, target, name, file, line, module, template, fields }
    };
    for (logger, trace) in [(1u64, ONE), (2, TWO)] {
        let mut bytes = Vec::new();
        let mut push = |callsite, kind, words: &[u64], value: &str| {
            let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            payload.extend(text(value));
            payload.resize(payload.len().next_multiple_of(8), 0);
            let word = Head::word(callsite, (payload.len() / 8) as u16, kind, FLAG_SPAN);
            bytes.extend(word.to_le_bytes());
            bytes.extend(logger.to_le_bytes());
            bytes.extend(payload);
        };
        push(1, RECORD_SPAN_OPEN, &[1, 0], trace);
        push(2, RECORD_EVENT, &[1], &format!("of {logger}"));
        let header = SegmentHeader { logger, number: 1, clock: 2, pid: 1, ..Default::default() };
        let name = name::segment("app", 0, logger, 1);
        let mut builder = SegmentBuilder::new(header);
        builder.add_definition(define(1, "trace_id", Role::Field));
        builder.add_definition(define(2, "", Role::Message));
        let head = RunHead { end: bytes.len() as u64, count: 2, ..RunHead::default() };
        builder.push_run(&RawRun { head, bytes }).unwrap();
        std::fs::write(dir.path().join(name), builder.finish().unwrap()).unwrap();
    }
    assert_eq!(messages(&["--trace", ONE], dir.path()), ["of 1"]);
    let (out, _, code) = output(&["--tree"], dir.path());
    assert_eq!((out.lines().count(), code), (4, Some(0)), "{out}");
}
