//! Directives about spans: the same program through tracing's `EnvFilter`, ttlog's layer and ttlog's
//! own macros logs the same events.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use ttlog::view::{Item, Query, Source};
use ttlog::{Builder, Handle, Level};

const LONG: Duration = Duration::from_secs(60);

/// A program that logs through the macros of a crate.
macro_rules! program {
    ($program:ident, $by:ident) => {
        fn $program() {
            let events = |place: &str| {
                $by::error!("{place} error");
                $by::info!("{place} info");
                $by::debug!("{place} debug");
                $by::trace!("{place} trace");
                $by::debug!(target: "elsewhere", "{place} elsewhere");
                $by::debug!(user = "eve", "{place} field");
            };
            events("outside");
            let cool = $by::info_span!(
                target: "stuff::inner", "cool", id = 7, user = "ada", at = 0.5, ok = true,
                debug = ?"ada", below = -3, late = $by::field::Empty, n = "7"
            );
            events("opened");
            cool.in_scope(|| {
                events("cool");
                let uncool = $by::debug_span!("uncool");
                uncool.in_scope(|| events("uncool in cool"));
                cool.in_scope(|| events("cool again"));
                std::thread::scope(|scope| {
                    scope.spawn(|| $by::debug!("another thread"));
                });
                events("cool still");
            });
            let uncool = $by::debug_span!("uncool");
            uncool.in_scope(|| events("uncool"));
            $by::trace_span!(target: "stuffed", "cool", id = 8, user = "canada", at = 0.25, ok = false)
                .in_scope(|| events("other cool"));
            $by::trace_span!("named", user = "grace").in_scope(|| events("named"));
            $by::debug!(parent: &cool, "below cool");
            cool.record("late", 1.5);
            cool.in_scope(|| events("late"));
            cool.record("late", 2.5).record("user", "bob");
            cool.in_scope(|| events("later"));
            $by::error_span!("void").in_scope(|| events("void"));
        }
    };
}

program!(by_tracing, tracing);
program!(by_ttlog, ttlog);

/// Directives that mean the same to `EnvFilter` (see `Filter` for those that do not).
const FILTERS: &[&str] = &[
    "info",
    "info,[cool]=debug",
    "[cool]",
    "warn,stuff::inner[cool]=debug",
    "stuff::inner[cool]=trace,stuff::inner=off",
    "off,[cool]=info",
    "info,[cool]=off",
    "info,[cool]=error",
    "[uncool]=debug,[cool]=info",
    "[{user}]=debug",
    "info,[{user}]=debug",
    "info,[{id}]=debug,[named]=trace",
    "off,[{id=7}]=debug",
    "off,[cool{id=8}]=trace",
    "off,[cool{id=9}]=trace",
    "off,[{below=-3}]=debug",
    "off,[{at=0.5}]=debug",
    "off,[{ok=true}]=debug",
    "off,[{ok=false}]=debug",
    "off,[{n=7}]=debug",
    "off,[{id=.*}]=debug",
    "off,[{user=ada}]=debug",
    "off,[{user=^ada}]=debug",
    "off,[{user=b.b}]=debug",
    "off,[{user=ad}]=debug",
    "off,[{user=.*a.*}]=debug",
    "off,[{debug=\"ada\"}]=debug",
    "info,[{late}]=debug",
    "off,[{late=1.5}]=debug",
    "off,[{late=2.5}]=trace,[cool]=info",
    "off,[cool]=debug,[cool{id=7}]=info",
    "error,filter_spans[uncool]",
    "off,[none]=trace",
];

/// Keeps the message of each event.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }
}

fn messages(dir: &Path) -> Vec<String> {
    // Where nothing was logged there is no file.
    let Ok(source) = Source::open(dir) else { return Vec::new() };
    source
        .query(&Query::new())
        .map(|item| match item.unwrap() {
            Item::Record(record) => record.message().into_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// What is read back of what `job` logs, which gets the logger.
fn logged(build: impl FnOnce(&Path) -> Handle, job: impl FnOnce(&Handle)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let logger = build(dir.path());
    job(&logger);
    assert_eq!(logger.stats().lost(), 0);
    logger.shutdown(LONG).unwrap();
    messages(dir.path())
}

fn by_env_filter(directives: &str) -> Vec<String> {
    let kept = Messages::default();
    let filter = EnvFilter::try_new(directives).unwrap();
    // Another layer wants everything: else tracing's own level keeps spans from `EnvFilter`.
    let subscriber = Registry::default().with(Messages::default());
    let subscriber = subscriber.with(kept.clone().with_filter(filter));
    tracing::subscriber::with_default(subscriber, by_tracing);
    let messages = kept.0.lock().unwrap();
    messages.clone()
}

fn by_layer(directives: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (layer, logger) = ttlog::layer(dir.path()).filter(directives).build().unwrap();
    let subscriber = Registry::default().with(layer);
    tracing::subscriber::with_default(subscriber, by_tracing);
    logger.shutdown(LONG).unwrap();
    messages(dir.path())
}

#[test]
fn a_layer_and_the_macros_log_what_env_filter_lets_through() {
    let mut n_granted = 0;
    for filter in FILTERS {
        let expected = by_env_filter(filter);
        assert_eq!(by_layer(filter), expected, "{filter}, through the layer");
        let build = |dir: &Path| Builder::new(dir).filter(*filter).init().unwrap();
        assert_eq!(logged(build, |_| by_ttlog()), expected, "{filter}, by the macros");
        n_granted += usize::from(expected.iter().any(|message| message.ends_with("debug")));
    }
    assert!(n_granted > 15, "{n_granted}: most of them grant something");
    // What changes while the program runs, for good and back; one global logger at a time.
    let build = |dir: &Path| Builder::new(dir).filter("off,[cool{id=7}]=debug").init().unwrap();
    let told = logged(build, |logger| {
        let known = ttlog::trace_span!("cool", id = 7);
        known.in_scope(|| {
            ttlog::debug!("1, granted");
            logger.set_filter("off,[cool{id=7}]=trace", None).unwrap();
            ttlog::trace!("2, entered under another filter");
        });
        known.in_scope(|| ttlog::trace!("3, its values were looked at for another filter"));
        logger.set_filter("off,[cool]=trace", Some(Duration::from_secs(600))).unwrap();
        known.in_scope(|| ttlog::trace!("4, by its name"));
        let other = ttlog::info_span!("other", id = 7);
        other.in_scope(|| ttlog::error!("5, in another"));
        assert!(!ttlog::enabled!(Level::ERROR));
        known.in_scope(|| assert!(ttlog::enabled!(Level::TRACE)));
        logger.set_filter("off", None).unwrap();
        known.in_scope(|| ttlog::error!("6, nothing is granted any more"));
    });
    assert_eq!(told, ["1, granted", "4, by its name"]);
}

#[test]
fn a_logger_that_is_named_has_its_own_scopes() {
    let of = |filter: &str| {
        let filter = filter.to_owned();
        move |dir: &Path| Builder::new(dir).filter(filter).build().unwrap()
    };
    let mut others = Vec::new();
    let told = logged(of("off,[a]=debug"), |one| {
        others = logged(of("off,[b]=debug"), |two| {
            let say = |place: &str| {
                ttlog::debug!(logger: one, "{place}");
                ttlog::debug!(logger: two, "{place}");
            };
            ttlog::info_span!(logger: one, "a").in_scope(|| say("a of one"));
            ttlog::info_span!(logger: two, "a").in_scope(|| say("a of two"));
            ttlog::info_span!(logger: two, "b").in_scope(|| {
                ttlog::info_span!(logger: one, "a").in_scope(|| say("a in b"));
                say("b of two");
            });
        });
    });
    assert_eq!(told, ["a of one", "a in b"]);
    assert_eq!(others, ["a in b", "b of two"]);
}

#[test]
fn secrets_are_no_values_and_futures_are_in_their_spans() {
    let build = |dir: &Path| {
        let filter = "off,[login{password=hunter2}]=debug,[task{id=1}]=debug";
        Builder::new(dir).filter(filter).redact(["password"]).build().unwrap()
    };
    let told = logged(build, |logger| {
        let login = ttlog::info_span!(logger: logger, "login", password = "hunter2");
        login.in_scope(|| ttlog::debug!(logger: logger, "nobody is told that it was guessed"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            use ttlog::Instrument as _;
            let task = |id: u64| {
                let logger = logger.clone();
                let span = ttlog::info_span!(logger: &logger, "task", id);
                let work = async move {
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                        ttlog::debug!(logger: &logger, "in task {id}");
                    }
                };
                tokio::spawn(work.instrument(span))
            };
            for task in (0..3).map(task).collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
    });
    assert_eq!(told, ["in task 1"; 3]);
}
