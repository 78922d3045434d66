//! Numbers that lie under a checksum that is right cost no panic and no memory (R29, R30).

use std::fs::File;
use std::path::Path;

use ttlog::record::CODEC_COMPACT;
use ttlog::store::block::{self, BlockHeader, HEADER_BYTES};
use ttlog::store::segment::{COPY_BYTES, SegmentHeader, SegmentReader};
use ttlog::store::{Error, Reason, index};

use crate::sample;
use crate::survey::{Image, survey};

const LIES: [u32; 9] = [0, 1, 2, 0x7f, 0xffff, 4 << 20, (4 << 20) + 1, u32::MAX - 1, u32::MAX];

fn sealed() -> Vec<u8> {
    sample::builder(7, CODEC_COMPACT, &sample::runs(16, 1)).finish().unwrap()
}

/// Makes the checksums of the block at `at` right again.
fn seal_again(bytes: &mut [u8], at: usize) {
    let salt = sample::header(7).salt();
    let stored_len = u32::from_le_bytes(*bytes[at + 8..].first_chunk().unwrap()) as usize;
    let payload = at + HEADER_BYTES;
    let end = payload.saturating_add(stored_len).min(bytes.len());
    let crc = salt.crc(at as u64, &[&bytes[payload..end]]);
    bytes[at + 56..at + 60].copy_from_slice(&crc.to_le_bytes());
    let crc = salt.crc(at as u64, &[&bytes[at..at + 60]]);
    bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
}

/// Reads everything; returns the events of the blocks that could be decoded.
fn read_all(image: &Image) -> u64 {
    let Ok(found) = image.survey() else { return 0 };
    let mut records = 0;
    for found in &found.blocks {
        assert!(found.payload.len() <= block::PAYLOAD_BYTES_MAX);
        if let Ok(contents) = block::contents(&found.payload, &found.header) {
            let raw: usize = contents.runs.iter().map(|run| run.bytes.capacity()).sum();
            assert!(raw <= 16 << 20, "{raw} bytes");
            records += u64::from(found.header.records);
        }
    }
    records
}

#[test]
fn every_lying_field_of_a_block_is_survived() {
    let bytes = sealed();
    let whole = survey(&bytes).unwrap();
    let at = whole.blocks[1].offset as usize;
    let image = Image::new(&bytes);
    // Every word of header and payload, so that every length, count and offset is among them.
    let end = at + whole.blocks[1].header.padded_len(64) as usize;
    for field in (at..end - 4).filter(|field| !(at + 56..at + 64).contains(field)) {
        for lie in LIES {
            let mut bad = bytes.clone();
            bad[field..field + 4].copy_from_slice(&lie.to_le_bytes());
            seal_again(&mut bad, at);
            image.write(0, &bad);
            assert!(read_all(&image) <= 2 * whole.records(), "field {field} is {lie}");
        }
    }
}

#[test]
fn every_lying_field_of_an_index_is_told_and_the_blocks_stand() {
    let bytes = sealed();
    let whole = survey(&bytes).unwrap();
    let salt = sample::header(7).salt();
    let last = whole.blocks.last().unwrap();
    let at = (last.offset + last.header.padded_len(64)) as usize;
    let image = Image::new(&bytes);
    for field in at + HEADER_BYTES..bytes.len() - 8 {
        for lie in [0, 1, u32::MAX] {
            let mut bad = bytes.clone();
            bad[field..field + 4].copy_from_slice(&lie.to_le_bytes());
            let body = at + HEADER_BYTES..bytes.len() - 4;
            let crc = salt.crc(at as u64, &[&bad[body]]);
            let trailer_crc = bad.len() - 4;
            bad[trailer_crc..].copy_from_slice(&crc.to_le_bytes());
            seal_again(&mut bad, at);
            image.set(&bad);
            let found = image.survey().unwrap();
            assert_eq!(found.blocks, whole.blocks);
            // What the index alone says of callsites cannot be checked.
            let of_entry = (field - at - HEADER_BYTES).saturating_sub(8) % index::ENTRY_BYTES;
            if bad != bytes && of_entry < 44 {
                assert!(found.damage.iter().all(|damage| damage.reason == Reason::Index));
                assert_eq!(found.lost(), Some(0));
            }
        }
    }
}

#[test]
fn every_lying_field_of_a_segment_header_is_survived() {
    let bytes = sealed();
    let image = Image::new(&bytes);
    for field in 0..COPY_BYTES - 8 {
        for lie in LIES {
            let mut bad = bytes.clone();
            bad[field..field + 4].copy_from_slice(&lie.to_le_bytes());
            let crc = crc32c::crc32c(&bad[..COPY_BYTES - 4]).to_le_bytes();
            bad[COPY_BYTES - 4..COPY_BYTES].copy_from_slice(&crc);
            bad.copy_within(..COPY_BYTES, COPY_BYTES);
            image.set(&bad);
            read_all(&image);
        }
    }
}

#[test]
fn files_of_newer_formats_are_refused_by_name() {
    let mut bytes = sealed();
    bytes[8] = 3;
    for copy in [0, COPY_BYTES] {
        bytes[copy + 8] = 3;
        let crc = crc32c::crc32c(&bytes[copy..copy + COPY_BYTES - 4]).to_le_bytes();
        bytes[copy + COPY_BYTES - 4..copy + COPY_BYTES].copy_from_slice(&crc);
    }
    let error = survey(&bytes).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 3, known: 1 }));
    assert_eq!(
        error.to_string(),
        "made by a newer ttlog: format 3, this one reads up to 1; update ttlog"
    );
}

#[test]
fn newer_blocks_and_unknown_kinds_are_stepped_over() {
    let bytes = sealed();
    let whole = survey(&bytes).unwrap();
    let hit = &whole.blocks[1];
    let at = hit.offset as usize;
    for (field, value, told) in [(4, 9, true), (5, 77, false), (6, 5, true), (7, 1, true)] {
        let mut newer = bytes.clone();
        newer[at + field] = value;
        seal_again(&mut newer, at);
        let found = survey(&newer).unwrap();
        assert_eq!(found.blocks.len(), whole.blocks.len() - 1);
        let events: Vec<_> =
            found.damage.iter().filter(|damage| damage.reason != Reason::Index).collect();
        assert_eq!(events.len(), usize::from(told));
        for damage in events {
            assert_eq!(damage.reason, Reason::Newer);
            assert_eq!(damage.records, Some(u64::from(hit.header.records)));
        }
    }
}

#[test]
fn what_is_no_segment_is_refused_with_a_reason() {
    let open = |path: &str| SegmentReader::open(path).unwrap_err();
    assert!(matches!(open("/"), Error::NotAFile));
    assert!(matches!(open("/dev/zero"), Error::NotAFile));
    assert!(matches!(open("/nowhere/at/all"), Error::Io(_)));
    assert!(matches!(survey(b""), Err(Error::Empty)));
    assert!(matches!(survey(&[0; 5000]), Err(Error::Empty)));
    assert!(matches!(survey(b"2026-11-21 INFO hello\n"), Err(Error::NotTtlog)));
    let mut bytes = sealed();
    (bytes[100], bytes[COPY_BYTES + 100]) = (1, 1);
    assert!(matches!(survey(&bytes), Err(Error::DamagedHeader)));
    assert!(SegmentReader::open(Path::new("/proc/self/status")).is_err());
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(matches!(SegmentReader::open(&path), Err(Error::NotAFile)));
}

#[test]
fn a_sparse_file_of_an_exbibyte_takes_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    std::fs::write(&path, sample::header(7).encode()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    // As long as the file system lets it be.
    let len = (20..62).rev().map(|bits| 1u64 << bits).find(|&len| file.set_len(len).is_ok());
    assert!(len.is_some());
    let mut reader = SegmentReader::open(&path).unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn texts_that_are_too_long_for_a_header_are_cut() {
    let header = SegmentHeader {
        app: "ü".repeat(300),
        version: "v".repeat(300),
        host: "h".repeat(300),
        ..sample::header(1)
    };
    let bytes = header.encode();
    let back = SegmentHeader::decode(bytes.first_chunk().unwrap()).unwrap();
    assert_eq!((back.app.len(), back.version.len(), back.host.len()), (128, 64, 128));
}

#[test]
fn payloads_beyond_the_cap_are_neither_written_nor_read() {
    let mut buffer = vec![0; block::PAYLOAD_BYTES_MAX + 4096];
    let salt = sample::header(1).salt();
    let too_long = BlockHeader {
        kind: block::KIND_EVENTS,
        stored_len: block::PAYLOAD_BYTES_MAX as u32 + 1,
        ..BlockHeader::default()
    };
    assert_eq!(block::seal(&mut buffer, salt, 1024, &too_long), None);
    let whole = BlockHeader { stored_len: block::PAYLOAD_BYTES_MAX as u32, ..too_long };
    assert_eq!(block::seal(&mut buffer, salt, 1024, &whole), Some(block::PAYLOAD_BYTES_MAX + 64));
}
