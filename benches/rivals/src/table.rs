//! Table: medians and ratios of many samples, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::event::Workload;
use crate::logger::Name;
use crate::sample::{Measure, Sample};

type Cell<'a> = BTreeMap<Name, Vec<&'a Sample>>;

/// One table for each measure, workload and number of threads.
pub fn render(samples: &[Sample]) -> String {
    let mut cells: BTreeMap<(Measure, Workload, u64), Cell<'_>> = BTreeMap::new();
    for sample in samples {
        let cell = cells.entry((sample.measure, sample.workload, sample.threads)).or_default();
        cell.entry(sample.logger).or_default().push(sample);
    }
    let mut out = String::new();
    for ((measure, workload, threads), cell) in &cells {
        let plural = if *threads == 1 { "" } else { "s" };
        let place = format!("{}, {threads} thread{plural}", workload.name());
        let lines = match measure {
            Measure::Call => call(&place, cell),
            Measure::Sustained => sustained(&place, cell),
            Measure::Disabled => disabled(cell),
        };
        out.push_str(&lines);
        out.push('\n');
    }
    out.push_str(&incomplete(samples));
    out
}

fn call(place: &str, cell: &Cell<'_>) -> String {
    let timer = median_of(cell.values().flatten(), |s| s.times.timer.map(|t| t.mean));
    let floor = median(cell.get(&Name::Floor), |s| Some(s.times.call_median));
    let floor_p99 = median(cell.get(&Name::Floor), |s| s.times.single.map(|p| p.p99));
    let step = median_of(cell.values().flatten(), |s| s.times.clock_step);
    let best = best(cell, f64::min, |s| lossless(s).and(Some(s.times.call_median)));
    let mut out = format!(
        "### A call, un-saturated: {place}\n\nNanoseconds; p50 to p99.9 include the timer, whose \
         own mean is {}; the clock moves in steps of {}.\n\n| logger | median burst | × floor \
         | × best lossless rival | mean burst | single mean | p50 | p99 | × floor | p99.9 | lost |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        number(timer),
        number(step)
    );
    for (logger, samples) in cell {
        let samples = Some(samples);
        let burst = median(samples, |s| Some(s.times.call_median));
        let p99 = median(samples, |s| s.times.single.map(|p| p.p99));
        row(
            &mut out,
            *logger,
            [
                number(burst),
                ratio(burst, floor),
                ratio(burst, best),
                number(median(samples, |s| Some(s.times.call))),
                number(median(samples, |s| s.times.single.map(|p| p.mean))),
                number(median(samples, |s| s.times.single.map(|p| p.p50))),
                number(p99),
                ratio(p99, floor_p99),
                number(median(samples, |s| s.times.single.map(|p| p.p999))),
                percent(median(samples, Sample::lost)),
            ],
        );
    }
    out
}

fn sustained(place: &str, cell: &Cell<'_>) -> String {
    let floor = median(cell.get(&Name::Floor), |s| Some(s.times.call));
    let best_call = best(cell, f64::min, |s| lossless(s).and(Some(s.times.call)));
    let best_rate = best(cell, f64::max, |s| lossless(s).and(s.million_per_s()));
    let mut out = format!(
        "### Flat out until on file: {place}\n\n| logger | million/s arrived | × best lossless \
         rival | lost | call ns | × floor | × best lossless rival | call CPU ns | process CPU ns an event \
         | bytes an event |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for (logger, samples) in cell {
        let samples = Some(samples);
        let rate = median(samples, Sample::million_per_s);
        let call = median(samples, |s| Some(s.times.call));
        row(
            &mut out,
            *logger,
            [
                number(rate),
                ratio(rate, best_rate),
                percent(median(samples, Sample::lost)),
                number(call),
                ratio(call, floor),
                ratio(call, best_call),
                number(median(samples, |s| s.times.call_cpu)),
                number(median(samples, |s| s.times.process_cpu)),
                number(median(samples, Sample::bytes_per_event)),
            ],
        );
    }
    out
}

fn disabled(cell: &Cell<'_>) -> String {
    let empty = median(cell.get(&Name::Empty), |s| Some(s.times.call));
    let mut out =
        "### A disabled call\n\n| logger | ns | without the loop |\n| --- | --- | --- |\n"
            .to_owned();
    for (logger, samples) in cell {
        let call = median(Some(samples), |s| Some(s.times.call));
        let alone = call.zip(empty).map(|(call, empty)| call - empty);
        row(&mut out, *logger, [number(call), number(alone)]);
    }
    out
}

/// Names what should have been complete and was not.
fn incomplete(samples: &[Sample]) -> String {
    let broken = samples.iter().filter(|sample| {
        // A logger that drops is not expected to be complete; what it drops is in its row.
        let waits = matches!(
            sample.logger,
            Name::Ttlog | Name::TicklogBlock | Name::TracingAppenderBlock | Name::SlogAsyncBlock
        );
        waits && sample.output.as_ref().is_some_and(|output| !output.complete)
    });
    let cells: BTreeSet<String> = broken
        .map(|s| {
            format!("{} {:?} {} on {}", s.logger.name(), s.measure, s.workload.name(), s.threads)
        })
        .collect();
    if cells.is_empty() {
        return "Every logger that should lose nothing was complete, values included.\n".to_owned();
    }
    let list: Vec<String> = cells.into_iter().collect();
    format!("INCOMPLETE: {}\n", list.join("; "))
}

/// Something only where nothing was lost: what drops is no measure for what keeps.
fn lossless(sample: &Sample) -> Option<()> {
    sample.output.as_ref()?.complete.then_some(())
}

/// The best median among the rivals.
fn best(
    cell: &Cell<'_>,
    better: fn(f64, f64) -> f64,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Option<f64> {
    cell.iter()
        .filter(|(logger, _)| logger.is_rival())
        .filter_map(|(_, samples)| median(Some(samples), &value))
        .reduce(better)
}

/// The median over the samples; `None` when one of them has no such value.
fn median(samples: Option<&Vec<&Sample>>, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    median_of(samples?.iter(), value)
}

fn median_of<'a>(
    samples: impl Iterator<Item = &'a &'a Sample>,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Option<f64> {
    let mut values = samples.map(|sample| value(sample)).collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

fn row<const N: usize>(out: &mut String, logger: Name, columns: [String; N]) {
    writeln!(out, "| {} | {} |", logger.name(), columns.join(" | "))
        .expect("writing to a string cannot fail");
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() < 100.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.0}"),
    }
}

fn ratio(value: Option<f64>, to: Option<f64>) -> String {
    value.zip(to).map_or_else(|| "–".to_owned(), |(value, to)| format!("{:.2}", value / to))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", value * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Times;

    fn sample(logger: Name, call: f64) -> Sample {
        Sample {
            measure: Measure::Disabled,
            logger,
            workload: Workload::OneU64,
            threads: 1,
            events: 0,
            times: Times { call, ..Times::default() },
            output: None,
        }
    }

    #[test]
    fn median_of_an_even_number_lies_between_the_middle_two() {
        let samples: Vec<Sample> =
            [4.0, 1.0, 3.0, 100.0].map(|call| sample(Name::Floor, call)).into();
        let refs: Vec<&Sample> = samples.iter().collect();
        assert_eq!(median(Some(&refs), |s| Some(s.times.call)), Some(3.5));
        assert_eq!(median(Some(&Vec::new()), |s| Some(s.times.call)), None);
    }

    #[test]
    fn loop_is_taken_off_a_disabled_call() {
        let text = render(&[sample(Name::Empty, 0.5), sample(Name::Ticklog, 0.75)]);
        assert!(text.contains("| ticklog | 0.75 | 0.25 |"), "{text}");
    }
}
