//! Spans: every event names its span, and is shown with the fields that were known when it was
//! logged, whatever part of the log is left.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod shown;
#[path = "shown/spans.rs"]
mod spans_shown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use shown::{LONG, records};
use spans_shown::{around, kinds, shown};
use tracing::{Span, info, info_span, trace_span};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;
use ttlog::view::{Item, Query, Record, Source};
use ttlog::{Handle, Level, Rotate};

/// Runs `job` with a layer on a registry, and returns the directory with its log.
fn logged(job: impl FnOnce(&Handle)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).app("spans", "1").build().unwrap();
    let default = tracing_subscriber::registry().with(layer).set_default();
    job(&handle);
    drop(default);
    handle.shutdown(LONG).unwrap();
    dir
}

#[test]
fn an_event_is_in_the_spans_that_its_thread_is_in() {
    let dir = logged(|_| {
        info!("outside");
        let outer = info_span!("outer", user.id = 42, path = "/x").entered();
        info!("in one");
        {
            let _inner = trace_span!("inner", debug = ?Some(1)).entered();
            info!("in two");
        }
        info!("in one again");
        drop(outer);
        info!("outside again");
    });
    let outer = "outer{user.id=42 path=/x}";
    let expected = [
        "|outside".to_owned(),
        format!("{outer}|in one"),
        format!("{outer}:inner{{debug=Some(1)}}|in two"),
        format!("{outer}|in one again"),
        "|outside again".to_owned(),
    ];
    assert_eq!(shown(dir.path()), expected);
}

#[test]
fn fields_are_shown_as_they_were_known_then() {
    let dir = logged(|_| {
        let span =
            info_span!("request", a = 1, b = tracing::field::Empty, c = tracing::field::Empty);
        let _entered = span.enter();
        info!("one");
        span.record("b", "late");
        info!("two");
        span.record("a", 2).record("c", true);
        info!("three");
    });
    let expected =
        ["request{a=1}|one", "request{a=1 b=late}|two", "request{a=2 b=late c=true}|three"];
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
        info!(parent: None, "none");
        info!(parent: &Span::none(), "of no span");
        let below = info_span!("below");
        info!(parent: &below, "below");
        info!(parent: &root, "root");
        root.in_scope(|| {
            let inner = info_span!("inner");
            inner.in_scope(|| info!("deep"));
        });
        Span::none().in_scope(|| info!("still one"));
        two.follows_from(&root);
    });
    let expected = [
        "one|contextual",
        "one:two|explicit",
        "|none",
        "|of no span",
        "one:below|below",
        "root|root",
        "root:inner|deep",
        "one|still one",
    ];
    assert_eq!(shown(dir.path()), expected);
}

/// As the registry has it: who enters a span again is in the one entered last before.
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
fn a_span_goes_from_thread_to_thread() {
    let dir = logged(|_| {
        let span = info_span!("shared", n = 1);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (span, dispatch) = (span.clone(), dispatch.clone());
                scope.spawn(move || {
                    let _default = tracing::dispatcher::set_default(&dispatch);
                    let _entered = span.entered();
                    let inner = info_span!("inner").entered();
                    info!("from a thread");
                    drop(inner);
                });
            }
        });
    });
    assert_eq!(shown(dir.path()), ["shared{n=1}:inner|from a thread"; 4]);
}

#[test]
fn instrument_works_with_all_its_options() {
    #[tracing::instrument]
    fn plain(a: u64, text: &str) {
        info!("in plain");
    }
    #[tracing::instrument(name = "named", level = "debug", target = "other", skip(secret),
        fields(extra = a + 1, late = tracing::field::Empty))]
    fn options(a: u64, secret: &str) {
        Span::current().record("late", secret.len());
        info!("in options");
    }
    #[tracing::instrument(skip_all, err)]
    fn fails() -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }
    #[tracing::instrument(skip_all, ret, parent = None)]
    fn returns() -> u64 {
        7
    }
    #[tracing::instrument(skip_all, fields(id))]
    async fn waits(id: u64) {
        tracing::Span::current().record("id", id);
        tokio::task::yield_now().await;
        info!("behind the wait");
    }
    let dir = logged(|_| {
        plain(1, "x");
        options(2, "abc");
        let _ = fails();
        returns();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::join!(waits(1), waits(2));
        });
    });
    let mut shown = shown(dir.path());
    // The two run side by side.
    shown[4..].sort();
    let expected = [
        "plain{a=1 text=x}|in plain",
        "named{a=2 extra=3 late=3}|in options",
        "fails|",
        "returns|",
        "waits{id=1}|behind the wait",
        "waits{id=2}|behind the wait",
    ];
    assert_eq!(shown, expected);
    let records = records(dir.path());
    assert_eq!(records[2].level(), Level::ERROR);
    assert_eq!(records[2].field("error").unwrap().to_string(), std::fmt::Error.to_string());
    assert_eq!(records[3].field("return"), Some("7".into()));
}

#[test]
fn a_layer_that_does_not_see_a_span_shows_the_one_around_it() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (all, one) = ttlog::layer(dirs[0].path()).build().unwrap();
    let (some, two) = ttlog::layer(dirs[1].path()).build().unwrap();
    let some = some.with_filter(filter_fn(|metadata| metadata.name() != "hidden"));
    let off =
        tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(LevelFilter::OFF);
    let stack = tracing_subscriber::registry().with(all).with(some).with(off);
    tracing::subscriber::with_default(stack, || {
        let _outer = info_span!("outer").entered();
        let hidden = info_span!("hidden").entered();
        let inner = info_span!("inner");
        inner.in_scope(|| info!("contextual"));
        drop(hidden);
        let hidden = info_span!("hidden");
        info!(parent: &hidden, "explicit");
    });
    for handle in [one, two] {
        handle.shutdown(LONG).unwrap();
    }
    let all = ["outer:hidden:inner|contextual", "outer:hidden|explicit"];
    assert_eq!(shown(dirs[0].path()), all);
    let contextual = &shown(dirs[1].path())[0];
    assert_eq!(contextual, "outer:inner|contextual");
}

/// The layer's logger, reached by its handle, knows the spans of both front ends.
#[test]
fn spans_of_tracing_and_of_the_macros_nest_in_one_logger() {
    let dir = logged(|handle| {
        let outer = info_span!("outer", of = "tracing").entered();
        ttlog::info!(logger: handle, "by the macro");
        let own = ttlog::info_span!(logger: handle, "own", n = 1);
        own.in_scope(|| {
            info!("by tracing");
            info_span!("inner").in_scope(|| ttlog::info!(logger: handle, "in three"));
            ttlog::info!(logger: handle, parent: None, "in none");
        });
        // A handle to a span of tracing's serves as parent, and can be entered by other threads.
        let current = ttlog::Span::current();
        ttlog::info!(logger: handle, parent: &current, "explicit");
        std::thread::scope(|scope| {
            let enter = || current.in_scope(|| ttlog::info!(logger: handle, "elsewhere"));
            scope.spawn(enter).join().unwrap();
        });
        drop(outer);
        info!(own.id = own.id().unwrap().into_u64(), "outside");
    });
    let outer = "outer{of=tracing}";
    let expected = [
        format!("{outer}|by the macro"),
        format!("{outer}:own{{n=1}}|by tracing"),
        format!("{outer}:own{{n=1}}:inner|in three"),
        "|in none".to_owned(),
        format!("{outer}|explicit"),
        format!("{outer}|elsewhere"),
        "|outside".to_owned(),
    ];
    // Each front end of a thread has a lane of its own: their order is that of the clock.
    assert_eq!(shown(dir.path()), expected);
}

/// The segments of a log in the order of their numbers.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "ttlog")).collect();
    let number = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        stem.rsplit('-').next().unwrap().parse::<u64>().unwrap()
    };
    segments.sort_by_key(number);
    segments
}

#[test]
fn the_last_segment_alone_tells_the_spans_of_its_events() {
    let dir = logged(|handle| {
        let root = info_span!("root", id = 7, late = tracing::field::Empty).entered();
        let closed = info_span!("closed").entered();
        info!("in the first segment");
        drop(closed);
        root.record("late", "known");
        let task = info_span!("task", n = 1).entered();
        for _ in 0..3 {
            handle.rotate().unwrap();
            info!("in a later one");
        }
        drop(task);
        info!("behind the task");
    });
    let segments = segments(dir.path());
    assert_eq!(segments.len(), 4);
    let all = shown(dir.path());
    assert_eq!(all[0], "root{id=7}:closed|in the first segment");
    for segment in &segments[..3] {
        std::fs::remove_file(segment).unwrap();
    }
    let root = "root{id=7 late=known}";
    let expected =
        [format!("{root}:task{{n=1}}|in a later one"), format!("{root}|behind the task")];
    assert_eq!(shown(dir.path()), expected);
    assert_eq!(all[3..], expected);
    // What was told again is no event, and is there once.
    assert_eq!(all.len(), 5);
}

#[test]
fn segments_that_are_full_tell_the_open_spans_again() {
    let dir = tempfile::tempdir().unwrap();
    let rotate = Rotate::size(64 << 10);
    let builder = ttlog::layer(dir.path()).rotate(rotate);
    let (layer, handle) = builder.write_within(Duration::from_millis(2)).build().unwrap();
    let default = tracing_subscriber::registry().with(layer).set_default();
    let span = info_span!("long", id = 1).entered();
    let text = "x".repeat(1_000);
    for n in 0..1_000 {
        info!(n, text = format!("{text}{n}"), "filler");
        if n % 50 == 0 {
            handle.flush(LONG).unwrap();
        }
    }
    drop(span);
    drop(default);
    let flushed = handle.shutdown(LONG).unwrap();
    assert_eq!(flushed.events, 1_000, "records of spans are no events");
    let segments = segments(dir.path());
    assert!(segments.len() > 5, "{segments:?}");
    let last = segments.len() - 1;
    for (at, segment) in segments.iter().enumerate() {
        let source = Source::open(segment).unwrap();
        let mut n = 0;
        for item in source.query(&Query::new()) {
            if let Item::Record(record) = item.unwrap() {
                assert_eq!(around(&record), "long{id=1}");
                n += 1;
            }
        }
        // The closing may have come to a segment of its own.
        assert!(n > 0 || at == last, "{}", segment.display());
    }
}

/// Spans beyond the megabyte that is told again are shown by their ids.
#[test]
fn of_spans_beyond_the_bound_the_id_is_left() {
    let dir = logged(|handle| {
        let long = "x".repeat(100_000);
        let spans: Vec<_> = (0..20).map(|n| info_span!(parent: None, "big", n, long)).collect();
        info!("first");
        handle.rotate().unwrap();
        for span in &spans {
            info!(parent: span, "later");
        }
    });
    let segments = segments(dir.path());
    std::fs::remove_file(&segments[0]).unwrap();
    let records = records(dir.path());
    assert_eq!(records.len(), 20);
    let known = |record: &&Record| record.spans()[0].name == "big";
    assert_eq!(records.iter().filter(known).count(), 10);
    assert!(records.iter().all(|record| record.spans().len() == 1 && record.spans()[0].id != 0));
}

/// What a query passes over tells of spans all the same.
#[test]
fn queries_show_spans_that_were_opened_out_of_their_sight() {
    let dir = logged(|handle| {
        let span = info_span!("early", id = 1).entered();
        info!("before");
        for n in 0..5 {
            handle.flush(LONG).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            info!(n, "filler");
        }
        handle.flush(LONG).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        tracing::error!("after");
        drop(span);
    });
    let all = records(dir.path());
    let last = all.last().unwrap();
    let source = Source::open(dir.path()).unwrap();
    let since = Query::new().since_ns(last.time_ns() - 1_000);
    for query in [since, Query::new().level(Level::ERROR), Query::new().reverse()] {
        let Some(Ok(Item::Record(record))) = source.query(&query).next() else {
            panic!("no event")
        };
        assert_eq!((record.message().as_ref(), around(&record).as_str()), ("after", "early{id=1}"));
    }
}

#[test]
fn opened_and_closed_spans_are_told_with_their_times() {
    let dir = logged(|_| {
        let span = info_span!("timed", n = 1);
        span.in_scope(|| std::thread::sleep(Duration::from_millis(20)));
        std::thread::sleep(Duration::from_millis(40));
        span.in_scope(|| info!("inside"));
    });
    let source = Source::open(dir.path()).unwrap();
    let (mut order, mut times) = (Vec::new(), None);
    for item in source.query(&Query::new().spans()) {
        match item.unwrap() {
            Item::Record(record) => order.push(record.message().into_owned()),
            Item::Span(change) => {
                assert_eq!(change.name(), "timed");
                assert_eq!(change.spans()[0].field("n"), Some(1.into()));
                order.push(if change.times_ns().is_some() { "closed" } else { "opened" }.into());
                times = change.times_ns();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(order, ["opened", "inside", "closed"]);
    let (busy, idle) = times.unwrap();
    assert!(busy >= 20_000_000 && idle >= 40_000_000, "{busy} {idle}");
}

#[test]
fn entering_and_leaving_is_told_only_where_it_was_asked_for() {
    use ttlog::record::{RECORD_SPAN_ENTER, RECORD_SPAN_EXIT};
    for told in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (layer, handle) = ttlog::layer(dir.path()).span_enters(told).build().unwrap();
        let default = tracing_subscriber::registry().with(layer).set_default();
        info_span!("a").in_scope(|| info!("x"));
        drop(default);
        handle.shutdown(LONG).unwrap();
        let kinds = kinds(dir.path());
        let both = [RECORD_SPAN_ENTER, RECORD_SPAN_EXIT];
        assert_eq!(both.map(|kind| kinds.contains(&kind)), [told; 2]);
    }
}
