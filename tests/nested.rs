//! Values that serde serialises: maps and lists are kept, and nest in JSON.
#![cfg(feature = "serde")]

mod shown;

use std::collections::BTreeMap;

use serde::Serialize;
use shown::{LONG, records};
use ttlog::render::{Format, Renderer};
use ttlog::view::Value;

#[derive(Serialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
    note: Option<&'static str>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    price: f64,
}

/// A map that JSON has no words for.
type Odd = BTreeMap<Vec<u8>, u8>;

#[test]
fn maps_and_lists_nest_and_what_cannot_be_serialised_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = ttlog::Builder::new(dir.path()).build().expect("a logger");
    let lines = vec![Line { name: "a\u{202e}\"\n", price: 1.5 }, Line { name: "b", price: 2.0 }];
    let order = Order { id: 7, lines, note: None };
    let odd = Odd::from([(vec![1], 2)]);
    let long = vec!["x".repeat(1_000); 1_000];
    ttlog::info!(logger: &handle, order = ttlog::serde(&order), n = 1, "ordered");
    ttlog::info!(logger: &handle, odd = ttlog::serde(&odd), plain = ttlog::serde(&5), "odd");
    ttlog::info!(logger: &handle, long = ttlog::serde(&long), n = 2, "long");
    ttlog::info!(logger: &handle, list = ttlog::serde(&["a"]), "{}", "message");
    handle.shutdown(LONG).expect("a disk that answers");
    let records = records(dir.path());
    let json: Vec<serde_json::Value> = records
        .iter()
        .map(|record| {
            let mut line = Vec::new();
            Renderer::new(Format::Json).event(&record.event(), &mut line);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert!(!String::from_utf8_lossy(&line).contains('\u{202e}'), "hidden characters");
            serde_json::from_slice(&line).expect("strict JSON")
        })
        .collect();
    assert_eq!(json[0]["fields"]["order"], serde_json::to_value(&order).expect("JSON"));
    assert_eq!(json[0]["fields"]["n"], 1);
    assert_eq!(json[1]["fields"]["odd"], "key must be a string");
    assert_eq!(json[1]["fields"]["plain"], 5);
    assert!(records[2].truncated() && records[2].field("long").is_none());
    assert_eq!(records[2].field("n"), Some(2.into()));
    let Some(Value::Nested(list)) = records[3].field("list") else { panic!("no list") };
    assert_eq!((list.as_str(), records[3].message().as_ref()), (r#"["a"]"#, "message"));
}
