//! What fields and messages hold, and what happens around the making of their text.
#![recursion_limit = "512"] // for a statement with 200 fields

mod reading;

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::num::{NonZero, Wrapping};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reading::{line, lines, one, records};
use ttlog::__private::{Args, Callsite, LoggerRef};
use ttlog::record::{FLAG_DYNAMIC, FLAG_TRUNCATED, RECORD_BYTES_MAX, Value, Values};
use ttlog::{Level, field, info};

/// Logs each expression as a field, and compares how it is read.
macro_rules! values {
    ($($value:expr => $shown:literal;)+) => {
        $(assert_eq!(one(|| info!(v = $value)), concat!("INFO v=", $shown));)+
    };
}

#[test]
fn every_type_keeps_its_kind() {
    values! {
        1u8 => "U8(1)";
        2u16 => "U16(2)";
        3u32 => "U32(3)";
        u64::MAX => "U64(18446744073709551615)";
        u128::MAX => "U128(340282366920938463463374607431768211455)";
        5usize => "U64(5)";
        -1i8 => "I8(-1)";
        -2i16 => "I16(-2)";
        -3 => "I32(-3)";
        -4i64 => "I64(-4)";
        i128::MIN => "I128(-170141183460469231731687303715884105728)";
        -5isize => "I64(-5)";
        1.5f32 => "F32(1.5)";
        2.5 => "F64(2.5)";
        true => "Bool(true)";
        'ß' => "Char('ß')";
        "text" => "Str(\"text\")";
        *"text" => "Str(\"text\")";
        String::from("own") => "Str(\"own\")";
        Cow::Borrowed("cow") => "Str(\"cow\")";
        Box::<str>::from("box") => "Str(\"box\")";
        Arc::new(7u8) => "U8(7)";
        Rc::new(8u8) => "U8(8)";
        &&&9u8 => "U8(9)";
        &mut 10u8 => "U8(10)";
        &mut &Box::new(11u8) => "U8(11)";
        NonZero::new(12u128).unwrap() => "U128(12)";
        NonZero::new(-13isize).unwrap() => "I64(-13)";
        Wrapping(14u16) => "U16(14)";
        b"bytes" => "Bytes([98, 121, 116, 101, 115])";
        &b"by"[..] => "Bytes([98, 121])";
        vec![1u8, 2] => "Bytes([1, 2])";
        [3u8; 2] => "Bytes([3, 3])";
        Duration::new(3, 4) => "Duration(3.000000004s)";
        field::Empty => "-";
        format_args!("{}-{}", 1, 2) => "Text(\"1-2\")";
        field::debug(Some(1)) => "Text(\"Some(1)\")";
        field::display(1.50) => "Text(\"1.5\")";
    }
}

#[test]
fn options_are_present_or_absent() {
    let none: Option<u64> = None;
    let text = String::from("yes");
    values! {
        Some("yes") => "Str(\"yes\")";
        Some(&text) => "Str(\"yes\")";
        None::<&str> => "-";
        &Some(true) => "Bool(true)";
        &mut Some(42_u64) => "U64(42)";
        none => "-";
        Some(Some(1u8)) => "U8(1)";
        Some(None::<u8>) => "-";
        None::<Option<u8>> => "-";
        Some(field::display(5)) => "Text(\"5\")";
        None::<field::DebugValue<u8>> => "-";
        Some(vec![1u8]) => "Bytes([1])";
        Some(field::Empty) => "-";
    }
    assert_eq!(
        one(|| info!(a = none, b = 1u8, c = Some(2u8), "after {}", 3)),
        "INFO a=- b=U8(1) c=U8(2) : after 3"
    );
}

#[derive(Debug)]
struct Failure(&'static str, Option<Box<Failure>>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // One that names itself must not hang the program.
        if self.0 == "snake" { Some(self) } else { self.1.as_ref().map(|e| &**e as _) }
    }
}

#[test]
fn errors_keep_their_sources() {
    let root = Failure("root", None);
    let outer = Failure("outer", Some(Box::new(Failure("inner", Some(Box::new(root))))));
    let chain = "INFO error=Error[\"outer\", \"inner\", \"root\"]";
    assert_eq!(one(|| info!(error = &outer as &dyn Error)), chain);
    assert_eq!(one(|| info!(error = &outer as &(dyn Error + Send + Sync))), chain);
    assert_eq!(one(|| info!(error = &outer as &(dyn Error + Send))), chain);
    assert_eq!(one(|| info!(error = Some(&outer as &(dyn Error + Sync)))), chain);
    let boxed: Box<dyn Error + Send + Sync> = Box::new(outer);
    assert_eq!(one(|| info!(error = boxed)), chain);
    assert_eq!(one(|| info!(error = &*boxed)), chain);
    assert_eq!(one(|| info!(%boxed, "failed")), "INFO boxed=Text(\"outer\") : failed");
    let snake = Failure("snake", None);
    assert!(one(|| info!(error = &snake as &dyn Error)).matches("snake").count() > 10);
}

#[test]
fn a_user_type_maps_itself_to_an_encoding() {
    struct Id(u64);
    struct Name(Option<String>);
    impl ttlog::Value for Id {
        type Raw<'a> = u64;
        fn raw(&self) -> u64 {
            self.0
        }
    }
    impl ttlog::Value for Name {
        type Raw<'a> = Option<&'a str>;
        fn raw(&self) -> Option<&str> {
            self.0.as_deref()
        }
    }
    assert_eq!(one(|| info!(id = Id(5), n = Name(None))), "INFO id=U64(5) n=-");
    assert_eq!(one(|| info!(n = Name(Some("x".into())))), "INFO n=Str(\"x\")");
}

#[test]
fn messages_of_plain_values_are_deferred_and_others_are_not() {
    let text = String::from("s");
    let records = records(|| {
        info!("{} {:?} {x}", 1u8, text, x = &&'c');
        info!("{} {:?}", 1u8, Some(1));
    });
    assert_eq!(records[0].definition.template.as_deref(), Some("{} {:?} {x}"));
    assert_eq!(records[0].payload[..10], [1, 1, 0, 0, 0, b's', b'c', 0, 0, 0]);
    assert_eq!(records[1].definition.template, None);
    assert_eq!(
        records.iter().map(line).collect::<Vec<_>>(),
        ["INFO : 1 \"s\" c", "INFO : 1 Some(1)"]
    );
}

#[test]
fn expressions_are_evaluated_once_and_in_order() {
    let calls = Cell::new(0);
    let next = || {
        calls.set(calls.get() + 1);
        calls.get()
    };
    assert_eq!(
        one(|| info!(a = next(), b = %next(), "{} {0} {x} {:?}", next(), Some(next()), x = next())),
        "INFO a=I32(1) b=Text(\"2\") : 3 3 5 Some(4)"
    );
    assert_eq!(one(|| info!(a = next(), "{} {}", next(), next())), "INFO a=I32(6) : 7 8");
}

#[test]
fn one_statement_of_a_generic_function_takes_every_type() {
    fn field<T: ttlog::Value>(v: T) {
        info!(v, "field");
    }
    fn message<T: fmt::Debug>(v: T) {
        info!("got {v:?} {:?}", v);
    }
    let records = records(|| {
        field(1u8);
        field("two");
        field(Some(3u8));
        field(4u8);
        message(5);
        message("six");
    });
    assert_eq!(
        records.iter().map(line).collect::<Vec<_>>(),
        [
            "INFO v=U8(1) : field",
            "INFO v=Str(\"two\") : field",
            "INFO v=U8(3) : field",
            "INFO v=U8(4) : field",
            "INFO : got 5 5",
            "INFO : got \"six\" \"six\"",
        ]
    );
    let flags: Vec<_> = records.iter().map(|r| r.head.flags & FLAG_DYNAMIC != 0).collect();
    assert_eq!(flags, [false, true, true, false, false, false]);
    assert_eq!(records[0].head.callsite, records[1].head.callsite);
}

#[test]
fn a_debug_that_logs_is_logged_first() {
    struct Chatty(u8);
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.0 > 0 {
                info!(inner = ?Chatty(self.0 - 1), "about to format {}", self.0);
            }
            write!(f, "chatty {}", self.0)
        }
    }
    for _ in 0..2 {
        assert_eq!(
            lines(|| info!(a = %"before", b = ?Chatty(2), "done {:?}", Chatty(0))),
            [
                "INFO inner=Text(\"chatty 0\") : about to format 1",
                "INFO inner=Text(\"chatty 1\") : about to format 2",
                "INFO a=Text(\"before\") b=Text(\"chatty 2\") : done chatty 0",
            ]
        );
    }
}

struct Panics;

impl fmt::Debug for Panics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        panic!("on purpose")
    }
}

#[test]
fn a_debug_that_panics_costs_its_event_only() {
    let events = lines(|| {
        for _ in 0..3 {
            info!(v = ?1, "before");
            let caught = std::panic::catch_unwind(|| info!(v = ?Panics, "lost"));
            assert!(caught.is_err());
            info!(v = ?2, "after {:?}", Some(1));
        }
    });
    assert_eq!(
        events,
        ["INFO v=Text(\"1\") : before", "INFO v=Text(\"2\") : after Some(1)"].repeat(3)
    );
}

#[test]
fn a_display_that_fails_keeps_what_it_wrote() {
    struct Fails;
    impl fmt::Display for Fails {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }
    assert_eq!(one(|| info!(v = %Fails, n = 1)), "INFO v=Text(\"half\") n=I32(1)");
}

#[test]
fn more_than_eight_values_tell_their_kinds() {
    let nine = records(
        || info!(a = 1, b = "2", c = 3.0, d = true, e = 'e', f = 6u8, g = %7, h = 8, "{}", 9),
    );
    assert_eq!(
        line(&nine[0]),
        "INFO a=I32(1) b=Str(\"2\") c=F64(3.0) d=Bool(true) e=Char('e') f=U8(6) g=Text(\"7\") \
         h=I32(8) : 9"
    );
    assert!(nine[0].definition.dynamic);
    let eight = records(|| info!(a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, "{}", 8));
    assert!(!eight[0].definition.dynamic);
    assert_eq!(eight[0].payload.len(), 32);
}

/// Calls `info!` with 200 fields.
macro_rules! two_hundred {
    (+) => { two_hundred!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19) };
    ($($x:literal)*) => { two_hundred!(@ $([$x $x $x $x $x $x $x $x $x $x])*) };
    (@ $([$($x:literal)*])*) => { info!($($(f = $x,)*)* "many") };
}

#[test]
fn two_hundred_fields_are_kept() {
    let records = records(|| two_hundred!(+));
    assert_eq!(records[0].definition.fields.len(), 200);
    let values = Values::new(&records[0].definition, &records[0].head, &records[0].payload);
    assert_eq!(values.filter(|(_, value)| *value == Value::I32(1)).count(), 10);
    assert!(line(&records[0]).ends_with(" : many"));
}

#[test]
fn the_longest_value_is_cut_between_characters() {
    let long = "ä".repeat(RECORD_BYTES_MAX);
    let records = records(|| {
        info!(a = long, b = "short", "message {}", 1);
        info!(a = %long, b = 2);
        info!("{long}");
        info!(a = long, b = long.as_bytes(), c = "short");
        info!(e = &Failure("outer", Some(Box::new(Failure(long_static(), None)))) as &dyn Error);
    });
    for record in &records {
        assert_ne!(record.head.flags & FLAG_TRUNCATED, 0);
        let len = record.head.len();
        assert!(len <= RECORD_BYTES_MAX && len > RECORD_BYTES_MAX - 32, "{len}");
        line(record);
    }
    assert!(line(&records[0]).ends_with("b=Str(\"short\") : message 1 (cut)"));
    assert!(line(&records[1]).ends_with(" b=I32(2) (cut)"));
    assert!(line(&records[3]).ends_with(" c=Str(\"short\") (cut)"));
    assert!(line(&records[4]).starts_with("INFO e=Error[\"outer\", \"ää"));
}

fn long_static() -> &'static str {
    "ä".repeat(RECORD_BYTES_MAX).leak()
}

#[test]
fn text_is_made_in_destructors_too() {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            info!(v = ?Some(1), "in a destructor {:?}", Some(2));
        }
    }
    thread_local! {
        static LAST: Last = const { Last };
    }
    std::thread::spawn(|| {
        LAST.with(|_| ());
        info!(v = ?Some(1), "on the thread");
    })
    .join()
    .unwrap();
}

/// A logger of its own that wants what is at least as severe as its level.
struct Own {
    least: Level,
    seen: Cell<usize>,
}

impl LoggerRef for Own {
    fn wants(&self, site: &'static Callsite) -> bool {
        site.metadata().level >= self.least
    }

    fn push<A: Args>(&self, _: &'static Callsite, id: u32, _: u8, args: A) {
        assert!(id > 0);
        self.seen.set(self.seen.get() + args.len());
    }

    fn lose(&self, _: Level) {
        panic!("there is room for every definition");
    }
}

fn never() -> u8 {
    panic!("a disabled call evaluates nothing")
}

#[test]
fn a_named_logger_gets_its_events_alone() {
    let own = Own { least: Level::WARN, seen: Cell::new(0) };
    let events = lines(|| {
        for _ in 0..2 {
            info!(logger: &own, n = 1u64, "not wanted {}", never());
            ttlog::warn!(logger: &own, n = 1u64, "{}", 2u32);
            ttlog::event!(logger: own, target: "t", Level::ERROR, { n = 1u8 }, "{:?}", Some(1));
        }
        assert!(!ttlog::enabled!(logger: &own, Level::INFO));
        assert!(ttlog::enabled!(logger: own, target: "t", Level::WARN));
    });
    assert_eq!(own.seen.get(), 2 * (12 + 1 + 4 + 7));
    assert!(events.is_empty());
}

#[test]
fn threads_that_use_a_callsite_first_agree_on_it() {
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|i| scope.spawn(move || records(|| info!(i, "at once {:?}", Some(i)))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, records) in all.iter().enumerate() {
        assert_eq!(line(&records[0]), format!("INFO i=I32({i}) : at once Some({i})"));
        assert_eq!(records[0].head.callsite, all[0][0].head.callsite);
    }
}
