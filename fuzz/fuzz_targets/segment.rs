//! Fuzzes [`checks::segment`]: `cargo +nightly fuzz run segment fuzz/corpus/segment fuzz/seeds/segment`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::segment(data));
