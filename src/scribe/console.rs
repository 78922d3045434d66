//! Console: shows events on a terminal as they come, for development.
//!
//! A thread of its own renders what the scribe has copied, and writes it past std's locks, so that
//! a terminal that blocks holds up nobody but this thread. Every event is in the log too; what the
//! console leaves out when it cannot keep up it counts.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::tap::{Poured, Run, Tap, events_of, records_of};
use crate::config::Console;
use crate::lane::catalog::{Catalog, CatalogView};
use crate::record::{Anchor, Definition, HEAD_BYTES, Head, Prefix, RECORD_EVENT, Timeline};
use crate::render::{
    Event, Format, Lost, Renderer, Shape, Span, Thread, ToldSpans, is_coloured, local_offset,
};

/// Text is written in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// What is kept of spans: beyond it those go that no event was in lately.
const SPANS_BYTES_MAX: usize = 4 << 20;

/// What a console needs from its logger.
#[derive(Debug)]
pub(crate) struct ConsoleSetup {
    pub(crate) tap: Arc<Tap>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) console: Console,
    /// Reads the three clocks.
    pub(crate) now: fn() -> Anchor,
}

/// Shows what comes until the end.
pub(crate) fn run(setup: ConsoleSetup) {
    let done = Done(setup.tap.clone());
    let (out, is_terminal) = match setup.console {
        Console::Stdout => (rustix::stdio::stdout(), std::io::stdout().is_terminal()),
        _ => (rustix::stdio::stderr(), std::io::stderr().is_terminal()),
    };
    let mut renderer = Renderer::new(Format::Short).in_zone(local_offset);
    if is_coloured(is_terminal) {
        renderer = renderer.coloured();
    }
    let mut screen = Screen {
        out,
        is_closed: false,
        renderer,
        catalog: CatalogView::new(setup.catalog),
        shapes: HashMap::new(),
        spans: ToldSpans::new(SPANS_BYTES_MAX),
        before: (setup.now)(),
        text: Vec::new(),
    };
    while let Some(poured) = setup.tap.next() {
        screen.show(&poured, (setup.now)());
    }
    drop(done);
}

/// Says that the thread has ended, even when it panicked: the end does not wait for it then.
struct Done(Arc<Tap>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.set_done();
    }
}

struct Screen {
    out: BorrowedFd<'static>,
    /// Nobody reads it any more.
    is_closed: bool,
    renderer: Renderer,
    catalog: CatalogView,
    shapes: HashMap<u32, Option<Arc<Shape>>>,
    spans: ToldSpans,
    before: Anchor,
    text: Vec<u8>,
}

impl Screen {
    fn show(&mut self, poured: &Poured, now: Anchor) {
        if self.is_closed {
            return;
        }
        let mut timeline = Timeline::default();
        timeline.add(std::mem::replace(&mut self.before, now));
        timeline.add(now);
        let mut events = Vec::new();
        for run in &poured.runs {
            self.lost(run, timeline.wall_ns(first_ticks(run).unwrap_or(now.ticks)));
            events.extend(events_of(&run.bytes).map(|(head, bytes)| (head, bytes, run)));
            self.note_spans(run);
        }
        // Stable: what one thread logged at one tick stays in its order.
        events.sort_by_key(|(head, ..)| head.ticks);
        for (head, bytes, run) in events {
            let Some(shape) = self.shape(head.callsite) else { continue };
            let spans = self.around(&head, bytes);
            let event = Event {
                spans: &spans,
                time_ns: timeline.wall_ns(head.ticks),
                thread: Thread { id: run.tid, name: &run.thread },
                pid: std::process::id(),
                ..Event::from_record(&shape, bytes)
            };
            self.renderer.event(&event, &mut self.text);
            if self.text.len() >= PIECE_BYTES {
                self.write();
            }
        }
        if poured.skipped > 0 {
            let n = poured.skipped;
            let line = format!("ttlog: {n} events are not shown here; the log has them\n");
            self.text.extend_from_slice(line.as_bytes());
        }
        if poured.untold > 0 {
            let n = poured.untold;
            let line = format!("ttlog: {n} lost events are not told here; `ttlog gaps` tells them\n");
            self.text.extend_from_slice(line.as_bytes());
        }
        self.write();
    }

    /// Takes in what a run tells of spans.
    fn note_spans(&mut self, run: &Run) {
        for (head, bytes) in records_of(&run.bytes).filter(|it| it.0.kind != RECORD_EVENT) {
            if let Some(shape) = self.shape(head.callsite) {
                self.spans.note(0, &bytes[..head.len()], || shape);
            }
        }
    }

    /// The spans that an event was logged in.
    fn around(&mut self, head: &Head, bytes: &[u8]) -> Arc<[Span]> {
        let prefix = Prefix::take(head, &mut &bytes[HEAD_BYTES..]).unwrap_or_default();
        match prefix.span {
            0 => Arc::default(),
            // One whose opening was left out here is shown by its id.
            id => self.spans.around(0, id, head.ticks).unwrap_or_else(|known| known),
        }
    }

    fn lost(&mut self, run: &Run, time_ns: i64) {
        if !run.lost.is_empty() {
            let thread = Thread { id: run.tid, name: &run.thread };
            let lost = Lost { time_ns, losses: &run.lost, thread, pid: std::process::id() };
            self.renderer.lost(&lost, &mut self.text);
        }
    }

    fn shape(&mut self, id: u32) -> Option<Arc<Shape>> {
        let catalog = &self.catalog;
        let make = || {
            let (definition, _) = Definition::decode(&catalog.encoded(id)?)?;
            Some(Arc::new(Shape::new(Arc::new(definition))))
        };
        self.shapes.entry(id).or_insert_with(make).clone()
    }

    /// Writes what has gathered; nothing more once nobody reads.
    fn write(&mut self) {
        let mut left = &self.text[..];
        while !left.is_empty() && !self.is_closed {
            match rustix::io::write(self.out, left) {
                Ok(n) => left = &left[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Somebody made it non-blocking: wait all the same.
                    let _ = poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], None);
                }
                Err(_) => self.is_closed = true,
            }
        }
        self.text.clear();
    }
}

fn first_ticks(run: &Run) -> Option<u64> {
    events_of(&run.bytes).next().map(|(head, _)| head.ticks)
}
