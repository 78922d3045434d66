//! The `ttlog` command.

fn main() {}
