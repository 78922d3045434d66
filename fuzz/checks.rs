//! Checks: what must hold for every input (R28).
//!
//! The targets call these with what the fuzzer makes up, `tests/fuzz_replay.rs` with the inputs in
//! `fuzz/seeds`. A check that takes a file seals it again after the fuzzer's changes, so that
//! what lies behind a checksum is reached too. A new target is a function here, a file in
//! `fuzz_targets`, a `[[bin]]`, a folder of seeds, and a line in the replay.

use std::io::Write;

use ttlog::lane::outside::lane_runs;
use ttlog::record::compact::{Decoder, Encoder, RAW_BYTES_MAX};
use ttlog::record::{
    CODEC_COMPACT, CODEC_RAW, Definition, Definitions, Field, HEAD_BYTES, Head, Kind, Level,
    RECORD_PAD, RawRun, Role, RunHead,
};
use ttlog::store::Builder;
use ttlog::store::block::{self, HEADER_BYTES};
use ttlog::store::segment::{Entry, SegmentHeader, SegmentReader};

/// Bytes as the runs of a block do not panic; bytes as records come back equal.
pub(crate) fn run(data: &[u8]) {
    let definitions = definitions();
    let mut total = 0;
    for run in Decoder::new(data, &definitions).map_while(Result::ok) {
        total += run.bytes.len();
    }
    assert!(total <= RAW_BYTES_MAX);

    let records = framed(data);
    let head = RunHead { lane: 1, position: 8, ..RunHead::default() };
    for codec in [CODEC_COMPACT, CODEC_RAW] {
        let back = encode_and_decode(&definitions, &head, &records, codec);
        assert!(back == records, "encoding is undone");
    }
}

/// Bytes as a block, its checksums made right, do not panic; nor do they as a payload.
pub(crate) fn block(data: &[u8]) {
    let salt = header().salt();
    let mut buffer = data.to_vec();
    buffer.resize(data.len().max(HEADER_BYTES), 0);
    buffer[..4].copy_from_slice(&block::MAGIC);
    seal(&mut buffer, 0);
    let (head, payload) = buffer.split_first_chunk::<HEADER_BYTES>().expect("it is as long");
    let Some(header) = block::parse_header(head, salt, 0) else { return };
    assert!(block::parse_header(head, salt, 64).is_none(), "a block is whole in its place alone");
    let Some(payload) = payload.get(..header.stored_len as usize) else { return };
    assert!(block::check_payload(payload, salt, 0, &header), "the checksum was made right");
    let Ok(contents) = block::contents(payload, &header) else { return };
    let raw: usize = contents.runs.iter().map(|run| run.bytes.len()).sum();
    assert!(raw <= RAW_BYTES_MAX);

    // What was read can be written, and reads the same.
    let mut builder = Builder::new(self::header());
    contents.definitions.iter().for_each(|one| builder.add_definition((**one).clone()));
    contents.anchors.iter().for_each(|&anchor| builder.add_anchor(anchor));
    let has_pad = |run: &RawRun| records_of(&run.bytes).any(|head| head.kind == RECORD_PAD);
    if contents.runs.iter().any(has_pad) {
        return;
    }
    for run in &contents.runs {
        if builder.push_run(run).is_err() {
            return;
        }
    }
    let Ok(bytes) = builder.finish() else { return };
    let written: Vec<u8> = contents.runs.iter().flat_map(|run| run.bytes.clone()).collect();
    let (read, n_damages) = read_segment(&bytes);
    assert!(n_damages == 0 && read.concat() == written, "what was written is read");
}

/// A small segment, changed as the data says: its reader gives nothing that was not written.
///
/// The data is a list of changes of four bytes: an offset, what to do there, and with what.
pub(crate) fn segment(data: &[u8]) {
    let whole = small_segment();
    let (written, _) = read_segment(&whole);
    let mut bytes = whole.clone();
    let mut is_sealed_again = false;
    for change in data.chunks_exact(4).take(64) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        match change[2] % 8 {
            0 => bytes.truncate(at),
            1 => bytes.resize(at.saturating_add(usize::from(change[3]) * 64), change[3]),
            2 => bytes.extend_from_slice(&whole[at.min(whole.len())..]),
            3 => {
                let to = usize::from(change[3]) * 64;
                let end = (to + 1024).min(bytes.len());
                if to < end && at + (end - to) <= bytes.len() {
                    bytes.copy_within(to..end, at);
                }
            }
            4 => {
                let end = (at + usize::from(change[3])).min(bytes.len());
                bytes.get_mut(at..end).unwrap_or_default().fill(0);
            }
            5 => {
                seal(&mut bytes, at & !63);
                is_sealed_again = true;
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change[3];
                }
            }
        }
    }
    let (read, n_damages) = read_segment(&bytes);
    // With checksums made right again, only the reader's calm can be checked.
    if !is_sealed_again {
        assert!(read.iter().all(|block| written.contains(block)), "nothing is invented");
        assert!(bytes != whole || n_damages == 0);
    }
}

/// The records of the blocks that can be read, and how many damages were told.
fn read_segment(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(bytes).expect("a temporary file can be written");
    let Ok(mut reader) = SegmentReader::from_file(file) else { return (Vec::new(), 1) };
    let (mut blocks, mut n_damages, mut payload) = (Vec::new(), 0, Vec::new());
    while let Some(entry) = reader.next_entry().expect("a temporary file can be read") {
        let Entry::Block(found) = entry else {
            n_damages += 1;
            continue;
        };
        let whole = reader.read_block(&found, &mut payload).is_ok();
        match block::contents(&payload, &found.header) {
            Ok(contents) if whole => {
                blocks.push(contents.runs.into_iter().flat_map(|run| run.bytes).collect());
            }
            _ => n_damages += 1,
        }
    }
    (blocks, n_damages)
}

/// A block in a zstd frame, whose stored bytes are any: read it, or tell it as damage; and any bytes
/// as a payload come out of a frame as they went in.
pub(crate) fn packed(data: &[u8]) {
    let whole = small_segment();
    let mut bytes = whole[..1024].to_vec();
    let mut block = whole[1024..1024 + HEADER_BYTES].to_vec();
    block[6] = block::CODEC_ZSTD;
    let stored_len = u32::try_from(data.len()).expect("inputs are short");
    block[8..12].copy_from_slice(&stored_len.to_le_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(64), 0);
    bytes.extend_from_slice(&block);
    seal(&mut bytes, 1024);
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(&bytes).expect("a temporary file can be written");
    let mut reader = SegmentReader::from_file(file).expect("the header is whole");
    let mut payload = Vec::new();
    while let Some(entry) = reader.next_entry().expect("a temporary file can be read") {
        let Entry::Block(found) = entry else { continue };
        assert_eq!(found.header.codec, block::CODEC_ZSTD);
        let read = reader.read_block(&found, &mut payload);
        assert!(payload.len() <= block::PAYLOAD_BYTES_MAX, "a bomb costs the longest payload");
        if read.is_ok() {
            let _ = block::contents(&payload, &found.header);
        }
    }
}

/// Makes the checksums of the block at `at` right.
fn seal(bytes: &mut [u8], at: usize) {
    let salt = header().salt();
    let Some(block) = bytes.get_mut(at..).filter(|block| block.len() >= HEADER_BYTES) else {
        return;
    };
    let mut stored_len = [0; 4];
    stored_len.copy_from_slice(&block[8..12]);
    let end = HEADER_BYTES.saturating_add(u32::from_le_bytes(stored_len) as usize);
    let end = end.min(block.len());
    let crc = salt.crc(at as u64, &[&block[HEADER_BYTES..end]]);
    block[56..60].copy_from_slice(&crc.to_le_bytes());
    let crc = salt.crc(at as u64, &[&block[..60]]);
    block[60..64].copy_from_slice(&crc.to_le_bytes());
}

fn small_segment() -> Vec<u8> {
    let mut builder = Builder::new(header()).runs_bytes(1024);
    for definition in definitions().iter() {
        builder.add_definition((**definition).clone());
    }
    for lane in 0..12u32 {
        let mut bytes = Vec::new();
        for n in 0..12u64 {
            bytes.extend_from_slice(&Head::word(1, 1, 0, 0).to_le_bytes());
            bytes.extend_from_slice(&(1000 * u64::from(lane) + n).to_le_bytes());
            bytes.extend_from_slice(&(n * 7919).to_le_bytes());
        }
        let head = RunHead { lane, end: bytes.len() as u64, count: 12, ..RunHead::default() };
        builder.push_run(&RawRun { head, bytes }).expect("the records are whole");
    }
    builder.finish().expect("a few blocks fit an index")
}

/// Makes whole records of any bytes: each takes its length from its own head, cut to what is left.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut out = data[..data.len() & !7].to_vec();
    let mut at = 0;
    while out.len() - at >= HEAD_BYTES {
        let room = (out.len() - at - HEAD_BYTES) / 8;
        let words = (usize::from(out[at + 4]) % 12).min(room) as u16;
        out[at + 4..at + 6].copy_from_slice(&words.to_le_bytes());
        out[at] %= 8;
        out[at + 1..at + 4].fill(0);
        if out[at + 6] == RECORD_PAD || out[at + 6] & 3 != 0 {
            out[at + 6..at + 8].fill(0);
        }
        at += HEAD_BYTES + usize::from(words) * 8;
    }
    out.truncate(at);
    out
}

fn records_of(bytes: &[u8]) -> impl Iterator<Item = Head> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = Head::read(rest)?;
        rest = &rest[head.len()..];
        Some(head)
    })
}

fn encode_and_decode(
    definitions: &Definitions,
    head: &RunHead,
    records: &[u8],
    codec: u8,
) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut out = vec![0; 4096];
    let mut back = Vec::new();
    let mut rest = records;
    loop {
        encoder.reset();
        let done = encoder
            .run(definitions, head.clone(), rest, &mut out, 0, codec)
            .expect("the records are framed");
        assert!(done.written > 0, "a short record fits an empty block");
        for run in Decoder::new(&out[..done.written], definitions) {
            back.extend(run.expect("what was encoded can be decoded").bytes);
        }
        rest = &rest[done.consumed..];
        if rest.is_empty() {
            return back;
        }
    }
}

fn header() -> SegmentHeader {
    SegmentHeader { logger: 0x77, number: 1, clock: 1, ..SegmentHeader::default() }
}

/// Callsites 1 to 6: what a record may hold, one way or another.
fn definitions() -> Definitions {
    let kinds: [&[u8]; 6] = [
        &[Kind::U64 as u8],
        &[Kind::U64 as u8, Kind::I64 as u8],
        &[Kind::U64 as u8, Kind::Str as u8, Kind::F64 as u8, Kind::Bool as u8],
        &[Kind::U16 as u8, Kind::I32 as u8, Kind::U8 as u8, Kind::U128 as u8, Kind::Duration as u8],
        &[Kind::U64 as u8 | Kind::OPTIONAL, Kind::Bytes as u8 | Kind::OPTIONAL],
        &[],
    ];
    let mut definitions = Definitions::default();
    for (n, kinds) in kinds.into_iter().enumerate() {
        let field = |&kind: &u8| Field { name: "field".into(), kind, role: Role::Field };
        definitions.add(Definition {
            id: n as u32 + 1,
            level: Level::ALL[n % Level::ALL.len()],
            dynamic: false,
            target: "fuzz".into(),
            name: String::new(),
            file: String::new(),
            line: 0,
            module: String::new(),
            template: None,
            fields: kinds.iter().map(field).collect(),
        });
    }
    definitions
}

/// A lane's file, changed as the data says: what is read of it are whole records within the lane.
///
/// The data is a list of changes of twelve bytes: an offset, what to do there, and with what.
pub(crate) fn lane(data: &[u8]) {
    let mut bytes = small_lane();
    for change in data.chunks_exact(12).take(64) {
        let at = (usize::from(u16::from_le_bytes([change[0], change[1]])) % (bytes.len() - 8)) & !7;
        let value = change[4..].first_chunk().map_or(0, |value| u64::from_le_bytes(*value));
        let old = bytes[at..].first_chunk().map_or(0, |old| u64::from_le_bytes(*old));
        let new = match change[2] % 4 {
            0 => value,
            1 => old.wrapping_add(value % 4096),
            2 => old ^ 1 << (value % 64),
            _ => u64::MAX - value % 64,
        };
        bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    }
    let Ok(runs) = lane_runs(&bytes, LANE_LOGGER) else { return };
    let mut end = None;
    for run in &runs {
        assert!(run.head.position <= run.head.end, "a run goes forward");
        assert!(end.is_none_or(|end| end == run.head.position), "runs follow each other");
        end = Some(run.head.end);
        let count = records_of(&run.bytes).count();
        assert_eq!(count as u32, run.head.count, "records are counted");
        let len: usize = records_of(&run.bytes).map(|head| head.len()).sum();
        assert_eq!(len, run.bytes.len(), "records are whole");
    }
    let total: usize = runs.iter().map(|run| run.bytes.len()).sum();
    assert!(total <= bytes.len(), "no more than there is");
    if data.is_empty() {
        assert_eq!(runs.iter().map(|run| run.head.count).sum::<u32>(), LANE_RECORDS);
    }
}

const LANE_LOGGER: u64 = 0xfeed;
const LANE_RECORDS: u32 = 40;

/// A lane of 4 KiB that has wrapped: the offsets are those of `lane::ring`, written down a second
/// time on purpose.
fn small_lane() -> Vec<u8> {
    let mut bytes = vec![0; 4096 + 4096];
    let mut put = |at: usize, word: u64| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0, u64::from_le_bytes(*b"TTLGLANE"));
    put(8, 1 | 4096 << 32);
    put(16, LANE_LOGGER);
    put(24, 3 | 4242 << 32);
    put(32, 4096);
    put(40, 7);
    put(48, 99);
    put(56, 4);
    put(64, u64::from_le_bytes(*b"work\0\0\0\0"));
    let head = 8192 - 24 * 20 - 8;
    let mut at = head;
    for n in 0..u64::from(LANE_RECORDS) {
        if at + 24 > 8192 && at < 8192 {
            // Eight bytes are left at the buffer's end: a pad.
            put(4096 + at as usize % 4096, Head::word(0, 0, RECORD_PAD, 0));
            at = 8192;
        }
        let data = 4096 + at as usize % 4096;
        put(data, Head::word(1, 1, 0, 0));
        put(data + 8, 1000 + n);
        put(data + 16, n);
        at += 24;
    }
    put(128, at);
    put(256, head);
    put(512, head);
    put(520, 1_000);
    bytes
}

/// The stored payload of a small segment's first block, in a frame.
#[cfg(test)]
fn packed_frame() -> Vec<u8> {
    let mut builder = Builder::new(header()).zstd(3);
    for definition in definitions().iter() {
        builder.add_definition((**definition).clone());
    }
    let record = [Head::word(1, 1, 0, 0).to_le_bytes(), [0; 8], [7; 8]].concat();
    let bytes = record.repeat(12);
    let head = RunHead { end: bytes.len() as u64, count: 12, ..RunHead::default() };
    builder.push_run(&RawRun { head, bytes }).expect("the records are whole");
    let bytes = builder.finish().expect("one block fits an index");
    let stored_len = u32::from_le_bytes(*bytes[1024 + 8..].first_chunk().expect("a header"));
    bytes[1024 + HEADER_BYTES..][..stored_len as usize].to_vec()
}

/// A few inputs to begin with, each under its target's name.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let whole = small_segment();
    let block = whole[1024..1024 + 1100].to_vec();
    let stored_len = u32::from_le_bytes(*block[8..].first_chunk().expect("a header")) as usize;
    let runs = block[HEADER_BYTES..HEADER_BYTES + stored_len].to_vec();
    let mut mixed = Vec::new();
    for n in 0..40u64 {
        let id = 1 + (n % 6) as u32;
        let payload: &[u8] = match id {
            1 => &[9, 0, 0, 0, 0, 0, 0, 0],
            2 => &[1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            3 => b"\x2a\0\0\0\0\0\0\0\x03\0\0\0abc\x01\x02\x03\x04\x05\x06\x07\x08\x01\0\0\0\0\0\0\0\0",
            4 => &[7; 40],
            5 => b"\x01\x2a\0\0\0\0\0\0\0\x01\x02\0\0\0hi\0\0\0\0\0\0\0\0",
            _ => &[],
        };
        let words = payload.len() / 8;
        mixed.extend_from_slice(&Head::word(id, words as u16, 0, 0).to_le_bytes());
        mixed.extend_from_slice(&(1000 + 33 * n).to_le_bytes());
        mixed.extend_from_slice(&payload[..words * 8]);
    }
    vec![
        ("run/encoded", runs),
        ("run/records", mixed),
        ("block/first", block),
        ("block/last", whole[whole.len() - 900..].to_vec()),
        ("packed/frame", packed_frame()),
        (
            "packed/bomb",
            vec![
                0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x50, 0, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 7,
            ],
        ),
        ("segment/flip", vec![0x40, 4, 6, 1]),
        ("segment/cut", vec![0, 8, 0, 0]),
        ("segment/copy", vec![0, 5, 3, 16, 0, 8, 4, 64]),
        ("segment/lie", vec![0x08, 4, 6, 0xff, 0, 4, 5, 0]),
        ("lane/whole", Vec::new()),
        ("lane/tail", vec![128, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ("lane/record", vec![0x80, 0x1e, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ]
}
