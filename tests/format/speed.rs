//! Measures the encoding: `cargo test --release --test format -- speed --ignored --nocapture`.

use std::time::Instant;

use crate::workload::Workload;
use ttlog::record::compact::{Decoder, Encoder};
use ttlog::record::{CODEC_COMPACT, Head, RunHead};

const BLOCK_BYTES: usize = 256 << 10;

#[test]
#[ignore = "a measurement"]
fn encoding_and_decoding_keep_up() {
    for (name, workload) in Workload::ALL {
        let records = workload.records(100_000);
        let record_len = Head::read(&records).unwrap().len();
        let mut encoder = Encoder::new();
        let mut block = vec![0; BLOCK_BYTES];
        let mut best = [f64::MAX; 2];
        let mut sizes = (0, 0);
        for _ in 0..200 {
            encoder.reset();
            let start = Instant::now();
            let done = encoder
                .run(&workload, RunHead::default(), &records, &mut block, 0, CODEC_COMPACT)
                .unwrap();
            let encoded = start.elapsed().as_secs_f64() / done.consumed as f64;
            let mut bytes = Vec::with_capacity(5 << 20);
            let start = Instant::now();
            let mut decoder = Decoder::new(&block[..done.written], &workload);
            decoder.next_into(&mut bytes).unwrap().unwrap();
            let decoded = start.elapsed().as_secs_f64() / done.consumed as f64;
            assert_eq!(bytes, records[..done.consumed]);
            best = [best[0].min(encoded), best[1].min(decoded)];
            sizes = (done.count, done.written);
        }
        println!(
            "{name:16} {:.1} B/event of {record_len}+, encode {:.2} GB/s, decode {:.2} GB/s, {} events",
            sizes.1 as f64 / f64::from(sizes.0),
            1e-9 / best[0],
            1e-9 / best[1],
            sizes.0
        );
    }
}
