//! Follow: what is there, then what is logged from now on.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use ttlog::view::{Item, Query, Source};

use crate::args::Lines;
use crate::cat::Shower;
use crate::output::{self, Output};
use crate::{Failure, clock};

const LINES: u64 = 10;
const POLL_NS: i64 = 50_000_000;
/// How long an event waits for older ones of other threads.
const HOLD_NS: i64 = 150_000_000;

/// Shows the last lines, then follows until the process is interrupted.
pub(crate) fn run(
    source: &Source,
    query: &Query,
    lines: Option<Lines>,
    shower: &mut Shower,
    out: &mut Output,
) -> Result<Infallible, Failure> {
    let (start_ns, kept) = match lines.unwrap_or(Lines::Last(LINES)) {
        Lines::First(_) => (i64::MIN, u64::MAX),
        Lines::Last(n) => (start(source, query, n, shower), n),
    };
    let mut items = source.follow(query, start_ns);
    let mut told = HashSet::new();
    let mut first: VecDeque<Vec<u8>> = VecDeque::new();
    for item in items.by_ref() {
        let before = shower.n_matched;
        shower.render(item, &mut out.buffer);
        if kept == u64::MAX {
            out.pass()?;
            continue;
        }
        if shower.n_matched > before {
            first.push_back(std::mem::take(&mut out.buffer));
            if first.len() as u64 > kept {
                first.pop_front();
            }
        }
    }
    out.buffer.splice(0..0, first.into_iter().flatten());
    loop {
        out.flush()?;
        for note in items.take_notes() {
            if told.insert(note.clone()) {
                output::note(&note);
            }
        }
        wait()?;
        items.refresh(clock::now_ns().saturating_sub(HOLD_NS));
        for item in items.by_ref() {
            if let Err(error) = &item
                && !told.insert(error.to_string())
            {
                continue;
            }
            shower.render(item, &mut out.buffer);
            out.pass()?;
        }
    }
}

/// Waits a while; fails when nobody reads the output any more, which only a write would tell.
fn wait() -> Result<(), Failure> {
    let out = std::io::stdout();
    let mut out = [PollFd::new(&out, PollFlags::empty())];
    let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_NS };
    match rustix::event::poll(&mut out, Some(&timeout)) {
        Ok(_) if out[0].revents().contains(PollFlags::ERR) => Err(Failure::Closed),
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
        // There is something else about it, for which nothing waits here.
        _ => {
            std::thread::sleep(Duration::from_nanos(POLL_NS.unsigned_abs()));
            Ok(())
        }
    }
}

/// From when on there are the last `n` events that match.
fn start(source: &Source, query: &Query, n: u64, shower: &mut Shower) -> i64 {
    let mut left = n;
    let mut start_ns = clock::now_ns();
    if left == 0 {
        return start_ns;
    }
    for item in source.query(&query.clone().reverse()) {
        let Ok(Item::Record(record)) = item else { continue };
        if shower.would_want(&record) {
            // Lines that are recorded may tell earlier times than those before them.
            start_ns = start_ns.min(record.time_ns());
            left -= 1;
            if left == 0 {
                return start_ns;
            }
        }
    }
    i64::MIN
}
