//! Models of what threads share beside the bytes: parking, the latch, the list of lanes.
#![expect(unsafe_code, reason = "looks at cells as loom tracks them")]

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicU64 as StdAtomicU64, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread::spawn;

use super::latch::Latch;
use super::models::{LONG, Moved, SERIAL, check, lane, nothing, write};
use super::outlet::{Outlet, Taking};
use super::park::{End, Park, fence_heads};
use super::registry::Registry;
use super::ring::{Room, word};
use crate::record::{HEAD_BYTES, Head, RECORD_PAD};
use crate::sync::{Arc, AtomicU64, Ordering, barrier, fence, mutant, yield_now};

/// P1: a producer parks on a full lane while the consumer takes. Kills `park_fence`,
/// `heads_fence`, `park_blind`.
#[test]
fn p1_a_producer_that_waits_is_woken() {
    check("p1_a_producer_that_waits_is_woken", || {
        let head = Arc::new(AtomicU64::new(0));
        let park = Arc::new(Park::new());
        let producer = {
            let (head, park) = (head.clone(), park.clone());
            spawn(move || {
                while head.load(Ordering::Acquire) == 0 {
                    park.wait(LONG, || head.load(Ordering::Acquire) == 0);
                }
            })
        };
        head.store(8, Ordering::Release);
        fence_heads();
        park.wake();
        producer.join().unwrap();
    });
}

/// C1: two threads write into the common lane. Kills `latch_load`, `latch_store`.
#[test]
fn c1_the_latch_lets_one_in_at_a_time() {
    check("c1_the_latch_lets_one_in_at_a_time", || {
        let shared = Arc::new((Latch::new(), UnsafeCell::new(0)));
        // SAFETY: (C1) under the latch alone.
        let add = |shared: &(Latch, UnsafeCell<u32>)| {
            shared.0.with(|| shared.1.with_mut(|n| unsafe { *n += 1 })).is_some()
        };
        let thread = {
            let shared = Shared(shared.clone());
            spawn(move || {
                let shared = shared;
                u32::from(add(&shared.0))
            })
        };
        let here = u32::from(add(&shared));
        let n_in = here + thread.join().unwrap();
        assert_eq!(shared.0.with(|| shared.1.with(|n| unsafe { *n })), Some(n_in));
    });
}

/// What a latch guards, on its way to another thread.
struct Shared(Arc<(Latch, UnsafeCell<u32>)>);

// SAFETY: (C1) the cell is touched under the latch alone.
unsafe impl Send for Shared {}

/// A producer that its thread writes with, and another stops.
struct Stopped(Arc<Moved>);

// SAFETY: (R6, R7) the other thread looks at the serial number and the gate alone.
unsafe impl Send for Stopped {}

/// R7: a thread writes while another stops its producer. What is committed when the second finds no
/// write under way is all. Kills `gate_store`, `gate_load`, `stop_blind`, `stop_fence`.
#[test]
fn r7_nothing_is_committed_behind_a_stop() {
    check("r7_nothing_is_committed_behind_a_stop", || {
        barrier::MODELLED.set(true);
        let (lane, producer) = lane(128);
        assert!(matches!(producer.0.refill(16), Room::Open { .. }));
        let producer = Arc::new(producer);
        let thread = {
            let producer = Stopped(producer.clone());
            spawn(move || {
                let producer = producer;
                producer.0.0.write(SERIAL, 16, |out: &mut [u8]| out.fill(7))
            })
        };
        producer.0.stop();
        if !mutant("stop_fence") {
            fence(Ordering::SeqCst);
        }
        while producer.0.is_writing() {
            yield_now();
        }
        let last = lane.memory.tail();
        let wrote = thread.join().unwrap();
        assert_eq!(lane.memory.tail(), last, "committed behind the stop");
        assert!(!producer.0.write(SERIAL, 16, nothing), "or written later (it wrote: {wrote})");
        barrier::MODELLED.set(false);
    });
}

/// R8: a thread marks its producer and writes with its key while another stops it. Kills
/// `mark_blind`.
#[test]
fn r8_a_mark_does_not_undo_a_stop() {
    check("r8_a_mark_does_not_undo_a_stop", || {
        barrier::MODELLED.set(true);
        let (lane, producer) = lane(128);
        assert!(matches!(producer.0.refill(16), Room::Open { .. }));
        let producer = Arc::new(producer);
        let thread = {
            let producer = Stopped(producer.clone());
            spawn(move || {
                let producer = producer;
                let producer = &producer.0.0;
                producer.set_marked(true);
                assert!(!producer.write(SERIAL, 16, nothing), "a plain write passed the mark");
                producer.write(producer.key(SERIAL), 16, |out: &mut [u8]| out.fill(7))
            })
        };
        producer.0.stop();
        fence(Ordering::SeqCst);
        while producer.0.is_writing() {
            yield_now();
        }
        let last = lane.memory.tail();
        let wrote = thread.join().unwrap();
        assert_eq!(lane.memory.tail(), last, "committed behind the stop");
        let key = producer.0.key(SERIAL);
        assert!(!producer.0.write(key, 16, nothing), "or written later (it wrote: {wrote})");
        barrier::MODELLED.set(false);
    });
}

/// A value whose first write and every read loom looks at.
#[derive(Clone)]
struct Entry(StdArc<UnsafeCell<u32>>);

// SAFETY: (G1) never written behind its join.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    fn new(n: u32) -> Self {
        let entry = Self(StdArc::new(UnsafeCell::new(0)));
        // SAFETY: nobody else sees it yet.
        entry.0.with_mut(|at| unsafe { *at = n });
        entry
    }

    fn get(&self) -> u32 {
        // SAFETY: (G1) never written behind its join.
        self.0.with(|at| unsafe { *at })
    }
}

fn all(registry: &Registry<Entry>) -> Vec<u32> {
    let mut seen = Vec::new();
    registry.walk(|entry| seen.push(entry.get()));
    seen.sort_unstable();
    seen
}

/// G1: two threads join while a third walks. Kills `join_store`, `walk_load`.
#[test]
fn g1_joins_at_once_lose_nobody() {
    check("g1_joins_at_once_lose_nobody", || {
        let registry = Arc::new(Registry::new());
        let joiner = {
            let registry = registry.clone();
            spawn(move || registry.join(Entry::new(1)))
        };
        let walker = {
            let registry = registry.clone();
            spawn(move || all(&registry).len())
        };
        registry.join(Entry::new(2));
        joiner.join().unwrap();
        assert!(walker.join().unwrap() <= 2);
        assert_eq!(all(&registry), [1, 2]);
    });
}

/// G1, G2: one joins while the first leaves. Kills `unlink_blind`.
#[test]
fn g2_a_join_beside_a_leave_is_not_lost() {
    check("g2_a_join_beside_a_leave_is_not_lost", || {
        let registry = Arc::new(Registry::new());
        (1..=2).for_each(|n| registry.join(Entry::new(n)));
        let threads = [3, 4].map(|n| {
            let registry = registry.clone();
            spawn(move || registry.join(Entry::new(n)))
        });
        assert_eq!(registry.leave(|entry| entry.get() == 2), 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(all(&registry), [1, 3, 4]);
    });
}

/// G2: a walk that stands on a node that leaves goes on to the end. Kills `next_cut`.
#[test]
fn g2_a_walk_beside_joins_and_leaves_sees_who_stays() {
    check("g2_a_walk_beside_joins_and_leaves_sees_who_stays", || {
        let registry = Arc::new(Registry::new());
        (1..=3).for_each(|n| registry.join(Entry::new(n)));
        let walker = {
            let registry = registry.clone();
            spawn(move || {
                let seen = all(&registry);
                assert!(seen.contains(&1) && seen.contains(&3), "{seen:?}");
            })
        };
        let joiner = {
            let registry = registry.clone();
            spawn(move || registry.join(Entry::new(4)))
        };
        registry.leave(|entry| entry.get() == 2);
        walker.join().unwrap();
        joiner.join().unwrap();
        assert_eq!(all(&registry), [1, 3, 4]);
    });
}

/// Takes what is there as the scribe does; callsites.
fn take(outlet: &Outlet, tail: u64) -> Vec<u32> {
    outlet.try_take().map_or_else(Vec::new, |taking| empty(taking, tail))
}

fn empty(mut taking: Taking<'_>, tail: u64) -> Vec<u32> {
    let mut ids = Vec::new();
    while taking.head() < tail {
        let bytes = taking.committed(tail);
        let (mut at, mut count) = (0, 0);
        while bytes.len() - at >= HEAD_BYTES {
            let head = Head::read(&bytes[at..]).expect("whole records alone");
            if head.kind != RECORD_PAD {
                assert!(bytes[at + 8..at + head.len()].iter().all(|b| *b == head.callsite as u8));
                ids.push(head.callsite);
                count += 1;
            }
            at += head.len();
        }
        let len = bytes.len() as u64;
        taking.give_back(len, count);
    }
    ids
}

/// O3: whoever finds another at a lane goes on without it. All models below count on loom's looking
/// at attempts that fail, which its own lock does not have it do (`crate::sync`).
#[test]
fn o3_an_attempt_at_a_lane_that_is_taken_fails() {
    static FAILED: StdAtomicU64 = StdAtomicU64::new(0);
    check("o3_an_attempt_at_a_lane_that_is_taken_fails", || {
        let outlet = Arc::new(Outlet::new(lane(64).0.memory));
        let spiller = {
            let outlet = outlet.clone();
            spawn(move || u64::from(outlet.try_take().is_none()))
        };
        let failed = u64::from(outlet.try_take().is_none());
        let failed = failed + spiller.join().unwrap();
        assert!(failed < 2, "of two attempts one has it");
        FAILED.fetch_add(failed, StdOrdering::Relaxed);
    });
    assert!(FAILED.load(StdOrdering::Relaxed) > 0);
}

/// O1: a producer evicts beside the scribe, which takes. Kills `head_before_lock`.
#[test]
fn o1_a_record_is_taken_or_evicted_once() {
    check("o1_a_record_is_taken_or_evicted_once", || {
        let (lane, producer) = lane(64);
        let outlet = Arc::new(Outlet::new(lane.memory.clone()));
        outlet.begin();
        (1..=2).for_each(|id| assert!(write(&producer.0, id, 32)));
        let scribe = {
            let (outlet, memory) = (outlet.clone(), lane.memory.clone());
            spawn(move || take(&outlet, memory.tail()))
        };
        let mut n_written = 2;
        for id in 3..=4 {
            if let Some(mut taking) = outlet.try_take() {
                taking.evict(lane.memory.tail() - 32, |_| Some(0));
            }
            n_written += u64::from(write(&producer.0, id, 32));
        }
        let mut ids = scribe.join().unwrap();
        ids.extend(take(&outlet, lane.memory.tail()));
        assert!(ids.is_sorted_by(|a, b| a < b), "twice: {ids:?}");
        assert_eq!(ids.len() as u64 + outlet.evicted()[0], n_written, "{ids:?}");
    });
}

/// O2: who finds the head unchanged knows how many records before it were taken, and how many
/// evicted. Kills `evicted_late`.
#[test]
fn o2_head_and_what_was_evicted_move_together() {
    check("o2_head_and_what_was_evicted_move_together", || {
        let (lane, producer) = lane(64);
        (1..=3).for_each(|id| assert!(write(&producer.0, id, 16)));
        let outlet = Outlet::new(lane.memory.clone());
        outlet.begin();
        let (memory, start) = (lane.memory.clone(), lane.start);
        let outside = spawn(move || {
            let head = memory.head();
            let read = word::SLOTS.map(|at| {
                // ord: Relaxed, a copy of the page; ordered by the fence behind it.
                [0, 1, 2].map(|word| memory.word(at + word).load(Ordering::Relaxed))
            });
            fence(Ordering::Acquire);
            if memory.head() == head {
                for slot in read.iter().filter(|slot| slot[0] == head) {
                    assert_eq!(slot[1] + slot[2], (head - start) / 16);
                }
            }
        });
        let mut taking = outlet.try_take().unwrap();
        assert_eq!(taking.evict(lane.start + 16, |_| Some(0)), 1);
        taking.give_back(16, 1);
        outside.join().unwrap();
    });
}

/// O4, O5: a lane is exchanged, emptied and handed out again while its first thread evicts what it left
/// there; what went so is told before. Kills `close_open`, `close_untold`.
#[test]
fn o4_nobody_evicts_from_another_hand_out() {
    check("o4_nobody_evicts_from_another_hand_out", || {
        let (lane, producer) = lane(64);
        assert!(write(&producer.0, 1, 16));
        let (outlet, memory) = (Arc::new(Outlet::new(lane.memory.clone())), lane.memory.clone());
        outlet.begin();
        let n_lost = Arc::new(AtomicU64::new(0));
        let scribe = {
            let (outlet, n_lost) = (outlet.clone(), n_lost.clone());
            spawn(move || {
                let producer = producer;
                let taken = take(&outlet, memory.tail());
                // Nothing was told.
                // ord: Relaxed, under the lock.
                if !outlet.close(|| n_lost.load(Ordering::Relaxed) == 0) {
                    return (taken, None);
                }
                producer.0.detach();
                // SAFETY: the model keeps the memory; the first hand-out is over.
                let start = unsafe { producer.0.attach(&memory, SERIAL, 32) };
                let next = Outlet::new(memory.clone());
                next.begin();
                assert!(write(&producer.0, 2, 16));
                (taken, Some((next, start)))
            })
        };
        let evicted = outlet.try_take().map_or(0, |mut taking| {
            let count = taking.evict(u64::MAX, |_| Some(0));
            // ord: Relaxed, under the lock.
            n_lost.fetch_add(count, Ordering::Relaxed);
            count
        });
        let (taken, next) = scribe.join().unwrap();
        if let Some((next, start)) = next {
            assert_eq!(lane.memory.head(), start, "evicted what is another's");
            assert_eq!(take(&next, lane.memory.tail()), [2]);
            assert_eq!((taken.len() as u64, evicted), (1, 0), "lost untold");
        }
    });
}

/// O1: the spiller empties a lane beside the scribe, while its producer goes on. Kills
/// `head_before_lock`.
#[test]
fn o1_scribe_and_spiller_take_each_record_once() {
    check("o1_scribe_and_spiller_take_each_record_once", || {
        let (lane, producer) = lane(64);
        let outlet = Arc::new(Outlet::new(lane.memory.clone()));
        outlet.begin();
        (1..=2).for_each(|id| assert!(write(&producer.0, id, 32)));
        let spiller = {
            let (outlet, memory) = (outlet.clone(), lane.memory.clone());
            spawn(move || take(&outlet, memory.tail()))
        };
        let mut ids = take(&outlet, lane.memory.tail());
        // A third record finds room as soon as one of them has taken something.
        let n_written = 2 + u32::from(write(&producer.0, 3, 32));
        ids.extend(spiller.join().unwrap());
        ids.extend(take(&outlet, lane.memory.tail()));
        ids.sort_unstable();
        assert_eq!(ids, (1..=n_written).collect::<Vec<_>>());
    });
}

/// O1, O4: a lane is exchanged, emptied and handed out again by the scribe while the spiller takes
/// from it. Kills `close_open`.
#[test]
fn o4_a_spiller_takes_nothing_from_another_hand_out() {
    check("o4_a_spiller_takes_nothing_from_another_hand_out", || {
        let (lane, producer) = lane(64);
        (1..=2).for_each(|id| assert!(write(&producer.0, id, 16)));
        let (outlet, memory) = (Arc::new(Outlet::new(lane.memory.clone())), lane.memory.clone());
        outlet.begin();
        let scribe = {
            let outlet = outlet.clone();
            spawn(move || {
                let producer = producer;
                let taken = take(&outlet, memory.tail());
                if !outlet.close(|| true) {
                    return (taken, None);
                }
                producer.0.detach();
                // SAFETY: the model keeps the memory; the first hand-out is over.
                unsafe { producer.0.attach(&memory, SERIAL, 32) };
                let next = Outlet::new(memory.clone());
                next.begin();
                assert!(write(&producer.0, 3, 16));
                (taken, Some(next))
            })
        };
        let taking = outlet.try_take();
        let mut ids = taking.map_or_else(Vec::new, |taking| empty(taking, lane.memory.tail()));
        let (taken, next) = scribe.join().unwrap();
        ids.extend(taken);
        ids.sort_unstable();
        match next {
            Some(next) => {
                assert_eq!(ids, [1, 2], "each once, and none of the next hand-out");
                assert_eq!(take(&next, lane.memory.tail()), [3]);
            }
            None => assert!(ids.is_sorted_by(|a, b| a < b) && !ids.contains(&3), "{ids:?}"),
        }
    });
}

/// O1, O4, P2: a producer exchanges its lane while the spiller takes from it and the scribe, which
/// finds that it has ended, empties it, unless the spiller is at it, and hands it out again when it
/// is empty. Kills `close_open`, `close_full`, `head_before_lock`.
#[test]
fn o4_a_lane_is_exchanged_beside_scribe_and_spiller() {
    check("o4_a_lane_is_exchanged_beside_scribe_and_spiller", || {
        let (old, producer) = lane(64);
        let (new, other) = lane(64);
        assert!(write(&producer.0, 1, 16));
        let (outlet, end) = (Arc::new(Outlet::new(old.memory.clone())), Arc::new(End::new()));
        outlet.begin();
        let scribe = {
            let (outlet, end, memory) = (outlet.clone(), end.clone(), old.memory.clone());
            spawn(move || {
                let other = other;
                let has_ended = end.is_set();
                let taken = take(&outlet, memory.tail());
                if !has_ended || !outlet.close(|| true) {
                    return (taken, None);
                }
                other.0.detach();
                // SAFETY: the model keeps the memory; the first hand-out is over.
                unsafe { other.0.attach(&memory, SERIAL, 32) };
                let next = Outlet::new(memory.clone());
                next.begin();
                assert!(write(&other.0, 9, 16));
                (taken, Some(next))
            })
        };
        let spiller = {
            let (outlet, memory) = (outlet.clone(), old.memory.clone());
            spawn(move || {
                // It takes a stride and lets go, and here a record is one.
                let taking = outlet.try_take();
                taking.map_or_else(Vec::new, |taking| {
                    let stride = taking.head() + 16;
                    empty(taking, stride.min(memory.tail()))
                })
            })
        };
        assert!(write(&producer.0, 2, 16));
        // SAFETY: the model keeps the memory, and nobody else has it.
        unsafe { producer.0.attach(&new.memory, SERIAL, 32) };
        end.set();
        let next_lane = Outlet::new(new.memory.clone());
        next_lane.begin();
        assert!(write(&producer.0, 3, 16));
        let (mut ids, next) = scribe.join().unwrap();
        ids.extend(spiller.join().unwrap());
        match next {
            Some(next) => {
                assert_eq!(take(&next, old.memory.tail()), [9], "the next hand-out's own")
            }
            None => ids.extend(take(&outlet, old.memory.tail())),
        }
        ids.sort_unstable();
        assert_eq!(ids, [1, 2], "each once, and none of the next hand-out");
        assert_eq!(take(&next_lane, new.memory.tail()), [3]);
    });
}
