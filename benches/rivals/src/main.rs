//! ttlog beside other loggers: what a call costs, how much arrives on file, how fast.
//!
//! A measurement is a process of its own, because most loggers are global. `rivals all` starts them
//! interleaved and prints medians and ratios; `call`, `sustained` and `disabled` are one
//! measurement each and print one line of JSON. README.md says what the numbers mean.

#[path = "../../common/clock.rs"]
mod clock;
mod compare;
mod event;
#[path = "../../common/floor.rs"]
mod floor;
mod layers;
mod line;
mod logger;
mod measure;
mod readback;
mod sample;
mod table;
#[path = "../../common/traced.rs"]
mod traced;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::compare::Matrix;
use crate::event::Workload;
use crate::logger::Name;
use crate::measure::Task;
use crate::sample::Measure;

/// Measures ttlog beside other loggers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A call, un-saturated: bursts of 1,000 calls with pauses
    Call(One),
    /// Flat out until on file: what a call costs then, and how much arrives
    Sustained(One),
    /// A call at a level that is off
    Disabled(One),
    /// Every logger, workload and thread count, interleaved; prints medians and ratios
    All(All),
    /// An event and a span of tracing through a layer on a registry
    Layer(layers::One),
    /// The same with every layer, number of fields, spans and threads, interleaved
    Layers(layers::Many),
}

#[derive(Debug, Args)]
struct One {
    #[arg(long)]
    logger: Name,
    #[arg(long, default_value = "one_u64")]
    workload: Workload,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    #[command(flatten)]
    size: Size,
}

#[derive(Debug, Args)]
struct All {
    /// Default: all that are built
    #[arg(long, value_delimiter = ',')]
    loggers: Vec<Name>,
    /// Default: all
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    threads: Vec<u64>,
    /// Times that every measurement is repeated
    #[arg(long, default_value_t = 5)]
    repeat: u64,
    /// Every measurement as one line of JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    size: Size,
}

/// How much is measured, and where.
#[derive(Debug, Clone, Args)]
struct Size {
    /// Calls of a sustained run, all threads together
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Bursts of 1,000 calls for each thread, once amortised and once timed one by one
    #[arg(long, default_value_t = 200)]
    bursts: u64,
    /// Pause after a burst, times the number of threads
    #[arg(long, default_value_t = 2_000, value_name = "MICROSECONDS")]
    pause: u64,
    /// Where output goes, into a temporary directory [default: the system's]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl One {
    fn task(self, measure: Measure) -> Task {
        Task {
            measure,
            logger: self.logger,
            workload: self.workload,
            threads: self.threads,
            events: self.size.events,
            bursts: self.size.bursts,
            pause: Duration::from_micros(self.size.pause),
            dir: self.size.dir(),
        }
    }
}

impl Size {
    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

fn main() -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing of use; run with `--release`");
    }
    let (measure, one) = match Arguments::parse().command {
        Command::Call(one) => (Measure::Call, one),
        Command::Sustained(one) => (Measure::Sustained, one),
        Command::Disabled(one) => (Measure::Disabled, one),
        Command::All(all) => return all_of(all),
        Command::Layer(one) => return one.run(),
        Command::Layers(many) => return many.run(),
    };
    println!("{}", serde_json::to_string(&one.task(measure).run()?)?);
    Ok(())
}

fn all_of(all: All) -> Result<()> {
    let matrix = Matrix::new(all)?;
    let samples = matrix.run()?;
    print!("{}", table::render(&samples));
    Ok(())
}
