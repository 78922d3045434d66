//! Fuzzes [`checks::run`]: `cargo +nightly fuzz run run fuzz/corpus/run fuzz/seeds/run`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::run(data));
