//! Runs the server and its clients: `cargo run --manifest-path examples/service/Cargo.toml -- [DIR]
//! [REQUESTS]`, by default `logs` and 10,000.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "logs".into()));
    let requests = args.next().map_or(Ok(10_000), |text| text.parse());
    let requests = requests.context("REQUESTS is a number: service [DIR] [REQUESTS]")?;
    let began = Instant::now();
    let service::Report { asked, counted, lost } = service::run(&dir, 8, requests)?;
    println!("{} requests of 8 clients in {:.2?}: {asked:?}", asked.total(), began.elapsed());
    println!(
        "the log in {} holds {} requests, {lost} events lost",
        dir.display(),
        counted.requests
    );
    for (message, count) in &counted.messages {
        println!("{count:>9}  {message}");
    }
    println!("read it:  ttlog -n 20 {0}    ttlog spans {0}    ttlog -l error {0}", dir.display());
    Ok(())
}
