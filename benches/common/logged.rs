//! Logged: records of log, and the logger that does the least that one that writes text must.

use std::cell::RefCell;
use std::io::Write as _;

use log::kv::{self, VisitSource};

use super::clock::ticks;
use super::traced::PATH;

const BUFFER_BYTES: usize = 256 * 1024;

/// A record with a message.
#[inline(always)]
pub(crate) fn message() {
    log::info!("request done");
}

/// A record with a message and four key-values.
#[inline(always)]
pub(crate) fn key_values(n: u64) {
    log::info!(user_id = n, path = PATH, latency = 0.25, ok = true; "request done");
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(BUFFER_BYTES));
}

/// What loggers that write text, as env_logger does, must do at least: a line with the time, put
/// together in memory; it goes nowhere.
#[derive(Debug)]
pub(crate) struct Text;

impl log::Log for Text {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() > BUFFER_BYTES / 2 {
                buffer.clear();
            }
            let (level, target) = (record.level(), record.target());
            // A vector takes all that is written to it.
            let _ = write!(buffer, "[{} {level} {target}] {}", ticks(), record.args());
            let _ = record.key_values().visit(&mut Pairs(buffer));
            buffer.push(b'\n');
        });
    }

    fn flush(&self) {}
}

struct Pairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}
