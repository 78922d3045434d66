//! Misuse of `ttlog::io` does not compile. What the compiler says is written down beside each case;
//! after a new compiler, `TRYBUILD=overwrite cargo test --test io_compile_fail` writes it anew.
#![cfg(target_os = "linux")]

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/io_misuse/*.rs");
}
