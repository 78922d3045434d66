//! `ttlog spill`: what lies in spill files, and how it gets into the log.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use ttlog::record::Level;
use ttlog::render::Calendar;
use ttlog::render::escape::printable;
use ttlog::store::Error;
use ttlog::store::segment::{Entry, SegmentReader};
use ttlog::store::spill::segment_name;

use crate::args::{CatArgs, DirArgs, PathArgs, SpillVerb};
use crate::output::Output;
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure, cat, output, paths, recover, verify};

/// Does what the command line asks for.
pub(crate) fn run(verb: &SpillVerb) -> Result<u8, Failure> {
    match verb {
        SpillVerb::Ls(args) => ls(args),
        SpillVerb::Cat(args) => match spills(&args.paths)? {
            (paths, failed) if paths.is_empty() => Ok(none(failed)),
            (paths, failed) => {
                let args = CatArgs { paths: PathArgs { paths }, ..args.clone() };
                cat::run(&args).map(|code| worse(code, failed))
            }
        },
        SpillVerb::Verify(args) => match spills(args)? {
            (paths, failed) if paths.is_empty() => Ok(none(failed)),
            (paths, failed) => verify::run(&PathArgs { paths }).map(|code| worse(code, failed)),
        },
        SpillVerb::Replay(args) => replay(args),
    }
}

/// The spill files of what was given, and whether a part of that could not be opened.
fn spills(args: &PathArgs) -> Result<(Vec<PathBuf>, bool), Failure> {
    let input = paths::open(&args.paths)?;
    let mut found = input.source.paths();
    found.retain(|path| segment_name(path).is_some());
    Ok((found, input.failed))
}

fn none(failed: bool) -> u8 {
    if !failed {
        output::note("no spill files");
    }
    worse(0, failed)
}

fn worse(code: u8, failed: bool) -> u8 {
    if failed { EXIT_ERROR } else { code }
}

/// A line for each spill file.
fn ls(args: &PathArgs) -> Result<u8, Failure> {
    let (paths, mut failed) = spills(args)?;
    if paths.is_empty() {
        return Ok(none(failed));
    }
    let mut out = Output::new();
    for path in paths {
        match tell(&path, &mut out.buffer) {
            Ok(()) => {}
            // It has become a segment since the directory was listed.
            Err(Error::Io(error))
                if error.kind() == ErrorKind::NotFound && !args.paths.contains(&path) => {}
            Err(error) => {
                failed = true;
                output::note(&format!("{}: {error}", printable(&path.to_string_lossy())));
            }
        }
        out.flush()?;
    }
    Ok(worse(0, failed))
}

fn tell(path: &Path, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut reader = SegmentReader::open(path)?;
    let (mut events, mut levels, mut times) = (0, 0, None::<(i64, i64)>);
    while let Some(entry) = reader.next_entry()? {
        let Entry::Block(block) = entry else { continue };
        let header = block.header;
        events += u64::from(header.records);
        levels |= header.levels;
        if header.records > 0 {
            let (first, last) = times.unwrap_or((i64::MAX, i64::MIN));
            times = Some((first.min(header.first_wall_ns), last.max(header.last_wall_ns)));
        }
    }
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let state = if reader.is_sealed() { "whole" } else { "open" };
    let (pid, app) = (reader.header().pid, printable(&reader.header().app));
    let occurs = |level: &Level| levels >> *level as u8 & 1 != 0;
    let names: Vec<_> = Level::ALL.into_iter().filter(occurs).map(Level::as_str).collect();
    let (first, last) = times.unwrap_or_default();
    let (name, names) = (printable(&path.to_string_lossy()), names.join(","));
    // A vector takes all that is written to it.
    let _ = writeln!(
        out,
        "{bytes:>10} bytes  {events:>8} events  {state:<5}  {} to {}  {names}  {app}/{pid}  {name}",
        iso(first),
        iso(last),
    );
    Ok(())
}

fn iso(time_ns: i64) -> String {
    let mut out = Vec::new();
    Calendar::new(None).iso(time_ns, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Takes up what dead processes left in a log directory, their spill files first of all.
fn replay(args: &DirArgs) -> Result<u8, Failure> {
    let mut failed = false;
    let mut left = 0;
    for dir in paths::given_or_default(&args.dirs)? {
        if !dir.is_dir() {
            let why = "not a directory; give the log directory";
            return Err(Failure::Usage(format!("{}: {why}", shown(&dir))));
        }
        match ttlog::__private::take_up(&dir) {
            Ok(report) => failed |= recover::notes(&report),
            Err(error) => {
                failed = true;
                output::note(&format!("{}: {error}", shown(&dir)));
            }
        }
        let (paths, bad) = spills(&PathArgs { paths: vec![dir] })?;
        failed |= bad;
        left += paths.len();
    }
    if left == 0 && !failed {
        output::note("no spill files are left");
    } else if left > 0 {
        output::note(&format!(
            "{left} spill files stay: their processes live, or somebody else's directory holds them"
        ));
    }
    Ok(worse(0, failed || left > 0))
}
