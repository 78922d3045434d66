//! Own: the work through ttlog, by the backend and by futures of a ring.

use std::cell::RefCell;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ttlog::io::{
    BufferPool, BufferPoolConfig, IoBackend, IoFd, IoOperation, LocalPool, OFFSET_NONE,
    PinnedBuffer, Ring, UringBackend,
};

use crate::{BLOCK, DEPTH, N_BLOCKS, N_NOPS, N_READS, READS, ROW, file, spread, time};

struct Things {
    backend: UringBackend,
    pool: LocalPool,
    zero: IoFd,
    out: Vec<ttlog::io::IoCompletion>,
}

thread_local! {
    static THINGS: RefCell<Things> = RefCell::new(Things {
        backend: UringBackend::new(256).expect("io_uring"),
        pool: LocalPool::new(BufferPoolConfig::default()),
        zero: IoFd::from(std::fs::File::open("/dev/zero").expect("/dev/zero")),
        out: Vec::with_capacity(ROW * 2),
    });
}

fn with<R>(work: impl FnOnce(&mut Things) -> R) -> R {
    THINGS.with_borrow_mut(work)
}

impl Things {
    fn drain(&mut self) {
        while self.backend.in_flight() > 0 {
            self.backend.poll_into(None, &mut self.out).expect("enter");
        }
        self.out.clear();
    }

    /// Hands over what waits, which completes within that call, and takes it in: the time of each.
    fn reap_row(&mut self) -> f64 {
        self.backend.flush().expect("enter");
        let reaped = time(ROW, || {
            let n = self.backend.poll_into(Some(Duration::ZERO), &mut self.out);
            assert_eq!(n.expect("no call"), ROW);
        });
        self.drain();
        reaped
    }
}

pub fn allocate() -> f64 {
    with(|things| {
        time(ROW, || {
            for _ in 0..ROW {
                black_box(things.pool.allocate(4096));
            }
        })
    })
}

/// The same from a pool of all threads.
pub fn allocate_shared() -> f64 {
    let pool = BufferPool::new(BufferPoolConfig::default());
    pool.prealloc(4096, 1).expect("room");
    time(ROW, || {
        for _ in 0..ROW {
            black_box(pool.allocate(4096));
        }
    })
}

pub fn push() -> f64 {
    with(|things| {
        let buffers: Vec<_> = (0..ROW).map(|_| things.pool.allocate(64).expect("room")).collect();
        let pushed = time(ROW, || {
            for buffer in buffers {
                let read = IoOperation::read(&things.zero, buffer, 0);
                black_box(things.backend.submit(read).expect("room"));
            }
        });
        things.drain();
        pushed
    })
}

pub fn set_up() -> f64 {
    with(|things| {
        let pushed = time(ROW, || {
            for _ in 0..ROW {
                let buffer = things.pool.allocate(64).expect("room");
                let read = IoOperation::read(&things.zero, buffer, 0);
                black_box(things.backend.submit(read).expect("room"));
            }
        });
        things.drain();
        pushed
    })
}

pub fn empty_poll() -> f64 {
    with(|things| {
        time(ROW, || {
            for _ in 0..ROW {
                let n = things.backend.poll_into(Some(Duration::ZERO), &mut things.out);
                black_box(n.expect("no call"));
            }
        })
    })
}

pub fn reap() -> f64 {
    with(|things| {
        for _ in 0..ROW {
            things.backend.submit(IoOperation::Nop).expect("room");
        }
        things.reap_row()
    })
}

pub fn reap_reads() -> f64 {
    with(|things| {
        for _ in 0..ROW {
            let buffer = things.pool.allocate(64).expect("room");
            things.backend.submit(IoOperation::read(&things.zero, buffer, 0)).expect("room");
        }
        things.reap_row()
    })
}

pub fn cancel() -> f64 {
    with(|things| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader = IoFd::from(reader);
        let handles: Vec<_> = (0..ROW)
            .map(|_| {
                let read = IoOperation::read(&reader, vec![0; 8], OFFSET_NONE);
                things.backend.submit(read).expect("room")
            })
            .collect();
        things.backend.flush().expect("enter");
        let pushed = time(ROW, || {
            for handle in handles {
                black_box(things.backend.cancel(handle).expect("room"));
            }
        });
        things.drain();
        drop(writer);
        pushed
    })
}

pub fn waker() -> f64 {
    let ring = Ring::new(8).expect("io_uring");
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let mut read = ring.read(reader, vec![0; 8], OFFSET_NONE);
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut read).poll(&mut context).is_pending());
    time(ROW, || {
        for _ in 0..ROW {
            black_box(pin!(&mut read).poll(&mut context).is_pending());
        }
    })
}

pub fn future() -> f64 {
    let ring = Ring::new(256).expect("io_uring");
    let pool = LocalPool::new(BufferPoolConfig::default());
    pool.prealloc(4096, ROW).expect("room");
    let zero = IoFd::from(std::fs::File::open("/dev/zero").expect("/dev/zero"));
    let mut futures = Vec::with_capacity(ROW);
    let made = time(ROW, || {
        for _ in 0..ROW {
            futures.push(ring.read(&zero, pool.allocate(64).expect("room"), 0));
        }
    });
    futures.into_iter().for_each(|future| drop(ring.block_on(future)));
    made
}

pub fn nops(batch: usize) -> Vec<f64> {
    let mut backend = UringBackend::new(256).expect("io_uring");
    let mut each = Vec::with_capacity(N_NOPS / batch);
    let mut out = Vec::with_capacity(batch);
    let mean = time(N_NOPS / batch * batch, || {
        for _ in 0..N_NOPS / batch {
            let begin = Instant::now();
            for _ in 0..batch {
                backend.submit(IoOperation::Nop).expect("room");
            }
            while backend.in_flight() > 0 {
                backend.poll_into(None, &mut out).expect("enter");
            }
            out.clear();
            each.push(begin.elapsed().as_nanos() as f64);
        }
    });
    spread(mean, each)
}

pub fn nop_futures(batch: usize) -> Vec<f64> {
    let ring = Ring::new(256).expect("io_uring");
    let mut each = Vec::with_capacity(N_NOPS / batch);
    let mut futures = Vec::with_capacity(batch);
    let mean = time(N_NOPS / batch * batch, || {
        for _ in 0..N_NOPS / batch {
            let begin = Instant::now();
            futures.extend((0..batch).map(|_| ring.nop()));
            ring.block_on(async {
                for future in futures.drain(..) {
                    future.await.expect("nothing fails");
                }
            });
            each.push(begin.elapsed().as_nanos() as f64);
        }
    });
    spread(mean, each)
}

pub fn reads() -> f64 {
    let mut backend = UringBackend::new(64).expect("io_uring");
    let file = IoFd::from(file(1 << 16, 0));
    let (mut begun, mut done, mut out) = (0, 0, Vec::with_capacity(128));
    let mut free: Vec<_> = (0..READS).map(|_| vec![0_u8; 1]).collect();
    time(N_READS, || {
        while done < N_READS {
            while begun < N_READS
                && let Some(byte) = free.pop()
            {
                let read = IoOperation::read(&file, byte, (begun % (1 << 16)) as u64);
                backend.submit(read).expect("room");
                begun += 1;
            }
            backend.poll_into(None, &mut out).expect("enter");
            for completion in out.drain(..) {
                assert!(matches!(completion.result, Ok(1)));
                free.push(completion.buffer.expect("it comes back").try_into().expect("a Vec"));
                done += 1;
            }
        }
    })
}

pub fn read_futures() -> f64 {
    let ring = Ring::new(64).expect("io_uring");
    let file = IoFd::from(file(1 << 16, 0));
    let ring = &ring;
    let file = &file;
    time(N_READS, || {
        let workers = (0..READS).map(|first| async move {
            let mut byte = vec![0_u8; 1];
            for n in 0..N_READS / READS {
                let at = (n * READS + first) % (1 << 16);
                let (result, back) = ring.read(file, byte, at as u64).await;
                assert!(matches!(result, Ok(1)));
                byte = back;
            }
        });
        ring.block_on(futures_util::future::join_all(workers));
    })
}

pub fn appends(flags: i32) -> f64 {
    let mut backend = UringBackend::new(64).expect("io_uring");
    let file = IoFd::from(file(BLOCK * N_BLOCKS, flags));
    let (mut begun, mut done, mut out) = (0, 0, Vec::with_capacity(128));
    let mut free: Vec<_> = (0..DEPTH).map(|_| block()).collect();
    time(N_BLOCKS, || {
        while done < N_BLOCKS {
            while begun < N_BLOCKS
                && let Some(block) = free.pop()
            {
                let write = IoOperation::write(&file, block, (begun * BLOCK) as u64);
                backend.submit(write).expect("room");
                begun += 1;
            }
            backend.poll_into(None, &mut out).expect("enter");
            for completion in out.drain(..) {
                assert!(matches!(completion.result, Ok(BLOCK)));
                free.push(completion.buffer.expect("it comes back").try_into().expect("pinned"));
                done += 1;
            }
        }
    })
}

pub fn block() -> PinnedBuffer {
    let mut block = PinnedBuffer::with_capacity_aligned(BLOCK);
    block.fill(9);
    block
}

pub fn append_futures(flags: i32) -> f64 {
    let ring = Ring::new(64).expect("io_uring");
    let file = IoFd::from(file(BLOCK * N_BLOCKS, flags));
    let (ring, file) = (&ring, &file);
    time(N_BLOCKS, || {
        let workers = (0..DEPTH).map(|first| async move {
            let mut block = block();
            for n in 0..N_BLOCKS / DEPTH {
                let at = (n * DEPTH + first) * BLOCK;
                let (result, back) = ring.write(file, block, at as u64).await;
                assert!(matches!(result, Ok(BLOCK)));
                block = back;
            }
        });
        ring.block_on(futures_util::future::join_all(workers));
    })
}
