//! Codec: encodes and decodes a block of 256 KiB; `cargo bench --bench codec`.
//!
//! Throughput is that of record bytes as they lie in a lane; each workload's bytes an event are
//! printed first.

#[path = "../tests/format/workload.rs"]
mod workload;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ttlog::record::compact::{Decoder, Encoded, Encoder};
use ttlog::record::{CODEC_COMPACT, CODEC_RAW, RunHead};
use ttlog::store::block::{self, BlockHeader, HEADER_BYTES, Salt};
use workload::Workload;

const PAYLOAD_BYTES: usize = 256 << 10;

/// Fills the payload with one run.
fn encode(
    encoder: &mut Encoder,
    workload: Workload,
    records: &[u8],
    payload: &mut [u8],
    codec: u8,
) -> Encoded {
    encoder.reset();
    let head = RunHead::default();
    encoder.run(&workload, head, records, payload, 0, codec).expect("records are whole")
}

fn codec(criterion: &mut Criterion) {
    for (name, workload) in Workload::ALL {
        let records = workload.records(150_000);
        let mut encoder = Encoder::new();
        let mut buffer = vec![0; HEADER_BYTES + PAYLOAD_BYTES + 64];
        let (_, payload) = buffer.split_at_mut(HEADER_BYTES);
        let payload = &mut payload[..PAYLOAD_BYTES];
        let raw = encode(&mut encoder, workload, &records, payload, CODEC_RAW);
        let done = encode(&mut encoder, workload, &records, payload, CODEC_COMPACT);
        let event_bytes = done.written as f64 / f64::from(done.count);
        let raw_bytes = raw.consumed as f64 / f64::from(raw.count);
        let mut group =
            criterion.benchmark_group(format!("{name} ({event_bytes:.1} of {raw_bytes:.0} B)"));
        group.throughput(Throughput::Bytes(done.consumed as u64));
        let mut bytes = Vec::new();
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                let mut decoder = Decoder::new(black_box(&payload[..done.written]), &workload);
                decoder.next_into(&mut bytes).expect("one run").expect("it is whole").count
            });
        });
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                encode(&mut encoder, workload, black_box(&records), payload, CODEC_COMPACT)
            });
        });
        group.bench_function("encode and checksum", |bencher| {
            bencher.iter(|| {
                let payload = &mut buffer[HEADER_BYTES..][..PAYLOAD_BYTES];
                let done = encode(&mut encoder, workload, &records, payload, CODEC_COMPACT);
                let stored_len = done.written as u32;
                let header = BlockHeader {
                    kind: block::KIND_EVENTS,
                    stored_len,
                    defs_offset: stored_len,
                    ..BlockHeader::default()
                };
                block::seal(&mut buffer, Salt { logger: 1, segment: 1 }, 1024, &header)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
