//! ttlog's own spans: every form of tracing's span macros, and what tracing's handles promise.
//!
//! The forms are those of tracing 0.1.44's tests `macros` (`span`, `trace_span` … `error_span`,
//! `span_root`, `…_with_parent`), the behaviour that of its tests `span` and `instrument`.
//!
//! | of tracing's tests | here |
//! | --- | --- |
//! | `handles_to_the_same_span_are_equal`, `…different…` | `handles_are_equal_when_they_are_of_one_span` |
//! | `spans_always_go_to_the_subscriber_that_tagged_them…` | `each_logger_has_its_own_spans` |
//! | `dropping_a_span_calls_drop_span`, `span_closes_after_event`, `drop_span_when_exiting…` | `a_span_is_closed_when_its_last_handle_goes` |
//! | `enter`, `entered`, `entered_api`, `event_outside_of_span`, `new_span_after_event` | `an_event_is_in_the_innermost_span_of_its_thread` |
//! | `moved_field`, `borrowed_field`, `dotted_field_name`, `float_values`, `constant_field_name`, the shorthands | `every_kind_of_field_is_told` |
//! | `add_field_after_new_span`, `record_new_value_for_field` … | `fields_get_values_later` |
//! | `explicit_root_span…`, `explicit_child…`, `contextual_root`, `contextual_child` | `parents_are_explicit_contextual_or_none` |
//! | `span_on_drop` (instrument) | `a_future_is_polled_and_dropped_in_its_span` |
//!
//! | differs | tracing | here |
//! | --- | --- | --- |
//! | `name:` | for events only | may stand in front instead of the name behind the level |
//! | a message | the last field, `message` | the same |
//! | `record_all!`, `Span::with_subscriber`, `metadata` | there | not there |
//! | `span.record(field, …)` | a name or a `Field` | a name |
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod shown;
#[path = "shown/spans.rs"]
mod spans_shown;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use shown::{LONG, records};
use spans_shown::{kinds, shown};
use ttlog::view::{Item, Query, Source};
use ttlog::{Builder, Handle, Instrument as _, Level, Span, field, info, info_span, span};

/// Runs `job` with a global logger that wants everything, and returns the directory with its log.
fn logged(job: impl FnOnce(&Handle)) -> tempfile::TempDir {
    logged_as(|builder| builder, job)
}

/// As long as it is held no other test has a global logger.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same with a logger that is set up further.
fn logged_as(set: impl FnOnce(Builder) -> Builder, job: impl FnOnce(&Handle)) -> tempfile::TempDir {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let handle = set(Builder::new(dir.path()).filter("trace")).init().unwrap();
    job(&handle);
    handle.shutdown(LONG).unwrap();
    dir
}

/// `LEVEL [target] name{fields}` of each span that was opened below a directory, with those around
/// it, or `-name` of one that was closed.
fn changes(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for item in Source::open(dir).unwrap().query(&Query::new().spans()) {
        let Item::Span(change) = item.unwrap() else { continue };
        if change.times_ns().is_some() {
            out.push(format!("-{}", change.name()));
            continue;
        }
        let event = change.event();
        let definition = &event.shape.definition;
        let mut line = definition.level.to_string();
        if definition.target != module_path!() {
            line += &format!(" [{}]", definition.target);
        }
        for (n, span) in change.spans().iter().enumerate() {
            line += if n == 0 { " " } else { ":" };
            line += &span.name;
            let fields: Vec<_> = span.fields().map(|(name, v)| format!("{name}={v}")).collect();
            if !fields.is_empty() {
                line += &format!("{{{}}}", fields.join(" "));
            }
        }
        out.push(line);
    }
    out
}

/// The segments of a log.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "ttlog")).collect()
}

fn opened(job: impl FnOnce()) -> Vec<String> {
    let dir = logged(|_| job());
    changes(dir.path()).into_iter().filter(|line| !line.starts_with('-')).collect()
}

macro_rules! forms_of {
    ($m:ident $level:literal $name:ident) => {
        #[test]
        fn $name() {
            let told = opened(|| {
                let p = ttlog::$m!("parent");
                let _ = ttlog::$m!(target: "t", "foo", bar.baz = ?2, quux = %3, quuux = 4);
                let _ = ttlog::$m!(target: "t", "foo", bar.baz = 2, quux = 4,);
                let _ = ttlog::$m!(target: "t", "foo");
                let _ = ttlog::$m!(target: "t", "bar",);
                let _ = ttlog::$m!("foo", bar.baz = 2, quux = 3);
                let _ = ttlog::$m!("foo", bar.baz = ?2);
                let _ = ttlog::$m!("foo", bar.baz = %2);
                let _ = ttlog::$m!("bar");
                let _ = ttlog::$m!("bar",);
                let _ = ttlog::$m!(target: "t", parent: ::core::option::Option::None, "foo", b = 2);
                let _ = ttlog::$m!(parent: ::core::option::Option::None, "foo", bar.baz = 2,);
                let _ = ttlog::$m!(parent: None, "bar",);
                let _ = ttlog::$m!(target: "t", parent: &p, "foo", bar.baz = 2, quux = 3);
                let _ = ttlog::$m!(parent: &p, "foo", bar.baz = 2,);
                let _ = ttlog::$m!(parent: p.id(), "bar");
                let _ = ttlog::$m!("foo", "guid:x-request-id" = ?"abcdef", "more {}", 42);
                let _ = ttlog::$m!(name: "named", target: "t", x = 1);
            });
            let expected = [
                "parent",
                "[t] foo{bar.baz=2 quux=3 quuux=4}",
                "[t] foo{bar.baz=2 quux=4}",
                "[t] foo",
                "[t] bar",
                "foo{bar.baz=2 quux=3}",
                "foo{bar.baz=2}",
                "foo{bar.baz=2}",
                "bar",
                "bar",
                "[t] foo{b=2}",
                "foo{bar.baz=2}",
                "bar",
                "[t] parent:foo{bar.baz=2 quux=3}",
                "parent:foo{bar.baz=2}",
                "parent:bar",
                "foo{guid:x-request-id=\"abcdef\" message=more 42}",
                "[t] named{x=1}",
            ];
            assert_eq!(told, expected.map(|rest| format!("{} {rest}", $level)));
        }
    };
}

forms_of!(trace_span "TRACE" every_form_of_trace_span);
forms_of!(debug_span "DEBUG" every_form_of_debug_span);
forms_of!(info_span "INFO" every_form_of_info_span);
forms_of!(warn_span "WARN" every_form_of_warn_span);
forms_of!(error_span "ERROR" every_form_of_error_span);

#[test]
fn every_form_of_span() {
    let told = opened(|| {
        let p = span!(Level::TRACE, "im_a_parent!");
        let _ = span!(target: "t", Level::DEBUG, "foo", bar.baz = ?2, quux = %3, quuux = 4);
        let _ = span!(target: "t", Level::DEBUG, "bar",);
        let _ = span!(Level::DEBUG, "foo", bar.baz = 2, quux = 4,);
        let _ = span!(Level::DEBUG, "foo", "a message of {n}", n = 7);
        let _ =
            span!(target: "t", parent: ::core::option::Option::None, Level::TRACE, "foo", b = 2);
        let _ = span!(parent: &p, Level::ERROR, "foo", bar.baz = 2, quux = 3);
        let _ = span!(name: "named", Level::WARN, { x = 1, y = %2 });
        // Loggers take the same grammar.
        let _ = span!(parent: Span::none().id(), Level::INFO, "none");
    });
    let expected = [
        "TRACE im_a_parent!",
        "DEBUG [t] foo{bar.baz=2 quux=3 quuux=4}",
        "DEBUG [t] bar",
        "DEBUG foo{bar.baz=2 quux=4}",
        "DEBUG foo{message=a message of 7}",
        "TRACE [t] foo{b=2}",
        "ERROR im_a_parent!:foo{bar.baz=2 quux=3}",
        "WARN named{x=1 y=2}",
        "INFO none",
    ];
    assert_eq!(told, expected);
}

#[test]
fn every_kind_of_field_is_told() {
    const NAME: &str = "constant";
    struct Point {
        x: f64,
    }
    let dir = logged(|_| {
        let (user, missing) = ("ada".to_owned(), None::<u64>);
        let point = Point { x: 1.5 };
        let secret = ttlog::Redacted(7);
        let error: &dyn std::error::Error = &std::fmt::Error;
        let span = info_span!(
            "all", user, %user, ?user, point.x, missing, { NAME } = true, r#type = 'c',
            bytes = &[1u8, 2][..], took = std::time::Duration::from_millis(1), error,
            declared = field::Empty, secret, wide = u128::MAX,
        );
        drop(user);
        span.in_scope(|| info!("x"));
        assert!(span.has_field("declared") && span.has_field("type") && !span.has_field("other"));
    });
    let records = records(dir.path());
    let span = &records[0].spans()[0];
    assert_eq!(span.field("point.x"), Some(1.5.into()));
    assert_eq!(span.field("constant"), Some(true.into()));
    assert_eq!(span.field("type").unwrap().to_string(), "c");
    assert_eq!(span.field("bytes").unwrap().to_string(), "0102");
    assert_eq!(span.field("secret"), Some("[redacted]".into()));
    assert_eq!(span.field("wide").unwrap().to_string(), u128::MAX.to_string());
    assert_eq!(span.field("error").unwrap().to_string(), std::fmt::Error.to_string());
    assert_eq!((span.field("missing"), span.field("declared")), (None, None));
}

#[test]
fn an_event_is_in_the_innermost_span_of_its_thread() {
    let dir = logged(|_| {
        info!("outside");
        let outer = info_span!("outer", user.id = 42).entered();
        info!("in one");
        let inner = ttlog::trace_span!("inner");
        {
            let _entered = inner.enter();
            info!(n = 7, text = "abc", "in two of {}", 2);
            assert_eq!(Span::current(), inner);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    info!("another thread is in none");
                    inner.in_scope(|| info!("or in the same"));
                    info!("and out of it again");
                });
            });
        }
        info!("in one again");
        let outer = outer.exit();
        info!("outside again");
        outer.in_scope(|| info!("back"));
        assert!(Span::current().is_none());
    });
    let outer = "outer{user.id=42}";
    let expected = [
        "|outside".to_owned(),
        format!("{outer}|in one"),
        format!("{outer}:inner|in two of 2"),
        "|another thread is in none".to_owned(),
        format!("{outer}:inner|or in the same"),
        "|and out of it again".to_owned(),
        format!("{outer}|in one again"),
        "|outside again".to_owned(),
        format!("{outer}|back"),
    ];
    assert_eq!(shown(dir.path()), expected);
    let records = records(dir.path());
    assert_eq!(records[2].field("n"), Some(7.into()));
    assert_eq!(records[2].field("text"), Some("abc".into()));
}

#[test]
fn fields_get_values_later() {
    let dir = logged(|_| {
        let span = info_span!("request", a = 1, b = field::Empty, c = field::Empty);
        let _entered = span.enter();
        info!("one");
        span.record("b", "late").record("no such field", 1);
        info!("two");
        Span::current().record("a", 2).record("c", field::debug(Some(true)));
        info!("three");
        Span::none().record("a", 3);
    });
    let expected =
        ["request{a=1}|one", "request{a=1 b=late}|two", "request{a=2 b=late c=Some(true)}|three"];
    assert_eq!(shown(dir.path()), expected);
}

#[test]
fn parents_are_explicit_contextual_or_none() {
    let dir = logged(|_| {
        let one = info_span!("one");
        let two = info_span!(parent: &one, "two");
        let root = info_span!(parent: None, "root");
        let _entered = one.enter();
        info!("contextual");
        info!(parent: &two, "explicit");
        info!(parent: two.id(), n = 1, "by id {}", 2);
        info!(parent: None, "none");
        info!(parent: &Span::none(), "of no span");
        let below = info_span!("below");
        info!(parent: &below, text = ?Some("x"), "below");
        info!(parent: &root, "root");
        root.in_scope(|| info_span!("inner").in_scope(|| info!("deep")));
        Span::none().in_scope(|| info!("still one"));
        two.follows_from(&root).follows_from(None);
    });
    let expected = [
        "one|contextual",
        "one:two|explicit",
        "one:two|by id 2",
        "|none",
        "|of no span",
        "one:below|below",
        "root|root",
        "root:inner|deep",
        "one|still one",
    ];
    assert_eq!(shown(dir.path()), expected);
}

#[test]
fn spans_may_be_entered_twice_and_left_in_any_order() {
    let dir = logged(|_| {
        let (a, b) = (info_span!(parent: None, "a"), info_span!(parent: None, "b"));
        let first = a.enter();
        let second = b.enter();
        let third = a.enter();
        info!("b is the innermost");
        drop(third);
        info!("b is still");
        drop(first);
        info!("b without a");
        drop(second);
        info!("none");
    });
    assert_eq!(
        shown(dir.path()),
        ["b|b is the innermost", "b|b is still", "b|b without a", "|none"]
    );
}

#[test]
fn a_span_is_closed_when_its_last_handle_goes() {
    let dir = logged(|_| {
        let span = info_span!("span");
        let other = span.clone();
        let entered = span.enter();
        drop(other);
        drop(entered);
        let guard = info_span!("entered").entered();
        let again = Span::current();
        drop(guard);
        drop(span);
        drop(again);
        // Whom nobody holds but the thread that is in it.
        let leaked = info_span!("leaked");
        std::mem::forget(leaked.enter());
        drop(leaked);
        info!("in it");
    });
    assert_eq!(
        changes(dir.path()),
        ["INFO span", "INFO entered", "-span", "-entered", "INFO leaked"]
    );
    assert_eq!(shown(dir.path()), ["leaked|in it"]);
}

#[test]
fn handles_are_equal_when_they_are_of_one_span() {
    logged(|_| {
        let make = || info_span!("same");
        let (one, two) = (make(), make());
        assert_eq!(one, one.clone());
        assert_ne!(one, two);
        assert_ne!(one.id(), two.id());
        assert_ne!(one, Span::none());
        assert!(!one.is_disabled() && !one.is_none());
        assert!(Span::none().is_none() && Span::none().or_current().is_none());
        assert_eq!(one.in_scope(|| Span::none().or_current()), one);
    });
}

#[test]
fn a_span_that_nobody_wants_is_none_and_its_events_are_in_the_one_around() {
    fn never() -> u8 {
        panic!("a disabled span evaluates nothing")
    }
    let dir = logged_as(
        |builder| builder.filter("info,quiet=off"),
        |_| {
            let outer = info_span!("outer").entered();
            let quiet = ttlog::error_span!(target: "quiet", "quiet", n = never());
            assert!(quiet.is_disabled() && !quiet.is_none() && quiet.has_field("n"));
            quiet.record("n", 1);
            let _debug = ttlog::debug_span!("debug", n = never()).entered();
            quiet.in_scope(|| info!("x"));
            drop(outer);
        },
    );
    assert_eq!(shown(dir.path()), ["outer|x"]);
    let _alone = alone();
    let none = ttlog::error_span!("no logger", n = never());
    assert!(none.is_disabled());
}

#[test]
fn each_logger_has_its_own_spans() {
    let other_dir = tempfile::tempdir().unwrap();
    let other = Builder::new(other_dir.path()).build().unwrap();
    let dir = logged(|handle| {
        let mine = info_span!("mine").entered();
        let named = info_span!(logger: &other, "named", n = 1).entered();
        info!("global");
        info!(logger: &other, "by name");
        info!(logger: handle, "the global one by name");
        let below = info_span!(logger: &other, "below");
        info!(logger: &other, parent: &below, "below");
        info!(logger: &other, parent: &mine, "another logger's span is none");
        info!(parent: &named, "nor here");
        // A thread that was in one goes on without it.
        let span = below.clone();
        std::thread::spawn(move || span.in_scope(|| info!("elsewhere"))).join().unwrap();
    });
    other.shutdown(LONG).unwrap();
    let expected = ["mine|global", "mine|the global one by name", "|nor here", "|elsewhere"];
    let mut told = shown(dir.path());
    told.sort_by_key(|line| expected.iter().position(|other| other == line));
    assert_eq!(told, expected);
    let expected =
        ["named{n=1}|by name", "named{n=1}:below|below", "|another logger's span is none"];
    assert_eq!(shown(other_dir.path()), expected);
}

#[test]
fn a_capture_shows_spans_too() {
    let outside = info_span!("outside, wanted by nobody");
    let logs = ttlog::test::capture(|| {
        let _entered = outside.enter();
        let span = info_span!("captured", n = 1).entered();
        info!("in it");
        span.record("n", 2);
        info!(parent: None, "out of it");
        info!(logger_is_not_named = true, "in it later");
    });
    let spans = |at: usize| logs.records()[at].spans().iter().map(|it| it.field("n")).collect();
    let shown: [Vec<_>; 3] = [spans(0), spans(1), spans(2)];
    assert_eq!(shown, [vec![Some(1.into())], vec![], vec![Some(2.into())]]);
    assert_eq!((logs.len(), &*logs.records()[0].spans()[0].name), (3, "captured"));
}

#[test]
fn keys_to_redact_are_hidden_in_spans_and_their_messages() {
    let dir = logged_as(
        |builder| builder.redact(["*token*"]),
        |_| {
            let span = info_span!("a", api_token = "hunter2", n = 1, "with {token}", token = 42);
            let _entered = span.enter();
            info!("one");
            span.record("api_token", "hunter3");
            info!("two");
        },
    );
    let both = "a{api_token=[redacted] n=1 message=[redacted]}";
    assert_eq!(shown(dir.path()), [format!("{both}|one"), format!("{both}|two")]);
}

#[test]
fn limits_are_for_events_and_leave_spans_alone() {
    let dir = logged_as(
        |builder| builder.limit("", 1, std::time::Duration::from_secs(3600)),
        |_| {
            for n in 0..3 {
                let _entered = info_span!("each", n).entered();
            }
        },
    );
    let opened = changes(dir.path()).into_iter().filter(|line| !line.starts_with('-')).count();
    assert_eq!(opened, 3);
}

#[test]
fn spans_outlive_their_logger_without_a_trace() {
    let mut left = None;
    let dir = logged(|handle| {
        left = Some(info_span!("left", n = field::Empty));
        left.as_ref().unwrap().in_scope(|| info!("x"));
        handle.flush(LONG).unwrap();
    });
    let left = left.unwrap();
    left.record("n", 1);
    left.in_scope(|| info!("nowhere"));
    // The next logger knows nothing of it, nor counts what is told of it as lost.
    let next = logged(|handle| {
        let _entered = left.enter();
        info!("of the next");
        info!(parent: &left, "as well");
        assert_eq!(handle.stats().lost(), 0);
    });
    drop(left);
    assert_eq!(shown(dir.path()), ["left|x"]);
    assert_eq!(shown(next.path()), ["|of the next", "|as well"]);
}

#[test]
fn long_values_are_cut_in_spans_and_in_events_within_them() {
    let long = "x".repeat(300_000);
    let dir = logged(|_| {
        let _entered = info_span!("long", long, after = 1).entered();
        info!(long, after = 2, "cut");
        info!(parent: &Span::current(), long, after = 3, "cut too");
    });
    for (record, after) in records(dir.path()).iter().zip([2, 3]) {
        let value = record.field("long").unwrap().to_string();
        assert!(record.truncated() && (100_000..131_072).contains(&value.len()));
        assert_eq!(record.field("after"), Some(after.into()));
        let span = &record.spans()[0];
        assert!((100_000..131_072).contains(&span.field("long").unwrap().to_string().len()));
        assert_eq!(span.field("after"), Some(1.into()));
    }
}

/// A future that is ready at once, and logs when it is polled and when it is dropped.
struct Logs(&'static str);

impl Future for Logs {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        info!("{} polled", self.0);
        Poll::Ready(())
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        info!("{} dropped", self.0);
    }
}

#[test]
fn a_future_is_polled_and_dropped_in_its_span() {
    let dir = logged(|_| {
        let mut polled = Box::pin(Logs("one").instrument(info_span!("foo")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(polled.as_mut().poll(&mut context).is_ready());
        info!("between");
        drop(polled);
        drop(Logs("two").instrument(info_span!("bar")));
        info_span!("around").in_scope(|| drop(Logs("three").in_current_span()));
    });
    let expected = [
        "foo|one polled",
        "|between",
        "foo|one dropped",
        "bar|two dropped",
        "around|three dropped",
    ];
    assert_eq!(shown(dir.path()), expected);
    let closed = changes(dir.path()).into_iter().filter(|line| line.starts_with('-'));
    assert_eq!(closed.collect::<Vec<_>>(), ["-foo", "-bar", "-around"]);
}

#[test]
fn tasks_that_take_turns_on_threads_are_each_in_their_own_spans() {
    const TASKS: u64 = 100;
    async fn task(n: u64) {
        info!("begun");
        for step in 0..3 {
            tokio::task::yield_now().await;
            let inner = async { info!("stepped") };
            inner.instrument(info_span!("step", step)).await;
        }
        Span::current().record("done", true);
        info!("ended");
        assert_eq!(n % TASKS, n);
    }
    let dir = logged(|_| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        runtime.block_on(async {
            let tasks = (0..TASKS).map(|n| {
                tokio::spawn(task(n).instrument(info_span!("task", n, done = field::Empty)))
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
    });
    let mut told = shown(dir.path());
    told.sort();
    let mut expected: Vec<_> = (0..TASKS)
        .flat_map(|n| {
            let steps =
                (0..3).map(move |step| format!("task{{n={n}}}:step{{step={step}}}|stepped"));
            let ends = [format!("task{{n={n}}}|begun"), format!("task{{n={n} done=true}}|ended")];
            ends.into_iter().chain(steps)
        })
        .collect();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn entering_and_leaving_is_told_only_where_it_was_asked_for() {
    use ttlog::record::{RECORD_SPAN_ENTER, RECORD_SPAN_EXIT};
    for (told, named) in [(false, false), (true, false), (false, true), (true, true)] {
        let job = |handle: &Handle| match named {
            true => info_span!(logger: handle, "a").in_scope(|| ()),
            false => info_span!("a").in_scope(|| ()),
        };
        let dir = logged_as(|builder| builder.span_enters(told), job);
        let kinds = kinds(dir.path());
        let both = [RECORD_SPAN_ENTER, RECORD_SPAN_EXIT];
        assert_eq!(both.map(|kind| kinds.contains(&kind)), [told; 2], "{told} {named}");
    }
}

#[cfg(feature = "log")]
#[test]
fn records_of_log_are_in_the_spans_of_the_macros() {
    let dir = logged(|_| {
        // Of the tests of this file this one alone starts the bridge.
        ttlog::bridge::init().unwrap();
        let _entered = info_span!("span").entered();
        log::info!("from log");
    });
    assert_eq!(shown(dir.path()), ["span|from log"]);
}

/// Runs in a process of its own, until that is killed.
#[test]
#[ignore = "started by a_process_that_is_killed_in_a_span_leaves_its_events_in_it"]
fn until_it_is_killed() {
    let dir = std::env::var_os("SPANS_DIR").expect("the test that starts it names a directory");
    // What comes behind the rotation stays in lanes, as nothing asks for it.
    let handle = Builder::new(dir).write_within(LONG).init().unwrap();
    let request = info_span!("request", id = 7, status = field::Empty).entered();
    let closed = info_span!("closed").entered();
    info!("in two");
    drop(closed);
    request.record("status", 500);
    handle.rotate().unwrap();
    let _query = info_span!("query", table = "orders").entered();
    info!("the last");
    println!("\nready");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_that_is_killed_in_a_span_leaves_its_events_in_it() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "until_it_is_killed", "--ignored", "--nocapture"])
        .env("SPANS_DIR", dir.path())
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    child.kill().unwrap();
    child.wait().unwrap();
    let told =
        ["request{id=7}:closed|in two", "request{id=7 status=500}:query{table=orders}|the last"];
    assert_eq!(shown(dir.path()), told, "from lanes and staging");
    // As the next start does in the background.
    ttlog::__private::take_up(dir.path()).unwrap();
    assert_eq!(shown(dir.path()), told, "and once they were taken up");
    // What was taken up tells its spans by itself.
    let mut segments = segments(dir.path());
    segments.sort();
    assert_eq!(segments.len(), 2, "{segments:?}");
    std::fs::remove_file(&segments[0]).unwrap();
    assert_eq!(shown(dir.path()), told[1..]);
}
