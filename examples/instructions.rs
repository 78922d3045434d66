//! Calls of one kind and nothing else, for who counts the instructions of each.
//!
//! ```console
//! $ cargo build --release --example instructions
//! $ for n in 0 200000; do valgrind --tool=callgrind --callgrind-out-file=/dev/null \
//!     --toggle-collect='*calls*' target/release/examples/instructions recorded $n; done
//! ```
//!
//! Kinds: `logged`, `disabled`, `recorded` (below the filter, with a flight recorder), and
//! `structured`, `recorded-structured` with four fields.

use std::hint::black_box;

use ttlog::{Builder, Level};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let n = args.next().map_or(Ok(200_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let mut builder = Builder::new(dir.path()).filter("info");
    if kind.starts_with("recorded") {
        builder = builder.flight_recorder(Level::TRACE, 16 << 20);
    }
    let logger = builder.init()?;
    match &*kind {
        "logged" => calls(n, |n| ttlog::info!("x={}", n)),
        "disabled" => calls(n, |n| ttlog::trace!("x={}", n)),
        "recorded" => calls(n, |n| ttlog::trace!("x={}", n)),
        "structured" => calls(n, |n| {
            ttlog::info!(
                user_id = n,
                path = black_box("/api/v1/orders"),
                latency = 0.5,
                ok = true,
                "request done"
            );
        }),
        "recorded-structured" => calls(n, |n| {
            ttlog::trace!(
                user_id = n,
                path = black_box("/api/v1/orders"),
                latency = 0.5,
                ok = true,
                "request done"
            );
        }),
        _ => return Err("logged, disabled, recorded, structured or recorded-structured".into()),
    }
    logger.shutdown(std::time::Duration::from_secs(60))?;
    Ok(())
}

/// What is counted.
#[inline(never)]
fn calls(n: u64, call: impl Fn(u64)) {
    (0..n).for_each(|n| call(black_box(n)));
}
