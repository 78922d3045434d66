//! Layers: what an event of tracing costs through a layer on a registry.
//!
//! The floor is a layer on the same registry that reads the clock and copies the fields into a
//! private buffer. A measurement is a process of its own: bursts with pauses, as for `call`.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tracing_subscriber::prelude::*;

use crate::traced;

/// Calls in a burst.
const BURST: u64 = 1_000;
const WARM_BURSTS: u64 = 20;
const AWAKE: Duration = Duration::from_micros(30);
const LONG: Duration = Duration::from_secs(60);

/// What the events go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Through {
    /// A layer that reads the clock and copies the fields
    Floor,
    /// ttlog's layer
    Ttlog,
    /// tracing-subscriber's JSON into tracing-appender's queue
    FmtJson,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Args)]
pub struct One {
    #[arg(long)]
    through: Through,
    /// Fields of an event, 0, 4 or 16
    #[arg(long, default_value_t = 4)]
    fields: u64,
    /// Spans around it
    #[arg(long, default_value_t = 0)]
    spans: u64,
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Bursts of 1,000 events for each thread
    #[arg(long, default_value_t = 100)]
    bursts: u64,
}

/// All of them.
#[derive(Debug, Clone, Args)]
pub struct Many {
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    threads: Vec<u64>,
    /// Times that every measurement is repeated
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    #[arg(long, default_value_t = 100)]
    bursts: u64,
}

/// Nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sample {
    /// An event, the median burst's.
    event: f64,
    /// A span opened, entered, left and closed, with one field.
    span: f64,
}

impl One {
    /// Runs it in this process and prints a line of JSON.
    pub fn run(self) -> Result<()> {
        let dir = tempfile::Builder::new().prefix("rivals-").tempdir()?;
        let guard = self.install(dir.path())?;
        let start = Barrier::new(self.threads as usize);
        let one = || {
            start.wait();
            self.measure()
        };
        let samples: Vec<Sample> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        drop(guard);
        let event = median(samples.iter().map(|sample| sample.event).collect());
        let span = median(samples.iter().map(|sample| sample.span).collect());
        println!("{}", serde_json::to_string(&Sample { event, span })?);
        Ok(())
    }

    fn install(self, dir: &Path) -> Result<Box<dyn std::any::Any>> {
        let registry = tracing_subscriber::registry();
        Ok(match self.through {
            Through::Floor => {
                registry.with(traced::Floor).try_init()?;
                Box::new(())
            }
            #[cfg(feature = "ttlog")]
            Through::Ttlog => {
                let (layer, handle) = ttlog::layer(dir).app("rivals", "1").build()?;
                registry.with(layer).try_init()?;
                Box::new(Shutdown(handle))
            }
            #[cfg(not(feature = "ttlog"))]
            Through::Ttlog => anyhow::bail!("built without ttlog"),
            Through::FmtJson => {
                let file = std::fs::File::create(dir.join("tracing.log"))?;
                let (writer, guard) = tracing_appender::non_blocking(file);
                registry
                    .with(tracing_subscriber::fmt::layer().json().with_writer(writer))
                    .try_init()?;
                Box::new(guard)
            }
        })
    }

    fn measure(self) -> Sample {
        let event = traced::in_spans(self.spans, || match self.fields {
            0 => self.bursts_of(|_| traced::no_fields()),
            4 => self.bursts_of(traced::four_fields),
            _ => self.bursts_of(traced::sixteen_fields),
        });
        Sample { event, span: self.bursts_of(traced::span) }
    }

    /// Nanoseconds a call, of the median burst.
    fn bursts_of(self, call: impl Fn(u64)) -> f64 {
        let mut bursts = Vec::new();
        for burst in 0..WARM_BURSTS + self.bursts {
            let began = Instant::now();
            for n in 0..BURST {
                call(burst * BURST + n);
            }
            let took = began.elapsed();
            if burst >= WARM_BURSTS {
                bursts.push(took.as_nanos() as f64 / BURST as f64);
            }
            thread::sleep(Duration::from_millis(2 * self.threads));
            let awake = Instant::now();
            while awake.elapsed() < AWAKE {}
        }
        median(bursts)
    }
}

#[cfg(feature = "ttlog")]
struct Shutdown(ttlog::Handle);

#[cfg(feature = "ttlog")]
impl Drop for Shutdown {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown(LONG) {
            eprintln!("ttlog: {error}");
        }
        assert_eq!(self.0.stats().lost(), 0, "a run that lost events measures nothing");
    }
}

impl Many {
    /// Runs all of them in children, interleaved, and prints a table.
    pub fn run(&self) -> Result<()> {
        println!(
            "| threads | fields | spans | floor ns | ttlog ns | ratio | fmt JSON ns | span: floor, ttlog, fmt |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
        for &threads in &self.threads {
            for fields in [0, 4, 16] {
                for spans in [0, 1, 3] {
                    let [floor, ttlog, json] = self.cell(threads, fields, spans)?;
                    println!(
                        "| {threads} | {fields} | {spans} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0}, {:.0}, {:.0} |",
                        floor.event,
                        ttlog.event,
                        ttlog.event / floor.event,
                        json.event,
                        floor.span,
                        ttlog.span,
                        json.span,
                    );
                }
            }
        }
        Ok(())
    }

    fn cell(&self, threads: u64, fields: u64, spans: u64) -> Result<[Sample; 3]> {
        let mut all: [Vec<Sample>; 3] = Default::default();
        for _ in 0..self.repeat {
            for (through, samples) in Through::value_variants().iter().zip(&mut all) {
                let name = through.to_possible_value().context("every one has a name")?;
                let output = Command::new(env::current_exe()?)
                    .arg("layer")
                    .args(["--through", name.get_name()])
                    .args(["--fields", &fields.to_string()])
                    .args(["--spans", &spans.to_string()])
                    .args(["--threads", &threads.to_string()])
                    .args(["--bursts", &self.bursts.to_string()])
                    .stderr(Stdio::inherit())
                    .output()?;
                ensure!(output.status.success(), "{through:?}: {}", output.status);
                samples.push(serde_json::from_slice(&output.stdout)?);
            }
        }
        Ok(all.map(|samples| Sample {
            event: median(samples.iter().map(|sample| sample.event).collect()),
            span: median(samples.iter().map(|sample| sample.span).collect()),
        }))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
