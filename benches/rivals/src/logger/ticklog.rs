//! ticklog: binary records in per-thread rings, text made by a thread that spins.
//!
//! Its `configure!` gives the crate two macros with the policy and the level, which every call
//! expands; so a crate has one policy. Here each module has its own pair, as `configure!` would make
//! it: both policies are folded away as in a program that has one.

use std::path::Path;

use anyhow::{Result, anyhow};
use ticklog::{FileSink, Guard};

use super::Logger;

macro_rules! producer {
    ($module:ident, $policy:expr) => {
        mod $module {
            use ticklog::{debug, info};

            macro_rules! __ticklog_backpressure {
                () => {
                    $policy
                };
            }
            macro_rules! __ticklog_max_level {
                () => {
                    ::ticklog::Level::Info
                };
            }

            #[derive(Debug)]
            pub struct Calls;

            impl crate::logger::Producer for Calls {
                #[inline(always)]
                fn one_u64(&mut self, x: u64) {
                    info!("x={}", x);
                }

                #[inline(always)]
                fn one_str(&mut self, text: &str) {
                    info!("{}", text);
                }

                #[inline(always)]
                fn mixed(&mut self, x: u64, y: f64, text: &str) {
                    info!("{} {} {}", x, y, text);
                }

                #[inline(always)]
                fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
                    info!(
                        "request done user_id={} path={} latency={} ok={}",
                        user_id, path, latency, ok
                    );
                }

                #[inline(always)]
                fn disabled(&mut self, x: u64) {
                    debug!("x={}", x);
                }
            }
        }
    };
}

macro_rules! logger {
    ($(#[$doc:meta])* $logger:ident, $module:ident) => {
        $(#[$doc])*
        pub struct $logger {
            guard: Option<Guard>,
        }

        impl Logger for $logger {
            type Producer<'a> = $module::Calls;

            fn start(dir: &Path) -> Result<Self> {
                Ok(Self { guard: Some(configure(dir)?) })
            }

            fn producer(&self) -> $module::Calls {
                $module::Calls
            }

            fn settle(&mut self) -> Result<()> {
                self.guard = None;
                Ok(())
            }
        }
    };
}

producer!(blocking, ::ticklog::Backpressure::Block);
producer!(dropping, ::ticklog::Backpressure::Drop);

logger!(
    /// Waits when a thread's ring is full.
    TicklogBlocking,
    blocking
);
logger!(
    /// Drops when a thread's ring is full.
    TicklogDefault,
    dropping
);

fn configure(dir: &Path) -> Result<Guard> {
    let sink = FileSink::new(dir.join("ticklog.log"))?;
    ticklog::configure! { sink: sink }.map_err(|e| anyhow!("ticklog: {e:?}"))
}
