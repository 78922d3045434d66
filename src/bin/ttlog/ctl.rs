//! `ttlog ctl`: asks living loggers through their sockets.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use ttlog::Filter;
use ttlog::control::{self, Answer};
use ttlog::lane::outside::Found;
use ttlog::render::escape::printable;

use crate::output::{self, Output};
use crate::{EXIT_ERROR, Failure, paths, ps};

/// What an answer may take beside what was asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ttlog ctl level 'info,app::db=debug' --for 5m --pid 4242\n  \
                  ttlog ctl flush --pid 4242 --dir /var/log/app\n  ttlog ctl stats")]
pub(crate) struct CtlArgs {
    #[command(subcommand)]
    verb: CtlVerb,
    /// The process; may be left out when one alone logs into the directory
    #[arg(long, global = true, value_name = "PID")]
    pid: Option<u32>,
    /// The log directory [default: $TTLOG_DIR, else ./logs, else . if it holds logs]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CtlVerb {
    /// Changes which events are logged, in RUST_LOG's syntax
    #[command(
        after_help = "Examples:\n  ttlog ctl level 'info,app::db=debug' --for 5m --pid 4242\n  \
                            ttlog ctl level info --dir /var/log/app"
    )]
    Level {
        /// Directives as in RUST_LOG
        directives: String,
        /// Falls back after this long: 30s, 5m, 2h [default: stands until it is changed]
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        ttl: Option<Duration>,
    },
    /// Waits until everything that was accepted is in segments
    #[command(after_help = "Examples:\n  ttlog ctl flush --timeout 30s --pid 4242")]
    Flush {
        /// How long
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
        timeout: Duration,
    },
    /// Begins a new segment
    #[command(after_help = "Examples:\n  ttlog ctl rotate --pid 4242")]
    Rotate,
    /// Has the flight recorder dumped beside the log; `ttlog dump` needs no answer of the process
    #[command(after_help = "Examples:\n  ttlog ctl dump --pid 4242 --dir /var/log/app")]
    Dump,
    /// Shows counters, troubles and the filter
    #[command(after_help = "Examples:\n  ttlog ctl stats\n  ttlog ctl stats --dir /var/log/app")]
    Stats,
}

/// Asks each logger that is meant; exit status 1 when one refuses or does not answer.
pub(crate) fn run(args: &CtlArgs) -> Result<u8, Failure> {
    let (request, wait) = request(&args.verb)?;
    let dir = paths::dir(args.dir.as_deref())?;
    let meant = meant(&dir, args.pid)?;
    let mut out = Output::new();
    let mut code = 0;
    for found in &meant {
        let pid = found.owner.pid;
        let path = control::path(&dir, found.owner.logger);
        match control::ask(&path, &request, wait + ANSWER_WAIT) {
            Ok(Answer::Ok(text)) => {
                if meant.len() > 1 {
                    writeln!(out.buffer, "logger={:016x}", found.owner.logger)?;
                }
                text.lines()
                    .filter(|line| !line.is_empty())
                    .try_for_each(|line| writeln!(out.buffer, "{}", printable(line)))?;
            }
            Ok(Answer::Error(why)) => {
                output::note(&format!("process {pid}: {}", printable(&why)));
                code = EXIT_ERROR;
            }
            Err(error) => {
                let path = ps::shown(&path);
                output::note(&format!("process {pid} does not answer at {path}: {error}"));
                code = EXIT_ERROR;
            }
        }
    }
    out.flush()?;
    Ok(code)
}

/// Reads a time as people write it, of a millisecond at least.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.filter(|time| time.as_millis() > 0)
        .ok_or_else(|| "use a time from 1 ms up: 30s, 5m, 2h".into())
}

/// The request's line, and how long its work may take.
fn request(verb: &CtlVerb) -> Result<(String, Duration), Failure> {
    Ok(match verb {
        CtlVerb::Level { directives, ttl } => {
            // Said here, where the reader of the message is.
            Filter::parse(directives).map_err(|error| Failure::Usage(error.to_string()))?;
            let ttl = ttl.unwrap_or_default();
            (format!("level {} {directives}", ttl.as_millis()), Duration::ZERO)
        }
        CtlVerb::Flush { timeout } => (format!("flush {}", timeout.as_millis()), *timeout),
        CtlVerb::Rotate => ("rotate".into(), Duration::ZERO),
        CtlVerb::Dump => ("dump".into(), Duration::from_secs(10)),
        CtlVerb::Stats => ("stats".into(), Duration::ZERO),
    })
}

/// The living loggers of the process, or of the only one that there is.
fn meant(dir: &Path, pid: Option<u32>) -> Result<Vec<Found>, Failure> {
    let mut living = ps::living(dir)?;
    let shown = ps::shown(dir);
    if let Some(pid) = pid {
        living.retain(|found| found.owner.pid == pid);
        if living.is_empty() {
            return Err(Failure::Other(format!(
                "process {pid} does not log into {shown}; `ttlog ps {shown}` lists who does"
            )));
        }
        return Ok(living);
    }
    let mut pids: Vec<u32> = living.iter().map(|found| found.owner.pid).collect();
    pids.dedup();
    match pids.as_slice() {
        [_] => Ok(living),
        [] => Err(Failure::Other(ps::nobody(dir))),
        _ => Err(Failure::Usage(format!(
            "several processes log into {shown}: {pids:?}; choose one with --pid"
        ))),
    }
}
