//! Every form of tracing's event macros, read back.
//!
//! The forms are those of tracing 0.1.44's documentation and of its tests `macros`, `event`,
//! `enabled`, `macro_imports`, `macros_incompatible_concat` and `future_send`.
//!
//! | differs | tracing | here |
//! | --- | --- | --- |
//! | order of fields | the message comes first | the message is no field, unless written `message = …` |
//! | number of fields | 32 (64 with values) | as many as `recursion_limit` allows, about 100 by default |
//! | `&dyn Value` | a value may be a trait object | `Value` has an associated type; `&dyn Error` works |
//! | `enabled!(kind: …)`, `event_enabled!` | there | not there |
//! | byte slices, `Duration` | `Debug` text | values of their own |
//! | `None` | the field is not visited | the field is there and empty |

mod reading;

use reading::{line, lines, one, records};
use ttlog::{Level, enabled};

/// A macro of this name must not get in the way.
#[macro_export]
macro_rules! concat {
    () => {};
}

#[derive(Clone, Copy, Debug)]
struct DisplayDebug;

impl std::fmt::Display for DisplayDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("shown")
    }
}

/// Logs each form through one macro and compares all lines.
macro_rules! table {
    ($($macro:ident $args:tt => $line:expr;)+) => {{
        $(assert_eq!(one(|| ttlog::$macro! $args), $line, "{}", stringify!($macro! $args));)+
    }};
}

macro_rules! forms_of {
    ($m:ident $level:literal $fields:ident $heads:ident) => {
        #[test]
        fn $fields() {
            let at = |rest: &str| format!("{}{rest}", $level);
            let foo = 1;
            table! {
                $m(foo = ?3, bar.baz = %2, quux = false)
                    => at(" foo=Text(\"3\") bar.baz=Text(\"2\") quux=Bool(false)");
                $m(foo = 3, bar.baz = 2, quux = false)
                    => at(" foo=I32(3) bar.baz=I32(2) quux=Bool(false)");
                $m(foo = 3, bar.baz = 3,) => at(" foo=I32(3) bar.baz=I32(3)");
                $m("foo" = 3, bar.baz = 3,) => at(" foo=I32(3) bar.baz=I32(3)");
                $m(foo = 3, "bar.baz" = 3,) => at(" foo=I32(3) bar.baz=I32(3)");
                $m("foo") => at(" : foo");
                $m("foo: {}", 3) => at(" : foo: 3");
                $m(foo = ?3, bar.baz = %2, quux = false, "hello world {:?}", 42) => at(
                    " foo=Text(\"3\") bar.baz=Text(\"2\") quux=Bool(false) : hello world 42");
                $m(foo = 3, bar.baz = 3, "hello world {:?}", 42,)
                    => at(" foo=I32(3) bar.baz=I32(3) : hello world 42");
                $m({ foo = 3, bar.baz = 80 }, "quux") => at(" foo=I32(3) bar.baz=I32(80) : quux");
                $m({ "foo" = 3, "bar.baz" = 80 }, "quux")
                    => at(" foo=I32(3) bar.baz=I32(80) : quux");
                $m({ foo = 2, bar.baz = 79 }, "quux {:?}", true)
                    => at(" foo=I32(2) bar.baz=I32(79) : quux true");
                $m({ foo = 2, bar.baz = 79 }, "quux {:?}, {quux}", true, quux = false)
                    => at(" foo=I32(2) bar.baz=I32(79) : quux true, false");
                $m({ foo = ?2, bar.baz = %78 }, "quux")
                    => at(" foo=Text(\"2\") bar.baz=Text(\"78\") : quux");
                $m(?foo) => at(" foo=Text(\"1\")");
                $m(%foo) => at(" foo=Text(\"1\")");
                $m(foo) => at(" foo=I32(1)");
                $m("foo" = ?foo) => at(" foo=Text(\"1\")");
                $m("foo" = %foo) => at(" foo=Text(\"1\")");
                $m("foo" = foo) => at(" foo=I32(1)");
            }
        }

        #[test]
        fn $heads() {
            const PARENT: Option<ttlog::span::Id> = None;
            let at = |rest: &str| format!("{}{rest}", $level);
            let foo = 1;
            table! {
                $m(target: "foo_events", { foo = 2, bar.baz = 78, }, "quux")
                    => at(" [foo_events] foo=I32(2) bar.baz=I32(78) : quux");
                $m(name: "foo", foo = 3, bar.baz = 2, quux = false)
                    => at(" (foo) foo=I32(3) bar.baz=I32(2) quux=Bool(false)");
                $m(name: "foo", target: "foo_events", foo = 3, bar.baz = 2)
                    => at(" [foo_events] (foo) foo=I32(3) bar.baz=I32(2)");
                $m(name: "foo", parent: PARENT, foo = 3) => at(" (foo) foo=I32(3)");
                $m(target: "foo_events", foo = 3, bar.baz = 3,)
                    => at(" [foo_events] foo=I32(3) bar.baz=I32(3)");
                $m(target: "foo_events", "foo") => at(" [foo_events] : foo");
                $m(target: "foo_events", "foo: {}", 3) => at(" [foo_events] : foo: 3");
                $m(target: "foo_events", { foo = 2 }, "quux {:?}, {quux}", true, quux = false)
                    => at(" [foo_events] foo=I32(2) : quux true, false");
                $m(name: "foo", ?foo) => at(" (foo) foo=Text(\"1\")");
                $m(name: "foo", %foo) => at(" (foo) foo=Text(\"1\")");
                $m(name: "foo", foo) => at(" (foo) foo=I32(1)");
                $m(name: "foo", ?foo, true, "message")
                    => at(" (foo) foo=Text(\"1\") true=Bool(true) : message");
                $m(name: "foo", foo, true, "message")
                    => at(" (foo) foo=I32(1) true=Bool(true) : message");
                $m(target: "foo_events", %foo, true, "message")
                    => at(" [foo_events] foo=Text(\"1\") true=Bool(true) : message");
                $m(name: "foo", target: "foo_events", foo) => at(" [foo_events] (foo) foo=I32(1)");
                $m(target: "foo_events", name: "foo", ?foo)
                    => at(" [foo_events] (foo) foo=Text(\"1\")");
                $m(parent: ::core::option::Option::None, foo = ?3, bar.baz = %2)
                    => at(" foo=Text(\"3\") bar.baz=Text(\"2\")");
                $m(parent: ::core::option::Option::None, "foo: {}", 3) => at(" : foo: 3");
                $m(parent: PARENT, { foo = 2 }, "quux {:?}", true)
                    => at(" foo=I32(2) : quux true");
                $m(target: "foo_events", parent: PARENT, { foo = 2, bar.baz = 78, }, "quux")
                    => at(" [foo_events] foo=I32(2) bar.baz=I32(78) : quux");
                $m(name: "foo", target: "foo_events", parent: PARENT, "foo")
                    => at(" [foo_events] (foo) : foo");
                $m(name: "foo", target: "t", parent: PARENT, { foo = 2 }, "{quux}", quux = 1)
                    => at(" [t] (foo) foo=I32(2) : 1");
            }
            let foo = DisplayDebug;
            table! {
                $m(?foo) => at(" foo=Text(\"DisplayDebug\")");
                $m(%foo) => at(" foo=Text(\"shown\")");
                $m(name: "foo", target: "t", %foo, true, "message")
                    => at(" [t] (foo) foo=Text(\"shown\") true=Bool(true) : message");
                $m(foo = display("foo"), quux = debug(foo))
                    => at(" foo=Text(\"foo\") quux=Text(\"DisplayDebug\")");
            }
        }
    };
}

forms_of!(trace "TRACE" every_field_and_message_of_trace every_head_of_trace);
forms_of!(debug "DEBUG" every_field_and_message_of_debug every_head_of_debug);
forms_of!(info "INFO" every_field_and_message_of_info every_head_of_info);
forms_of!(warn "WARN" every_field_and_message_of_warn every_head_of_warn);
forms_of!(error "ERROR" every_field_and_message_of_error every_head_of_error);

#[test]
fn every_form_of_event() {
    let foo = 1;
    let data = (42, "forty-two");
    let private_data = "private";
    let error = "a bad error";
    table! {
        event(Level::DEBUG, foo = ?3, bar.baz = %2, quux = false)
            => "DEBUG foo=Text(\"3\") bar.baz=Text(\"2\") quux=Bool(false)";
        event(Level::DEBUG, foo = 3, bar.baz = 3,) => "DEBUG foo=I32(3) bar.baz=I32(3)";
        event(Level::DEBUG, "foo") => "DEBUG : foo";
        event(Level::DEBUG, "foo: {}", 3) => "DEBUG : foo: 3";
        event(Level::INFO, foo = 3, bar.baz = 3, "hello world {:?}", 42,)
            => "INFO foo=I32(3) bar.baz=I32(3) : hello world 42";
        event(Level::DEBUG, { foo = 3, bar.baz = 80 }, "quux")
            => "DEBUG foo=I32(3) bar.baz=I32(80) : quux";
        event(Level::DEBUG, { foo = 2, bar.baz = 79 }, "quux {:?}, {quux}", true, quux = false)
            => "DEBUG foo=I32(2) bar.baz=I32(79) : quux true, false";
        event(Level::DEBUG, { foo = ?2, bar.baz = %78 }, "quux")
            => "DEBUG foo=Text(\"2\") bar.baz=Text(\"78\") : quux";
        event(target: "foo_events", Level::DEBUG, foo = 3, bar.baz = 3,)
            => "DEBUG [foo_events] foo=I32(3) bar.baz=I32(3)";
        event(target: "foo_events", Level::DEBUG, "foo: {}", 3) => "DEBUG [foo_events] : foo: 3";
        event(target: "foo_events", Level::DEBUG, { foo = 2, bar.baz = 78, }, "quux")
            => "DEBUG [foo_events] foo=I32(2) bar.baz=I32(78) : quux";
        event(target: "foo_events", Level::DEBUG, { foo = 2, bar.baz = 78 })
            => "DEBUG [foo_events] foo=I32(2) bar.baz=I32(78)";
        event(Level::DEBUG, ?foo) => "DEBUG foo=Text(\"1\")";
        event(Level::DEBUG, %foo) => "DEBUG foo=Text(\"1\")";
        event(Level::DEBUG, foo) => "DEBUG foo=I32(1)";
        event(Level::DEBUG, foo = display("foo"), quux = debug(::std::option::Option::Some(2)))
            => "DEBUG foo=Text(\"foo\") quux=Text(\"Some(2)\")";
        event(Level::ERROR, %error, "Received error")
            => "ERROR error=Text(\"a bad error\") : Received error";
        event(target: "app_events", Level::WARN, private_data, ?data, "App warning: {}", error)
            => "WARN [app_events] private_data=Str(\"private\") \
                data=Text(\"(42, \\\"forty-two\\\")\") : App warning: a bad error";
        event(name: "foo", target: "app_events", Level::WARN, private_data,)
            => "WARN [app_events] (foo) private_data=Str(\"private\")";
        event(name: "foo", parent: ::core::option::Option::None, Level::WARN, private_data)
            => "WARN (foo) private_data=Str(\"private\")";
    }
}

#[test]
fn enabled_takes_fields_and_ignores_them() {
    records(|| {
        assert!(enabled!(Level::DEBUG, foo, bar.baz, quux,));
        assert!(enabled!(Level::DEBUG, message));
        assert!(enabled!(Level::INFO, foo, bar., message,));
        assert!(enabled!(Level::DEBUG));
        assert!(enabled!(target: "rando", Level::DEBUG));
        assert!(enabled!(target: "rando", Level::DEBUG, field));
    });
}

#[test]
fn enabled_takes_a_name_and_a_parent_too() {
    records(|| assert!(enabled!(name: "n", target: "t", parent: None, Level::TRACE, a = 1)));
}

#[test]
fn every_form_of_the_event_tests() {
    let question = "life, the universe, and everything";
    let from = "my event";
    let message = format!("hello from {from}");
    let answer = std::num::NonZeroI32::new(42).unwrap();
    table! {
        info(answer = 42, to_question = "life") => "INFO answer=I32(42) to_question=Str(\"life\")";
        info(answer = std::num::Wrapping(42)) => "INFO answer=I32(42)";
        info(answer = answer) => "INFO answer=I32(42)";
        debug("hello from my event! yak shaved = {:?}", true)
            => "DEBUG : hello from my event! yak shaved = true";
        debug(answer = 42, question, "hello from {where}! tricky? {:?}!", true, where = "my event")
            => "DEBUG answer=I32(42) question=Str(\"life, the universe, and everything\") \
                : hello from my event! tricky? true!";
        event(target: "whatever", Level::ERROR, { foo = 666, bar = false, like_a_butterfly = 42.0 },
            "{:#x} make me one with{what:.>20}", 4_277_009_102u64, what = "everything")
            => "ERROR [whatever] foo=I32(666) bar=Bool(false) like_a_butterfly=F64(42.0) \
                : 0xfeedface make me one with..........everything";
        event(Level::INFO, foo = display(format!("hello from {}", from)))
            => "INFO foo=Text(\"hello from my event\")";
        event(Level::INFO, foo = display(&message)) => "INFO foo=Text(\"hello from my event\")";
        event(Level::INFO, foo.bar = true, foo.baz = false)
            => "INFO foo.bar=Bool(true) foo.baz=Bool(false)";
        event(Level::TRACE, my_field = %"hello world") => "TRACE my_field=Text(\"hello world\")";
        event(Level::TRACE, my_field = ?"hello world")
            => "TRACE my_field=Text(\"\\\"hello world\\\"\")";
        event(Level::INFO, message) => "INFO message=Str(\"hello from my event\")";
        error(crate = "tracing", "message") => "ERROR crate=Str(\"tracing\") : message";
        error(this.r#type = "Value") => "ERROR this.type=Str(\"Value\")";
    }
}

#[test]
fn fields_move_out_of_a_struct() {
    #[derive(Debug)]
    struct Position {
        x: f32,
        y: f32,
    }
    let pos = Position { x: 3.234, y: -1.223 };
    table! {
        debug(x = debug(pos.x), y = debug(pos.y)) => "DEBUG x=Text(\"3.234\") y=Text(\"-1.223\")";
        debug(%pos.x, ?pos.y, "at") => "DEBUG pos.x=Text(\"3.234\") pos.y=Text(\"-1.223\") : at";
        debug(pos.x, "at") => "DEBUG pos.x=F32(3.234) : at";
        debug(target: "app_events", { position = debug(pos) }, "New position")
            => "DEBUG [app_events] position=Text(\"Position { x: 3.234, y: -1.223 }\") \
                : New position";
    }
}

#[test]
fn constants_name_fields() {
    const FOO: &str = "foo";
    let plain = " foo=Str(\"bar\") constant string=Str(\"also works\") foo.bar=Str(\"baz\") : quux";
    let line = format!("INFO{plain}");
    table! {
        event(Level::INFO, { std::convert::identity(FOO) } = "bar",
            { "constant string" } = "also works", foo.bar = "baz", "quux") => line;
        event(Level::INFO, {
            { std::convert::identity(FOO) } = "bar",
            { "constant string" } = "also works",
            foo.bar = "baz",
        }, "quux") => line;
        info({ std::convert::identity(FOO) } = "bar", { "constant string" } = "also works",
            foo.bar = "baz", "{}", "quux") => line;
        info({ { FOO } = "bar", "constant string" = "also works", foo.bar = "baz", }, "{}", "quux")
            => line;
        info({ FOO } = ?1, { FOO } = %2) => "INFO foo=Text(\"1\") foo=Text(\"2\")";
    }
}

#[test]
fn names_targets_and_levels_are_constants_of_any_form() {
    const TARGET: &str = "a target";
    const LEVEL: Level = if cfg!(debug_assertions) { Level::Warn } else { Level::WARN };
    table! {
        event(target: TARGET, LEVEL, "x") => "WARN [a target] : x";
        event(name: std::concat!("a", "b"), LEVEL, "x") => "WARN (ab) : x";
        info(target: std::module_path!(), "x") => "INFO : x";
    }
    let records = records(|| ttlog::info!("where"));
    let definition = &records[0].definition;
    assert_eq!(definition.line, line!() - 2);
    assert_eq!((&*definition.file, &*definition.module), (file!(), module_path!()));
    assert_eq!(definition.name, format!("event {}:{}", file!(), definition.line));
}

#[test]
fn messages_of_every_form() {
    let x = 5;
    let width = 6usize;
    let name = String::from("ada");
    table! {
        info("inline {x} {name:?} {x:>4}") => "INFO : inline 5 \"ada\"    5";
        info("{} {x}", name) => "INFO : ada 5";
        info("{0} {1} {0}", x, name) => "INFO : 5 ada 5";
        info("{:>1$} {:>width$} {:.*}", x, 4, 2, name) => "INFO :    5      4 ad";
        info("{{}} {}%", x) => "INFO : {} 5%";
        info("{type} {r}", r#type = 1, r = 2) => "INFO : 1 2";
        info("{:?} {:?}", (1, 2), name) => "INFO : (1, 2) \"ada\"";
        info("{}", format_args!("{} {}", 1, name)) => "INFO : 1 ada";
        info(std::concat!("a", "{}"), x) => "INFO : a5";
        info(message = "as a field", x) => "INFO message=Str(\"as a field\") x=I32(5)";
        info(message = %name) => "INFO message=Text(\"ada\")";
        info("") => "INFO : ";
        info("日本 {:→^5}", 'ß') => "INFO : 日本 →→ß→→";
    }
    assert!(one(|| ttlog::info!("{:p}", &x)).starts_with("INFO : 0x"));
}

#[test]
fn macros_stand_wherever_an_expression_does() {
    fn early(x: Option<i32>) -> Option<i32> {
        ttlog::info!(x = x?, "got {}", x?);
        x
    }
    let events = lines(|| {
        match 1 {
            1 => ttlog::info!("arm"),
            _ => unreachable!(),
        }
        let unit: () = ttlog::info!("value");
        let closure = || ttlog::warn!(?unit, "closure");
        closure();
        early(None);
        early(Some(3));
    });
    assert_eq!(
        events,
        ["INFO : arm", "INFO : value", "WARN unit=Text(\"()\") : closure", "INFO x=I32(3) : got 3"]
    );
}

#[test]
fn futures_that_log_are_send() {
    async fn value() -> u32 {
        3
    }
    async fn logs() {
        ttlog::info!("{}", value().await);
        ttlog::info!(value = value().await, "{} {x}", value().await, x = 1);
    }
    fn assert_send<T: Send>(_: T) {}
    assert_send(logs());
}

#[test]
fn macros_are_called_by_path_and_by_import() {
    use ttlog::{debug, error, info, trace, warn};
    let events = lines(|| {
        trace!("a");
        debug!("b");
        info!("c");
        warn!("d");
        error!("e");
        ttlog::event!(Level::INFO, "f");
    });
    assert_eq!(events.concat(), "TRACE : aDEBUG : bINFO : cWARN : dERROR : eINFO : f");
    assert_eq!(records(|| ()).iter().map(line).count(), 0);
}
