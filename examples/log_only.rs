//! A program that knows nothing but `log`: four threads, key-values, targets, and `process::exit`.
//!
//! `cargo run --example log_only -- [DIR] [EVENTS]`, then `ttlog DIR`.
#![expect(clippy::print_stdout, reason = "an example that says what it did")]

use log::{debug, error, info, warn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "logs".into());
    let events: u64 = args.next().map_or(Ok(10_000), |text| text.parse())?;
    ttlog::init(&dir)?;
    ttlog::bridge::init()?;
    let threads: Vec<_> = (0..4_u64)
        .map(|t| {
            std::thread::spawn(move || {
                for n in 0..events {
                    match n % 10 {
                        3 => warn!(target: "app::db", t, n; "slow, {} ms", n % 7),
                        7 => error!(t, n, reason = "on purpose"; "failed"),
                        9 => debug!(t, n; "not wanted"),
                        _ => info!(t, n, half = n as f64 / 2.0, even = n % 2 == 0; "request {n} done"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    println!("calls={} read them: ttlog {dir}", 4 * events);
    std::process::exit(0);
}
