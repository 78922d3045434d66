//! Sample: the result of one measurement, as one line of JSON.

use serde::{Deserialize, Serialize};

use crate::event::Workload;
use crate::logger::Name;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Bursts with pauses: the consumer keeps up.
    Call,
    /// Flat out, until on file.
    Sustained,
    /// A level that is off.
    Disabled,
}

/// One measurement of one logger. Times are nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    pub measure: Measure,
    pub logger: Name,
    pub workload: Workload,
    pub threads: u64,
    /// Calls made, warm-up included.
    pub events: u64,
    /// What a cache line cost from one processor to another and back just before.
    #[serde(default)]
    pub line_round_trip: f64,
    #[serde(flatten)]
    pub times: Times,
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
}

/// What the measuring threads saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Times {
    /// Wall time of the loops over their calls, without a timer between calls.
    pub call: f64,
    /// The same of the median burst; of the whole loop where there are no bursts.
    pub call_median: f64,
    /// CPU time of the calling threads over their calls; `Call` has none, its threads pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_cpu: Option<f64>,
    /// CPU time of the whole process for each event, from the first call until on file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_cpu: Option<f64>,
    /// Calls timed one by one, the timer's own cost included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single: Option<Percentiles>,
    /// The timer around nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Percentiles>,
    /// The smallest step that the clock was often seen to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_step: Option<f64>,
    /// From the first call until the last event is on file, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_on_file_s: Option<f64>,
}

/// Of single calls, in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Percentiles {
    /// Needed where the clock's steps are coarser than a call: a mean sees through them.
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Percentiles {
    /// Of these durations in ticks. They get sorted.
    pub fn of(ticks: &mut [u32], nanoseconds_per_tick: f64) -> Option<Self> {
        if ticks.is_empty() {
            return None;
        }
        ticks.sort_unstable();
        let at = |share: f64| {
            let index = ((ticks.len() - 1) as f64 * share).round() as usize;
            f64::from(ticks[index]) * nanoseconds_per_tick
        };
        let mean = ticks.iter().map(|t| f64::from(*t)).sum::<f64>() / ticks.len() as f64;
        Some(Self {
            mean: mean * nanoseconds_per_tick,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        })
    }
}

/// What was found when the output was read back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Output {
    /// Events found.
    pub arrived: u64,
    /// Every event is there, and so is the sum of the numbers that they carry.
    pub complete: bool,
    /// Size of the files.
    pub bytes: u64,
}

impl Sample {
    /// Share of the calls whose event did not arrive.
    pub fn lost(&self) -> Option<f64> {
        let output = self.output.as_ref()?;
        Some(1.0 - output.arrived as f64 / self.events as f64)
    }

    /// Million events a second that arrived on file.
    pub fn million_per_s(&self) -> Option<f64> {
        Some(self.output.as_ref()?.arrived as f64 / self.times.until_on_file_s? / 1e6)
    }

    /// Bytes on disk for each event that arrived.
    pub fn bytes_per_event(&self) -> Option<f64> {
        let output = self.output.as_ref()?;
        (output.arrived > 0).then(|| output.bytes as f64 / output.arrived as f64)
    }
}
