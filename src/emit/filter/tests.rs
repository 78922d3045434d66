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

/// Directives, a span, an event, and whether it is wanted inside of it: the forms with spans and
/// values that the documentation of `EnvFilter` has. `tests/filter_spans.rs` compares them with it.
#[test]
fn documented_directives_about_spans_mean_the_same() {
    let (trace, debug, info, warn) = (Level::Trace, Level::Debug, Level::Info, Level::Warn);
    for (filter, span, target, level, wanted) in [
        // Inside of a span of this name and target, whatever the event's target.
        ("my_app[span_a]=trace", "my_app[span_a]", "other", trace, true),
        ("my_app[span_a]=trace", "my_app::x[span_a]", "other", trace, true),
        ("my_app[span_a]=trace", "other[span_a]", "my_app", trace, false),
        ("my_app[span_a]=trace", "my_app[span_b]", "my_app", trace, false),
        ("my_app[span_a]=debug", "my_app[span_a]", "x", trace, false),
        ("my_app[span_a]", "my_app[span_a]", "x", trace, true),
        ("warn,stuff[cool]=debug", "stuff[cool]", "x", debug, true),
        ("warn,stuff[cool]=debug", "stuff[uncool]", "x", debug, false),
        ("warn,stuff[cool]=debug", "stuff[uncool]", "x", warn, true),
        // A grant takes nothing away.
        ("info,[cool]=off", "cool", "x", info, true),
        ("info,[cool]=error", "cool", "x", info, true),
        ("off,[cool]=info", "cool", "x", info, true),
        ("x=off,[cool]=info", "cool", "x", info, true),
        // Names of fields, and values.
        ("[{user}]=debug", "any{user=1}", "x", debug, true),
        ("[{user}]=debug", "any{id=1}", "x", debug, false),
        ("[span_b{name=\"bob\"}]", "span_b{name=bob}", "x", trace, true),
        ("[span_b{name=\"bob\"}]", "span_b{name=bobby}", "x", trace, false),
        ("[span_b{name=bob}]", "span_b{name=\"bob\"}", "x", trace, true),
        ("[span_b{name=b.*}]=info", "span_b{name=bob}", "x", info, true),
        ("[{id=7}]=debug", "any{id=7}", "x", debug, true),
        ("[{id=7}]=debug", "any{id=8}", "x", debug, false),
        ("[{id=-7}]=debug", "any{id=-7}", "x", debug, true),
        ("[{ok=true}]=debug", "any{ok=true}", "x", debug, true),
        ("[{ok=true}]=debug", "any{ok=false}", "x", debug, false),
        ("[{at=0.5}]=debug", "any{at=0.5}", "x", debug, true),
        // Of two values both, and of two directives the one that grants more.
        ("[s{a=1,b=\"x, }]\"}]=debug", "s{a=1,b=\"x, }]\"}", "x", debug, true),
        ("[s{a=1,b=2}]=debug", "s{a=1,b=3}", "x", debug, false),
        ("[s{a=1}]=debug,[s{a=1,b=2}]=info", "s{a=1,b=2}", "x", debug, true),
        ("[s{a=[0-9]{2},b=(x|y)}]=debug", "s{a=\"42\",b=y}", "x", debug, true),
        ("[s]=info,[s{a=1}]=trace", "s{a=1}", "x", trace, true),
        ("[s]=info,[s{a=1}]=trace", "s{a=2}", "x", trace, false),
        ("[s]=info,[s{a=1}]=trace", "s{a=2}", "x", info, true),
        // Any name but `]` and `{`.
        (
            "t[!\"#$%&'()*+-./:;<=>?@^_`|~[}]=info",
            "t[!\"#$%&'()*+-./:;<=>?@^_`|~[}]",
            "x",
            info,
            true,
        ),
    ] {
        let parsed = Filter::parse(filter).unwrap();
        let why = parsed.explain_in(target, level, &[], &[span]).unwrap();
        assert_eq!(why.is_logged(), wanted, "{filter} {span}: {why}");
        let alone = parsed.explain(target, level, &[]);
        assert!(!alone.is_logged() || wanted, "{filter}: {alone}");
        assert_eq!(Filter::parse(&parsed.to_string()).unwrap(), parsed, "{filter}");
    }
}

#[test]
fn what_cannot_be_read_or_applied_is_refused_with_its_place_and_a_way_out() {
    for (bad, reason) in [
        ("[span_b{name=\"bob}]", "quote is not closed"),
        ("[span{a=}]", "no value behind the equals sign; write [{name}] for any"),
        ("[span{=1}]", "no name before the equals sign"),
        ("[span{a=b(}]", "no regular expression"),
        ("[span{a=1}", "bracket is not closed"),
        ("[span", "bracket is not closed"),
        ("{field}=info", "in brackets: [{name}]"),
        ("{field=1}", "in brackets"),
        ("[{field]", "brace is not closed"),
        ("[{field}", "bracket is not closed"),
        ("app[]", "nothing stands in the brackets; write [span]"),
        ("[{}]=info", "nothing stands in the brackets"),
        ("[{a}]info", "only =level may follow"),
        ("[{a}]=loud", "not a level"),
        ("a b[{c}]", "no target before the bracket"),
        ("app=loud", "not a level"),
        ("=info", "no target"),
        ("a b", "neither a level"),
        ("7", "neither a level"),
    ] {
        let error = Filter::parse(&format!("warn, {bad}")).unwrap_err();
        assert_eq!(error.directive(), bad);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains(" at character 7: "), "{error}");
        let (filter, errors) = Filter::parse_lossy(&format!("warn,{bad}"));
        assert_eq!(filter.level_for("x"), Some(Level::Warn));
        assert_eq!(errors.len(), 1);
        assert_eq!(Filter::parse_lossy(bad).0, Filter::default());
    }
    let filter = Filter::parse("[s]").unwrap();
    for (bad, reason) in [
        ("", "has a name"),
        ("{a=1}", "has a name"),
        ("s{a", "brace"),
        ("t[s", "bracket"),
        ("t[s]=1", "follow"),
    ] {
        let error = filter.explain_in("x", Level::Info, &[], &[bad]).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let many: Vec<_> = (0..65).map(|n| format!("[s{{a={n}}}]")).collect();
    assert!(Filter::parse(&many[..64].join(",")).is_ok());
    let full = Filter::parse(&format!("{},[t]", many[..64].join(","))).unwrap();
    for span in ["t", "s{a=0}", "s{a=63}"] {
        assert!(full.explain_in("x", Level::Trace, &[], &[span]).unwrap().is_logged(), "{span}");
    }
    assert!(!full.explain_in("x", Level::Trace, &[], &["s{a=64}"]).unwrap().is_logged());
    let error = Filter::parse(&many.join(",")).unwrap_err();
    assert!(error.directive() == "[s{a=64}]" && error.to_string().contains("more than 64 values"));
}

#[test]
fn a_statement_is_looked_at_in_each_call_only_where_a_span_could_grant_it() {
    let interest = |filter: &str, level, is_span, name: &str| {
        let has = |field: &str| field == "id";
        let subject = Subject { target: "app", name, level, is_span, has: &has };
        Filter::parse(filter).unwrap().interest(&subject)
    };
    for (filter, level, is_span, name, wanted) in [
        ("info", Level::Info, false, "", Interest::Always),
        ("info", Level::Debug, false, "", Interest::Never),
        ("info,[s]=debug", Level::Info, false, "", Interest::Always),
        ("info,[s]=debug", Level::Debug, false, "", Interest::Sometimes),
        ("info,[s]=debug", Level::Trace, false, "", Interest::Never),
        ("info,[s]=off", Level::Debug, false, "", Interest::Never),
        // Spans that a directive speaks of are wanted whatever their level.
        ("info,[s]=debug", Level::Trace, true, "s", Interest::Always),
        ("info,[s{id=1}]=debug", Level::Trace, true, "s", Interest::Always),
        ("info,[s{no=1}]=debug", Level::Trace, true, "s", Interest::Never),
        ("info,other[s]=debug", Level::Trace, true, "s", Interest::Never),
        ("info,[s]=debug", Level::Debug, true, "t", Interest::Sometimes),
        ("info,[s]=debug", Level::Trace, true, "t", Interest::Never),
    ] {
        assert_eq!(interest(filter, level, is_span, name), wanted, "{filter} {level} {name}");
    }
}

#[test]
fn a_filter_is_shown_as_it_can_be_read() {
    let filter = Filter::parse("app::db=debug,WARN,app=off,app[{b,a}]=3").unwrap();
    assert_eq!(filter.to_string(), "warn,app=off,app[{a,b}]=info,app::db=debug");
    let text = "warn,app=off,app[s]=info,app[s{a=1,b=\"x,y\"}]=debug";
    assert_eq!(Filter::parse(text).unwrap().to_string(), text);
    let later = Filter::parse("[s{a=1}]=debug,[s{a=1}]=info,[s{a=2}]=warn").unwrap();
    assert_eq!(later.to_string(), "[s{a=2}]=warn,[s{a=1}]=info");
    assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
    assert_eq!(filter.max_level(), Some(Level::Debug));
    assert_eq!(Filter::parse("off").unwrap().max_level(), None);
}

#[test]
fn an_explanation_says_what_a_span_would_grant() {
    let filter = Filter::parse("warn,app[request{id=7}]=debug").unwrap();
    let why = filter.explain("app::db", Level::Debug, &[]);
    assert_eq!(why.near(), ["`app[request{id=7}]=debug` speaks of what is inside of such a span"]);
    assert_eq!(why.directive().as_deref(), Some("warn"));
    // Without a target of its own it has the event's.
    let why = filter.explain_in("app::db", Level::Debug, &[], &["outer", "request{id=7}"]).unwrap();
    assert_eq!(why.directive().as_deref(), Some("app[request{id=7}]=debug"));
    assert!(why.overruled().is_empty() && why.near().is_empty(), "{why:?}");
    let why = filter.explain_in("other", Level::Debug, &[], &["request{id=7}"]).unwrap();
    assert!(!why.is_logged(), "{why}");
    let why = filter.explain_in("other", Level::Warn, &[], &["app[request{id=7}]"]).unwrap();
    assert_eq!(
        why.to_string(),
        "logged: `warn` decides for the target other and wants WARN and above"
    );
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
