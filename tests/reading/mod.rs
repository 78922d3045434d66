//! Reading: captures what a test logs and shows it as one line.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ttlog::record::compact::Decoder;
use ttlog::record::{
    Definition, Definitions, FLAG_TRUNCATED, Head, Role, Value, Values, error_chain, template,
};
use ttlog::store::Error;
use ttlog::store::block;
use ttlog::store::segment::{Entry, SegmentReader};

/// One record and its definition.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) head: Head,
    pub(crate) payload: Vec<u8>,
    pub(crate) definition: Definition,
}

/// The process's logger, which wants everything, in every test of the file.
fn logger() -> &'static (tempfile::TempDir, ttlog::Handle) {
    static LOGGER: OnceLock<(tempfile::TempDir, ttlog::Handle)> = OnceLock::new();
    LOGGER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = ttlog::Builder::new(dir.path()).filter("trace").init();
        (dir, handle.expect("a logger"))
    })
}

/// What this thread logged in `job`, as it lies in the segments.
pub(crate) fn records(job: impl FnOnce()) -> Vec<Captured> {
    let (dir, handle) = logger();
    let before = of_this_thread(dir.path()).len();
    job();
    handle.flush(Duration::from_secs(60)).expect("the disk answers");
    of_this_thread(dir.path()).split_off(before)
}

fn of_this_thread(dir: &Path) -> Vec<Captured> {
    let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for entry in std::fs::read_dir(dir).expect("it is there").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "ttlog") {
            continue;
        }
        let mut reader = match SegmentReader::open(entry.path()) {
            // Made for what another test logs, and not written yet.
            Err(Error::Empty) => continue,
            opened => opened.expect("a segment"),
        };
        while let Some(entry) = reader.next_entry().expect("the disk answers") {
            let Entry::Block(at) = entry else { continue };
            let mut payload = Vec::new();
            reader.read_block(&at, &mut payload).expect("a whole block");
            let sections = block::sections(&payload, &at.header).expect("a whole payload");
            let mut definitions = Definitions::default();
            definitions.decode_all(sections.definitions);
            for run in Decoder::new(sections.runs, &definitions) {
                let run = run.expect("a whole run");
                let key = (run.head.generation, run.head.position, run.head.count);
                if run.head.tid == tid && seen.insert(key) {
                    found.push((key, captured(&run.bytes, &definitions)));
                }
            }
        }
    }
    found.sort_by_key(|(key, _)| *key);
    found.into_iter().flat_map(|(_, records)| records).collect()
}

fn captured(mut bytes: &[u8], definitions: &Definitions) -> Vec<Captured> {
    let mut records = Vec::new();
    while let Some(head) = Head::read(bytes) {
        let definition = definitions.get(head.callsite).expect("it is in the block");
        let payload = bytes[ttlog::record::HEAD_BYTES..head.len()].to_vec();
        records.push(Captured { head, payload, definition: (**definition).clone() });
        bytes = &bytes[head.len()..];
    }
    records
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
