//! What is redacted is nowhere in a process that logs it: not in its lanes and staging, spill files
//! and segments, nor in its memory and the core file that it leaves (R34).
//!
//! The program puts its secrets together at run time and wipes its own copies, so that what is found
//! is a copy of ttlog's. Secrets that are numbers are looked for in files alone
//! (`tests/redacted.rs`): a number lies in registers and on stacks of the program itself.
#![cfg(all(feature = "tracing", feature = "log"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]
#![expect(clippy::print_stdout, reason = "says what was looked through")]

mod rig;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rig::{Rig, child_program, not_run, number};

/// What every secret begins with.
const NEEDLE: &[u8] = b"quartz-fjord-9";

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

/// How often the needle stands in these bytes.
fn hits_in(bytes: &[u8]) -> u64 {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == NEEDLE[0]);
    starts.filter(|(at, _)| bytes[*at..].starts_with(NEEDLE)).count() as u64
}

/// Hits in the files below, by name, and how many bytes were read.
fn hits_below(dirs: &[PathBuf]) -> (Vec<(PathBuf, u64)>, u64) {
    let mut all = Vec::new();
    dirs.iter().for_each(|dir| files(dir, &mut all));
    let mut len = 0;
    let mut hits = Vec::new();
    for path in all {
        // One that became a segment meanwhile is found under that name.
        let bytes = std::fs::read(&path).unwrap_or_default();
        len += bytes.len() as u64;
        let n = hits_in(&bytes);
        if n > 0 {
            hits.push((path, n));
        }
    }
    (hits, len)
}

/// Hits in all memory that the process has mapped, and how many bytes were read.
fn hits_in_memory(pid: u32) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut hits, mut len) = (0, 0);
    for line in maps.lines().filter(|line| line.contains(" r")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // What the kernel keeps to itself, such as the vDSO's data, cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            len += bytes.len() as u64;
            hits += hits_in(&bytes);
        }
    }
    (hits, len)
}

/// A program that logs secrets.
struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where the core file will be.
    dir: PathBuf,
}

impl Program {
    fn start(rig: &Rig, open: bool) -> Self {
        let (dir, name) = (rig.path("run"), if open { "open" } else { "closed" });
        std::fs::create_dir(&dir).unwrap();
        // The shell raises the limit in its own process, which becomes the program.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited; exec \"$@\"", name]).arg(child_program());
        command.args(["do=secrets", "on_full=spill", "spill_wait=10000", "lane=32768"]);
        command.arg(format!("dir={}", rig.dir().display()));
        command.arg(format!("open={}", u8::from(open)));
        command.env_remove("RUST_LOG").env_remove("TTLOG_LANES").current_dir(&dir);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, dir }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// The core file that an abort leaves, where this machine writes such files.
    fn abort(&mut self) -> Option<PathBuf> {
        self.go_on();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "{status:?}");
        let mut left = Vec::new();
        files(&self.dir, &mut left);
        left.into_iter().next().filter(|_| status.core_dumped())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hits in files while it logs, in files and memory when it stands still, in files and the core
/// file when it is dead.
struct Found {
    files: Vec<(PathBuf, u64)>,
    memory: u64,
    /// `None` where this machine writes no core files.
    core: Option<u64>,
}

fn look(open: bool) -> Found {
    let rig = Rig::new();
    let mut program = Program::start(&rig, open);
    let ready = program.line();
    assert!(number(&ready, "spilled") > 0, "{ready:?}");
    let lanes = ready.trim().split_once("lanes=").unwrap().1;
    let mut dirs: Vec<PathBuf> = lanes.split(':').map(PathBuf::from).collect();
    assert_eq!(dirs.len(), 2, "lanes and staging of both loggers: {ready:?}");
    dirs.push(rig.dir());
    let (mut files, mut n_bytes) = hits_below(&dirs);
    program.go_on();
    assert_eq!(program.line(), "still\n");
    let (memory, memory_bytes) = hits_in_memory(program.child.id());
    let core = program.abort();
    // Nobody empties lanes any more, nor drains spill files.
    let (more, more_bytes) = hits_below(&dirs);
    files.extend(more);
    n_bytes += more_bytes;
    let core = core.map(|path| {
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        println!("a core file of {} bytes", bytes.len());
        hits_in(&bytes)
    });
    println!("{n_bytes} bytes of files, {memory_bytes} bytes of memory were looked through");
    for dir in &dirs {
        let _ = std::fs::remove_dir_all(dir);
    }
    Found { files, memory, core }
}

#[test]
fn r34_secrets_are_in_no_file_no_memory_and_no_core_file() {
    // Where nothing is redacted the same search finds them everywhere.
    let open = look(true);
    let is_segment = |path: &Path| path.extension().is_some_and(|x| x == "ttlog");
    assert!(open.files.iter().any(|(path, _)| is_segment(path)), "{:?}", open.files);
    assert!(open.files.iter().any(|(path, _)| path.starts_with("/dev/shm")), "{:?}", open.files);
    assert!(open.memory > 0);
    assert_ne!(open.core, Some(0), "a core file holds what memory does");

    let closed = look(false);
    assert_eq!(closed.files, []);
    assert_eq!(closed.memory, 0);
    match closed.core {
        Some(hits) => assert_eq!(hits, 0),
        None => {
            let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern");
            let pattern = pattern.unwrap_or_default();
            not_run(&format!("no core file here, core_pattern is {:?}", pattern.trim()));
            println!("all mapped memory was read through /proc/PID/mem instead");
        }
    }
}
