//! `ttlog gaps`: when events were lost, for how long, by which thread, how many and why.

use std::collections::HashMap;
use std::io::Write;

use ttlog::record::{Cause, Level, Losses};
use ttlog::render::Calendar;
use ttlog::render::escape;
use ttlog::view::{Item, Query};

use crate::args::{GapsArgs, Report};
use crate::output::Output;
use crate::{EXIT_ERROR, Failure, clock, output, paths};

/// Losses of a thread with less than this between them are one gap.
const JOINED_NS: i64 = 1_000_000_000;

/// A process and a thread of it; 0 for the lane that threads share.
type ThreadId = (u32, u32);

/// A stretch of time in which a thread lost events.
#[derive(Debug, Clone)]
struct Gap {
    from_ns: i64,
    to_ns: i64,
    losses: Losses,
    thread: ThreadId,
    name: String,
}

/// What is known of a thread while its events go by.
#[derive(Debug, Default)]
struct Thread {
    /// When it logged its last event.
    last_ns: Option<i64>,
    /// What it lost before its next event.
    open: Option<Gap>,
    /// What it lost before its last one.
    joined: Option<Gap>,
}

/// Everything that was lost, put together as the log goes by.
#[derive(Debug, Default)]
struct Gaps {
    threads: HashMap<ThreadId, Thread>,
    done: Vec<Gap>,
}

/// Tells where events are missing.
pub(crate) fn run(args: &GapsArgs) -> Result<u8, Failure> {
    let (since, until) = (args.since.as_deref(), args.until.as_deref());
    let query = clock::window(Query::new(), since, until, args.utc)?;
    let input = paths::open(&args.paths.paths)?;
    let mut failed = input.failed;
    // A process of another container may have the same ids.
    let mut loggers = HashMap::<u64, Gaps>::new();
    let mut items = input.source.query(&query);
    for item in &mut items {
        match item {
            Ok(Item::Record(record)) => {
                let gaps = loggers.entry(record.logger()).or_default();
                gaps.event((record.pid(), record.thread().0), record.time_ns())
            }
            Ok(Item::Lost(lost)) => {
                let (id, name) = lost.thread();
                let gaps = loggers.entry(lost.logger()).or_default();
                gaps.lost((lost.pid(), id), name, lost.time_ns(), lost.losses());
            }
            Ok(Item::Damage(damage)) => {
                failed = true;
                output::note(&damage.to_string());
            }
            Ok(_) => {}
            Err(error) => {
                failed = true;
                output::note(&error.to_string());
            }
        }
    }
    for note in items.take_notes() {
        failed = true;
        output::note(&note);
    }
    let mut gaps: Vec<Gap> = loggers.into_values().flat_map(Gaps::finish).collect();
    gaps.sort_by_key(|gap| (gap.from_ns, gap.thread));
    let mut out = Output::new();
    match args.output {
        Report::Json => gaps.iter().for_each(|gap| json(gap, &mut out.buffer)),
        Report::Text => table(&gaps, args.utc, &mut out.buffer),
    }
    out.flush()?;
    let lost: u64 = gaps.iter().map(|gap| gap.losses.total()).sum();
    if lost == 0 && !failed {
        output::note("nothing was lost");
    }
    Ok(if lost > 0 || failed { EXIT_ERROR } else { 0 })
}

impl Gaps {
    fn event(&mut self, id: ThreadId, time_ns: i64) {
        let thread = self.threads.entry(id).or_default();
        thread.last_ns = Some(time_ns);
        if let Some(mut gap) = thread.open.take() {
            gap.to_ns = gap.to_ns.max(time_ns);
            thread.joined = Some(gap);
        }
    }

    fn lost(&mut self, id: ThreadId, name: &str, time_ns: i64, losses: &Losses) {
        let thread = self.threads.entry(id).or_default();
        let begins = thread.last_ns.unwrap_or(time_ns).min(time_ns);
        let before = thread.open.take().or_else(|| thread.joined.take());
        let mut gap = match before {
            Some(gap) if begins - gap.to_ns <= JOINED_NS => gap,
            before => {
                self.done.extend(before);
                let (name, losses) = (name.to_owned(), Losses::NONE);
                Gap { from_ns: begins, to_ns: time_ns, losses, thread: id, name }
            }
        };
        gap.to_ns = gap.to_ns.max(time_ns);
        gap.losses.add_all(losses);
        thread.open = Some(gap);
    }

    /// All gaps, oldest first.
    fn finish(mut self) -> Vec<Gap> {
        let left = self.threads.into_values().flat_map(|thread| [thread.joined, thread.open]);
        self.done.extend(left.flatten());
        self.done.sort_by_key(|gap| (gap.from_ns, gap.thread));
        self.done
    }
}

impl Gap {
    fn seconds(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }

    /// Causes that occur, each with its counts by level.
    fn causes(&self) -> impl Iterator<Item = (Cause, Vec<(Level, u64)>)> {
        Cause::ALL.into_iter().filter_map(|cause| {
            let count = |level: Level| (level, self.losses.get(cause, level));
            let counts: Vec<_> =
                Level::ALL.into_iter().rev().map(count).filter(|(_, n)| *n > 0).collect();
            (!counts.is_empty()).then_some((cause, counts))
        })
    }

    fn thread_text(&self) -> String {
        let (pid, tid) = self.thread;
        let mut name = Vec::new();
        escape::plain(&self.name, &mut name);
        let name = String::from_utf8_lossy(&name).into_owned();
        match (tid, name.is_empty()) {
            (0, _) => format!("{pid}/shared"),
            (_, true) => format!("{pid}/{tid}"),
            (_, false) => format!("{pid}/{tid} {name}"),
        }
    }
}

/// A line for each gap and cause, in columns as wide as they have to be.
fn table(gaps: &[Gap], utc: bool, out: &mut Vec<u8>) {
    if gaps.is_empty() {
        return;
    }
    let mut calendar = Calendar::new((!utc).then_some(clock::local_offset as _));
    let head = ["FROM", "SECONDS", "LOST", "CAUSE", "LEVELS", "PROCESS/THREAD"];
    let mut rows = vec![head.map(str::to_owned)];
    for gap in gaps {
        let mut from = Vec::new();
        calendar.iso(gap.from_ns, &mut from);
        let from = String::from_utf8_lossy(&from).into_owned();
        for (cause, counts) in gap.causes() {
            let lost: u64 = counts.iter().map(|(_, count)| count).sum();
            let levels: Vec<_> = counts.iter().map(|(level, n)| format!("{level} {n}")).collect();
            let (seconds, cause) = (format!("{:.6}", gap.seconds()), cause.as_str().to_owned());
            let (lost, levels) = (lost.to_string(), levels.join(", "));
            rows.push([from.clone(), seconds, lost, cause, levels, gap.thread_text()]);
        }
    }
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for [from, seconds, lost, cause, levels, thread] in &rows {
        let [w_from, w_seconds, w_lost, w_cause, w_levels] = widths;
        // A vector takes all that is written to it.
        let _ = writeln!(
            out,
            "{from:<w_from$}  {seconds:>w_seconds$}  {lost:>w_lost$}  {cause:<w_cause$}  \
             {levels:<w_levels$}  {thread}"
        );
    }
}

/// An object for each gap and cause.
fn json(gap: &Gap, out: &mut Vec<u8>) {
    let mut calendar = Calendar::new(None);
    for (cause, counts) in gap.causes() {
        out.extend_from_slice(br#"{"from":""#);
        calendar.iso(gap.from_ns, out);
        out.extend_from_slice(br#"","to":""#);
        calendar.iso(gap.to_ns, out);
        let levels: Vec<_> =
            counts.iter().rev().map(|(level, n)| format!(r#""{level}":{n}"#)).collect();
        let (levels, cause) = (levels.join(","), cause.as_str());
        let seconds = gap.seconds();
        // A vector takes all that is written to it.
        let _ = write!(
            out,
            r#"","seconds":{seconds:.9},"kind":"lost","lost":{{{levels}}},"cause":"{cause}""#
        );
        let (pid, tid) = gap.thread;
        if tid != 0 || !gap.name.is_empty() {
            let _ = write!(out, r#","thread":{{"id":{tid}"#);
            if !gap.name.is_empty() {
                out.extend_from_slice(br#","name":""#);
                escape::json(&gap.name, out);
                out.push(b'"');
            }
            out.push(b'}');
        }
        if pid != 0 {
            let _ = write!(out, r#","pid":{pid}"#);
        }
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(count: u64) -> Losses {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::Info, count);
        losses
    }

    #[test]
    fn a_gap_reaches_from_the_event_before_to_the_event_behind() {
        let (mut gaps, one, other) = (Gaps::default(), (1, 7), (1, 8));
        gaps.event(one, 100);
        gaps.event(other, 150);
        gaps.lost(one, "w", 200, &losses(3));
        gaps.event(other, 250);
        gaps.event(one, 300);
        // Soon again: the same gap.
        gaps.lost(one, "w", 400, &losses(2));
        gaps.event(one, 500);
        // Much later: another, which nothing follows.
        gaps.event(one, 5_000_000_000);
        gaps.lost(one, "w", 6_000_000_000, &losses(1));
        let found: Vec<_> = gaps
            .finish()
            .iter()
            .map(|gap| (gap.from_ns, gap.to_ns, gap.losses.total(), gap.thread))
            .collect();
        assert_eq!(found, [(100, 500, 5, one), (5_000_000_000, 6_000_000_000, 1, one)]);
    }
}
