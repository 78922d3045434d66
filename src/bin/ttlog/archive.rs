//! `ttlog archive`: copies segments or trees, and shows how far it is.

use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ttlog::archive::{self, Counters, Options, Sums};
use ttlog::render::escape::printable;

use crate::args::ArchiveArgs;
use crate::{EXIT_ERROR, Failure, output};

/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Copies, tells what could not be copied as it comes, and sums up on standard error.
pub(crate) fn run(args: &ArchiveArgs) -> Result<u8, Failure> {
    let in_flight = usize::from(args.in_flight);
    let options = Options { all: args.all, in_flight, io: args.io, compress: args.compress };
    let counters = Counters::default();
    let bar = bar();
    let result = std::thread::scope(|scope| {
        let (tell, told) = channel();
        let counters = &counters;
        let copying = scope.spawn(move || {
            let tell = |line| {
                // Whoever listens does so until this thread has ended.
                let _ = tell.send(line);
            };
            archive::run(&args.source, &args.target, &options, counters, &tell)
        });
        loop {
            match told.recv_timeout(DRAW_EVERY) {
                Ok(line) => bar.suspend(|| output::note(&printable(&line))),
                Err(RecvTimeoutError::Timeout) => bar.set_message(line(&counters.sums())),
                Err(RecvTimeoutError::Disconnected) => break copying.join(),
            }
        }
    });
    bar.finish_and_clear();
    let sums = match result {
        Ok(Ok(sums)) => sums,
        Ok(Err(error)) => return Err(Failure::Other(printable(&error.to_string()).to_string())),
        Err(_) => return Err(Failure::Other("the copy panicked".into())),
    };
    output::note(&line(&sums));
    Ok(if sums.errors > 0 { EXIT_ERROR } else { 0 })
}

fn line(sums: &Sums) -> String {
    let Sums { files, bytes, skipped, links, directories, errors, compressed, saved } = *sums;
    let mut line = format!("{files} files copied, {}", BinaryBytes(bytes));
    if compressed > 0 {
        line += &format!(", {compressed} compressed, {} less", BinaryBytes(saved));
    }
    for (n, what) in [
        (skipped, "there already"),
        (links, "links"),
        (directories, "directories"),
        (errors, "errors"),
    ] {
        if n > 0 {
            line += &format!(", {n} {what}");
        }
    }
    line
}

fn bar() -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
