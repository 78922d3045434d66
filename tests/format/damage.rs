//! Damage is told with its place and price, and nothing else is lost (R19, R20, R21).

use ttlog::record::{CODEC_COMPACT, CODEC_RAW};
use ttlog::store::{Reason, block};

use crate::sample;
use crate::survey::{Block, Image, Survey, survey};

fn sealed(codec: u8, n_runs: usize) -> Vec<u8> {
    sample::builder(7, codec, &sample::runs(n_runs, 1)).finish().unwrap()
}

fn unsealed(codec: u8, n_runs: usize) -> Vec<u8> {
    sample::builder(7, codec, &sample::runs(n_runs, 1)).finish_unsealed().unwrap()
}

/// The block in whose bytes `at` lies.
fn block_at(whole: &Survey, at: usize) -> Option<&Block> {
    let end = |block: &Block| block.offset + block.header.padded_len(64);
    whole.blocks.iter().find(|block| (block.offset..end(block)).contains(&(at as u64)))
}

fn flip_every_bit(bytes: &[u8]) {
    let whole = survey(bytes).unwrap();
    assert!(whole.damage.is_empty() && whole.blocks.len() > 3);
    let image = Image::new(bytes);
    for bit in 0..bytes.len() * 8 {
        let at = bit / 8;
        image.write(at as u64, &[bytes[at] ^ 1 << (bit % 8)]);
        let found = image.survey().unwrap();
        image.write(at as u64, &bytes[at..=at]);
        assert_eq!(found.damage.len(), 1, "bit {bit}: {found:?}");
        let damage = found.damage[0];
        let end = damage.offset + damage.len;
        assert!((damage.offset..end).contains(&(at as u64)), "bit {bit}: {damage}");
        let hit = block_at(&whole, at);
        let rest = whole.blocks.iter().filter(|block| Some(*block) != hit);
        assert!(rest.eq(&found.blocks), "bit {bit}");
        let lost = hit.map_or(0, |block| u64::from(block.header.records));
        if whole.sealed || damage.records.is_some() {
            assert_eq!(damage.records, Some(lost), "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_compact_segment_is_told() {
    flip_every_bit(&sealed(CODEC_COMPACT, 26));
}

#[test]
fn every_flipped_bit_of_a_raw_segment_is_told() {
    flip_every_bit(&sealed(CODEC_RAW, 9));
}

/// A segment with zstd frames in its blocks.
#[cfg(feature = "zstd")]
fn packed(n_runs: usize) -> Vec<u8> {
    let bytes = sample::builder(7, CODEC_COMPACT, &[]).zstd(3);
    let mut builder = bytes.runs_bytes(1400);
    sample::runs(n_runs, 1).iter().for_each(|run| builder.push_run(run).unwrap());
    let bytes = builder.finish().unwrap();
    let blocks = survey(&bytes).unwrap().blocks;
    assert!(blocks.iter().all(|block| block.header.codec == block::CODEC_ZSTD));
    bytes
}

#[cfg(feature = "zstd")]
#[test]
fn every_flipped_bit_of_a_packed_segment_is_told() {
    flip_every_bit(&packed(26));
}

#[cfg(feature = "zstd")]
#[test]
fn every_cut_of_a_packed_segment_leaves_the_whole_blocks_before_it() {
    cut_at_every_byte(&packed(26));
}

#[test]
fn every_flipped_bit_of_an_unsealed_segment_is_told() {
    let mut bytes = unsealed(CODEC_COMPACT, 20);
    bytes.resize(bytes.len() + 200, 0);
    flip_every_bit(&bytes);
}

#[test]
fn every_cut_leaves_the_whole_blocks_before_it() {
    cut_at_every_byte(&sealed(CODEC_COMPACT, 30));
    cut_at_every_byte(&unsealed(CODEC_RAW, 12));
}

fn cut_at_every_byte(bytes: &[u8]) {
    let whole = survey(bytes).unwrap();
    let image = Image::new(bytes);
    for len in (0..bytes.len()).rev() {
        image.set_len(len as u64);
        let found = match image.survey() {
            Ok(found) => found,
            Err(error) => {
                assert!(len < 512, "{len}: {error}");
                continue;
            }
        };
        let kept = whole
            .blocks
            .iter()
            .filter(|block| block.offset + 64 + u64::from(block.header.stored_len) <= len as u64);
        assert!(kept.eq(&found.blocks), "{len}");
        assert!(!found.sealed || len > bytes.len() - 2000);
        let hit = block_at(&whole, len).filter(|block| block.offset < len as u64);
        let hit = hit.filter(|hit| !found.blocks.contains(hit));
        let lost = hit.map(|block| u64::from(block.header.records));
        match (hit, found.lost()) {
            (Some(hit), None) => assert!((len as u64) < hit.offset + 64),
            (Some(_), some) => assert_eq!(some, lost, "{len}"),
            (None, some) => assert!(matches!(some, Some(0) | None), "{len}"),
        }
        assert!(found.damage.len() <= 1);
    }
}

#[test]
fn what_is_added_behind_the_end_invents_nothing() {
    for (bytes, zeros_are_told) in
        [(sealed(CODEC_COMPACT, 12), true), (unsealed(CODEC_COMPACT, 12), false)]
    {
        let whole = survey(&bytes).unwrap();
        let first = whole.blocks[0].offset as usize;
        for added in [1, 15, 16, 63, 64, 65, 512, 4096, 300_000] {
            let zeros = vec![0; added];
            let garbage = vec![0x5a; added];
            let old: Vec<u8> = bytes[first..].iter().copied().cycle().take(added).collect();
            for (i, more) in [zeros, garbage, old].into_iter().enumerate() {
                let found = survey(&[&bytes[..], &more].concat()).unwrap();
                assert_eq!(found.blocks, whole.blocks, "{added} bytes of kind {i}");
                let told = if i == 0 && !zeros_are_told { 0 } else { 1 };
                assert_eq!(found.damage.len(), told, "{added} bytes of kind {i}");
            }
        }
    }
}

#[test]
fn blocks_are_whole_only_where_they_were_written() {
    let bytes = sealed(CODEC_COMPACT, 40);
    let other = sample::builder(8, CODEC_COMPACT, &sample::runs(40, 1)).finish().unwrap();
    let whole = survey(&bytes).unwrap();
    let total = whole.records();
    let image = Image::new(&bytes);
    let spans: Vec<_> = whole
        .blocks
        .iter()
        .map(|block| {
            let start = block.offset as usize;
            start..start + block.header.padded_len(64) as usize
        })
        .collect();
    assert!(spans.len() > 5);
    for (i, to) in spans.iter().enumerate() {
        let mut fillings =
            vec![vec![0; to.len()], vec![0xff; to.len()], other[to.clone()].to_vec()];
        for from in spans.iter().filter(|from| *from != to) {
            let mut filling = bytes[from.clone()].to_vec();
            filling.resize(to.len(), 0);
            fillings.push(filling);
        }
        for filling in fillings {
            image.write(to.start as u64, &filling);
            let found = image.survey().unwrap();
            image.write(0, &bytes);
            assert_eq!(found.blocks.len(), spans.len() - 1);
            assert!(found.blocks.iter().all(|block| whole.blocks.contains(block)));
            assert_eq!(found.records() + found.lost().unwrap(), total, "block {i}");
        }
    }
}

#[test]
fn zeros_before_the_last_blocks_are_unfinished_where_nothing_is_sealed() {
    let bytes = unsealed(CODEC_COMPACT, 30);
    let whole = survey(&bytes).unwrap();
    let hit = &whole.blocks[2];
    let (start, len) = (hit.offset as usize, hit.header.padded_len(64) as usize);
    let mut hole = bytes.clone();
    hole[start..start + len].fill(0);
    let found = survey(&hole).unwrap();
    assert_eq!(found.unfinished, [(start as u64, len as u64)]);
    assert!(found.damage.is_empty() && found.blocks.len() == whole.blocks.len() - 1);

    // Far behind the hole there is more: nobody will fill it any more.
    hole.resize(hole.len() + (5 << 20), 0);
    hole.extend_from_slice(&[1]);
    let found = survey(&hole).unwrap();
    assert_eq!(found.unfinished, []);
    assert_eq!(found.damage[0].reason, Reason::Zeros);
    assert!(!found.damage[0].tail);
}

#[test]
fn a_reader_goes_on_where_the_file_grows() {
    let bytes = unsealed(CODEC_COMPACT, 30);
    let whole = survey(&bytes).unwrap();
    let image = Image::new(&bytes[..1024]);
    image.set_len(1 << 20);
    let mut reader = image.read().unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
    for block in &whole.blocks {
        let start = block.offset as usize;
        let len = block.header.padded_len(64) as usize;
        image.write(block.offset, &bytes[start..start + len]);
        assert!(reader.next_entry().unwrap().is_some());
        assert_eq!(reader.next_entry().unwrap(), None);
    }
    reader.seek(whole.blocks[1].offset);
    assert!(reader.next_entry().unwrap().is_some());
    assert_eq!(reader.position(), whole.blocks[2].offset);
}

#[test]
fn what_was_pushed_comes_back() {
    for codec in [CODEC_COMPACT, CODEC_RAW] {
        let runs = sample::runs(60, 1);
        let bytes = sample::builder(7, codec, &runs).finish().unwrap();
        let found = survey(&bytes).unwrap();
        let mut back: Vec<ttlog::record::RawRun> = Vec::new();
        for found in &found.blocks {
            let contents = block::contents(&found.payload, &found.header).unwrap();
            let raw: usize = contents.runs.iter().map(|run| run.bytes.len()).sum();
            assert_eq!(raw, found.header.raw_len as usize);
            assert!(contents.anchors.len() >= 2);
            for run in contents.runs {
                match back.last_mut() {
                    // A run that was cut at a block's end is one again.
                    Some(last)
                        if last.head.lane == run.head.lane
                            && last.head.end == run.head.position =>
                    {
                        last.head.end = run.head.end;
                        last.head.count += run.head.count;
                        last.bytes.extend(run.bytes);
                    }
                    _ => back.push(run),
                }
            }
        }
        assert_eq!(back, runs);
        assert!(found.sealed);
    }
}
