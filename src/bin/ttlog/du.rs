//! `ttlog du`: what segments and spill files take of the disk, by app.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use indicatif::BinaryBytes;
use serde_json::json;
use ttlog::render::Calendar;
use ttlog::render::escape::printable;
use ttlog::store::retention::{Stored, list};
use ttlog::view;

use crate::args::{DuArgs, Report};
use crate::output::Output;
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure, output, paths};

/// What the files of one app add up to.
#[derive(Debug, Default)]
struct Sum {
    segments: u64,
    spill: u64,
    bytes: u64,
    /// When the first and the last began, UTC in seconds.
    began: Option<(i64, i64)>,
}

impl Sum {
    fn add(&mut self, stored: &Stored) {
        *if stored.name.spill { &mut self.spill } else { &mut self.segments } += 1;
        self.bytes += stored.bytes;
        let at = stored.name.created_s;
        let (first, last) = self.began.unwrap_or((at, at));
        self.began = Some((first.min(at), last.max(at)));
    }
}

/// Tells it, a line for each app of each directory.
pub(crate) fn run(args: &DuArgs) -> Result<u8, Failure> {
    let mut out = Output::new();
    let mut failed = false;
    for dir in paths::given_or_default(&args.dirs.dirs)? {
        match list(&dir) {
            Ok(stored) if stored.is_empty() => {
                output::note(&format!("{}: no segments in this directory", shown(&dir)));
            }
            Ok(stored) => tell(&dir, &stored, args.output, &mut out.buffer)?,
            Err(error) => {
                failed = true;
                output::note(&view::Error::io(&dir, error).to_string());
            }
        }
        out.flush()?;
    }
    Ok(if failed { EXIT_ERROR } else { 0 })
}

fn tell(dir: &Path, stored: &[Stored], report: Report, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut apps: BTreeMap<&str, Sum> = BTreeMap::new();
    stored.iter().for_each(|stored| apps.entry(&stored.name.app).or_default().add(stored));
    let width = apps.keys().map(|app| app.len()).max().unwrap_or(0).max(3);
    let dir = dir.to_string_lossy();
    for (app, Sum { segments, spill, bytes, began }) in apps {
        let (first, last) = began.map_or_else(Default::default, |(a, b)| (iso(a), iso(b)));
        match report {
            Report::Json => writeln!(
                out,
                "{}",
                json!({ "dir": dir, "app": app, "bytes": bytes, "segments": segments,
                    "spill": spill, "first": first, "last": last })
            )?,
            Report::Text => {
                let size = BinaryBytes(bytes).to_string();
                let files = match spill {
                    0 => format!("{segments} segments"),
                    spill => format!("{segments} segments, {spill} spill files"),
                };
                let dir = printable(&dir);
                writeln!(out, "{size:>12}  {app:width$}  {files}, begun {first} to {last}  {dir}")?;
            }
        }
    }
    Ok(())
}

/// A second as text.
fn iso(time_s: i64) -> String {
    let mut out = Vec::new();
    Calendar::new(None).iso(time_s.saturating_mul(1_000_000_000), &mut out);
    let text = String::from_utf8_lossy(&out);
    text.split('.').next().map_or_else(String::new, |seconds| format!("{seconds}Z"))
}
