//! Handle: the two ends of a shared ring, each with the methods of its side.

use std::fmt;
use std::time::Duration;

use super::async_::{PushFuture, TakeFuture};
use super::batch::{BatchPushError, Takes};
use super::core::{Core, Taker};
use super::policy::{PushError, TakeError};
use super::stats::Stats;
use crate::sync::Arc;

/// Pushes into a shared ring. Each thread may have a clone of its own.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new_shared(64, BackPressurePolicy::Block);
/// let producer = ring.clone_producer();
/// let threads: Vec<_> = (0..4)
///     .map(|n| {
///         let producer = producer.clone();
///         std::thread::spawn(move || producer.push(n).unwrap())
///     })
///     .collect();
/// threads.into_iter().for_each(|thread| thread.join().unwrap());
/// assert_eq!(ring.take_batch(64).len(), 4);
/// ```
pub struct ProducerHandle<T> {
    core: Arc<Core<T>>,
}

impl<T> ProducerHandle<T> {
    pub(super) fn new(core: &Arc<Core<T>>) -> Self {
        core.pusher_came();
        Self { core: Arc::clone(core) }
    }

    /// Pushes an item; if there is no room, does as the policy says.
    ///
    /// # Errors
    ///
    /// As [`LockFreeRingBuffer::push`](super::LockFreeRingBuffer::push).
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// producer.push(1).unwrap();
    /// assert_eq!(ring.drain(), [1]);
    /// ```
    #[inline]
    pub fn push(&self, item: T) -> Result<(), PushError<T>> {
        self.core.push(item)
    }

    /// Pushes an item, waiting for room no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`LockFreeRingBuffer::push_timeout`](super::LockFreeRingBuffer::push_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// (0..4).for_each(|n| producer.push(n).unwrap());
    /// let full = producer.push_timeout(4, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(full.into_inner(), 4);
    /// ```
    pub fn push_timeout(&self, item: T, timeout: Duration) -> Result<(), PushError<T>> {
        self.core.push_timeout(item, timeout)
    }

    /// Pushes the items in their order.
    ///
    /// # Errors
    ///
    /// As [`LockFreeRingBuffer::push_batch`](super::LockFreeRingBuffer::push_batch).
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// let rest = producer.push_batch(vec![1, 2, 3, 4, 5]).unwrap_err();
    /// assert_eq!((rest.pushed, rest.rest), (4, vec![5]));
    /// ```
    pub fn push_batch(&self, items: Vec<T>) -> Result<usize, BatchPushError<T>> {
        self.core.push_batch(items)
    }

    /// Pushes the items of a vector that the caller keeps, and says how many; the others stay in
    /// it.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// let mut items = vec![1, 2, 3, 4, 5];
    /// assert_eq!(producer.push_from(&mut items), 4);
    /// assert_eq!(items, [5]);
    /// ```
    pub fn push_from(&self, items: &mut Vec<T>) -> usize {
        self.core.push_all(items).0
    }

    /// Pushes an item; waits for room without blocking the thread.
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
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// block_on(producer.push_async(1)).unwrap();
    /// assert_eq!(ring.drain(), [1]);
    /// ```
    pub fn push_async(&self, item: T) -> PushFuture<'_, T> {
        PushFuture::new(&self.core, item)
    }

    /// Says whether the ring is closed, or nobody is left who could take.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let producer = ring.clone_producer();
    /// assert!(!producer.is_closed());
    /// ring.close();
    /// assert!(producer.is_closed());
    /// # let _ = producer.push(1);
    /// ```
    pub fn is_closed(&self) -> bool {
        self.core.slots.at.is_closed()
    }
}

impl<T> Clone for ProducerHandle<T> {
    fn clone(&self) -> Self {
        Self::new(&self.core)
    }
}

impl<T> Drop for ProducerHandle<T> {
    fn drop(&mut self) {
        self.core.pusher_left();
    }
}

impl<T> fmt::Debug for ProducerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProducerHandle").field(&self.core).finish()
    }
}

/// Takes from a shared ring, as the only one until it is dropped.
///
/// ```
/// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
///
/// let ring = LockFreeRingBuffer::new_shared(64, BackPressurePolicy::Block);
/// let consumer = ring.clone_consumer().unwrap();
/// ring.push(1).unwrap();
/// assert!(ring.take_batch(64).is_empty(), "the handle is the consumer");
/// assert_eq!(consumer.take_batch(64), [1]);
/// ```
pub struct ConsumerHandle<T> {
    core: Arc<Core<T>>,
}

impl<T> ConsumerHandle<T> {
    pub(super) fn new(core: &Arc<Core<T>>) -> Result<Self, TakeError> {
        if core.take_role() { Ok(Self { core: Arc::clone(core) }) } else { Err(TakeError::Taken) }
    }

    /// Takes up to `max` of the oldest items and returns at once.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push_batch(vec![1, 2, 3]).unwrap();
    /// assert_eq!(consumer.take_batch(2), [1, 2]);
    /// ```
    pub fn take_batch(&self, max: usize) -> Vec<T> {
        self.core.take_batch(Taker::Handle, max)
    }

    /// Takes up to `max` items behind those in `out`, and says how many.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// let mut out = Vec::with_capacity(8);
    /// assert_eq!(consumer.take_into(&mut out, 8), 1);
    /// ```
    #[inline]
    pub fn take_into(&self, out: &mut Vec<T>, max: usize) -> usize {
        self.core.take_into(Taker::Handle, out, max).unwrap_or(0)
    }

    /// Takes the oldest item.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// assert_eq!((consumer.take_one(), consumer.take_one()), (Some(1), None));
    /// ```
    pub fn take_one(&self) -> Option<T> {
        self.core.take_one(Taker::Handle)
    }

    /// Takes all that is there.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push_batch(vec![1, 2]).unwrap();
    /// assert_eq!(consumer.drain(), [1, 2]);
    /// ```
    pub fn drain(&self) -> Vec<T> {
        self.core.drain(Taker::Handle)
    }

    /// Takes up to `max` items, waiting for the first no longer than `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// assert_eq!(consumer.take_batch_timeout(8, Duration::from_secs(1)), [1]);
    /// assert!(consumer.take_batch_timeout(8, Duration::from_millis(1)).is_empty());
    /// ```
    pub fn take_batch_timeout(&self, max: usize, timeout: Duration) -> Vec<T> {
        self.core.take_batch_timeout(Taker::Handle, max, timeout)
    }

    /// Takes up to `max` items, waiting for the first without blocking the thread; nothing comes
    /// only if `max` is 0, or once the ring is closed and empty.
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
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// assert_eq!(block_on(consumer.take_batch_async(8)), [1]);
    /// ```
    pub fn take_batch_async(&self, max: usize) -> TakeFuture<'_, T> {
        TakeFuture::new(&self.core, Taker::Handle, max)
    }

    /// Holds the head for many takes, which then cost no exchange with other processors. `None`
    /// while another thread takes or evicts.
    ///
    /// Under [`DropOldest`](super::BackPressurePolicy::DropOldest) nothing is evicted meanwhile:
    /// items that find no room come back to their producers.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(64, BackPressurePolicy::Block);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push_batch(vec![1, 2, 3]).unwrap();
    /// let mut takes = consumer.hold().unwrap();
    /// assert_eq!(takes.take_one(), Some(1));
    /// assert_eq!(takes.take_into(&mut vec![], 8), 2);
    /// ```
    pub fn hold(&self) -> Option<Takes<'_, T>> {
        Takes::new(&self.core).ok()
    }

    /// Counts the items that are in the ring or being pushed.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// assert_eq!(consumer.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Says whether nothing is in the ring nor being pushed.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// assert!(consumer.is_empty());
    /// # ring.push(1).unwrap();
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether the ring is closed, or nobody is left who could push. Items may still be in it.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// drop(ring);
    /// assert!(consumer.is_closed(), "nobody is left who could push");
    /// assert_eq!(consumer.drain(), [1]);
    /// ```
    pub fn is_closed(&self) -> bool {
        self.core.slots.at.is_closed()
    }

    /// Counts what went through the ring.
    ///
    /// ```
    /// use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};
    ///
    /// let ring = LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    /// let consumer = ring.clone_consumer().unwrap();
    /// ring.push(1).unwrap();
    /// consumer.drain();
    /// assert_eq!(consumer.stats().delivered, 1);
    /// ```
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl<T> Drop for ConsumerHandle<T> {
    fn drop(&mut self) {
        self.core.hand_role_back();
    }
}

impl<T> fmt::Debug for ConsumerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConsumerHandle").field(&self.core).finish()
    }
}
