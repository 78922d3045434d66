//! Args: the command line as it is typed.

use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ttlog::archive::{IN_FLIGHT_MAX, LEVELS};
use ttlog::io::IoChoice;
use ttlog::record::Level;
use ttlog::render::Format;
use ttlog::store::keep::{parse_age, parse_size};

use crate::trace::TraceId;

/// Reads back what programs logged with ttlog, also those that were killed.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) cat: CatArgs,
}

/// The level of zstd without one.
const ZSTD_LEVEL: i32 = 3;

const EXAMPLES: &str = "\
Examples:
  ttlog logs                      everything in ./logs, oldest first
  ttlog -n 50 logs                last 50, also of a process that was killed
  ttlog -f -l warn -t 'app::db*'  follow warnings and errors of app::db
  ttlog -S -15m -g timeout        what timed out in the last quarter of an hour
  ttlog --tree logs               events below their spans
  ttlog --trace 4bf92f3577 logs   events of a trace, whichever process it was
  ttlog -S '2026-11-21 10:00' -U '15 min ago' -o json logs
  ttlog verify logs && echo clean
  ttlog recover logs              write down what killed processes left
  other-program | ttlog record logs

Exit status: 0 ok, 1 error or damage, 2 usage, 3 nothing matched (--exit-status), 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Shows events (the default)
    #[command(after_help = EXAMPLES)]
    Cat(CatArgs),
    /// Tells what a segment or a directory holds: writer, blocks, times, callsites, losses
    #[command(after_help = "Examples:\n  ttlog info logs\n  ttlog info logs/*.ttlog")]
    Info(PathArgs),
    /// Reads everything and tells damage, a line each; exit status 1 when there is any
    #[command(after_help = "Examples:\n  ttlog verify logs && echo clean")]
    Verify(PathArgs),
    /// Tells how many spans there were of each name, and how long threads were in them
    #[command(after_help = "Examples:\n  ttlog spans logs\n  ttlog spans -S -15m -o json logs")]
    Spans(SpansArgs),
    /// Tells when events were lost, for how long, how many and why; exit status 1 when any were
    #[command(
        after_help = "Examples:\n  ttlog gaps logs && echo complete\n  ttlog gaps -S -1h -o json"
    )]
    Gaps(GapsArgs),
    /// Looks at spill files, or takes up those of processes that are gone
    #[command(
        after_help = "Examples:\n  ttlog spill ls logs\n  ttlog spill cat -l warn logs\n  ttlog spill replay logs"
    )]
    Spill(SpillArgs),
    /// Takes up what processes left that were killed: lanes, spill files, unfinished segments
    Recover(crate::recover::RecoverArgs),
    /// Stores the lines of any program from standard input
    #[command(after_help = RECORD_HELP)]
    Record(RecordArgs),
    /// Tells what ttlog would use here and why; exit status 1 when something does not work
    #[command(
        after_help = "Examples:\n  ttlog doctor\n  ttlog doctor /var/log/app\n  ttlog doctor -o json logs"
    )]
    Doctor(DoctorArgs),
    /// Tells whether a filter logs an event, and why
    Filter(crate::filter::FilterArgs),
    /// Lists the loggers of a directory that live
    Ps(crate::ps::PsArgs),
    /// Asks living loggers: another filter, a flush, a new segment, a dump, counters
    Ctl(crate::ctl::CtlArgs),
    /// Writes down what flight recorders keep, also those of processes that hang or were killed
    Dump(crate::dump::DumpArgs),
    /// Copies sealed segments, or with --all a whole tree, checked and safe to interrupt
    #[command(after_help = ARCHIVE_HELP)]
    Archive(ArchiveArgs),
    /// Tells what logs take of the disk, by program
    #[command(after_help = "Examples:\n  ttlog du\n  ttlog du /var/log/app -o json")]
    Du(DuArgs),
    /// Removes old segments; without --apply it only says which
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneArgs),
    /// Writes what a shell needs to complete this command's words
    Completions(crate::shell::CompletionsArgs),
    /// Writes the manual page, or with a directory a page for each command
    Man(crate::shell::ManArgs),
}

const ARCHIVE_HELP: &str = "\
What stands under its name in DST is complete, synced, and has the mode and times of its source \
(as root also its owner); the checksums of segments are compared. A run that was interrupted is \
begun again by the same command, which copies what is missing or was changed. Segments that are \
being written are left out; with --all, owner files are, which say whose lanes are whose.

Examples:
  ttlog archive logs /mnt/backup/logs
  ttlog archive --compress zstd:9 logs /mnt/backup/logs
  ttlog archive --all --in-flight 1024 /srv /mnt/backup/srv";

const PRUNE_HELP: &str = "\
The oldest go first, until every limit holds. What is being written, or was left by a process \
that died and is not taken up yet, stays; so do spill files and files that are not ttlog's.

Examples:
  ttlog prune --max-size 2G --max-age 7d logs            says what would go
  ttlog prune --max-files 100 --app orders --apply logs  removes it";

const RECORD_HELP: &str = "\
JSON objects and logfmt keep their fields; time (time, timestamp, ts), level (level, severity) \
and message (message, msg) are understood. Any other line is a message.

Examples:
  journalctl -o cat -f | ttlog record logs
  kubectl logs pod | ttlog record logs";

#[derive(Debug, Clone, Args)]
pub(crate) struct PathArgs {
    /// Directories, segments, spill files; `-` is standard input
    /// [default: $TTLOG_DIR, else ./logs, else . if it holds logs]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// Log directories [default: $TTLOG_DIR, else ./logs, else . if it holds logs]
    #[arg(value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SpillArgs {
    #[command(subcommand)]
    pub(crate) verb: SpillVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpillVerb {
    /// A line for each spill file: bytes, events, times, levels, process
    #[command(after_help = "Examples:\n  ttlog spill ls logs")]
    Ls(PathArgs),
    /// Shows the events in spill files alone, as `ttlog cat` does
    #[command(after_help = "Examples:\n  ttlog spill cat -l warn logs")]
    Cat(CatArgs),
    /// Tells damage in spill files, a line each; exit status 1 when there is any
    #[command(after_help = "Examples:\n  ttlog spill verify logs && echo clean")]
    Verify(PathArgs),
    /// Makes the spill files of processes that are gone part of their log, as the next start in the
    /// directory would; exit status 1 when some stay
    #[command(after_help = "Examples:\n  ttlog spill replay logs")]
    Replay(DirArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GapsArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// From this time on, as for `cat`
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Up to this time, not included
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
    /// How it is told: a table, or one JSON object for each gap and cause
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    pub(crate) output: Report,
    /// Shows and reads times in UTC rather than in the local zone
    #[arg(long)]
    pub(crate) utc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// The directory to copy
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// Where to; made if need be
    #[arg(value_name = "DST")]
    pub(crate) target: PathBuf,
    /// Everything below SRC: all files, directories, symbolic and hard links
    #[arg(long)]
    pub(crate) all: bool,
    /// Files that are copied at a time, up to 4096
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = in_flight())]
    pub(crate) in_flight: u16,
    /// How files are read and written: auto, uring, portable
    #[arg(long, value_name = "WAY", default_value = "auto")]
    pub(crate) io: IoChoice,
    /// Packs sealed segments on their way, with a level of zstd from 1 to 22
    #[arg(long, value_name = "zstd[:N]", value_parser = parse_compress)]
    pub(crate) compress: Option<i32>,
}

/// Reads `zstd` or `zstd:N`.
fn parse_compress(text: &str) -> Result<i32, String> {
    let level = match text.strip_prefix("zstd") {
        Some("") => Some(ZSTD_LEVEL),
        Some(rest) => rest.strip_prefix(':').and_then(|level| level.parse().ok()),
        None => None,
    };
    let (first, last) = LEVELS.into_inner();
    level
        .filter(|level| LEVELS.contains(level))
        .ok_or_else(|| format!("write zstd, or zstd:N with a level from {first} to {last}"))
}

fn in_flight() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=IN_FLIGHT_MAX as i64)
}

#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    #[command(flatten)]
    pub(crate) dirs: DirArgs,
    /// How it is told: lines, or one JSON object each
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    pub(crate) output: Report,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) dirs: DirArgs,
    /// Segments and spill files of a directory take at most this: 500M, 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,
    /// No segment whose newest event is older: 12h, 7d, 2w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) max_age: Option<Duration>,
    /// At most so many segments in a directory
    #[arg(long, value_name = "N")]
    pub(crate) max_files: Option<u64>,
    /// At least this is free in the file system
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) min_free: Option<u64>,
    /// Only segments of this program
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Removes them rather than only saying which
    #[arg(long)]
    pub(crate) apply: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The directory to log into
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SpansArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// From this time on, as for `cat`
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Up to this time, not included
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
    /// A target and those below it, or a glob; may be repeated
    #[arg(short, long, value_name = "GLOB")]
    pub(crate) target: Vec<String>,
    /// How it is told: a table, or one JSON object a name
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    pub(crate) output: Report,
    /// Reads times in UTC rather than in the local zone
    #[arg(long)]
    pub(crate) utc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The directory to log into [default: $TTLOG_DIR, else none is looked at]
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How it is told: lines, or one JSON object each
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "MODE")]
    pub(crate) output: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    Text,
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Shows the last N events, the first N with `+N` [default with -f: 10]
    #[arg(short = 'n', long = "lines", value_name = "N", allow_hyphen_values = true)]
    pub(crate) lines: Option<Lines>,
    /// Newest first
    #[arg(short, long, conflicts_with = "follow")]
    pub(crate) reverse: bool,
    /// Goes on with what is logged from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// From this time on: RFC 3339, `2026-11-21 10:00`, `today`, `-15m`, `15 min ago`, `@unix`
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Up to this time, not included
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
    /// This level and above: `warn`, `debug..warn`, or `=info` for one alone
    #[arg(short, long, visible_short_alias = 'p', value_name = "LEVEL")]
    pub(crate) level: Option<Levels>,
    /// A target and those below it, or a glob: 'app::db*'; may be repeated
    #[arg(short, long, value_name = "GLOB")]
    pub(crate) target: Vec<String>,
    /// Events whose message, fields or spans match; any case unless RE has a capital
    #[arg(short, long, value_name = "RE")]
    pub(crate) grep: Option<String>,
    /// Any case, whatever RE holds
    #[arg(short, long, requires = "grep")]
    pub(crate) ignore_case: bool,
    /// Events that do not match RE
    #[arg(short = 'v', long, requires = "grep")]
    pub(crate) invert_match: bool,
    /// Events of one trace: the 32 hexadecimal digits of its id, the first of them, or a traceparent
    #[arg(long, value_name = "ID")]
    pub(crate) trace: Option<TraceId>,
    /// Below the spans that they were logged in, each outermost span by itself when it has closed
    #[arg(long, conflicts_with_all = ["follow", "lines", "reverse"])]
    pub(crate) tree: bool,
    /// How events are shown
    #[arg(short, long, value_enum, default_value_t = Mode::Short, value_name = "MODE")]
    pub(crate) output: Mode,
    /// Colours [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// Shows and reads times in UTC rather than in the local zone
    #[arg(long)]
    pub(crate) utc: bool,
    /// Exit status 3 when nothing matched
    #[arg(long)]
    pub(crate) exit_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Short,
    ShortIso,
    Verbose,
    Json,
    Logfmt,
}

impl Mode {
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Short => Format::Short,
            Self::ShortIso => Format::ShortIso,
            Self::Verbose => Format::Verbose,
            Self::Json => Format::Json,
            Self::Logfmt => Format::Logfmt,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// How many lines, from which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    First(u64),
    Last(u64),
}

impl std::str::FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain =
            |_: ParseIntError| "use a number such as 50, or +50 for the first 50".to_owned();
        // More than there can be is all there is.
        let number = |text: &str| match text.parse::<u64>() {
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(u64::MAX),
            parsed => parsed.map_err(explain),
        };
        match text.strip_prefix('+') {
            Some(first) => number(first).map(Self::First),
            None => number(text).map(Self::Last),
        }
    }
}

/// The levels from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels(pub(crate) Level, pub(crate) Level);

impl std::str::FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
            "warning" => Ok(Level::Warn),
            "err" => Ok(Level::Error),
            other => other.parse::<Level>().map_err(|error| {
                format!("{error}; examples: warn (and above), debug..warn, =info")
            }),
        };
        if let Some(one) = text.strip_prefix('=') {
            return Ok(Self(level(one)?, level(one)?));
        }
        let Some((from, to)) = text.split_once("..") else {
            return Ok(Self(level(text)?, Level::Error));
        };
        let from = if from.is_empty() { Level::Trace } else { level(from)? };
        let to = if to.is_empty() { Level::Error } else { level(to)? };
        Ok(if from <= to { Self(from, to) } else { Self(to, from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn levels_are_ranges() {
        let levels = |text: &str| text.parse::<Levels>().map(|levels| (levels.0, levels.1));
        assert_eq!(levels("WARN"), Ok((Level::Warn, Level::Error)));
        assert_eq!(levels("debug..warn"), Ok((Level::Debug, Level::Warn)));
        assert_eq!(levels("error..info"), Ok((Level::Info, Level::Error)));
        assert_eq!(levels("=info"), Ok((Level::Info, Level::Info)));
        assert_eq!(levels("..info"), Ok((Level::Trace, Level::Info)));
        assert!(levels("loud").unwrap_err().contains("examples"));
        assert_eq!("+5".parse(), Ok(Lines::First(5)));
        assert_eq!("5".parse(), Ok(Lines::Last(5)));
        assert_eq!("99999999999999999999".parse(), Ok(Lines::Last(u64::MAX)));
        assert!("-5".parse::<Lines>().is_err());
    }
}
