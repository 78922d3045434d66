//! `ttlog recover`: takes up what processes left that are gone, as the next start would, or salvages
//! a damaged file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use ttlog::__private::{Report as Recovered, TakenUp, look, take_up};
use ttlog::render::escape::printable;
use ttlog::view;

use crate::args::Report;
use crate::output::Output;
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure, output, paths, salvage};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct RecoverArgs {
    /// Log directories [default: $TTLOG_DIR, else ./logs, else . if it holds logs], or with -O a
    /// damaged segment or spill file
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Writes what is whole in the damaged file to a new one
    #[arg(short = 'O', long = "out", value_name = "FILE", requires = "paths", conflicts_with_all = ["dry_run", "output"])]
    to: Option<PathBuf>,
    /// Says what would be taken up, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How it is told: lines, or one JSON object for each process
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    output: Report,
}

const HELP: &str = "\
What killed processes left in shared memory is written into a segment beside theirs, their spill \
files become segments, the unfinished ends of segments are cut; then their lanes go. Processes \
that live are left alone. Whoever is killed in between, or runs it beside another, loses and \
doubles nothing: the next one goes on. `ttlog` shows the same events before and after.

With -O every whole block of a damaged file is written to a new one, which still tells how many \
events are missing; each damaged stretch is told, with what it cost where that is known. The \
damaged file stays as it is.

Exit status: 0 when everything was taken up, 1 when something stays or is damaged.

Examples:
  ttlog recover --dry-run logs  says what there is
  ttlog recover logs            before a container goes, or the logs move
  ttlog recover && ttlog verify
  ttlog recover broken.ttlog -O fixed.ttlog";

/// Takes up what the dead left; tells each of them on a line, and the sum on standard error.
pub(crate) fn run(args: &RecoverArgs) -> Result<u8, Failure> {
    if let Some(to) = &args.to {
        return match &args.paths[..] {
            [from] => salvage::run(from, to),
            _ => Err(Failure::Usage("-O takes what is whole in one file; name one".into())),
        };
    }
    if let Some(file) = args.paths.iter().find(|path| path.is_file()) {
        let file = shown(file);
        return Err(Failure::Other(format!(
            "{file} is a file: say with `-O NEW` where what is whole in it goes, or name its directory"
        )));
    }
    let mut out = Output::new();
    let (mut failed, mut n, mut held) = (false, 0, 0);
    for dir in paths::given_or_default(&args.paths)? {
        let report = match if args.dry_run { look(&dir) } else { take_up(&dir) } {
            Ok(report) => report,
            Err(error) => {
                failed = true;
                output::note(&view::Error::io(&dir, error).to_string());
                continue;
            }
        };
        for taken_up in &report.taken_up {
            failed |= taken_up.damaged > 0;
            tell(taken_up, &dir, args, &mut out.buffer)?;
        }
        out.flush()?;
        (n, held) = (n + report.taken_up.len(), held + report.held);
        failed |= notes(&report);
    }
    let lives = match held {
        0 => String::new(),
        held => format!("; {held} live, or are being taken up, and were left alone"),
    };
    if n == 0 && held == 0 && failed {
        return Ok(EXIT_ERROR);
    }
    output::note(&match (n, args.dry_run) {
        (0, _) => format!("nothing to take up{lives}"),
        (n, false) => format!("took up {n} processes{lives}"),
        (n, true) => format!("would take up {n} processes{lives}"),
    });
    Ok(if failed { EXIT_ERROR } else { 0 })
}

/// Tells what stays, and why; true when anything does.
pub(crate) fn notes(report: &Recovered) -> bool {
    let all = [&report.notes, &report.unseen, &report.failures];
    all.into_iter().flatten().for_each(|note| output::note(&printable(note)));
    !report.unseen.is_empty() || !report.failures.is_empty()
}

fn tell(of: &TakenUp, dir: &Path, args: &RecoverArgs, out: &mut Vec<u8>) -> std::io::Result<()> {
    let segment = of.segment.as_ref().map(|path| path.to_string_lossy());
    if args.output == Report::Json {
        // Only what would be made has no name yet.
        let segment = segment.filter(|_| !args.dry_run);
        return writeln!(
            out,
            "{}",
            json!({ "dir": dir.to_string_lossy(), "app": of.app, "pid": of.pid,
                "logger": format!("{:016x}", of.logger), "events": of.events, "lost": of.lost,
                "spill_files": of.spill_files, "cut_bytes": of.cut_bytes,
                "damaged": of.damaged, "segment": segment })
        );
    }
    let counts = [
        (of.events, "events"),
        (of.lost, "lost"),
        (of.spill_files, "spill files"),
        (of.cut_bytes, "bytes cut"),
        (of.damaged, "blocks damaged"),
    ];
    let told = counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let told = told.collect::<Vec<_>>().join(", ");
    let told = if told.is_empty() { "nothing was missing" } else { &told };
    write!(out, "{}/{}  {told}", printable(&of.app), of.pid)?;
    if let Some(segment) = segment.filter(|_| !args.dry_run) {
        write!(out, "  into {}", printable(&segment))?;
    }
    writeln!(out)
}
