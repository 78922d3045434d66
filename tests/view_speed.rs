//! Makes a large log, to measure the command on: run with `--ignored` and `TTLOG_SPEED_DIR` set.

#[expect(dead_code, reason = "only what makes a log is needed")]
mod common;

use common::{Lane, Writer};

/// Events of each segment: half numbers, half requests, from four threads.
const EVENTS: u64 = 2_000_000;

#[test]
#[ignore = "writes as much as it is told to"]
fn make_a_large_log() {
    let dir = std::env::var_os("TTLOG_SPEED_DIR").expect("a directory to fill");
    let n_segments: u64 = std::env::var("TTLOG_SPEED_SEGMENTS")
        .map_or(1, |n| n.parse().expect("a number of segments"));
    let n_loggers: u64 =
        std::env::var("TTLOG_SPEED_LOGGERS").map_or(1, |n| n.parse().expect("a number of loggers"));
    let dir = std::path::PathBuf::from(dir);
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let mut writers: Vec<Writer> = (1..=n_loggers).map(Writer::new).collect();
    for segment in 0..n_segments {
        for (i, writer) in writers.iter_mut().enumerate() {
            writer.runs_bytes = 256 << 10;
            let start = segment * EVENTS * 100 + i as u64;
            let mut blocks = Vec::new();
            let mut lanes: Vec<Lane> = (0..4).map(|n| Lane::new(n, "worker")).collect();
            for (n, lane) in lanes.iter_mut().enumerate() {
                lane.head.generation = segment as u32;
                for event in 0..EVENTS / 4 {
                    let ticks = start + (event * 4 + n as u64) * 100;
                    match event % 2 {
                        0 => lane.number(ticks, event),
                        _ => lane.request(ticks, "request done", event % 1_000),
                    }
                }
            }
            let step = 2_500;
            for from in (0..(EVENTS / 4) as usize).step_by(step) {
                blocks.push(lanes.iter().map(|lane| lane.run(from, from + step)).collect());
            }
            writer.write(&dir, &blocks);
        }
    }
}
