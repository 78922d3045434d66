//! `ttlog dump`: writes down what flight recorders keep, from outside.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ttlog::dump::{dump, loggers_of};
use ttlog::lane::outside::{self, Owner};
use ttlog::render::escape::printable;
use ttlog::view;

use crate::output::{self, Output};
use crate::{EXIT_ERROR, Failure, ps};

#[derive(Debug, Args)]
#[command(after_help = "\
What the log has of the same time stands beside it. Without --output the file lies beside the \
log, and its name is printed; `ttlog FILE` shows it.

Examples:
  ttlog dump 4242
  ttlog dump /var/log/app -o what-was.ttdump && ttlog what-was.ttdump")]
pub(crate) struct DumpArgs {
    /// A process, living or dead, or a log directory (./4242 for one of such a name)
    #[arg(value_name = "PID|DIR")]
    target: PathBuf,
    /// Where to, instead of beside the log
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Dumps each recorder that is meant; exit status 1 when one could not be.
pub(crate) fn run(args: &DumpArgs) -> Result<u8, Failure> {
    let meant = meant(&args.target)?;
    if args.output.is_some() && meant.len() > 1 {
        let pids: Vec<u32> = meant.iter().map(|(owner, _)| owner.pid).collect();
        return Err(Failure::Usage(format!(
            "--output names one file, and there are several recorders, of processes {pids:?}; leave \
             it out, or name one process"
        )));
    }
    let mut out = Output::new();
    let mut code = 0;
    for (owner, dir) in &meant {
        match dump(owner, dir, args.output.as_deref()) {
            Ok(dumped) => {
                dumped.notes.iter().for_each(|note| output::note(&printable(note)));
                writeln!(out.buffer, "{}", ps::shown(&dumped.path))?;
                output::note(&format!(
                    "process {}: {} events, {} of them from the recorder alone",
                    owner.pid, dumped.events, dumped.recorded
                ));
            }
            Err(error) => {
                output::note(&format!("process {}: {}", owner.pid, printable(&error.to_string())));
                code = EXIT_ERROR;
            }
        }
    }
    out.flush()?;
    Ok(code)
}

/// The loggers that are meant and have a recorder, with their log directories.
fn meant(target: &Path) -> Result<Vec<(Owner, PathBuf)>, Failure> {
    let (loggers, what): (Vec<(Owner, PathBuf)>, String) = match pid(target) {
        Some(pid) => {
            let found = loggers_of(pid).into_iter().map(|owner| {
                let dir = owner.log_dir.clone();
                (owner, dir)
            });
            let found: Vec<_> = found.collect();
            if found.is_empty() {
                return Err(Failure::Other(format!(
                    "no process {pid} has lanes in /dev/shm; name its log directory instead, \
                     `ttlog ps DIR` lists who logs there"
                )));
            }
            (found, format!("process {pid}"))
        }
        None => {
            let shown = ps::shown(target);
            let (found, notes) = outside::owners(target)
                .map_err(|error| Failure::Other(view::Error::io(target, error).to_string()))?;
            notes.iter().for_each(|note| output::note(&printable(note)));
            (found.into_iter().map(|found| (found.owner, target.to_owned())).collect(), shown)
        }
    };
    let mut meant = loggers;
    meant.retain(|(owner, _)| outside::has_recorder(owner));
    if meant.is_empty() {
        return Err(Failure::Other(format!(
            "{what}: nobody there has a flight recorder; start the program with \
             Builder::flight_recorder"
        )));
    }
    Ok(meant)
}

/// The process that an argument names: digits alone.
fn pid(target: &Path) -> Option<u32> {
    let text = target.to_str()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
