//! `ttlog completions` and `ttlog man`: what shells and manuals are told of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::Failure;
use crate::args::Cli;
use crate::output::{Output, note};
use crate::ps::shown;

const NAME: &str = "ttlog";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ttlog completions bash > ~/.local/share/bash-completion/completions/ttlog\n  \
                  ttlog completions fish > ~/.config/fish/completions/ttlog.fish\n  \
                  ttlog completions zsh > ~/.zfunc/_ttlog"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ttlog man | man -l -\n  ttlog man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where pages are written, one for each command; standard output has the first one alone
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut out = Output::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut out.buffer);
    out.flush()?;
    Ok(0)
}

/// Writes the manual.
pub(crate) fn man(args: &ManArgs) -> Result<u8, Failure> {
    let Some(dir) = &args.dir else {
        let mut out = Output::new();
        clap_mangen::Man::new(Cli::command()).render(&mut out.buffer)?;
        out.flush()?;
        return Ok(0);
    };
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| {
        let path = shown(dir);
        Failure::Other(format!(
            "cannot write pages into {path}: {error}; name a directory that you may write to"
        ))
    })?;
    note(&format!("pages of {NAME} and its commands are in {}", shown(dir)));
    Ok(0)
}
