//! Queues: the ring and its rivals behind one interface, each as its users would use it.
#![expect(unsafe_code, reason = "drives rings whose interface is unsafe")]

use std::cell::UnsafeCell;

use ttlog::ring::{BackPressurePolicy, ConsumerHandle, LockFreeRingBuffer};

/// The most items that a consumer asks for at once, where its queue knows batches.
pub const TAKE_MAX: usize = 256;

/// A bounded queue that one thread takes from.
pub trait Queue<T: Copy>: Send + Sync + 'static {
    const NAME: &'static str;
    const PRODUCERS_MAX: usize = usize::MAX;
    fn new(capacity: usize) -> Self;
    fn push(&self, item: T) -> bool;
    /// Called by one thread only.
    fn take(&self, out: &mut Vec<T>) -> usize;
    /// Pushes from the front of `items`; those that find no room stay.
    fn push_some(&self, items: &mut Vec<T>) {
        let pushed = items.iter().take_while(|item| self.push(**item)).count();
        items.drain(..pushed);
    }
}

pub struct Ttlog<T> {
    ring: std::sync::Arc<LockFreeRingBuffer<T>>,
    consumer: ConsumerHandle<T>,
}

impl<T: Copy + Send + 'static> Queue<T> for Ttlog<T> {
    const NAME: &'static str = "ttlog";
    fn new(capacity: usize) -> Self {
        let ring = LockFreeRingBuffer::new_shared(capacity, BackPressurePolicy::DropNewest);
        let consumer = ring.clone_consumer().unwrap();
        Self { ring, consumer }
    }
    #[inline(always)]
    fn push(&self, item: T) -> bool {
        self.ring.push(item).is_ok()
    }
    #[inline(always)]
    fn take(&self, out: &mut Vec<T>) -> usize {
        self.consumer.take_into(out, TAKE_MAX)
    }
    fn push_some(&self, items: &mut Vec<T>) {
        self.ring.push_from(items);
    }
}

pub struct TtlogOldest<T> {
    ring: std::sync::Arc<LockFreeRingBuffer<T>>,
    consumer: ConsumerHandle<T>,
}

impl<T: Copy + Send + 'static> Queue<T> for TtlogOldest<T> {
    const NAME: &'static str = "ttlog DropOldest";
    fn new(capacity: usize) -> Self {
        let ring = LockFreeRingBuffer::new_shared(capacity, BackPressurePolicy::DropOldest);
        let consumer = ring.clone_consumer().unwrap();
        Self { ring, consumer }
    }
    #[inline(always)]
    fn push(&self, item: T) -> bool {
        self.ring.push(item).is_ok()
    }
    fn take(&self, out: &mut Vec<T>) -> usize {
        self.consumer.take_into(out, TAKE_MAX)
    }
}

/// Takes one by one what a queue without batches gives.
fn take_each<T>(out: &mut Vec<T>, mut pop: impl FnMut() -> Option<T>) -> usize {
    let before = out.len();
    while out.len() - before < TAKE_MAX
        && let Some(item) = pop()
    {
        out.push(item);
    }
    out.len() - before
}

macro_rules! rival {
    ($name:ident, $title:literal, $inner:ty, $new:expr, $push:expr, $pop:expr) => {
        pub struct $name<T>($inner);
        impl<T: Copy + Send + Sync + Default + 'static> Queue<T> for $name<T> {
            const NAME: &'static str = $title;
            fn new(capacity: usize) -> Self {
                let make: fn(usize) -> $inner = $new;
                Self(make(capacity))
            }
            #[inline(always)]
            fn push(&self, item: T) -> bool {
                let push = $push;
                push(&self.0, item)
            }
            #[inline(always)]
            fn take(&self, out: &mut Vec<T>) -> usize {
                let pop = $pop;
                take_each(out, || pop(&self.0))
            }
        }
    };
}

type Pair<S, R> = (S, R);

rival!(
    ArrayQueue,
    "crossbeam ArrayQueue",
    crossbeam_queue::ArrayQueue<T>,
    crossbeam_queue::ArrayQueue::new,
    |queue: &crossbeam_queue::ArrayQueue<T>, item| queue.push(item).is_ok(),
    |queue: &crossbeam_queue::ArrayQueue<T>| queue.pop()
);
rival!(
    ArrayQueueForce,
    "ArrayQueue force_push",
    crossbeam_queue::ArrayQueue<T>,
    crossbeam_queue::ArrayQueue::new,
    |queue: &crossbeam_queue::ArrayQueue<T>, item| {
        queue.force_push(item);
        true
    },
    |queue: &crossbeam_queue::ArrayQueue<T>| queue.pop()
);
rival!(
    Channel,
    "crossbeam-channel",
    Pair<crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>>,
    crossbeam_channel::bounded,
    |pair: &Pair<crossbeam_channel::Sender<T>, _>, item| pair.0.try_send(item).is_ok(),
    |pair: &Pair<_, crossbeam_channel::Receiver<T>>| pair.1.try_recv().ok()
);
rival!(
    Thingbuf,
    "thingbuf",
    thingbuf::StaticLike<T>,
    thingbuf::make,
    |queue: &thingbuf::StaticLike<T>, item| queue.push(item).is_ok(),
    |queue: &thingbuf::StaticLike<T>| queue.pop()
);
rival!(
    Concurrent,
    "concurrent-queue",
    concurrent_queue::ConcurrentQueue<T>,
    concurrent_queue::ConcurrentQueue::bounded,
    |queue: &concurrent_queue::ConcurrentQueue<T>, item| queue.push(item).is_ok(),
    |queue: &concurrent_queue::ConcurrentQueue<T>| queue.pop().ok()
);
rival!(
    Kanal,
    "kanal",
    Pair<kanal::Sender<T>, kanal::Receiver<T>>,
    kanal::bounded,
    |pair: &Pair<kanal::Sender<T>, _>, item| matches!(pair.0.try_send(item), Ok(true)),
    |pair: &Pair<_, kanal::Receiver<T>>| pair.1.try_recv().ok().flatten()
);

/// Its capacity is part of its type; here always 1024.
pub struct Heapless<T>(Box<heapless::mpmc::Queue<T, 1024>>);

impl<T: Copy + Send + 'static> Queue<T> for Heapless<T> {
    const NAME: &'static str = "heapless mpmc";
    fn new(_: usize) -> Self {
        #[expect(deprecated, reason = "its replacement is not out yet")]
        let queue = heapless::mpmc::Queue::new();
        Self(Box::new(queue))
    }
    #[inline(always)]
    fn push(&self, item: T) -> bool {
        self.0.enqueue(item).is_ok()
    }
    #[inline(always)]
    fn take(&self, out: &mut Vec<T>) -> usize {
        take_each(out, || self.0.dequeue())
    }
}

/// One producer only: shown for comparison, not a rival of the mark.
pub struct Rtrb<T>(UnsafeCell<rtrb::Producer<T>>, UnsafeCell<rtrb::Consumer<T>>);

// SAFETY: the harness pushes from one thread and takes from one.
unsafe impl<T: Send> Sync for Rtrb<T> {}

impl<T: Copy + Send + 'static> Queue<T> for Rtrb<T> {
    const NAME: &'static str = "rtrb (SPSC)";
    const PRODUCERS_MAX: usize = 1;
    fn new(capacity: usize) -> Self {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        Self(UnsafeCell::new(producer), UnsafeCell::new(consumer))
    }
    #[inline(always)]
    fn push(&self, item: T) -> bool {
        // SAFETY: one thread pushes.
        unsafe { (*self.0.get()).push(item).is_ok() }
    }
    #[inline(always)]
    fn take(&self, out: &mut Vec<T>) -> usize {
        // SAFETY: one thread takes.
        let consumer = unsafe { &mut *self.1.get() };
        take_each(out, || consumer.pop().ok())
    }
}

mod thingbuf {
    //! The crate's queue hands out references; here they are filled and read by value.
    use ::thingbuf::ThingBuf;

    pub struct StaticLike<T>(ThingBuf<T>);

    pub fn make<T: Default + Clone>(capacity: usize) -> StaticLike<T> {
        StaticLike(ThingBuf::new(capacity))
    }

    impl<T: Copy + Default> StaticLike<T> {
        #[inline(always)]
        pub fn push(&self, item: T) -> Result<(), ()> {
            *self.0.push_ref().map_err(drop)? = item;
            Ok(())
        }
        #[inline(always)]
        pub fn pop(&self) -> Option<T> {
            self.0.pop_ref().map(|item| *item)
        }
    }
}
