//! Both: the same job under ttlog's layer and under tracing-subscriber's JSON, and what each made
//! of it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing_subscriber::prelude::*;

use super::shown::{LONG, records};

#[derive(Clone, Default)]
pub(crate) struct Buffer(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `job` under both, and returns what each made of it.
pub(crate) fn both(job: impl FnOnce()) -> (Vec<Value>, Vec<Value>) {
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
fn differs(name: &str, theirs: &Value) -> Option<Value> {
    Some(match name {
        // With its sources.
        "error" if theirs == "two" => "two: one".into(),
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

/// The fields of theirs but for one, as ttlog shows them.
fn expected(theirs: &Value, but: &str) -> serde_json::Map<String, Value> {
    let mut fields = without(theirs, &[but]);
    for (name, value) in &mut fields {
        if let Some(shown) = differs(name, value) {
            *value = shown;
        }
    }
    fields
}

/// Both say the same of each event, field by field, but for what [`differs`].
pub(crate) fn compare(ours: &[Value], theirs: &[Value]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for name in ["level", "target"] {
            assert_eq!(ours[name], theirs[name], "{name}");
        }
        assert_eq!((&ours["file"], &ours["line"]), (&theirs["filename"], &theirs["line_number"]));
        let message = theirs["fields"].get("message").cloned().unwrap_or_default();
        assert_eq!(ours.get("message").cloned().unwrap_or_default(), message);
        assert_eq!(without(&ours["fields"], &[]), expected(&theirs["fields"], "message"));
        let spans = |value: &Value| value["spans"].as_array().cloned().unwrap_or_default();
        let (our_spans, their_spans) = (spans(ours), spans(theirs));
        assert_eq!(our_spans.len(), their_spans.len(), "{ours} {theirs}");
        for (ours, theirs) in our_spans.iter().zip(&their_spans) {
            assert_eq!(ours["name"], theirs["name"]);
            assert_eq!(ours["id"].as_str().map(str::len), Some(16));
            assert_eq!(without(&ours["fields"], &[]), expected(theirs, "name"));
        }
    }
}
