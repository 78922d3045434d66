//! Capture: keeps the records of a thread in memory, for tests.

use std::cell::RefCell;

use super::args::Args;
use super::callsite::{self, Callsite};
use super::raw::Cursor;
use crate::record::RECORD_EVENT;
use crate::record::{Definition, FLAG_TRUNCATED, HEAD_BYTES, Head, RECORD_BYTES_MAX};

/// One record and its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "named for what they hold")]
pub struct Captured {
    pub head: Head,
    pub payload: Vec<u8>,
    pub epoch: u32,
    pub definition: Definition,
}

/// Head, epoch, payload.
type Raw = (Head, u32, Vec<u8>);

thread_local! {
    static RECORDS: RefCell<Option<Vec<Raw>>> = const { RefCell::new(None) };
}

/// Makes a record as a lane would and keeps it, if this thread captures.
#[inline(never)]
pub fn reserve_and_write<A: Args>(
    _site: &'static Callsite,
    id: u32,
    epoch: u32,
    flags: u8,
    args: &A,
) {
    let limit = RECORD_BYTES_MAX - HEAD_BYTES;
    if args.len() > limit {
        let args = args.limited(limit);
        return keep(id, epoch, flags | FLAG_TRUNCATED, &args);
    }
    keep(id, epoch, flags, args);
}

fn keep(id: u32, epoch: u32, flags: u8, args: &impl Args) {
    let _ = RECORDS.try_with(|records| {
        let Some(records) = &mut *records.borrow_mut() else { return };
        let len = args.len();
        let mut payload = vec![0; len.next_multiple_of(8)];
        let words = (payload.len() / 8) as u16;
        let mut cursor = Cursor::new(&mut payload[..len]);
        args.write(&mut cursor);
        assert_eq!(cursor.room(), 0, "a list writes what it measured");
        let ticks = super::clock::ticks();
        records.push((
            Head { callsite: id, words, kind: RECORD_EVENT, flags, ticks },
            epoch,
            payload,
        ));
    });
}

/// Runs `job` and returns what this thread logged in it.
///
/// # Panics
///
/// When a record names a callsite that no definition was told of.
pub fn capture(job: impl FnOnce()) -> Vec<Captured> {
    RECORDS.with(|records| records.replace(Some(Vec::new())));
    job();
    let records = RECORDS.with(RefCell::take).unwrap_or_default();
    let mut definitions = crate::record::Definitions::default();
    callsite::for_each_definition(|definition| definitions.add(definition.clone()));
    records
        .into_iter()
        .map(|(head, epoch, payload)| {
            let definition = definitions.get(head.callsite).expect("it is told before its records");
            Captured { head, payload, epoch, definition: (**definition).clone() }
        })
        .collect()
}
