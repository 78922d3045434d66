//! Compat: the ring of one thread that keeps the newest, with the interface of the older type.

use super::policy::BackPressurePolicy;
use super::queue::LockFreeRingBuffer;

/// Keeps the newest items: a push into a full ring drops the oldest.
///
/// ```
/// use ttlog::ring::RingBuffer;
///
/// let mut ring = RingBuffer::new(3);
/// (0..5).for_each(|n| ring.push(n));
/// assert_eq!(ring.take_snapshot(), [2, 3, 4]);
/// assert!(ring.take_snapshot().is_empty(), "a snapshot drains");
/// ```
#[derive(Debug)]
pub struct RingBuffer<T> {
    ring: LockFreeRingBuffer<T>,
}

impl<T> RingBuffer<T> {
    /// Makes a ring that keeps the newest `capacity` items.
    ///
    /// # Panics
    ///
    /// If the capacity is 0.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// let ring = RingBuffer::<u8>::new(3);
    /// assert_eq!(ring.capacity(), 3);
    /// ```
    #[track_caller]
    pub fn new(capacity: usize) -> Self {
        Self { ring: LockFreeRingBuffer::new(capacity, BackPressurePolicy::DropOldest) }
    }

    /// Pushes an item, and drops the oldest if there is no room.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// let mut ring = RingBuffer::new(1);
    /// ring.push("old");
    /// ring.push("new");
    /// assert_eq!(ring.take_snapshot(), ["new"]);
    /// ```
    pub fn push(&mut self, item: T) {
        let pushed = self.ring.push(item);
        debug_assert!(pushed.is_ok(), "nobody else can hold the head of a ring that is ours");
    }

    /// Takes all items, the oldest first.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// let mut ring = RingBuffer::new(2);
    /// ring.push(1);
    /// assert_eq!(ring.take_snapshot(), [1]);
    /// assert!(ring.is_empty());
    /// ```
    pub fn take_snapshot(&mut self) -> Vec<T> {
        self.ring.drain()
    }

    /// Counts the items.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// let mut ring = RingBuffer::new(2);
    /// (0..9).for_each(|n| ring.push(n));
    /// assert_eq!(ring.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Says whether there are none.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// assert!(RingBuffer::<u8>::new(2).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Says how many items it keeps.
    ///
    /// ```
    /// use ttlog::ring::RingBuffer;
    ///
    /// assert_eq!(RingBuffer::<u8>::new(5).capacity(), 5);
    /// ```
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}
