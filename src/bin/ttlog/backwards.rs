//! Backwards: lines that come newest first, given back oldest first.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::temp;

const MEMORY_BYTES_MAX: usize = 8 << 20;

/// Lines in memory, and past some megabytes in a file.
#[derive(Debug, Default)]
pub(crate) struct Backwards {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    file: Option<File>,
    /// Lengths of the pieces in the file, each with its lines oldest first.
    pieces: Vec<u64>,
}

impl Backwards {
    /// Adds a line, older than those before.
    pub(crate) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
        if self.bytes.len() < MEMORY_BYTES_MAX {
            return Ok(());
        }
        let piece = self.turned();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(temp::file()?),
        };
        file.write_all(&piece)?;
        self.pieces.push(piece.len() as u64);
        Ok(())
    }

    /// Gives all lines, oldest first.
    pub(crate) fn write_to(
        mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        write(&self.turned())?;
        let Some(mut file) = self.file else { return Ok(()) };
        let mut end = self.pieces.iter().sum::<u64>();
        let mut piece = Vec::new();
        for len in self.pieces.iter().rev() {
            end -= len;
            file.seek(SeekFrom::Start(end))?;
            piece.clear();
            Read::by_ref(&mut file).take(*len).read_to_end(&mut piece)?;
            write(&piece)?;
        }
        Ok(())
    }

    /// Takes the lines in memory, oldest first.
    fn turned(&mut self) -> Vec<u8> {
        let mut turned = Vec::with_capacity(self.bytes.len());
        let mut ends = self.ends.iter().rev().copied().peekable();
        while let Some(end) = ends.next() {
            turned.extend_from_slice(&self.bytes[ends.peek().copied().unwrap_or(0)..end]);
        }
        self.bytes.clear();
        self.ends.clear();
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_oldest_first_beyond_memory() {
        let mut lines = Backwards::default();
        let line = |n: usize| format!("{n:0>999}\n");
        for n in (0..20_000).rev() {
            lines.push(line(n).as_bytes()).unwrap();
        }
        assert!(lines.pieces.len() > 1);
        let mut all = Vec::new();
        lines
            .write_to(|bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        let expected: String = (0..20_000).map(line).collect();
        assert!(all == expected.as_bytes());
    }
}
