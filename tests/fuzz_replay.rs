//! Replays the saved inputs of the fuzz targets, and inputs made from them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 5] = [
    ("run", checks::run),
    ("block", checks::block),
    ("segment", checks::segment),
    ("packed", checks::packed),
    ("lane", checks::lane),
];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn saved_inputs_pass() {
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has seeds");
        seeds.iter().for_each(|seed| check(seed));
    }
}

#[test]
fn inputs_near_the_saved_ones_pass() {
    let mut state = 0x5eedu64;
    let mut random = move |bound: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        for _ in 0..rounds() {
            let mut input = seeds[random(seeds.len())].clone();
            for _ in 0..=random(6) {
                let at = random(input.len());
                match random(5) {
                    0 => input.truncate(at),
                    1 => input.insert(at.min(input.len()), random(256) as u8),
                    2 => input.extend_from_within(at.min(input.len())..),
                    _ => {
                        if let Some(byte) = input.get_mut(at) {
                            *byte = [random(256) as u8, 0, 0xff, 0x7f, 0x80][random(5)];
                        }
                    }
                }
            }
            input.truncate(1 << 16);
            check(&input);
        }
    }
}

/// How many inputs a target gets; `TTLOG_FUZZ_ROUNDS` says otherwise.
fn rounds() -> usize {
    let asked = std::env::var("TTLOG_FUZZ_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(2000)
}

#[test]
#[ignore = "writes into the source tree"]
fn seeds_are_made_anew() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, bytes) in checks::seeds() {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}
