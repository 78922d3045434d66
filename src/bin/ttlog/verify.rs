//! `ttlog verify`: reads everything and tells damage.

use std::io::{IsTerminal, Write};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ttlog::view::Item;

use crate::args::PathArgs;
use crate::output::Output;
use crate::{EXIT_ERROR, Failure, output, paths};

/// Tells damage, a line each, and a summary on standard error.
pub(crate) fn run(args: &PathArgs) -> Result<u8, Failure> {
    let input = paths::open(&args.paths)?;
    let mut failed = input.failed;
    let mut items = input.source.verify();
    let bar = bar(items.progress().1);
    let mut out = Output::new();
    let mut n_damages = 0u64;
    while let Some(item) = items.next() {
        bar.set_position(items.progress().0);
        match item {
            Ok(Item::Damage(damage)) => {
                n_damages += 1;
                bar.suspend(|| {
                    writeln!(out.buffer, "{}", paths::named(&damage.to_string()))?;
                    out.flush()
                })?;
            }
            Ok(_) => {}
            Err(error) => {
                failed = true;
                bar.suspend(|| output::note(&error.to_string()));
            }
        }
    }
    bar.finish_and_clear();
    for note in items.take_notes() {
        failed = true;
        output::note(&note);
    }
    let size = BinaryBytes(items.progress().1);
    match n_damages {
        0 if failed => {}
        0 => output::note(&format!("no damage in {size}")),
        n => output::note(&format!("{n} damaged places in {size}")),
    }
    Ok(if failed || n_damages > 0 { EXIT_ERROR } else { 0 })
}

fn bar(bytes: u64) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    match ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
