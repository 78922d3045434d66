//! Futures, tokens and batches that are dropped, leaked or cancelled at each state, on a slow file:
//! nothing that was freed is written to, and nothing stays that should go. Meant for
//! AddressSanitizer too:
//!
//! ```text
//! ASAN_OPTIONS=detect_leaks=0 IO_ROUNDS=10000 RUSTFLAGS=-Zsanitizer=address cargo +nightly test --target x86_64-unknown-linux-gnu \
//!     --target-dir target/asan --test io_ownership -- --nocapture
//! ```
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write as _;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ttlog::io::{
    Batch, BufferPool, BufferPoolConfig, IoFd, IoOperation, OFFSET_NONE, OpenOptions, Operation,
    PooledBuffer, Ring, leaked_operations,
};

/// What happens to an operation that reads from a pipe, and when.
#[derive(Debug, Clone, Copy)]
enum Fate {
    BuildingDropped,
    QueuedDropped,
    SubmittedDropped,
    SubmittedForgotten,
    CancelledDropped,
    CompletedDropped,
    CompletedForgotten,
    TokenDropped,
    TokenForgotten,
    BatchDropped,
    BatchForgotten,
}

const FATES: [Fate; 11] = [
    Fate::BuildingDropped,
    Fate::QueuedDropped,
    Fate::SubmittedDropped,
    Fate::SubmittedForgotten,
    Fate::CancelledDropped,
    Fate::CompletedDropped,
    Fate::CompletedForgotten,
    Fate::TokenDropped,
    Fate::TokenForgotten,
    Fate::BatchDropped,
    Fate::BatchForgotten,
];

const BYTES: usize = 512;

fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Lets one operation meet its fate. The pipe's writer writes after that, into whatever is there.
fn meet(fate: Fate, ring: &Ring, pipe: &IoFd, writer: &mut std::io::PipeWriter, bytes: Vec<u8>) {
    let read = |bytes| ring.read(pipe, bytes, OFFSET_NONE);
    let token = |bytes| Operation::read().set_fd(pipe).set_buffer(bytes).submit(ring).unwrap();
    let batch = |bytes| {
        let mut batch = Batch::new();
        let first = batch.push(IoOperation::read(pipe, bytes, OFFSET_NONE));
        let second = batch.push(IoOperation::read(pipe, vec![0; BYTES], OFFSET_NONE));
        batch.depends(second, first);
        ring.submit_batch(batch).unwrap()
    };
    match fate {
        Fate::BuildingDropped => drop(Operation::read().set_fd(pipe).set_buffer(bytes)),
        Fate::QueuedDropped => drop(read(bytes)),
        Fate::SubmittedDropped | Fate::SubmittedForgotten | Fate::CancelledDropped => {
            let mut future = read(bytes);
            assert!(!poll_once(&mut future));
            match fate {
                Fate::SubmittedForgotten => std::mem::forget(future),
                Fate::CancelledDropped => assert!(future.cancel().unwrap()),
                _ => drop(future),
            }
        }
        Fate::CompletedDropped | Fate::CompletedForgotten => {
            let future = read(bytes);
            ring.submit().unwrap();
            writer.write_all(&[0xee; BYTES]).unwrap();
            let deadline = Instant::now() + Duration::from_millis(5);
            while ring.reap() == 0 && Instant::now() < deadline {}
            match fate {
                Fate::CompletedForgotten => std::mem::forget(future),
                _ => drop(future),
            }
        }
        Fate::TokenDropped => drop(token(bytes)),
        Fate::TokenForgotten => std::mem::forget(token(bytes)),
        Fate::BatchDropped => drop(batch(bytes)),
        Fate::BatchForgotten => std::mem::forget(batch(bytes)),
    }
}

#[test]
fn nothing_that_was_freed_is_written_to() {
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    let rounds: usize = std::env::var("IO_ROUNDS").map_or(300, |n| n.parse().unwrap());
    for fate in FATES {
        let begin = Instant::now();
        let mut ring = Ring::new(8).unwrap();
        let mut n_rings = 1;
        for round in 0..rounds {
            let (reader, mut writer) = std::io::pipe().unwrap();
            meet(fate, &ring, &IoFd::from(reader), &mut writer, vec![0x11; BYTES]);
            if round % 16 == 15 {
                // Ends with all that is in flight.
                ring = Ring::new(8).unwrap();
                n_rings += 1;
            }
            // What was freed by mistake would be handed out again, here, and be written to now.
            let victims: Vec<_> = (0..4).map(|_| vec![0x22_u8; BYTES]).collect();
            let mut writer = writer;
            // Nobody may read any more.
            let _ = writer.write(&[0xee; BYTES]);
            drop(writer);
            ring.reap();
            assert!(victims.iter().flatten().all(|byte| *byte == 0x22), "{fate:?}, round {round}");
        }
        println!("{fate:?}: {rounds} rounds, {n_rings} rings, {:?}", begin.elapsed());
    }
    assert_eq!(leaked_operations(), 0);
}

/// Runs a program, and says whether it did what it was asked.
fn run(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// A file system of its own on a file, which can be frozen: then writes hang.
struct Frozen {
    dir: tempfile::TempDir,
}

impl Frozen {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let (image, at) = (image.to_str().unwrap(), at.to_str().unwrap());
        let is_there = run("mkfs.ext4", &["-q", image]) && run("mount", &["-o", "loop", image, at]);
        is_there.then_some(Self { dir })
    }

    fn at(&self) -> std::path::PathBuf {
        self.dir.path().join("at")
    }

    fn freeze(&self, how: &str) {
        assert!(run("fsfreeze", &[how, self.at().to_str().unwrap()]), "fsfreeze {how}");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let at = self.at();
        let _ = run("fsfreeze", &["-u", at.to_str().unwrap()]);
        let _ = run("umount", &["-l", at.to_str().unwrap()]);
    }
}

/// What is leaked keeps its descriptors.
fn allow_all_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

/// R17: a ring is dropped with 256 writes in flight on a disk that hangs; a thousand times:
/// `IO_FROZEN_ROUNDS=1000 cargo test --test io_ownership a_ring_on_a_disk -- --nocapture`.
#[test]
fn a_ring_on_a_disk_that_hangs_ends_in_time_and_frees_nothing_early() {
    // Its own process: what is leaked is counted for the whole.
    const CHILD: &str = "IO_FROZEN_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["a_ring_on_a_disk_that_hangs_ends_in_time_and_frees_nothing_early", "--exact"])
            .arg("--nocapture")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .filter(|line| line.contains("R17") || line.contains("not run"))
            .for_each(|line| println!("{line}"));
        assert!(output.status.success(), "{output:?}");
        return;
    }
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    let Some(frozen) = Frozen::new() else {
        return println!("not run: needs root and a loop device");
    };
    let rounds: usize = std::env::var("IO_FROZEN_ROUNDS").map_or(3, |n| n.parse().unwrap());
    allow_all_descriptors();
    // What is leaked never comes back.
    let max_memory = (rounds + 64) * 256 * 4096;
    let pool = BufferPool::new(BufferPoolConfig { max_memory, ..BufferPoolConfig::default() });
    let mut leaked = 0;
    for round in 0..rounds {
        let path = frozen.at().join(format!("slow-{round}"));
        let ring =
            Ring::builder().entries(64).drain_max(Duration::from_millis(300)).build().unwrap();
        let options = OpenOptions::new().write(true).create(true);
        let file = ring.block_on(ring.open(&path, options).unwrap()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd().unwrap());
        frozen.freeze("-f");
        let futures: Vec<_> = (0..256u64)
            .map(|at| {
                let mut block: PooledBuffer = pool.allocate(4096).unwrap();
                block.fill(at as u8 | 1);
                ring.write(&file, block, at * 4096)
            })
            .collect();
        ring.submit().unwrap();
        // The program has no descriptor any more, and opens another file.
        drop(file);
        let other = tempfile::NamedTempFile::new().unwrap();
        let others = std::os::fd::AsRawFd::as_raw_fd(other.as_file());
        assert_ne!(others, number, "in use by the kernel");
        futures.into_iter().for_each(std::mem::forget);
        let begin = Instant::now();
        drop(ring);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let still = pool.stats().in_use;
        // Exactly what has not ended keeps its buffer; what had not begun could be cancelled.
        assert!(leaked_operations() >= leaked);
        assert_eq!(still as u64, leaked_operations());
        leaked = leaked_operations();
        frozen.freeze("-u");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(other.as_file().metadata().unwrap().len(), 0, "nothing was written elsewhere");
        // What was written is whole blocks of what was asked for.
        let bytes = std::fs::read(&path).unwrap();
        for (at, block) in bytes.chunks(4096).enumerate() {
            assert!(block.iter().all(|byte| *byte == at as u8 | 1 || *byte == 0), "block {at}");
        }
        // What is leaked keeps the file, and its descriptors, but needs no room.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        std::fs::remove_file(&path).unwrap();
        println!("R17: round {round}: dropped in {took:?}, {still} buffers kept, {leaked} leaked");
    }
}

/// The same with patience: the ring waits for the disk, and everything is there.
#[test]
fn a_ring_waits_for_a_slow_disk() {
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    let Some(frozen) = Frozen::new() else {
        return println!("not run: needs root and a loop device");
    };
    let ring = Ring::new(64).unwrap();
    let path = frozen.at().join("slow");
    let options = OpenOptions::new().write(true).create(true);
    let file = ring.block_on(ring.open(&path, options).unwrap()).unwrap();
    frozen.freeze("-f");
    let pool = BufferPool::new(BufferPoolConfig::default());
    let write = ring.write(&file, pool.allocate(4096).unwrap(), 0);
    ring.submit().unwrap();
    std::mem::forget(write);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            frozen.freeze("-u");
        });
        std::thread::sleep(Duration::from_millis(50));
        let begin = Instant::now();
        ring.close().unwrap();
        println!("closed after {:?}", begin.elapsed());
        assert_eq!(pool.stats().in_use, 0);
    });
}
