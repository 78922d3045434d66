//! Reading: captures what a test logs and shows it as one line.

use std::sync::{Arc, Once};

use ttlog::__private::callsite;
use ttlog::__private::capture::{Captured, capture};
use ttlog::record::{FLAG_TRUNCATED, Role, Value, Values, error_chain, template};

/// Everything is wanted, in every test of the file.
pub(crate) fn records(job: impl FnOnce()) -> Vec<Captured> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| callsite::install(7, Arc::new("trace".parse().expect("it is a level"))));
    capture(job)
}

/// The events of `job`, each as [`line`] shows it.
pub(crate) fn lines(job: impl FnOnce()) -> Vec<String> {
    records(job).iter().map(line).collect()
}

/// The one event of `job`.
pub(crate) fn one(job: impl FnOnce()) -> String {
    let mut lines = lines(job);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// `LEVEL [target] [(name)] field=value … : message`, defaults left out.
pub(crate) fn line(record: &Captured) -> String {
    let definition = &record.definition;
    let mut out = definition.level.to_string();
    if definition.target != definition.module {
        out += &format!(" [{}]", definition.target);
    }
    if definition.name != format!("event {}:{}", definition.file, definition.line) {
        out += &format!(" ({})", definition.name);
    }
    let mut args = Vec::new();
    let mut message = None;
    let mut values = Values::new(definition, &record.head, &record.payload);
    for (field, value) in values.by_ref() {
        match field.role {
            Role::Field => out += &format!(" {}={}", field.name, show(&value)),
            Role::Argument => args.push((field.name.as_str(), value)),
            Role::Message => message = Some(plain(&value)),
        }
    }
    assert!(!values.is_damaged(), "{record:?}");
    assert!(values.rest().len() < 8 && values.rest().iter().all(|b| *b == 0), "{record:?}");
    if let Some(template) = &definition.template {
        let mut text = String::new();
        template::format(template, &args, &mut text);
        message = Some(text);
    }
    if let Some(message) = message {
        out += &format!(" : {message}");
    }
    if record.head.flags & FLAG_TRUNCATED != 0 {
        out += " (cut)";
    }
    out
}

fn show(value: &Value<'_>) -> String {
    match value {
        Value::Error(chain) => format!("Error{:?}", error_chain(chain).collect::<Vec<_>>()),
        Value::Empty => "-".into(),
        value => format!("{value:?}"),
    }
}

fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => (*text).to_owned(),
        other => panic!("{other:?} is no message"),
    }
}
