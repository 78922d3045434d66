//! `ttlog spans`: how many spans there were of each name, and how long they were busy.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use ttlog::render::escape;
use ttlog::view::{Item, Query};

use crate::args::{Report, SpansArgs};
use crate::output::Output;
use crate::{EXIT_ERROR, Failure, clock, output, paths};

/// A power of two is told in this many steps, so that a percentile is right to 3 %.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;

/// Spans of one name.
#[derive(Debug, Default)]
struct Name {
    closed: Times,
    /// Opened and not closed, as far as that was read.
    open: i64,
}

/// Counts times by their size.
#[derive(Debug, Default)]
struct Times {
    counts: Vec<u64>,
    n: u64,
    sum: u128,
    max: u64,
}

impl Times {
    fn add(&mut self, ns: u64) {
        let at = step(ns);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.n += 1;
        self.sum += u128::from(ns);
        self.max = self.max.max(ns);
    }

    /// The time that so many percent of the spans did not exceed, 0 without spans.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.n * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        at.map_or(0, |at| highest(at).min(self.max))
    }
}

/// The step that a time falls into.
fn step(ns: u64) -> usize {
    let bits = u64::BITS - ns.leading_zeros();
    let shift = bits.saturating_sub(STEP_BITS + 1);
    shift as usize * STEPS + (ns >> shift) as usize
}

/// The longest time of a step.
fn highest(step: usize) -> u64 {
    let shift = (step / STEPS).saturating_sub(1);
    let low = (step - shift * STEPS) as u128;
    u64::try_from(((low + 1) << shift) - 1).unwrap_or(u64::MAX)
}

/// Shows a line for each name, the one that took most time first.
pub(crate) fn run(args: &SpansArgs) -> Result<u8, Failure> {
    let (since, until) = (args.since.as_deref(), args.until.as_deref());
    let query = clock::window(Query::new().spans(), since, until, args.utc)?;
    let query = args.target.iter().fold(query, |query, target| query.target(target));
    let input = paths::open(&args.paths.paths)?;
    let mut failed = input.failed;
    let mut fail = |message: &str| {
        failed = true;
        output::note(message);
    };
    let mut names = HashMap::<String, Name>::new();
    let mut items = input.source.query(&query);
    for item in &mut items {
        match item {
            Ok(Item::Span(change)) => {
                let name = match names.get_mut(change.name()) {
                    Some(name) => name,
                    None => names.entry(change.name().to_owned()).or_default(),
                };
                match change.times_ns() {
                    None => name.open += 1,
                    Some((busy, _)) => {
                        name.open -= 1;
                        name.closed.add(busy);
                    }
                }
            }
            Ok(Item::Damage(damage)) => fail(&damage.to_string()),
            Ok(_) => {}
            Err(error) => fail(&error.to_string()),
        }
    }
    items.take_notes().iter().for_each(|note| fail(note));
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by(|(a, x), (b, y)| y.closed.sum.cmp(&x.closed.sum).then_with(|| a.cmp(b)));
    let mut out = Output::new();
    match args.output {
        Report::Text if names.is_empty() && failed => {}
        Report::Text => text(&names, &mut out)?,
        Report::Json => json(&names, &mut out)?,
    }
    out.flush()?;
    Ok(if failed { EXIT_ERROR } else { 0 })
}

fn text(names: &[(String, Name)], out: &mut Output) -> Result<(), Failure> {
    if names.is_empty() {
        output::note("no spans there");
        return Ok(());
    }
    let (p50, p99) = ("p50", "p99");
    writeln!(out.buffer, "{:>9} {:>6} {p50:>9} {p99:>9} {:>9}  span", "closed", "open", "max")?;
    for (name, Name { closed, open }) in names {
        let [p50, p99, max] = [closed.percentile(50), closed.percentile(99), closed.max]
            .map(|ns| if closed.n == 0 { "-".into() } else { shown(ns) });
        let (n, open) = (closed.n, (*open).max(0));
        write!(out.buffer, "{n:>9} {open:>6} {p50:>9} {p99:>9} {max:>9}  ")?;
        escape::plain(name, &mut out.buffer);
        out.buffer.push(b'\n');
    }
    Ok(())
}

fn json(names: &[(String, Name)], out: &mut Output) -> Result<(), Failure> {
    for (name, Name { closed, open }) in names {
        let line = serde_json::json!({
            "span": name,
            "closed": closed.n,
            "open": (*open).max(0),
            "busy_ns": {
                "p50": closed.percentile(50),
                "p99": closed.percentile(99),
                "max": closed.max,
            },
        });
        writeln!(out.buffer, "{line}")?;
    }
    Ok(())
}

/// A time with three digits or so: `1.23ms`.
pub(crate) fn shown(ns: u64) -> String {
    format!("{:.2?}", Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_ascend_and_are_narrow() {
        let mut before = 0;
        for ns in (0..10_000).chain((14..64).map(|bit| (1u64 << bit) - 1)).chain([u64::MAX]) {
            let at = step(ns);
            assert!(highest(at) >= ns, "{ns}");
            assert!(highest(at) - ns <= ns / 16, "{ns} {}", highest(at));
            if ns < 10_000 {
                assert!(at >= before);
                before = at;
            }
        }
    }

    #[test]
    fn percentiles_are_right_to_three_percent() {
        let mut times = Times::default();
        (1..=1_000).for_each(|ms| times.add(ms * 1_000_000));
        let near = |ns: u64, ms: u64| ns.abs_diff(ms * 1_000_000) <= ms * 1_000_000 / 32;
        assert!(near(times.percentile(50), 500) && near(times.percentile(99), 990));
        assert_eq!((times.percentile(100), times.max), (1_000_000_000, 1_000_000_000));
        assert_eq!(Times::default().percentile(50), 0);
    }
}
