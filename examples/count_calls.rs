//! Calls of each kind, 10,000 of each, to count their instructions:
//!
//! ```text
//! cargo build --release --example count_calls
//! valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file=calls.out \
//!     target/release/examples/count_calls
//! callgrind_annotate --inclusive=yes --threshold=100 --tree=both calls.out-01 | grep '(10x)'
//! ```

use std::hint::black_box;
use std::time::Duration;

use tracing_subscriber::prelude::*;
use ttlog::{Builder, Handle};

/// Calls between two flushes: a lane holds them.
const CALLS: u64 = 1_000;
const ROUNDS: u64 = 10;

/// Each a function of its own, by whose name the tool tells them apart.
macro_rules! calls {
    ($($name:ident { $($before:stmt;)* } |$x:ident| $call:expr;)*) => { $(
        #[inline(never)]
        fn $name(n: u64) {
            $($before)*
            for $x in 0..n {
                $call;
            }
        }
    )* };
}

calls! {
    one_u64 {} |x| ttlog::info!("x={}", x);
    structured {} |x|
        ttlog::info!(user_id = x, path = "/api/v1/orders", latency = 0.5, ok = true, "done");
    in_span { let _span = ttlog::info_span!("a").entered(); } |x| ttlog::info!("x={}", x);
    span {} |x| drop(ttlog::info_span!("a", x).entered());
    disabled {} |x| ttlog::trace!(x);
    disabled_span {} |x| drop(black_box(ttlog::trace_span!("a", x)));
    layer_message {} |_x| tracing::info!("done");
    layer_structured {} |x|
        tracing::info!(user_id = x, path = "/api/v1/orders", latency = 0.5, ok = true, "done");
    layer_in_span { let _span = tracing::info_span!("a").entered(); } |x| tracing::info!(x, "in");
    layer_span {} |x| drop(tracing::info_span!("a", x).entered());
}

fn run(handle: &Handle, kinds: &[fn(u64)]) -> Result<(), ttlog::Error> {
    for kind in kinds {
        kind(1); // a lane and a definition, which are no part of a call
        for _ in 0..ROUNDS {
            kind(CALLS);
            handle.flush(Duration::from_secs(60))?;
        }
    }
    handle.shutdown(Duration::from_secs(60))?;
    Ok(())
}

fn main() -> Result<(), ttlog::Error> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let handle = Builder::new(dirs[0].path()).init()?;
    run(&handle, &[one_u64, structured, in_span, span, disabled, disabled_span])?;
    let (layer, handle) = ttlog::layer(dirs[1].path()).build()?;
    let _default = tracing_subscriber::registry().with(layer).set_default();
    run(&handle, &[layer_message, layer_structured, layer_in_span, layer_span])
}
