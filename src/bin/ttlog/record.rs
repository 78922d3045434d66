//! `ttlog record`: stores the lines of any program.

use std::io::{self, BufRead};

use crate::args::RecordArgs;
use crate::parse::ParsedLine;
use crate::sink::Sink;
use crate::{Failure, clock};

/// The longest line that is looked at; what stands behind is dropped and the event marked.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Stores the lines of standard input until it ends, in their order.
pub(crate) fn run(args: &RecordArgs) -> Result<u8, Failure> {
    let mut sink = Sink::open(&args.dir)?;
    let mut input = io::stdin().lock();
    let explain = |error| Failure::Other(format!("standard input: {error}"));
    while let Some(line) = next(&mut input).map_err(explain)? {
        let time_ns = line.time_ns.unwrap_or_else(clock::now_ns);
        sink.push(time_ns, line);
    }
    sink.finish()?;
    Ok(0)
}

/// The next line, `None` at the end.
fn next(input: &mut impl BufRead) -> io::Result<Option<ParsedLine>> {
    let mut bytes = Vec::new();
    let mut cut = false;
    loop {
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            if bytes.is_empty() && !cut {
                return Ok(None);
            }
            break;
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let len = end.unwrap_or(piece.len());
        let room = LINE_BYTES_MAX.saturating_sub(bytes.len()).min(len);
        bytes.extend_from_slice(&piece[..room]);
        cut |= room < len;
        input.consume(len + usize::from(end.is_some()));
        if end.is_some() {
            break;
        }
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Some(ParsedLine::parse(&String::from_utf8_lossy(&bytes), cut)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_they_may() {
        let mut input = &b"one\r\n\ntwo\xff\nthree"[..];
        let mut messages = Vec::new();
        while let Some(line) = next(&mut input).unwrap() {
            messages.push(line.message);
        }
        assert_eq!(messages, ["one", "", "two\u{fffd}", "three"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        let mut input = io::BufReader::with_capacity(4096, &long[..]);
        let line = next(&mut input).unwrap().unwrap();
        assert!(line.truncated && line.message.len() <= LINE_BYTES_MAX);
        assert!(next(&mut input).unwrap().is_none());
    }
}
