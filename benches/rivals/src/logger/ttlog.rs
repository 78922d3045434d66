//! ttlog, as it comes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ttlog::Handle;

use super::{Logger, Producer};

/// Longer than any run: an error of `flush` is a failed run, not a slow one.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// The global logger.
pub struct Ttlog(Handle);

impl Logger for Ttlog {
    type Producer<'a> = Calls;

    fn start(dir: &Path) -> Result<Self> {
        // Said here, because `RUST_LOG` must not change what is measured.
        Ok(Self(ttlog::Builder::new(dir).app("rivals", "1").filter("info").init()?))
    }

    fn producer(&self) -> Calls {
        Calls
    }

    fn settle(&mut self) -> Result<()> {
        self.0.flush(FLUSH_TIMEOUT).context("ttlog: flush")?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.0.shutdown(FLUSH_TIMEOUT).context("ttlog: shutdown")?;
        Ok(())
    }
}

/// The calls through the global logger.
#[derive(Debug)]
pub struct Calls;

impl Producer for Calls {
    #[inline(always)]
    fn one_u64(&mut self, x: u64) {
        ttlog::info!("x={}", x);
    }

    #[inline(always)]
    fn one_str(&mut self, text: &str) {
        ttlog::info!("{}", text);
    }

    #[inline(always)]
    fn mixed(&mut self, x: u64, y: f64, text: &str) {
        ttlog::info!("{} {} {}", x, y, text);
    }

    #[inline(always)]
    fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
        ttlog::info!(user_id, path, latency, ok, "request done");
    }

    #[inline(always)]
    fn disabled(&mut self, x: u64) {
        ttlog::debug!("x={}", x);
    }
}
