//! The same events through the layer and through tracing-subscriber's JSON, field by field.
//!
//! Where ttlog says more, [`differs`] says what: an error's sources, numbers that JSON has no words
//! for, bytes.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod shown;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use shown::{LONG, records};
use tracing_subscriber::prelude::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `job` under both, and returns what each made of it.
fn both(job: impl FnOnce()) -> (Vec<Value>, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let json = tracing_subscriber::fmt::layer()
        .json()
        .with_file(true)
        .with_line_number(true)
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer).with(json), job);
    handle.shutdown(LONG).unwrap();
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let theirs = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut renderer = ttlog::render::Renderer::new(ttlog::render::Format::Json);
    let line = |record: &ttlog::view::Record| {
        let mut line = Vec::new();
        renderer.event(&record.event(), &mut line);
        serde_json::from_slice(&line).unwrap()
    };
    (records(dir.path()).iter().map(line).collect(), theirs)
}

/// How ttlog shows a field that it shows otherwise than tracing-subscriber does.
fn differs(name: &str) -> Option<Value> {
    Some(match name {
        // With its sources.
        "error" => "two: one".into(),
        // As a word instead of null.
        "nan" => "NaN".into(),
        // In hexadecimal instead of as a list of numbers.
        "bytes" => "00ff".into(),
        _ => return None,
    })
}

/// The fields of an object but for those of these names.
fn without(value: &Value, names: &[&str]) -> serde_json::Map<String, Value> {
    let mut object = value.as_object().cloned().unwrap_or_default();
    names.iter().for_each(|name| drop(object.remove(*name)));
    object
}

fn compare(ours: &[Value], theirs: &[Value]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for name in ["level", "target"] {
            assert_eq!(ours[name], theirs[name], "{name}");
        }
        assert_eq!((&ours["file"], &ours["line"]), (&theirs["filename"], &theirs["line_number"]));
        let message = theirs["fields"].get("message").cloned().unwrap_or_default();
        assert_eq!(ours.get("message").cloned().unwrap_or_default(), message);
        let mut expected = without(&theirs["fields"], &["message"]);
        for (name, value) in &mut expected {
            *value = differs(name).unwrap_or_else(|| value.clone());
        }
        assert_eq!(without(&ours["fields"], &[]), expected);
        let spans = |value: &Value| value["spans"].as_array().cloned().unwrap_or_default();
        let (our_spans, their_spans) = (spans(ours), spans(theirs));
        assert_eq!(our_spans.len(), their_spans.len());
        for (ours, theirs) in our_spans.iter().zip(&their_spans) {
            assert_eq!(ours["name"], theirs["name"]);
            assert_eq!(ours["id"].as_str().map(str::len), Some(16));
            assert_eq!(without(&ours["fields"], &[]), without(theirs, &["name"]));
        }
    }
}

#[derive(Debug)]
struct Chained(&'static str, Option<Box<Chained>>);

impl std::fmt::Display for Chained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Chained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn events_say_the_same() {
    let error = Chained("two", Some(Box::new(Chained("one", None))));
    let (ours, theirs) = both(|| {
        tracing::info!("a message alone");
        tracing::warn!(target: "other::target", "{} {:?}", "formatted", Some(1));
        tracing::trace!(a = 1, b = -1, c = 1.5, d = true, e = "text", "values");
        tracing::debug!(only = "fields");
        tracing::error!(u = u64::MAX, i = i64::MIN, f = f64::MIN_POSITIVE, "bounds");
        tracing::info!(wide = u128::MAX, deep = i128::MIN, "wider than JSON's numbers");
        tracing::info!(a.b.c = ?vec![1, 2], "with spaces" = %"displayed", "names");
        tracing::info!(none = Option::<u8>::None, some = Some(3), empty = tracing::field::Empty);
        tracing::info!(control = "\u{1b}[31m\n\t\"\\\u{7f}", unicode = "ünï\u{202e}", "odd text");
        tracing::info!(
            error = &error as &(dyn std::error::Error + 'static),
            nan = f64::NAN,
            bytes = &[0u8, 255][..],
            "where ttlog differs"
        );
    });
    compare(&ours, &theirs);
}

#[test]
fn spans_around_events_say_the_same() {
    let (ours, theirs) = both(|| {
        tracing::info!("in none");
        let outer = tracing::info_span!(
            "outer",
            user.id = 42,
            path = "/a \"b\"",
            late = tracing::field::Empty
        );
        let _outer = outer.enter();
        tracing::info!("in one");
        let inner =
            tracing::debug_span!("inner", debug = ?Some("x"), f = 1.5, yes = true).entered();
        tracing::info!("in two");
        outer.record("late", 3);
        tracing::info!("in two, with more");
        drop(inner);
        let _empty = tracing::info_span!("no fields").entered();
        tracing::warn!(n = 1, "last");
    });
    compare(&ours, &theirs);
    assert_eq!(ours[2]["spans"].as_array().map(Vec::len), Some(2));
}
