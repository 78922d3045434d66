//! ttlog: reads back what the library logged.

fn main() {}
