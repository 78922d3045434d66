//! Scan: finds the next whole block behind bytes that are none, trusting no length.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;

use super::block::{self, HEADER_BYTES, MAGIC, Salt};
use super::reader::{UNFINISHED_BYTES_MAX, read_at};

const CHUNK_BYTES: usize = 256 << 10;

/// What lies behind a place where no block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Zeros up to the end of the file.
    Zeros,
    /// No whole block, but bytes that are not zero; only zeros behind `data_end`.
    Nothing { data_end: u64 },
    /// A block at `at`; `zeros` says whether nothing but zeros lies before it.
    Block { at: u64, zeros: bool },
}

/// Looks for the next block from `offset` on, at multiples of `align`, in a file of `len` bytes.
pub(super) fn scan(file: &File, offset: u64, len: u64, align: u64, salt: Salt) -> io::Result<Next> {
    let mut chunk = vec![0; chunk_len(offset, len)];
    let mut at = offset;
    let mut data_end = offset;
    while at < len {
        let data = skip_hole(file, at, len);
        if data > at {
            at = data - data % align;
        }
        if at >= len {
            break;
        }
        // A header may lie across the chunk's end, so chunks overlap by one.
        let read = read_at(file, &mut chunk, at)?;
        if read == 0 {
            break;
        }
        if let Some(last) = last_nonzero(&chunk[..read]) {
            for start in (0..read).step_by(align as usize) {
                let Some(bytes) = chunk[start..read].first_chunk::<HEADER_BYTES>() else { break };
                let place = at + start as u64;
                if bytes.starts_with(&MAGIC) && block::parse_header(bytes, salt, place).is_some() {
                    let zeros = data_end == offset && chunk[..start].iter().all(|&b| b == 0);
                    return Ok(Next::Block { at: place, zeros });
                }
            }
            data_end = data_end.max(at + last as u64 + 1);
        }
        at += CHUNK_BYTES as u64 - align.min(CHUNK_BYTES as u64 / 2);
    }
    if data_end == offset {
        return Ok(Next::Zeros);
    }
    Ok(Next::Nothing { data_end: data_end.next_multiple_of(align).min(len) })
}

/// True when `offset` lies where a living writer may still be writing: in the last megabytes of
/// what is written of a segment that is not sealed.
pub(super) fn tail_of(file: &File, offset: u64, sealed: bool) -> io::Result<bool> {
    if sealed {
        return Ok(false);
    }
    let len = file.metadata()?.len();
    let limit = offset.saturating_add(UNFINISHED_BYTES_MAX);
    let mut chunk = vec![0; chunk_len(limit, len)];
    let mut at = limit;
    // Zeros behind are what was reserved.
    while at < len {
        at = skip_hole(file, at, len);
        let read = read_at(file, &mut chunk, at)?;
        if read == 0 {
            break;
        }
        if last_nonzero(&chunk[..read]).is_some() {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

/// Bytes to read at a time: no more than there are.
fn chunk_len(at: u64, len: u64) -> usize {
    len.saturating_sub(at).min(CHUNK_BYTES as u64) as usize
}

/// Where data begins at or behind `at`, so that a hole costs nothing; `at` where nobody knows.
fn skip_hole(file: &File, at: u64, len: u64) -> u64 {
    match rustix::fs::seek(file.as_fd(), SeekFrom::Data(at)) {
        Ok(data) => data.max(at),
        Err(rustix::io::Errno::NXIO) => len,
        Err(_) => at,
    }
}

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    // Whole words first: most of what is looked at is zero.
    let (words, rest) = bytes.as_chunks::<64>();
    let in_rest = rest.iter().rposition(|&byte| byte != 0).map(|at| words.len() * 64 + at);
    in_rest.or_else(|| {
        let word = words.iter().rposition(|word| *word != [0; 64])?;
        words[word].iter().rposition(|&byte| byte != 0).map(|at| word * 64 + at)
    })
}
