//! Records of log through the bridge. One test, since log and ttlog have one global logger each.
#![cfg(feature = "log")]

mod shown;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use log::LevelFilter;
use shown::{LONG, records};
use ttlog::view::{Record, Value};
use ttlog::{Builder, Level};

#[derive(Debug)]
struct Outer;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&fmt::Error)
    }
}

fn log_all() {
    let error = Outer;
    log::info!("plain");
    log::warn!(target: "dep::net", "formatted {} {:?}", 1, "x");
    log::error!(
        u = u64::MAX, i = -1, f = 1.5, yes = true, text = "t", c = 'c', wide = u128::MAX,
        shown:% = "displayed", debugged:? = Some(1), error:err = error, none = Option::<u64>::None;
        "with values"
    );
    for n in 0..2 {
        log::info!(n; "counted");
    }
    log::debug!("not wanted");
    log::debug!(target: "app::db", "wanted");
}

fn field(record: &Record, name: &str) -> Value {
    record.field(name).unwrap_or_else(|| panic!("no {name}"))
}

fn check(records: &[Record]) {
    let messages: Vec<_> = records.iter().map(|record| record.message().into_owned()).collect();
    let expected = ["plain", "formatted 1 \"x\"", "with values", "counted", "counted", "wanted"];
    assert_eq!(messages, expected);
    let levels: Vec<_> = records.iter().map(Record::level).collect();
    let (info, warn, error) = (Level::INFO, Level::WARN, Level::ERROR);
    assert_eq!(levels, [info, warn, error, info, info, Level::DEBUG]);
    assert_eq!((records[0].target(), records[1].target()), (module_path!(), "dep::net"));
    assert_eq!((records[0].file(), records[0].module()), (Some(file!()), module_path!()));
    assert_eq!(records[1].line(), records[0].line().map(|line| line + 1));
    let values = &records[2];
    assert_eq!(field(values, "u"), u64::MAX.into());
    assert_eq!(field(values, "i"), (-1).into());
    assert_eq!(field(values, "f"), 1.5.into());
    assert_eq!(field(values, "yes"), true.into());
    assert_eq!(field(values, "text"), "t".into());
    assert_eq!(field(values, "c"), 'c'.into());
    assert_eq!(field(values, "wide"), u128::MAX.into());
    assert_eq!(field(values, "shown"), "displayed".into());
    assert_eq!(field(values, "debugged"), "Some(1)".into());
    let Value::Error(chain) = field(values, "error") else { panic!("no error") };
    assert_eq!(chain, ["outer".to_owned(), fmt::Error.to_string()]);
    assert!(values.field("none").is_none());
    assert_eq!([&records[3], &records[4]].map(|r| field(r, "n")), [0.into(), 1.into()]);
}

#[test]
fn records_of_log_arrive_with_their_values_and_follow_the_filter() {
    assert_eq!(log::max_level(), LevelFilter::Off);
    let dir = tempfile::tempdir().expect("a directory");
    ttlog::bridge::init().expect("log has no logger");
    let again = ttlog::bridge::init().expect_err("it has one");
    assert!(again.to_string().contains("log has a logger already"), "{again}");
    log_all(); // before the start: goes nowhere
    assert_eq!(log::max_level(), LevelFilter::Off);

    let handle = Builder::new(dir.path()).filter("info,app::db=debug").init().expect("a logger");
    assert_eq!(log::max_level(), LevelFilter::Debug);
    assert!(log::log_enabled!(target: "app::db", log::Level::Debug));
    assert!(!log::log_enabled!(target: "other", log::Level::Debug));
    log_all();
    log::logger().flush();
    assert_eq!(handle.stats().written, 6);
    handle.shutdown(LONG).expect("a disk that answers");
    assert_eq!(log::max_level(), LevelFilter::Off);
    log_all(); // behind the end: goes nowhere
    check(&records(dir.path()));

    // Another start, another filter: the same statements follow it.
    let dir = tempfile::tempdir().expect("a directory");
    let handle = Builder::new(dir.path()).filter("error").init().expect("a logger");
    assert_eq!(log::max_level(), LevelFilter::Error);
    log_all();
    // Below log's own level, where it does not look itself.
    let quiet = log::Record::builder().level(log::Level::Info).target("x").build();
    log::logger().log(&quiet);
    handle.flush(Duration::from_secs(60)).expect("a disk that answers");
    handle.shutdown(LONG).expect("a disk that answers");
    let records = records(dir.path());
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].message(), "with values");
    // Inside of spans that grant it: log's own level lets through what could be granted.
    let dir = tempfile::tempdir().expect("a directory");
    let granting = Builder::new(dir.path()).filter("error,[job{id=7}]=debug");
    let handle = granting.init().expect("a logger");
    assert_eq!(log::max_level(), LevelFilter::Debug);
    for id in [7, 8] {
        ttlog::info_span!("job", id).in_scope(|| {
            assert_eq!(log::log_enabled!(log::Level::Debug), id == 7);
            log::debug!("in job {id}");
        });
    }
    handle.shutdown(LONG).expect("a disk that answers");
    let told: Vec<_> =
        self::records(dir.path()).iter().map(|it| it.message().into_owned()).collect();
    assert_eq!(told, ["in job 7"]);

    // By the names of key-values, as an event's by those of its fields.
    let dir = tempfile::tempdir().expect("a directory");
    let handle = Builder::new(dir.path()).filter("error,[{user}]=debug").init().expect("a logger");
    log::debug!(user = 7, ok = true; "by name");
    log::debug!(used = 7; "by another name");
    handle.shutdown(LONG).expect("a disk that answers");
    let told: Vec<_> =
        self::records(dir.path()).iter().map(|it| it.message().into_owned()).collect();
    assert_eq!(told, ["by name"]);
}
