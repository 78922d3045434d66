//! Tests of lines of other programs.

use super::*;

fn line(text: &str) -> ParsedLine {
    ParsedLine::parse(text, false)
}

fn field(name: &str, value: FieldValue) -> (String, FieldValue) {
    (name.to_owned(), value)
}

#[test]
fn json_keeps_its_fields_without_those_that_were_understood() {
    let parsed = line(
        r#"{"ts":"2026-11-21T10:00:00.5Z","Severity":"WARNING","msg":"a\nb","n":5,"m":-5,"f":1.5,"b":true,"z":null,"o":{"x":[1]}}"#,
    );
    assert_eq!(parsed.time_ns, Some(1_795_255_200_500_000_000));
    assert_eq!((parsed.level, parsed.message.as_str()), (Level::Warn, "a\nb"));
    let mut fields = parsed.fields;
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        fields,
        [
            field("b", FieldValue::Bool(true)),
            field("f", FieldValue::F64(1.5)),
            field("m", FieldValue::I64(-5)),
            field("n", FieldValue::U64(5)),
            field("o", FieldValue::Str(r#"{"x":[1]}"#.into())),
        ]
    );
}

#[test]
fn logfmt_is_understood() {
    let parsed =
        line(r#"time=1795255200.25 level=error msg="it \"broke\"" path=/a n=5 zip=007 e= "#);
    assert_eq!(parsed.time_ns, Some(1_795_255_200_250_000_000));
    assert_eq!((parsed.level, parsed.message.as_str()), (Level::Error, "it \"broke\""));
    assert_eq!(
        parsed.fields,
        [
            field("path", FieldValue::Str("/a".into())),
            field("n", FieldValue::U64(5)),
            field("zip", FieldValue::Str("007".into())),
            field("e", FieldValue::Str(String::new())),
        ]
    );
}

#[test]
fn other_lines_are_messages() {
    for text in ["hello world", "x = 5", "a=1 and more", "{broken", "[1]", "", "=5", "a=\"open"] {
        let parsed = line(text);
        assert_eq!(parsed.message, text);
        assert_eq!((parsed.level, parsed.time_ns, parsed.fields.len()), (Level::Info, None, 0));
    }
}

#[test]
fn what_is_not_understood_stays_a_field() {
    let parsed = line(r#"{"level":"loud","time":"soon","message":5,"msg":"m"}"#);
    assert_eq!((parsed.level, parsed.time_ns, parsed.message.as_str()), (Level::Info, None, "m"));
    assert_eq!(parsed.fields.len(), 3);
}

#[test]
fn times_tell_their_unit_by_their_size() {
    for number in ["1795255200", "1795255200000", "1795255200000000", "1795255200000000000"] {
        let parsed = line(&format!(r#"{{"time":{number}}}"#));
        assert_eq!(parsed.time_ns, Some(1_795_255_200_000_000_000), "{number}");
    }
    assert_eq!(line(r#"{"level":40}"#).level, Level::Warn);
}

#[test]
fn long_lines_are_cut_and_marked() {
    let parsed = line(&"ä".repeat(100_000));
    assert!(parsed.truncated && parsed.message.len() <= TEXT_BYTES_MAX);
    let long = "x".repeat(200_000);
    let parsed = line(&format!(r#"{{"msg":"short","a":"{long}","b":"{long}"}}"#));
    assert_eq!(parsed.message, "short");
    let len: usize = parsed
        .fields
        .iter()
        .map(|(_, value)| if let FieldValue::Str(text) = value { text.len() } else { 0 })
        .sum();
    assert!(parsed.truncated && len <= TEXT_BYTES_MAX);
    assert!(!line("short").truncated);
}
