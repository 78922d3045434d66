//! Measure: runs one logger under one load in this process.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::ticks;
use crate::event::{Event, Mixed, OneStr, OneU64, Structured, Values, Workload};
use crate::line;
use crate::logger::{self, Logger, Name, Producer};
use crate::readback;
use crate::sample::{Measure, Output, Percentiles, Sample, Times};

/// Calls in a burst.
const BURST: u64 = 1_000;
/// Bursts before the first measured one: rings, lanes and caches find their size.
const WARM_BURSTS: u64 = 20;
/// Kept awake after a pause, so that the burst does not pay for the processor's wake-up.
const AWAKE: Duration = Duration::from_micros(30);
const DISABLED_CALLS: u64 = 20_000_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct Task {
    pub measure: Measure,
    pub logger: Name,
    pub workload: Workload,
    pub threads: u64,
    /// `Sustained`: calls of all threads together.
    pub events: u64,
    /// `Call`: measured bursts a thread, once amortised and once timed call by call.
    pub bursts: u64,
    /// `Call`: after a burst, for each thread.
    pub pause: Duration,
    /// Where output goes, into a directory of its own that is removed afterwards.
    pub dir: PathBuf,
}

impl Task {
    /// Runs it and reads the output back.
    pub fn run(&self) -> Result<Sample> {
        match self.logger {
            Name::Empty => self.with_logger::<logger::Empty>(),
            Name::Floor => self.with_logger::<logger::Private>(),
            Name::Ticklog => self.with_logger::<logger::TicklogDefault>(),
            Name::TicklogBlock => self.with_logger::<logger::TicklogBlocking>(),
            Name::TracingAppender => self.with_logger::<logger::TracingDefault>(),
            Name::TracingAppenderBlock => self.with_logger::<logger::TracingLossless>(),
            Name::SlogAsync => self.with_logger::<logger::SlogDefault>(),
            Name::SlogAsyncBlock => self.with_logger::<logger::SlogBlocking>(),
            #[cfg(feature = "ttlog")]
            Name::Ttlog => self.with_logger::<logger::Ttlog>(),
            #[cfg(not(feature = "ttlog"))]
            Name::Ttlog => bail!("built without ttlog; build with `--features ttlog`"),
        }
    }

    fn with_logger<L: Logger>(&self) -> Result<Sample> {
        match self.workload {
            Workload::OneU64 => self.with_event::<L, OneU64>(),
            Workload::OneStr => self.with_event::<L, OneStr>(),
            Workload::Mixed => self.with_event::<L, Mixed>(),
            Workload::Structured => self.with_event::<L, Structured>(),
        }
    }

    fn with_event<L: Logger, E: Event>(&self) -> Result<Sample> {
        let dir = tempfile::Builder::new().prefix("rivals-").tempdir_in(&self.dir)?;
        let line_round_trip = line::round_trip_ns();
        let (events_per_thread, times) = match self.measure {
            Measure::Call => self.call::<L, E>(dir.path())?,
            Measure::Sustained => self.sustained::<L, E>(dir.path())?,
            Measure::Disabled => (0, self.disabled::<L>(dir.path())?),
        };
        let output = if self.logger.has_output() && events_per_thread > 0 {
            Some(self.read_back(events_per_thread, dir.path())?)
        } else {
            None
        };
        Ok(Sample {
            measure: self.measure,
            logger: self.logger,
            workload: self.workload,
            threads: self.threads,
            events: events_per_thread * self.threads,
            line_round_trip,
            times,
            output,
        })
    }

    fn read_back(&self, events_per_thread: u64, dir: &Path) -> Result<Output> {
        let found = readback::read(self.logger, self.workload, dir)?;
        let sums = (0..self.threads).map(|t| self.workload.checksum(t, events_per_thread));
        let sum = sums.fold(0, u64::wrapping_add);
        let all = self.threads * events_per_thread;
        if found.events > all {
            bail!("{}: {} events read back of {all}", self.logger.name(), found.events);
        }
        Ok(Output {
            arrived: found.events,
            complete: found.events == all && found.sum == sum,
            bytes: readback::bytes(dir)?,
        })
    }

    /// Bursts with pauses: first each burst as a whole, then each call.
    fn call<L: Logger, E: Event>(&self, dir: &Path) -> Result<(u64, Times)> {
        let scale = nanoseconds_per_tick();
        let mut logger = L::start(dir)?;
        let start = Barrier::new(self.threads as usize);
        let parts = on_threads(self.threads, |number| {
            let mut producer = logger.producer();
            let mut values = Values::new(number);
            let mut timed = vec![u32::MAX; (self.bursts * BURST) as usize];
            start.wait();
            // The threads' bursts start apart from each other.
            thread::sleep(self.pause * number as u32);
            for _ in 0..WARM_BURSTS {
                burst::<E, _>(&mut producer, &mut values);
                self.rest();
            }
            let mut whole = Vec::new();
            for _ in 0..self.bursts {
                whole.push(burst::<E, _>(&mut producer, &mut values));
                self.rest();
            }
            for burst in timed.chunks_exact_mut(BURST as usize) {
                timed_burst::<E, _>(&mut producer, &mut values, burst);
                self.rest();
            }
            (whole, timed)
        });
        logger.settle()?;
        logger.close()?;

        let mut whole: Vec<u64> = parts.iter().flat_map(|(whole, _)| whole.clone()).collect();
        let mut timed: Vec<u32> = parts.into_iter().flat_map(|(_, timed)| timed).collect();
        whole.sort_unstable();
        let per_call = |ticks: f64| ticks * scale / BURST as f64;
        let mut timer = timer_alone();
        let times = Times {
            call: per_call(whole.iter().sum::<u64>() as f64 / whole.len() as f64),
            call_median: per_call(whole[whole.len() / 2] as f64),
            single: Percentiles::of(&mut timed, scale),
            clock_step: clock_step(&timer).map(|step| step * scale),
            timer: Percentiles::of(&mut timer, scale),
            ..Times::default()
        };
        Ok(((WARM_BURSTS + 2 * self.bursts) * BURST, times))
    }

    /// Lets the consumer catch up.
    fn rest(&self) {
        thread::sleep(self.pause * self.threads as u32);
        let awake = Instant::now();
        while awake.elapsed() < AWAKE {
            std::hint::spin_loop();
        }
    }

    /// All calls without a pause, and the time until all of it is on file.
    fn sustained<L: Logger, E: Event>(&self, dir: &Path) -> Result<(u64, Times)> {
        let calls = self.events / self.threads;
        let scale = nanoseconds_per_tick();
        let mut logger = L::start(dir)?;
        let start = Barrier::new(self.threads as usize);
        let parts = on_threads(self.threads, |number| {
            let mut producer = logger.producer();
            let mut values = Values::new(number);
            // A thread's first event makes its ring or lane; it belongs to no rate.
            E::emit(&mut producer, &mut values);
            start.wait();
            let (cpu, process_cpu) = (cpu(ClockId::ThreadCPUTime), cpu(ClockId::ProcessCPUTime));
            let from = Instant::now();
            let from_ticks = ticks();
            for _ in 0..calls {
                E::emit(&mut producer, &mut values);
            }
            let passed = ticks() - from_ticks;
            (from, passed, self::cpu(ClockId::ThreadCPUTime) - cpu, process_cpu)
        });
        logger.settle()?;
        let on_file = Instant::now();
        let process_cpu = cpu(ClockId::ProcessCPUTime);
        logger.close()?;

        let from = parts.iter().map(|part| part.0).min().unwrap_or(on_file);
        let from_cpu = parts.iter().map(|part| part.3).fold(f64::INFINITY, f64::min);
        let all = (calls * self.threads) as f64;
        let call = parts.iter().map(|part| part.1 as f64).sum::<f64>() * scale / all;
        let times = Times {
            call,
            call_median: call,
            call_cpu: Some(parts.iter().map(|part| part.2).sum::<f64>() * 1e9 / all),
            process_cpu: Some((process_cpu - from_cpu) * 1e9 / all),
            until_on_file_s: Some((on_file - from).as_secs_f64()),
            ..Times::default()
        };
        Ok((calls + 1, times))
    }

    /// Calls below the level, on one thread; the loop alone is what `empty` shows.
    fn disabled<L: Logger>(&self, dir: &Path) -> Result<Times> {
        let scale = nanoseconds_per_tick();
        let mut logger = L::start(dir)?;
        let mut producer = logger.producer();
        let from = ticks();
        for x in 0..DISABLED_CALLS {
            producer.disabled(black_box(x));
        }
        let call = (ticks() - from) as f64 * scale / DISABLED_CALLS as f64;
        drop(producer);
        logger.settle()?;
        logger.close()?;
        Ok(Times { call, call_median: call, ..Times::default() })
    }
}

/// Runs `work` on so many threads, which get their numbers; returns when all have ended.
fn on_threads<R: Send>(threads: u64, work: impl Fn(u64) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a measuring thread panics only with a logger"))
            .collect()
    })
}

#[inline(never)]
fn burst<E: Event, P: Producer>(producer: &mut P, values: &mut Values) -> u64 {
    let from = ticks();
    for _ in 0..BURST {
        E::emit(producer, values);
    }
    ticks() - from
}

#[inline(never)]
fn timed_burst<E: Event, P: Producer>(producer: &mut P, values: &mut Values, into: &mut [u32]) {
    for slot in into {
        let from = ticks();
        E::emit(producer, values);
        *slot = u32::try_from(ticks() - from).unwrap_or(u32::MAX);
    }
}

fn timer_alone() -> Vec<u32> {
    let mut timed = vec![u32::MAX; 100_000];
    for slot in &mut timed {
        let from = ticks();
        *slot = u32::try_from(ticks() - from).unwrap_or(u32::MAX);
    }
    timed
}

/// The smallest step that is not rare, in ticks: some processors move the counter by many at once.
fn clock_step(timer: &[u32]) -> Option<f64> {
    let mut steps: Vec<u32> = timer.iter().copied().filter(|step| *step > 0).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 20).map(|step| f64::from(*step))
}

fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Measures the tick counter against the system's clock.
fn nanoseconds_per_tick() -> f64 {
    let (from_time, from_ticks) = (Instant::now(), ticks());
    while from_time.elapsed() < Duration::from_millis(30) {
        std::hint::spin_loop();
    }
    let (elapsed, passed) = (from_time.elapsed(), ticks() - from_ticks);
    elapsed.as_nanos() as f64 / passed as f64
}
