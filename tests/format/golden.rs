//! Golden files: what this version writes, and what every later one must read (R22).
//!
//! `cargo test --test format -- --ignored golden_files_are_made_anew` writes them again, which a
//! new format alone justifies.

use std::path::PathBuf;

use ttlog::record::{CODEC_COMPACT, CODEC_RAW, RawRun};
use ttlog::store::block;

use crate::sample;
use crate::survey::survey;

const FILES: [(&str, u8); 2] = [("v1-compact.ttlog", CODEC_COMPACT), ("v1-raw.ttlog", CODEC_RAW)];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn runs() -> Vec<RawRun> {
    sample::runs(14, 0x601d)
}

#[test]
fn golden_files_are_what_is_written() {
    for (name, codec) in FILES {
        let written = sample::builder(1, codec, &runs()).finish().unwrap();
        assert!(written == std::fs::read(path(name)).unwrap(), "{name} differs");
    }
}

/// Frames of another version of zstd may differ, so that this one is read, and not compared.
const PACKED: &str = "v1-packed.ttlog";

#[test]
fn golden_files_hold_what_was_written() {
    let packed = cfg!(feature = "zstd").then_some(PACKED);
    for name in FILES.map(|(name, _)| name).into_iter().chain(packed) {
        let found = survey(&std::fs::read(path(name)).unwrap()).unwrap();
        assert!(found.sealed && found.damage.is_empty(), "{name}");
        let mut bytes = Vec::new();
        for found in &found.blocks {
            let contents = block::contents(&found.payload, &found.header).unwrap();
            assert!(contents.definitions.len() <= sample::definitions().len());
            for definition in contents.definitions.iter() {
                assert!(sample::definitions().contains(definition));
            }
            contents.runs.iter().for_each(|run| bytes.extend_from_slice(&run.bytes));
        }
        let pushed: Vec<u8> = runs().iter().flat_map(|run| run.bytes.clone()).collect();
        assert_eq!(bytes, pushed, "{name}");
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn golden_files_are_made_anew() {
    for (name, codec) in FILES {
        let written = sample::builder(1, codec, &runs()).finish().unwrap();
        std::fs::write(path(name), written).unwrap();
    }
    let packed = sample::builder(1, CODEC_COMPACT, &[]).zstd(3);
    let mut packed = packed.runs_bytes(1 << 20);
    runs().iter().for_each(|run| packed.push_run(run).unwrap());
    std::fs::write(path(PACKED), packed.finish().unwrap()).unwrap();
}

#[test]
fn vectors_in_the_document_are_those_of_the_golden_file() {
    let document = include_str!("../../FORMAT.md");
    let golden = std::fs::read(path("v1-compact.ttlog")).unwrap();
    let mut n_bytes = 0;
    for line in document.lines() {
        // A line of a vector: an offset of four places, two spaces, bytes.
        let Some((at, bytes)) = line.split_at_checked(4) else { continue };
        let Ok(at) = usize::from_str_radix(at.trim(), 16) else { continue };
        let bytes = bytes.split_whitespace();
        let bytes = bytes.map_while(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16)));
        for (i, byte) in bytes.map_while(Result::ok).enumerate() {
            assert_eq!(golden[at + i], byte, "{line}");
            n_bytes += 1;
        }
    }
    assert!(n_bytes > 150, "{n_bytes} bytes were compared");
}
