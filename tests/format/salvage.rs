//! A damaged segment gives what is whole to a new one, which nothing is wrong with.

use std::io::ErrorKind;

use ttlog::record::{CODEC_COMPACT, CODEC_RAW, RawRun, RunHead};
use ttlog::store::block;
use ttlog::store::salvage::{Salvaged, salvage};
use ttlog::store::{Damage, Reason};

use crate::sample;
use crate::survey::{Block, Image, Survey, survey};
use crate::workload::{Random, push};

/// What came of these bytes: the new file, what it is said to hold, and the damage told.
fn salvaged(bytes: &[u8]) -> (Vec<u8>, Salvaged, Vec<Damage>) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("fixed.ttl");
    let mut damages = Vec::new();
    let mut reader = Image::new(bytes).read().unwrap();
    let of = salvage(&mut reader, &to, &mut |damage| damages.push(damage)).unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 1, "nothing but the new file");
    let new = std::fs::read(&to).unwrap();
    assert_eq!(of.bytes, new.len() as u64);
    (new, of, damages)
}

fn runs<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Vec<RawRun> {
    let contents = |block: &Block| block::contents(&block.payload, &block.header).unwrap();
    blocks.into_iter().flat_map(|block| contents(block).runs).collect()
}

/// Compares the new file with the blocks that were whole.
fn check(new: &[u8], of: Salvaged, whole: &[&Block], what: &str) {
    let found = survey(new).unwrap();
    assert!(found.sealed && found.damage.is_empty(), "{what}: {:?}", found.damage);
    assert_eq!(runs(&found.blocks), runs(whole.iter().copied()), "{what}");
    let records = whole.iter().map(|block| u64::from(block.header.records)).sum::<u64>();
    assert_eq!((of.blocks, of.records), (whole.len() as u64, records), "{what}");
    let lost = |blocks: &mut dyn Iterator<Item = &Block>| {
        blocks.map(|block| u64::from(block.header.lost)).sum::<u64>()
    };
    let kept = lost(&mut found.blocks.iter());
    assert_eq!(kept, lost(&mut whole.iter().copied()), "{what}");
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 4;
    bytes
}

/// Flips a bit at the begin, the middle and the end of each block, of the headers and of the index.
fn every_part(bytes: &[u8]) {
    let whole = survey(bytes).unwrap();
    assert!(whole.blocks.len() > 3);
    let (new, of, damages) = salvaged(bytes);
    check(&new, of, &whole.blocks.iter().collect::<Vec<_>>(), "nothing is damaged");
    assert_eq!(damages, []);

    for block in &whole.blocks {
        let len = block.header.padded_len(64) as usize;
        for at in [0, len / 2, len - 1] {
            let at = block.offset as usize + at;
            let (new, of, damages) = salvaged(&flip(bytes, at));
            let rest: Vec<_> = whole.blocks.iter().filter(|one| *one != block).collect();
            check(&new, of, &rest, &format!("byte {at}"));
            assert_eq!(damages.len(), 1, "byte {at}: {damages:?}");
            assert_eq!(damages[0].records, Some(u64::from(block.header.records)), "byte {at}");
        }
    }
    // One copy of the header, and the index: no event is concerned.
    for at in [20, 530, bytes.len() - 30] {
        let (new, of, damages) = salvaged(&flip(bytes, at));
        check(&new, of, &whole.blocks.iter().collect::<Vec<_>>(), &format!("byte {at}"));
        assert_eq!(damages.len(), 1, "byte {at}: {damages:?}");
        assert_eq!(damages[0].records, Some(0), "byte {at}");
    }
}

fn sealed(codec: u8) -> Vec<u8> {
    sample::builder(7, codec, &sample::runs(16, 1)).finish().unwrap()
}

#[test]
fn all_but_the_damaged_block_of_a_compact_segment_is_salvaged() {
    every_part(&sealed(CODEC_COMPACT));
}

#[test]
fn all_but_the_damaged_block_of_a_raw_segment_is_salvaged() {
    every_part(&sealed(CODEC_RAW));
}

/// Blocks of a packed segment are larger than those that salvage writes: their runs are split.
#[test]
fn runs_that_do_not_fit_the_new_blocks_are_split() {
    let mut random = Random(5);
    let mut bytes = Vec::new();
    for n in 0..60_000u64 {
        push(&mut bytes, 1, 0, 5_000_000_000 + n, &random.any().to_le_bytes());
    }
    let (end, count) = (bytes.len() as u64, 60_000);
    let head = RunHead { end, count, ..RunHead::default() };
    let large = [RawRun { head, bytes }];
    let mut builder = sample::builder(7, CODEC_COMPACT, &[]).runs_bytes(2 << 20);
    builder.push_run(&large[0]).unwrap();
    let bytes = builder.finish().unwrap();
    let (new, of, damages) = salvaged(&bytes);
    assert_eq!((of.blocks, of.records, damages), (1, 60_000, Vec::new()));
    let found = survey(&new).unwrap();
    assert!(found.sealed && found.blocks.len() > 1 && found.damage.is_empty());
    let parts = runs(&found.blocks);
    assert_eq!(parts.iter().flat_map(|run| run.bytes.clone()).collect::<Vec<_>>(), large[0].bytes);
}

#[test]
fn a_segment_that_was_cut_is_salvaged_up_to_there() {
    let bytes = sealed(CODEC_COMPACT);
    let whole = survey(&bytes).unwrap();
    let blocks: Vec<&Block> = whole.blocks.iter().collect();
    for n in 0..blocks.len() {
        let cut = blocks[n].offset as usize + block::HEADER_BYTES + 10;
        let (new, of, damages) = salvaged(&bytes[..cut]);
        check(&new, of, &blocks[..n], &format!("cut at {cut}"));
        let told: Vec<Reason> = damages.iter().map(|damage| damage.reason).collect();
        assert_eq!(told, [Reason::Cut], "cut at {cut}");
    }
}

#[test]
fn what_is_salvaged_of_the_salvaged_is_the_same() {
    let bytes = sealed(CODEC_COMPACT);
    let Survey { blocks, .. } = survey(&bytes).unwrap();
    let (once, ..) = salvaged(&flip(&bytes, blocks[1].offset as usize + 90));
    let (twice, ..) = salvaged(&once);
    assert_eq!(once, twice);
}

#[test]
fn a_file_that_is_there_stays_and_a_directory_that_is_not_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("there.ttl");
    std::fs::write(&there, "kept").unwrap();
    let bytes = sealed(CODEC_COMPACT);
    let salvage_to = |to: &std::path::Path| {
        salvage(&mut Image::new(&bytes).read().unwrap(), to, &mut |_| {}).unwrap_err()
    };
    let refused = salvage_to(&there);
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(refused.to_string().contains("choose the name of a new file"), "{refused}");
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "kept");
    assert_eq!(salvage_to(dir.path()).kind(), ErrorKind::AlreadyExists);
    assert_eq!(salvage_to(&dir.path().join("not/there.ttl")).kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
