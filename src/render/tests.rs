//! Tests of the outputs: exact lines, strict JSON, and every code point in every position.

use std::sync::Arc;

use super::escape::is_hidden;
use super::*;
use crate::record::{
    Cause, Definition, FLAG_DYNAMIC, FLAG_SPAN, FLAG_TRUNCATED, Field, Head, Kind, Level, Losses,
    RECORD_EVENT, RECORD_SPAN_OPEN, RECORD_SPAN_VALUES, Role,
};

fn definition() -> Definition {
    Definition {
        id: 7,
        level: Level::Info,
        dynamic: false,
        target: "app::db".into(),
        name: "event src/db.rs:17".into(),
        file: "src/db.rs".into(),
        line: 17,
        module: "app::db".into(),
        template: None,
        fields: Vec::new(),
    }
}

/// A definition in the making, with a payload that fits it.
struct Sample(Definition, Vec<u8>, u8);

impl Sample {
    fn new() -> Self {
        Self(definition(), Vec::new(), 0)
    }

    fn value(mut self, role: Role, name: &str, kind: Kind, bytes: &[u8]) -> Self {
        self.0.fields.push(Field { name: name.into(), kind: kind as u8, role });
        self.1.extend_from_slice(bytes);
        self
    }

    fn text(self, role: Role, name: &str, text: &str) -> Self {
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        self.value(role, name, Kind::Str, &bytes)
    }

    fn lines(self, format: Format, thread: &str) -> String {
        self.lines_in(&[], format, thread)
    }

    fn lines_in(mut self, spans: &[Span], format: Format, thread: &str) -> String {
        self.1.resize(self.1.len().next_multiple_of(8), 0);
        let words = (self.1.len() / 8) as u16;
        let head = Head { callsite: 7, words, kind: RECORD_EVENT, flags: self.2, ticks: 1 };
        let shape = Shape::new(Arc::new(self.0));
        let event = Event {
            shape: &shape,
            head,
            payload: &self.1,
            time_ns: 1_795_255_200_123_456_789,
            thread: Thread { id: 7, name: thread },
            pid: 4242,
            late: false,
            spans,
        };
        let mut out = Vec::new();
        Renderer::new(format).event(&event, &mut out);
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn json_is_the_documented_line() {
    let mut sample = Sample::new()
        .text(Role::Message, "", "connected in 5 ms")
        .value(Role::Field, "user.id", Kind::U64, &42u64.to_le_bytes())
        .value(Role::Field, "ok", Kind::Bool, &[1])
        .value(Role::Field, "none", Kind::Empty, &[]);
    sample.2 = FLAG_TRUNCATED;
    assert_eq!(
        sample.lines(Format::Json, "worker-1"),
        concat!(
            r#"{"time":"2026-11-21T10:00:00.123456789Z","level":"INFO","target":"app::db","#,
            r#""message":"connected in 5 ms","fields":{"user.id":42,"ok":true},"truncated":true,"#,
            r#""thread":{"id":7,"name":"worker-1"},"pid":4242,"file":"src/db.rs","line":17}"#,
            "\n"
        )
    );
}

#[test]
fn what_is_empty_is_absent() {
    let mut sample = Sample::new().value(Role::Field, "none", Kind::Empty, &[]);
    sample.0.file.clear();
    sample.0.line = 0;
    assert_eq!(
        sample.lines(Format::Json, ""),
        concat!(
            r#"{"time":"2026-11-21T10:00:00.123456789Z","level":"INFO","target":"app::db","#,
            r#""thread":{"id":7},"pid":4242}"#,
            "\n"
        )
    );
}

#[test]
fn values_are_strict_json() {
    let chain = [&5u32.to_le_bytes()[..], b"outer", &4u32.to_le_bytes()[..], b"root"].concat();
    let chain = [&(chain.len() as u32).to_le_bytes()[..], &chain].concat();
    let duration = [&3u64.to_le_bytes()[..], &5u32.to_le_bytes()].concat();
    let sample = Sample::new()
        .value(Role::Field, "nan", Kind::F64, &f64::NAN.to_le_bytes())
        .value(Role::Field, "inf", Kind::F32, &f32::NEG_INFINITY.to_le_bytes())
        .value(Role::Field, "big", Kind::F64, &1e300f64.to_le_bytes())
        .value(Role::Field, "f32", Kind::F32, &0.1f32.to_le_bytes())
        .value(Role::Field, "u128", Kind::U128, &u128::MAX.to_le_bytes())
        .value(Role::Field, "i128", Kind::I128, &i128::MIN.to_le_bytes())
        .value(Role::Field, "i64", Kind::I64, &i64::MIN.to_le_bytes())
        .value(Role::Field, "char", Kind::Char, &u32::from('"').to_le_bytes())
        .value(Role::Field, "bytes", Kind::Bytes, &[2, 0, 0, 0, 0xab, 1])
        .value(Role::Field, "took", Kind::Duration, &duration)
        .value(Role::Field, "err", Kind::Error, &chain);
    let line = sample.lines(Format::Json, "");
    let fields = line.split_once(r#""fields":"#).unwrap().1.split_once(r#","thread""#).unwrap().0;
    assert_eq!(
        fields,
        concat!(
            r#"{"nan":"NaN","inf":"-inf","big":1e300,"f32":0.1,"#,
            r#""u128":"340282366920938463463374607431768211455","#,
            r#""i128":"-170141183460469231731687303715884105728","i64":-9223372036854775808,"#,
            r#""char":"\"","bytes":"ab01","took":3.000000005,"err":"outer: root"}"#
        )
    );
    serde_json::from_str::<serde_json::Value>(&line).unwrap();
}

#[test]
fn names_that_occur_again_are_numbered() {
    let sample = ["a", "a", "a#2", "a", "b"]
        .into_iter()
        .fold(Sample::new(), |sample, name| sample.value(Role::Field, name, Kind::Bool, &[1]));
    let line = sample.lines(Format::Json, "");
    assert!(line.contains(r#"{"a":true,"a#3":true,"a#2":true,"a#4":true,"b":true}"#), "{line}");
}

#[test]
fn text_formats_are_one_line_each() {
    let sample =
        || {
            Sample::new()
                .text(Role::Message, "", "two\nlines")
                .text(Role::Field, "path", "/a b")
                .value(Role::Field, "n", Kind::U8, &[9])
        };
    assert_eq!(
        sample().lines(Format::Short, "t"),
        "2026-11-21 10:00:00.123456 INFO  app::db: two\\nlines path=\"/a b\" n=9\n"
    );
    assert_eq!(
        sample().lines(Format::Verbose, "t"),
        "2026-11-21T10:00:00.123456789Z INFO  app::db: two\\nlines path=\"/a b\" n=9 | \
         thread=t/7 pid=4242 at=src/db.rs:17\n"
    );
    assert_eq!(
        sample().lines(Format::Logfmt, "t"),
        "time=2026-11-21T10:00:00.123456789Z level=info target=app::db msg=\"two\\nlines\" \
         path=\"/a b\" n=9 thread=t/7 pid=4242\n"
    );
}

#[test]
fn in_logfmt_a_value_is_one_word() {
    let json = r#"{"a":"b c=d"}"#;
    let bytes = [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat();
    let sample = Sample::new().value(Role::Field, "o", Kind::Nested, &bytes);
    assert_eq!(
        sample.lines(Format::Logfmt, "a b"),
        "time=2026-11-21T10:00:00.123456789Z level=info target=app::db \
         o=\"{\\\"a\\\":\\\"b c=d\\\"}\" thread=\"a b/7\" pid=4242\n"
    );
}

#[test]
fn lost_events_are_one_json_line_a_cause() {
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 1204);
    losses.add(Cause::Full, Level::Warn, 1);
    losses.add(Cause::Io, Level::Error, 2);
    let thread = Thread { id: 7, name: "worker-1" };
    let lost = Lost { time_ns: 0, losses: &losses, thread, pid: 4242 };
    let mut out = Vec::new();
    Renderer::new(Format::Json).lost(&lost, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000000000Z","kind":"lost","lost":{"INFO":1204,"WARN":1},"#,
            r#""cause":"full","thread":{"id":7,"name":"worker-1"},"pid":4242}"#,
            "\n",
            r#"{"time":"1970-01-01T00:00:00.000000000Z","kind":"lost","lost":{"ERROR":2},"#,
            r#""cause":"io","thread":{"id":7,"name":"worker-1"},"pid":4242}"#,
            "\n"
        )
    );
    let mut out = Vec::new();
    Renderer::new(Format::Short).lost(&lost, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "1970-01-01 00:00:00.000000 LOST 1207 events (INFO 1204 full, WARN 1 full, ERROR 2 io) \
         thread=worker-1/7 pid=4242\n"
    );
}

/// One event for each position that foreign text can take.
fn in_every_position(text: &str) -> [(Sample, &str); 7] {
    let mut template = Sample::new().text(Role::Argument, "", text);
    template.0.template = Some("a {} b".into());
    let mut target = Sample::new();
    target.0.target = text.into();
    let mut file = Sample::new();
    file.0.file = text.into();
    [
        (Sample::new().text(Role::Message, "", text), ""),
        (template, ""),
        (Sample::new().value(Role::Field, text, Kind::Bool, &[1]), ""),
        (Sample::new().text(Role::Field, "key", text), ""),
        (target, ""),
        (Sample::new(), "thread"),
        (file, ""),
    ]
}

#[test]
fn no_code_point_breaks_a_line_in_any_position_and_format() {
    // R31. A chunk of code points at once finds the same faults as one at a time: what is hidden
    // must not appear at all, and a line must stay one line.
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    for chunk in all.chunks(512) {
        let text: String = chunk.iter().flat_map(|c| ['x', *c]).collect();
        for format in
            [Format::Short, Format::ShortIso, Format::Verbose, Format::Json, Format::Logfmt]
        {
            for (sample, thread) in in_every_position(&text) {
                let name = if thread.is_empty() { "main" } else { &text };
                let line = sample.lines(format, name);
                let body = line.strip_suffix('\n').unwrap();
                assert!(!body.chars().any(is_hidden), "{format:?} {body:?}");
                if format == Format::Json {
                    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
                }
            }
        }
    }
}

/// A span as its opening and a later record told it.
fn request() -> Span {
    let field = |name: &str, kind| Field { name: name.into(), kind: kind as u8, role: Role::Field };
    let mut definition = Sample::new().0;
    definition.name = "request".into();
    definition.fields = vec![field("user.id", Kind::U64), field("path", Kind::Empty)];
    let shape = Shape::new(Arc::new(definition));
    let opened = [&1u64.to_le_bytes()[..], &0u64.to_le_bytes(), &42u64.to_le_bytes()].concat();
    let open = Head { callsite: 7, words: 3, kind: RECORD_SPAN_OPEN, flags: FLAG_SPAN, ticks: 1 };
    let told = [1, Kind::Str as u8, 2, 0, 0, 0, b'/', b'"'];
    let told = [&1u64.to_le_bytes()[..], &told].concat();
    let flags = FLAG_SPAN | FLAG_DYNAMIC;
    let values = Head { callsite: 7, words: 2, kind: RECORD_SPAN_VALUES, flags, ticks: 2 };
    Span::told(&shape, 0xabcd, [(&open, &opened[..]), (&values, &told)])
}

#[test]
fn spans_stand_behind_the_fields_outermost_first() {
    let sample = || Sample::new().text(Role::Message, "", "hi").value(Role::Field, "n", Kind::U8, &[7]);
    let spans = [request(), Span::unknown(u64::MAX)];
    let json = sample().lines_in(&spans, Format::Json, "");
    let expected = concat!(
        r#""fields":{"n":7},"spans":[{"name":"request","id":"000000000000abcd","fields":"#,
        r#"{"user.id":42,"path":"/\""}},{"id":"ffffffffffffffff"}],"thread":{"id":7}"#
    );
    assert!(json.contains(expected), "{json}");
    let text = sample().lines_in(&spans, Format::Short, "");
    let expected = " INFO  app::db: request{user.id=42 path=\"/\\\"\"}:#ffffffffffffffff: hi n=7\n";
    assert!(text.ends_with(expected), "{text}");
    let logfmt = sample().lines_in(&spans[1..], Format::Logfmt, "");
    assert!(logfmt.contains(" msg=hi n=7 spans=#ffffffffffffffff thread="), "{logfmt}");
}
