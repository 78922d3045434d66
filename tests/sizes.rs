//! Records of any size (R27): of no byte, of one, of more than a record holds, and of ten thousand
//! fields; what is too long is cut alone.
#![cfg(feature = "log")]

mod shown;

use log::kv::{Error, Key, Source, Value, VisitSource};
use shown::{LONG, records};

/// Key-values that nobody could write down.
struct Many(Vec<String>);

impl Source for Many {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        for (n, key) in self.0.iter().enumerate() {
            visitor.visit_pair(Key::from_str(key), Value::from(n))?;
        }
        Ok(())
    }
}

fn log_many(n: usize) {
    let many = Many((0..n).map(|n| format!("field.number.{n}")).collect());
    let record = log::Record::builder()
        .args(format_args!("many"))
        .level(log::Level::Info)
        .target("sizes")
        .key_values(&many)
        .build();
    log::logger().log(&record);
}

#[test]
fn r27_no_byte_one_byte_too_many_bytes_and_ten_thousand_fields() {
    let dir = tempfile::tempdir().expect("a directory");
    let logger = ttlog::Builder::new(dir.path()).init().expect("a logger");
    ttlog::bridge::init().expect("the bridge");
    let long = "x".repeat(8 << 20);
    for round in 0..3_u8 {
        ttlog::info!("");
        ttlog::info!(round);
        ttlog::info!(before = 1, long, behind = 2, "too long");
        log_many(10_000);
        log_many(100);
        ttlog::info!("behind");
    }
    logger.shutdown(LONG).expect("the end");
    let stats = logger.stats();
    assert_eq!((stats.written, stats.lost(), stats.truncated), (18, 0, 3), "{stats:?}");
    let records = records(dir.path());
    for (round, records) in records.chunks(6).enumerate() {
        let [empty, one, long, many, some, behind] = records else { panic!("{records:?}") };
        assert_eq!((empty.message(), empty.fields().count()), ("".into(), 0));
        assert_eq!(one.field("round"), Some(round.into()));
        let text = long.field("long").expect("most of it").to_string();
        assert!(text.len() > 100_000 && text.bytes().all(|byte| byte == b'x'), "{}", text.len());
        assert_eq!((long.field("before"), long.field("behind")), (Some(1.into()), Some(2.into())));
        assert_eq!(long.message(), "too long");
        assert_eq!(many.message(), "many");
        // Their names stand in the statement's definition, so that they fit.
        assert_eq!(many.fields().count(), 10_000);
        assert_eq!(many.field("field.number.9999"), Some(9_999.into()));
        assert_eq!((some.fields().count(), behind.message()), (100, "behind".into()));
    }
    assert_eq!(records.len(), 18);
}
