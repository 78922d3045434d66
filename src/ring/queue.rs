//! Queue: the ring that users hold.

use std::fmt;
use std::time::Duration;

use super::async_::{PushFuture, TakeFuture};
use super::core::{Core, Taker};
use super::handle::{ConsumerHandle, ProducerHandle};
use super::policy::{BackPressurePolicy, PushError, TakeError};
use super::stats::Stats;
use crate::error::Error;
use crate::sync::{Arc, plain};

/// A bounded queue between many producers and one consumer, with a policy for when it is full.
///
/// Items lie inline in an array that is made once; a push neither allocates nor locks nor calls the
/// kernel while nobody sleeps. Items of one producer come out in its order. Every item that was
/// pushed is delivered once, or evicted by policy, or given back with the error, or dropped with
/// the ring; [`stats`](Self::stats) counts them.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new(1024, BackPressurePolicy::Block);
/// std::thread::scope(|scope| {
///     scope.spawn(|| (0..100).for_each(|n| ring.push(n).unwrap()));
///     scope.spawn(|| (100..200).for_each(|n| ring.push(n).unwrap()));
/// });
/// assert_eq!(ring.take_batch(1000).len(), 200);
/// ```
pub struct LockFreeRingBuffer<T> {
    pub(super) core: Arc<Core<T>>,
}

impl<T> LockFreeRingBuffer<T> {
    /// Makes a ring for `capacity` items, all of which can be used. On Linux, 2 to 64 MiB of room for
    /// items are asked for as huge pages and touched here, at once, so that no push waits for a page:
    /// they are resident before the first item comes.
    ///
    /// # Panics
    ///
    /// If the capacity is 0 or needs more memory than there is, or if the policy needs
    /// files; [`try_new`](Self::try_new) answers with an error instead.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(3, BackPressurePolicy::DropNewest);
    /// assert!((0..3).all(|n| ring.push(n).is_ok()));
    /// assert!(ring.push(3).is_err());
    /// ```
    #[track_caller]
    pub fn new(capacity: usize, policy: BackPressurePolicy) -> Self {
        match Self::try_new(capacity, policy) {
            Ok(ring) => ring,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes a ring, or says why it cannot be.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or needs more memory than there is, or if the policy needs files.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// assert!(LockFreeRingBuffer::<u8>::try_new(0, BackPressurePolicy::Block).is_err());
    /// ```
    pub fn try_new(capacity: usize, policy: BackPressurePolicy) -> Result<Self, Error> {
        Self::starting_at(capacity, policy, 0)
    }

    /// Makes a ring behind an [`Arc`], from which handles are made.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) does.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(8, BackPressurePolicy::Block);
    /// let producer = ring.clone_producer();
    /// std::thread::spawn(move || producer.push("hello").unwrap()).join().unwrap();
    /// assert_eq!(ring.take_batch(8), ["hello"]);
    /// ```
    #[track_caller]
    pub fn new_shared(capacity: usize, policy: BackPressurePolicy) -> plain::Arc<Self> {
        plain::Arc::new(Self::new(capacity, policy))
    }

    pub(super) fn starting_at(
        capacity: usize,
        policy: BackPressurePolicy,
        start: u64,
    ) -> Result<Self, Error> {
        Core::new(capacity, policy, start).map(|core| Self { core: Arc::new(core) })
    }

    /// Pushes an item; if there is no room, does as the policy says.
    ///
    /// # Errors
    ///
    /// Gives the item back if the ring is closed, or if it is full and the policy makes no room.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer, PushError};
    ///
    /// let ring = LockFreeRingBuffer::new(1, BackPressurePolicy::DropNewest);
    /// assert!(ring.push(1).is_ok());
    /// assert!(matches!(ring.push(2), Err(PushError::BufferFull(2))));
    /// ```
    #[inline]
    pub fn push(&self, item: T) -> Result<(), PushError<T>> {
        self.core.push(item)
    }

    /// Pushes an item, waiting for room no longer than `timeout`. Under
    /// [`DropOldest`](BackPressurePolicy::DropOldest) there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// Gives the item back if the ring is closed, or still full when the time is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(1, BackPressurePolicy::Block);
    /// ring.push_timeout(1, Duration::from_millis(1)).unwrap();
    /// assert!(ring.push_timeout(2, Duration::from_millis(1)).unwrap_err().is_full());
    /// ```
    pub fn push_timeout(&self, item: T, timeout: Duration) -> Result<(), PushError<T>> {
        self.core.push_timeout(item, timeout)
    }

    /// Pushes an item; waits for room, where the policy waits, without blocking the thread.
    ///
    /// Dropping the future before it is ready drops the item and leaves nothing behind. A future
    /// that was woken is to be polled or dropped: until then others may wait behind it.
    ///
    /// ```
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     loop {
    /// #         if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut context) {
    /// #             return out;
    /// #         }
    /// #     }
    /// # }
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::Block);
    /// block_on(async {
    ///     ring.push_async(1).await.unwrap();
    ///     assert_eq!(ring.take_batch_async(4).await, [1]);
    /// });
    /// ```
    pub fn push_async(&self, item: T) -> PushFuture<'_, T> {
        PushFuture::new(&self.core, item)
    }

    /// Takes up to `max` of the oldest items, and returns at once, with nothing if nothing is
    /// there, or while another thread takes, or while a [`ConsumerHandle`] lives. It stops before
    /// an item whose push is still under way. One call takes no more than the capacity.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// ring.push_batch(vec![1, 2, 3]).unwrap();
    /// assert_eq!(ring.take_batch(2), [1, 2]);
    /// assert_eq!(ring.take_batch(2), [3]);
    /// ```
    pub fn take_batch(&self, max: usize) -> Vec<T> {
        self.core.take_batch(Taker::Ring, max)
    }

    /// Takes as [`take_batch`](Self::take_batch) does, behind what is in `out`, and says how many.
    /// It allocates only if `out` lacks the room.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// ring.push('b').unwrap();
    /// let mut out = vec!['a'];
    /// assert_eq!(ring.take_into(&mut out, 8), 1);
    /// assert_eq!(out, ['a', 'b']);
    /// ```
    pub fn take_into(&self, out: &mut Vec<T>, max: usize) -> usize {
        self.core.take_into(Taker::Ring, out, max).unwrap_or(0)
    }

    /// Takes the oldest item.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// ring.push(1).unwrap();
    /// assert_eq!((ring.take_one(), ring.take_one()), (Some(1), None));
    /// ```
    pub fn take_one(&self) -> Option<T> {
        self.core.take_one(Taker::Ring)
    }

    /// Takes all that is there.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// ring.push_batch(vec![1, 2, 3]).unwrap();
    /// assert_eq!(ring.drain(), [1, 2, 3]);
    /// ```
    pub fn drain(&self) -> Vec<T> {
        self.core.drain(Taker::Ring)
    }

    /// Takes up to `max` items, waiting for the first without blocking the thread. Nothing comes
    /// only if `max` is 0, or once the ring is closed and empty.
    ///
    /// Dropping the future loses no item.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let waker = std::task::Waker::noop();
    /// #     loop {
    /// #         let mut context = std::task::Context::from_waker(waker);
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.push(1).unwrap();
    /// assert_eq!(block_on(ring.take_batch_async(8)), [1]);
    /// ```
    pub fn take_batch_async(&self, max: usize) -> TakeFuture<'_, T> {
        TakeFuture::new(&self.core, Taker::Ring, max)
    }

    /// Takes up to `max` items, waiting for the first no longer than `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| ring.push(1).unwrap());
    ///     assert_eq!(ring.take_batch_timeout(8, Duration::from_secs(60)), [1]);
    /// });
    /// ```
    pub fn take_batch_timeout(&self, max: usize, timeout: Duration) -> Vec<T> {
        self.core.take_batch_timeout(Taker::Ring, max, timeout)
    }

    /// Counts the items that are in the ring, in its files or being pushed. Others may push and take before the
    /// caller looks at the number.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.push(1).unwrap();
    /// assert_eq!(ring.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Says whether nothing is in the ring nor being pushed; see [`len`](Self::len).
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// assert!(ring.is_empty());
    /// # ring.push(1).unwrap();
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says how many items fit, exactly as it was asked for.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// assert_eq!(ring.capacity(), 4);
    /// # ring.push(1).unwrap();
    /// ```
    pub fn capacity(&self) -> usize {
        self.core.slots.at.capacity()
    }

    /// Says what happens when the ring is full.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// assert_eq!(*ring.policy(), BackPressurePolicy::DropNewest);
    /// # ring.push(1).unwrap();
    /// ```
    pub fn policy(&self) -> &BackPressurePolicy {
        &self.core.policy
    }

    /// Counts what went through the ring; exact while no call is under way.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(1, BackPressurePolicy::DropNewest);
    /// let _ = (ring.push(1), ring.push(2));
    /// let stats = ring.stats();
    /// assert_eq!((stats.pushed, stats.returned, stats.len), (2, 1, 1));
    /// ```
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Measures from now on how long pushes and takes last, for [`stats`](Self::stats). That costs
    /// two clock reads a call, so it is off until asked for.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// assert!(ring.stats().push_latency.is_none());
    /// ring.measure_latency();
    /// ring.push(1).unwrap();
    /// assert_eq!(ring.stats().push_latency.unwrap().count, 1);
    /// ```
    pub fn measure_latency(&self) {
        self.core.latencies.get_or_init(Box::default);
    }

    /// Refuses new items from now on and wakes all who wait. What was accepted can still be taken.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(8, BackPressurePolicy::Block);
    /// ring.push(1).unwrap();
    /// ring.close();
    /// assert!(ring.push(2).unwrap_err().is_closed());
    /// assert_eq!(ring.drain(), [1]);
    /// ```
    pub fn close(&self) {
        self.core.close();
    }

    /// Says whether the ring is closed, which it then stays.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new(4, BackPressurePolicy::DropNewest);
    /// ring.push(1).unwrap();
    /// ring.close();
    /// assert!(ring.is_closed() && !ring.is_empty());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.core.slots.at.is_closed()
    }

    /// Makes a handle that pushes. The ring closes when it and all such handles are gone.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// let other = producer.clone();
    /// other.push(1).unwrap();
    /// assert_eq!(ring.drain(), [1]);
    /// ```
    pub fn clone_producer(self: &plain::Arc<Self>) -> ProducerHandle<T> {
        ProducerHandle::new(&self.core)
    }

    /// Hands over the role of the consumer, until the handle is dropped.
    ///
    /// # Errors
    ///
    /// If another handle has it.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer, TakeError};
    ///
    /// let ring = LockFreeRingBuffer::<u8>::new_shared(8, BackPressurePolicy::Block);
    /// let consumer = ring.clone_consumer().unwrap();
    /// assert_eq!(ring.clone_consumer().unwrap_err(), TakeError::Taken);
    /// drop(consumer);
    /// assert!(ring.clone_consumer().is_ok());
    /// ```
    pub fn clone_consumer(self: &plain::Arc<Self>) -> Result<ConsumerHandle<T>, TakeError> {
        ConsumerHandle::new(&self.core)
    }
}

impl<T> Drop for LockFreeRingBuffer<T> {
    fn drop(&mut self) {
        self.core.pusher_left();
        self.core.taker_left();
    }
}

impl<T> fmt::Debug for LockFreeRingBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
