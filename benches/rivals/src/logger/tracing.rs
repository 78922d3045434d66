//! tracing-appender: text made by tracing-subscriber on the caller's thread, written by a worker.
//!
//! The file has a buffer of 64 KiB as ticklog's has, which the worker flushes when its queue is
//! empty; without it every line would be a system call.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Result, anyhow};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::{Logger, Producer};

const FILE_BUFFER_BYTES: usize = 64 * 1024;

/// Drops when its queue is full.
pub struct TracingDefault(Option<WorkerGuard>);
/// Waits when its queue is full.
pub struct TracingLossless(Option<WorkerGuard>);

impl Logger for TracingDefault {
    type Producer<'a> = Calls;

    fn start(dir: &Path) -> Result<Self> {
        let (writer, guard) = tracing_appender::non_blocking(file(dir)?);
        Ok(Self(Some(install(writer, guard)?)))
    }

    fn producer(&self) -> Calls {
        Calls
    }

    fn settle(&mut self) -> Result<()> {
        self.0 = None;
        Ok(())
    }
}

impl Logger for TracingLossless {
    type Producer<'a> = Calls;

    fn start(dir: &Path) -> Result<Self> {
        let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(file(dir)?);
        Ok(Self(Some(install(writer, guard)?)))
    }

    fn producer(&self) -> Calls {
        Calls
    }

    fn settle(&mut self) -> Result<()> {
        self.0 = None;
        Ok(())
    }
}

fn file(dir: &Path) -> Result<BufWriter<File>> {
    let file = File::create(dir.join("tracing.log"))?;
    Ok(BufWriter::with_capacity(FILE_BUFFER_BYTES, file))
}

fn install(writer: NonBlocking, guard: WorkerGuard) -> Result<WorkerGuard> {
    tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .try_init()
        .map_err(|e| anyhow!("tracing: {e}"))?;
    Ok(guard)
}

/// The calls through tracing's global subscriber.
#[derive(Debug)]
pub struct Calls;

impl Producer for Calls {
    #[inline(always)]
    fn one_u64(&mut self, x: u64) {
        tracing::info!("x={}", x);
    }

    #[inline(always)]
    fn one_str(&mut self, text: &str) {
        tracing::info!("{}", text);
    }

    #[inline(always)]
    fn mixed(&mut self, x: u64, y: f64, text: &str) {
        tracing::info!("{} {} {}", x, y, text);
    }

    #[inline(always)]
    fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
        tracing::info!(user_id, path, latency, ok, "request done");
    }

    #[inline(always)]
    fn disabled(&mut self, x: u64) {
        tracing::debug!("x={}", x);
    }
}
