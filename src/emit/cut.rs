//! Cut: makes encoded values shorter, so that they fit a record.

use super::raw::cut_chain;
use crate::record::Kind;

/// Values of these kinds, one behind another, each by itself.
pub(super) fn split(
    kinds: impl Iterator<Item = u8>,
    mut bytes: &[u8],
) -> impl Iterator<Item = (u8, &[u8])> {
    kinds.map_while(move |kind| {
        let len = match Kind::from_u8(kind)?.fixed_len() {
            Some(len) => len,
            None => 4 + u32::from_le_bytes(*bytes.first_chunk()?) as usize,
        };
        let (value, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((kind, value))
    })
}

/// Appends values with the longest cut so that they take at most `limit` bytes; of these kinds, or
/// each behind its own.
#[cold]
pub(super) fn put(
    kinds: Option<impl Iterator<Item = u8>>,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) {
    let head = usize::from(kinds.is_none());
    let mut parts: Vec<(u8, Vec<u8>)> = match kinds {
        Some(kinds) => split(kinds, bytes).map(|(kind, value)| (kind, value.to_vec())).collect(),
        None => split_telling(bytes),
    };
    loop {
        let len: usize = parts.iter().map(|(_, bytes)| head + bytes.len()).sum();
        let Some(excess) = len.checked_sub(limit).filter(|excess| *excess > 0) else { break };
        let texts = parts.iter_mut().filter(|(kind, bytes)| is_text(*kind) && bytes.len() > 4);
        match texts.max_by_key(|(_, bytes)| bytes.len()) {
            Some((kind, bytes)) => shorten(*kind, bytes, excess),
            // More numbers than a record holds: the last ones go.
            None => drop(parts.pop()),
        }
    }
    for (kind, value) in parts {
        out.extend_from_slice(&[kind][..head]);
        out.extend_from_slice(&value);
    }
}

fn split_telling(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut parts = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        let Some((_, value)) = split(std::iter::once(kind), rest).next() else { break };
        parts.push((kind, value.to_vec()));
        bytes = &rest[value.len()..];
    }
    parts
}

fn is_text(kind: u8) -> bool {
    Kind::from_u8(kind).is_some_and(|kind| kind.fixed_len().is_none())
}

/// Takes `excess` bytes off a value with its length before it, or what it has.
fn shorten(kind: u8, value: &mut Vec<u8>, excess: usize) {
    let wanted = (value.len() - 4).saturating_sub(excess);
    let mut out = vec![0; 4];
    if kind == Kind::Nested as u8 {
        // A part of it would be no JSON.
    } else if kind == Kind::Error as u8 {
        let (whole, part) = cut_chain(&value[4..], wanted);
        out.extend_from_slice(whole);
        if !part.is_empty() {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(part);
        }
    } else {
        let mut len = wanted;
        while kind != Kind::Bytes as u8 && len > 0 && value[4 + len] & 0xc0 == 0x80 {
            len -= 1;
        }
        out.extend_from_slice(&value[4..4 + len]);
    }
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    *value = out;
}
