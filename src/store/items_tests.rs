//! Tests of items: what another ring reads back, and what damage and death cost.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::store::segment::SegmentReader;

fn draft(items: &[&str]) -> Draft {
    let mut draft = Draft::new();
    for item in items {
        let encode = |out: &mut Vec<u8>| {
            out.extend(item.as_bytes());
            Ok(())
        };
        draft.push(encode).unwrap();
    }
    draft
}

fn texts(payload: &[u8]) -> Vec<String> {
    let mut rest = payload;
    let mut texts = Vec::new();
    while let Some((item, behind)) = split_item(rest) {
        texts.push(String::from_utf8(item.to_vec()).unwrap());
        rest = behind;
    }
    assert!(rest.is_empty());
    texts
}

/// A file with two blocks, of three and of one item, that its ring left.
fn filled(dir: &Path) -> PathBuf {
    let file = ItemFile::create(dir, 5, 0, "text", 10, 0).unwrap();
    let end = file.append(&mut draft(&["a", "", "ccc"]), 10, FIRST_BLOCK).unwrap();
    file.append(&mut draft(&["d"]), 13, end).unwrap();
    file.path.clone()
}

#[test]
fn items_are_read_back_by_another_ring_of_their_type_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    assert_eq!(find(dir.path()).unwrap(), std::slice::from_ref(&path));
    assert!(ItemFile::take_up(&path, "other").unwrap().is_none());
    let left = ItemFile::take_up(&path, "text").unwrap().unwrap();
    assert!(ItemFile::take_up(&path, "text").unwrap().is_none(), "it is locked");
    assert_eq!((left.taken, left.end_item), (10, 14));
    let mut payload = Vec::new();
    let first = left.file.next_block(FIRST_BLOCK, left.end, &mut payload).unwrap();
    assert_eq!((first.first, first.count, texts(&payload)), (10, 3, ["a", "", "ccc"].map(String::from).to_vec()));
    let second = left.file.next_block(first.next, left.end, &mut payload).unwrap();
    assert_eq!((second.first, second.next, texts(&payload)), (13, left.end, vec!["d".into()]));
    assert!(left.file.next_block(second.next, left.end, &mut payload).is_none());
}

/// A child that another thread is starting has all descriptors until it runs its program.
#[test]
fn a_lock_is_gone_with_the_file_though_a_child_still_has_the_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let made = ItemFile::create(dir.path(), 5, 0, "text", 10, 0).unwrap();
    let path = made.path.clone();
    let of_a_child = made.file.try_clone().unwrap();
    drop(made);
    assert!(ItemFile::take_up(&path, "other").unwrap().is_none());
    let left = ItemFile::take_up(&path, "text").unwrap().unwrap();
    drop(of_a_child);
    assert!(ItemFile::take_up(&path, "text").unwrap().is_none(), "it is locked");
    drop(left);
    let found = ItemFile::take_up(&path, "text").unwrap().unwrap();
    assert_eq!((found.taken, found.end_item), (10, 10));
}

#[test]
fn a_forked_child_lets_its_parents_file_and_lock_be() {
    let dir = tempfile::tempdir().unwrap();
    let made = ItemFile::create(dir.path(), 5, 0, "text", 10, 0).unwrap();
    let path = made.path.clone();
    // What a child has: the same open file, and a note of another process's number.
    let file = Locked { file: made.file.try_clone().unwrap(), pid: std::process::id() + 1 };
    let copy = ItemFile { file, path: path.clone(), ..made };
    copy.remove();
    drop(copy);
    assert!(path.exists());
    assert!(ItemFile::take_up(&path, "text").unwrap().is_none(), "it is locked");
    drop(made.file);
    assert!(ItemFile::take_up(&path, "text").unwrap().is_some());
}

#[test]
fn the_greater_mark_holds_and_a_damaged_one_leaves_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    {
        let left = ItemFile::take_up(&path, "text").unwrap().unwrap();
        left.file.mark(0, 11).unwrap();
        left.file.mark(1, 13).unwrap();
    }
    assert_eq!(ItemFile::take_up(&path, "text").unwrap().unwrap().taken, 13);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[mark_at(1) as usize + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(ItemFile::take_up(&path, "text").unwrap().unwrap().taken, 11);
}

#[test]
fn a_cut_block_was_never_pushed_and_a_damaged_one_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let second = FIRST_BLOCK as usize + 128;
    assert_eq!(whole.len(), second + 128);
    // Cut within header or payload; its padding alone costs nothing.
    for (len, end_item) in [(second + 10, 13), (second + 66, 13), (second + 70, 14)] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let left = ItemFile::take_up(&path, "text").unwrap().unwrap();
        assert_eq!(left.end_item, end_item, "cut at {len}");
    }
    for flipped in FIRST_BLOCK as usize..whole.len() {
        let mut bytes = whole.clone();
        bytes[flipped] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let left = ItemFile::take_up(&path, "text").unwrap().unwrap();
        assert_eq!(left.end_item, 14, "flipped at {flipped}: all that was there is counted");
        let (mut at, mut count, mut payload) = (FIRST_BLOCK, 0, Vec::new());
        while let Some(block) = left.file.next_block(at, left.end, &mut payload) {
            (at, count) = (block.next, count + block.count);
        }
        assert_eq!(count, if flipped < second { 1 } else { 3 }, "flipped at {flipped}");
    }
}

#[test]
fn readers_of_logs_step_over_items_and_see_damage_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    assert!(SegmentReader::open(&path).unwrap().next_entry().unwrap().is_none());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[FIRST_BLOCK as usize + 70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(SegmentReader::open(&path).unwrap().next_entry().unwrap().is_some());
}

#[test]
fn an_item_that_is_refused_leaves_nothing_in_its_draft() {
    let mut draft = draft(&["a"]);
    let before = draft.padded_len();
    let error = draft.push(|out| {
        out.extend(b"half");
        Err(io::ErrorKind::InvalidData.into())
    });
    assert!(error.is_err());
    let too_long = |out: &mut Vec<u8>| {
        out.resize(5 << 20, 0);
        Ok(())
    };
    let error = draft.push(too_long).unwrap_err().to_string();
    assert!(error.contains("4194304"), "{error}");
    assert_eq!((draft.padded_len(), draft.count), (before, 1));
}

#[test]
fn what_a_ring_died_over_is_removed_and_files_are_made_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let leftover = dir.path().join(".ring-0000000000000009-0.ttspill");
    std::fs::write(&leftover, "").unwrap();
    std::fs::write(dir.path().join(name::spill("orders", 0, 3, 0)), "").unwrap();
    let made = ItemFile::create(dir.path(), 5, 0, "text", 0, 0).unwrap();
    assert!(made.created_ns > 1_700_000_000_000_000_000, "by the file system's clock");
    let later = made.created_ns + 5_000_000_000;
    let next = ItemFile::create(dir.path(), 6, 1, "text", 0, later).unwrap();
    assert_eq!(next.created_ns, later + 1);
    let mut found = find(dir.path()).unwrap();
    found.sort();
    assert_eq!(found, [made.path, next.path]);
    assert!(!leftover.exists());
}
