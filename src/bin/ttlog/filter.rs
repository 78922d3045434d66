//! `ttlog filter`: what a filter makes of an event.

use std::io::Write as _;

use clap::{Args, Subcommand};
use ttlog::Filter;
use ttlog::record::Level;
use ttlog::render::escape::printable;

use crate::output::Output;
use crate::{EXIT_NONE, Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ttlog filter explain 'info,app::db=debug' app::db::pool debug"
)]
pub(crate) struct FilterArgs {
    #[command(subcommand)]
    verb: FilterVerb,
}

#[derive(Debug, Subcommand)]
enum FilterVerb {
    /// Tells whether an event is logged, and which directive says so
    #[command(
        after_help = "Examples:\n  ttlog filter explain 'info,app::db=debug' app::db::pool debug\n  \
                      ttlog filter explain '[{user}]=trace' app info --field user\n  \
                      ttlog filter explain 'info,app[request{id=7}]=trace' app::db debug \\\n      \
                      --span 'app[request{id=7}]'"
    )]
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// Directives as in RUST_LOG
    directives: String,
    /// The event's target: the module path when none was given
    target: String,
    /// The event's level
    level: Level,
    /// A field that the event has; may be repeated
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,
    /// A span that it is in: NAME, NAME{field=value,…} or TARGET[NAME{field=value,…}], else with the
    /// event's target; may be repeated
    #[arg(long, value_name = "SPAN")]
    span: Vec<String>,
    /// Exit status 3 when it is not logged
    #[arg(long)]
    exit_status: bool,
}

/// Explains what the command line asks for.
pub(crate) fn run(args: &FilterArgs) -> Result<u8, Failure> {
    let FilterVerb::Explain(args) = &args.verb;
    let filter =
        Filter::parse(&args.directives).map_err(|error| Failure::Usage(error.to_string()))?;
    let fields: Vec<&str> = args.field.iter().map(String::as_str).collect();
    let spans: Vec<&str> = args.span.iter().map(String::as_str).collect();
    let why = filter
        .explain_in(&args.target, args.level, &fields, &spans)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let mut out = Output::new();
    writeln!(out.buffer, "{}", printable(&why.to_string()))?;
    for directive in why.overruled() {
        writeln!(out.buffer, "  overruled: `{}`", printable(directive))?;
    }
    for near in why.near() {
        writeln!(out.buffer, "  not meant: {}", printable(near))?;
    }
    out.flush()?;
    Ok(if args.exit_status && !why.is_logged() { EXIT_NONE } else { 0 })
}
