//! Flight: blocks that the kernel writes, and syncs of what it has written, while the next ones are
//! filled.
#![expect(unsafe_code, reason = "lends staging memory to the kernel; proof above the impl")]

use std::collections::VecDeque;
use std::io;
use std::task::Waker;
use std::time::Duration;

use super::batch::Block;
use crate::io::{DiskQueue, Ended, IoFd, Lend, LentBuffer, Region};
use crate::store::reader::UNFINISHED_BYTES_MAX;

/// Blocks with the kernel at most. A thread that does nothing else keeps a disk busy with four to
/// eight; this one rests until some have landed ([`super::rest`]).
const DEPTH: usize = 12;
/// Blocks at most, those included that have landed before an older one has: without them a single
/// slow write would leave the disk with less and less to do. So many full ones are within the
/// length that a reader looks for.
const BLOCKS_MAX: usize = 15;

// SAFETY: a staged block lies in a mapping that its buffer owns, and a copied one on the heap: both
// stay where they are until the value is dropped, and B1 and B3 of `lane::staging` keep everybody
// else from writing to them.
unsafe impl Lend for Block {
    fn bytes(&self) -> &[u8] {
        self.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }

    fn region(&self) -> Option<Region> {
        let memory = self.memory()?;
        Some(Region { owner: memory.clone(), start: memory.data(), len: memory.data_len() })
    }
}

/// A block that is, or was, in flight.
#[derive(Debug)]
pub(super) struct Flying {
    id: u64,
    len: usize,
    pub(super) offset: u64,
    pub(super) events: u32,
    /// The block, when it is back, and how many of its bytes were written.
    back: Option<(Block, io::Result<usize>)>,
}

impl Flying {
    /// The block, and why it is not written whole; only of one that has landed.
    pub(super) fn into_block(self) -> (Block, io::Result<()>) {
        let (block, result) = self.back.expect("it has landed");
        let whole = result.and_then(|n| match n == self.len {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        });
        (block, whole)
    }
}

/// The blocks in flight, oldest first.
#[derive(Debug)]
pub(super) struct Flight {
    queue: Box<dyn DiskQueue>,
    flying: VecDeque<Flying>,
    /// The sync that goes on, and what came of the last one.
    sync: Option<u64>,
    synced: Option<io::Result<()>>,
    ended: Vec<Ended>,
}

impl Flight {
    pub(super) fn new(queue: Box<dyn DiskQueue>) -> Self {
        Self { queue, flying: VecDeque::new(), sync: None, synced: None, ended: Vec::new() }
    }

    /// True while anything goes on.
    pub(super) fn is_busy(&self) -> bool {
        !self.is_empty() || self.sync.is_some()
    }

    /// True while no block flies.
    pub(super) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// Blocks with the kernel.
    pub(super) fn n_with_kernel(&self) -> usize {
        self.flying.iter().filter(|flying| flying.back.is_none()).count()
    }

    /// True when another block of `len` bytes at `offset` has to wait. What is unfinished of a
    /// segment stays within the length that a reader looks for.
    pub(super) fn is_full(&self, offset: u64, len: usize) -> bool {
        let from = self.flying.front().map_or(offset, |oldest| oldest.offset);
        let span = offset - from + len as u64;
        self.n_with_kernel() >= DEPTH
            || self.flying.len() >= BLOCKS_MAX
            || (!self.is_empty() && span > UNFINISHED_BYTES_MAX)
    }

    /// Why blocks do not fly as well as they might.
    pub(super) fn reason(&self) -> Option<String> {
        self.queue.reason()
    }

    pub(super) fn waker(&self) -> Waker {
        self.queue.waker()
    }

    /// Begins to write a block at `offset`; gives it back when that cannot begin.
    pub(super) fn begin(
        &mut self,
        fd: &IoFd,
        block: Block,
        offset: u64,
        events: u32,
    ) -> Result<(), Block> {
        let len = block.bytes().len();
        match self.queue.begin(fd, LentBuffer::new(block), offset) {
            Ok(id) => {
                self.flying.push_back(Flying { id, len, offset, events, back: None });
                Ok(())
            }
            Err((bytes, _)) => Err(owner(bytes)),
        }
    }

    /// Begins to sync what of the file has landed; one at a time.
    pub(super) fn begin_sync(&mut self, fd: &IoFd) -> io::Result<()> {
        debug_assert!(self.sync.is_none(), "one at a time");
        self.sync = Some(self.queue.begin_sync(fd)?);
        Ok(())
    }

    /// What came of the sync, once it has ended.
    pub(super) fn take_synced(&mut self) -> Option<io::Result<()>> {
        self.synced.take()
    }

    /// Takes what has ended; waits for something to end until the time has passed.
    pub(super) fn reap(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = self.queue.reap(timeout, &mut self.ended);
        for Ended { id, result, bytes } in self.ended.drain(..) {
            let Some(bytes) = bytes else {
                self.sync = None;
                self.synced = Some(result.map(|_| ()));
                continue;
            };
            if let Some(flying) = self.flying.iter_mut().find(|flying| flying.id == id) {
                flying.back = Some((owner(bytes), result));
            }
        }
        result
    }

    /// The oldest block, once it has landed: blocks are written in the order of their offsets for
    /// everybody who asks.
    pub(super) fn pop_landed(&mut self) -> Option<Flying> {
        self.flying.front()?.back.as_ref()?;
        self.flying.pop_front()
    }

    /// True when all have landed.
    pub(super) fn has_landed(&self) -> bool {
        self.flying.iter().all(|flying| flying.back.is_some())
    }
}

fn owner(bytes: LentBuffer) -> Block {
    bytes.into_owner().expect("nothing else is lent to this queue")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    use std::path::Path;

    use super::*;
    use crate::io::{BackendQueue, Error, IoChoice};
    use crate::lane::memory::Memory;
    use crate::lane::staging::{BUFFER_BYTES, Buffer};

    const LEN: usize = 256 << 10;

    /// A block of one byte, in memory of its own.
    fn block(memory: Memory, fill: u8) -> Block {
        let mut buffer = Buffer::new(memory, 0, 7, 1);
        buffer.reset();
        buffer.bytes().fill(fill);
        Block::Staged(buffer.seal(LEN))
    }

    fn again(block: Block, fill: u8) -> Block {
        let mut buffer = block.into_buffer();
        buffer.bytes().fill(fill);
        Block::Staged(buffer.seal(LEN))
    }

    fn create(path: &Path) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        // Where the file system can, as segments are.
        let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
        direct.unwrap_or_else(|_| options.open(path).expect("a file"))
    }

    /// Writes a block and gives it back.
    fn fly(flight: &mut Flight, fd: &IoFd, block: Block, nth: u64) -> Block {
        assert!(flight.begin(fd, block, nth * LEN as u64, 1).is_ok());
        while !flight.has_landed() {
            flight.reap(None).expect("a wait");
        }
        let (block, result) = flight.pop_landed().expect("one").into_block();
        result.expect("a whole write");
        block
    }

    fn queue(choice: IoChoice) -> Result<BackendQueue, Error> {
        BackendQueue::new(choice)
    }

    /// Staging is written again and again, and replaced when its place was removed: the kernel must
    /// never write pages of memory that had the same address before.
    #[test]
    fn u8_what_flies_is_what_lies_there_now_whoever_had_the_address_before() {
        let dir = tempfile::tempdir().expect("a directory");
        for choice in [IoChoice::Uring, IoChoice::Portable] {
            let queue = match queue(choice) {
                Ok(queue) => queue,
                Err(error) => {
                    println!("{choice:?} not run: {error}");
                    continue;
                }
            };
            let mut flight = Flight::new(Box::new(queue));
            let path = dir.path().join("file");
            let file = create(&path);
            let fd = IoFd::from(file);
            let mut addresses = std::collections::HashSet::new();
            let (n_rounds, mut n) = (300, 0);
            for round in 0..n_rounds {
                let memory = Memory::private(BUFFER_BYTES).expect("memory");
                addresses.insert(memory.data() as usize);
                let mut staged = block(memory, n as u8);
                for _ in 0..2 {
                    staged = fly(&mut flight, &fd, again(staged, n as u8), n);
                    n += 1;
                }
                drop(staged);
                assert_eq!(flight.reason(), None, "{round}");
            }
            let used_again = addresses.len() < n_rounds;
            assert!(used_again, "addresses come again, or this shows nothing");
            let written = File::open(&path).expect("it");
            let mut bytes = vec![0; LEN];
            for nth in 0..n {
                written.read_exact_at(&mut bytes, nth * LEN as u64).expect("a block");
                assert!(bytes.iter().all(|byte| *byte == nth as u8), "{choice:?}: block {nth}");
            }
        }
    }

    /// What registering staging saves:
    ///
    /// ```text
    /// cargo test --release --lib -- measure_registered --ignored --nocapture
    /// ```
    #[test]
    #[ignore = "measures; see above"]
    fn measure_registered_staging() {
        use std::time::Instant;
        const N_BLOCKS: u64 = 4096;
        /// Blocks that cannot be registered.
        #[derive(Debug)]
        struct Plain(Block);
        // SAFETY: as of a block.
        unsafe impl Lend for Plain {
            fn bytes(&self) -> &[u8] {
                self.0.bytes()
            }
            fn bytes_mut(&mut self) -> &mut [u8] {
                self.0.bytes_mut()
            }
            fn region(&self) -> Option<Region> {
                None
            }
        }
        let dir = tempfile::tempdir_in(".").expect("a directory");
        let cpu = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
        };
        for round in 0..6 {
            for registered in [false, true] {
                let mut queue = queue(IoChoice::Uring).expect("io_uring");
                let file = create(&dir.path().join("file"));
                rustix::fs::fallocate(
                    &file,
                    rustix::fs::FallocateFlags::empty(),
                    0,
                    N_BLOCKS * LEN as u64,
                )
                .expect("room");
                let fd = IoFd::from(file);
                let mut free: Vec<_> = (0..16)
                    .map(|n| block(Memory::private(BUFFER_BYTES).expect("memory"), n))
                    .collect();
                let (mut n, mut flying, mut ended) = (0, 0, Vec::new());
                let (began, used) = (Instant::now(), cpu());
                while n < N_BLOCKS || flying > 0 {
                    while n < N_BLOCKS && flying < DEPTH {
                        let block = again(free.pop().expect("one"), n as u8);
                        let lent = match registered {
                            true => LentBuffer::new(block),
                            false => LentBuffer::new(Plain(block)),
                        };
                        queue.begin(&fd, lent, n * LEN as u64).expect("a write");
                        (n, flying) = (n + 1, flying + 1);
                    }
                    queue.reap(None, &mut ended).expect("a wait");
                    for Ended { result, bytes, .. } in ended.drain(..) {
                        let bytes = bytes.expect("a write");
                        assert_eq!(result.expect("a write"), LEN);
                        flying -= 1;
                        free.insert(
                            0,
                            match registered {
                                true => owner(bytes),
                                false => bytes.into_owner::<Plain>().expect("it").0,
                            },
                        );
                    }
                }
                let (wall, used) = (began.elapsed().as_secs_f64(), cpu() - used);
                println!(
                    "round {round}, registered {registered}: {used:.3} s of the processor a GiB, {wall:.2} s"
                );
            }
        }
    }
}
