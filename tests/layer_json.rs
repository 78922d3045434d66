//! The same events through the layer and through tracing-subscriber's JSON, field by field.
//!
//! Where ttlog says more, `both::differs` says what: an error's sources, numbers that JSON has no
//! words for, bytes.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod both;
mod shown;

use both::{both, compare};

#[derive(Debug)]
struct Chained(&'static str, Option<Box<Chained>>);

impl std::fmt::Display for Chained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Chained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn events_say_the_same() {
    let error = Chained("two", Some(Box::new(Chained("one", None))));
    let (ours, theirs) = both(|| {
        tracing::info!("a message alone");
        tracing::warn!(target: "other::target", "{} {:?}", "formatted", Some(1));
        tracing::trace!(a = 1, b = -1, c = 1.5, d = true, e = "text", "values");
        tracing::debug!(only = "fields");
        tracing::error!(u = u64::MAX, i = i64::MIN, f = f64::MIN_POSITIVE, "bounds");
        tracing::info!(wide = u128::MAX, deep = i128::MIN, "wider than JSON's numbers");
        tracing::info!(a.b.c = ?vec![1, 2], "with spaces" = %"displayed", "names");
        tracing::info!(none = Option::<u8>::None, some = Some(3), empty = tracing::field::Empty);
        tracing::info!(control = "\u{1b}[31m\n\t\"\\\u{7f}", unicode = "ünï\u{202e}", "odd text");
        tracing::info!(
            error = &error as &(dyn std::error::Error + 'static),
            nan = f64::NAN,
            bytes = &[0u8, 255][..],
            "where ttlog differs"
        );
    });
    compare(&ours, &theirs);
}

#[test]
fn spans_around_events_say_the_same() {
    let (ours, theirs) = both(|| {
        tracing::info!("in none");
        let outer = tracing::info_span!(
            "outer",
            user.id = 42,
            path = "/a \"b\"",
            late = tracing::field::Empty
        );
        let _outer = outer.enter();
        tracing::info!("in one");
        let inner =
            tracing::debug_span!("inner", debug = ?Some("x"), f = 1.5, yes = true).entered();
        tracing::info!("in two");
        outer.record("late", 3);
        tracing::info!("in two, with more");
        drop(inner);
        let _empty = tracing::info_span!("no fields").entered();
        tracing::warn!(n = 1, "last");
    });
    compare(&ours, &theirs);
    assert_eq!(ours[2]["spans"].as_array().map(Vec::len), Some(2));
}

/// Values of every kind that tracing's `Visit` has a method for, given when a span is opened, and
/// given later.
#[test]
fn values_of_every_kind_say_the_same_in_spans() {
    let chained = Chained("two", Some(Box::new(Chained("one", None))));
    let error: &(dyn std::error::Error + 'static) = &chained;
    let (ours, theirs) = both(|| {
        let span = tracing::info_span!(
            "all",
            u = u64::MAX,
            i = i64::MIN,
            wide = u128::MAX,
            deep = i128::MIN,
            f = 0.1,
            nan = f64::NAN,
            yes = true,
            text = "a \"b\"\n",
            bytes = &[0u8, 255][..],
            error,
            debug = ?Some("x"),
            display = %Chained("shown", None),
            some = Some(3),
            none = Option::<u8>::None,
            later = tracing::field::Empty
        );
        span.in_scope(|| tracing::info!(n = 1, "given at once"));
        let late = tracing::info_span!(
            "late",
            u = tracing::field::Empty,
            i = tracing::field::Empty,
            wide = tracing::field::Empty,
            deep = tracing::field::Empty,
            f = tracing::field::Empty,
            yes = tracing::field::Empty,
            text = tracing::field::Empty,
            bytes = tracing::field::Empty,
            error = tracing::field::Empty,
            debug = tracing::field::Empty,
            display = tracing::field::Empty
        );
        late.in_scope(|| tracing::info!(n = 2, "nothing yet"));
        late.record("u", u64::MAX).record("i", i64::MIN).record("wide", u128::MAX);
        late.record("deep", i128::MIN).record("f", 0.1).record("yes", true);
        late.record("text", "a \"b\"").record("bytes", &[0u8, 255][..]).record("error", error);
        late.in_scope(|| tracing::info!(n = 3, "most of it"));
        late.record("debug", tracing::field::debug(Some("x")));
        late.record("display", tracing::field::display(Chained("shown", None)));
        late.in_scope(|| tracing::info!(n = 4, "all of it"));
    });
    compare(&ours, &theirs);
    assert_eq!(ours[0]["spans"][0]["fields"].as_object().map(serde_json::Map::len), Some(13));
    assert_eq!(ours[3]["spans"][0]["fields"].as_object().map(serde_json::Map::len), Some(11));
}

/// A value that is given again takes the place of the one before; of a name that is no field of the
/// span nothing is kept.
#[test]
fn values_given_again_say_the_same() {
    let (ours, theirs) = both(|| {
        let span = tracing::info_span!("request", status = 0, user = "nobody");
        let _entered = span.enter();
        tracing::info!("before");
        span.record("status", 200).record("user", "ada").record("unknown", 1);
        tracing::info!("after");
        span.record("status", "an error by now");
        tracing::info!("of another kind");
    });
    compare(&ours, &theirs);
}

/// What a function under `#[instrument]` says of itself.
#[test]
fn instrumented_functions_say_the_same() {
    #[tracing::instrument(level = "debug", skip(secret), fields(len = text.len(), late), ret, err)]
    fn work(text: &str, n: u8, secret: &str) -> Result<u8, Chained> {
        tracing::Span::current().record("late", secret.len());
        tracing::info!("inside");
        if n > 1 { Err(Chained("too many", None)) } else { Ok(n) }
    }
    let (ours, theirs) = both(|| {
        assert!(work("abc", 1, "secret").is_ok());
        assert!(work("abc", 2, "secret").is_err());
    });
    compare(&ours, &theirs);
    assert_eq!(ours.len(), 4, "inside, and what it returned, twice");
}
