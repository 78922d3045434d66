//! `ttlog cat`: shows events.

use std::io;

use ttlog::render::Renderer;
use ttlog::view::{Error, Item, Items, Query, Record, SpanChange};

use crate::args::{CatArgs, Lines, Mode};
use crate::backwards::Backwards;
use crate::grep::Grep;
use crate::output::{self, Output};
use crate::trace::Trace;
use crate::{EXIT_ERROR, EXIT_NONE, Failure, clock, follow, paths, tree};

/// What to do with each item, and what came of it.
#[derive(Debug)]
pub(crate) struct Shower {
    pub(crate) renderer: Renderer,
    pub(crate) grep: Option<Grep>,
    /// Levels and targets, when what is read holds spans of others too.
    pub(crate) only: Option<Query>,
    pub(crate) trace: Option<Trace>,
    pub(crate) n_matched: u64,
    pub(crate) failed: bool,
}

/// Shows the events that the command line asks for.
pub(crate) fn run(args: &CatArgs) -> Result<u8, Failure> {
    let (since, until) = (args.since.as_deref(), args.until.as_deref());
    let window = clock::window(Query::new(), since, until, args.utc)?;
    let query = narrowed(window.clone(), args);
    if args.tree && matches!(args.output, Mode::Json | Mode::Logfmt) {
        let why = "--tree is for people; with -o json each event has its spans";
        return Err(Failure::Usage(why.into()));
    }
    let mut renderer = Renderer::new(args.output.format());
    if !args.utc {
        renderer = renderer.in_zone(clock::local_offset);
    }
    if output::is_coloured(args.color) {
        renderer = renderer.coloured();
    }
    let grep = Grep::new(args)?;
    let input = paths::open(&args.paths.paths)?;
    let trace = args.trace.clone().map(|id| Trace::find(id, &input.source));
    let mut shower =
        Shower { renderer, grep, only: None, trace, n_matched: 0, failed: input.failed };
    let mut out = Output::new();
    if input.source.is_empty() {
        return Ok(EXIT_ERROR);
    }
    if args.tree {
        // Spans of every level and target: an event's may be others than its own.
        shower.only = (query != window).then_some(query);
        tree::show(input.source.query(&window.spans()), &mut shower, &mut out)?;
        out.flush()?;
        return Ok(shower.exit_code(args.exit_status));
    }
    if args.follow {
        follow::run(&input.source, &query, args.lines, &mut shower, &mut out)?;
    }
    match args.lines {
        Some(Lines::Last(n)) if !args.reverse => {
            last(input.source.query(&query.reverse()), n, &mut shower, &mut out)?;
        }
        Some(Lines::First(n)) if args.reverse => {
            // The oldest, newest of them first.
            let lines = first(input.source.query(&query), n, &mut shower)?;
            lines.write_to(|bytes| write_through(&mut out, bytes))?;
        }
        lines => {
            let (Lines::First(n) | Lines::Last(n)) = lines.unwrap_or(Lines::First(u64::MAX));
            let query = if args.reverse { query.reverse() } else { query };
            show(input.source.query(&query), n, &mut shower, &mut out)?;
        }
    }
    out.flush()?;
    Ok(shower.exit_code(args.exit_status))
}

/// What is asked for of what a query gives.
fn narrowed(mut query: Query, args: &CatArgs) -> Query {
    if let Some(levels) = args.level {
        query = query.levels(levels.0, levels.1);
    }
    args.target.iter().fold(query, |query, target| query.target(target))
}

/// Shows items as they come, up to `n` events.
fn show(mut items: Items, n: u64, shower: &mut Shower, out: &mut Output) -> Result<(), Failure> {
    while shower.n_matched < n {
        let Some(item) = items.next() else { break };
        shower.render(item, &mut out.buffer);
        out.pass()?;
    }
    shower.notes(&mut items);
    Ok(())
}

/// Shows the first `n` of items that come newest first, oldest first.
fn last(mut items: Items, n: u64, shower: &mut Shower, out: &mut Output) -> Result<(), Failure> {
    let lines = first_of(&mut items, n, shower)?;
    shower.notes(&mut items);
    lines.write_to(|bytes| write_through(out, bytes))?;
    Ok(())
}

fn first(mut items: Items, n: u64, shower: &mut Shower) -> Result<Backwards, Failure> {
    let lines = first_of(&mut items, n, shower)?;
    shower.notes(&mut items);
    Ok(lines)
}

fn first_of(items: &mut Items, n: u64, shower: &mut Shower) -> Result<Backwards, Failure> {
    let mut lines = Backwards::default();
    let mut line = Vec::new();
    while shower.n_matched < n {
        let Some(item) = items.next() else { break };
        line.clear();
        shower.render(item, &mut line);
        if !line.is_empty() {
            lines
                .push(&line)
                .map_err(|error| Failure::Other(format!("temporary file: {error}")))?;
        }
    }
    Ok(lines)
}

fn write_through(out: &mut Output, bytes: &[u8]) -> io::Result<()> {
    out.flush()?;
    out.buffer.extend_from_slice(bytes);
    out.flush()
}

impl Shower {
    /// Appends what is to be seen of an item; damage and errors go to standard error.
    pub(crate) fn render(&mut self, item: Result<Item, Error>, out: &mut Vec<u8>) {
        match item {
            Ok(Item::Record(record)) => {
                if self.wants(&record) {
                    self.renderer.event(&record.event(), out);
                }
            }
            Ok(Item::Lost(lost)) => self.renderer.lost(&lost.event(), out),
            Ok(Item::Damage(damage)) => self.fail(&damage.to_string()),
            Ok(_) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// True when the event is to be seen; it counts as a match then.
    pub(crate) fn wants(&mut self, record: &Record) -> bool {
        let wants = self.would_want(record);
        self.n_matched += u64::from(wants);
        wants
    }

    /// The same, and nothing is counted.
    pub(crate) fn would_want(&mut self, record: &Record) -> bool {
        self.only.as_ref().is_none_or(|only| only.wants(record.level(), record.target()))
            && self.trace.as_mut().is_none_or(|trace| trace.wants(record))
            && self.grep.as_mut().is_none_or(|grep| grep.wants(&record.event()))
    }

    /// True when spans are to be seen only around events that are.
    pub(crate) const fn is_selective(&self) -> bool {
        self.only.is_some() || self.grep.is_some()
    }

    /// True when a span is to be seen with its events.
    pub(crate) fn wants_span(&self, change: &SpanChange) -> bool {
        let has = |trace: &Trace| trace.has(change.logger(), change.spans());
        self.trace.as_ref().is_none_or(has)
    }

    fn fail(&mut self, message: &str) {
        self.failed = true;
        output::note(message);
    }

    /// Says what could not be read.
    pub(crate) fn notes(&mut self, items: &mut Items) {
        for note in items.take_notes() {
            self.fail(&note);
        }
    }

    fn exit_code(&self, tells_none: bool) -> u8 {
        match (self.failed, tells_none && self.n_matched == 0) {
            (true, _) => EXIT_ERROR,
            (false, true) => EXIT_NONE,
            (false, false) => 0,
        }
    }
}
