//! ttlog: reads back what the library logged. Parses and prints only; reading is `ttlog::view`.

mod archive;
mod args;
mod backwards;
mod cat;
mod clock;
mod ctl;
mod doctor;
mod du;
mod dump;
mod filter;
mod follow;
mod gaps;
mod grep;
mod info;
mod output;
mod parse;
mod paths;
mod prune;
mod ps;
mod record;
mod recover;
mod salvage;
mod shell;
mod sink;
mod spans;
mod spill;
mod temp;
mod trace;
mod tree;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use args::{Cli, Verb};

/// Something went wrong, or damage was found.
const EXIT_ERROR: u8 = 1;
/// The command line is wrong.
const EXIT_USAGE: u8 = 2;
/// With `--exit-status`: nothing matched.
const EXIT_NONE: u8 = 3;
const EXIT_INTERRUPTED: i32 = 130;

/// Why a command ended without doing all that it was asked.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Anything else.
    Other(String),
    /// Nobody reads the output any more.
    Closed,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(format!("cannot write the output: {error}")),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let always = Arc::new(AtomicBool::new(true));
    // Without the handler an interrupt still ends the command, only with another code.
    let _ = signal_hook::flag::register_conditional_shutdown(
        signal_hook::consts::SIGINT,
        EXIT_INTERRUPTED,
        always,
    );
    let result = match cli.verb {
        None => cat::run(&cli.cat),
        Some(Verb::Cat(args)) => cat::run(&args),
        Some(Verb::Info(args)) => info::run(&args),
        Some(Verb::Verify(args)) => verify::run(&args),
        Some(Verb::Spans(args)) => spans::run(&args),
        Some(Verb::Gaps(args)) => gaps::run(&args),
        Some(Verb::Spill(args)) => spill::run(&args.verb),
        Some(Verb::Record(args)) => record::run(&args),
        Some(Verb::Recover(args)) => recover::run(&args),
        Some(Verb::Doctor(args)) => doctor::run(&args),
        Some(Verb::Filter(args)) => filter::run(&args),
        Some(Verb::Ps(args)) => ps::run(&args),
        Some(Verb::Ctl(args)) => ctl::run(&args),
        Some(Verb::Dump(args)) => dump::run(&args),
        Some(Verb::Archive(args)) => archive::run(&args),
        Some(Verb::Du(args)) => du::run(&args),
        Some(Verb::Prune(args)) => prune::run(&args),
        Some(Verb::Completions(args)) => shell::completions(&args),
        Some(Verb::Man(args)) => shell::man(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            output::note(&message);
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Other(message)) => {
            output::note(&message);
            ExitCode::from(EXIT_ERROR)
        }
    }
}
