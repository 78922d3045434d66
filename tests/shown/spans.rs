//! The spans of events, as text.

use std::path::{Path, PathBuf};

use ttlog::record::compact::Decoder;
use ttlog::record::{Definitions, Head};
use ttlog::store::block::sections;
use ttlog::store::segment::{Entry, SegmentReader};
use ttlog::view::Record;

use super::shown::records;

/// `outer{a=1}:inner` for an event.
pub(crate) fn around(record: &Record) -> String {
    let span = |span: &ttlog::view::Span| {
        let fields: Vec<_> = span.fields().map(|(name, value)| format!("{name}={value}")).collect();
        let fields = fields.join(" ");
        if fields.is_empty() { span.name.clone() } else { format!("{}{{{fields}}}", span.name) }
    };
    record.spans().iter().map(span).collect::<Vec<_>>().join(":")
}

/// `outer{a=1}:inner|message` for each event of a log.
pub(crate) fn shown(dir: &Path) -> Vec<String> {
    let line = |record: &Record| format!("{}|{}", around(record), record.message());
    records(dir).iter().map(line).collect()
}

/// The kinds of all records in the segments of a log.
pub(crate) fn kinds(dir: &Path) -> Vec<u8> {
    let paths = std::fs::read_dir(dir).expect("a log").map(|entry| entry.expect("a file").path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "ttlog");
    let (mut payload, mut kinds) = (Vec::new(), Vec::new());
    for segment in paths.filter(is_segment) {
        let mut reader = SegmentReader::open(&segment).expect("a segment");
        while let Some(entry) = reader.next_entry().expect("a disk that answers") {
            let Entry::Block(block) = entry else { continue };
            reader.read_block(&block, &mut payload).expect("a whole block");
            let sections = sections(&payload, &block.header).expect("a whole payload");
            let mut definitions = Definitions::default();
            definitions.decode_all(sections.definitions);
            for run in Decoder::new(sections.runs, &definitions) {
                let bytes = run.expect("a whole run").bytes;
                let mut rest = &bytes[..];
                while let Some(head) = Head::read(rest) {
                    kinds.push(head.kind);
                    rest = &rest[head.len()..];
                }
            }
        }
    }
    kinds
}
