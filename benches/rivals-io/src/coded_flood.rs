//! Raw that encodes: the flood of `scribe` through the raw crate, with what has to be done by anybody
//! whose events come from another thread and whose blocks are checked.
//!
//! ```text
//! caller ──► ring of bytes, as long as ttlog's lane ──► writer: blocks ──► kernel
//!            | len u64 | number u64 | text |             | crc u32 | len u32 | first u64 | events
//! ```
//!
//! The caller puts a head of 16 bytes before each event, and the writer copies as many whole events
//! at once as there are, up to 64 KiB, into a registered block whose CRC-32C it makes, by the crate
//! `crc32c` or as ttlog does; it keeps the kernel busy, and has nobody to wake but the caller, since
//! there is one thread less than in ttlog. Nothing of what else a log does is in it: no memory that a
//! reader or an adopter finds, no definitions, no clock, no levels, no losses.
#![expect(unsafe_code, reason = "the raw interface is unsafe")]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::Thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ttlog::__private::Sum;
use ttlog::io::PinnedBuffer;

use crate::BLOCK;
use crate::scribe::{BYTES, Flood, N_EVENTS, RESERVE, TEXT, dir, own_thread, process};

/// As ttlog's lane.
const RING: usize = 1 << 20;
const BLOCKS: usize = 16;
const HEAD: usize = 16;
/// Bytes that are copied at once.
const STRIDE: usize = 64 << 10;
const EVENT: usize = HEAD + TEXT;
const PER_BLOCK: usize = (BLOCK - HEAD) / EVENT;
/// Instead of a length: the next event lies at the ring's beginning.
const SKIP: u64 = u64::MAX;
/// Looks at the other side before a thread sleeps.
const SPINS: usize = 300;
const NAP: Duration = Duration::from_micros(50);

/// A count on a pair of cache lines of its own.
#[repr(align(128))]
struct Apart(AtomicU64);

/// One thread's bytes on their way to another.
struct Ring {
    bytes: Box<[UnsafeCell<u8>]>,
    head: Apart,
    tail: Apart,
    /// The caller sleeps until there is room.
    waits: AtomicBool,
}

// SAFETY: a byte is the caller's until the tail has passed it, and the writer's until the head has.
unsafe impl Sync for Ring {}

impl Ring {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(RING);
        bytes.resize_with(RING, || UnsafeCell::new(1));
        let count = || Apart(AtomicU64::new(0));
        let waits = AtomicBool::new(false);
        Self { bytes: bytes.into(), head: count(), tail: count(), waits }
    }

    /// The bytes from `position` up to the ring's end.
    fn at(&self, position: u64) -> (*mut u8, usize) {
        let at = position as usize % RING;
        (self.bytes[at].get(), RING - at)
    }
}

/// The caller's side.
struct Sender<'a> {
    ring: &'a Ring,
    tail: u64,
    /// The head as of the last look.
    head: u64,
}

impl Sender<'_> {
    fn send(&mut self, number: u64, text: &[u8]) {
        let len = HEAD + text.len();
        let (mut to, left) = self.ring.at(self.tail);
        if left < len {
            self.wait(left);
            // SAFETY: the eight bytes are the caller's, since there is room.
            unsafe { to.cast::<u64>().write(SKIP) };
            self.tail += left as u64;
            to = self.ring.at(self.tail).0;
        }
        self.wait(len);
        // SAFETY: as above, and `len` bytes lie before the ring's end.
        unsafe {
            to.cast::<[u64; 2]>().write([text.len() as u64, number]);
            to.add(HEAD).copy_from_nonoverlapping(text.as_ptr(), text.len());
        }
        self.tail += len as u64;
        // ord: Release, pairs with the Acquire in `fill`: the event is seen.
        self.ring.tail.0.store(self.tail, Ordering::Release);
    }

    /// Waits for so much room.
    fn wait(&mut self, len: usize) {
        let until = self.tail + len as u64;
        if until <= self.head + RING as u64 {
            return;
        }
        let mut has_room = || {
            // ord: Acquire, pairs with the Release in `give_back`: the bytes were copied.
            self.head = self.ring.head.0.load(Ordering::Acquire);
            until <= self.head + RING as u64
        };
        for _ in 0..SPINS {
            if has_room() {
                return;
            }
            std::hint::spin_loop();
        }
        loop {
            // ord: Relaxed, ordered by the fence.
            self.ring.waits.store(true, Ordering::Relaxed);
            // ord: SeqCst, one of the two sides sees what the other stored before its own.
            fence(Ordering::SeqCst);
            if has_room() {
                return;
            }
            std::thread::park();
        }
    }
}

/// The writer's side: events into blocks, blocks to the kernel.
struct Writer<'a> {
    ring: &'a Ring,
    caller: Thread,
    head: u64,
    blocks: PinnedBuffer,
    free: Vec<usize>,
    /// Blocks that are full and not with the kernel yet.
    ready: VecDeque<usize>,
    filling: Option<Filling>,
    n_events: u64,
    as_ttlog: bool,
    n_begun: usize,
    n_flying: usize,
    depth: usize,
    file: std::fs::File,
    io: IoUring,
}

struct Filling {
    block: usize,
    len: usize,
    sum: Sum,
    first: u64,
}

impl Writer<'_> {
    fn run(mut self) {
        while self.n_begun * PER_BLOCK < N_EVENTS || self.n_flying > 0 || !self.ready.is_empty() {
            let before = self.n_events;
            self.fill();
            let is_idle = self.n_events == before;
            let must_wait = is_idle && self.n_flying > 0;
            self.enter(must_wait);
            if is_idle && !must_wait {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Copies events until a block is full, or there is none.
    fn fill(&mut self) {
        // ord: Acquire, pairs with the Release in `send`.
        let tail = self.ring.tail.0.load(Ordering::Acquire);
        while self.head < tail {
            if self.filling.is_none() {
                let Some(block) = self.free.pop() else { return };
                let (sum, first) = (Sum::default(), self.n_events);
                self.filling = Some(Filling { block, len: HEAD, sum, first });
            }
            let Some(filling) = &mut self.filling else { return };
            let (from, left) = self.ring.at(self.head);
            let there = left.min((tail - self.head) as usize);
            // SAFETY: the caller has published the bytes before `tail`.
            let there = unsafe { std::slice::from_raw_parts(from.cast_const(), there) };
            let (len, n) = whole_events(&there[..there.len().min(STRIDE)], BLOCK - filling.len);
            if n == 0 && u64_at(there, 0) == SKIP {
                self.head += left as u64;
                continue;
            }
            let out = &mut self.blocks[filling.block * BLOCK..][HEAD..BLOCK];
            let at = filling.len - HEAD;
            if self.as_ttlog {
                filling.sum.copy(&there[..len], out, at);
            } else {
                out[at..at + len].copy_from_slice(&there[..len]);
            }
            (filling.len, self.n_events) = (filling.len + len, self.n_events + n);
            self.head += len as u64;
            let is_full = filling.len + EVENT > BLOCK || self.n_events as usize == N_EVENTS;
            if is_full {
                self.end_block();
            }
            self.give_back(tail);
            if is_full {
                return;
            }
        }
    }

    /// Lets the caller write where events were copied; wakes it when half of the ring is free.
    fn give_back(&self, tail: u64) {
        // ord: Release, pairs with the Acquire in `wait`.
        self.ring.head.0.store(self.head, Ordering::Release);
        if tail - self.head <= RING as u64 / 2 {
            // ord: SeqCst, one of the two sides sees what the other stored before its own.
            fence(Ordering::SeqCst);
            // ord: Relaxed, ordered by the fence.
            if self.ring.waits.load(Ordering::Relaxed) {
                // ord: Relaxed, a late store costs the caller one more look.
                self.ring.waits.store(false, Ordering::Relaxed);
                self.caller.unpark();
            }
        }
    }

    fn end_block(&mut self) {
        let Some(Filling { block, len, sum, first }) = self.filling.take() else { return };
        let out = &mut self.blocks[block * BLOCK..][..BLOCK];
        out[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        out[8..16].copy_from_slice(&first.to_le_bytes());
        let head = crc32c::crc32c(&out[4..HEAD]);
        let crc = if self.as_ttlog {
            let mut sum = sum;
            sum.extend(&out[HEAD..len]);
            sum.behind(head)
        } else {
            crc32c::crc32c_append(head, &out[HEAD..len])
        };
        out[..4].copy_from_slice(&crc.to_le_bytes());
        self.ready.push_back(block);
    }

    /// Hands ready blocks to the kernel and takes back what it has written, in one call.
    fn enter(&mut self, must_wait: bool) {
        while self.n_flying < self.depth
            && let Some(block) = self.ready.pop_front()
        {
            let offset = self.n_begun * BLOCK;
            if offset.is_multiple_of(RESERVE) {
                let (fd, len) = (self.file.as_raw_fd(), RESERVE as i64);
                // SAFETY: numbers.
                assert_eq!(unsafe { libc::fallocate(fd, 0, offset as i64, len) }, 0);
            }
            let start = self.blocks[block * BLOCK..].as_ptr();
            let fd = types::Fd(self.file.as_raw_fd());
            let write = opcode::WriteFixed::new(fd, start, BLOCK as u32, block as u16)
                .offset(offset as u64)
                .build()
                .user_data(block as u64);
            // SAFETY: the block is left alone until its write has ended.
            unsafe { self.io.submission().push(&write) }.expect("room");
            (self.n_begun, self.n_flying) = (self.n_begun + 1, self.n_flying + 1);
        }
        let n_new = self.io.submission().len();
        if n_new == 0 && !must_wait && !self.free.is_empty() {
            return;
        }
        const GET_EVENTS: u32 = 1;
        // SAFETY: no argument.
        let entered = unsafe {
            self.io.submitter().enter::<libc::sigset_t>(
                n_new as u32,
                u32::from(must_wait),
                GET_EVENTS,
                None,
            )
        };
        entered.expect("enter");
        for entry in self.io.completion() {
            assert_eq!(entry.result(), BLOCK as i32);
            self.free.push(entry.user_data() as usize);
            self.n_flying -= 1;
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"))
}

/// Bytes and number of the whole events at the beginning, as far as there is room.
fn whole_events(bytes: &[u8], room: usize) -> (usize, u64) {
    let (mut at, mut n, mut len) = (0, 0, 0);
    while at + HEAD <= bytes.len().min(room) {
        let found = u64_at(bytes, at);
        if found == SKIP {
            break;
        }
        // As ttlog does: where the length is the one before, the next head is loaded at once.
        if found as usize != len {
            len = found as usize;
        }
        let end = at + HEAD + std::hint::black_box(len);
        if end > bytes.len().min(room) {
            break;
        }
        (at, n) = (end, n + 1);
    }
    (at, n)
}

/// A gibibyte; the file is looked through when `checks` says so.
pub fn flood(depth: usize, as_ttlog: bool, checks: bool) -> Flood {
    std::fs::create_dir_all(dir()).expect("a directory");
    let path = dir().join("coded");
    let mut options = std::fs::File::options();
    let direct = options.write(true).create_new(true).custom_flags(libc::O_DIRECT);
    let file = direct.open(&path).expect("a file");
    let ring = Ring::new();
    let caller = std::thread::current();
    let text = "x".repeat(TEXT);
    let (began, all) = (Instant::now(), process());
    let (mut wall, mut used) = (0.0, 0.0);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("coded".to_owned());
        let writer = writer.spawn_scoped(scope, || {
            let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
            builder.setup_single_issuer().setup_defer_taskrun();
            let io = builder.build(64).expect("io_uring");
            let mut blocks = PinnedBuffer::with_capacity_aligned(BLOCK * BLOCKS);
            let vectors: Vec<_> = blocks
                .chunks_mut(BLOCK)
                .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: BLOCK })
                .collect();
            // SAFETY: `blocks` outlives the ring's work, which `run` waits for.
            unsafe { io.submitter().register_buffers(&vectors) }.expect("registered");
            let writer = Writer {
                ring: &ring,
                caller,
                head: 0,
                blocks,
                free: (0..BLOCKS).rev().collect(),
                ready: VecDeque::new(),
                filling: None,
                n_events: 0,
                as_ttlog,
                n_begun: 0,
                n_flying: 0,
                depth,
                file,
                io,
            };
            writer.run();
            (own_thread(), began.elapsed().as_secs_f64())
        });
        let writer = writer.expect("a thread");
        let mut sender = Sender { ring: &ring, tail: 0, head: 0 };
        for number in 0..N_EVENTS as u64 {
            sender.send(number, text.as_bytes());
        }
        (used, wall) = writer.join().expect("a writer");
    });
    let all = process() - all;
    if checks {
        check(&std::fs::read(&path).expect("the file"));
    }
    let each = BYTES as f64 / (N_EVENTS.div_ceil(PER_BLOCK) * BLOCK) as f64;
    std::fs::remove_file(&path).expect("it");
    Flood { wall: wall * each, writer: used * each, behind: used * each, process: all * each }
}

/// Looks whether every event is there, once and in order, and every block whole.
fn check(file: &[u8]) {
    let mut n = 0;
    for block in file.chunks_exact(BLOCK) {
        let (crc, len) = (u64_at(block, 0) as u32, (u64_at(block, 0) >> 32) as usize);
        if len == 0 {
            assert!(block.iter().all(|byte| *byte == 0), "reserved, and never written");
            continue;
        }
        let found = crc32c::crc32c(&block[4..len]);
        assert_eq!((crc, u64_at(block, 8)), (found, n), "a whole block");
        for event in block[HEAD..len].chunks_exact(EVENT) {
            assert_eq!((u64_at(event, 0), u64_at(event, 8)), (TEXT as u64, n), "in order");
            assert!(event[HEAD..].iter().all(|byte| *byte == b'x'), "as it was sent");
            n += 1;
        }
    }
    assert_eq!(n, N_EVENTS as u64, "all of them");
}
