//! Fuzzes [`checks::block`]: `cargo +nightly fuzz run block fuzz/corpus/block fuzz/seeds/block`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::block(data));
