//! A tokio program: ten thousand tasks, each with events in spans within spans, through tracing.
//!
//! `cargo run --example tasks -- [DIR] [TASKS]`, then `ttlog --tree DIR` and `ttlog spans DIR`.
#![expect(clippy::print_stdout, reason = "an example that says what it did")]

use tracing::Instrument as _;
use tracing_subscriber::prelude::*;

/// One step of a task; the span has its arguments and, later, its result.
#[tracing::instrument(fields(doubled = tracing::field::Empty))]
async fn step(task: u64, n: u64) -> u64 {
    tracing::info!(n, "begins");
    // Goes on on another thread as a rule.
    tokio::task::yield_now().await;
    tracing::Span::current().record("doubled", n * 2);
    tracing::info!(n, "ends");
    n * 2
}

async fn task(id: u64) -> u64 {
    tracing::info!(id, "started");
    let mut sum = 0;
    for n in 0..2 {
        sum += step(id, id + n).await;
    }
    tracing::info!(id, sum, "done");
    sum
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "logs".into());
    let tasks: u64 = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let (layer, _handle) = ttlog::layer(&dir).build()?;
    tracing_subscriber::registry().with(layer).init();
    let running: Vec<_> = (0..tasks)
        .map(|id| tokio::spawn(task(id).instrument(tracing::info_span!("task", id))))
        .collect();
    let mut sum = 0;
    for task in running {
        sum += task.await?;
    }
    println!("tasks={tasks} events={} sum={sum}", tasks * 6);
    println!("read them: ttlog --tree {dir}    ttlog spans {dir}");
    Ok(()) // nothing is flushed or held here: the end of the process sees to it
}
