//! Models: the invariants of lanes and staging, under every interleaving that loom finds.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib lane::models -- --nocapture
//! ```
//!
//! Each model names its invariants and the mutants (`LANE_MUTANT=…`) that it kills;
//! `tests/lane_mutants.rs` runs them all. `LOOM_MAX_PREEMPTIONS` widens the search.
#![expect(unsafe_code, reason = "stands in for handle and intake, whose proofs are cited")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU64 as StdAtomicU64, Ordering as StdOrdering};
use std::time::Duration;

use loom::thread::{spawn, yield_now};

use super::memory::Memory;
use super::park::End;
use super::ready::Ready;
use super::ring::{Producer, Room, word};
use super::staging::{self, Buffer};
use crate::record::{HEAD_BYTES, Head, RECORD_EVENT, RECORD_PAD};
use crate::sync::{Arc, AtomicU64, Ordering, fence, mutant};

/// Longer than a model runs; a model has no time.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Serial number of the models' logger.
pub(super) const SERIAL: u32 = 1;

pub(super) fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    static EXECUTIONS: StdAtomicU64 = StdAtomicU64::new(0);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let before = EXECUTIONS.load(StdOrdering::Relaxed);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, StdOrdering::Relaxed);
        model();
    });
    // Exact with `--test-threads 1`.
    let count = EXECUTIONS.load(StdOrdering::Relaxed) - before;
    let _ = writeln!(std::io::stdout(), "{name}: {count} executions");
}

/// A lane and its producer; the model's thread keeps both.
pub(super) struct Lane {
    pub(super) memory: Arc<Memory>,
    pub(super) start: u64,
}

/// A producer on its way to the thread that uses it (R6).
pub(super) struct Moved(pub(super) Producer);

// SAFETY: (R6) one thread alone uses it.
unsafe impl Send for Moved {}

pub(super) fn lane(capacity: usize) -> (Lane, Moved) {
    let memory = Arc::new(Memory::private(capacity).unwrap());
    let producer = Producer::new();
    // SAFETY: the model keeps the memory, and nobody else has it.
    let start = unsafe { producer.attach(&memory, SERIAL, capacity as u64 / 2) };
    // Positions begin where the buffer does, so that each model knows where it wraps.
    let start = if start.is_multiple_of(capacity as u64) {
        start
    } else {
        let at = start.next_multiple_of(capacity as u64);
        for index in [word::HEAD, word::SLOTS[0], word::TAIL] {
            memory.word(index).store(at, Ordering::Relaxed);
        }
        producer.move_to(at);
        at
    };
    (Lane { memory, start }, Moved(producer))
}

/// Fills no byte.
pub(super) fn nothing(_: &mut [u8]) {}

/// Writes one record of `len` bytes whose callsite is `id`; false when the lane is full.
pub(super) fn write(producer: &Producer, id: u32, len: usize) -> bool {
    let fill = |out: &mut [u8]| {
        let words = ((out.len() - HEAD_BYTES) / 8) as u16;
        out.fill(id as u8);
        out[..8].copy_from_slice(&Head::word(id, words, RECORD_EVENT, 0).to_le_bytes());
    };
    if producer.write(SERIAL, len, fill) {
        return true;
    }
    match producer.refill(len) {
        Room::Open { .. } => {
            assert!(producer.write(SERIAL, len, fill), "the gate was opened for it");
            true
        }
        Room::Full => false,
    }
}

/// The consumer's end, as `scribe::intake` has it.
struct Consumer<'a> {
    memory: &'a Memory,
    head: u64,
    n_taken: u64,
    slot: usize,
}

impl<'a> Consumer<'a> {
    fn new(lane: &'a Lane) -> Self {
        Self { memory: &lane.memory, head: lane.start, n_taken: 0, slot: 0 }
    }

    /// Takes what is committed, up to the buffer's end, without moving the head; callsites and
    /// length.
    fn look(&self) -> (Vec<u32>, usize) {
        // SAFETY: (R2) this is the one consumer.
        let bytes = unsafe { self.memory.committed(self.head, self.memory.tail()) };
        let (mut ids, mut at) = (Vec::new(), 0);
        while bytes.len() - at >= HEAD_BYTES {
            let head = Head::read(&bytes[at..]).expect("whole records alone");
            if head.kind != RECORD_PAD {
                assert!(bytes[at + 8..at + head.len()].iter().all(|b| *b == head.callsite as u8));
                ids.push(head.callsite);
            }
            at += head.len();
        }
        (ids, bytes.len())
    }

    fn give_back(&mut self, len: usize, count: usize) {
        self.head += len as u64;
        self.n_taken += count as u64;
        self.slot ^= 1;
        self.memory.publish_head(self.head, self.n_taken, &[0], self.slot);
    }

    fn take(&mut self) -> Vec<u32> {
        let (ids, len) = self.look();
        if len > 0 {
            self.give_back(len, ids.len());
        }
        ids
    }

    fn take_exactly(&mut self, count: usize) -> Vec<u32> {
        let mut ids = self.take();
        while ids.len() < count {
            yield_now();
            ids.extend(self.take());
        }
        ids
    }
}

/// R1, R2: the consumer reads what lies before the tail. Kills `tail_store`, `tail_load`.
#[test]
fn r2_a_record_is_whole_when_the_tail_is_behind_it() {
    check("r2_a_record_is_whole_when_the_tail_is_behind_it", || {
        let (lane, producer) = lane(64);
        let thread = spawn(move || {
            let producer = producer;
            assert!(write(&producer.0, 1, 24));
            assert!(write(&producer.0, 2, 16));
        });
        assert_eq!(Consumer::new(&lane).take_exactly(2), [1, 2]);
        thread.join().unwrap();
    });
}

/// R2, R3: bytes are written again behind a pad, when the head has passed them. Kills `head_store`,
/// `head_load`.
#[test]
fn r2_bytes_are_written_again_only_when_the_head_has_passed_them() {
    check("r2_bytes_are_written_again_only_when_the_head_has_passed_them", || {
        let (lane, producer) = lane(64);
        let thread = spawn(move || {
            let producer = producer;
            for id in 1..=3 {
                while !write(&producer.0, id, 32) {
                    yield_now();
                }
            }
        });
        assert_eq!(Consumer::new(&lane).take_exactly(3), [1, 2, 3]);
        thread.join().unwrap();
    });
}

/// R3: what is left at the buffer's end is a pad of 16 bytes. Kills `pad_late`.
#[test]
fn r3_a_pad_is_there_before_the_tail_passes_it() {
    check("r3_a_pad_is_there_before_the_tail_passes_it", || {
        let (lane, producer) = lane(64);
        let thread = spawn(move || {
            let producer = producer;
            for id in 1..=3 {
                while !write(&producer.0, id, 24) {
                    yield_now();
                }
            }
        });
        assert_eq!(Consumer::new(&lane).take_exactly(3), [1, 2, 3]);
        thread.join().unwrap();
    });
}

/// R1, R3: a pad that would pass the head waits for it. Kills `pad_unfree`.
#[test]
fn r3_a_pad_is_written_only_where_the_head_has_passed() {
    check("r3_a_pad_is_written_only_where_the_head_has_passed", || {
        let (lane, producer) = lane(64);
        let mut consumer = Consumer::new(&lane);
        (1..=2).for_each(|id| assert!(write(&producer.0, id, 24)));
        assert_eq!(consumer.take(), [1, 2]);
        // Behind these the tail is at 104, the head at 48: the pad would reach 128.
        for (id, len) in [(3, 16), (4, 24), (5, 16)] {
            assert!(write(&producer.0, id, len));
        }
        assert!(!write(&producer.0, 6, 32));
        assert_eq!(lane.memory.tail() - lane.start, 104, "R1");
        let thread = spawn(move || {
            let producer = producer;
            while !write(&producer.0, 6, 32) {
                yield_now();
            }
        });
        assert_eq!(consumer.take_exactly(4), [3, 4, 5, 6]);
        thread.join().unwrap();
    });
}

/// S4: who finds the head unchanged has read the slot that belongs to it. Kills `slot_store`,
/// `slot_late`.
#[test]
fn s4_the_slot_of_the_head_counts_the_records_before_it() {
    check("s4_the_slot_of_the_head_counts_the_records_before_it", || {
        let (lane, producer) = lane(64);
        (1..=3).for_each(|id| assert!(write(&producer.0, id, 16)));
        let memory = lane.memory.clone();
        let start = lane.start;
        let outside = spawn(move || {
            let head = memory.head();
            let read = word::SLOTS.map(|at| {
                // ord: Relaxed, a copy of the page; ordered by the fence behind it.
                (
                    memory.word(at).load(Ordering::Relaxed),
                    memory.word(at + 1).load(Ordering::Relaxed),
                )
            });
            fence(Ordering::Acquire);
            if memory.head() == head {
                let slot = read.iter().find(|slot| slot.0 == head).expect("one is valid");
                assert_eq!(slot.1, (head - start) / 16);
            }
        });
        let mut consumer = Consumer::new(&lane);
        (0..3).for_each(|_| consumer.give_back(16, 1));
        outside.join().unwrap();
    });
}

/// R4: a write within a write finds the gate shut. Kills `gate_open`.
#[test]
fn r4_a_write_within_a_write_finds_no_room() {
    check("r4_a_write_within_a_write_finds_no_room", || {
        let (lane, producer) = lane(128);
        let producer = producer.0;
        assert!(write(&producer, 1, 16));
        let wrote = producer.write(SERIAL, 16, |out: &mut [u8]| {
            assert!(!producer.write(SERIAL, 16, nothing), "no room");
            assert!(producer.is_busy());
            out.fill(2);
            out[..8].copy_from_slice(&Head::word(2, 0, RECORD_EVENT, 0).to_le_bytes());
        });
        assert!(wrote);
        assert_eq!(Consumer::new(&lane).take(), [1, 2]);
    });
}

/// R4: the gate is shut while the cold way looks for room, and may write a pad. Kills `refill_open`.
#[test]
fn r4_the_cold_way_shuts_the_gate() {
    check("r4_the_cold_way_shuts_the_gate", || {
        let (lane, producer) = lane(128);
        let producer = producer.0;
        let mut consumer = Consumer::new(&lane);
        assert!(write(&producer, 1, 64) && write(&producer, 2, 48));
        assert_eq!(consumer.take(), [1, 2]);
        assert!(write(&producer, 3, 16) && write(&producer, 4, 64) && write(&producer, 5, 16));
        // There is room for 16 bytes up to the gate, and none for 64.
        assert_eq!(producer.refill(64), Room::Full);
        assert!(!producer.write(SERIAL, 16, nothing), "a handler at this point finds no room");
        assert!(write(&producer, 6, 16));
        let mut ids = consumer.take();
        ids.extend(consumer.take());
        assert_eq!(ids, [3, 4, 5, 6]);
    });
}

/// R5: a gate that was read before a lane was exchanged is too low for the new one. Kills
/// `start_low`.
#[test]
fn r5_a_new_lane_begins_behind_every_gate_of_the_old_one() {
    check("r5_a_new_lane_begins_behind_every_gate_of_the_old_one", || {
        let (old, producer) = lane(128);
        let producer = producer.0;
        assert!(write(&producer, 1, 16));
        let gate_max = old.start + 128;
        let new = Memory::private(256).unwrap();
        // SAFETY: the model keeps both.
        let start = unsafe { producer.attach(&new, SERIAL, 128) };
        assert!(start >= gate_max.min(old.memory.tail() + 64), "{start}");
        assert_eq!((new.head(), new.tail()), (start, start));
    });
}

/// W1: the lane is on the list, or the scribe does not sleep. Kills `wake_fence`, `sleep_fence`,
/// `sleep_blind`, `summary_first`.
#[test]
fn w1_no_wake_up_is_lost() {
    check("w1_no_wake_up_is_lost", || {
        let (ready, parker) = Ready::new();
        let ready = Arc::new(ready);
        let threads = [3, 3].map(|slot| {
            let ready = ready.clone();
            spawn(move || ready.set(slot))
        });
        let mut n_seen = 0;
        ready.take(|_| n_seen += 1);
        while n_seen == 0 {
            ready.sleep(&parker, LONG, || false);
            ready.take(|slot| {
                assert_eq!(slot, 3);
                n_seen += 1;
            });
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// W1: who finds a bit finds what its lane holds. Kills `bit_store`, `bit_load`.
#[test]
fn w1_who_is_told_sees_what_it_was_told_of() {
    check("w1_who_is_told_sees_what_it_was_told_of", || {
        let (ready, _parker) = Ready::new();
        let ready = Arc::new(ready);
        let told = Arc::new(AtomicU64::new(0));
        let threads = [3, 4].map(|slot| {
            let (ready, told) = (ready.clone(), told.clone());
            spawn(move || {
                if slot == 4 {
                    told.store(7, Ordering::Relaxed);
                }
                ready.set(slot);
            })
        });
        // The one may have set the summary, the other the bit.
        ready.take(|slot| assert!(slot != 4 || told.load(Ordering::Relaxed) == 7));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// W2: a sleeping scribe is woken by one of its producers. Kills `wake_all`.
#[test]
fn w2_one_producer_wakes_a_sleeping_scribe() {
    check("w2_one_producer_wakes_a_sleeping_scribe", || {
        let (ready, parker) = Ready::new();
        let ready = Arc::new(ready);
        let threads = [3, 4].map(|slot| {
            let ready = ready.clone();
            spawn(move || ready.set(slot))
        });
        ready.sleep(&parker, LONG, || false);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(parker.unparker().n_calls() <= 1);
    });
}

/// B2: a run is in its lane, or committed, at every moment. Kills `commit_late`.
#[test]
fn b2_a_record_is_in_its_lane_or_in_staging() {
    check("b2_a_record_is_in_its_lane_or_in_staging", || {
        let (lane, producer) = lane(64);
        (1..=2).for_each(|id| assert!(write(&producer.0, id, 16)));
        let memory = lane.memory.clone();
        let start = lane.start;
        let staged = Arc::new(Memory::private(64).unwrap());
        let buffer = Buffer::of(staged.clone());
        let outside = spawn(move || {
            // Lanes first, then staging (S5).
            let head = memory.head();
            let committed = staged.word(staging::word::COMMITTED).load(Ordering::Acquire);
            assert!(start + committed >= head, "neither in the lane nor in staging");
        });
        let mut buffer = buffer;
        let mut consumer = Consumer::new(&lane);
        for _ in 0..2 {
            if mutant("commit_late") {
                consumer.give_back(16, 1);
                buffer.commit(16);
            } else {
                buffer.commit(16);
                consumer.give_back(16, 1);
            }
        }
        outside.join().unwrap();
    });
}

/// B2: what is committed can be read. Kills `commit_store`.
#[test]
fn b2_the_bytes_of_a_run_are_there_before_it_is_committed() {
    check("b2_the_bytes_of_a_run_are_there_before_it_is_committed", || {
        let staged = Arc::new(Memory::private(64).unwrap());
        let mut buffer = Buffer::of(staged.clone());
        let outside = spawn(move || {
            let committed = staged.word(staging::word::COMMITTED).load(Ordering::Acquire) as usize;
            // SAFETY: (B2) committed, and this epoch never writes it again.
            let bytes = unsafe { staged.published(0, committed) };
            assert!(bytes.iter().all(|byte| *byte == 5));
        });
        for at in [0, 16] {
            buffer.range(at, 16).fill(5);
            buffer.commit(16);
        }
        outside.join().unwrap();
    });
}

/// The word of a model's header that stands for the bytes of a block.
const BLOCK: usize = 8;

/// B3: a reader that finds the epoch unchanged has read one block. Kills `reset_order`,
/// `reset_fence`, `epoch_kept`, `epoch_store`.
#[test]
fn b3_a_reader_never_takes_two_blocks_for_one() {
    check("b3_a_reader_never_takes_two_blocks_for_one", || {
        let staged = Arc::new(Memory::private(16).unwrap());
        let mut buffer = Buffer::of(staged.clone());
        // ord: Relaxed, as all stores of a block's bytes.
        staged.word(BLOCK).store(1, Ordering::Relaxed);
        buffer.commit(8);
        let outside = {
            let staged = staged.clone();
            spawn(move || {
                let epoch = staged.word(staging::word::EPOCH).load(Ordering::Acquire);
                let committed = staged.word(staging::word::COMMITTED).load(Ordering::Acquire);
                let byte = staged.word(BLOCK).load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                let again = staged.word(staging::word::EPOCH).load(Ordering::Relaxed);
                if again == epoch && committed > 0 {
                    let expected = if committed == 8 { 1 } else { 2 };
                    assert_eq!(byte, expected, "bytes of another block");
                }
            })
        };
        buffer.reset();
        staged.word(BLOCK).store(2, Ordering::Relaxed);
        buffer.commit(16);
        outside.join().unwrap();
    });
}

/// P2: a lane that has ended and is empty stays empty. Kills `end_store`, `end_load`.
#[test]
fn p2_the_tail_behind_the_end_is_the_last() {
    check("p2_the_tail_behind_the_end_is_the_last", || {
        let (lane, producer) = lane(64);
        let end = Arc::new(End::new());
        let thread = {
            let end = end.clone();
            spawn(move || {
                let producer = producer;
                assert!(write(&producer.0, 1, 16));
                end.set();
            })
        };
        let mut consumer = Consumer::new(&lane);
        let mut ids = consumer.take();
        if end.is_set() {
            ids.extend(consumer.take());
            assert_eq!(ids, [1], "taken back with a record in it");
        }
        thread.join().unwrap();
    });
}
