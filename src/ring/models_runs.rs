//! Models of runs, which have one stamp for many values.
//!
//! See the parent for how to run them.

use loom::thread::spawn;

use super::{DropNewest, awake, check, take, take_exactly};

/// I2: a run is seen whole or not at all, and taken in parts. Kills `run_late`, `known_lost`.
#[test]
fn a_run_is_seen_whole_and_taken_in_parts() {
    check(|| {
        let ring = awake(4, DropNewest, 0);
        let producer = ring.clone();
        let thread = spawn(move || producer.push_batch(vec![1, 2, 3]).unwrap());
        let early = take(&ring, 1);
        assert!(early.is_empty() || early == [1], "{early:?}");
        thread.join().unwrap();
        let mut items = early;
        while let [.., last] = items[..]
            && last < 3
        {
            let taken = take(&ring, 1);
            assert_eq!(taken.len(), 1, "what was seen committed stays so");
            items.extend(taken);
        }
        items.extend(take(&ring, 3));
        assert_eq!(items, [1, 2, 3]);
    });
}

/// I2, I3: a run lies over stamps of an earlier lap, and over the end of the array.
#[test]
fn a_run_lies_over_what_was_there_before() {
    check(|| {
        let ring = awake(2, DropNewest, u64::MAX / 2 - 1);
        let producer = ring.clone();
        let thread = spawn(move || {
            producer.push(1).unwrap();
            producer.push_batch(vec![2, 3, 4]).map_or_else(|error| error.pushed, |pushed| pushed)
        });
        let mut items = take_exactly(&ring, 1);
        let pushed = thread.join().unwrap();
        items.extend(take(&ring, 2));
        items.extend(take(&ring, 2));
        assert_eq!(items, (1..=1 + pushed).collect::<Vec<_>>());
    });
}
