//! Every record that is well framed comes back byte for byte, whatever its bytes are.

use crate::sample;
use crate::survey::survey;
use crate::workload::{Random, Workload, push};
use proptest::prelude::*;
use ttlog::record::compact::{Decoder, Encoder, RAW_BYTES_MAX, Schemas};
use ttlog::record::{
    CODEC_COMPACT, CODEC_RAW, Definition, Definitions, FLAG_DYNAMIC, FLAG_SPAN, FLAG_THREAD, Field,
    Head, Kind, RECORD_PAD, RawRun, Role, RunHead,
};
use ttlog::store::{Builder, block};

fn definitions() -> Definitions {
    let mut definitions = Definitions::default();
    sample::definitions().into_iter().for_each(|definition| definitions.add(definition));
    definitions
}

/// Encodes runs as a writer would, sealing a block when it is full; returns what comes back.
pub(crate) fn round_trip(
    schemas: &impl Schemas,
    runs: &[(RunHead, Vec<u8>, u8)],
    block_bytes: usize,
) -> Vec<RawRun> {
    let mut encoder = Encoder::new();
    let mut block = vec![0xaa; block_bytes];
    let mut at = 0;
    let mut back = Vec::new();
    let mut flush = |block: &[u8], at: &mut usize, encoder: &mut Encoder| {
        let runs: Vec<_> = Decoder::new(&block[..*at], schemas).map(Result::unwrap).collect();
        let raw: usize = runs.iter().map(|run| run.bytes.len()).sum();
        assert_eq!(raw, encoder.raw_bytes());
        let (payload, before) = (&block[..*at], crc32c::crc32c(b"salt"));
        assert_eq!(encoder.sum(payload).behind(before), crc32c::crc32c_append(before, payload));
        back.extend(runs);
        *at = 0;
        encoder.reset();
    };
    for (head, records, codec) in runs {
        let (mut head, mut rest) = (head.clone(), &records[..]);
        loop {
            let done = encoder.run(schemas, head.clone(), rest, &mut block, at, *codec).unwrap();
            at += done.written;
            rest = &rest[done.consumed..];
            if rest.is_empty() && done.written > 0 {
                break;
            }
            assert!(at > 0, "a record must fit an empty block");
            head.position += done.consumed as u64;
            head.first_record += u64::from(done.count);
            flush(&block, &mut at, &mut encoder);
        }
    }
    flush(&block, &mut at, &mut encoder);
    back
}

pub(crate) fn joined(runs: &[RawRun]) -> Vec<u8> {
    runs.iter().flat_map(|run| run.bytes.clone()).collect()
}

/// One record: of a callsite as defined, or of arbitrary bytes.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let valid = (1..=6u32, any::<u64>(), 0..1u64 << 20).prop_map(|(id, seed, ticks)| {
        let mut out = Vec::new();
        push(&mut out, id, 0, ticks, &sample::payload(id, &mut Random(seed)));
        out
    });
    let garbage =
        (0..8u32, any::<u8>(), 0..33u8, any::<u64>(), prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(id, kind, flags, ticks, mut payload)| {
                payload.truncate(payload.len() & !7);
                let mut out = Vec::new();
                push(&mut out, id, flags, ticks, &payload);
                out[6] = if kind == RECORD_PAD { 0 } else { kind };
                out
            });
    let spoiled = (1..=6u32, any::<u64>(), any::<u64>(), any::<prop::sample::Index>(), any::<u8>())
        .prop_map(|(id, seed, ticks, at, byte)| {
            let mut out = Vec::new();
            push(&mut out, id, 0, ticks, &sample::payload(id, &mut Random(seed)));
            if out.len() > 16 {
                let at = 16 + at.index(out.len() - 16);
                out[at] ^= byte;
            }
            out
        });
    prop_oneof![6 => valid, 4 => flagged(), 2 => garbage, 2 => spoiled]
}

/// A record with flags, as they may stand: ids of a thread and a span first, kinds told or not.
fn flagged() -> impl Strategy<Value = Vec<u8>> {
    (1..=6u32, 0..16u8, any::<u64>(), 0..1u64 << 20).prop_map(|(id, flags, seed, ticks)| {
        let mut random = Random(seed);
        let mut payload = Vec::new();
        if flags & FLAG_THREAD != 0 {
            payload.extend_from_slice(&random.below(4).to_le_bytes());
        }
        if flags & FLAG_SPAN != 0 {
            payload.extend_from_slice(&random.below(1 << 40).to_le_bytes());
        }
        if flags & FLAG_DYNAMIC != 0 {
            for _ in 0..random.below(4) {
                match random.below(4) {
                    0 => payload.push(Kind::Empty as u8),
                    1 => payload.extend_from_slice(&[Kind::U8 as u8, 7]),
                    2 => payload.extend_from_slice(&[Kind::Str as u8, 2, 0, 0, 0, b'h', b'i']),
                    _ => payload.extend_from_slice(&[Kind::U16 as u8 | Kind::OPTIONAL, 1, 1, 2]),
                }
            }
        } else {
            payload.extend(sample::payload(id, &mut random));
        }
        let mut out = Vec::new();
        push(&mut out, id, flags, ticks, &payload);
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_framed_comes_back_equal(
        runs in prop::collection::vec((prop::collection::vec(record(), 0..40), any::<bool>()), 1..6),
        block_bytes in 1000..20_000usize,
    ) {
        let runs: Vec<_> = runs.into_iter().enumerate().map(|(lane, (records, raw))| {
            let mut bytes = records.concat();
            if lane % 2 == 1 {
                let pad = Head::word(0, 3, RECORD_PAD, 0).to_le_bytes();
                bytes.extend_from_slice(&pad);
                bytes.extend_from_slice(&[0; 32]);
            }
            let head = RunHead { lane: lane as u32, position: 64, ..RunHead::default() };
            (head, bytes, if raw { CODEC_RAW } else { CODEC_COMPACT })
        }).collect();
        let back = round_trip(&definitions(), &runs, block_bytes);
        for (head, bytes, _) in &runs {
            let of_lane: Vec<_> =
                back.iter().filter(|run| run.head.lane == head.lane).cloned().collect();
            let pad = if head.lane % 2 == 1 { 40 } else { 0 };
            prop_assert_eq!(joined(&of_lane), &bytes[..bytes.len() - pad]);
            prop_assert_eq!(of_lane.last().unwrap().head.end, 64 + bytes.len() as u64);
            for pair in of_lane.windows(2) {
                prop_assert_eq!(pair[0].head.end, pair[1].head.position);
                let count = u64::from(pair[0].head.count);
                prop_assert_eq!(pair[0].head.first_record + count, pair[1].head.first_record);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let definitions = definitions();
        let mut body = vec![0; 48];
        RunHead { count: 200, end: 1 << 30, ..RunHead::default() }
            .encode(CODEC_COMPACT, bytes.len() as u32, &mut body).unwrap();
        body.extend_from_slice(&bytes);
        for run in Decoder::new(&body, &definitions) {
            let _ = run;
        }
        for run in Decoder::new(&bytes, &definitions) {
            let _ = run;
        }
    }
}

/// Long runs that are stored as they lie are summed up while they are copied, others later.
#[test]
fn blocks_of_both_codecs_have_the_sum_of_their_bytes() {
    for (name, workload) in Workload::ALL {
        let records = workload.records(3_000);
        let codecs = [CODEC_RAW, CODEC_COMPACT, CODEC_RAW, CODEC_RAW, CODEC_COMPACT];
        let runs = codecs.map(|codec| (RunHead::default(), records.clone(), codec));
        let back = round_trip(&workload, &runs, 256 << 10);
        assert_eq!(joined(&back), records.repeat(codecs.len()), "{name}");
    }
}

#[test]
fn workloads_come_back_equal() {
    for (name, workload) in Workload::ALL {
        let records = workload.records(20_000);
        let runs = [(RunHead::default(), records.clone(), CODEC_COMPACT)];
        let back = round_trip(&workload, &runs, 256 << 10);
        assert_eq!(joined(&back), records, "{name}");
    }
}

#[test]
fn records_cut_short_are_malformed_only_where_they_begin() {
    let mut bytes = Vec::new();
    push(&mut bytes, 1, 0, 5, &7u64.to_le_bytes());
    let whole = bytes.len();
    bytes.extend_from_slice(&bytes.clone()[..20]);
    let mut out = [0; 1000];
    let mut encoder = Encoder::new();
    for codec in [CODEC_RAW, CODEC_COMPACT] {
        let definitions = definitions();
        let head = RunHead::default;
        let done = encoder.run(&definitions, head(), &bytes, &mut out, 0, codec).unwrap();
        assert_eq!((done.consumed, done.count), (whole, 1));
        let rest = &bytes[whole..];
        assert!(encoder.run(&definitions, head(), rest, &mut out, 500, codec).is_err());
    }
}

#[test]
fn a_block_holds_no_more_than_readers_take() {
    // 1 MiB of nothing but references to one long text would be half a gigabyte.
    let mut payload = vec![];
    crate::workload::text(&"x".repeat(60_000), &mut payload);
    let mut definitions = definitions();
    let mut definition = sample::definitions().remove(0);
    (definition.id, definition.fields[0].kind) = (9, ttlog::record::Kind::Str as u8);
    definitions.add(definition);
    let mut bytes = Vec::new();
    (0..100).for_each(|ticks| push(&mut bytes, 9, 0, ticks, &payload));
    let mut out = vec![0; 1 << 20];
    let mut encoder = Encoder::new();
    let head = RunHead::default();
    let done = encoder.run(&definitions, head, &bytes, &mut out, 0, CODEC_COMPACT).unwrap();
    assert!(done.consumed <= RAW_BYTES_MAX && done.consumed > RAW_BYTES_MAX - 70_000);
    assert!(done.written < 61_000);
    let run = Decoder::new(&out[..done.written], &definitions).next().unwrap().unwrap();
    assert_eq!(run.bytes, bytes[..done.consumed]);
}

#[test]
fn a_lying_body_costs_no_more_memory_than_the_cap() {
    let definitions = definitions();
    let mut records = Vec::new();
    (0..50).for_each(|n| push(&mut records, 2, 0, n, &sample::payload(2, &mut Random(n))));
    let mut out = vec![0; 8000];
    let mut encoder = Encoder::new();
    let head = RunHead::default();
    let done = encoder.run(&definitions, head, &records, &mut out, 0, CODEC_COMPACT).unwrap();
    let mut bytes = Vec::new();
    for at in 0..done.written {
        for lie in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
            let mut bad = out[..done.written].to_vec();
            bad[at] = lie;
            let mut decoder = Decoder::new(&bad, &definitions);
            while let Some(run) = decoder.next_into(&mut bytes) {
                if let Ok(head) = run {
                    assert!(bytes.len() as u64 <= head.end - head.position);
                }
            }
            assert!(bytes.capacity() <= 2 * RAW_BYTES_MAX);
        }
    }
}

/// A recorder's definitions have the names that lines bring, however long.
#[test]
fn callsites_whose_definitions_are_long_are_spread_over_blocks() {
    let mut builder = Builder::new(sample::header(7)).runs_bytes(2 << 20);
    let mut bytes = Vec::new();
    for id in 1..=400u32 {
        let name = format!("{id:020000}");
        let field = Field { name, kind: Kind::U64 as u8, role: Role::Field };
        let like = sample::definitions().remove(0);
        builder.add_definition(Definition { id, fields: vec![field], ..like });
        push(&mut bytes, id, 0, u64::from(id), &u64::from(id).to_le_bytes());
    }
    let head = RunHead { end: bytes.len() as u64, count: 400, ..RunHead::default() };
    builder.push_run(&RawRun { head, bytes: bytes.clone() }).unwrap();
    let found = survey(&builder.finish().unwrap()).unwrap();
    assert!(found.damage.is_empty() && found.blocks.len() > 7, "{} blocks", found.blocks.len());
    let runs = found.blocks.iter().flat_map(|found| {
        assert!(found.payload.len() < 2 << 20);
        block::contents(&found.payload, &found.header).unwrap().runs
    });
    assert_eq!(runs.flat_map(|run| run.bytes).collect::<Vec<_>>(), bytes);
}
