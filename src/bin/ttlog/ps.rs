//! `ttlog ps`: the loggers of a directory that live.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use ttlog::control::{self, Answer};
use ttlog::lane::outside::{self, Found};
use ttlog::render::Calendar;
use ttlog::render::escape::printable;
use ttlog::view;

use crate::args::Report;
use crate::output::{self, Output};
use crate::{EXIT_NONE, Failure, clock, paths};

/// How long a logger may take to say how it is.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ttlog ps logs\n  ttlog ps -o json /var/log/app")]
pub(crate) struct PsArgs {
    /// The log directory [default: $TTLOG_DIR, else ./logs, else . if it holds logs]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How it is told: lines, or one JSON object each
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    output: Report,
    /// Exit status 3 when none lives
    #[arg(long)]
    exit_status: bool,
}

/// Lists them.
pub(crate) fn run(args: &PsArgs) -> Result<u8, Failure> {
    let dir = paths::dir(args.dir.as_deref())?;
    let living = living(&dir)?;
    let mut out = Output::new();
    if args.output == Report::Text && !living.is_empty() {
        let (pid, app, started) = ("PID", "APP", "STARTED");
        writeln!(
            out.buffer,
            "{pid:>8}  {app:20}  {started:19}  {:>12}  {:>8}  FILTER",
            "WRITTEN", "LOST"
        )?;
    }
    for found in &living {
        let stats = Answered::of(&dir, found);
        match args.output {
            Report::Json => writeln!(out.buffer, "{}", stats.json(found))?,
            Report::Text => writeln!(out.buffer, "{}", stats.line(found))?,
        }
    }
    out.flush()?;
    // For people: who asks from a script looks at the output, or at the exit status.
    if living.is_empty() && std::io::stderr().is_terminal() {
        output::note(&nobody(&dir));
    }
    Ok(if args.exit_status && living.is_empty() { EXIT_NONE } else { 0 })
}

/// The loggers of a directory whose owner files are held, oldest first.
pub(crate) fn living(dir: &Path) -> Result<Vec<Found>, Failure> {
    let (mut found, notes) = outside::owners(dir)
        .map_err(|error| Failure::Other(view::Error::io(dir, error).to_string()))?;
    notes.iter().for_each(|note| output::note(&printable(note)));
    found.retain(|found| found.alive);
    found.sort_by_key(|found| found.owner.start_ns);
    Ok(found)
}

/// Says that no logger of a directory lives.
pub(crate) fn nobody(dir: &Path) -> String {
    format!("nobody logs into {} at the moment", shown(dir))
}

pub(crate) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// What a logger says of itself.
struct Answered(Result<Vec<(String, String)>, String>);

impl Answered {
    fn of(dir: &Path, found: &Found) -> Self {
        let path = control::path(dir, found.owner.logger);
        let pairs = |text: &str| {
            let pair = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
            text.lines().filter_map(pair).collect()
        };
        Self(match control::ask(&path, "stats", ANSWER_WAIT) {
            Ok(Answer::Ok(text)) => Ok(pairs(&text)),
            Ok(Answer::Error(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        })
    }

    fn get(&self, key: &str) -> &str {
        let pairs = self.0.as_deref().unwrap_or_default();
        pairs.iter().find(|(k, _)| k == key).map_or("-", |(_, value)| value)
    }

    fn line(&self, found: &Found) -> String {
        let mut started = Vec::new();
        Calendar::new(Some(clock::local_offset)).short(found.owner.start_ns, &mut started);
        started.truncate("2026-11-21 10:00:00".len());
        let started = String::from_utf8_lossy(&started).into_owned();
        let app = printable(format!("{} {}", found.owner.app, found.owner.version).trim());
        let filter = match &self.0 {
            Ok(_) => printable(self.get("filter")),
            Err(why) => format!("(does not answer: {})", printable(why)),
        };
        let (written, lost) = (self.get("written"), self.get("lost"));
        format!("{:>8}  {app:20}  {started}  {written:>12}  {lost:>8}  {filter}", found.owner.pid)
    }

    fn json(&self, found: &Found) -> serde_json::Value {
        let owner = &found.owner;
        let mut object = json!({
            "pid": owner.pid, "app": owner.app, "version": owner.version,
            "logger": format!("{:016x}", owner.logger), "start_ns": owner.start_ns,
        });
        match &self.0 {
            Ok(pairs) => {
                for (key, value) in pairs {
                    // Numbers and truth values stand in the answer as JSON has them.
                    let number = value.parse::<u64>().map(serde_json::Value::from);
                    let flag = value.parse::<bool>().map(serde_json::Value::from);
                    object[key] = number.ok().or(flag.ok()).unwrap_or_else(|| json!(value));
                }
            }
            Err(why) => object["unanswered"] = json!(why),
        }
        object
    }
}
