//! The ring against a `VecDeque`, for every policy: the same calls give the same answers.

use std::collections::VecDeque;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use ttlog::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest};
use ttlog::ring::{LockFreeRingBuffer, RingBuffer};

#[derive(Clone, Debug)]
enum Op {
    Push,
    PushBatch(usize),
    TakeOne,
    TakeBatch(usize),
    TakeInto(usize),
    Drain,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Push),
        3 => (0..20_usize).prop_map(Op::PushBatch),
        3 => Just(Op::TakeOne),
        3 => (0..12_usize).prop_map(Op::TakeBatch),
        2 => (0..12_usize).prop_map(Op::TakeInto),
        1 => Just(Op::Drain),
        1 => Just(Op::Close),
    ]
}

/// What the ring is meant to be.
struct Model<T> {
    items: VecDeque<T>,
    capacity: usize,
    policy: BackPressurePolicy,
    closed: bool,
    pushed: u64,
    evicted: u64,
    returned: u64,
    delivered: u64,
}

impl<T> Model<T> {
    fn push(&mut self, item: T) -> Result<(), T> {
        self.pushed += 1;
        let full = self.items.len() == self.capacity;
        if self.closed || (full && self.policy != DropOldest) {
            self.returned += 1;
            return Err(item);
        }
        if full {
            self.items.pop_front();
            self.evicted += 1;
        }
        self.items.push_back(item);
        Ok(())
    }

    fn take(&mut self, max: usize) -> Vec<T> {
        let count = max.min(self.items.len());
        self.delivered += count as u64;
        self.items.drain(..count).collect()
    }
}

/// Block would wait for a consumer that this one thread does not have: it gets no time.
fn push<T>(ring: &LockFreeRingBuffer<T>, item: T) -> Result<(), T> {
    ring.push_timeout(item, std::time::Duration::ZERO).map_err(|error| error.into_inner())
}

fn run<T: Clone + Debug + PartialEq>(
    capacity: usize,
    policy: BackPressurePolicy,
    ops: &[Op],
    make: impl Fn(u32) -> T,
) -> Result<(), TestCaseError> {
    let ring = LockFreeRingBuffer::new(capacity, policy.clone());
    let mut model = Model {
        items: VecDeque::new(),
        capacity,
        policy: policy.clone(),
        closed: false,
        pushed: 0,
        evicted: 0,
        returned: 0,
        delivered: 0,
    };
    let mut names = (0..).map(&make);
    let mut name = || names.next().expect("there is no end to them");
    for op in ops {
        match *op {
            Op::Push => {
                let item = name();
                prop_assert_eq!(push(&ring, item.clone()), model.push(item));
            }
            Op::PushBatch(count) => {
                // A batch that blocks would never end here.
                let room = capacity - model.items.len();
                let count = if policy == Block && !model.closed { count.min(room) } else { count };
                let batch: Vec<_> = (0..count).map(|_| name()).collect();
                let rest: Vec<_> =
                    batch.iter().filter_map(|item| model.push(item.clone()).err()).collect();
                match ring.push_batch(batch) {
                    Ok(pushed) => prop_assert_eq!((pushed, rest.len()), (count, 0)),
                    Err(error) => {
                        prop_assert_eq!(error.is_closed(), model.closed);
                        prop_assert_eq!(error.pushed, count - rest.len());
                        prop_assert_eq!(error.rest, rest);
                    }
                }
            }
            Op::TakeOne => prop_assert_eq!(ring.take_one(), model.take(1).pop()),
            Op::TakeBatch(max) => prop_assert_eq!(ring.take_batch(max), model.take(max)),
            Op::TakeInto(max) => {
                let mut out = vec![make(u32::MAX)];
                let count = ring.take_into(&mut out, max);
                prop_assert_eq!(count, out.len() - 1);
                prop_assert_eq!(&out[1..], model.take(max));
            }
            Op::Drain => prop_assert_eq!(ring.drain(), model.take(capacity)),
            Op::Close => {
                ring.close();
                model.closed = true;
            }
        }
        let stats = ring.stats();
        prop_assert_eq!(ring.len(), model.items.len());
        prop_assert_eq!(stats.pushed, model.pushed);
        prop_assert_eq!(stats.evicted, model.evicted);
        prop_assert_eq!(stats.returned, model.returned);
        prop_assert_eq!(stats.delivered, model.delivered);
        let sum = stats.delivered + stats.evicted + stats.returned + stats.len as u64;
        prop_assert_eq!(sum, stats.pushed);
    }
    Ok(())
}

proptest! {
    #[test]
    fn block_is_a_queue(capacity in 1..20_usize, ops in vec(op(), 0..200)) {
        run(capacity, Block, &ops, |n| n.to_string())?;
    }

    #[test]
    fn drop_newest_is_a_queue_that_refuses(capacity in 1..20_usize, ops in vec(op(), 0..200)) {
        run(capacity, DropNewest, &ops, |n| n.to_string())?;
    }

    #[test]
    fn drop_oldest_is_a_queue_that_forgets(capacity in 1..20_usize, ops in vec(op(), 0..200)) {
        run(capacity, DropOldest, &ops, |n| n.to_string())?;
    }

    /// Items without a destructor go another way out, and rings are longer than batches.
    #[test]
    fn plain_items_are_forgotten_one_by_one(
        capacity in 1..80_usize,
        ops in vec(op(), 0..300),
    ) {
        run(capacity, DropOldest, &ops, |n| n)?;
    }

    #[test]
    fn a_snapshot_holds_the_newest(capacity in 1..20_usize, pushes in vec(0..40_usize, 0..10)) {
        let mut ring = RingBuffer::new(capacity);
        for count in pushes {
            (0..count).for_each(|n| ring.push(n));
            let newest: Vec<_> = (count.saturating_sub(capacity)..count).collect();
            prop_assert_eq!(ring.take_snapshot(), newest);
        }
    }
}
