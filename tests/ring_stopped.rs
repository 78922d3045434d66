//! A producer or a consumer that the kernel stops in the middle of a call stalls nobody else.
//!
//! SIGSTOP stops a whole process. Here one thread gets a signal whose handler does not return until
//! it is told to: the thread stands still at whatever instruction it was, which is now and then the
//! one between the claim of a slot and its stamp. Whether it was is seen from outside: a position
//! is claimed that cannot be taken.
#![expect(unsafe_code, reason = "installs a signal handler and sends signals to threads")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, where a panic is the report, and their figures"
)]

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{scope, yield_now};
use std::time::{Duration, Instant};

use ttlog::ring::BackPressurePolicy::{self, Block, DropNewest, DropOldest};
use ttlog::ring::LockFreeRingBuffer;

const CAPACITY: usize = 4;
/// How often each case has to be met, and how long that may take.
const HITS: usize = 5;
const LONG: Duration = Duration::from_secs(60);

static STANDS: AtomicBool = AtomicBool::new(false);
static MAY_GO: AtomicBool = AtomicBool::new(false);

/// Stops the thread that gets the signal until it may go.
extern "C" fn stand_still(_: libc::c_int) {
    STANDS.store(true, Ordering::SeqCst);
    while !MAY_GO.load(Ordering::SeqCst) {
        // SAFETY: a sleep is allowed in a signal handler.
        unsafe { libc::usleep(50) };
    }
    STANDS.store(false, Ordering::SeqCst);
}

/// The signal is one for all threads: one test at a time.
fn install() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|broken| broken.into_inner());
    // SAFETY: all zeros is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = stand_still as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler does only what a handler may do.
    let done = unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
    guard
}

/// The thread to stop, as the kernel names it.
#[derive(Default)]
struct Victim(AtomicI32);

impl Victim {
    fn is_me(&self) {
        // SAFETY: it only says the thread's number.
        let tid = unsafe { libc::syscall(libc::SYS_gettid) };
        self.0.store(tid as i32, Ordering::SeqCst);
    }

    fn stop(&self) {
        MAY_GO.store(false, Ordering::SeqCst);
        let tid = loop {
            match self.0.load(Ordering::SeqCst) {
                0 => yield_now(),
                tid => break tid,
            }
        };
        let process = std::process::id();
        // SAFETY: it sends a signal that has a handler to a thread of this process.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGUSR2) };
        assert_eq!(sent, 0);
        while !STANDS.load(Ordering::SeqCst) {
            yield_now();
        }
    }

    fn go_on(&self) {
        MAY_GO.store(true, Ordering::SeqCst);
        while STANDS.load(Ordering::SeqCst) {
            yield_now();
        }
    }
}

/// An item so large that it takes a while to move: that is when its thread is mostly met.
#[derive(Clone, Copy)]
struct Item([u64; 1024]);

impl Item {
    fn new(n: u64) -> Self {
        Self([n; 1024])
    }

    fn number(&self) -> u64 {
        assert!(self.0.iter().all(|word| *word == self.0[0]), "half an item");
        self.0[0]
    }
}

fn numbers(items: &[Item]) -> Vec<u64> {
    items.iter().map(Item::number).collect()
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

fn stop_a_producer(policy: &BackPressurePolicy) -> bool {
    let ring = LockFreeRingBuffer::new(CAPACITY, policy.clone());
    let (victim, enough) = (Victim::default(), AtomicBool::new(false));
    scope(|scope| {
        scope.spawn(|| {
            victim.is_me();
            while !enough.load(Ordering::SeqCst) {
                // Only into a ring that has room: who waits for it takes a lock, and a thread that
                // is stopped with a lock does stall others.
                if ring.len() < CAPACITY {
                    ring.push(Item::new(7)).unwrap();
                }
            }
        });
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(300) {
            ring.drain();
        }
        victim.stop();
        ring.drain();
        // It stands between claim and stamp, alone in the ring.
        let hit = ring.len() == 1 && ring.take_batch(1).is_empty();
        if hit {
            for n in 1..CAPACITY as u64 {
                ring.push(Item::new(n)).unwrap();
                assert!(ring.drain().is_empty(), "a take passes over nothing");
            }
            check_full(&ring);
            assert_eq!(ring.len(), CAPACITY);
        }
        enough.store(true, Ordering::SeqCst);
        victim.go_on();
        if hit {
            let mut taken = Vec::new();
            while taken.len() < CAPACITY {
                taken.extend(ring.take_one());
            }
            assert_eq!(numbers(&taken), [7, 1, 2, 3]);
        }
        hit
    })
}

fn stop_the_consumer(policy: &BackPressurePolicy) -> bool {
    let ring = LockFreeRingBuffer::new(CAPACITY, policy.clone());
    let (victim, enough) = (Victim::default(), AtomicBool::new(false));
    scope(|scope| {
        let consumer = scope.spawn(|| {
            victim.is_me();
            let mut taken = Vec::new();
            while !enough.load(Ordering::SeqCst) {
                ring.take_into(&mut taken, CAPACITY);
            }
            ring.take_into(&mut taken, CAPACITY);
            numbers(&taken)
        });
        let mut pushed = Vec::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(300) {
            let n = pushed.len() as u64;
            if ring.len() < CAPACITY && ring.push(Item::new(n)).is_ok() {
                pushed.push(n);
            }
        }
        victim.stop();
        // Only its own take can keep this one from the items.
        let hit = !ring.is_empty() && ring.take_batch(0).is_empty() && {
            let before = ring.len();
            ring.take_one().is_none() && ring.len() == before
        };
        if hit {
            while ring.len() < CAPACITY {
                let n = pushed.len() as u64;
                ring.push(Item::new(n)).unwrap();
                pushed.push(n);
            }
            check_full(&ring);
        }
        enough.store(true, Ordering::SeqCst);
        victim.go_on();
        let mut taken = consumer.join().unwrap();
        if hit {
            taken.extend(numbers(&ring.drain()));
            assert_eq!(taken, pushed, "all of them, in order");
        }
        hit
    })
}

/// Tries until the thread was met where it hurts.
fn until_met(what: &str, attempt: fn(&BackPressurePolicy) -> bool) {
    let _one = install();
    for policy in [Block, DropOldest, DropNewest] {
        let began = Instant::now();
        let (mut hits, mut tries) = (0, 0);
        while hits < HITS {
            assert!(
                began.elapsed() < LONG,
                "{what}, {policy:?}: met {hits} times in {tries} tries"
            );
            tries += 1;
            hits += usize::from(attempt(&policy));
        }
        eprintln!("{what}, {policy:?}: met {hits} times in {tries} tries");
    }
}

#[test]
fn a_producer_stopped_between_claim_and_stamp_stalls_nobody_until_the_ring_is_full() {
    until_met("a producer", stop_a_producer);
}

#[test]
fn a_consumer_stopped_while_it_takes_stalls_nobody_until_the_ring_is_full() {
    until_met("a consumer", stop_the_consumer);
}
