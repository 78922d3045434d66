//! slog-async: the message formatted and the values boxed on the caller's thread, JSON made and
//! written by a worker.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Result;
use slog::{Drain, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_json::Json;

use super::{Logger, Producer};

const FILE_BUFFER_BYTES: usize = 64 * 1024;
/// The default of 128 would make a caller wait in every burst.
const BLOCKING_CHANNEL: usize = 8_192;

/// Drops when its channel is full, and says how many.
pub struct SlogDefault(Running);
/// Waits when its channel is full.
pub struct SlogBlocking(Running);

struct Running {
    logger: slog::Logger,
    guard: Option<AsyncGuard>,
}

impl Logger for SlogDefault {
    type Producer<'a> = Calls<'a>;

    fn start(dir: &Path) -> Result<Self> {
        Ok(Self(Running::new(Async::new(json(dir)?).build_with_guard())))
    }

    fn producer(&self) -> Calls<'_> {
        Calls(&self.0.logger)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle();
        Ok(())
    }
}

impl Logger for SlogBlocking {
    type Producer<'a> = Calls<'a>;

    fn start(dir: &Path) -> Result<Self> {
        let parts = Async::new(json(dir)?)
            .chan_size(BLOCKING_CHANNEL)
            .overflow_strategy(OverflowStrategy::Block)
            .build_with_guard();
        Ok(Self(Running::new(parts)))
    }

    fn producer(&self) -> Calls<'_> {
        Calls(&self.0.logger)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle();
        Ok(())
    }
}

impl Running {
    fn new((drain, guard): (Async, AsyncGuard)) -> Self {
        Self { logger: slog::Logger::root(drain.fuse(), o!()), guard: Some(guard) }
    }

    /// The worker drops the file's buffer, and so writes it, before the guard's drop returns.
    fn settle(&mut self) {
        self.guard = None;
    }
}

fn json(dir: &Path) -> Result<slog::Fuse<Json<BufWriter<File>>>> {
    let file = File::create(dir.join("slog.json"))?;
    Ok(Json::default(BufWriter::with_capacity(FILE_BUFFER_BYTES, file)).fuse())
}

/// The calls through a logger of slog's.
#[derive(Debug)]
pub struct Calls<'a>(&'a slog::Logger);

impl Producer for Calls<'_> {
    #[inline(always)]
    fn one_u64(&mut self, x: u64) {
        slog::info!(self.0, "x={}", x);
    }

    #[inline(always)]
    fn one_str(&mut self, text: &str) {
        slog::info!(self.0, "{}", text);
    }

    #[inline(always)]
    fn mixed(&mut self, x: u64, y: f64, text: &str) {
        slog::info!(self.0, "{} {} {}", x, y, text);
    }

    #[inline(always)]
    fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
        slog::info!(
            self.0, "request done";
            "user_id" => user_id, "path" => path, "latency" => latency, "ok" => ok
        );
    }

    #[inline(always)]
    fn disabled(&mut self, x: u64) {
        slog::debug!(self.0, "x={}", x);
    }
}
