//! What the `fmt` layer of tracing-subscriber 0.3 documents, and what ttlog's layer does there.
//!
//! Each row names the test of it, in this directory, or says *difference*. A program that moves from
//! one to the other finds everything here that it may have relied on.
//!
//! | `fmt` | with ttlog | proof |
//! | --- | --- | --- |
//! | an event has time, level, target, message and typed fields | the same, typed | `layer_json.rs::events_say_the_same` |
//! | `with_file`, `with_line_number`, `with_thread_ids`, `with_thread_names`, `with_target`, `with_level` choose what is written | all of it is kept, and the reader chooses | `layer.rs::an_event_says_where_it_comes_from` |
//! | an event is shown in the spans it was logged in, outermost first, with their fields | the same | `layer_json.rs::spans_around_events_say_the_same` |
//! | fields of spans that are recorded later are shown from then on | the same | `layer_json.rs::values_of_every_kind_say_the_same_in_spans` |
//! | a span's value that is recorded again: text shows both, JSON the later | the later | `layer_json.rs::values_given_again_say_the_same` |
//! | explicit, contextual and no parents: text shows those of the event | the same | `layer_fmt.rs::parents_are_those_that_the_text_format_shows` |
//! | the same: JSON's `spans` are those of the thread, and only `span` is the event's | difference: `spans` are those of the event, as in text | `layer_fmt.rs::parents_are_those_that_the_text_format_shows` |
//! | JSON: `span` says the innermost again, `flatten_event` and `with_span_list(false)` reshape it | difference: one shape, `fields` and `spans` | `layer_json.rs::spans_around_events_say_the_same` |
//! | JSON: fields in the order of their names | difference: as they were written | `layer_fmt.rs::fields_stand_in_the_order_in_which_they_were_written` |
//! | a span's id is shown by no format | difference: JSON has it | `layer_json.rs::spans_around_events_say_the_same` |
//! | `#[instrument]` with all its options | the same | `layer_json.rs::instrumented_functions_say_the_same` |
//! | raw identifiers lose their `r#` | the same | `layer_fmt.rs::raw_identifiers_are_shown_without_their_mark` |
//! | errors: text adds `name.sources=[…]`, JSON shows none of the sources | difference: one string, `outer: inner: root` | `layer_json.rs::events_say_the_same` |
//! | bytes: a list of numbers; NaN and infinities: null in JSON | difference: hexadecimal; the words `NaN`, `inf`, `-inf` | `layer_json.rs::events_say_the_same` |
//! | control characters in messages and values are escaped in text | the same, in every text mode, bidirectional ones too | `cli_cat.rs::hostile_text_and_names_do_not_reach_the_terminal` |
//! | `with_ansi`, `NO_COLOR` | files hold no colours; the reader and the console decide | `console.rs::colours_follow_the_environment` |
//! | `with_timer`, `without_time`, local time | difference: UTC is kept, and the reader shows any zone | `cli_cat.rs::times_are_shown_in_the_local_zone` |
//! | `pretty`, `compact`, `full`, `json` | difference: modes of the reader | `cli_cat.rs::shows_events_in_every_mode` |
//! | `with_span_events(NEW, CLOSE)` writes events with `time.busy` and `time.idle` | records of their own, with the times | `spans.rs::opened_and_closed_spans_are_told_with_their_times` |
//! | `with_span_events(ENTER, EXIT)` | only where it was asked for | `spans.rs::entering_and_leaving_is_told_only_where_it_was_asked_for` |
//! | per-layer filters: what a filter does not let through is in no line, nor around one | the same | `spans.rs::a_layer_that_does_not_see_a_span_shows_the_one_around_it` |
//! | filters of other layers do not concern it | the same | `layer.rs::filters_of_other_layers_do_not_concern_it_and_its_own_concerns_it_alone` |
//! | `reload` changes a filter while the program runs | the same, beside `Handle::set_filter` | `layer_fmt.rs::a_filter_that_is_reloaded_counts_at_once` |
//! | boxed, optional, and in a `Vec` of layers | the same | `layer_fmt.rs::it_takes_its_place_boxed_optional_and_in_a_list` |
//! | `fmt()` is a subscriber by itself | `LayerBuilder::subscriber` | `layer.rs::the_lean_subscriber_logs_alone` |
//! | `fmt()` alone shows INFO and above; the layer everything | the layer everything | `layer.rs::filters_of_other_layers_do_not_concern_it_and_its_own_concerns_it_alone` |
//! | events of tracing-log are shown as the records they were, without `log.` fields | the same | `layer.rs::events_of_tracing_log_are_shown_as_the_records_they_were` |
//! | a `Debug` that logs: the inner event first, both whole | the same | `layer.rs::events_below_an_event_are_logged_whole` |
//! | an event whose `Debug` panics is not written; later ones are | the same | `layer.rs::a_debug_that_panics_harms_no_later_event` |
//! | spans that go from thread to thread, are entered twice, left out of order | the same | `spans.rs::a_span_goes_from_thread_to_thread`, `spans.rs::spans_may_be_entered_twice_and_left_in_any_order` |
//! | each thread writes whole lines; lines of several do not mix | each event is whole, in its thread's order | `layer.rs::threads_log_through_one_layer_and_nothing_is_lost_or_mixed_up` |
//! | a line is written before the call returns (without `non_blocking`) | difference: the event is safe from the process's death when the call returns, in a segment within `write_within` | `layer_ends.rs::whatever_ends_it_nothing_is_lost_and_events_are_in_their_spans` |
//! | `with_writer`, `MakeWriter`, `TestWriter` | difference: there is one log; for tests `ttlog::test::capture` | `capture.rs::tests_that_run_beside_one_another_do_not_mix` |
//! | a write that fails is told on stderr, or swallowed | counted, told, tried again | `rig_starved.rs::a_disk_that_fills_up_costs_a_second_and_what_it_costs_is_told` |
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod both;
mod shown;

use std::path::Path;

use shown::{LONG, records};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};

/// Names of spans, outermost first, by event.
fn around(dir: &Path) -> Vec<String> {
    let around = |record: &ttlog::view::Record| {
        let names: Vec<_> = record.spans().iter().map(|span| span.name.clone()).collect();
        format!("{}: {}", names.join(":"), record.message())
    };
    records(dir).iter().map(around).collect()
}

#[test]
fn parents_are_those_that_the_text_format_shows() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
    let buffer = both::Buffer::default();
    let writer = buffer.clone();
    let text = tracing_subscriber::fmt::layer()
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(Registry::default().with(layer).with(text), || {
        tracing::info!("before all");
        let a = tracing::info_span!("a");
        let b = tracing::info_span!(parent: &a, "b");
        let root = tracing::info_span!(parent: None, "root");
        let entered = a.enter();
        tracing::info!(parent: &b, "below b");
        tracing::info!(parent: None, "in none");
        root.in_scope(|| tracing::info!("in root alone"));
        b.in_scope(|| {
            tracing::info!("in a and b");
            tracing::info!(parent: &root, "in root from within");
        });
        b.follows_from(&root);
        tracing::info!("in a");
        tracing::Span::none().in_scope(|| tracing::info!("in a still"));
        tracing::info_span!("contextual").in_scope(|| tracing::info!("below a"));
        drop(entered);
        tracing::info!("behind all");
    });
    handle.shutdown(LONG).unwrap();
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let theirs: Vec<String> = text
        .lines()
        .map(|line| if line.contains(": ") { line.to_owned() } else { format!(": {line}") })
        .collect();
    assert_eq!(theirs[1], "a:b: below b", "{theirs:?}");
    assert_eq!(around(dir.path()), theirs);
}

#[test]
fn fields_stand_in_the_order_in_which_they_were_written() {
    let (ours, theirs) = both::both(|| tracing::info!(z = 1, a = 2, m = 3, "order"));
    both::compare(&ours, &theirs);
    let names = |line: &serde_json::Value| {
        line["fields"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&ours[0]), ["z", "a", "m"]);
}

#[test]
fn raw_identifiers_are_shown_without_their_mark() {
    let (ours, theirs) = both::both(|| {
        let span = tracing::info_span!("span", r#fn = "f");
        span.in_scope(|| tracing::info!(r#type = "t", r#match.r#as = 1, "raw"));
    });
    both::compare(&ours, &theirs);
    assert_eq!(ours[0]["fields"]["type"], "t");
    assert_eq!(ours[0]["spans"][0]["fields"]["fn"], "f");
}

#[test]
fn a_filter_that_is_reloaded_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, handle) = ttlog::layer(dir.path()).build().unwrap();
    let (filter, reloads) = reload::Layer::new(LevelFilter::WARN);
    let subscriber = Registry::default().with(layer.with_filter(filter));
    tracing::subscriber::with_default(subscriber, || {
        for round in 0..3 {
            tracing::info!(round, "info");
            tracing::warn!(round, "warn");
            let next = if round == 0 { LevelFilter::INFO } else { LevelFilter::OFF };
            reloads.modify(|filter| *filter = next).unwrap();
        }
    });
    handle.shutdown(LONG).unwrap();
    assert_eq!(around(dir.path()), [": warn", ": info", ": warn"]);
}

#[test]
fn it_takes_its_place_boxed_optional_and_in_a_list() {
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let made = dirs.each_ref().map(|dir| ttlog::layer(dir.path()).build().unwrap());
    let [(boxed, a), (optional, b), (one, c), (two, d)] = made;
    let list: Vec<Box<dyn tracing_subscriber::Layer<_> + Send + Sync>> =
        vec![one.boxed(), two.with_filter(LevelFilter::WARN).boxed()];
    let nothing: Option<tracing_subscriber::fmt::Layer<_>> = None;
    let subscriber = Registry::default().with(list).with(boxed.boxed()).with(Some(optional));
    tracing::subscriber::with_default(subscriber.with(nothing), || {
        let _span = tracing::warn_span!("span").entered();
        tracing::info!("info");
        tracing::warn!("warn");
    });
    for (nth, (handle, dir)) in [a, b, c, d].iter().zip(&[0, 1, 2, 3]).enumerate() {
        handle.shutdown(LONG).unwrap();
        let expected = if nth == 3 { &["span: warn"][..] } else { &["span: info", "span: warn"] };
        assert_eq!(around(dirs[*dir].path()), expected, "layer {nth}");
    }
}

/// The table above, whose proofs are in this directory.
#[test]
fn every_row_of_the_table_has_its_proof() {
    let rows = include_str!("layer_fmt.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows: Vec<&str> = rows.skip(2).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let proofs = row.rsplit(" | ").next().unwrap();
        let named: Vec<&str> = proofs.split('`').filter(|code| code.contains(".rs::")).collect();
        assert!(!named.is_empty(), "no proof: {row}");
        for proof in named {
            let (file, name) = proof.split_once("::").unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
            let source = std::fs::read_to_string(path).unwrap_or_default();
            assert!(source.contains(&format!("fn {name}(")), "`{proof}` is not there");
        }
    }
}
