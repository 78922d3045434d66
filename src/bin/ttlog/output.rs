//! Output: lines to standard output in large pieces, notes to standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::args::Colour;
use crate::paths;

const PIECE_BYTES: usize = 64 << 10;
/// A line does not wait longer than this for others.
const DELAY: Duration = Duration::from_millis(20);

/// Standard output, written in large pieces.
#[derive(Debug)]
pub(crate) struct Output {
    /// Whole lines that were not written yet.
    pub(crate) buffer: Vec<u8>,
    written: Instant,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(2 * PIECE_BYTES), written: Instant::now() }
    }

    /// Writes what has gathered when it is much, or old.
    pub(crate) fn pass(&mut self) -> io::Result<()> {
        if self.buffer.len() >= PIECE_BYTES || self.written.elapsed() >= DELAY {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.written = Instant::now();
        if !self.buffer.is_empty() {
            // Past the line buffer of `io::Stdout`, which would cut the pieces at line ends.
            let mut out = io::stdout().lock();
            let written = out.write_all(&self.buffer).and_then(|()| out.flush());
            self.buffer.clear();
            written?;
        }
        Ok(())
    }
}

/// Says something on standard error.
pub(crate) fn note(message: &str) {
    // When nobody listens there either, nothing can be done.
    let _ = writeln!(io::stderr().lock(), "ttlog: {}", paths::named(message));
}

/// True when output is to be coloured: flag, then `NO_COLOR`, `CLICOLOR_FORCE`, the terminal.
pub(crate) fn is_coloured(flag: Colour) -> bool {
    match flag {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => ttlog::render::is_coloured(io::stdout().is_terminal()),
    }
}
