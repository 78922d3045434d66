//! Scribe: a flood through a whole logger against raw io_uring in the same mode, and a single event
//! that is to be durable against a plain write and sync.
#![expect(unsafe_code, reason = "the raw interface is unsafe")]

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ttlog::{BackPressurePolicy, Builder, Compression, Durability, Handle, Keep, Rotate};

use crate::{BLOCK, glommio_flood, median};

pub const BYTES: usize = 1 << 30;
/// As the file thread reserves.
pub const RESERVE: usize = 64 << 20;
const TEXT: usize = 4000;
const WAIT: Duration = Duration::from_secs(300);
const N_DURABLE: usize = 200;

/// A gibibyte: seconds of the wall, of the thread that writes, and of all threads but the caller's.
pub type Flood = (f64, f64, f64);

pub fn dir() -> PathBuf {
    std::env::temp_dir().join(format!("rivals-io-scribe-{}", std::process::id()))
}

/// Processor time of the threads whose names begin so.
fn threads(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let is_meant = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with(name))
    };
    let time = |path: PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    };
    tasks.map(|task| task.path()).filter(is_meant).map(time).sum()
}

pub fn own_thread() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("/proc");
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).expect("a number") / 1e9
}

fn raw_flood(depth: usize) -> Flood {
    std::fs::create_dir_all(dir()).expect("a directory");
    let path = dir().join("raw");
    let mut options = std::fs::File::options();
    let direct = options.write(true).create_new(true).custom_flags(libc::O_DIRECT);
    let file = direct.open(&path).expect("a file");
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut ring = builder.build(64).expect("io_uring");
    let mut memory = ttlog::io::PinnedBuffer::with_capacity_aligned(BLOCK * 16);
    let vectors: Vec<_> = memory
        .chunks_mut(BLOCK)
        .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: BLOCK })
        .collect();
    // SAFETY: `memory` outlives the ring's work, which is waited for below.
    unsafe { ring.submitter().register_buffers(&vectors) }.expect("registered");
    let source = vec![7_u8; BLOCK];
    let (n_blocks, mut begun, mut done) = (BYTES / BLOCK, 0, 0);
    let mut free: Vec<usize> = (0..16).collect();
    let (began, used) = (Instant::now(), own_thread());
    while done < n_blocks {
        while begun < n_blocks && begun - done < depth {
            if (begun * BLOCK).is_multiple_of(RESERVE) {
                let (fd, from) = (file.as_raw_fd(), (begun * BLOCK) as i64);
                // SAFETY: numbers.
                assert_eq!(unsafe { libc::fallocate(fd, 0, from, RESERVE as i64) }, 0);
            }
            let at = free.remove(0);
            memory[at * BLOCK..][..BLOCK].copy_from_slice(&source);
            let start = memory[at * BLOCK..].as_ptr();
            let fd = types::Fd(file.as_raw_fd());
            let write = opcode::WriteFixed::new(fd, start, BLOCK as u32, at as u16)
                .offset((begun * BLOCK) as u64)
                .build()
                .user_data(at as u64);
            // SAFETY: as above.
            unsafe { ring.submission().push(&write) }.expect("room");
            begun += 1;
        }
        ring.submit_and_wait(1).expect("enter");
        for entry in ring.completion() {
            assert_eq!(entry.result(), BLOCK as i32);
            free.push(entry.user_data() as usize);
            done += 1;
        }
    }
    let (wall, used) = (began.elapsed().as_secs_f64(), own_thread() - used);
    drop(ring);
    std::fs::remove_file(&path).expect("it");
    (wall, used, used)
}

fn logger(durability: Durability) -> Handle {
    let builder = Builder::new(dir().join("log")).keep(Keep::everything()).durability(durability);
    let builder = builder.rotate(Rotate::size(4 << 30)).back_pressure(BackPressurePolicy::Block);
    let builder = builder.compress(Compression::None).filter("info");
    let direct = match durability {
        Durability::EveryBlock => ttlog::__private::Direct::Never,
        _ => ttlog::__private::Direct::Always,
    };
    builder.direct(direct).build().expect("a logger")
}

fn scribe_flood() -> Flood {
    let handle = logger(Durability::Never);
    let text = "x".repeat(TEXT);
    let began = Instant::now();
    let mut n = 0;
    while (n + 1) * TEXT < BYTES {
        ttlog::info!(logger: &handle, text = text.as_str(), "flood");
        n += 1;
    }
    handle.flush(WAIT).expect("everything");
    let wall = began.elapsed().as_secs_f64();
    let (files, all) = (threads("ttlog-files"), threads("ttlog-"));
    assert_eq!(handle.stats().lost(), 0);
    let each = BYTES as f64 / handle.stats().bytes_written as f64;
    handle.shutdown(WAIT).expect("an end");
    std::fs::remove_dir_all(dir().join("log")).expect("it");
    (wall * each, files * each, all * each)
}

/// Blocks that the others have in flight; ttlog has eight with the kernel.
const DEPTHS: [usize; 2] = [4, 8];

/// All in turn; a line each.
pub fn floods(rounds: usize) {
    let mut ways: Vec<(String, Box<dyn Fn() -> Flood>)> = Vec::new();
    for depth in DEPTHS {
        ways.push((format!("raw io-uring, {depth}"), Box::new(move || raw_flood(depth))));
    }
    for depth in DEPTHS {
        ways.push((format!("glommio, {depth}"), Box::new(move || glommio_flood::flood(depth))));
    }
    ways.push(("ttlog, scribe".to_owned(), Box::new(scribe_flood)));
    let mut rows = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((_, flood), rows) in ways.iter().zip(&mut rows) {
            rows.push(flood());
        }
    }
    println!("\na gibibyte past the page cache, 256 KiB, so many in flight, to a new file");
    let column =
        |rows: &[Flood], at: fn(&Flood) -> f64| -> f64 { median(rows.iter().map(at).collect()) };
    for ((name, _), rows) in ways.iter().zip(&rows) {
        let (wall, writer) = (column(rows, |row| row.0), column(rows, |row| row.1));
        let all = column(rows, |row| row.2);
        println!(
            "  {name:24} {wall:.3} s, writer {writer:.3} s of the processor, with encoder {all:.3}"
        );
    }
    let Some((own, others)) = rows.split_last() else { return };
    for ((name, _), other) in ways.iter().zip(others) {
        let ratio = |at: fn(&Flood) -> f64| {
            median(other.iter().zip(own).map(|(other, own)| at(own) / at(other)).collect())
        };
        let (speed, writer) = (1.0 / ratio(|row| row.0), ratio(|row| row.1));
        println!(
            "  ttlog in pairs with {name}: {speed:.2} x the bandwidth, {writer:.2} x the writer's \
             processor time"
        );
    }
    let _ = std::fs::remove_dir_all(dir());
}

/// One event, or as many bytes, until they are durable: microseconds, p50 and p99.
pub fn durable(rounds: usize) {
    println!("\none event until it is durable, and 512 bytes by pwrite and fdatasync");
    let (mut raw, mut own) = (Vec::new(), Vec::new());
    std::fs::create_dir_all(dir()).expect("a directory");
    let handle = logger(Durability::EveryBlock);
    let path = dir().join("raw");
    let file = std::fs::File::create(&path).expect("a file");
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 1 << 20) }, 0);
    file.sync_all().expect("a disk");
    for round in 0..rounds {
        for n in 0..N_DURABLE {
            let began = Instant::now();
            file.write_at(&[7; 512], ((round * N_DURABLE + n) % 2048 * 512) as u64).expect("it");
            file.sync_data().expect("it");
            raw.push(began.elapsed().as_secs_f64() * 1e6);
            let began = Instant::now();
            ttlog::info!(logger: &handle, n, "durable");
            handle.sync(WAIT).expect("it");
            own.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    handle.shutdown(WAIT).expect("an end");
    for (name, mut each) in [("pwrite, fdatasync", raw), ("ttlog, sync", own)] {
        each.sort_by(f64::total_cmp);
        let (p50, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
        println!("  {name:24} p50 {p50:.0} µs, p99 {p99:.0} µs");
    }
    let _ = std::fs::remove_dir_all(dir());
}
