//! Scribe: a flood through a whole logger against raw io_uring in the same mode, and a single event
//! that is to be durable against a plain write and sync.
#![expect(unsafe_code, reason = "the raw interface is unsafe")]

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ttlog::{BackPressurePolicy, Builder, Compression, Durability, Handle, Keep, Rotate};

use crate::{BLOCK, coded_flood, glommio_flood, median};

pub const BYTES: usize = 1 << 30;
/// As the file thread reserves.
pub const RESERVE: usize = 64 << 20;
pub const TEXT: usize = 4000;
pub const N_EVENTS: usize = BYTES / TEXT;
const WAIT: Duration = Duration::from_secs(300);
const N_DURABLE: usize = 200;

/// A gibibyte in a file: seconds.
#[derive(Clone, Copy)]
pub struct Flood {
    /// Of the wall.
    pub wall: f64,
    /// Of the processor, by the thread that writes,
    pub writer: f64,
    /// by all threads but the caller's, where there is one beside the writer,
    pub behind: f64,
    /// and by all of the process.
    pub process: f64,
}

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

/// Processor time of the whole process, the kernel's threads that work for it included.
pub fn process() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is written to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
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
    Flood { wall, writer: used, behind: used, process: used }
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
    let (began, process_before) = (Instant::now(), process());
    for _ in 0..N_EVENTS {
        ttlog::info!(logger: &handle, text = text.as_str(), "flood");
    }
    handle.flush(WAIT).expect("everything");
    let (wall, all) = (began.elapsed().as_secs_f64(), process() - process_before);
    let (writer, behind) = (threads("ttlog-files"), threads("ttlog-"));
    assert_eq!(handle.stats().lost(), 0);
    let each = BYTES as f64 / handle.stats().bytes_written as f64;
    handle.shutdown(WAIT).expect("an end");
    std::fs::remove_dir_all(dir().join("log")).expect("it");
    Flood { wall: wall * each, writer: writer * each, behind: behind * each, process: all * each }
}

/// Blocks that the others have in flight; ttlog has eight with the kernel.
const DEPTHS: [usize; 2] = [4, 8];

/// All in turn, or only those that encode; a line each.
pub fn floods(rounds: usize, only_encoders: bool) {
    let mut ways: Vec<(String, Box<dyn Fn(bool) -> Flood>)> = Vec::new();
    for depth in DEPTHS.into_iter().filter(|_| !only_encoders) {
        ways.push((format!("raw io-uring, {depth}"), Box::new(move |_| raw_flood(depth))));
    }
    for depth in DEPTHS.into_iter().filter(|_| !only_encoders) {
        ways.push((format!("glommio, {depth}"), Box::new(move |_| glommio_flood::flood(depth))));
    }
    for (name, as_ttlog) in [("raw that encodes, 8", false), ("the same, as ttlog", true)] {
        let flood = move |is_first| coded_flood::flood(8, as_ttlog, is_first);
        ways.push((name.to_owned(), Box::new(flood)));
    }
    ways.push(("ttlog, scribe".to_owned(), Box::new(|_| scribe_flood())));
    let mut rows = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for ((_, flood), rows) in ways.iter().zip(&mut rows) {
            rows.push(flood(round == 0));
        }
    }
    println!("\na gibibyte past the page cache, 256 KiB, so many in flight, to a new file");
    println!("  {:22} seconds, of the processor: writer, with encoder, process", "");
    let column =
        |rows: &[Flood], at: fn(&Flood) -> f64| -> f64 { median(rows.iter().map(at).collect()) };
    for ((name, _), rows) in ways.iter().zip(&rows) {
        let (wall, writer) = (column(rows, |row| row.wall), column(rows, |row| row.writer));
        let (behind, process) = (column(rows, |row| row.behind), column(rows, |row| row.process));
        println!("  {name:22} {wall:.3}   {writer:.3}   {behind:.3}   {process:.3}");
    }
    let Some((own, others)) = rows.split_last() else { return };
    println!("  ttlog in pairs: bandwidth, and processor: writer, with encoder, process");
    for ((name, _), other) in ways.iter().zip(others) {
        let ratio = |at: fn(&Flood) -> f64| {
            median(other.iter().zip(own).map(|(other, own)| at(own) / at(other)).collect())
        };
        let (speed, writer) = (1.0 / ratio(|row| row.wall), ratio(|row| row.writer));
        let (behind, process) = (ratio(|row| row.behind), ratio(|row| row.process));
        println!("  {name:22} {speed:.2} x   {writer:.2} x   {behind:.2} x   {process:.2} x");
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
