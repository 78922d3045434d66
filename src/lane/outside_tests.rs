//! Readers from outside beside a consumer that stands at each step of its way (S1, S3, S4, S5).
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "stands in for handle, the one producer of its lane")]

use std::path::Path;
use std::sync::Arc;

use super::full::OnFull;
use super::hand_out::Lane;
use super::lanes::{Lanes, LanesSetup};
use super::outside::{self, HeldBy, Snapshot};
use super::owner::Owner;
use super::place::{LanesChoice, Place};
use super::ring::{EVICTED_WORDS, Producer, Room, word};
use super::staging::{Buffer, Staging};
use crate::record::compact::Encoder;
use crate::record::{CODEC_RAW, Definition, HEAD_BYTES, Head, RECORD_EVENT, RunHead};
use crate::sync::Ordering;

const LOGGER: u64 = 0xfeed;

struct Rig {
    _base: tempfile::TempDir,
    owner: Owner,
    lanes: Lanes,
    staging: Staging,
}

fn rig() -> Rig {
    let base = tempfile::tempdir().unwrap();
    let choice = LanesChoice::In(base.path().to_owned());
    let (place, _) = Place::create(&choice, LOGGER, 64 << 20, 1 << 20).unwrap();
    let owner = Owner {
        boot: [1; 16],
        lanes: place.hint().unwrap(),
        ..Owner::of_test(LOGGER, base.path())
    };
    let mut definition = Vec::new();
    let text = String::new;
    Definition {
        id: 1,
        level: crate::record::Level::INFO,
        dynamic: false,
        target: text(),
        name: text(),
        file: text(),
        line: 0,
        module: text(),
        template: None,
        fields: Vec::new(),
    }
    .encode(&mut definition);
    place.define(&definition).unwrap();
    let on_full = OnFull::default();
    let setup = LanesSetup { serial: 1, logger: LOGGER, place, lane_bytes: 1 << 20, on_full };
    let (lanes, _parker) = Lanes::new(setup).unwrap();
    let staging = Staging::new(&lanes, 12).unwrap();
    Rig { _base: base, owner, lanes, staging }
}

impl Rig {
    fn look(&self) -> Snapshot {
        outside::snapshot(&self.owner).unwrap()
    }

    /// A lane with this many records of 16 bytes.
    fn lane(&self, producer: &Producer, n_records: usize) -> Arc<Lane> {
        let lane = self.lanes.hand_out(7, "t".into(), None).unwrap();
        // SAFETY: the test keeps the lane, and is its only producer.
        unsafe { producer.attach(lane.memory(), 1, 1 << 10) };
        self.lanes.join(lane.clone());
        for _ in 0..n_records {
            assert!(matches!(producer.refill(16), Room::Open { .. }));
            let head = Head::word(1, 0, RECORD_EVENT, 0).to_le_bytes();
            assert!(
                producer.write(1, HEAD_BYTES, |out: &mut [u8]| out[..8].copy_from_slice(&head))
            );
        }
        lane
    }

    /// Commits the lane's records from `head` on into staging, without moving the head.
    fn stage(&mut self, lane: &Lane) -> Buffer {
        let mut buffer = self.staging.take(&self.lanes).unwrap();
        let (head, tail) = (lane.memory().head(), lane.memory().tail());
        let run = RunHead {
            lane: lane.id,
            generation: lane.generation,
            position: head,
            end: head,
            ..RunHead::default()
        };
        // SAFETY: the test is the lane's only consumer.
        let records = unsafe { lane.memory().committed(head, tail) };
        let schemas = outside::snapshot(&self.owner).unwrap().definitions;
        let encoded =
            Encoder::new().run(&schemas, run, records, buffer.payload(), 0, CODEC_RAW).unwrap();
        buffer.commit(encoded.written);
        buffer
    }
}

/// Lane, generation, position, first record and count of every run with a record in it.
fn runs(snapshot: &Snapshot) -> Vec<(u32, u32, u64, u64, u32)> {
    assert_eq!(snapshot.notes, [""; 0]);
    let heads = snapshot.runs.iter().map(|run| &run.head).filter(|head| head.count > 0);
    let mut runs: Vec<_> =
        heads.map(|h| (h.lane, h.generation, h.position, h.first_record, h.count)).collect();
    runs.sort_unstable();
    runs
}

#[test]
fn s1_every_hand_out_is_a_new_generation_of_a_reused_lane_too() {
    let rig = rig();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        let producer = Producer::new();
        let lane = rig.lane(&producer, 3);
        assert!(seen.insert(lane.generation), "a generation twice");
        assert_eq!(runs(&rig.look()).last().unwrap().1, lane.generation);
        producer.detach();
        lane.end();
        lane.memory().publish_head(lane.memory().tail(), 3, &[0; EVICTED_WORDS], 1);
        rig.lanes.take_back(std::slice::from_ref(&lane));
        let again = rig.lanes.hand_out(8, "u".into(), None).unwrap();
        assert_eq!(again.id, lane.id, "the memory is used again");
        assert!(seen.insert(again.generation));
        rig.lanes.take_back(&[again]);
    }
}

#[test]
fn s3_between_commit_and_head_a_record_is_in_both_and_then_in_one() {
    let mut rig = rig();
    let producer = Producer::new();
    let lane = rig.lane(&producer, 3);
    let position = lane.memory().head();
    let key = (lane.id, lane.generation, position, 0, 3);
    assert_eq!(runs(&rig.look()), [key]);
    let mut buffer = rig.stage(&lane);
    assert_eq!(runs(&rig.look()), [key, key], "the same bytes twice (S2)");
    lane.memory().publish_head(lane.memory().tail(), 3, &[0; EVICTED_WORDS], 1);
    assert_eq!(runs(&rig.look()), [key], "in staging alone");
    buffer.reset();
    assert_eq!(runs(&rig.look()), []);
}

/// What a place holds when these segments are gone.
fn left(rig: &Rig, gone: &[HeldBy]) -> Vec<(u32, u32, u64, u64, u32)> {
    let is_gone = |held_by: HeldBy| gone.contains(&held_by);
    runs(&outside::snapshot_without(&rig.owner, &is_gone).unwrap())
}

#[test]
fn b4_what_a_segment_held_that_is_gone_is_left_out() {
    let mut rig = rig();
    let producer = Producer::new();
    let lane = rig.lane(&producer, 3);
    let key = (lane.id, lane.generation, lane.memory().head(), 0, 3);
    let buffer = rig.stage(&lane);
    lane.memory().publish_head(lane.memory().tail(), 3, &[0; EVICTED_WORDS], 1);
    let held_by = HeldBy { segment: 7, device: 5 };
    assert_eq!(left(&rig, &[held_by, HeldBy { segment: 0, device: 0 }]), [key], "not written yet");
    let block = buffer.seal(64);
    block.set_held_by(held_by.segment, held_by.device);
    assert_eq!(left(&rig, &[HeldBy { segment: 6, ..held_by }]), [key], "it is there");
    assert_eq!(left(&rig, &[HeldBy { device: 4, ..held_by }]), [key], "on another disk");
    assert_eq!(left(&rig, &[held_by]), []);
    assert_eq!(runs(&rig.look()), [key], "a reader sees it all the same");
    // The next block is nobody's yet.
    rig.staging.give_back(block.into_buffer());
    let lane = rig.lane(&producer, 2);
    let key = (lane.id, lane.generation, lane.memory().head(), 0, 2);
    let _buffer = rig.stage(&lane);
    assert_eq!(left(&rig, &[held_by]), [key, key], "in its lane and in staging");
}

#[test]
fn s4_a_consumer_that_was_killed_between_slot_and_head_has_not_moved() {
    let rig = rig();
    let producer = Producer::new();
    let lane = rig.lane(&producer, 5);
    let start = lane.memory().head();
    lane.memory().publish_head(start + 32, 2, &[0; EVICTED_WORDS], 1);
    // The next slot is there, the head is not.
    // ord: Relaxed, one thread.
    lane.memory().word(word::SLOTS[0] + 1).store(4, Ordering::Relaxed);
    assert_eq!(runs(&rig.look()), [(lane.id, lane.generation, start + 32, 2, 3)]);
    // ord: Relaxed, one thread.
    lane.memory().word(word::SLOTS[0]).store(start + 64, Ordering::Relaxed);
    assert_eq!(runs(&rig.look()), [(lane.id, lane.generation, start + 32, 2, 3)]);
    // ord: Relaxed, one thread.
    lane.memory().word(word::HEAD).store(start + 64, Ordering::Relaxed);
    assert_eq!(runs(&rig.look()), [(lane.id, lane.generation, start + 64, 4, 1)]);
}

#[test]
fn s5_a_head_without_a_slot_of_its_own_is_told_and_not_believed() {
    let rig = rig();
    let producer = Producer::new();
    let lane = rig.lane(&producer, 5);
    // ord: Relaxed, one thread.
    lane.memory().word(word::HEAD).store(lane.memory().head() + 16, Ordering::Relaxed);
    let snapshot = rig.look();
    assert!(snapshot.runs.iter().all(|run| run.head.count == 0));
    assert_eq!(snapshot.notes.len(), 1);
}

/// Ends a test's other thread, however the test ends.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        // ord: Relaxed, a flag alone.
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn s5_lanes_that_change_hands_while_they_are_read_tell_one_hand_out_alone() {
    let rig = rig();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let producer = Producer::new();
                let lane = rig.lane(&producer, 3);
                producer.detach();
                lane.end();
                lane.memory().publish_head(lane.memory().tail(), 3, &[0; EVICTED_WORDS], 1);
                rig.lanes.take_back(&[lane]);
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..300 {
            for (_, _, _, first_record, count) in runs(&rig.look()) {
                assert!(first_record + u64::from(count) <= 3);
            }
        }
    });
    assert!(rig.lanes.place.path().is_some_and(Path::exists));
}

#[test]
fn losses_of_lanes_that_come_and_go_are_added_up_once() {
    use crate::record::{Cause, Level};
    let rig = rig();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let counted = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let producer = Producer::new();
                let lane = rig.lane(&producer, 0);
                counted.fetch_add(1, Ordering::SeqCst);
                lane.count_loss(Cause::Full, Level::INFO, 1);
                producer.detach();
                lane.end();
                rig.lanes.take_back(&[lane]);
            }
        });
        let _stop = Stop(&stop);
        let mut last = 0;
        for _ in 0..20_000 {
            let sum = rig.lanes.losses().0.total();
            let now = counted.load(Ordering::SeqCst);
            assert!(last <= sum && sum <= now, "{last} {sum} {now}");
            last = sum;
        }
    });
}

#[test]
fn losses_that_no_run_has_told_stand_behind_the_records_that_filled_the_lane() {
    use crate::record::{Cause, Level, Losses};
    let rig = rig();
    let producer = Producer::new();
    let lane = rig.lane(&producer, 3);
    let told = |count: u64| {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::INFO, count);
        losses
    };
    let look_at = |lane: &Lane| {
        let heads = rig.look().runs.into_iter().map(|run| run.head);
        let of_it = heads.filter(|head| head.lane == lane.id);
        of_it.map(|head| (head.count, head.losses.total())).collect::<Vec<_>>()
    };
    let look = || look_at(&lane);
    assert_eq!(look(), [(3, 0)]);
    lane.count_loss(Cause::Full, Level::INFO, 4);
    assert_eq!(look(), [(3, 0), (0, 4)], "behind the last record");
    lane.outlet.begin();
    let mut taking = lane.outlet.try_take().unwrap();
    taking.give_back(16, 1);
    assert_eq!(look(), [(2, 0), (0, 4)]);
    taking.set_told(told(4));
    assert_eq!(look(), [(2, 4)], "a run has told it, wherever that is now");
    lane.count_loss(Cause::Full, Level::INFO, 2);
    assert_eq!(look(), [(2, 4), (0, 6)]);
    taking.give_back(32, 2);
    assert_eq!(look(), [(0, 6)]);
    // Nothing is believed of a place within a record.
    drop(taking);
    let another = Producer::new();
    let lane = rig.lane(&another, 3);
    lane.count_loss(Cause::Full, Level::INFO, 1);
    let within = lane.memory().head() + 8;
    // ord: Relaxed, one thread.
    lane.memory().word(word::LOST_AT).store(within, Ordering::Relaxed);
    let runs = look_at(&lane);
    assert_eq!(runs.iter().map(|(count, _)| count).sum::<u32>(), 3, "{runs:?}");
    assert_eq!(runs.last().map(|(_, lost)| *lost), Some(1), "{runs:?}");
}

#[test]
fn staging_that_nobody_needs_is_given_back_one_after_the_other_but_for_the_last() {
    let Rig { _base, owner, lanes, mut staging } = rig();
    let place = owner.lanes.unwrap().path;
    let is_staging = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("staging-");
    let n_files = || {
        let entries = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(is_staging).count()
    };
    let used = lanes.place.bytes_used();
    let taken: Vec<_> = (0..4).map(|_| staging.take(&lanes).unwrap()).collect();
    taken.into_iter().for_each(|buffer| staging.give_back(buffer));
    staging.trim(&lanes);
    assert_eq!(n_files(), 4, "all of them were needed since the last look");
    for left in [3, 2, 2] {
        let two = [staging.take(&lanes).unwrap(), staging.take(&lanes).unwrap()];
        two.into_iter().for_each(|buffer| staging.give_back(buffer));
        staging.trim(&lanes);
        assert_eq!(n_files(), left);
    }
    (0..3).for_each(|_| staging.trim(&lanes));
    assert_eq!((n_files(), lanes.place.bytes_used()), (1, used));
    assert!(staging.take(&lanes).is_some());
}
