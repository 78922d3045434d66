//! The directives that tracing's `EnvFilter` documents, and where this filter differs from it.

use super::*;

fn level(filter: &str, target: &str) -> Option<Level> {
    Filter::parse(filter).unwrap().level_for(target)
}

#[test]
fn the_longest_target_wins() {
    let filter = "app::noisy=off,warn,app=trace,app::db=debug";
    assert_eq!(level(filter, "other"), Some(Level::Warn));
    assert_eq!(level(filter, "app"), Some(Level::Trace));
    assert_eq!(level(filter, "app::db"), Some(Level::Debug));
    assert_eq!(level(filter, "app::db::pool"), Some(Level::Debug));
    assert_eq!(level(filter, "app::noisy::x"), None);
}

#[test]
fn a_prefix_ends_at_a_path_boundary() {
    assert_eq!(level("app=debug", "application"), None);
    assert_eq!(level("app=debug", "app::x"), Some(Level::Debug));
    assert_eq!(level("info,app=debug", "app2"), Some(Level::Info));
}

#[test]
fn levels_are_read_in_every_spelling() {
    for (text, wanted) in [
        ("info", Some(Level::Info)),
        ("WARN", Some(Level::Warn)),
        ("Off", None),
        ("0", None),
        ("1", Some(Level::Error)),
        ("5", Some(Level::Trace)),
        ("", Some(Level::Info)),
        (" , ,", Some(Level::Info)),
        (",debug,", Some(Level::Debug)),
        ("debug,error", Some(Level::Error)),
    ] {
        assert_eq!(level(text, "any"), wanted, "{text}");
    }
    assert_eq!(level("app", "app"), Some(Level::Trace));
    assert_eq!(level(" app = 4 ", "app"), Some(Level::Debug));
    assert_eq!(level("app=", "app"), Some(Level::Trace));
}

/// Directive, target, level, fields of the event, and whether it is wanted: what the documentation
/// of `EnvFilter` says of each form that a filter of events can apply.
#[test]
fn documented_directives_of_env_filter_mean_the_same() {
    let (trace, debug, info, warn, error) =
        (Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error);
    let none: &[&str] = &[];
    for (filter, target, level, fields, wanted) in [
        // `target=level`: that target, at that level and above.
        ("tokio::net=info", "tokio::net", info, none, true),
        ("tokio::net=info", "tokio::net::tcp", error, none, true),
        ("tokio::net=info", "tokio::net", debug, none, false),
        ("tokio::net=info", "tokio::time", error, none, false),
        ("tokio::net=info", "hyper", error, none, false),
        // A bare level is for all that no other directive speaks of.
        ("warn,tokio::net=info", "tokio::net", info, none, true),
        ("warn,tokio::net=info", "hyper", warn, none, true),
        ("warn,tokio::net=info", "hyper", info, none, false),
        // A directive without a level is the same as `=trace`.
        ("tokio::net", "tokio::net", trace, none, true),
        ("tokio::net", "hyper", error, none, false),
        ("my_app", "my_app::inner", trace, none, true),
        ("my_app=", "my_app", trace, none, true),
        // Levels by name in any case, and by number; `off` switches off.
        ("my_app=TRACE", "my_app", trace, none, true),
        ("my_app=5", "my_app", trace, none, true),
        ("my_app=4", "my_app", trace, none, false),
        ("my_app=3", "my_app", info, none, true),
        ("my_app=2", "my_app", info, none, false),
        ("my_app=1", "my_app", error, none, true),
        ("my_app=0", "my_app", error, none, false),
        ("debug,my_app=off", "my_app::x", error, none, false),
        ("debug,my_app=off", "other", debug, none, true),
        ("off", "any", error, none, false),
        // The more specific target wins, whatever the order.
        ("app_a::b=trace,app_a=info", "app_a::b::c", trace, none, true),
        ("app_a=info,app_a::b=trace", "app_a::c", debug, none, false),
        ("app_a::b=error,trace", "app_a::b", warn, none, false),
        // Names of fields: events that have them.
        ("[{user}]=debug", "any", debug, &["user"], true),
        ("[{user}]=debug", "any", trace, &["user"], false),
        ("[{user}]=debug", "any", error, none, false),
        ("[{user}]", "any", trace, &["id", "user"], true),
        ("info,app[{user}]=trace", "app", trace, &["user"], true),
        ("info,app[{user}]=trace", "app", debug, &["id"], false),
        ("info,app[{user}]=trace", "other", trace, &["user"], false),
        ("app=warn,app[{user}]=debug", "app::x", debug, &["user"], true),
        ("app=warn,[{user}]=debug", "app", debug, &["user"], false),
        ("[{user.id}]=debug", "any", debug, &["user.id"], true),
        ("[{user.id}]=debug", "any", debug, &["user"], false),
        // Both of two names.
        ("[{a, b}]=info", "any", info, &["b", "a"], true),
        ("[{a, b}]=info", "any", info, &["a"], false),
    ] {
        let parsed = Filter::parse(filter).unwrap();
        let has = |name: &str| fields.contains(&name);
        assert_eq!(parsed.enabled_with(target, level, has), wanted, "{filter} {target} {level}");
        let why = parsed.explain(target, level, fields);
        assert_eq!(why.is_logged(), wanted, "{why}");
    }
}

#[test]
fn what_a_filter_of_events_cannot_know_is_refused_by_name() {
    for (bad, reason) in [
        ("[span]", "knows no spans"),
        ("app[span]=trace", "knows no spans"),
        ("app[span{x=1,y=2}]=info", "knows no spans"),
        ("[span_b{name=\"bob\"}]", "knows no spans"),
        ("[{field=1}]", "not their values"),
        ("app[{a,field=\"x y\"}]=warn", "not their values"),
        ("{field}=info", "in brackets: [{name}]"),
        ("{field=1}", "in brackets"),
        ("[{field]", "brace is not closed"),
        ("[{field}", "bracket is not closed"),
        ("app[]", "nothing stands in the brackets"),
        ("[{}]=info", "nothing stands in the brackets"),
        ("[{a}]info", "only =level may follow"),
        ("[{a}]=loud", "not a level"),
        ("a b[{c}]", "no target before the bracket"),
        ("app=loud", "not a level"),
        ("=info", "no target"),
        ("a b", "neither a level"),
        ("7", "neither a level"),
    ] {
        let error = Filter::parse(&format!("warn,{bad}")).unwrap_err();
        assert_eq!(error.directive(), bad);
        assert!(error.to_string().contains(reason), "{error}");
        let (filter, errors) = Filter::parse_lossy(&format!("warn,{bad}"));
        assert_eq!(filter.level_for("x"), Some(Level::Warn));
        assert_eq!(errors.len(), 1);
        assert_eq!(Filter::parse_lossy(bad).0, Filter::default());
    }
}

#[test]
fn a_filter_is_shown_as_it_can_be_read() {
    let filter = Filter::parse("app::db=debug,WARN,app=off,app[{b,a}]=3").unwrap();
    assert_eq!(filter.to_string(), "warn,app=off,app[{a,b}]=info,app::db=debug");
    assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
    assert_eq!(filter.max_level(), Some(Level::Debug));
    assert_eq!(Filter::parse("off").unwrap().max_level(), None);
}

#[test]
fn an_explanation_names_what_decides_what_is_overruled_and_what_is_only_near() {
    let filter = Filter::parse("warn,app=info,app::db=off,app[{user}]=trace").unwrap();
    let why = filter.explain("app::http", Level::Debug, &[]);
    assert_eq!(why.directive().as_deref(), Some("app=info"));
    assert_eq!(why.overruled(), ["warn"]);
    assert_eq!(why.near(), ["`app[{user}]=trace` speaks of events with these fields alone: user"]);
    let why = filter.explain("application", Level::Error, &[]);
    assert!(why.is_logged() && why.near()[0].starts_with("`app"), "{why:?}");
    let why = Filter::parse("app=info").unwrap().explain("other", Level::Error, &[]);
    assert_eq!(why.to_string(), "not logged: no directive speaks of the target other");
    assert_eq!(why.directive(), None);
}
