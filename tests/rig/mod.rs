//! Rig: starts the child program, knows what it logged, and compares with what is read back.

#![expect(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod fuse;
pub(crate) mod mix;
pub(crate) mod mounts;
pub(crate) mod read;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use read::ReadBack;

/// The child program, built with the profile of this test.
pub(crate) fn child_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        build(&["--features", "cli", "--example", "rig_child"], "examples/rig_child")
    })
}

/// Lets cargo build a target with the profile of this test, and returns where it lies.
pub(crate) fn build(what: &[&str], path: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test knows where it lies");
    let profile_dir = own.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).expect("a profile");
    let target = profile_dir.parent().expect("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).arg("build").arg("--quiet").args(what);
    cargo.arg("--target-dir").arg(target);
    cargo.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    assert!(cargo.status().expect("cargo runs").success(), "cargo build {what:?}");
    profile_dir.join(path)
}

/// Says why a rig did not run.
pub(crate) fn not_run(why: &str) {
    println!("not run: {why}");
}

/// Small numbers that differ from run to run; `RIG_SEED` repeats one.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let given = std::env::var("RIG_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.expect("after 1970").as_nanos() as u64
        });
        println!("RIG_SEED={seed}");
        Self(seed | 1)
    }

    /// A number from `from` up to, not including, `to`.
    pub(crate) fn range(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}

/// A log directory, a place for counts, and the runs that used them.
pub(crate) struct Rig {
    temp: tempfile::TempDir,
    n_runs: u64,
}

/// One started program.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) run: u64,
    lines: BufReader<ChildStdout>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let temp = tempfile::Builder::new().prefix("rig-").tempdir().expect("a directory");
        std::fs::create_dir(temp.path().join("log")).expect("a directory");
        Self { temp, n_runs: 0 }
    }

    /// The log directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("log")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn counts_path(&self, run: u64) -> PathBuf {
        self.temp.path().join(format!("counts-{run}"))
    }

    /// The command that starts the child with these `key=value` arguments.
    pub(crate) fn command(&mut self, args: &str) -> (Command, u64) {
        self.n_runs += 1;
        let run = self.n_runs;
        let mut command = Command::new(child_program());
        command.args(args.split_whitespace());
        command.arg(format!("dir={}", self.dir().display()));
        command.arg(format!("counts={}", self.counts_path(run).display()));
        command.arg(format!("run={run}"));
        command.env_remove("RUST_LOG").env_remove("TTLOG_LANES").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A crash on purpose leaves no core file behind.
        let no_core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_core);
        (command, run)
    }

    pub(crate) fn start(&mut self, args: &str) -> Running {
        let (command, run) = self.command(args);
        Running::new(command, run)
    }

    /// Starts the child and waits for its end; `(code, stdout, stderr)`.
    pub(crate) fn run(&mut self, args: &str) -> (u64, Outcome) {
        let (command, run) = self.command(args);
        (run, outcome(command))
    }

    /// Calls begun and calls returned of a run, by thread.
    pub(crate) fn counts(&self, run: u64) -> Vec<(u64, u64)> {
        // A program that was killed early has made none.
        let bytes = std::fs::read(self.counts_path(run)).unwrap_or_default();
        let word = |line: &[u8], at: usize| {
            u64::from_le_bytes(*line[at * 8..].first_chunk().expect("a line of 64 bytes"))
        };
        let lines = bytes.as_chunks::<64>().0.iter();
        lines.map(|line| (word(line, 0), word(line, 1))).collect()
    }
}

/// What a program left behind when it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: std::process::ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The number behind `key=` in what it told.
    pub(crate) fn number(&self, key: &str) -> u64 {
        number(&self.stdout, key)
    }
}

pub(crate) fn number(text: &str, key: &str) -> u64 {
    let found = text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let found = found.unwrap_or_else(|| panic!("no {key}= in {text:?}"));
    found.parse().unwrap_or_else(|_| panic!("{key}={found}"))
}

pub(crate) fn outcome(mut command: Command) -> Outcome {
    // A child that hangs is a finding: it is killed after two minutes, and its status says so.
    command.stdin(Stdio::null());
    let child = command.spawn().expect("the child starts");
    let pid = rustix::process::Pid::from_child(&child);
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(120)).is_err() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("the child ends");
    let _ = done.send(());
    watchdog.join().expect("the watchdog");
    Outcome {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Running {
    pub(crate) fn new(mut command: Command, run: u64) -> Self {
        command.stderr(Stdio::inherit());
        // SAFETY is the kernel's: the child dies with the thread that started it.
        let _ = command.process_group(0);
        let mut child = command.spawn().expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, run, lines }
    }

    /// The next line that it tells.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the pipe");
        line.trim().to_owned()
    }

    /// Asks for something and returns the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("the child listens");
        self.line()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls that returned.
    pub(crate) returned: u64,
    /// Events read back.
    pub(crate) read: u64,
    /// Events of calls that returned and that were not read back.
    pub(crate) missing: u64,
    /// Events of calls that had begun and not returned.
    pub(crate) beyond: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.returned += other.returned;
        self.read += other.read;
        self.missing += other.missing;
        self.beyond += other.beyond;
    }
}

/// The events of each (run, thread), in the order in which they were read.
pub(crate) fn by_thread(read: &ReadBack) -> BTreeMap<(u64, u64), Vec<u64>> {
    let mut found: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    for event in &read.events {
        found.entry((event.run, event.t)).or_default().push(event.n);
    }
    found
}

/// Compares a run with what was read: every event at most once, in order, none invented. Missing
/// ones are counted; the caller says how many there may be.
pub(crate) fn compare(
    found: &BTreeMap<(u64, u64), Vec<u64>>,
    run: u64,
    counts: &[(u64, u64)],
) -> Tally {
    let mut tally = Tally::default();
    for (t, &(begun, returned)) in counts.iter().enumerate() {
        let numbers = found.get(&(run, t as u64)).map_or(&[][..], Vec::as_slice);
        for pair in numbers.windows(2) {
            assert!(pair[0] < pair[1], "run {run} t {t}: {} then {}", pair[0], pair[1]);
        }
        if let Some(last) = numbers.last() {
            assert!(*last < begun, "run {run} t {t}: {last} of {begun} was never logged");
        }
        let n_of_returned = numbers.iter().filter(|n| **n < returned).count() as u64;
        tally.returned += returned;
        tally.read += numbers.len() as u64;
        tally.missing += returned - n_of_returned;
        tally.beyond += numbers.len() as u64 - n_of_returned;
    }
    for key in found.keys().filter(|key| key.0 == run) {
        assert!((key.1 as usize) < counts.len(), "{key:?} was never logged");
    }
    tally
}

/// Polls until `done`, for at most a minute.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

/// Names in /dev/shm that belong to these loggers' places.
pub(crate) fn places() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm").flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.starts_with("ttlog-"))
        .collect()
}

/// True when another program of this machine may be making a place just now.
pub(crate) fn others_run() -> bool {
    std::thread::sleep(Duration::from_millis(300));
    let unowned = |name: &String| !Path::new(&format!("/dev/shm/{name}/owner")).exists();
    let first: Vec<_> = places().into_iter().filter(unowned).collect();
    std::thread::sleep(Duration::from_millis(300));
    let second: Vec<_> = places().into_iter().filter(unowned).collect();
    !first.iter().any(|name| second.contains(name))
}
