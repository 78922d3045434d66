//! Compare: runs the whole matrix, each measurement in a child process, interleaved.
//!
//! The loggers of one cell run one after the other, and the whole matrix as often as asked: a slow
//! minute of the machine then falls on all of them, and the median forgets it.

use std::env;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::event::Workload;
use crate::logger::Name;
use crate::sample::{Measure, Sample};
use crate::{All, Size};

/// All measurements to make.
#[derive(Debug)]
pub struct Matrix {
    loggers: Vec<Name>,
    cells: Vec<(Measure, Workload, u64)>,
    repeat: u64,
    size: Size,
    json: Option<BufWriter<File>>,
}

impl Matrix {
    /// Fills in the defaults.
    pub fn new(all: All) -> Result<Self> {
        let loggers = if all.loggers.is_empty() {
            Name::value_variants().iter().copied().filter(|name| name.is_built()).collect()
        } else {
            all.loggers
        };
        let workloads = if all.workloads.is_empty() {
            Workload::value_variants().to_vec()
        } else {
            all.workloads
        };
        let mut cells = Vec::new();
        for measure in [Measure::Call, Measure::Sustained] {
            for &workload in &workloads {
                cells.extend(all.threads.iter().map(|&threads| (measure, workload, threads)));
            }
        }
        cells.push((Measure::Disabled, Workload::OneU64, 1));
        let json = match &all.json {
            None => None,
            Some(path) => Some(BufWriter::new(
                File::create(path).with_context(|| path.display().to_string())?,
            )),
        };
        Ok(Self { loggers, cells, repeat: all.repeat, size: all.size, json })
    }

    /// Runs them all.
    pub fn run(mut self) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for round in 1..=self.repeat {
            for &(measure, workload, threads) in &self.cells {
                eprintln!(
                    "round {round} of {}: {measure:?} {} on {threads}",
                    self.repeat,
                    workload.name()
                );
                for &logger in &self.loggers {
                    let sample = self.size.child(measure, logger, workload, threads)?;
                    if let Some(json) = &mut self.json {
                        writeln!(json, "{}", serde_json::to_string(&sample)?)?;
                        json.flush()?;
                    }
                    samples.push(sample);
                }
            }
        }
        Ok(samples)
    }
}

impl Size {
    /// Runs one measurement in a process of its own.
    fn child(
        &self,
        measure: Measure,
        logger: Name,
        workload: Workload,
        threads: u64,
    ) -> Result<Sample> {
        let verb = match measure {
            Measure::Call => "call",
            Measure::Sustained => "sustained",
            Measure::Disabled => "disabled",
        };
        let output = Command::new(env::current_exe()?)
            .arg(verb)
            .args(["--logger", logger.name()])
            .args(["--workload", workload.name()])
            .args(["--threads", &threads.to_string()])
            .args(["--events", &self.events.to_string()])
            .args(["--bursts", &self.bursts.to_string()])
            .args(["--pause", &self.pause.to_string()])
            .arg("--dir")
            .arg(self.dir())
            .env_remove("RUST_LOG")
            .stderr(Stdio::inherit())
            .output()?;
        let what = || format!("{verb} {} {} on {threads}", logger.name(), workload.name());
        ensure!(output.status.success(), "{}: {}", what(), output.status);
        serde_json::from_slice(&output.stdout).with_context(what)
    }
}
