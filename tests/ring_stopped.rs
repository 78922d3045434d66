//! A producer or a consumer that stands still in the middle of a call stalls nobody else.
//!
//! SIGSTOP stops a whole process. Here one thread is stopped at the instruction that matters: the
//! page of one slot is closed, so that the thread faults when it moves its item there, behind the
//! claim and before the stamp, and the handler of the fault does not return until it may.
#![expect(unsafe_code, reason = "closes pages, installs a signal handler, counts allocations")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{scope, yield_now};
use std::time::{Duration, Instant};

use ttlog::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

const CAPACITY: usize = 4;
/// Enough that each slot is met, also when positions have gone round.
const ROUNDS: usize = 3 * CAPACITY;
const PAGE: usize = 4096;
const WORDS: usize = PAGE / size_of::<u64>();

/// The address of the one allocation that has the shape of the slots.
static SLOTS: AtomicUsize = AtomicUsize::new(0);
static STANDS: AtomicBool = AtomicBool::new(false);
static MAY_GO: AtomicBool = AtomicBool::new(false);

/// Remembers where the slots of the ring lie.
struct Watching;

// SAFETY: all is handed on as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as of the caller.
        let at = unsafe { System.alloc(layout) };
        if layout == Layout::new::<[Item; CAPACITY]>() {
            SLOTS.store(at as usize, Ordering::SeqCst);
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as of the caller.
        unsafe { System.dealloc(at, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// An item that fills a page, so that one slot can be closed without its neighbours.
#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Item([u64; WORDS]);

impl Item {
    fn new(n: u64) -> Self {
        Self([n; WORDS])
    }

    fn number(&self) -> u64 {
        assert!(self.0.iter().all(|word| *word == self.0[0]), "half an item");
        self.0[0]
    }
}

fn numbers(items: &[Item]) -> Vec<u64> {
    items.iter().map(Item::number).collect()
}

/// Keeps the thread that touched a closed slot until it may go; then it tries again.
extern "C" fn stand_still(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid description of the fault.
    let fault = unsafe { *info };
    // SAFETY: the signal is SIGSEGV, whose description holds an address.
    let at = unsafe { fault.si_addr() } as usize;
    let slots = SLOTS.load(Ordering::SeqCst);
    if !(slots..slots + CAPACITY * PAGE).contains(&at) {
        // SAFETY: a fault of another kind ends the process when it happens again.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    STANDS.store(true, Ordering::SeqCst);
    while !MAY_GO.load(Ordering::SeqCst) {
        // SAFETY: a sleep is allowed in a signal handler.
        unsafe { libc::usleep(50) };
    }
    STANDS.store(false, Ordering::SeqCst);
}

/// The handler is one for all threads, and so are the slots: one test at a time.
fn install() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|broken| broken.into_inner());
    // SAFETY: all zeros is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = stand_still as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler does only what a handler may do.
    let done = unsafe { libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
    guard
}

/// A slot that nobody can touch; open again when it is dropped, and who stood there goes on.
struct Closed(*mut libc::c_void);

impl Closed {
    fn slot(index: usize) -> Self {
        MAY_GO.store(false, Ordering::SeqCst);
        let closed = Self((SLOTS.load(Ordering::SeqCst) + index * PAGE) as *mut libc::c_void);
        closed.allow(libc::PROT_NONE);
        closed
    }

    fn allow(&self, what: libc::c_int) {
        // SAFETY: the page belongs to the slots of a living ring alone.
        let done = unsafe { libc::mprotect(self.0, PAGE, what) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn wait_until_met(&self) {
        while !STANDS.load(Ordering::SeqCst) {
            yield_now();
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.allow(libc::PROT_READ | libc::PROT_WRITE);
        MAY_GO.store(true, Ordering::SeqCst);
        while STANDS.load(Ordering::SeqCst) {
            yield_now();
        }
    }
}

/// The ring is full, and a thread stands still: the policy applies, and nobody waits for long.
fn check_full(ring: &LockFreeRingBuffer<Item>) {
    let began = Instant::now();
    let full = match ring.policy() {
        Block => ring.push_timeout(Item::new(99), Duration::from_millis(2)),
        _ => ring.push(Item::new(99)),
    };
    let full = full.expect_err("there is no room, and none can be made");
    assert!(full.is_full() && full.into_inner().number() == 99);
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for the stopped thread");
}

/// A ring whose next position lies in the slot `round` modulo the capacity.
fn ring_at(policy: &BackPressurePolicy, round: usize) -> LockFreeRingBuffer<Item> {
    let ring = LockFreeRingBuffer::new(CAPACITY, policy.clone());
    for n in 0..round as u64 {
        ring.push(Item::new(n)).unwrap();
        assert_eq!(numbers(&ring.drain()), [n]);
    }
    ring
}

#[test]
fn a_producer_stopped_between_claim_and_stamp_stalls_nobody_until_the_ring_is_full() {
    let _one = install();
    for (policy, round) in cases() {
        let ring = ring_at(&policy, round);
        let closed = Closed::slot(round % CAPACITY);
        scope(|scope| {
            scope.spawn(|| ring.push(Item::new(0)).unwrap());
            closed.wait_until_met();
            assert_eq!(ring.len(), 1, "its position is claimed");
            assert!(ring.take_batch(1).is_empty(), "and cannot be taken");
            for n in 1..CAPACITY as u64 {
                ring.push(Item::new(n)).unwrap();
                assert!(ring.drain().is_empty(), "a take passes over nothing");
            }
            check_full(&ring);
            assert_eq!(ring.len(), CAPACITY);
            drop(closed);
        });
        assert_eq!(numbers(&ring.drain()), [0, 1, 2, 3]);
    }
}

#[test]
fn a_consumer_stopped_while_it_takes_stalls_nobody_until_the_ring_is_full() {
    let _one = install();
    for (policy, round) in cases() {
        let ring = ring_at(&policy, round);
        ring.push(Item::new(0)).unwrap();
        let closed = Closed::slot(round % CAPACITY);
        let taken = scope(|scope| {
            let consumer = scope.spawn(|| ring.drain());
            closed.wait_until_met();
            let room = CAPACITY - ring.len();
            for n in 0..room as u64 {
                assert!(ring.take_one().is_none(), "one takes at a time");
                ring.push(Item::new(1 + n)).unwrap();
            }
            check_full(&ring);
            drop(closed);
            let mut taken = numbers(&consumer.join().unwrap());
            taken.extend(numbers(&ring.drain()));
            taken
        });
        assert_eq!(taken, [0, 1, 2, 3], "all of them, in order");
    }
}

fn cases() -> impl Iterator<Item = (BackPressurePolicy, usize)> {
    [Block, DropOldest, DropNewest]
        .into_iter()
        .flat_map(|policy| (0..ROUNDS).map(move |round| (policy.clone(), round)))
}
