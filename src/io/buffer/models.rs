//! Models of what is lock-free: the free list (L1 to L6) and the counter.
#![expect(unsafe_code, reason = "the models check that a shared cell has one user")]

use loom::model::Builder;
use loom::thread;

use super::free_list::{FreeList, Held};
use super::generation::GenerationCounter;
use crate::sync::Arc;
use crate::sync::cell::UnsafeCell;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// L1, L2, L3: a value has one holder, who sees what the last holder wrote.
#[test]
fn model_a_value_has_one_holder() {
    check(|| {
        let list = Arc::new(FreeList::new());
        for n in 0..2_u64 {
            list.push(list.make(Arc::new(UnsafeCell::new(n))).unwrap());
        }
        let take_and_give = |list: Arc<FreeList<Arc<UnsafeCell<u64>>>>| {
            for _ in 0..2 {
                let Some(value) = list.pop() else { continue };
                // SAFETY: loom reports any other holder.
                value.get().with_mut(|n| unsafe { *n += 1 });
                list.push(value);
            }
        };
        let other = {
            thread::spawn({
                let list = list.clone();
                move || take_and_give(list)
            })
        };
        take_and_give(list.clone());
        other.join().unwrap();
        let left = std::iter::from_fn(|| list.pop()).count();
        assert_eq!(left, 2);
    });
}

/// L4: a pop that slept while its head went and came back takes no node that is in use.
#[test]
fn model_a_stale_pop_fails() {
    check(|| {
        let list = Arc::new(FreeList::new());
        for n in 0..3_u64 {
            list.push(list.make(n).unwrap());
        }
        let other = thread::spawn({
            let list = list.clone();
            move || list.pop().map(|value| *value.get())
        });
        // Pops 2 and 1, and gives 2 back: the head is the same node as before, its next is not.
        let first = list.pop();
        let second = list.pop();
        let mut held: Vec<_> = second.iter().map(|value| *value.get()).collect();
        match first {
            Some(value) => list.push(value),
            None => unreachable!("there are three"),
        }
        held.extend(other.join().unwrap());
        held.extend(std::iter::from_fn(|| list.pop()).map(|value| *value.get()));
        held.sort_unstable();
        assert_eq!(held, [0, 1, 2]);
    });
}

/// L6: what another thread gives back goes past the home, which its thread uses meanwhile.
#[test]
fn model_a_home_has_one_thread() {
    check(|| {
        let (list, home) = FreeList::at_home();
        let list = Arc::new(list);
        let [here, there] = [0, 1].map(|n| list.make(n).unwrap());
        let give = |list: &FreeList<u64>, held: Held<u64>| {
            if let Err(held) = held.go_home() {
                list.push(held);
            }
        };
        let other = thread::spawn({
            let list = list.clone();
            move || give(&list, there)
        });
        give(&list, here);
        assert_eq!(home.pop().map(|held| *held.get()), Some(0));
        home.end();
        other.join().unwrap();
        assert_eq!(list.pop().map(|held| *held.get()), Some(1));
        assert!(home.pop().is_none());
    });
}

/// A buffer that was marked by one thread is seen as it was left by the next.
#[test]
fn model_a_mark_hands_over() {
    check(|| {
        let shared = Arc::new((GenerationCounter::new(), UnsafeCell::new(0)));
        let use_once = |shared: Arc<(GenerationCounter, UnsafeCell<u64>)>| {
            if shared.0.advance_from(false) {
                // SAFETY: loom reports any other user.
                shared.1.with_mut(|n| unsafe { *n += 1 });
                assert!(shared.0.advance_from(true));
            }
        };
        let other = thread::spawn({
            let shared = shared.clone();
            move || use_once(shared)
        });
        use_once(shared.clone());
        other.join().unwrap();
        assert_eq!(shared.0.get() % 2, 0);
        assert_eq!(shared.0.increment() % 2, 1);
    });
}
