//! Fuzzes [`checks::packed`]: `cargo +nightly fuzz run packed fuzz/corpus/packed fuzz/seeds/packed`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::packed(data));
