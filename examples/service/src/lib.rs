//! Service: an axum server with tower-http's `TraceLayer` that logs through ttlog, the clients that
//! ask it, and the counts of both sides.

mod clients;
mod counted;
mod server;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing_subscriber::prelude::*;

pub use clients::Asked;
pub use counted::Counted;

/// What was asked, and what the log says of it.
#[derive(Debug)]
pub struct Report {
    /// What the clients know.
    pub asked: Asked,
    /// What the log says.
    pub counted: Counted,
    /// Events that the logger counted as lost.
    pub lost: u64,
}

/// Serves `requests` requests of `clients` clients on localhost and reads the log of it in `dir`.
///
/// The subscriber is the global one: a process can do this once.
///
/// # Errors
///
/// When the log or the server cannot be started, or a client gets no answer.
pub fn run(dir: &Path, clients: u64, requests: u64) -> Result<Report> {
    let layer = ttlog::layer(dir).app("service", env!("CARGO_PKG_VERSION"));
    let (layer, logger) = layer.filter("info,tower_http=debug").build()?;
    tracing_subscriber::registry().with(layer).try_init()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("localhost")?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(server::serve(listener));
        let asking = tokio::task::spawn_blocking(move || clients::ask(address, clients, requests));
        let asked = asking.await?;
        serving.abort();
        asked
    })?;
    // Tasks that still have something to say are over when this returns.
    drop(runtime);
    logger.shutdown(Duration::from_secs(60))?;
    Ok(Report { asked, counted: counted::read(dir)?, lost: logger.stats().lost() })
}
