//! Verify: compares the checksums of a segment's copy before it gets its name.

use std::io;
use std::path::Path;

use crate::io::IoFd;
use crate::store::name;
use crate::store::segment::{Entry as Found, SegmentReader};

/// True when the file's name is a segment's.
pub(super) fn is_segment(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name::parse(name).is_some())
}

/// Compares a segment's checksums. Returns what is to be told of one that is damaged at its source,
/// once it was copied as it is.
pub(super) fn verify(path: &Path, source: IoFd, copy: IoFd) -> io::Result<Option<String>> {
    if !is_segment(path) {
        return Ok(None);
    }
    let Some(damage) = damage_of(copy)? else { return Ok(None) };
    if damage_of(source)?.is_none() {
        return Err(io::Error::other(format!("the copy is not what was read: {damage}")));
    }
    Ok(Some(format!("damaged, and copied as it is: {damage}")))
}

/// The first damage of a segment, with its place.
fn damage_of(file: IoFd) -> io::Result<Option<String>> {
    let Ok(file) = file.try_into_owned() else { return Err(io::Error::other("still in use")) };
    let mut reader = match SegmentReader::from_file(file.into()) {
        Ok(reader) => reader,
        Err(crate::store::Error::Io(error)) => return Err(error),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut payload = Vec::new();
    while let Some(found) = reader.next_entry()? {
        let damage = match found {
            Found::Block(block) => reader.read_block(&block, &mut payload).err(),
            Found::Damage(damage) => Some(damage),
            Found::Unfinished { .. } => None,
        };
        // At the end of a segment that is written to, a block may not be whole yet.
        if let Some(damage) = damage.filter(|damage| reader.is_sealed() || !damage.tail) {
            return Ok(Some(damage.to_string()));
        }
    }
    Ok(None)
}
