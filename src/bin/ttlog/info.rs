//! `ttlog info`: what segments hold.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::Path;

use ttlog::record::{Definitions, Level};
use ttlog::render::Calendar;
use ttlog::render::escape::printable;
use ttlog::store::block::sections;
use ttlog::store::segment::{BlockRef, Entry, SegmentReader};

use crate::args::PathArgs;
use crate::output::Output;
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure, output, paths};

/// What the blocks of a file add up to.
#[derive(Debug, Default)]
struct Sum {
    blocks: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    records: u64,
    lost: u64,
    levels: u8,
    times: Option<(i64, i64)>,
    callsites: BTreeSet<u32>,
    damages: Vec<String>,
}

/// Tells what each file holds.
pub(crate) fn run(args: &PathArgs) -> Result<u8, Failure> {
    let input = paths::open(&args.paths)?;
    let mut failed = input.failed;
    let mut out = Output::new();
    for path in input.source.paths() {
        match tell(&path, &mut out.buffer) {
            Ok(whole) => failed |= !whole,
            // Removed since the directory was listed, by retention say.
            Err(ttlog::store::Error::Io(error))
                if error.kind() == ErrorKind::NotFound && !args.paths.contains(&path) => {}
            Err(error) => {
                failed = true;
                output::note(&format!("{}: {error}", shown(&path)));
            }
        }
        out.flush()?;
    }
    Ok(if failed { EXIT_ERROR } else { 0 })
}

/// Appends what one file holds; returns false when a part of it is damaged.
fn tell(path: &Path, out: &mut Vec<u8>) -> Result<bool, ttlog::store::Error> {
    let mut reader = SegmentReader::open(path)?;
    let mut sum = Sum::default();
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Block(block) => sum.add(&reader, &block),
            Entry::Damage(damage) => sum.damages.push(damage.to_string()),
            Entry::Unfinished { offset, len } => {
                sum.damages.push(format!("{len} bytes at offset {offset}: not written yet"));
            }
        }
    }
    let header = reader.header();
    let state = if reader.is_sealed() { "sealed" } else { "not sealed" };
    // A vector takes all that is written to it.
    let _ = writeln!(out, "{}", paths::named(&shown(path)));
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<10} {}", printable(&text));
    };
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    line("program", format!("{} {}", header.app, header.version).trim().into());
    line("process", format!("{} of user {} on {}", header.pid, header.uid, header.host));
    line("logger", format!("{:016x}, segment {}, {state}", header.logger, header.number));
    line("made", iso(header.created_ns));
    line("size", format!("{bytes} bytes, {} blocks, {}", sum.blocks, sum.ratio()));
    line("events", format!("{} ({})", sum.records, sum.level_names()));
    if let Some((first, last)) = sum.times {
        line("time", format!("{} to {}", iso(first), iso(last)));
    }
    line("callsites", sum.callsites.len().to_string());
    line("lost", sum.lost.to_string());
    for damage in &sum.damages {
        line("damage", damage.clone());
    }
    Ok(sum.damages.is_empty())
}

impl Sum {
    fn add(&mut self, reader: &SegmentReader, block: &BlockRef) {
        let header = &block.header;
        self.blocks += 1;
        self.raw_bytes += u64::from(header.raw_len);
        self.stored_bytes += u64::from(header.stored_len);
        self.records += u64::from(header.records);
        self.lost += u64::from(header.lost);
        self.levels |= header.levels;
        if header.records > 0 {
            let (first, last) = self.times.unwrap_or((i64::MAX, i64::MIN));
            let times = (first.min(header.first_wall_ns), last.max(header.last_wall_ns));
            self.times = Some(times);
        }
        let mut payload = Vec::new();
        match reader.read_block(block, &mut payload) {
            Ok(()) => {
                let mut definitions = Definitions::default();
                if let Some(sections) = sections(&payload, header) {
                    definitions.decode_all(sections.definitions);
                }
                self.callsites.extend(definitions.iter().map(|definition| definition.id));
            }
            Err(damage) => self.damages.push(damage.to_string()),
        }
    }

    fn level_names(&self) -> String {
        let occurs = |level: &Level| self.levels >> *level as u8 & 1 != 0;
        let names = Level::ALL.into_iter().filter(occurs).map(Level::as_str);
        let names: Vec<_> = names.collect();
        if names.is_empty() { "none".into() } else { names.join(" ") }
    }

    fn ratio(&self) -> String {
        if self.records == 0 {
            return "no event".into();
        }
        let per_event = |bytes: u64| bytes as f64 / self.records as f64;
        let (stored, raw) = (per_event(self.stored_bytes), per_event(self.raw_bytes));
        format!("{stored:.1} bytes an event ({raw:.1} in memory)")
    }
}

fn iso(time_ns: i64) -> String {
    let mut out = Vec::new();
    Calendar::new(None).iso(time_ns, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
