//! A place from its making to its end.

use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, PermissionsExt};

use super::owner::{LanesHint, Owner};
use super::place::{ANCHORS_MAX, LanesChoice, Place, name, open_hinted, remove, remove_unfinished};
use super::places;
use crate::record::Anchor;

#[test]
fn a_place_is_made_with_mode_0700_and_removed_whole() {
    let base = tempfile::tempdir().unwrap();
    let choice = LanesChoice::In(base.path().to_owned());
    let (place, why) = Place::create(&choice, 5, 64 << 20, 1 << 20).unwrap();
    assert_eq!(why, None);
    let path = place.path().unwrap().to_owned();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    let _memory = place.memory("lane-1", 32 << 10, 4).unwrap();
    assert_eq!(open_hinted(&place.hint().unwrap().unwrap()).unwrap(), path);
    place.remove();
    assert!(!path.exists());
}

#[test]
fn a_place_without_an_owner_is_removed_unless_its_maker_is_at_it() {
    let base = tempfile::tempdir().unwrap();
    let choice = LanesChoice::In(base.path().to_owned());
    let (place, _) = Place::create(&choice, 5, 64 << 20, 1 << 20).unwrap();
    let path = place.path().unwrap().to_owned();
    remove_unfinished(&path).unwrap();
    assert!(path.exists(), "its maker lives");
    drop(place);
    remove_unfinished(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_symlink_in_the_name_of_a_place_is_not_followed() {
    let base = tempfile::tempdir().unwrap();
    let victim = base.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(victim.join("owner"), "kept").unwrap();
    let link = base.path().join(name(5));
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    remove(&link);
    assert!(remove_unfinished(&link).is_err());
    assert!(victim.join("owner").exists());
}

#[test]
fn no_room_is_private_memory_with_the_reason() {
    let choice = LanesChoice::In("/nonexistent".into());
    let (place, why) = Place::create(&choice, 5, 64 << 20, 1 << 20).unwrap();
    assert_eq!(place.path(), None);
    assert!(why.unwrap().contains("/nonexistent"));
    assert!(place.memory("lane-1", 32 << 10, 4).is_ok());
}

#[test]
fn the_bound_is_kept() {
    let (place, _) = Place::create(&LanesChoice::Private, 5, 1 << 20, 0).unwrap();
    assert!(place.memory("lane-1", 512 << 10, 2).is_err());
    let _lane = place.memory("lane-1", 512 << 10, 4).unwrap();
    assert!(place.memory("lane-2", 512 << 10, 4).is_err());
    place.forget("lane-1", 512 << 10);
    assert_eq!(place.bytes_used(), 0);
}

#[test]
fn s9_a_hint_is_not_followed_through_a_symlink_or_to_another_directory() {
    let base = tempfile::tempdir().unwrap();
    let choice = LanesChoice::In(base.path().to_owned());
    let (place, _) = Place::create(&choice, 5, 64 << 20, 1 << 20).unwrap();
    let hint = place.hint().unwrap().unwrap();
    let link = base.path().join("link");
    std::os::unix::fs::symlink(&hint.path, &link).unwrap();
    assert!(open_hinted(&LanesHint { path: link, ..hint.clone() }).is_err());
    assert!(open_hinted(&LanesHint { inode: 1, ..hint.clone() }).is_err());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hint.path, mode).unwrap();
    assert!(open_hinted(&hint).is_err());
}

#[test]
fn anchors_are_thinned_and_bracket_what_is_asked_for() {
    let (place, _) = Place::create(&LanesChoice::Private, 5, 1 << 20, 0).unwrap();
    for n in 1..=1000 {
        place.add_anchor(Anchor { ticks: n * 10, mono_ns: n, wall_ns: 0 });
    }
    assert!(place.kept.lock().len() <= ANCHORS_MAX);
    let around = place.anchors_around(9_955, 9_975);
    assert_eq!(around.first().unwrap().ticks, 9_950);
    assert_eq!(around.last().unwrap().ticks, 9_980);
    assert_eq!(place.anchors_around(20_000, 30_000).len(), 1);
    assert_eq!(place.anchors_around(0, 1).len(), 1);
}

#[test]
fn s10_a_place_that_was_taken_for_a_leftover_is_made_once_more() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("place");
    // Removed behind the call that made it: who tried to hold it makes it again, and is not told
    // that there is no room.
    assert!(places::lock_empty(&path).unwrap().is_none());
    std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    let held = places::lock_empty(&path).unwrap().expect("it is nobody else's");
    assert!(places::lock_empty(&path).unwrap().is_none(), "somebody has it");
    drop(held);
    std::fs::write(path.join("owner"), "").unwrap();
    assert!(places::lock_empty(&path).unwrap().is_none(), "it is not empty");
}

#[test]
fn s8_a_place_is_made_again_behind_a_try_that_failed_half_way() {
    let base = tempfile::tempdir().unwrap();
    let choice = LanesChoice::In(base.path().to_owned());
    let (place, _) = Place::create(&choice, 5, 64 << 20, 1 << 20).unwrap();
    let mut owner = Owner { lanes: place.hint().unwrap(), ..Owner::of_test(5, base.path()) };
    place.publish(&owner).unwrap();
    place.define(b"a definition").unwrap();
    let path = place.path().unwrap().to_owned();
    let table = std::fs::File::options().write(true).open(path.join("callsites")).unwrap();
    remove(&path);
    assert!(place.is_removed());
    // Fails when the new directory has its first files, as it does where there is no room for all.
    table.set_len(0).unwrap();
    assert!(place.make_again(&mut owner).is_err() && place.gone().is_some());
    table.write_all_at(b"a definition", 0).unwrap();
    place.make_again(&mut owner).unwrap();
    assert!(!place.is_removed() && place.gone().is_none());
    assert_eq!(owner.lanes, place.hint().unwrap());
    assert_eq!(std::fs::read(path.join("callsites")).unwrap(), b"a definition");
}
