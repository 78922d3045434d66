//! Captured: records that never were in a lane, in the shape of those that were read, events in their
//! spans.

use std::collections::HashMap;
use std::sync::Arc;

use crate::record::{Anchor, Definition, HEAD_BYTES, Head, Prefix, RECORD_EVENT};
use crate::render::{Shape, Span, ToldSpans};

use super::item::{Logger, Origin, Record, Tables};
use super::spans::BYTES_MAX;

/// A captured record: its bytes as a lane would hold them, and who logged it.
#[derive(Debug)]
pub(crate) struct Captive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tid: u32,
    pub(crate) thread: String,
}

/// Records of this process, in the order given; those without a definition are left out.
pub(crate) fn captured(
    captives: Vec<Captive>,
    definitions: &HashMap<u32, Definition>,
    anchors: &[Anchor],
) -> Vec<Record> {
    let logger = Logger { pid: std::process::id(), ..Logger::default() };
    let mut tables = Tables { logger: Arc::new(logger), ..Tables::default() };
    tables.add_anchors(anchors.iter().copied());
    let (mut bytes, mut places, mut spans) = (Vec::new(), Vec::new(), ToldSpans::new(BYTES_MAX));
    let (mut shapes, mut origins) = (HashMap::new(), HashMap::new());
    for captive in captives {
        let Some(head) = Head::read(&captive.bytes) else { continue };
        let Some(definition) = definitions.get(&head.callsite) else { continue };
        let shape = *shapes.entry(head.callsite).or_insert_with(|| {
            tables.shapes.push(Arc::new(Shape::new(Arc::new(definition.clone()))));
            tables.shapes.len() as u32 - 1
        });
        if head.kind != RECORD_EVENT {
            spans.note(0, &captive.bytes, || tables.shapes[shape as usize].clone());
            continue;
        }
        let origin = *origins.entry(captive.tid).or_insert_with(|| {
            tables.origins.push(Origin { tid: captive.tid, name: captive.thread.into() });
            tables.origins.len() as u32 - 1
        });
        places.push((bytes.len() as u32, origin, shape, tables.timeline.wall_ns(head.ticks)));
        bytes.extend_from_slice(&captive.bytes);
    }
    let (tables, bytes) = (Arc::new(tables), Arc::new(bytes));
    let record = |(at, origin, shape, time_ns)| Record {
        spans: around(&mut spans, &bytes[at as usize..]),
        tables: tables.clone(),
        bytes: bytes.clone(),
        at,
        origin,
        shape,
        time_ns,
        late: false,
    };
    places.into_iter().map(record).collect()
}

/// The spans of an event, as they were when it was logged.
fn around(spans: &mut ToldSpans, record: &[u8]) -> Arc<[Span]> {
    let Some(head) = Head::read(record) else { return Arc::default() };
    let prefix = Prefix::take(&head, &mut &record[HEAD_BYTES..]).unwrap_or_default();
    match prefix.span {
        0 => Arc::default(),
        // What was opened before the capture is known by its id alone.
        id => spans.around(0, id, head.ticks).unwrap_or_else(|known| known),
    }
}
