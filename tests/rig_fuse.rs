//! RIG-FUSE and RIG-BLK: the log directory, or the disk below its file system, lies in user space,
//! where writes fail, are cut short and take long on command (`verify/faultfs`).
//!
//! CI runs small counts; large ones on demand:
//!
//! ```text
//! RIG_POSITIONS=4097 RIG_FAULTS=100 RIG_OPS=100000 RIG_SLOW=60 cargo test --release --test rig_fuse -- --nocapture
//! ```
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::fuse::FaultFs;
use rig::mounts::{Loop, in_namespace};
use rig::read::read_back;
use rig::{Random, Rig, Tally, by_thread, compare, not_run, number, wait_until};
use ttlog::io::{IoChoice, IoFd, IoOperation};

fn wanted(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where what is shown through a file system of a rig really lies.
fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory")
}

/// Everything that was logged is there once, undamaged, or was told as lost.
fn check(rig: &Rig, run: u64, lost: u64) -> Tally {
    let read = read_back(&rig.dir());
    assert_eq!(read.wrong, [""; 0]);
    let tally = compare(&by_thread(&read), run, &rig.counts(run));
    assert_eq!(tally.missing, lost, "{tally:?}");
    assert_eq!(read.lost_total(), lost, "what was lost is told");
    tally
}

/// The disk is full, or the quota used up, or the file as long as it may be, at a position of a
/// block; then there is room again.
#[test]
fn r14_a_disk_that_is_full_at_any_byte_of_a_block_shows_nothing_torn_and_is_written_to_again() {
    let n_positions = wanted("RIG_POSITIONS", 60);
    in_namespace(|| {
        let (mut rig, backing) = (Rig::new(), memory());
        let dir = rig.dir();
        let Some(mut disk) = FaultFs::mount(backing.path(), &dir, "") else { return };
        let mut running = rig.start("do=asked threads=1 within=10");
        println!("{}", running.line());
        // So that there is a segment.
        running.ask("log 1");
        assert_eq!(running.ask("flush 20000"), "flushed=true");
        let (mut n, mut slowest) = (1, Duration::ZERO);
        for nth in 0..n_positions {
            let position = if n_positions > 4096 { nth } else { nth * 4096 / (n_positions - 1) };
            let errno = [libc::ENOSPC, libc::EDQUOT, libc::EFBIG][nth as usize % 3];
            let failed = disk.count("failed");
            disk.tell(&format!("full {position} {errno}"));
            running.ask("log 600");
            n += 600;
            wait_until("the disk to be full", || disk.count("failed") > failed);
            let read = read_back(&dir);
            assert_eq!(read.wrong, [""; 0], "full after {position} bytes");
            assert_eq!(read.events.len(), n, "full after {position} bytes: each is seen once");
            disk.tell("heal");
            let began = Instant::now();
            assert_eq!(running.ask("flush 20000"), "flushed=true", "room again, {position}");
            slowest = slowest.max(began.elapsed());
        }
        let (failed, shortened) = (disk.count("failed"), disk.count("shortened"));
        let end = running.ask("quit");
        let _ = running.child.wait();
        let tally = check(&rig, running.run, number(&end, "lost"));
        println!(
            "{n_positions} positions: {failed} refusals, {shortened} short writes, written again \
             after {slowest:.1?} at most; {tally:?}"
        );
        assert!(shortened >= n_positions - 1, "all but the first were cut short");
        assert_eq!(tally.missing, 0, "lanes and staging held it meanwhile");
    });
}

/// Writes of a ring that the kernel really cuts short, many at a time: the file is what a plain
/// write would have made.
#[test]
fn r15_short_writes_of_a_real_ring_leave_the_bytes_that_were_asked_for() {
    const IN_FLIGHT: usize = 32;
    let n_wanted = wanted("RIG_OPS", 2_000);
    in_namespace(|| {
        let (backing, at) = (memory(), tempfile::tempdir().expect("a directory"));
        let Some(mut disk) = FaultFs::mount(backing.path(), at.path(), "") else { return };
        for choice in [IoChoice::Uring, IoChoice::Portable] {
            let mut backend = match ttlog::io::backend(choice) {
                Ok(backend) => backend,
                Err(error) => {
                    not_run(&error.to_string());
                    continue;
                }
            };
            let (mut random, path) = (Random::new(), at.path().join(format!("{choice:?}")));
            let fd = IoFd::from(std::fs::File::create(&path).expect("a file"));
            disk.tell(&format!("short {}", random.range(1, u64::MAX)));
            let (mut model, mut flying) = (Vec::new(), HashMap::new());
            let (mut n_ops, mut n_short) = (0, 0);
            while n_ops < n_wanted || !flying.is_empty() {
                while n_ops < n_wanted && flying.len() < IN_FLIGHT {
                    let len = random.range(1, 16_384) as usize;
                    let at = model.len() as u64;
                    let bytes: Vec<_> = (0..len).map(|n| (at as usize * 31 + n) as u8).collect();
                    model.extend_from_slice(&bytes);
                    let handle = backend.submit(IoOperation::write(&fd, bytes, at)).expect("room");
                    flying.insert(handle, (at, 0, len));
                    n_ops += 1;
                }
                for done in backend.poll(None).expect("completions") {
                    let (at, from, len) = flying.remove(&done.handle).expect("it was asked for");
                    let n = done.result.expect("no error, only less");
                    assert!(n > 0 && from + n <= len, "{n} bytes of {len} from {from}");
                    if from + n < len {
                        let from = from + n;
                        let buffer = done.buffer.expect("it comes back");
                        let rest = IoOperation::write(&fd, buffer, at + from as u64);
                        let handle = backend.submit(rest.in_range(from..len)).expect("room");
                        flying.insert(handle, (at, from, len));
                        (n_ops, n_short) = (n_ops + 1, n_short + 1);
                    }
                }
            }
            disk.tell("heal");
            assert!(std::fs::read(&path).expect("it") == model, "{choice:?}: the bytes differ");
            println!("R15, {choice:?}: {n_ops} writes, {n_short} of them short");
            assert!(n_short * 4 > n_ops, "most writes are cut");
        }
    });
}

/// The same below a logger, by each way of writing that the kernel tells the truth about.
#[test]
fn r15_a_log_on_a_disk_that_cuts_writes_short_is_whole() {
    in_namespace(|| {
        for args in ["", "durability=block", "durability=never rotate=65536"] {
            let (mut rig, backing) = (Rig::new(), memory());
            let dir = rig.dir();
            let Some(mut disk) = FaultFs::mount(backing.path(), &dir, "") else { return };
            disk.tell("short 99");
            let mut running = rig.start(&format!("do=asked threads=2 {args}"));
            running.line();
            for _ in 0..4 {
                running.ask("log 4000");
                assert_eq!(running.ask("flush 60000"), "flushed=true");
            }
            let end = running.ask("quit");
            let _ = running.child.wait();
            let shortened = disk.count("shortened");
            disk.tell("heal");
            let tally = check(&rig, running.run, number(&end, "lost"));
            println!("{args}: {shortened} short writes; {tally:?}");
            assert!(shortened > 20 && tally.missing == 0 && tally.read == 32_000, "{tally:?}");
        }
    });
}

/// A disk of which a part of the operations takes long: callers follow the policy, memory stays
/// within its bounds, and what was lost is told.
#[test]
fn r18_a_slow_disk_costs_callers_what_their_policy_says() {
    let seconds = wanted("RIG_SLOW", 2);
    in_namespace(|| {
        for policy in ["drop-newest", "drop-oldest", "block"] {
            let (mut rig, backing) = (Rig::new(), memory());
            let dir = rig.dir();
            let Some(mut disk) = FaultFs::mount(backing.path(), &dir, "") else { return };
            let (mut command, run) = rig.command("do=asked threads=2 lane=65536");
            command.env("TTLOG_ON_FULL", policy);
            let mut running = rig::Running::new(command, run);
            running.line();
            disk.tell("delay 200 200 7");
            let (began, mut slowest, mut lanes_bytes) = (Instant::now(), 0, 0);
            let pid = running.child.id();
            while began.elapsed() < Duration::from_secs(seconds) {
                slowest = slowest.max(number(&running.ask("log 20000"), "slowest_ms"));
                lanes_bytes = lanes_bytes.max(number(&running.ask("stats"), "lanes_bytes"));
            }
            let private_kib = private_kib(pid);
            let delayed = disk.count("delayed");
            disk.tell("heal");
            let end = running.ask("quit");
            let _ = running.child.wait();
            let tally = check(&rig, run, number(&end, "lost"));
            println!(
                "{policy}: {delayed} operations took 200 ms, slowest round of a thread {slowest} ms, \
                 {lanes_bytes} bytes of lanes, {private_kib} KiB private; {tally:?}"
            );
            assert!(delayed > 0, "the disk was slow");
            assert!(lanes_bytes <= (64 << 20) + (1 << 20), "{lanes_bytes} bytes of lanes");
            // What is kept until it is durable, the writer's own, and the program.
            assert!(private_kib < 48 << 10, "{private_kib} KiB");
        }
    });
}

/// Memory of a process that nobody shares.
fn private_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

/// RIG-BLK: a loop device whose disk refuses a write of the log's. The kernel tells it once, to the
/// next sync, and its cache shows what the disk never got.
#[test]
fn r12_a_write_that_the_disk_refused_is_written_elsewhere_before_a_sync_says_so() {
    let n_faults = wanted("RIG_FAULTS", 6);
    in_namespace(|| {
        let (mut rig, backing) = (Rig::new(), memory());
        let (dir, below) = (rig.dir(), rig.path("below"));
        std::fs::create_dir(&below).expect("a directory");
        let Some(mut disk) = FaultFs::mount(backing.path(), &below, "cached") else { return };
        let Some(device) = Loop::ext4(&below.join("image"), 256 << 20, &dir) else {
            return not_run("needs mkfs.ext4 and a loop device on a FUSE file");
        };
        let mut running = rig.start("do=asked threads=2");
        let ready = running.line();
        let lanes = ready.split('"').nth(1).expect("lanes in shared memory").to_owned();
        let (mut n, mut n_refused) = (0, 0);
        for nth in 0..n_faults {
            let failed = disk.count("failed");
            // Of those that hold the head of a block: what the file system writes for itself passes.
            disk.tell(&format!("fail write {} 1 {} TTLB", nth % 3, libc::EIO));
            for _ in 0..4 {
                running.ask("log 3000");
                n += 3000;
                wait_until("a sync", || running.ask("sync 5000") == "synced=true");
            }
            n_refused += u64::from(disk.count("failed") > failed);
            disk.tell("heal");
        }
        let stats = running.ask("stats");
        let (lost, errors) = (number(&stats, "lost"), number(&stats, "errors"));
        println!("{n_refused} writes refused, {errors} syncs failed; {stats}");
        assert!(n_refused > 0, "the disk refused something");
        assert!(errors >= 1, "a sync told it");
        assert!(device.cut_power(), "the file system goes down");
        running.kill();
        std::fs::remove_dir_all(Path::new(&lanes)).expect("its lanes");
        assert!(device.unmount() && device.mount(""), "it comes back, from the disk alone");
        let read = read_back(&dir);
        let found: u64 = by_thread(&read).values().map(|numbers| numbers.len() as u64).sum();
        println!("{found} of {} are on the disk, {lost} lost and told", 2 * n);
        assert_eq!(found + lost, 2 * n, "each sync that succeeded was true; {:?}", read.wrong);
    });
}
