//! Events through the layer: every kind of value, every kind of callsite, whatever happens around.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod shown;

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;

use shown::{LONG, records};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use ttlog::Level;
use ttlog::view::{Record, Value};

/// Runs `job` with a layer on a registry, and reads back what it logged.
fn logged(job: impl FnOnce()) -> Vec<Record> {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).app("layer", "1").build().unwrap();
    let default = tracing_subscriber::registry().with(layer).set_default();
    job();
    drop(default);
    handle.shutdown(LONG).unwrap();
    records(dir.path())
}

fn fields(record: &Record) -> Vec<(String, String)> {
    record.fields().map(|(name, value)| (name.to_owned(), format!("{value:?}"))).collect()
}

#[derive(Debug)]
struct Outer(Inner);
#[derive(Debug)]
struct Inner;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}
impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("inner")
    }
}
impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
impl Error for Inner {}

#[test]
fn values_of_every_kind_keep_their_types() {
    let error = Outer(Inner);
    let records = logged(|| {
        tracing::info!(
            u = u64::MAX,
            i = i64::MIN,
            wide = u128::MAX,
            deep = i128::MIN,
            f = 0.1,
            nan = f64::NAN,
            yes = true,
            text = "a\nb",
            bytes = &[0u8, 0xff][..],
            error = &error as &(dyn Error + 'static),
            debug = ?Some("x"),
            display = %"shown",
            nonzero = NonZeroU64::new(7),
            none = Option::<u64>::None,
            empty = tracing::field::Empty,
            user.id = 42u8,
            "quoted name" = 'c'.to_string(),
            r#type = "raw",
            "done in {} ms",
            5
        );
    });
    let [record] = &records[..] else { panic!("{records:?}") };
    let field = |name: &str| record.field(name).unwrap();
    assert_eq!(record.message(), "done in 5 ms");
    assert_eq!(field("u"), u64::MAX.into());
    assert_eq!(field("i"), i64::MIN.into());
    assert_eq!(field("wide"), u128::MAX.into());
    assert_eq!(field("deep"), i128::MIN.into());
    assert_eq!(field("f"), 0.1.into());
    assert!(matches!(field("nan"), Value::F64(nan) if nan.is_nan()));
    assert_eq!(field("yes"), true.into());
    assert_eq!(field("text"), "a\nb".into());
    assert_eq!(field("bytes"), (&[0u8, 0xff][..]).into());
    assert!(matches!(field("error"), Value::Error(chain) if chain == ["outer", "inner"]));
    assert_eq!(field("debug"), "Some(\"x\")".into());
    assert_eq!(field("display"), "shown".into());
    assert_eq!(field("nonzero"), 7.into());
    assert_eq!(field("user.id"), 42.into());
    assert_eq!(field("quoted name"), "c".into());
    assert_eq!(field("type"), "raw".into());
    assert_eq!((record.field("none"), record.field("empty")), (None, None));
}

#[test]
fn an_event_says_where_it_comes_from() {
    let records = logged(|| {
        tracing::warn!(name: "my event", target: "app::db", "one");
        tracing::trace!("two");
    });
    let [one, two] = &records[..] else { panic!("{records:?}") };
    assert_eq!((one.level(), one.target(), one.name()), (Level::WARN, "app::db", "my event"));
    assert_eq!((one.file(), one.module()), (Some(file!()), module_path!()));
    assert!(one.line().is_some_and(|line| two.line() == Some(line + 1)));
    assert_eq!((two.level(), two.target()), (Level::TRACE, module_path!()));
    assert_eq!(one.pid(), std::process::id());
}

/// The first event decides what a callsite's definition has; the others must say the same.
#[test]
fn fields_that_come_and_go_and_change_their_kinds_are_kept() {
    fn log(id: Option<u64>, path: Option<&str>) {
        tracing::info!(id, path, "request");
    }
    fn any(value: &dyn tracing::Value) {
        tracing::info!(value, last = 1);
    }
    let records = logged(|| {
        log(None, None);
        log(Some(1), None);
        log(None, Some("/x"));
        log(Some(2), Some("/y"));
        log(Some(3), Some("/z"));
        any(&1u64);
        any(&"text");
        any(&1.5);
        any(&2u64);
    });
    let shown: Vec<_> = records.iter().map(fields).collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        vec![],
        vec![pair("id", "U64(1)")],
        vec![pair("path", "Str(\"/x\")")],
        vec![pair("id", "U64(2)"), pair("path", "Str(\"/y\")")],
        vec![pair("id", "U64(3)"), pair("path", "Str(\"/z\")")],
        vec![pair("value", "U64(1)"), pair("last", "I64(1)")],
        vec![pair("value", "Str(\"text\")"), pair("last", "I64(1)")],
        vec![pair("value", "F64(1.5)"), pair("last", "I64(1)")],
        vec![pair("value", "U64(2)"), pair("last", "I64(1)")],
    ];
    assert_eq!(shown, expected);
    assert!(records[..5].iter().all(|record| record.message() == "request"));
}

#[test]
fn more_fields_than_are_remembered_in_place_are_kept() {
    macro_rules! many {
        ($($name:ident)*) => { tracing::info!($($name = stringify!($name)),*) };
    }
    let records = logged(|| {
        for _ in 0..2 {
            many!(f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19
                f20 f21 f22 f23 f24 f25 f26 f27 f28 f29 f30 f31);
        }
    });
    assert_eq!(records.len(), 2);
    for record in &records {
        let fields: Vec<_> = record.fields().collect();
        assert_eq!(fields.len(), 32);
        assert!(fields.iter().all(|(name, value)| *value == Value::from(*name)));
    }
}

#[test]
fn what_is_too_long_is_cut_between_characters_and_marked() {
    let long = "ä".repeat(200_000);
    let records = logged(|| {
        for n in [1, 2] {
            tracing::info!(n, long, other = "kept", "message");
        }
        tracing::info!(bytes = &[7u8; 300_000][..], debug = ?long, "message");
    });
    assert_eq!(records.len(), 3);
    for record in &records {
        assert!(record.truncated());
        assert_eq!(record.message(), "message");
    }
    for record in &records[..2] {
        assert_eq!(record.field("other"), Some("kept".into()));
        let Some(Value::Str(text)) = record.field("long") else { panic!("no text") };
        assert!(text.len() > 100_000 && text.chars().all(|c| c == 'ä'));
    }
}

#[test]
fn events_of_tracing_log_are_shown_as_the_records_they_were() {
    use tracing_log::log::{self, Log as _};
    let tracer = tracing_log::LogTracer::new();
    let records = logged(|| {
        for (line, level) in [(7, log::Level::Warn), (8, log::Level::Debug)] {
            let args = format_args!("from {}", "log");
            let record = log::Record::builder()
                .args(args)
                .level(level)
                .target("dep::net")
                .module_path(Some("dep::net::tcp"))
                .file(Some("net.rs"))
                .line(Some(line))
                .build();
            tracer.log(&record);
        }
    });
    let [one, two] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (one.level(), one.target(), one.module()),
        (Level::WARN, "dep::net", "dep::net::tcp")
    );
    assert_eq!((one.file(), one.line()), (Some("net.rs"), Some(7)));
    assert_eq!(one.message(), "from log");
    assert_eq!(one.fields().count(), 0);
    assert_eq!((two.level(), two.line()), (Level::DEBUG, Some(8)));
}

#[test]
fn filters_of_other_layers_do_not_concern_it_and_its_own_concerns_it_alone() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (all, one) = ttlog::layer(dirs[0].path()).build().unwrap();
    let (own, two) = ttlog::layer(dirs[1].path()).filter("warn,app::db=debug").build().unwrap();
    let (put, three) = ttlog::layer(dirs[2].path()).build().unwrap();
    let put = put.with_filter(Targets::new().with_target("app", LevelFilter::INFO));
    let text =
        tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(LevelFilter::ERROR);
    let stack = tracing_subscriber::registry().with(text).with(all).with(own).with(put);
    tracing::subscriber::with_default(stack, || {
        tracing::debug!(target: "app::db", "a");
        tracing::info!(target: "app", "b");
        tracing::warn!(target: "other", "c");
        tracing::trace!(target: "other", "d");
    });
    let messages = [(&dirs[0], one), (&dirs[1], two), (&dirs[2], three)].map(|(dir, handle)| {
        handle.shutdown(LONG).unwrap();
        records(dir.path()).iter().map(|record| record.message().into_owned()).collect::<String>()
    });
    assert_eq!(messages, ["abcd", "ac", "b"]);
}

#[test]
fn the_lean_subscriber_logs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (subscriber, handle) = ttlog::layer(dir.path()).subscriber().unwrap();
    tracing::subscriber::with_default(subscriber, || tracing::info!(n = 1, "alone"));
    handle.shutdown(LONG).unwrap();
    let records = records(dir.path());
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].message().as_ref(), records[0].field("n")), ("alone", Some(1.into())));
}

#[test]
fn threads_log_through_one_layer_and_nothing_is_lost_or_mixed_up() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    for n in 0..5_000u64 {
                        tracing::info!(thread, n, "n is {n}");
                    }
                });
            });
        }
    });
    assert_eq!(handle.shutdown(LONG).unwrap().events, 20_000);
    let mut next = [0u64; 4];
    for record in records(dir.path()) {
        let Some(Value::U64(thread)) = record.field("thread") else { panic!("no thread") };
        let n = &mut next[thread as usize];
        assert_eq!(record.field("n"), Some((*n).into()), "in the order of its thread");
        assert_eq!(record.message(), format!("n is {n}"));
        *n += 1;
    }
    assert_eq!(next, [5_000; 4]);
}

/// A `Debug` that logs through the same layer while its event is being recorded.
#[test]
fn events_below_an_event_are_logged_whole() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!(inner = 1, "below");
            f.write_str("chatty")
        }
    }
    let records = logged(|| tracing::info!(before = "b", value = ?Chatty, after = 3, "above"));
    let above = records.iter().find(|record| record.message() == "above").unwrap();
    assert_eq!(above.field("before"), Some("b".into()));
    assert_eq!(above.field("value"), Some("chatty".into()));
    assert_eq!(above.field("after"), Some(3.into()));
}

/// The values of most events find room on the stack; these do not, in one piece or in many.
#[test]
fn events_are_whole_however_long_they_are() {
    for len in [0, 7, 8, 31, 33, 200, 480, 490, 500, 505, 510, 515, 600, 5_000, 40_000] {
        let text = "x".repeat(len);
        let pieces = vec!["y"; len / 10];
        let records = logged(|| {
            for n in 0..3 {
                tracing::info!(n, text, list = ?pieces, last = true, "{text}{n}");
            }
        });
        assert_eq!(records.len(), 3);
        for (n, record) in records.iter().enumerate() {
            assert!(record.message() == format!("{text}{n}"), "{len}");
            assert_eq!(record.field("n"), Some(n.into()), "{len}");
            assert!(record.field("text") == Some(text.as_str().into()), "{len}");
            assert!(record.field("list") == Some(format!("{pieces:?}").into()), "{len}");
            assert_eq!(record.field("last"), Some(true.into()), "{len}");
        }
    }
}

/// tracing asks a field's `Debug` as often as it likes; one that panics must leave nothing behind.
#[test]
fn a_debug_that_panics_harms_no_later_event() {
    struct Bad;
    impl fmt::Debug for Bad {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("on purpose")
        }
    }
    let records = logged(|| {
        let result = std::panic::catch_unwind(|| tracing::info!(value = ?Bad, "lost"));
        assert!(result.is_err());
        tracing::info!(n = 1, "kept");
    });
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].message(), "kept");
}

#[test]
fn after_the_end_events_go_nowhere_and_another_layer_may_follow() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for dir in &dirs {
        let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
        let _default = tracing_subscriber::registry().with(layer).set_default();
        tracing::info!("before");
        handle.shutdown(LONG).unwrap();
        tracing::info!("after");
        assert_eq!(handle.stats().lost(), 0);
    }
    for dir in &dirs {
        let messages: Vec<_> =
            records(dir.path()).iter().map(|record| record.message().into_owned()).collect();
        assert_eq!(messages, ["before"]);
    }
}

/// Two layers at a time: one of them has the fast way, and both log everything.
#[test]
fn two_layers_of_one_thread_have_their_own_lanes() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, one) = ttlog::layer(dirs[0].path()).build().unwrap();
    let (second, two) = ttlog::layer(dirs[1].path()).build().unwrap();
    tracing::subscriber::with_default(
        tracing_subscriber::registry().with(first).with(second),
        || {
            for n in 0..3_000 {
                tracing::info!(n);
            }
        },
    );
    for (dir, handle) in dirs.iter().zip([one, two]) {
        assert_eq!(handle.shutdown(LONG).unwrap().events, 3_000);
        let records = records(dir.path());
        assert!(records.iter().zip(0..).all(|(record, n)| record.field("n") == Some(n.into())));
    }
}
